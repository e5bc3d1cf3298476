#include "placement/node_words.h"

#include <algorithm>
#include <bit>

namespace berth::placement {

using state::Resources;

namespace {

// Bit 63: open. Then 8 bits of free GPUs, 26 of cpu and 29 of memory, each with an offset of half its range: a claim
// may exceed an offer that has shrunk, and no field must borrow from the next.
constexpr std::uint64_t kOpen = 1ULL << 63;
constexpr int kGpuShift = 55, kCpuShift = 29;
constexpr std::int64_t kGpuHalf = 1LL << 7, kCpuHalf = 1LL << 25, kMemHalf = 1LL << 28;

std::uint64_t pack(std::int64_t cpu_milli, std::int64_t mem_mib, std::int64_t gpus) {
  return (static_cast<std::uint64_t>(gpus) << kGpuShift) + (static_cast<std::uint64_t>(cpu_milli) << kCpuShift) +
         static_cast<std::uint64_t>(mem_mib);
}
constexpr std::uint64_t field(std::uint64_t word, int shift, std::int64_t half) {
  return word >> shift & static_cast<std::uint64_t>(2 * half - 1);
}
Amounts unpack(std::uint64_t word) {
  const auto signed_field = [&](int shift, std::int64_t half) {
    return static_cast<std::int32_t>(static_cast<std::int64_t>(field(word, shift, half)) - half);
  };
  return {signed_field(kCpuShift, kCpuHalf), signed_field(0, kMemHalf),
          static_cast<std::uint32_t>(std::max(signed_field(kGpuShift, kGpuHalf), 0))};
}

Resources cut(const Resources& offer) {
  return {std::min(offer.cpu_milli, NodeWords::kCpuMilliMax),
          std::min<std::uint64_t>(offer.mem_mib, NodeWords::kMemMibMax), std::min(offer.gpus, state::kMaxGpus)};
}
std::uint64_t packed(const Resources& resources) {
  return pack(resources.cpu_milli, static_cast<std::int64_t>(resources.mem_mib), resources.gpus);
}
bool beyond(const Resources& wanted) {
  return wanted.cpu_milli > NodeWords::kCpuMilliMax || wanted.mem_mib > NodeWords::kMemMibMax ||
         wanted.gpus > state::kMaxGpus;
}
std::uint64_t mask_of(std::uint32_t gpus) { return gpus >= 64 ? ~0ULL : (1ULL << gpus) - 1; }

std::uint64_t lowest(std::uint64_t mask, std::uint32_t count) {
  std::uint64_t taken = 0;
  for (std::uint32_t i = 0; i < count; ++i) taken |= (mask & ~taken) & (~(mask & ~taken) + 1);
  return taken;
}

// A summary: 16 bits each of cpu and memory and 8 of GPUs, each plus one so that none is 0, then 24 of the count.
struct Bounds {
  std::int32_t cpu = -1, mem = -1, gpus = -1;
};
Bounds bounds_of(const Amounts& free) {
  return {rounded_cpu(free.cpu_milli), rounded_mem(free.mem_mib), static_cast<std::int32_t>(free.gpus)};
}
Bounds bounds_of(std::uint64_t summary) {
  return {static_cast<std::int32_t>(summary >> 48) - 1, static_cast<std::int32_t>(summary >> 32 & 0xffff) - 1,
          static_cast<std::int32_t>(summary >> 24 & 0xff) - 1};
}
constexpr std::uint64_t kCountMask = (1U << 24) - 1;
std::uint64_t summary_of(const Bounds& bounds, std::uint64_t count) {
  const auto stored = [](std::int32_t value) { return static_cast<std::uint64_t>(value + 1); };
  return stored(bounds.cpu) << 48 | stored(bounds.mem) << 32 | stored(bounds.gpus) << 24 | (count & kCountMask);
}
Bounds larger(const Bounds& a, const Bounds& b) {
  return {std::max(a.cpu, b.cpu), std::max(a.mem, b.mem), std::max(a.gpus, b.gpus)};
}

}  // namespace

NodeWords::NodeWords(std::uint32_t nodes_max)
    : nodes_max_((nodes_max + kBlock - 1) / kBlock * kBlock),
      words_(std::make_unique<Words[]>(nodes_max_)),
      offered_(std::make_unique<Resources[]>(nodes_max_)),
      summaries_(std::make_unique<std::atomic<std::uint64_t>[]>(blocks())) {
  for (std::uint32_t slot = 0; slot < nodes_max_; ++slot) words_[slot].amounts = pack(kCpuHalf, kMemHalf, kGpuHalf);
  for (std::uint32_t block = 0; block < blocks(); ++block) summaries_[block] = summary_of({}, 0);
}

void NodeWords::offer(std::uint32_t slot, const Resources& capacity) {
  Words& words = words_[slot];
  const Resources now = cut(capacity), before = offered_[slot];
  const std::uint64_t added = mask_of(now.gpus) & ~mask_of(before.gpus);
  const std::uint64_t removed = mask_of(before.gpus) & ~mask_of(now.gpus);
  words.gpus_offered.store(mask_of(now.gpus), std::memory_order_seq_cst);
  // Removed GPUs that are claimed stay so; release() does not put them back.
  const std::uint64_t removed_free = words.gpus.fetch_and(~removed, std::memory_order_seq_cst) & removed;
  words.gpus.fetch_or(added, std::memory_order_seq_cst);
  // The difference as one number: the fields are as if each had been changed by itself.
  const std::uint64_t change =
      packed({now.cpu_milli, now.mem_mib, static_cast<std::uint32_t>(std::popcount(added))}) -
      packed({before.cpu_milli, before.mem_mib, static_cast<std::uint32_t>(std::popcount(removed_free))});
  words.amounts.fetch_add(change, std::memory_order_acq_rel);
  offered_[slot] = now;
  lift(slot);
}

void NodeWords::set_open(std::uint32_t slot, bool open) {
  if (open) {
    words_[slot].amounts.fetch_or(kOpen, std::memory_order_acq_rel);
    lift(slot);
  } else {
    words_[slot].amounts.fetch_and(~kOpen, std::memory_order_acq_rel);
  }
}

bool NodeWords::is_open(std::uint32_t slot) const {
  return (words_[slot].amounts.load(std::memory_order_acquire) & kOpen) != 0;
}
Amounts NodeWords::free(std::uint32_t slot) const {
  return unpack(words_[slot].amounts.load(std::memory_order_acquire));
}
std::uint64_t NodeWords::free_gpus(std::uint32_t slot) const {
  return words_[slot].gpus.load(std::memory_order_acquire);
}

std::uint32_t NodeWords::gpus_offered(std::uint32_t slot) const {
  return static_cast<std::uint32_t>(std::popcount(words_[slot].gpus_offered.load(std::memory_order_acquire)));
}

std::optional<std::uint64_t> NodeWords::claim(std::uint32_t slot, const Resources& wanted) {
  if (beyond(wanted)) return std::nullopt;
  Words& words = words_[slot];
  const std::uint64_t amount = packed(wanted);
  std::uint64_t now = words.amounts.load(std::memory_order_acquire);
  do {
    if ((now & kOpen) == 0 || !unpack(now).hold(wanted)) return std::nullopt;
  } while (
      !words.amounts.compare_exchange_weak(now, now - amount, std::memory_order_acq_rel, std::memory_order_acquire));
  if (wanted.gpus == 0) return 0;
  // So many are there for whoever was counted in, unless the offer has shrunk just now.
  std::uint64_t gpus = words.gpus.load(std::memory_order_acquire);
  std::uint64_t taken = 0;
  do {
    if (static_cast<std::uint32_t>(std::popcount(gpus)) < wanted.gpus) {
      words.amounts.fetch_add(amount, std::memory_order_acq_rel);
      lift(slot);
      return std::nullopt;
    }
    taken = lowest(gpus, wanted.gpus);
  } while (
      !words.gpus.compare_exchange_weak(gpus, gpus & ~taken, std::memory_order_acq_rel, std::memory_order_acquire));
  return taken;
}

void NodeWords::release(std::uint32_t slot, const Resources& resources, std::uint64_t gpu_mask) {
  Words& words = words_[slot];
  std::uint64_t back = gpu_mask & words.gpus_offered.load(std::memory_order_seq_cst);
  if (back != 0) {
    // The GPUs before their number: whoever is counted in finds them.
    words.gpus.fetch_or(back, std::memory_order_seq_cst);
    const std::uint64_t gone = back & ~words.gpus_offered.load(std::memory_order_seq_cst);
    if (gone != 0) back &= ~(words.gpus.fetch_and(~gone, std::memory_order_seq_cst) & gone);
  }
  words.amounts.fetch_add(
      packed({resources.cpu_milli, resources.mem_mib, static_cast<std::uint32_t>(std::popcount(back))}),
      std::memory_order_acq_rel);
  lift(slot);
}

// ---- summaries ------------------------------------------------------------------------------------------------------

void NodeWords::lift(std::uint32_t slot) {
  const Bounds here = bounds_of(free(slot));
  auto& summary = summaries_[slot / kBlock];
  std::uint64_t now = summary.load(std::memory_order_acquire);
  while (!summary.compare_exchange_weak(now, summary_of(larger(bounds_of(now), here), now + 1),
                                        std::memory_order_acq_rel, std::memory_order_acquire)) {
  }
}

bool NodeWords::block_may_hold(std::uint32_t block, const Resources& wanted) const {
  if (beyond(wanted)) return false;
  const Bounds most = bounds_of(summaries_[block].load(std::memory_order_acquire));
  const Bounds least = bounds_of(amounts_of(wanted));
  return most.cpu >= least.cpu && most.mem >= least.mem && most.gpus >= least.gpus;
}

void NodeWords::tighten(std::uint32_t block) {
  auto& summary = summaries_[block];
  std::uint64_t before = summary.load(std::memory_order_acquire);
  Bounds most;
  for (std::uint32_t slot = block * kBlock; slot < (block + 1) * kBlock; ++slot) {
    if (is_open(slot)) most = larger(most, bounds_of(free(slot)));
  }
  summary.compare_exchange_strong(before, summary_of(most, before), std::memory_order_acq_rel,
                                  std::memory_order_acquire);
}

}  // namespace berth::placement
