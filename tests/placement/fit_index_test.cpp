// The index against a sorted map, with enough entries to split and join leaves and chunks.
#include "placement/fit_index.h"

#include <gtest/gtest.h>
#include <map>
#include <random>

namespace berth::placement {
namespace {

class FitIndexAgainstMap : public testing::TestWithParam<unsigned> {
 protected:
  std::mt19937 dice{GetParam()};
  FitMemory memory;
  FitIndex index{memory};
  std::map<std::uint64_t, FitEntry> model;  // by key
  std::vector<FitEntry> entries;

  std::uint32_t below(std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(dice); }
  FitEntry any(std::uint32_t slot) {
    FitEntry entry;
    entry.slot = slot;
    // Some with less than nothing, some beyond what 16 bits hold, many alike.
    entry.cpu_milli = static_cast<std::int32_t>(below(10) == 0 ? below(20'000'000) : 1000 * below(129)) - 2000;
    entry.mem_mib = static_cast<std::int32_t>(below(10) == 0 ? below(9'000'000) : 1024 * below(257)) - 2048;
    entry.left = below(3) == 0 ? static_cast<std::int32_t>(below(50)) : entry.cpu_milli + (entry.mem_mib >> 2);
    return entry;
  }
  void add(const FitEntry& entry) {
    index.insert(entry);
    model[entry.key()] = entry;
  }
  static bool holds(const FitEntry& entry, const FitDemand& demand) {
    return rounded_cpu(entry.cpu_milli) >= demand.cpu && rounded_mem(entry.mem_mib) >= demand.mem;
  }
  static bool accepted(const void* context, std::uint32_t slot) {
    return slot % 7 != *static_cast<const std::uint32_t*>(context);
  }
  void look_for_any() {
    FitDemand demand{rounded_cpu(static_cast<std::int32_t>(below(130'000))),
                     rounded_mem(static_cast<std::int32_t>(below(300'000))), 0};
    demand.left_min =
        below(2) == 0 ? std::numeric_limits<std::int32_t>::min() : static_cast<std::int32_t>(below(60'000));
    const bool picky = below(2) == 0;
    const std::uint32_t unwanted = below(7);
    std::uint64_t expected = FitIndex::kNone;
    for (auto at = model.lower_bound(FitEntry{demand.left_min, 0, 0, 0}.key()); at != model.end(); ++at) {
      if (!holds(at->second, demand) || (picky && !accepted(&unwanted, at->second.slot))) continue;
      expected = at->first;
      break;
    }
    // From there on only what is below a limit counts.
    const std::uint64_t limit = below(3) == 0 && !entries.empty()
                                    ? entries[below(static_cast<std::uint32_t>(entries.size()))].key()
                                    : FitIndex::kNone;
    if (expected >= limit) expected = FitIndex::kNone;
    std::uint64_t found = FitIndex::kNone;
    if (index.may_hold(demand)) {
      found = index.find(demand, limit, picky ? accepted : nullptr, &unwanted);
      // Leaves hold keys in no order: what is below left_min may turn up in the first, and holds the demand as well.
      if (found != expected && found < FitEntry{demand.left_min, 0, 0, 0}.key()) {
        ASSERT_TRUE(holds(model.at(found), demand));
        return;
      }
    }
    ASSERT_EQ(found, expected);
  }
};

TEST_P(FitIndexAgainstMap, FindsTheSame) {
  const std::uint32_t size = GetParam() % 2 == 0 ? 12'000 : 300;
  for (std::uint32_t slot = 0; slot < size; ++slot) {
    entries.push_back(any(slot));
    add(entries.back());
  }
  ASSERT_EQ(index.check(), "");
  for (std::uint32_t step = 0; step < 20'000; ++step) {
    FitEntry& entry = entries[below(size)];
    const FitEntry changed = any(entry.slot);
    model.erase(entry.key());
    if (below(2) == 0) {
      index.change(entry, changed);
    } else {
      index.erase(entry);
      index.insert(changed);
    }
    entry = changed;
    model[entry.key()] = entry;
    ASSERT_TRUE(index.holds(entry));
    if (step % 4 == 0) look_for_any();
    if (step % 2'000 == 0) {
      ASSERT_EQ(index.check(), "");
    }
    if (HasFatalFailure()) return;
  }
  // All but a few go, in an order of their own, and come back.
  std::shuffle(entries.begin(), entries.end(), dice);
  for (std::uint32_t i = 5; i < size; ++i) {
    index.erase(entries[i]);
    model.erase(entries[i].key());
    if (i % 50 == 0) look_for_any();
  }
  ASSERT_EQ(index.check(), "");
  ASSERT_EQ(index.size(), model.size());
  for (std::uint32_t i = 5; i < size; ++i) add(entries[i]);
  ASSERT_EQ(index.check(), "");
  for (int i = 0; i < 200; ++i) look_for_any();
}

INSTANTIATE_TEST_SUITE_P(Seeds, FitIndexAgainstMap, testing::Range(1U, 7U));

}  // namespace
}  // namespace berth::placement
