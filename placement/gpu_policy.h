// Policies for GPUs that are shared: each rates one node for one pod, the least rate wins, ties go to the lower node.
// A rate depends on the node and the demand alone, so a node is rated again only when it has changed (GpuCluster); what
// depends on the whole cluster is a surcharge by the GPUs' model.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "placement/gpu_shares.h"

namespace berth::placement {

struct Rating {
  double rate = 0;         // less is better
  double tie = 0;          // among equal rates, less is better
  std::uint32_t mask = 0;  // the GPUs to take
};

inline constexpr std::uint32_t kGpuModelsMax = 31;
using FreeByModel = std::array<std::int64_t, kGpuModelsMax>;

class GpuPolicy {
 public:
  virtual ~GpuPolicy() = default;
  // `node` fits; `kinds` are the numbers of pods of each demand that run there, by the demand's index in the cluster.
  virtual Rating rate(const GpuNode& node, std::uint32_t demand_index, const GpuDemand& demand,
                      const std::vector<std::uint16_t>& kinds) const = 0;
  // Added to the rate of every node with GPUs of this model. `free_milli` is what all nodes have left, by model.
  virtual double surcharge(std::uint8_t /*model*/, const GpuDemand& /*demand*/,
                           const FreeByModel& /*free_milli*/) const {
    return 0;
  }
  // Whether ratings are drawn anew for each pod.
  virtual bool random_draw() const { return false; }
};

// What policies know of a cluster: its demands with their weights, and the largest node.
struct GpuClusterFacts {
  DemandMix mix;
  std::int32_t cpu_milli_max = 1, mem_mib_max = 1, gpus_max = 1;
};

// "fragmentation": Berth's own. And, to compare with, those of Weng et al., USENIX ATC'23: "fgd", "best-fit",
// "gpu-packing", "gpu-clustering", "dot-product", "random". nullptr for another name.
std::unique_ptr<GpuPolicy> make_gpu_policy(std::string_view name, const GpuClusterFacts& facts);
const std::vector<std::string_view>& gpu_policy_names();
std::unique_ptr<GpuPolicy> make_gpu_baseline(std::string_view name, const GpuClusterFacts& facts);

class GpuCluster {
 public:
  // `facts.mix` lists every demand that will be placed; the other facts are computed here.
  GpuCluster(std::vector<GpuNode> nodes, GpuClusterFacts facts, std::string_view policy, std::uint64_t seed);

  struct Place {
    std::uint32_t node = 0;
    std::uint32_t mask = 0;
  };
  static constexpr std::uint32_t kNowhere = ~0U;
  // The best node for a pod of demand `index` of the mix, claimed; node kNowhere if none fits.
  Place place(std::uint32_t index);
  void release(std::uint32_t index, const Place& place);
  // What place() would choose, by rating every node anew. For tests.
  Place best_by_force(std::uint32_t index) const;

  const std::vector<GpuNode>& nodes() const { return nodes_; }
  std::int64_t free_milli() const;

 private:
  struct Rated {
    Rating rating;
    std::uint32_t version = 0;  // of the node; 0: never rated
    bool fits = false;
  };
  bool better(const Rating& a, const Rating& b) const;
  Rated rate(std::uint32_t node, std::uint32_t index) const;
  void change(std::uint32_t index, const Place& place, int pods);
  std::array<double, kGpuModelsMax> surcharges_of(std::uint32_t index) const;
  void consider(std::uint32_t node, Rating rating, const std::array<double, kGpuModelsMax>& surcharges, Rating& least,
                Place& best) const;

  std::vector<GpuNode> nodes_;
  GpuClusterFacts facts_;
  std::unique_ptr<GpuPolicy> policy_;
  std::uint64_t draw_;  // of the next pod, for policies that draw
  FreeByModel free_milli_{};
  std::vector<std::uint32_t> versions_;            // by node
  std::vector<std::vector<std::uint16_t>> kinds_;  // by node, by demand
  std::vector<std::vector<Rated>> rated_;          // by demand, by node
};

}  // namespace berth::placement
