#include "bench/scan.h"

#include <limits>

namespace berth::bench {

namespace {

constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kBlock = 512;

// Branch-free, so that the compiler makes vector code of it: the least `left` of a block's nodes that fit.
[[gnu::always_inline]] inline std::int32_t least_of(const ScanTable& t, const ScanDemand& d, std::size_t first,
                                                    std::size_t end) {
  std::int32_t least = kNone;
  for (std::size_t i = first; i < end; ++i) {
    const std::int32_t fits = -static_cast<std::int32_t>(t.free_cpu_milli[i] >= d.cpu_milli) &
                              -static_cast<std::int32_t>(t.free_mem_mib[i] >= d.mem_mib) &
                              -static_cast<std::int32_t>(t.free_gpus[i] >= d.gpus) & t.mask[i];
    const std::int32_t candidate = (t.left[i] & fits) | (kNone & ~fits);
    least = candidate < least ? candidate : least;
  }
  return least;
}

bool fits(const ScanTable& t, const ScanDemand& d, std::size_t i) {
  return t.mask[i] != 0 && t.free_cpu_milli[i] >= d.cpu_milli && t.free_mem_mib[i] >= d.mem_mib &&
         t.free_gpus[i] >= d.gpus;
}

// Finds the block with the least value first, then the node in it: the expensive "where" is asked once.
[[gnu::always_inline]] inline std::size_t scan_blocks(const ScanTable& t, const ScanDemand& d) {
  std::int32_t least = kNone;
  std::size_t block = 0;
  for (std::size_t first = 0; first < t.size; first += kBlock) {
    const std::size_t end = first + kBlock < t.size ? first + kBlock : t.size;
    const std::int32_t here = least_of(t, d, first, end);
    if (here < least) {
      least = here;
      block = first;
    }
  }
  if (least == kNone) return kNoSlot;
  std::size_t i = block;
  while (t.left[i] != least || !fits(t, d, i)) ++i;
  return i;
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] std::size_t scan_avx2(const ScanTable& t, const ScanDemand& d) { return scan_blocks(t, d); }
#endif
std::size_t scan_any(const ScanTable& t, const ScanDemand& d) { return scan_blocks(t, d); }

}  // namespace

std::size_t scan_best(const ScanTable& table, const ScanDemand& demand) {
#if defined(__x86_64__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  if (has_avx2) return scan_avx2(table, demand);
#endif
  return scan_any(table, demand);
}

std::size_t scan_best_plain(const ScanTable& table, const ScanDemand& demand) {
  std::size_t best = kNoSlot;
  for (std::size_t i = 0; i < table.size; ++i) {
    if (fits(table, demand, i) && (best == kNoSlot || table.left[i] < table.left[best])) best = i;
  }
  return best;
}

}  // namespace berth::bench
