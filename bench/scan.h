// The inner loop of best fit: over all nodes, the first of those with the least left among those that fit. Vectorised
// for AVX2 where the processor has it (chosen at run time), plain otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

namespace berth::bench {

struct ScanTable {
  const std::int32_t* free_cpu_milli;
  const std::int32_t* free_mem_mib;
  const std::int32_t* free_gpus;
  const std::int32_t* left;  // what is minimised; below INT32_MAX
  const std::int32_t* mask;  // -1: allowed, 0: not
  std::size_t size;
};
struct ScanDemand {
  std::int32_t cpu_milli, mem_mib, gpus;
};
inline constexpr std::size_t kNoSlot = static_cast<std::size_t>(-1);

std::size_t scan_best(const ScanTable& table, const ScanDemand& demand);
// The same without vectors: what tests compare with.
std::size_t scan_best_plain(const ScanTable& table, const ScanDemand& demand);

}  // namespace berth::bench
