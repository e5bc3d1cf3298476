// Where it fits: the node table and the search. A request goes in, a plan comes out; a plan's capacity is claimed until
// it is released. Pure: no clock, no randomness, no I/O. One caller at a time.
//
// The policy is best fit: the schedulable node whose free capacity after the placement is least (see score()), ties by
// node id. The answer is the true best over all nodes, not over a sample. A search costs one pass over dense arrays (about
// a nanosecond a node); equal pods share one search and fill the node it finds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/ids.h"
#include "state/resources.h"

namespace berth::placement {

struct Placed {
  state::NodeId node;
  std::uint64_t gpu_mask = 0;
};

// How many nodes each named constraint ruled out, in the order in which they are checked; a node counts for the first
// that refuses it. What a user reads when a pod waits.
struct Refusal {
  struct Count {
    std::string constraint;  // "not connected", "drained", "feature gpu_a100", "total memory", "free cpu", …
    std::uint32_t nodes = 0;
  };
  std::vector<Count> counts;
  std::uint32_t nodes_total = 0;
  std::uint32_t nodes_fit = 0;    // could take one pod now
  bool possible = false;          // some node, as it is when empty and in service, could hold one pod
  std::string nearest_miss;       // "12 nodes have the memory but only 3 free cores of 4 wanted", "" if none
};

class Engine {
 public:
  // Adds the node or replaces its offer; what is claimed on it stays claimed (and may then exceed the offer).
  void set_node(state::NodeId id, const state::Resources& capacity, const std::vector<std::string>& features);
  void set_schedulable(state::NodeId id, bool connected, bool in_service);
  void remove_node(state::NodeId id);

  // Places up to `count` equal pods, best first, and claims their capacity. Appends to `out`; returns how many.
  std::uint32_t place(const state::Request& request, std::uint32_t count, std::vector<Placed>& out);
  // All `count` pods or none (returns false, claims nothing). `distinct`: each on a node of its own.
  bool place_gang(const state::Request& request, std::uint32_t count, bool distinct, std::vector<Placed>& out);
  // Claims a given place without a search, at recovery or adoption: what runs there runs there, even over capacity.
  void claim(state::NodeId id, const state::Resources& resources, std::uint64_t gpu_mask);
  void release(state::NodeId id, const state::Resources& resources, std::uint64_t gpu_mask);

  Refusal explain(const state::Request& request) const;
  // Some node could hold `count` pods of it (distinct: so many nodes could hold one) if the cluster were empty.
  bool possible(const state::Request& request, std::uint32_t count, bool distinct) const;

  state::Resources used(state::NodeId id) const;
  std::uint32_t node_count() const { return nodes_; }

 private:
  struct Demand;
  struct Best;
  Demand demand_of(const state::Request& request) const;
  std::int64_t best_node(const Demand& demand, const std::vector<std::uint8_t>* excluded) const;
  Placed claim_on(std::size_t slot, const state::Request& request);
  std::uint32_t fits_on(std::size_t slot, const Demand& demand) const;
  std::uint32_t feature_bit(std::string_view name);

  std::uint32_t nodes_ = 0;
  // Dense by NodeId - 1. Free amounts are signed: a claim() may exceed the offer. A node that may not be used has
  // open_ = 0 and is skipped by the mask.
  std::vector<std::int32_t> free_cpu_;
  std::vector<std::int64_t> free_mem_;
  std::vector<std::int32_t> free_gpus_;
  std::vector<std::uint8_t> open_;
  std::vector<std::uint64_t> free_gpu_mask_;
  std::vector<std::uint64_t> feature_bits_;
  struct Cold {
    bool present = false, connected = false, in_service = true;
    state::Resources capacity;
    std::vector<std::string> features;
  };
  std::vector<Cold> cold_;
  std::vector<std::string> feature_names_;  // bit i; features beyond 64 are compared by name
};

}  // namespace berth::placement
