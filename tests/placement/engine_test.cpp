// The engine against a brute-force model, and its words.
#include "placement/engine.h"

#include <algorithm>
#include <bit>
#include <gtest/gtest.h>
#include <random>

namespace berth::placement {
namespace {

using state::NodeId;
using state::Request;
using state::Resources;

constexpr state::GangShape kApartGang{0, 0, 1};  // each pod on a node of its own

Request request(std::uint32_t cpu_milli, std::uint64_t mem_mib, std::uint32_t gpus = 0,
                std::vector<std::string> features = {}) {
  return Request{{cpu_milli, mem_mib, gpus}, std::move(features)};
}

void open_node(Engine& engine, std::uint32_t id, Resources capacity, const std::vector<std::string>& features = {}) {
  engine.set_node(NodeId{id}, capacity, features);
  engine.set_connected(NodeId{id}, true);
}

// What the engine should do, written the slow and obvious way.
struct EngineModel {
  struct Node {
    Resources capacity;
    std::int64_t cpu = 0, mem = 0;
    std::uint64_t gpus = 0;
    std::vector<std::string> features;
    bool present = false, connected = false, in_service = true;
  };
  std::vector<Node> nodes;

  static bool fits(const Node& n, const Request& r) {
    return n.present && n.connected && n.in_service && n.cpu >= r.resources.cpu_milli &&
           n.mem >= static_cast<std::int64_t>(r.resources.mem_mib) &&
           std::popcount(n.gpus) >= static_cast<int>(r.resources.gpus) &&
           std::includes(n.features.begin(), n.features.end(), r.features.begin(), r.features.end());
  }
  const Policy* policy = &default_policy();
  // The node that the policy chooses, 0 if none.
  std::uint32_t best(const Request& r) const {
    std::uint32_t best = 0;
    std::int64_t least = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (!fits(nodes[i], r)) continue;
      const std::int64_t left = nodes[i].cpu + (nodes[i].mem >> 2) + 16'000LL * std::popcount(nodes[i].gpus);
      const std::int64_t key = policy->name == "binpack" ? left : policy->name == "spread" ? -left : 0;
      if (best == 0 || key < least) {
        best = static_cast<std::uint32_t>(i + 1);
        least = key;
      }
    }
    return best;
  }
  void take(const Placed& p, const Request& r) {
    Node& n = nodes[p.node.value - 1];
    n.cpu -= r.resources.cpu_milli;
    n.mem -= static_cast<std::int64_t>(r.resources.mem_mib);
    n.gpus &= ~p.gpu_mask;
  }
  void give(const Placed& p, const Request& r) {
    Node& n = nodes[p.node.value - 1];
    n.cpu += r.resources.cpu_milli;
    n.mem += static_cast<std::int64_t>(r.resources.mem_mib);
    n.gpus |= p.gpu_mask;
  }
};

// Those that choose by a key; the one that rates has tests of its own.
const Policy& keyed_policy(unsigned seed) {
  std::vector<const Policy*> keyed;
  for (const Policy& policy : policies()) {
    if (!policy.rates_gpus) keyed.push_back(&policy);
  }
  return *keyed[seed % keyed.size()];
}

class EngineAgainstModel : public testing::TestWithParam<unsigned> {
 protected:
  EngineAgainstModel() { model.policy = &keyed_policy(GetParam()); }
  std::mt19937 random{GetParam()};
  Engine engine{keyed_policy(GetParam())};
  EngineModel model;
  std::vector<std::pair<Placed, Request>> placed;

  std::uint32_t below(std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random); }

