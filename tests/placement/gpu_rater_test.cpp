// The fragmentation policy in the engine: kept ratings are what new ones would be, nothing that fits is refused, and
// capacity is conserved.
#include "placement/gpu_rater.h"

#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

#include "placement/engine.h"

namespace berth::placement {
namespace {

using state::NodeId;
using state::Request;

Request some_request(std::mt19937& rng) {
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(rng() % n); };
  Request request{{1000 * (1 + below(4)), 512 * below(4), 0}};
  switch (below(4)) {
    case 0:
      request.resources.gpus = 1;
      request.gpu_share_milli = 250 * (1 + below(3));
      break;
    case 1:
      request.resources.gpus = 1 + below(3);
      break;
    case 2:
      request.resources.gpus = 1;
      request.features = {below(2) == 0 ? "big" : "small"};
      break;
    default:
      break;
  }
  return request;
}

TEST(GpuRater, KeptRatingsAreWhatNewOnesWouldBe) {
  std::mt19937 rng(9);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(rng() % n); };
  constexpr std::size_t kNodes = 30;
  std::vector<GpuNode> nodes(kNodes);
  std::vector<std::vector<std::string>> features(kNodes);
  GpuRater kept;
  for (std::size_t slot = 0; slot < kNodes; ++slot) {
    nodes[slot].cpu_milli = static_cast<std::int32_t>(8'000 + 1000 * below(24));
    nodes[slot].mem_mib = 32'768;
    nodes[slot].gpus = static_cast<std::uint8_t>(below(5));
    for (std::uint32_t gpu = 0; gpu < nodes[slot].gpus; ++gpu) nodes[slot].left[gpu] = kWholeGpu;
    features[slot] = {slot % 3 == 0 ? "big" : "small"};
    ASSERT_TRUE(kept.set_node(slot, features[slot], nodes[slot]));
  }
  std::vector<Request> learned;
  int compared = 0;
  for (int step = 0; step < 3'000; ++step) {
    const Request request = some_request(rng);
    learned.push_back(request);
    const bool ready = kept.learn(request);
    ASSERT_EQ(ready, learned.size() >= GpuRater::kLearnFirst);
    const std::size_t changed = below(kNodes);
    GpuNode& node = nodes[changed];
    node.cpu_milli = static_cast<std::int32_t>(1000 * below(32));
    for (std::uint32_t gpu = 0; gpu < node.gpus; ++gpu) node.left[gpu] = static_cast<std::int16_t>(250 * below(5));
    kept.changed(changed, node);
    if (!ready || step % 40 != 0) continue;
    GpuRater fresh;
    for (std::size_t slot = 0; slot < kNodes; ++slot) fresh.set_node(slot, features[slot], nodes[slot]);
    for (const Request& again : learned) fresh.learn(again);
    const auto allowed = [](std::size_t slot) { return slot % 7 != 3; };
    const auto a = kept.best(request, allowed), b = fresh.best(request, allowed);
    ASSERT_EQ(a.has_value(), b.has_value()) << "step " << step;
    if (!a) continue;
    ++compared;
    ASSERT_EQ(a->slot, b->slot) << "step " << step;
    ASSERT_EQ(a->gpu_mask, b->gpu_mask);
  }
  EXPECT_GT(compared, 30);
}

TEST(GpuRater, InTheEngineRefusesNothingThatFitsAndLosesNothing) {
  std::mt19937 rng(4);
  Engine engine(*find_policy("fragmentation"));
  for (std::uint32_t id = 1; id <= 12; ++id) {
    engine.set_node(NodeId{id}, {{16'000, 16'384, id % 4}, Traits{"n", {id % 2 == 0 ? "big" : "small"}, {}}});
    engine.set_connected(NodeId{id}, true);
  }
  struct Live {
    Request request;
    Placed placed;
  };
  std::vector<Live> live;
  int refused = 0;
  for (int step = 0; step < 8'000; ++step) {
    if (rng() % 100 < 56) {
      const Request request = some_request(rng);
      std::vector<Placed> out;
      const std::uint32_t fit = engine.explain(request).nodes_fit;
      const std::uint32_t placed = engine.place(request, 1, out);
      ASSERT_EQ(placed, fit == 0 ? 0U : 1U) << "step " << step;
      refused += placed == 0 ? 1 : 0;
      if (placed != 0) live.push_back({request, out[0]});
    } else if (!live.empty()) {
      const std::size_t which = rng() % live.size();
      engine.release(live[which].placed.node, live[which].request, live[which].placed.gpu_mask);
      live[which] = live.back();
      live.pop_back();
    }
    if (step % 100 == 0) {
      ASSERT_EQ(engine.check_invariants(), "");
    }
  }
  EXPECT_GT(refused, 100);
  for (const Live& pod : live) engine.release(pod.placed.node, pod.request, pod.placed.gpu_mask);
  for (std::uint32_t id = 1; id <= 12; ++id) EXPECT_EQ(engine.used(NodeId{id}), state::Resources{});
}

TEST(GpuRater, KeepsWholeGpusForThoseWhoWantThem) {
  // Half of all pods want a whole node's GPUs, half a quarter of one. Best fit by what is left would be no different
  // for cpu; what must not happen is that quarters open many nodes.
  Engine engine(*find_policy("fragmentation"));
  for (std::uint32_t id = 1; id <= 4; ++id) {
    engine.set_node(NodeId{id}, {64'000, 65'536, 4}, std::vector<std::string>{});
    engine.set_connected(NodeId{id}, true);
  }
  const Request whole{{4000, 1024, 4}};
  Request quarter{{4000, 1024, 1}};
  quarter.gpu_share_milli = 250;
  std::vector<Placed> out;
  for (int i = 0; i < 20; ++i) {  // learn, and leave nothing behind
    for (const Request* request : {&whole, &static_cast<const Request&>(quarter)}) {
      out.clear();
      if (engine.place(*request, 1, out) == 1) engine.release(out[0].node, *request, out[0].gpu_mask);
    }
  }
  std::set<std::uint32_t> nodes;
  for (int i = 0; i < 16; ++i) {
    out.clear();
    ASSERT_EQ(engine.place(quarter, 1, out), 1U);
    nodes.insert(out[0].node.value);
  }
  EXPECT_EQ(nodes.size(), 1U);
  out.clear();
  EXPECT_EQ(engine.place(whole, 3, out), 3U);
}

// An engine that rates, and has learned what comes: such pods came and went again.
struct Learned : Engine {
  Learned(const std::vector<state::Resources>& nodes, const Request& request) : Engine(*find_policy("fragmentation")) {
    for (std::uint32_t id = 1; id <= nodes.size(); ++id) {
      set_node(NodeId{id}, nodes[id - 1], std::vector<std::string>{"f" + std::to_string(id)});
      set_connected(NodeId{id}, true);
    }
    std::vector<Placed> out;
    for (std::uint32_t i = 0; i <= GpuRater::kLearnFirst; ++i) {
      out.clear();
      if (place(request, 1, out) == 1) release(out[0].node, request, out[0].gpu_mask);
    }
  }
};

Request share(std::uint32_t milli) {
  Request request{{1000, 512, 1}};
  request.gpu_share_milli = milli;
  return request;
}

TEST(GpuRater, KnowsWhatGangsWithANodeForEachPodTook) {
  const Request whole{{1000, 512, 1}};
  Learned engine({{16'000, 16'384, 1}, {16'000, 16'384, 1}}, whole);
  std::vector<Placed> out;
  ASSERT_TRUE(engine.place_gang(whole, 2, state::GangShape{0, 0, 1}, out));
  EXPECT_EQ(engine.place(whole, 1, out), 0U);
  EXPECT_EQ(engine.place(share(250), 1, out), 0U);
}

TEST(GpuRater, TheGpuOfAPodBeforeIsNoneForAGang) {
  Learned engine({{16'000, 16'384, 4}}, share(500));
  std::vector<Placed> out;
  ASSERT_EQ(engine.place(share(500), 1, out), 1U);
  ASSERT_TRUE(engine.place_gang(share(500), 5, state::GangShape{0, 1}, out));
  std::map<std::uint64_t, int> pods;
  for (const Placed& placed : out) ++pods[placed.gpu_mask];
  EXPECT_EQ(pods.size(), 3U);
  for (const auto& [mask, count] : pods) EXPECT_EQ(count, 2) << mask;
}

TEST(GpuRater, NodesThatCannotBeRatedAreUsedWhenTheOthersAreFull) {
  const Request whole{{1000, 512, 1}};
  Learned engine({{64'000, 65'536, 20}, {16'000, 16'384, 1}}, whole);
  std::vector<Placed> out;
  EXPECT_EQ(engine.place(whole, 30, out), 21U);
  // Of more sets of features than there are models the last are told apart too.
  Learned many(std::vector<state::Resources>(40, {16'000, 16'384, 1}), whole);
  Request last = whole;
  last.features = {"f39"};
  out.clear();
  EXPECT_EQ(many.place(last, 2, out), 1U);
  EXPECT_EQ(out.at(0).node, NodeId{39});
}

TEST(GpuRater, OnlyNodesWithGpusHaveAModel) {
  GpuRater rater;
  GpuNode plain, with_gpu;
  plain.cpu_milli = with_gpu.cpu_milli = 8000;
  with_gpu.gpus = 1;
  with_gpu.left[0] = kWholeGpu;
  for (std::size_t slot = 0; slot < 40; ++slot) rater.set_node(slot, {"f" + std::to_string(slot)}, plain);
  rater.set_node(40, {"big"}, with_gpu);
  const Request big{{1000, 0, 1}, {"big"}};
  for (std::uint32_t i = 0; i < GpuRater::kLearnFirst; ++i) rater.learn(big);
  const auto choice = rater.best(big, [](std::size_t) { return true; });
  ASSERT_TRUE(choice.has_value());
  EXPECT_EQ(choice->slot, 40U);
}

TEST(GpuRater, ForgetsNoMoreThanItMust) {
  GpuRater rater;
  GpuNode node;
  node.cpu_milli = 1'000'000;
  node.gpus = 1;
  node.left[0] = kWholeGpu;
  rater.set_node(0, {}, node);
  const auto demand = [](std::uint32_t i) { return Request{{1 + i, 0, 1}}; };
  const std::uint32_t all = GpuRater::kLearnFirst + GpuRater::kLearnAgain;
  for (std::uint32_t i = 0; i < all; ++i) rater.learn(demand(i % 2 == 0 ? 1'000 : i));  // one often, the others once
  std::uint32_t known = 0;
  for (std::uint32_t i = 0; i < all; ++i) known += rater.best(demand(i), [](std::size_t) { return true; }) ? 1 : 0;
  EXPECT_GE(known + 1, GpuRater::kDemandsMax);
  EXPECT_LE(known, GpuRater::kDemandsMax);
  EXPECT_TRUE(rater.best(demand(1'000), [](std::size_t) { return true; }).has_value());
}

}  // namespace
}  // namespace berth::placement
