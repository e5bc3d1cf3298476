// The six policies that Weng et al. compare, as their published runs have them: a score of 0 to 100 in whole numbers,
// the highest wins, ties go to the first node; memory is no part of any score. The coarse scores and the ties matter:
// with finer ones some of these policies pack better than published, and would not be what the figures are about.
#include <algorithm>
#include <cmath>

#include "placement/gpu_policy.h"

namespace berth::placement {

namespace {

constexpr double kScoreMax = 100;

double share_of(double part, double whole) { return part / whole; }
Rating scored(double score, std::uint32_t mask) { return {-std::floor(score), 0, mask}; }

// A node and, of its GPUs that will do, one: the cluster draws both.
class RandomPolicy : public GpuPolicy {
 public:
  Rating rate(const GpuNode& node, std::uint32_t /*demand_index*/, const GpuDemand& demand,
              const std::vector<std::uint16_t>& /*kinds*/) const override {
    return {0, 0, tightest_gpus(node, demand)};
  }
  bool random_draw() const override { return true; }
};

// After Tetris, turned to packing: the less the free amounts look like the demand, the better.
class DotProductPolicy : public GpuPolicy {
 public:
  explicit DotProductPolicy(const GpuClusterFacts& facts)
      : cpu_(facts.cpu_milli_max), gpu_(facts.gpus_max * kWholeGpu) {}
  Rating rate(const GpuNode& node, std::uint32_t /*demand_index*/, const GpuDemand& demand,
              const std::vector<std::uint16_t>& /*kinds*/) const override {
    const double cpu = share_of(node.cpu_milli, cpu_) * share_of(demand.cpu_milli, cpu_);
    const double gpu = share_of(node.left_milli(), gpu_) * share_of(demand.gpu_milli(), gpu_);
    return scored(kScoreMax * (1 - (cpu + gpu) / 2), tightest_gpus(node, demand));
  }

 private:
  double cpu_, gpu_;
};

class BestFitPolicy : public GpuPolicy {
 public:
  explicit BestFitPolicy(const GpuClusterFacts& facts) : cpu_(facts.cpu_milli_max), gpu_(facts.gpus_max * kWholeGpu) {}
  Rating rate(const GpuNode& node, std::uint32_t /*demand_index*/, const GpuDemand& demand,
              const std::vector<std::uint16_t>& /*kinds*/) const override {
    const double left = share_of(node.cpu_milli - demand.cpu_milli, cpu_) * 0.5 +
                        share_of(node.left_milli() - demand.gpu_milli(), gpu_) * 0.5;
    return scored(kScoreMax * (1 - left), tightest_gpus(node, demand));
  }

 private:
  double cpu_, gpu_;
};

// Pods of a kind together, after Gandiva: nodes with pods of this kind alone, then with others too, then idle nodes,
// then nodes with other kinds; among equals the fuller.
class ClusteringPolicy : public GpuPolicy {
 public:
  explicit ClusteringPolicy(const GpuClusterFacts& facts) : facts_(facts) {}
  Rating rate(const GpuNode& node, std::uint32_t /*demand_index*/, const GpuDemand& demand,
              const std::vector<std::uint16_t>& kinds) const override {
    const std::uint32_t mask = tightest_gpus(node, demand);
    if (demand.gpus == 0) return scored(0, mask);
    bool same = false, others = false;
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      const GpuDemand& other = facts_.mix[i].demand;
      if (kinds[i] == 0 || other.gpus == 0) continue;
      (kind(other) == kind(demand) ? same : others) = true;
    }
    const double quarter = kScoreMax / 4;
    const double rank = same ? (others ? 2 : 3) : (others ? 0 : 1);
    const std::int32_t all = facts_.gpus_max * kWholeGpu;
    return scored(quarter * rank + std::floor(quarter * (all - node.left_milli()) / all), mask);
  }

 private:
  static std::int32_t kind(const GpuDemand& demand) { return demand.share_milli < kWholeGpu ? 0 : demand.gpus; }
  GpuClusterFacts facts_;
};

// GPUs in use first, the fuller the better; then nodes in use, with as few idle GPUs as possible; then idle nodes.
class GpuPackingPolicy : public GpuPolicy {
 public:
  Rating rate(const GpuNode& node, std::uint32_t /*demand_index*/, const GpuDemand& demand,
              const std::vector<std::uint16_t>& /*kinds*/) const override {
    const std::uint32_t mask = tightest_gpus(node, demand);
    if (demand.gpus == 0) return scored(0, mask);
    std::int32_t idle = 0, idle_taken = 0, left_percent = 0;
    for (std::uint32_t i = 0; i < node.gpus; ++i) {
      const bool is_idle = node.left[i] == kWholeGpu;
      idle += is_idle ? 1 : 0;
      if ((mask >> i & 1U) == 0) continue;
      idle_taken += is_idle ? 1 : 0;
      left_percent += node.left[i] * 100 / kWholeGpu;
    }
    if (idle == node.gpus) return scored(std::max(33 - idle, idle), mask);
    if (idle_taken > 0) return scored(std::max(50 - idle_taken, 33), mask);
    return scored(std::max(100 - left_percent / 10, 50), mask);
  }
};

// The least growth of fragmentation as the typical pods see it: the most frequent demands that make up 95 % of all.
class FgdPolicy : public GpuPolicy {
 public:
  explicit FgdPolicy(const GpuClusterFacts& facts) {
    for (ExpectedDemand expected : facts.mix) {
      expected.demand.mem_mib = 0;
      const auto known = std::find_if(typical_.begin(), typical_.end(),
                                      [&](const ExpectedDemand& other) { return other.demand == expected.demand; });
      if (known == typical_.end()) {
        typical_.push_back(expected);
      } else {
        known->weight += expected.weight;
      }
    }
    std::stable_sort(typical_.begin(), typical_.end(),
                     [](const ExpectedDemand& a, const ExpectedDemand& b) { return a.weight > b.weight; });
    double sum = 0;
    std::size_t count = 0;
    while (count < typical_.size() && sum < 0.95) sum += typical_[count++].weight;
    typical_.resize(count);
    for (ExpectedDemand& expected : typical_) expected.weight /= sum;
  }
  Rating rate(const GpuNode& node, std::uint32_t /*demand_index*/, const GpuDemand& demand,
              const std::vector<std::uint16_t>& /*kinds*/) const override {
    const double before = fragmentation(node, typical_);
    Rating best{1e300, 0, 0};
    each_gpu_choice(node, demand, [&](std::uint32_t mask) {
      GpuNode after = node;
      take(after, demand, mask);
      const double gain = (before - fragmentation(after, typical_)) / kWholeGpu;
      const Rating rating = scored(kScoreMax / (1 + std::exp(-gain)), mask);
      if (rating.rate < best.rate) best = rating;
    });
    return best;
  }

 private:
  DemandMix typical_;
};

}  // namespace

std::unique_ptr<GpuPolicy> make_gpu_baseline(std::string_view name, const GpuClusterFacts& facts) {
  if (name == "random") return std::make_unique<RandomPolicy>();
  if (name == "dot-product") return std::make_unique<DotProductPolicy>(facts);
  if (name == "gpu-clustering") return std::make_unique<ClusteringPolicy>(facts);
  if (name == "gpu-packing") return std::make_unique<GpuPackingPolicy>();
  if (name == "best-fit") return std::make_unique<BestFitPolicy>(facts);
  if (name == "fgd") return std::make_unique<FgdPolicy>(facts);
  return nullptr;
}

}  // namespace berth::placement