  Request any_request() {
    static const std::vector<std::vector<std::string>> features = {{}, {}, {}, {"fast"}, {"fast", "ssd"}, {"rare"}};
    return request(1 + 250 * below(33), 512 * below(65), below(5) == 0 ? 1 + below(4) : 0, features[below(6)]);
  }
  void add_node() {
    static const std::vector<std::vector<std::string>> features = {{}, {"fast"}, {"fast", "ssd"}, {"ssd"}};
    EngineModel::Node n;
    n.capacity = {1000 * (1 + below(64)), 1024ULL * (1 + below(256)), below(3) == 0 ? below(9) : 0};
    n.cpu = n.capacity.cpu_milli;
    n.mem = static_cast<std::int64_t>(n.capacity.mem_mib);
    n.gpus = (1ULL << n.capacity.gpus) - 1;
    n.features = features[below(4)];
    n.present = n.connected = true;
    model.nodes.push_back(n);
    open_node(engine, static_cast<std::uint32_t>(model.nodes.size()), n.capacity, n.features);
  }
  void change_node() {
    const std::uint32_t i = below(static_cast<std::uint32_t>(model.nodes.size()));
    EngineModel::Node& n = model.nodes[i];
    if (below(2) == 0) {
      n.connected = !n.connected;
      engine.set_connected(NodeId{i + 1}, n.connected);
    } else {
      n.in_service = !n.in_service;
      engine.set_in_service(NodeId{i + 1}, n.in_service);
    }
  }
  void place_many() {
    const Request r = any_request();
    const std::uint32_t count = 1 + below(40);
    std::vector<Placed> out;
    const std::uint32_t got = engine.place(r, count, out);
    ASSERT_EQ(got, out.size());
    for (const Placed& p : out) {
      ASSERT_EQ(p.node.value, model.best(r)) << "not the best node";
      ASSERT_EQ(std::popcount(p.gpu_mask), static_cast<int>(r.resources.gpus));
      ASSERT_EQ(p.gpu_mask & ~model.nodes[p.node.value - 1].gpus, 0U) << "a GPU given twice";
      model.take(p, r);
      placed.emplace_back(p, r);
    }
    if (got < count) {
      ASSERT_EQ(model.best(r), 0U) << "refused though it fits";
      ASSERT_EQ(engine.explain(r).nodes_fit, 0U);
    }
  }
  void place_gang() {
    const Request r = any_request();
    const std::uint32_t count = 1 + below(12);
    std::vector<Placed> out;
    const bool got = engine.place_gang(r, count, kApartGang, out);
    const auto fitting =
        std::count_if(model.nodes.begin(), model.nodes.end(), [&](const auto& n) { return EngineModel::fits(n, r); });
    ASSERT_EQ(got, fitting >= count);
    ASSERT_EQ(out.size(), got ? count : 0);
    // The best nodes, best first, as if each that has its pod were no longer there.
    EngineModel rest = model;
    for (const Placed& p : out) {
      ASSERT_EQ(p.node.value, rest.best(r));
      rest.nodes[p.node.value - 1].present = false;
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) ASSERT_NE(out[i].node, out[j].node);
      model.take(out[i], r);
      placed.emplace_back(out[i], r);
    }
  }
  void release_one() {
    if (placed.empty()) return;
    std::swap(placed[below(static_cast<std::uint32_t>(placed.size()))], placed.back());
    const auto [p, r] = placed.back();
    placed.pop_back();
    engine.release(p.node, r.resources, p.gpu_mask);
    model.give(p, r);
  }
};

