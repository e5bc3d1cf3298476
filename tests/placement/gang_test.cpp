// Which nodes a gang gets, against every set of nodes that there is.
#include "placement/gang.h"

#include <algorithm>
#include <bit>
#include <gtest/gtest.h>
#include <random>
#include <set>

namespace berth::placement {
namespace {

using state::GangShape;

SwitchTree tree_of(const std::string& text) {
  auto tree = SwitchTree::parse(text);
  EXPECT_TRUE(tree.ok()) << (tree ? "" : tree.error().message);
  return tree ? std::move(*tree) : SwitchTree();
}

struct Best {
  bool found = false;
  std::uint32_t height = 0, leaves = 0;
  std::size_t row = 0;  // nodes of the shortest row
};

// Every set of the nodes that could hold the gang.
Best brute_force(const std::vector<GangNode>& nodes, std::uint32_t pods, const GangShape& shape,
                 const SwitchTree& tree) {
  Best best;
  for (std::uint32_t set = 1; set < 1U << nodes.size(); ++set) {
    std::uint32_t room = 0;
    std::set<std::uint32_t> leaves, places;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if ((set >> i & 1U) == 0) continue;
      room += nodes[i].room;
      leaves.insert(nodes[i].leaf);
      places.insert(nodes[i].place);
    }
    const auto size = static_cast<std::uint32_t>(std::popcount(set));
    if (room < pods || size > pods || size < shape.nodes_min || (shape.nodes_max != 0 && size > shape.nodes_max))
      continue;
    if (shape.contiguous && *places.rbegin() - *places.begin() + 1 != size) continue;
    std::uint32_t height = 0;
    if (!tree.empty()) {
      // The lowest switch with all of these leaves below it; nodes of no switch only by themselves.
      const bool alone = leaves.size() == 1 && *leaves.begin() == SwitchTree::kNone;
      std::uint32_t lowest = ~0U;
      for (const auto& at : tree.switches()) {
        const bool all = std::all_of(leaves.begin(), leaves.end(), [&](std::uint32_t leaf) {
          return std::find(at.leaves.begin(), at.leaves.end(), leaf) != at.leaves.end();
        });
        if (all) lowest = std::min(lowest, at.height);
      }
      if (lowest == ~0U && !alone) continue;
      if (!alone && shape.switches != 0 && leaves.size() > shape.switches) continue;
      height = alone ? 1000 : lowest;
    }
    const auto count = static_cast<std::uint32_t>(leaves.size());
    if (!best.found || std::pair(height, count) < std::pair(best.height, best.leaves)) {
      best.height = height;
      best.leaves = count;
    }
    best.row = best.found ? std::min<std::size_t>(best.row, size) : size;
    best.found = true;
  }
  return best;
}

TEST(Gang, IsPlacedExactlyWhenSomeSetOfNodesWillDo) {
  const SwitchTree flat;
  const SwitchTree deep = tree_of(
      "SwitchName=s0 Nodes=n[0-2]\nSwitchName=s1 Nodes=n[3-4]\nSwitchName=s2 Nodes=n[5-6]\n"
      "SwitchName=a Switches=s[0-1]\nSwitchName=top Switches=a,s2\n");
  std::mt19937 rng(5);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(rng() % n); };
  int placed = 0, refused = 0;
  for (int round = 0; round < 60'000; ++round) {
    const bool with_tree = below(2) == 0;
    const SwitchTree& tree = with_tree ? deep : flat;
    std::vector<GangNode> nodes;
    for (std::uint32_t slot = 0; slot < 9; ++slot) {
      if (below(4) == 0) continue;
      nodes.push_back({slot, 1 + below(4), static_cast<std::int64_t>(below(5)),
                       with_tree ? tree.leaf_of("n" + std::to_string(slot)) : SwitchTree::kNone, slot});
    }
    const std::uint32_t pods = 1 + below(10);
    GangShape shape;
    if (below(3) == 0) shape.nodes_min = 1 + below(std::min(pods, 5U));
    if (below(3) == 0) shape.nodes_max = std::max(shape.nodes_min, 1U) + below(4);
    if (below(4) == 0) shape.contiguous = true;
    // With a number of switches the choice of leaves goes by room alone: exact unless numbers of nodes are asked for.
    if (with_tree && below(4) == 0 && (shape.contiguous || (shape.nodes_min == 0 && shape.nodes_max == 0))) {
      shape.switches = 1 + below(3);
    }
    const Best best = brute_force(nodes, pods, shape, tree);
    std::vector<GangPart> parts;
    const bool found = choose_gang(nodes, pods, shape, tree, parts);
    ASSERT_EQ(found, best.found) << "round " << round;
    if (!found) {
      ++refused;
      continue;
    }
    ++placed;
    std::uint32_t sum = 0;
    std::set<std::uint32_t> slots, leaves;
    for (const GangPart& part : parts) {
      const auto node =
          std::find_if(nodes.begin(), nodes.end(), [&](const GangNode& n) { return n.slot == part.slot; });
      ASSERT_NE(node, nodes.end());
      ASSERT_TRUE(slots.insert(part.slot).second);
      ASSERT_GE(part.pods, 1U);
      ASSERT_LE(part.pods, node->room);
      leaves.insert(node->leaf);
      sum += part.pods;
    }
    ASSERT_EQ(sum, pods);
    ASSERT_GE(slots.size(), shape.nodes_min);
    if (shape.nodes_max != 0) {
      ASSERT_LE(slots.size(), shape.nodes_max);
    }
    if (shape.contiguous) {
      ASSERT_EQ(*slots.rbegin() - *slots.begin() + 1, slots.size());
      if (!with_tree) {
        ASSERT_EQ(slots.size(), best.row) << "round " << round;
      }
    }
    if (with_tree && shape.switches != 0) {
      ASSERT_LE(leaves.size(), shape.switches);
    }
    // Never on more leaves than need be, below the lowest switch that will do.
    if (with_tree && shape == GangShape{}) {
      ASSERT_EQ(leaves.size(), best.leaves) << "round " << round;
    }
  }
  EXPECT_GT(placed, 10'000);
  EXPECT_GT(refused, 1'000);
}

TEST(Gang, FillsTheBestNodesFirst) {
  std::vector<GangPart> parts;
  ASSERT_TRUE(choose_gang({{0, 4, 9, 0, 0}, {1, 4, 3, 0, 1}, {2, 4, 5, 0, 2}}, 6, {}, {}, parts));
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[0].slot, 1U);
  EXPECT_EQ(parts[0].pods, 4U);
  EXPECT_EQ(parts[1].slot, 2U);
  EXPECT_EQ(parts[1].pods, 2U);
}

TEST(SwitchTree, IsReadAsSlurmWritesIt) {
  const SwitchTree tree = tree_of(
      "# leaves\nSwitchName=s0 Nodes=n[00-03] LinkSpeed=100\nSWITCHNAME=s1  Nodes=n[04-07]\n\n"
      "SwitchName=root Switches=s[0-1]\n");
  ASSERT_EQ(tree.switches().size(), 3U);
  EXPECT_EQ(tree.nodes(), 8U);
  EXPECT_EQ(tree.leaf_of("n02"), 0U);
  EXPECT_EQ(tree.leaf_of("n07"), 1U);
  EXPECT_EQ(tree.leaf_of("n7"), SwitchTree::kNone);
  EXPECT_EQ(tree.switches()[2].height, 1U);
  EXPECT_EQ(tree.switches()[2].leaves, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(tree_of("BlockName=b0 Nodes=a,b\nBlockSizes=2\n").nodes(), 2U);
}

// The levels count, not the order of the lines.
TEST(SwitchTree, HasAtMostSixteenLevelsAboveItsLeaves) {
  for (const bool upwards : {true, false}) {
    const auto tower = [&](std::size_t levels) {
      std::string text = "SwitchName=s0 Nodes=x\n";
      for (std::size_t i = 1; i <= levels; ++i) {
        const std::string line = "SwitchName=s" + std::to_string(i) + " Switches=s" + std::to_string(i - 1) + "\n";
        text = upwards ? text + line : line + text;
      }
      return SwitchTree::parse(text);
    };
    const auto most = tower(SwitchTree::kLevelsMax);
    ASSERT_TRUE(most.ok());
    EXPECT_EQ(most->switches().back().height, SwitchTree::kLevelsMax);
    const auto more = tower(SwitchTree::kLevelsMax + 1);
    ASSERT_FALSE(more.ok());
    EXPECT_NE(more.error().message.find("16 levels"), std::string::npos);
  }
}

TEST(SwitchTree, RefusesWhatMakesNoSenseWithItsLine) {
  const auto refused = [](const std::string& text) {
    auto tree = SwitchTree::parse(text);
    return tree ? std::string("accepted") : tree.error().message;
  };
  EXPECT_NE(refused("SwitchName=s0 Nodes=n[1-3]\nNodes=x\n").find("line 2"), std::string::npos);
  EXPECT_NE(refused("SwitchName=s0 Nodes=n[1-\n").find("line 1"), std::string::npos);
  EXPECT_NE(refused("SwitchName=s0\n").find("Nodes or Switches"), std::string::npos);
  EXPECT_NE(refused("SwitchName=a Switches=b\nSwitchName=b Switches=a\n").find("below itself"), std::string::npos);
  EXPECT_NE(refused("SwitchName=a Nodes=x\nSwitchName=b Nodes=x\n").find("another one"), std::string::npos);
  EXPECT_NE(refused("SwitchName=a Nodes=x\nSwitchName=a Nodes=y\n").find("twice"), std::string::npos);
  EXPECT_NE(refused("SwitchName=a Nodes=x\nSwitchName=b Switches=a\nSwitchName=c Switches=a\n").find("two others"),
            std::string::npos);
  EXPECT_NE(refused("SwitchName=a Nodes=x Nodes=y\n").find("'Nodes' is there twice"), std::string::npos);
  EXPECT_NE(refused("SwitchName=a BlockName=b Nodes=x\n").find("twice"), std::string::npos);
  EXPECT_NE(refused("hello\n").find("KEY=VALUE"), std::string::npos);
  EXPECT_NE(refused("Frob=1\n").find("not known"), std::string::npos);
}

}  // namespace
}  // namespace berth::placement
