// GPUs in shares: the model, and every policy against rating each node anew.
#include "placement/gpu_policy.h"

#include <gtest/gtest.h>
#include <random>

namespace berth::placement {
namespace {

GpuNode node_of(std::int32_t cpu_milli, std::int32_t mem_mib, std::vector<std::int16_t> left, std::uint8_t model = 0) {
  GpuNode node;
  node.cpu_milli = cpu_milli;
  node.mem_mib = mem_mib;
  node.gpus = static_cast<std::uint8_t>(left.size());
  node.model = model;
  std::copy(left.begin(), left.end(), node.left.begin());
  return node;
}

TEST(GpuShares, APodFitsOnlyWhereOneGpuHasItsWholeShare) {
  const GpuNode node = node_of(4000, 1024, {400, 300, 1000});
  EXPECT_TRUE(fits(node, {1000, 10, 1, 400, 0}));
  EXPECT_TRUE(fits(node, {1000, 10, 1, 1000, 0}));
  EXPECT_FALSE(fits(node, {1000, 10, 2, 500, 0})) << "400 + 300 of two GPUs make no 500 of one";
  EXPECT_TRUE(fits(node, {1000, 10, 3, 300, 0}));
  EXPECT_FALSE(fits(node, {4001, 10, 0, 0, 0}));
  EXPECT_FALSE(fits(node, {1000, 1025, 0, 0, 0}));
  EXPECT_TRUE(fits(node, {1000, 10, 1, 400, 1U << 0}));
  EXPECT_FALSE(fits(node, {1000, 10, 1, 400, 1U << 3})) << "another model";
}

TEST(GpuShares, TheTightestGpusAreTakenAndGivenBack) {
  GpuNode node = node_of(4000, 1024, {400, 300, 1000, 300});
  const GpuDemand demand{1000, 100, 2, 300, 0};
  const std::uint32_t mask = tightest_gpus(node, demand);
  EXPECT_EQ(mask, 0b1010U);
  take(node, demand, mask);
  EXPECT_EQ(node.left_milli(), 1400);
  EXPECT_EQ(node.cpu_milli, 3000);
  give(node, demand, mask);
  EXPECT_EQ(node.left_milli(), 2000);
  EXPECT_EQ(node.mem_mib, 1024);
}

TEST(GpuShares, FragmentationIsWhatADrawnPodCannotUse) {
  const DemandMix mix = {{{1000, 0, 1, 500, 0}, 0.5}, {{1000, 0, 2, 1000, 0}, 0.25}, {{1000, 0, 0, 0, 0}, 0.25}};
  // Half a GPU: the 300 are too small. Two GPUs: there is but one. No GPU: all that is left.
  EXPECT_DOUBLE_EQ(fragmentation(node_of(4000, 0, {300, 1000}), mix), 0.5 * 300 + 0.25 * 1300 + 0.25 * 1300);
  EXPECT_DOUBLE_EQ(fragmentation(node_of(500, 0, {300, 1000}), mix), 1300) << "no cpu for any";
  EXPECT_DOUBLE_EQ(fragmentation(node_of(4000, 0, {0, 0}), mix), 0);
}

TEST(GpuPolicy, APodWithoutGpusGoesWhereThereIsCpuToSpare) {
  const GpuDemand plain{8000, 100, 0, 0, 0};
  const GpuDemand whole{10'000, 100, 1, 1000, 0};
  // The first node's cpu is just enough for its GPUs.
  std::vector<GpuNode> nodes = {node_of(40'000, 9999, {1000, 1000, 1000, 1000}), node_of(60'000, 9999, {1000, 1000})};
  GpuCluster cluster(nodes, {{{plain, 0.5}, {whole, 0.5}}}, "fragmentation", 1);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(cluster.place(0).node, 1U);
}

TEST(GpuPolicy, AModelThatSomePodsMustHaveIsKeptForThem) {
  const GpuDemand any{1000, 100, 1, 1000, 0};
  const GpuDemand picky{1000, 100, 1, 1000, 1U << 0};
  std::vector<GpuNode> nodes = {node_of(9000, 9999, {1000, 1000}, 0), node_of(9000, 9999, {1000, 1000, 1000}, 1)};
  GpuCluster cluster(nodes, {{{any, 0.5}, {picky, 0.5}}}, "fragmentation", 1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(cluster.place(0).node, 1U);
  EXPECT_EQ(cluster.place(1).node, 0U);
  EXPECT_EQ(cluster.place(0).node, 0U) << "there is no other left";
}

class EveryPolicy : public testing::TestWithParam<std::string_view> {};
INSTANTIATE_TEST_SUITE_P(GpuPolicy, EveryPolicy, testing::ValuesIn(gpu_policy_names()), [](const auto& chosen) {
  std::string name(chosen.param);
  std::erase(name, '-');
  return name;
});

// Random pods come and go: each is placed where rating every node anew says, or nowhere if none fits; and in the end
// every thousandth is back.
TEST_P(EveryPolicy, ChoosesTheTrueBestAndConservesCapacity) {
  std::mt19937 dice(20'231);
  const auto roll = [&](std::int32_t from, std::int32_t to) {
    return std::uniform_int_distribution<std::int32_t>(from, to)(dice);
  };
  for (int round = 0; round < 4; ++round) {
    std::vector<GpuNode> nodes;
    for (int i = roll(3, 25); i > 0; --i) {
      const auto gpus = static_cast<std::size_t>(roll(1, 8));
      nodes.push_back(node_of(roll(8, 96) * 1000, roll(32, 512) * 1024, std::vector<std::int16_t>(gpus, kWholeGpu),
                              static_cast<std::uint8_t>(roll(0, 3))));
    }
    DemandMix mix;
    for (int i = 0; i < 12; ++i) {
      GpuDemand demand{roll(1, 16) * 500, roll(1, 64) * 512, roll(0, 3), 0, 0};
      if (demand.gpus > 0) demand.share_milli = demand.gpus == 1 && roll(0, 1) == 0 ? roll(1, 9) * 100 : kWholeGpu;
      if (demand.gpus > 0 && roll(0, 3) == 0) demand.models = static_cast<std::uint32_t>(roll(1, 15));
      mix.push_back({demand, 1.0 / 12});
    }
    GpuCluster cluster(nodes, {mix}, GetParam(), static_cast<std::uint64_t>(round));
    const std::int64_t all = cluster.free_milli();
    std::vector<std::pair<std::uint32_t, GpuCluster::Place>> running;
    int nowhere = 0;
    for (int step = 0; step < 1500; ++step) {
      if (!running.empty() && roll(0, 99) < 40) {
        std::swap(running[static_cast<std::size_t>(roll(0, static_cast<std::int32_t>(running.size()) - 1))],
                  running.back());
        cluster.release(running.back().first, running.back().second);
        running.pop_back();
        continue;
      }
      const auto index = static_cast<std::uint32_t>(roll(0, 11));
      const GpuCluster::Place expected = cluster.best_by_force(index);
      bool any_fits = false;
      for (const GpuNode& node : cluster.nodes()) any_fits |= fits(node, mix[index].demand);
      const GpuCluster::Place place = cluster.place(index);
      ASSERT_EQ(place.node, expected.node);
      ASSERT_EQ(place.mask, expected.mask);
      ASSERT_EQ(place.node != GpuCluster::kNowhere, any_fits);
      if (place.node == GpuCluster::kNowhere) {
        ++nowhere;
        continue;
      }
      const GpuNode& node = cluster.nodes()[place.node];
      ASSERT_EQ(std::popcount(place.mask), mix[index].demand.gpus);
      ASSERT_GE(node.cpu_milli, 0);
      ASSERT_GE(node.mem_mib, 0);
      for (std::uint32_t gpu = 0; gpu < node.gpus; ++gpu) ASSERT_GE(node.left[gpu], 0);
      running.emplace_back(index, place);
    }
    EXPECT_GT(nowhere, 0) << "the cluster never filled";
    for (const auto& [index, place] : running) cluster.release(index, place);
    EXPECT_EQ(cluster.free_milli(), all);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      EXPECT_EQ(cluster.nodes()[i].cpu_milli, nodes[i].cpu_milli);
      EXPECT_EQ(cluster.nodes()[i].mem_mib, nodes[i].mem_mib);
      EXPECT_EQ(cluster.nodes()[i].left, nodes[i].left);
    }
  }
}

}  // namespace
}  // namespace berth::placement
