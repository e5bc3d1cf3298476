// The truth of what is free on each node, claimed by compare-and-swap: any number of threads may claim and give back at
// any time, and nothing is ever oversold. One word of a node has the amounts and how many GPUs are free, so that one
// swap decides; which GPUs it gets is picked from a second word afterwards. Blocks of 64 nodes have a summary above, so
// that a search without an index looks at few. 56 bytes a node.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "placement/node_index.h"

namespace berth::placement {

class NodeWords {
 public:
  static constexpr std::uint32_t kBlock = 64;
  // Of one node; offers are cut there, and requests beyond have no room.
  static constexpr std::uint32_t kCpuMilliMax = (1U << 25) - 1, kMemMibMax = (1U << 28) - 1;

  explicit NodeWords(std::uint32_t nodes_max);

  std::uint32_t nodes_max() const { return nodes_max_; }
  std::uint32_t blocks() const { return nodes_max_ / kBlock; }

  // Sets what a node offers; what is claimed stays claimed, and may then exceed it. One caller at a time for a node.
  void offer(std::uint32_t slot, const state::Resources& capacity);
  // A closed node takes no claim that begins later. The same caller.
  void set_open(std::uint32_t slot, bool open);

  bool is_open(std::uint32_t slot) const;
  Amounts free(std::uint32_t slot) const;  // of one moment
  std::uint64_t free_gpus(std::uint32_t slot) const;
  std::uint32_t gpus_offered(std::uint32_t slot) const;

  // The GPUs that were given, if the node is open and has room for all of it.
  std::optional<std::uint64_t> claim(std::uint32_t slot, const state::Resources& wanted);
  void release(std::uint32_t slot, const state::Resources& resources, std::uint64_t gpu_mask);

  // False only if at some moment during the call no node of the block had room.
  bool block_may_hold(std::uint32_t block, const state::Resources& wanted) const;
  // Lowers the block's summary to what is there, unless something is given back meanwhile.
  void tighten(std::uint32_t block);

 private:
  struct alignas(32) Words {
    std::atomic<std::uint64_t> amounts, gpus, gpus_offered;
  };
  void lift(std::uint32_t slot);

  std::uint32_t nodes_max_;
  std::unique_ptr<Words[]> words_;
  std::unique_ptr<state::Resources[]> offered_;  // each used by the caller of offer() alone
  // The largest cpu and memory (rounded as in FitIndex) and number of GPUs in a block, and a count of what was given
  // back: whoever wants to lower the bounds sees by it that they may have risen.
  std::unique_ptr<std::atomic<std::uint64_t>[]> summaries_;
};

}  // namespace berth::placement
