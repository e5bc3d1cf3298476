// Where it fits: the node table and the search. A request goes in, a plan comes out; a plan's capacity is claimed until
// it is released. Pure: no clock, no randomness, no I/O. One caller at a time.
//
// By default it is best fit (policy.h has the others): of the open nodes that can take the pod, the one with the least
// left, counted in thousandths of a core with 4 MiB of memory and 1/16,000 of a GPU each worth one; ties by node id.
// What a pod takes is the same wherever it lands, so the node with the least left before is the one with the least left
// after, and stays it until it is full: equal pods share one search. The answer is the true best over all nodes, not
// over a sample; an index sorted by what is left (node_index.h) skips nearly all of them.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "placement/constraints.h"
#include "placement/countables.h"
#include "placement/free_columns.h"
#include "placement/gang.h"
#include "placement/gpu_rater.h"
#include "placement/gpu_sharing.h"
#include "placement/huge_memory.h"
#include "placement/node_cores.h"
#include "placement/node_index.h"
#include "placement/switch_tree.h"
#include "state/ids.h"
#include "state/resources.h"

namespace berth::placement {

inline std::size_t slot_of(state::NodeId id) { return id.value - 1; }
inline state::NodeId id_of(std::size_t slot) { return state::NodeId{static_cast<std::uint32_t>(slot + 1)}; }

struct Placed {
  state::NodeId node;
  std::uint32_t pinning = 0;  // Engine::pinning() tells which cores; 0: none in particular
  std::uint64_t gpu_mask = 0;
};

// What a node has.
struct Offered {
  state::Resources capacity;
  Traits traits;
  std::vector<state::Countable> counts = {};
  std::uint32_t pods_max = 0;                 // 0 is no limit
  const state::Topology* topology = nullptr;  // copied; nullptr or empty: unknown
};

// How many nodes each named constraint ruled out, in the order in which they are checked; a node counts for the first
// that refuses it. What a user reads when a pod waits.
struct Refusal {
  struct Count {
    std::string constraint;  // "node not connected", "node drained", "feature a100", "total memory", "free cpu", …
    std::uint32_t nodes = 0;
  };
  std::vector<Count> counts;
  std::uint32_t nodes_total = 0;
  std::uint32_t nodes_fit = 0;  // could take one pod now
  std::string nearest_miss;     // "12 nodes lack only cpu: the freest has 3 of 4 cores", "" if there is none
};

// Capacity that is promised to somebody from some time on. Who would still run then must keep clear of it: on a node of
// `parts` he may take what is free now and also `left`, on `others` what he likes.
struct Promised {
  struct Part {
    state::NodeId node;
    Amounts left;  // of the node at that time, beside what is promised
  };
  std::vector<Part> parts;
  Mask others;  // all nodes but those, as slots
};

// What the offers could hold if the cluster were empty, whatever the nodes' states.
struct Potential {
  std::uint32_t nodes = 0;  // that could hold one pod
  std::uint64_t pods = 0;   // over all of them
};

class Engine {
 public:
  explicit Engine(const Policy& policy = default_policy()) : policy_(&policy), index_(policy) {}

  // Adds the node or replaces its offer; what is claimed on it stays claimed (and may then exceed the offer). A new
  // node is neither connected nor out of service.
  void set_node(state::NodeId id, Offered offered);
  void set_node(state::NodeId id, const state::Resources& capacity, const std::vector<std::string>& features) {
    set_node(id, Offered{capacity, Traits{{}, features, {}}});
  }
  // How the nodes are connected: gangs keep together.
  void set_switches(SwitchTree tree);
  const SwitchTree& switches() const { return switches_; }
  void set_connected(state::NodeId id, bool connected);
  void set_in_service(state::NodeId id, bool in_service);
  void remove_node(state::NodeId id);

  // Features asked for have no "=" in them: labels are for conditions.
  // Places up to `count` equal pods, best first, and claims their capacity. Appends to `out`; returns how many.
  std::uint32_t place(const state::Request& request, std::uint32_t count, std::vector<Placed>& out);
  // All `count` pods or none (returns false, claims nothing), over nodes as the shape says.
  bool place_gang(const state::Request& request, std::uint32_t count, const state::GangShape& shape,
                  std::vector<Placed>& out);
  // The same, clear of what is promised; what is placed beside it there is taken off `left`. Nodes of which nothing is
  // promised come first, for a gang where choose_gang() goes by their key.
  std::uint32_t place(const state::Request& request, std::uint32_t count, Promised& beside, std::vector<Placed>& out);
  bool place_gang(const state::Request& request, std::uint32_t count, const state::GangShape& shape, Promised& beside,
                  std::vector<Placed>& out);
  // The cores of a pod of the latest placements, until they are dropped.
  const state::Pinning* pinning(const Placed& placed) const {
    return placed.pinning == 0 ? nullptr : &pinnings_[placed.pinning - 1];
  }
  void drop_pinnings() { pinnings_.clear(); }
  // Claims a given place without a search, at recovery or adoption: what runs there runs there, even over capacity.
  void claim(state::NodeId id, const state::Request& request, std::uint64_t gpu_mask,
             const state::Pinning* pinning = nullptr);
  void claim(state::NodeId id, const state::Resources& resources, std::uint64_t gpu_mask);  // of a plain request
  void release(state::NodeId id, const state::Request& request, std::uint64_t gpu_mask,
               const state::Pinning* pinning = nullptr);
  void release(state::NodeId id, const state::Resources& resources, std::uint64_t gpu_mask);
  // Asks for the memory of a node that is released on soon: for whoever has several ends at hand.
  void release_soon(state::NodeId id) const { __builtin_prefetch(&free_[slot_of(id)]); }

