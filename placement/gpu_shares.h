// Nodes whose GPUs are shared in thousandths, and how well what is left of them can still be used: the model behind the
// policies of gpu_policy.h. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace berth::placement {

inline constexpr std::uint32_t kGpusPerNodeMax = 16;
inline constexpr std::int32_t kWholeGpu = 1000;  // thousandths

// `gpus` devices, of each of them `share_milli` thousandths; a pod without GPUs has neither.
struct GpuDemand {
  std::int32_t cpu_milli = 0, mem_mib = 0;
  std::int32_t gpus = 0, share_milli = 0;
  std::uint32_t models = 0;  // bit i: model i will do; 0: any will
  std::int32_t gpu_milli() const { return gpus * share_milli; }
  bool operator==(const GpuDemand&) const = default;
};

struct GpuNode {
  std::int32_t cpu_milli = 0, mem_mib = 0;  // what is free
  std::uint8_t gpus = 0, model = 0;
  std::array<std::int16_t, kGpusPerNodeMax> left{};  // of each GPU, in thousandths
  std::int32_t left_milli() const;                   // of all GPUs together
};

// Whether a pod fits, and on how many GPUs of the node its share is free.
bool fits(const GpuNode& node, const GpuDemand& demand);
// Claims the GPUs of `mask` (as many as demanded, each with the share free) with the cpu and memory; and gives back.
void take(GpuNode& node, const GpuDemand& demand, std::uint32_t mask);
void give(GpuNode& node, const GpuDemand& demand, std::uint32_t mask);
// The GPUs with the least left that will do, ties by number; only for a demand that fits.
std::uint32_t tightest_gpus(const GpuNode& node, const GpuDemand& demand);

// Calls choice(mask) for each way to give a pod its GPUs that can make a difference: one GPU of each amount left for a
// pod that wants a part of one, the tightest for the others.
template <class Choice>
void each_gpu_choice(const GpuNode& node, const GpuDemand& demand, Choice&& choice) {
  if (demand.gpus != 1 || demand.share_milli == kWholeGpu) return choice(tightest_gpus(node, demand));
  std::uint32_t seen = 0;
  for (std::uint32_t i = 0; i < node.gpus; ++i) {
    if (node.left[i] < demand.share_milli) continue;
    bool again = false;
    for (std::uint32_t j = 0; j < i; ++j) again |= (seen >> j & 1U) != 0 && node.left[j] == node.left[i];
    if (again) continue;
    seen |= 1U << i;
    choice(1U << i);
  }
}

// What is expected to come: demands with their weights, which sum to 1.
struct ExpectedDemand {
  GpuDemand demand;
  double weight = 0;
};
using DemandMix = std::vector<ExpectedDemand>;

// Fragmentation after Weng et al., "Beware of Fragmentation" (USENIX ATC'23): the thousandths of the node's free GPUs
// that a pod drawn from the mix is expected to find unusable. All of them if the pod does not fit or wants none, else
// those of GPUs with less left than its share.
double fragmentation(const GpuNode& node, const DemandMix& mix);

}  // namespace berth::placement
