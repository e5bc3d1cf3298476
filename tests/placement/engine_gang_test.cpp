// Gangs over nodes as they say, and what may run beside a promise.
#include <gtest/gtest.h>
#include <set>

#include "placement/engine.h"

namespace berth::placement {
namespace {

using state::GangShape;
using state::NodeId;
using state::PodRule;
using state::Request;

constexpr GangShape at_least(std::uint32_t nodes) { return {nodes, 0}; }
constexpr GangShape at_most(std::uint32_t nodes) { return {0, nodes}; }

// Eight nodes of four cores, two to a rack.
struct Nodes : Engine {
  explicit Nodes(const char* policy = "binpack", const std::vector<std::string>& taints_of_first = {})
      : Engine(*find_policy(policy)) {
    for (std::uint32_t id = 1; id <= 8; ++id) {
      set_node(NodeId{id}, Offered{{4000, 4096, 0},
                                   Traits{"n" + std::to_string(id),
                                          {"rack=" + std::to_string((id + 1) / 2)},
                                          id <= 2 ? taints_of_first : std::vector<std::string>{}}});
      set_connected(NodeId{id}, true);
    }
  }
};

std::set<std::uint32_t> nodes_of(const std::vector<Placed>& placed) {
  std::set<std::uint32_t> nodes;
  for (const Placed& at : placed) nodes.insert(at.node.value);
  return nodes;
}
using Set = std::set<std::uint32_t>;

// So much of the cpu of some nodes is left beside the promise.
Promised promised(const Engine& engine, const std::vector<std::pair<std::uint32_t, std::int32_t>>& left) {
  Promised out;
  out.others.fill(engine.slots());
  for (const auto& [node, cpu_milli] : left) {
    out.parts.push_back({NodeId{node}, {cpu_milli, 4096, 0}});
    out.others.set(node - 1, false);
  }
  return out;
}

TEST(GangOnNodes, MeetsWhatItWishesForFirst) {
  for (const char* policy : {"binpack", "spread", "first-fit"}) {
    Nodes engine(policy);
    std::vector<Placed> out;
    // By what is left they would be the last, for one policy or the other.
    engine.claim(NodeId{7}, state::Resources{1000, 0, 0}, 0);
    Request request{{2000, 0, 0}};
    request.prefers = {"rack in (3,4)", "rack=4"};
    ASSERT_TRUE(engine.place_gang(request, 2, at_least(2), out)) << policy;
    EXPECT_EQ(nodes_of(out), (Set{7, 8})) << policy;
    out.clear();
    ASSERT_TRUE(engine.place_gang(request, 3, at_least(3), out)) << policy;
    EXPECT_EQ(out[0].node, NodeId{8}) << policy;
    EXPECT_EQ(nodes_of(out), (Set{5, 6, 8})) << policy;
  }
}

TEST(GangOnNodes, KeepsOffWhereOthersWouldRatherNotBe) {
  for (const bool tree : {false, true}) {
    Nodes engine("binpack", {"old:prefer"});
    if (tree) engine.set_switches(*SwitchTree::parse("SwitchName=s0 Nodes=n[1-4]\n"));
    std::vector<Placed> out;
    const Request request{{4000, 0, 0}};
    ASSERT_TRUE(engine.place_gang(request, 2, tree ? GangShape{} : at_least(2), out));
    EXPECT_EQ(nodes_of(out), (Set{3, 4}));
  }
}

TEST(GangOnNodes, HasNoMoreNodesThanItMayAlsoUnderRules) {
  Nodes engine;
  Request request{{1000, 0, 0}};
  request.labels = {"app=web"};
  request.rules = {{PodRule::Kind::kApart, true, "app=web", "node"}};
  std::vector<Placed> out;
  ASSERT_TRUE(engine.place_gang(request, 4, at_most(2), out));
  EXPECT_EQ(nodes_of(out).size(), 2U);
  out.clear();
  ASSERT_TRUE(engine.place_gang(request, 4, GangShape{0, 2, 2}, out));
  EXPECT_EQ(nodes_of(out).size(), 2U);
  out.clear();
  request.labels = {"app=db"};
  request.rules = {{PodRule::Kind::kApart, false, "app=db", "node"}};
  EXPECT_FALSE(engine.place_gang(request, 3, at_most(2), out));
  EXPECT_TRUE(out.empty());
  EXPECT_TRUE(engine.place_gang(request, 2, at_most(2), out));
}

TEST(GangOnNodes, HasNoMoreNodesThanItMayAlsoByChoice) {
  Nodes engine("spread");
  engine.claim(NodeId{1}, state::Resources{3000, 0, 0}, 0);
  engine.claim(NodeId{2}, state::Resources{3000, 0, 0}, 0);
  Request request{{1000, 0, 0}};
  request.where = "[rack=1|rack=2]";
  std::vector<Placed> out;
  ASSERT_TRUE(engine.place_gang(request, 2, at_most(1), out));
  EXPECT_EQ(nodes_of(out), (Set{3}));
  out.clear();
  request.where = "[rack=3*1&rack=4*1]";
  EXPECT_FALSE(engine.place_gang(request, 2, at_most(1), out));
  EXPECT_TRUE(engine.place_gang(request, 2, at_most(2), out));
}

TEST(Beside, AGangWithWholeNodesTakesNoneOfWhichSomethingIsPromised) {
  Nodes engine;
  Promised beside = promised(engine, {{1, 3000}, {2, 3000}, {3, 3000}, {4, 3000}, {5, 3000}, {6, 3000}});
  Request request{{1000, 0, 0}};
  request.exclusive = true;
  std::vector<Placed> out;
  EXPECT_FALSE(engine.place_gang(request, 3, at_least(3), beside, out));
  ASSERT_TRUE(engine.place_gang(request, 2, at_least(2), beside, out));
  EXPECT_EQ(nodes_of(out), (Set{7, 8}));
}

TEST(Beside, AGangGoesFirstWhereNothingIsPromised) {
  Nodes engine;
  Promised beside = promised(engine, {{1, 4000}, {2, 1000}});
  std::vector<Placed> out;
  ASSERT_TRUE(engine.place_gang(Request{{1000, 0, 0}}, 7, at_least(7), beside, out));
  EXPECT_EQ(nodes_of(out), (Set{1, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(beside.parts[0].left.cpu_milli, 3000);
}

TEST(Beside, AnAlternativeThatFailedTookNothing) {
  Nodes engine;
  Promised beside = promised(engine, {{1, 2000}, {2, 1000}});
  Request request{{1000, 0, 0}};
  request.where = "[rack=1|rack=2]";
  std::vector<Placed> out;
  ASSERT_TRUE(engine.place_gang(request, 4, {}, beside, out));
  EXPECT_EQ(nodes_of(out), (Set{3}));
  EXPECT_EQ(beside.parts[0].left.cpu_milli, 2000);
  EXPECT_EQ(beside.parts[1].left.cpu_milli, 1000);
}

TEST(Beside, ThreadsThatStayIdleCount) {
  state::Topology topology;
  for (std::uint32_t core = 0; core < 4; ++core) topology.cores.push_back({core, core + 4});
  topology.domains.push_back({state::Topology::Part::kMachine, 0, {0, 4}});
  topology.memories.push_back({0, 4096, {0, 4}});
  Request request{{2000, 0, 0}};  // of two cores, four threads
  request.cores.threads_per_core = 1;
  for (const bool shaped : {false, true}) {
    Engine engine;
    engine.set_node(NodeId{1}, {{8000, 4096, 0}, Traits{"n1", {}, {}}, {}, 0, &topology});
    engine.set_connected(NodeId{1}, true);
    EXPECT_EQ(engine.potential(request).pods, 2U);
    engine.each_candidate(request, [](NodeId, const Amounts& free, const Amounts& wanted) {
      EXPECT_EQ(free.cpu_milli, 8000);
      EXPECT_EQ(wanted.cpu_milli, 4000);
    });
    Promised beside = promised(engine, {{1, 5000}});
    std::vector<Placed> out;
    if (shaped) {
      EXPECT_FALSE(engine.place_gang(request, 2, at_most(1), beside, out));
      EXPECT_TRUE(engine.place_gang(request, 1, at_most(1), beside, out));
    } else {
      EXPECT_EQ(engine.place(request, 2, beside, out), 1U);
    }
    EXPECT_EQ(beside.parts[0].left.cpu_milli, 1000);
  }
}

}  // namespace
}  // namespace berth::placement
