// Best fit by several workers at once, without locks. The truth is in NodeWords, where any worker claims any node by
// compare-and-swap. Each worker has an index (NodeIndex) of its own part of the nodes, which it alone changes; whoever
// else claims or gives back on a node of that part leaves its number in the worker's inbox.
//
// A pod goes to the best node of the worker's part, exactly as Engine would choose among those; if none has room, to
// the best of all others, found by the blocks' summaries. So with one worker the answer is the true best, and with
// several the best of a part drawn block by block. A claim that loses a race corrects the index and looks again: each
// loss is another worker's success, or an offer that is just being cut.
//
// A pod is refused only after a pass over all blocks that found no room while nothing was given back; after
// kPassesMax passes in which something was, it is refused as well.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "placement/node_words.h"
#include "state/ids.h"

namespace berth::placement {

class SharedEngine {
 public:
  static constexpr int kPassesMax = 64;

  SharedEngine(std::uint32_t workers, std::uint32_t nodes_max);

  // By one thread at a time, while placements run. A new node is closed. Offers are cut to what NodeWords holds.
  void set_node(state::NodeId id, const state::Resources& capacity, const std::vector<std::string>& features);
  void set_open(state::NodeId id, bool open);

  struct Place {
    state::NodeId node;
    std::uint64_t gpu_mask = 0;
  };
  // `worker` is below the number of workers and used by one thread at a time.
  std::optional<Place> place(std::uint32_t worker, const state::Request& request);
  void release(std::uint32_t worker, const Place& place, const state::Resources& resources);

  Amounts free(state::NodeId id) const { return words_.free(id.value - 1); }
  // With no call going on: "" or how the indexes differ from the truth. For tests.
  std::string check();

 private:
  using Features = std::vector<std::string>;
  struct Indexed {  // what a node is in its worker's index as
    Amounts amounts;
    std::uint32_t gpus_max = 0;  // that the kind has room for
    std::uint16_t kind = 0;
    bool present = false;
    const Features* features = nullptr;
  };
  struct alignas(64) Worker {
    NodeIndex index;
    alignas(64) std::atomic<std::uint32_t> inbox{kEmpty};  // the first of a list through next_
    alignas(64) std::atomic<std::uint64_t> given_back{0};  // how often, by this worker
  };
  static constexpr std::uint32_t kEmpty = ~0U;

  std::uint32_t owner_of(std::uint32_t slot) const { return slot / NodeWords::kBlock % workers_count_; }
  void tell_owner(std::uint32_t slot);
  void read_inbox(std::uint32_t worker);
  void reindex(Worker& worker, std::uint32_t slot);
  void changed_by(std::uint32_t worker, std::uint32_t slot);
  bool suits(std::uint32_t slot, const state::Request& request) const;
  std::uint64_t given_back() const;
  std::size_t best_of_all(const state::Request& request);

  NodeWords words_;
  std::uint32_t workers_count_;
  std::unique_ptr<Worker[]> workers_;
  std::unique_ptr<Indexed[]> indexed_;  // each used by its worker alone
  std::unique_ptr<std::atomic<const Features*>[]> features_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> next_;
  std::unique_ptr<std::atomic<bool>[]> in_inbox_;
  std::atomic<std::uint64_t> offers_changed_{0};
  std::set<Features> known_features_;  // each once, for good: others may be looking at it
};

}  // namespace berth::placement
