// Which nodes a gang goes to, and how many of its pods on each, when it says more than how many pods there are: numbers
// of nodes, switches, nodes that follow each other; or when the cluster has a tree of switches. Pure.
//
// Of all that would do:
//   1. below the lowest switch that holds the gang, of several the one with the fewest leaves in use, then the least
//      room, then the first;
//   2. on as few of its leaf switches as can be, the last of them the one with the least room that suffices;
//   3. on the best nodes by wishes and the policy's key (ties by number); on those with the most room where the best
//      would be more nodes than are allowed.
// Nodes that follow each other: the shortest such row, of several the first.
#pragma once

#include <cstdint>
#include <vector>

#include "placement/switch_tree.h"
#include "state/resources.h"

namespace berth::placement {

struct GangNode {
  std::uint32_t slot = 0;
  std::uint32_t room = 0;  // pods; not 0
  std::int64_t key = 0;    // least first
  std::uint32_t leaf = SwitchTree::kNone;
  std::uint32_t place = 0;  // among all nodes by name
};
struct GangPart {
  std::uint32_t slot = 0;
  std::uint32_t pods = 0;
};

// False: nothing will do. `tree` may be empty: all nodes are then below one switch.
bool choose_gang(std::vector<GangNode> nodes, std::uint32_t pods, const state::GangShape& shape, const SwitchTree& tree,
                 std::vector<GangPart>& out);

}  // namespace berth::placement
