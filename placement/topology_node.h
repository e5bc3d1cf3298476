// Where on one machine a pod goes: which hardware threads, memory of which NUMA nodes, which GPUs; exactly. Pure.
//
// The machine's parts (packages, NUMA nodes, caches; state/topology.h) lie within each other as a tree. A pod goes to
//   1. a part that is at most as large as the level asks for, if one has room (with `require`: or nowhere);
//   2. of those with room the one with the fewest cores;
//   3. of those the one with the least room left;
//   4. of those the first.
// Inside it takes as few of the parts below as can be, the tightest last, those near its GPUs first. A pod that asks
// for no level takes what is left over in parts that are in use, so that whole ones stay for those who ask for them.
//
// Room is counted in whole cores, or in hardware threads for pods that ask for those. GPUs count for a part if their
// locality is not outside of it; memory if its cores are not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "state/result.h"
#include "state/topology.h"

namespace berth::placement {

struct TopologyRequest {
  enum class Level : std::uint8_t { kNone, kL3, kNuma, kPackage };
  std::uint32_t cores = 0;             // whole ones
  std::uint32_t threads = 0;           // or single hardware threads; one of the two is 0
  std::uint32_t threads_per_core = 0;  // of whole cores, so many are used, the others stay idle; 0: all
  std::uint64_t mem_mib = 0;
  std::uint32_t gpus = 0;
  Level level = Level::kNone;
  bool require = false;
};

struct TopologyPlan {
  std::vector<std::uint32_t> threads;  // to run on, by the operating system's numbers, in order
  std::vector<std::uint32_t> claimed;  // with those that stay idle
  std::vector<std::pair<std::uint32_t, std::uint64_t>> mem_mib;  // NUMA node and how much
  std::vector<std::uint32_t> gpus;                               // by their place in Topology::devices
};

class TopologyNode {
 public:
  explicit TopologyNode(state::Topology topology);

  // Claims what the plan says. The error names what is lacking, and the nearest miss.
  state::Result<TopologyPlan> place(const TopologyRequest& request);
  bool can_place(const TopologyRequest& request) const { return part_for(need_of(request)) != nullptr; }
  bool could_place(const TopologyRequest& request) const;  // if nothing were claimed
  void release(const TopologyPlan& plan) { change(plan, -1); }
  // What is claimed may be claimed again: it is free when all have given it back. What the machine has not is ignored.
  void claim(const TopologyPlan& plan) { change(plan, 1); }
  void set_device_free(std::size_t device, bool free) { busy_device_[device] = !free; }
  std::uint32_t claims_of(std::uint32_t thread) const { return thread < claims_.size() ? claims_[thread] : 0; }

  const state::Topology& topology() const { return topology_; }
  bool thread_is_free(std::uint32_t thread) const;
  std::uint64_t free_mem_mib(std::size_t memory) const {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(free_mem_[memory], 0));
  }
  std::uint64_t taken_mem_mib(std::size_t memory) const {  // may exceed what there is
    return topology_.memories[memory].mem_mib - static_cast<std::uint64_t>(free_mem_[memory]);
  }
  bool device_is_free(std::size_t device) const { return !busy_device_[device]; }

 private:
  struct Part {
    state::Topology::Domain domain;
    std::vector<std::size_t> children;  // in order; together they need not cover it
  };
  struct Need {
    const TopologyRequest& request;
    std::uint32_t units;  // cores or threads
    bool whole_cores;
    bool empty = false;  // as if nothing were claimed
  };
  static Need need_of(const TopologyRequest& request) {
    return {request, request.threads != 0 ? request.threads : request.cores, request.threads == 0};
  }
  std::uint32_t room_in(const state::CoreRange& range, const Need& need) const;
  std::uint32_t gpus_in(const state::CoreRange& range, const Need& need) const;
  std::uint64_t mem_in(const state::CoreRange& range, const Need& need) const;
  bool has_room(const state::CoreRange& range, const Need& need) const;
  bool allowed(const Part& part, const TopologyRequest& request) const;
  const Part* best_part(const Need& need, bool within_level) const;
  const Part* part_for(const Need& need) const;  // nullptr: nowhere
  void change(const TopologyPlan& plan, int sign);
  void choose_gpus(const state::CoreRange& range, std::uint32_t count, TopologyPlan& plan) const;
  void choose_cores(const Part& part, std::uint32_t units, const Need& need, TopologyPlan& plan,
                    std::vector<bool>& chosen) const;
  void choose_here(const state::CoreRange& range, std::uint32_t units, const Need& need, TopologyPlan& plan,
                   std::vector<bool>& chosen) const;
  void choose_memory(const state::CoreRange& range, const Need& need, const std::vector<bool>& chosen,
                     TopologyPlan& plan) const;
  std::string refusal(const Need& need) const;

  state::Topology topology_;
  std::vector<Part> parts_;             // the machine first; a part after those that it lies in
  std::vector<std::uint32_t> core_of_;  // by thread; ~0 for numbers that are none
  std::vector<std::uint32_t> claims_;   // by thread
  std::vector<bool> busy_device_;
  std::vector<std::uint32_t> busy_in_core_;
  std::vector<std::int64_t> free_mem_;
};

}  // namespace berth::placement
