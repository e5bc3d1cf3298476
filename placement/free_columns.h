// What each node has left, by slot instead of in order: for searches among nodes that rules allow, where those that fit
// best are not allowed. 64 nodes are compared at once, and the few that could be better than the best so far are looked
// at. 8 bytes a node, and only once somebody asks. One caller at a time.
#pragma once

#include <cstdint>

#include "placement/fit_columns.h"
#include "placement/fit_index.h"
#include "placement/mask.h"

namespace berth::placement {

class FreeColumns {
 public:
  bool used() const { return !blocks_.empty(); }
  void set(const FitEntry& entry);  // `left` is the policy's key
  void clear(std::size_t slot);     // holds no pod
  bool holds(const FitEntry& entry) const;
  bool is_clear(std::size_t slot) const;

  // The slot with the least (left, slot) of those in all of `masks`, of which there is one, that may hold the demand
  // and for which accept(context, slot) holds; kNone if there is none.
  static constexpr std::uint32_t kNone = ~0U;
  std::uint32_t find(const FitDemand& demand, FitIndex::Accept accept, const void* context,
                     const MaskList& masks) const;

 private:
  struct Block {
    alignas(64) Column cpu, mem;
    std::array<std::int32_t, kColumn> left;
    Block();
  };
  HugeVector<Block> blocks_;
};

}  // namespace berth::placement