TEST_P(EngineAgainstModel, ChoosesTheSameNodesAndConservesCapacity) {
  for (int i = 0; i < 40; ++i) add_node();
  for (int step = 0; step < 3000 && !HasFatalFailure(); ++step) {
    const std::uint32_t what = below(100);
    if (what < 1 && model.nodes.size() < 700) {
      for (int i = 0; i < 40; ++i) add_node();
    } else if (what < 4) {
      change_node();
    } else if (what < 30) {
      place_many();
    } else if (what < 36) {
      place_gang();
    } else {
      release_one();
    }
    if (step % 100 == 0) {
      ASSERT_EQ(engine.check_invariants(), "");
    }
  }
  while (!placed.empty()) release_one();
  for (std::size_t i = 0; i < model.nodes.size(); ++i) {
    EXPECT_EQ(engine.used(NodeId{static_cast<std::uint32_t>(i + 1)}), Resources{})
        << "capacity leaked on node " << i + 1;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, EngineAgainstModel, testing::Range(1U, 19U));

TEST(Engine, APlaceThatRunsOverCapacityIsCountedAndNothingMoreIsPlacedThere) {
  Engine engine;
  open_node(engine, 1, {4000, 4096, 0});
  engine.claim(NodeId{1}, Resources{3000, 1024, 0}, 0);
  open_node(engine, 1, {2000, 4096, 0});  // the node now offers less than runs on it
  std::vector<Placed> out;
  EXPECT_EQ(engine.place(request(1, 0), 1, out), 0U);
  engine.release(NodeId{1}, Resources{3000, 1024, 0}, 0);
  EXPECT_EQ(engine.place(request(2000, 4096), 1, out), 1U);
}

TEST(Engine, EachPolicyHasItsOwnWay) {
  const auto where = [](std::string_view name) {
    Engine engine(*find_policy(name));
    open_node(engine, 1, {8000, 8192, 0});
    open_node(engine, 2, {4000, 8192, 0});
    open_node(engine, 3, {16000, 8192, 0});
    std::vector<Placed> out;
    EXPECT_EQ(engine.place(request(2000, 512), 5, out), 5U);
    std::string nodes;
    for (const Placed& p : out) nodes += std::to_string(p.node.value);
    return nodes;
  };
  EXPECT_EQ(where("binpack"), "22111");
  EXPECT_EQ(where("spread"), "33331");
  EXPECT_EQ(where("first-fit"), "11112");
  EXPECT_EQ(find_policy("random"), nullptr);
}

TEST(Engine, MoreSetsOfFeaturesThanItKeepsApartAreStillToldApart) {
  Engine engine;
  for (std::uint32_t id = 1; id <= 200; ++id) open_node(engine, id, {4000, 4096, 0}, {"f" + std::to_string(id)});
  std::vector<Placed> out;
  for (const std::uint32_t id : {1U, 63U, 64U, 65U, 199U}) {
    out.clear();
    EXPECT_EQ(engine.place(request(3000, 1024, 0, {"f" + std::to_string(id)}), 2, out), 1U);
    EXPECT_EQ(out.at(0).node.value, id);
  }
  EXPECT_EQ(engine.place(request(1, 1, 0, {"f201"}), 1, out), 0U);
  EXPECT_EQ(engine.check_invariants(), "");
}

TEST(Engine, WhatRoundingHidesIsStillSeen) {
  Engine engine;
  open_node(engine, 1, {1100, 1100, 0});  // in quarters of a core as much as the next
  open_node(engine, 2, {1200, 1200, 0});
  std::vector<Placed> out;
  EXPECT_EQ(engine.place(request(1150, 1150), 1, out), 1U);
  EXPECT_EQ(out.at(0).node.value, 2U);
  EXPECT_EQ(engine.place(request(1150, 1150), 1, out), 0U);
}

TEST(Engine, HeldNodesAreKeptFromAllOthersUntilDropped) {
  Engine engine;
  open_node(engine, 1, {8000, 8192, 0}, {"big"});
  open_node(engine, 2, {2000, 8192, 0});
  engine.hold_for(request(4000, 0));
  std::vector<Placed> out;
  EXPECT_EQ(engine.place(request(1000, 0), 5, out), 2U);
  for (const Placed& p : out) EXPECT_EQ(p.node, NodeId{2});
  engine.drop_holds();
  EXPECT_EQ(engine.place(request(1000, 0), 1, out), 1U);
  EXPECT_EQ(out.back().node, NodeId{1});
}

TEST(Engine, ARefusalNamesHowManyNodesEachConstraintRuledOut) {
  Engine engine;
  open_node(engine, 1, {4000, 1024, 0}, {"fast"});
  open_node(engine, 2, {4000, 65536, 0}, {"fast"});
  open_node(engine, 3, {4000, 65536, 0}, {"fast"});
  open_node(engine, 4, {4000, 65536, 0});
  open_node(engine, 5, {4000, 65536, 0}, {"fast"});
  engine.set_in_service(NodeId{5}, false);
  engine.claim(NodeId{2}, Resources{1000, 0, 0}, 0);
  engine.claim(NodeId{3}, Resources{2000, 0, 0}, 0);
  const Refusal refusal = engine.explain(request(4000, 2048, 0, {"fast"}));
  EXPECT_EQ(refusal.nodes_total, 5U);
  EXPECT_EQ(refusal.nodes_fit, 0U);
  std::vector<std::pair<std::string, std::uint32_t>> counts;
  for (const auto& c : refusal.counts) counts.emplace_back(c.constraint, c.nodes);
  const std::vector<std::pair<std::string, std::uint32_t>> expected = {
      {"total memory", 1}, {"free cpu", 2}, {"feature fast", 1}, {"node drained", 1}};
  EXPECT_EQ(counts, expected);
  EXPECT_EQ(refusal.nearest_miss, "2 nodes have the memory but at most 3 free cores of the 4 wanted");
}

TEST(Engine, PotentialCountsWhatTheOffersCouldHoldWhenEmpty) {
  Engine engine;
  open_node(engine, 1, {4000, 4096, 2});
  engine.set_node(NodeId{2}, {8000, 1024, 0}, std::vector<std::string>{});  // never connected: still an offer
  engine.claim(NodeId{1}, Resources{4000, 4096, 2}, 3);
  EXPECT_EQ(engine.potential(request(1000, 1024)).nodes, 2U);
  EXPECT_EQ(engine.potential(request(1000, 1024)).pods, 5U);
  EXPECT_EQ(engine.potential(request(1000, 1024, 1)).pods, 2U);
  EXPECT_EQ(engine.potential(request(9000, 1024)).nodes, 0U);
}

TEST(Engine, ARequestBeyondAllBoundsIsRefusedAndHarmless) {
  Engine engine;
  open_node(engine, 1, {4'000'000'000U, 1ULL << 60, 64});
  std::vector<Placed> out;
  EXPECT_EQ(engine.place(request(4'000'000'000U, 1ULL << 60), 1, out), 0U);
  EXPECT_FALSE(engine.place_gang(request(1, 1ULL << 60), 2, kApartGang, out));
  EXPECT_EQ(engine.place(request(1, 1, 64), 2, out), 1U);
  EXPECT_EQ(out.back().gpu_mask, ~0ULL);
}

}  // namespace
}  // namespace berth::placement