  // Keeps every node that could ever hold the request from all placements until drop_holds(): so that a pod that has
  // waited too long is not overtaken for ever.
  void hold_for(const state::Request& request);
  void drop_holds();

  bool fits_now(state::NodeId id, const state::Request& request);
  // Every open node that could hold the request if it were empty, with what is free on it now and what the request
  // takes of it (all of the node for an exclusive one). Rules about other pods are judged by who runs now.
  template <class Each>
  void each_candidate(const state::Request& request, Each&& each) {
    const MaskList hard = constraints_.concern(request) ? constraints_.prepare(request).hard : MaskList{};
    for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
      if (!candidate(slot, request, hard)) continue;
      each(id_of(slot), free_[slot].amounts(), amounts_on(slot, request));
    }
  }
  // The node as choose_gang() wants it.
  GangNode gang_node(state::NodeId id, std::uint32_t room);
  std::size_t slots() const { return offers_.size(); }  // node ids are from 1 to so many
  Refusal explain(const state::Request& request);
  Potential potential(const state::Request& request);
  // Could the node hold such a pod if it were empty?
  bool could_run(state::NodeId id, const state::Request& request) {
    return slot_of(id) < offers_.size() && could_hold(slot_of(id), request);
  }
  // Changes whenever an offer does: a cached Potential is good as long as this stays.
  std::uint64_t offers_version() const { return offers_version_; }

  state::Resources used(state::NodeId id) const;
  std::vector<state::Countable> counts_used(state::NodeId id) const;
  std::uint32_t gpus_shared_milli(state::NodeId id) const;  // what is left of GPUs in shares
  std::uint32_t node_count() const { return node_count_; }
  // Recomputes everything derived; "" or what differs. For tests.
  std::string check_invariants() const;

 private:
  struct Offer {
    bool present = false, connected = false, in_service = true, held = false;
    bool full = false;        // it has as many pods as it may have
    std::uint32_t alone = 0;  // pods that have it for themselves
    std::uint32_t pods_max = 0;
    std::uint32_t leaf = SwitchTree::kNone;
    state::Resources capacity;
    std::unique_ptr<NodeCores> cores = nullptr;  // as its latest topology has them
    bool open() const { return present && connected && in_service && !held && !full && alone == 0; }
  };
  // What a search and a claim need of a node: half a cache line.
  struct alignas(32) Free {
    std::uint64_t gpu_mask = 0;               // offered and not claimed
    std::uint64_t gpus_claimed = 0;           // offered or no longer
    std::int32_t cpu_milli = 0, mem_mib = 0;  // below 0 where claim() exceeded the offer
    std::int32_t pods = 0;
    std::uint8_t kind = 0;
    std::uint8_t gpus_offered = 0;  // the first so many
    std::uint8_t gpus = 0;          // bits of gpu_mask
    bool open : 1 = false;
    bool indexed : 1 = false;
    bool cores : 1 = false;    // it gives its cores out one by one: cores_of()
    bool limited : 1 = false;  // it may have so many pods only
    Amounts amounts() const;
    std::uint64_t unclaimed_gpus() const {
      return (gpus_offered >= 64 ? ~0ULL : (1ULL << gpus_offered) - 1) & ~gpus_claimed;
    }
  };

