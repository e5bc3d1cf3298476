#include "placement/gpu_shares.h"

#include <algorithm>
#include <limits>

namespace berth::placement {

namespace {

std::int32_t usable_gpus(const GpuNode& node, std::int32_t share_milli) {
  std::int32_t count = 0;
  for (std::uint32_t i = 0; i < node.gpus; ++i) count += node.left[i] >= share_milli ? 1 : 0;
  return count;
}

bool model_will_do(const GpuNode& node, const GpuDemand& demand) {
  return demand.models == 0 || (demand.models >> node.model & 1U) != 0;
}

}  // namespace

std::int32_t GpuNode::left_milli() const {
  std::int32_t sum = 0;
  for (std::uint32_t i = 0; i < gpus; ++i) sum += left[i];
  return sum;
}

bool fits(const GpuNode& node, const GpuDemand& demand) {
  if (node.cpu_milli < demand.cpu_milli || node.mem_mib < demand.mem_mib) return false;
  if (demand.gpus == 0) return true;
  return model_will_do(node, demand) && usable_gpus(node, demand.share_milli) >= demand.gpus;
}

void take(GpuNode& node, const GpuDemand& demand, std::uint32_t mask) {
  node.cpu_milli -= demand.cpu_milli;
  node.mem_mib -= demand.mem_mib;
  for (std::uint32_t i = 0; i < node.gpus; ++i) {
    if ((mask >> i & 1U) != 0) node.left[i] = static_cast<std::int16_t>(node.left[i] - demand.share_milli);
  }
}

void give(GpuNode& node, const GpuDemand& demand, std::uint32_t mask) {
  GpuDemand back = demand;
  back.cpu_milli = -demand.cpu_milli;
  back.mem_mib = -demand.mem_mib;
  back.share_milli = -demand.share_milli;
  take(node, back, mask);
}

std::uint32_t tightest_gpus(const GpuNode& node, const GpuDemand& demand) {
  std::uint32_t mask = 0;
  for (std::int32_t taken = 0; taken < demand.gpus; ++taken) {
    std::uint32_t best = 0;
    std::int32_t least = std::numeric_limits<std::int32_t>::max();
    for (std::uint32_t i = 0; i < node.gpus; ++i) {
      const bool usable = (mask >> i & 1U) == 0 && node.left[i] >= demand.share_milli;
      if (!usable || node.left[i] >= least) continue;
      least = node.left[i];
      best = i;
    }
    mask |= 1U << best;
  }
  return mask;
}

double fragmentation(const GpuNode& node, const DemandMix& mix) {
  const std::int32_t all = node.left_milli();
  if (all == 0) return 0;
  double sum = 0;
  for (const ExpectedDemand& expected : mix) {
    const GpuDemand& demand = expected.demand;
    std::int32_t lost = all;
    if (demand.gpus > 0 && fits(node, demand)) {
      lost = 0;
      for (std::uint32_t i = 0; i < node.gpus; ++i) {
        if (node.left[i] < demand.share_milli) lost += node.left[i];
      }
    }
    sum += expected.weight * lost;
  }
  return sum;
}

}  // namespace berth::placement
