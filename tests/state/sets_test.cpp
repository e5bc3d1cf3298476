// IndexSet and IntervalSet against sets of single numbers.
#include <gtest/gtest.h>
#include <set>

#include "state/index_set.h"
#include "state/interval_set.h"
#include "tests/state/dice.h"

namespace berth::state {
namespace {

std::set<std::uint32_t> numbers(const IndexSet& set) {
  std::set<std::uint32_t> out;
  for (std::uint32_t i = 0; i < set.size(); ++i) out.insert(set.at(i));
  return out;
}

TEST(IndexSet, AcceptsWhatUsersWriteAndSaysItInOneWay) {
  const std::pair<const char*, const char*> cases[] = {
      {"0", "0"},
      {"1-1000", "1-1000"},
      {"0-99:2", "0-98:2"},
      {"7-9,1,3", "1,3,7-9"},
      {"1,2,3", "1-3"},
      {"5-5", "5"},
      {"3-4:7", "3"},
      {"1-3,4-6", "1-6"},
      {"10-20:5,21", "10-20:5,21"},
      {"4000000000", "4000000000"},
      {"2,1", "1-2"},
      {"007", "7"},
  };
  for (const auto& [text, canonical] : cases) {
    const auto set = IndexSet::parse(text, "array");
    ASSERT_TRUE(set) << text << ": " << set.error().message;
    EXPECT_EQ(set->to_string(), canonical) << text;
    EXPECT_EQ(*IndexSet::parse(set->to_string(), "array"), *set) << text;
  }
}

TEST(IndexSet, RefusesInOneLineThatNamesTheFieldAndThePart) {
  for (const char* text : {"",
                           ",",
                           "1,",
                           ",1",
                           "a",
                           "-1",
                           "1-",
                           "3-1",
                           "1-2:",
                           "1-2:0",
                           "1:2",
                           "1--2",
                           "1 -2",
                           " 1",
                           "1 ",
                           "0x1",
                           "1.5",
                           "4000000001",
                           "99999999999999999999",
                           "1-3,3",
                           "1-9,4",
                           "0-10:2,1-11:2",
                           "1-10000001",
                           "1\n2",
                           "1-2:x"}) {
    const auto set = IndexSet::parse(text, "array");
    ASSERT_FALSE(set) << text;
    EXPECT_EQ(set.error().code, ErrorCode::kInvalid);
    EXPECT_EQ(set.error().field, "array");
    EXPECT_EQ(set.error().message.find('\n'), std::string::npos) << set.error().message;
    EXPECT_FALSE(set.error().message.empty());
  }
  EXPECT_NE(IndexSet::parse("1,x9", "array").error().message.find("'x9'"), std::string::npos);
}

TEST(IndexSet, TakesTenMillionIndexesAndNotOneMore) {
  EXPECT_EQ(IndexSet::parse("1-10000000", "array")->size(), 10'000'000U);
  EXPECT_FALSE(IndexSet::parse("0-10000000", "array"));
  EXPECT_FALSE(IndexSet::parse("1-9999999,10000005-10000007", "array"));
  EXPECT_EQ(IndexSet::parse("0-3999999999:400", "array")->size(), 10'000'000U);
  EXPECT_EQ(IndexSet::dense(10'000'000).at(9'999'999), 9'999'999U);
}

TEST(IndexSet, HoldsTheSameNumbersAsAPlainSet) {
  testing::Dice random(1);
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::set<std::uint32_t> plain;
    std::string text;
    bool repeated = false;
    for (std::uint32_t n = 1 + random() % 4; n != 0; --n) {
      const std::uint32_t first = random() % 200;
      const std::uint32_t last = first + random() % 40;
      const std::uint32_t step = 1 + random() % 5;
      text +=
          (text.empty() ? "" : ",") + std::to_string(first) + "-" + std::to_string(last) + ":" + std::to_string(step);
      for (std::uint32_t i = first; i <= last; i += step) repeated |= !plain.insert(i).second;
    }
    const auto set = IndexSet::parse(text, "array");
    if (repeated) {
      ASSERT_FALSE(set) << text;
    }
    if (!set) continue;  // interleaved ranges are refused too
    ++accepted;
    ASSERT_EQ(numbers(*set), plain) << text;
    for (std::uint32_t i = 0; i < 260; ++i) {
      std::uint32_t position = 0;
      const bool found = set->find(i, position);
      ASSERT_EQ(found, plain.contains(i)) << text << " " << i;
      if (found) {
        ASSERT_EQ(set->at(position), i);
      }
    }
    ASSERT_EQ(numbers(*IndexSet::parse(set->to_string(), "array")), plain);
    ASSERT_EQ(*IndexSet::from_ranges(set->ranges()), *set);
  }
  EXPECT_GT(accepted, 500);
}

TEST(IndexSet, RefusesRangesThatItWouldNotMake) {
  EXPECT_FALSE(IndexSet::from_ranges({{5, 4, 1}}));
  EXPECT_FALSE(IndexSet::from_ranges({{0, 4, 0}}));
  EXPECT_FALSE(IndexSet::from_ranges({{0, 4, 3}}));
  EXPECT_FALSE(IndexSet::from_ranges({{0, 4, 1}, {4, 6, 1}}));
  EXPECT_FALSE(IndexSet::from_ranges({{8, 9, 1}, {0, 4, 1}}));
  EXPECT_FALSE(IndexSet::from_ranges({{0, 4'294'967'295U, 1}}));
}

TEST(IntervalSet, HoldsTheSameNumbersAsAPlainSetInMaximalRuns) {
  testing::Dice random(2);
  for (int round = 0; round < 50; ++round) {
    IntervalSet set;
    std::set<std::uint32_t> plain;
    for (int step = 0; step < 200; ++step) {
      const std::uint32_t first = random() % 100;
      const std::uint32_t end = first + random() % 20;
      switch (random() % 3) {
        case 0:
          set.insert(first, end);
          for (std::uint32_t i = first; i < end; ++i) plain.insert(i);
          break;
        case 1:
          set.erase(first, end);
          for (std::uint32_t i = first; i < end; ++i) plain.erase(i);
          break;
        default:
          if (set.empty()) break;
          const auto [from, until] = set.take_front(1 + random() % 5);
          ASSERT_EQ(from, *plain.begin());
          ASSERT_LT(from, until);
          for (std::uint32_t i = from; i < until; ++i) ASSERT_EQ(plain.erase(i), 1U);
      }
      ASSERT_EQ(set.size(), plain.size());
      ASSERT_EQ(set.empty(), plain.empty());
      if (!plain.empty()) {
        ASSERT_EQ(set.front(), *plain.begin());
      }
      for (std::uint32_t i = 0; i < 125; ++i) ASSERT_EQ(set.contains(i), plain.contains(i));
      std::uint32_t last_end = 0;
      bool first_run = true;
      for (const auto& [run, run_end] : set.intervals()) {
        ASSERT_LT(run, run_end);
        if (!first_run) {
          ASSERT_GT(run, last_end);  // neighbours would be one run
        }
        last_end = run_end;
        first_run = false;
      }
    }
  }
}

}  // namespace
}  // namespace berth::state