  std::size_t find_best(const state::Request& request);
  std::size_t find_best_of(const state::Request& request, const Constraints::Prepared& sets, const MaskList& also);
  std::size_t find_best_in(const state::Request& request, const MaskList& masks);
  bool has(std::size_t slot, const std::vector<std::string>& wanted) const;
  bool could_hold(std::size_t slot, const state::Request& request);
  bool is_empty(std::size_t slot) const;
  std::uint32_t place_constrained(const state::Request& request, std::uint32_t count, const state::GangShape& shape,
                                  Promised* beside, std::vector<Placed>& out);
  bool place_gang(const state::Request& request, std::uint32_t count, const state::GangShape& shape, Promised* beside,
                  std::vector<Placed>& out);
  bool place_parts(const state::Request& request, std::uint32_t count, const state::GangShape& shape, Promised* beside,
                   std::vector<Placed>& out);
  void begin_gang(const state::GangShape& shape);
  void count_on(std::size_t slot, std::uint32_t pods, const state::GangShape& shape);
  bool place_shaped(const state::Request& request, std::uint32_t count, const state::GangShape& shape, Promised* beside,
                    std::vector<Placed>& out);
  void put(std::size_t slot, const state::Request& request, std::uint32_t count, Promised* beside,
           std::vector<Placed>& out);
  void undo(std::size_t before, const state::Request& request, std::vector<Placed>& out);
  std::size_t find_for(const state::Request& request, const Constraints::Prepared& sets, const MaskList& masks);
  GpuNode gpu_node(std::size_t slot) const;
  void tell_rater(std::size_t slot) {
    if (policy_->rates_gpus) rater_.changed(slot, gpu_node(slot));
  }
  // nullptr: the node gives no cores out. What is claimed of them stays claimed meanwhile.
  NodeCores* cores_of(std::size_t slot) const { return free_[slot].cores ? offers_[slot].cores.get() : nullptr; }
  bool cores_hold(std::size_t slot, const state::Request& request) const;
  // What a pod takes of the node: all of it for an exclusive one, else also the cpu of hardware threads that stay idle.
  Amounts amounts_on(std::size_t slot, const state::Request& request) const;
  std::uint32_t shares_room(std::size_t slot, std::uint32_t share_milli) const;
  std::uint32_t room_of(std::size_t slot, const state::Request& request, std::uint32_t most) const;
  void pods_changed(std::size_t slot);
  std::size_t find_beside(const state::Request& request, const MaskList& masks, const Promised& promised,
                          std::uint32_t& room) const;
  bool candidate(std::size_t slot, const state::Request& request, const MaskList& hard);
  void came(std::size_t slot, const state::Request& request);
  void index(std::size_t slot);    // puts an open node where its amounts say
  void unindex(std::size_t slot);  // takes it out, before they change
  template <class Change>
  void reindex(std::size_t slot, Change&& change);  // makes a change of its amounts, and moves it
  void keep_columns();
  void settle();                         // … in the index, if that is behind
  void offer_changed(std::size_t slot);  // whether it is open, that is
  std::uint32_t room_for(std::size_t slot, const state::Resources& wanted) const;
  void take(std::size_t slot, const state::Resources& resources, std::uint64_t gpu_mask);
  void give(std::size_t slot, const state::Resources& resources, std::uint64_t gpu_mask);
  void take_one(std::size_t slot, const state::Request& request, std::vector<Placed>& out);
  void take_all(std::size_t slot, const state::Request& request, std::uint64_t gpu_mask, const state::Pinning* pinning);
  void give_all(std::size_t slot, const state::Request& request, std::uint64_t gpu_mask, const state::Pinning* pinning);
  std::uint64_t pick_gpus(std::size_t slot, std::uint32_t count) const;
  std::uint32_t place_many(const state::Request& request, std::uint32_t count, std::uint32_t each,
                           std::vector<Placed>& out);
  void take_equal(std::size_t slot, const state::Request& request, std::uint32_t count, std::vector<Placed>& out);
  std::string nearest_miss(const state::Request& request);

  std::uint32_t node_count_ = 0;
  std::uint64_t offers_version_ = 0;
  std::vector<std::size_t> held_;
  Constraints constraints_;
  Countables countables_;
  GpuSharing sharing_;
  GpuRater rater_;               // of policies that rate
  GpuRater::Choice rated_ = {};  // its latest choice
  SwitchTree switches_;
  std::vector<state::Pinning> pinnings_;
  std::vector<std::uint32_t> by_name_;  // of each slot its place among the nodes by name; as of …
  std::uint64_t by_name_version_ = ~0ULL;
  Mask usable_;                         // of a gang with so many nodes, or pods on one: those that may have another
  std::vector<std::uint32_t> on_slot_;  // … of its pods
  std::uint32_t gang_nodes_ = 0;        // … that have any
  // Dense by NodeId - 1.
  HugeVector<Free> free_;
  std::vector<Offer> offers_;
  const Policy* policy_;
  NodeIndex index_;
  FreeColumns columns_;                            // the same by slot, once a search has asked for it
  static constexpr std::uint32_t kStreamFrom = 8;  // pods; for fewer, that many searches cost less
  struct Filled {
    std::uint32_t slot;
    Amounts from;
  };
  NodeIndex::Stream stream_;  // place_many()'s
  std::vector<Filled> filled_;
  std::size_t changed_slot_ = kNoSlot;  // a node whose latest changes the index does not know yet
  Amounts changed_from_;                // what it is there as
};

// The index is brought up to date when it is needed or another node changes: equal pods that come and go on one node
// cost one change of the index, not one each.
template <class Change>
void Engine::reindex(std::size_t slot, Change&& change) {
  Free& free = free_[slot];
  if (free.indexed && slot != changed_slot_) {
    settle();
    changed_slot_ = slot;
    changed_from_ = free.amounts();
  }
  const std::uint64_t gpus_before = free.gpu_mask;
  change();
  if (free.gpu_mask != gpus_before) free.gpus = static_cast<std::uint8_t>(std::popcount(free.gpu_mask));
}

}  // namespace berth::placement
