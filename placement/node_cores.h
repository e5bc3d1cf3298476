// The cores of one node of a cluster, given out to its pods: which pods get cores of their own, how many, and the words
// in which that is kept (state::Pinning). A pod that asks for whole cpus gets as many hardware threads, whole cores
// where that comes out even and all cores are alike; one that asks for a part of one runs anywhere.
#pragma once

#include <cstdint>
#include <optional>

#include "placement/topology_node.h"
#include "state/resources.h"
#include "state/topology.h"

namespace berth::placement {

// Its cores must lie as it says: not a wish.
inline bool demands_cores(const state::Request& request) {
  return (request.cores.level != state::CoreFit::Level::kNone && request.cores.require) ||
         request.cores.threads_per_core != 0;
}

class NodeCores {
 public:
  // `gpus`: that the node offers. If the topology shows as many, they are the same, in that order.
  NodeCores(const state::Topology& topology, std::uint32_t gpus);
  // A node offers its cores one by one only if it offers no more cpu than it has hardware threads.
  static bool suits(const state::Topology& topology, const state::Resources& capacity) {
    return !topology.empty() && capacity.cpu_milli <= topology.threads() * 1000U;
  }
  // What is claimed on another view of the same machine is claimed on this one.
  void take_over(const NodeCores& before);
  const state::Topology& topology() const { return machine_.topology(); }
  bool is_of(const state::Topology& other, std::uint32_t gpus) const {
    return gpus == gpus_offered_ && topology() == other;
  }

  // Whether the cores and GPUs are there that the pod insists on; now, or with nothing else on the node.
  bool holds(const state::Request& request, std::uint64_t free_gpus);
  bool could_hold(const state::Request& request) const;
  // The cpu that the pod takes, with that of hardware threads which stay idle for it.
  std::uint32_t cpu_milli_of(const state::Request& request) const;
  // So many pods of the request would find them, `most` at most.
  std::uint32_t room(const state::Request& request, std::uint64_t free_gpus, std::uint32_t most) const;

  struct Choice {
    std::uint64_t gpu_mask = 0;
    state::Pinning pinning;  // empty: no cores of its own
  };
  // Claims the cores, not the GPUs. nullopt: it chooses none.
  std::optional<Choice> take(const state::Request& request, std::uint64_t free_gpus);
  void claim(const state::Pinning& pinning) { machine_.claim(plan_of(pinning)); }
  void release(const state::Pinning& pinning) { machine_.release(plan_of(pinning)); }

 private:
  static void set_free_gpus(TopologyNode& machine, const std::vector<std::uint32_t>& gpus, std::uint64_t free);
  std::optional<TopologyRequest> request_of(const state::Request& request) const;
  TopologyPlan plan_of(const state::Pinning& pinning) const;

  TopologyNode machine_;
  std::vector<std::uint32_t> gpus_;  // the device of each bit of a GPU mask; empty: unknown
  std::uint32_t gpus_offered_;
  std::uint32_t threads_per_core_ = 1;  // the most
  bool uneven_ = false;                 // some cores have fewer
};

}  // namespace berth::placement
