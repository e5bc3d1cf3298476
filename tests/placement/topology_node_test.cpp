// Where a pod goes on one machine, against trying every part of it; and that nothing is sold twice or lost.
#include "placement/topology_node.h"

#include <gtest/gtest.h>
#include <optional>
#include <random>
#include <set>

namespace berth::placement {
namespace {

using namespace state;
using Level = TopologyRequest::Level;
using Part = Topology::Part;

// Packages of NUMA nodes of caches of cores of threads; GPUs near NUMA nodes.
Topology machine_of(std::uint32_t packages, std::uint32_t numas, std::uint32_t caches, std::uint32_t cores,
                    std::uint32_t threads, std::uint32_t gpus_each = 0) {
  Topology topology;
  const std::uint32_t all = packages * numas * caches * cores;
  for (std::uint32_t core = 0; core < all; ++core) {
    auto& list = topology.cores.emplace_back();
    for (std::uint32_t thread = 0; thread < threads; ++thread) list.push_back(core + thread * all);
  }
  const auto add = [&](Part part, std::uint32_t number, std::uint32_t size) {
    topology.domains.push_back({part, number, {number * size, (number + 1) * size}});
  };
  add(Part::kMachine, 0, all);
  for (std::uint32_t i = 0; i < packages; ++i) add(Part::kPackage, i, all / packages);
  for (std::uint32_t i = 0; i < packages * numas; ++i) {
    add(Part::kNuma, i, caches * cores);
    topology.memories.push_back({i, 1000, topology.domains.back().cores});
    for (std::uint32_t gpu = 0; gpu < gpus_each; ++gpu) {
      topology.devices.push_back(
          {true, "gpu" + std::to_string(topology.devices.size()), "", topology.domains.back().cores});
    }
  }
  for (std::uint32_t i = 0; i < packages * numas * caches; ++i) add(Part::kL3, i, cores);
  return topology;
}

TopologyRequest cores(std::uint32_t count, Level level = Level::kNone, bool require = false) {
  TopologyRequest request;
  request.cores = count;
  request.level = level;
  request.require = require;
  return request;
}
using Numbers = std::vector<std::uint32_t>;

TEST(TopologyNode, WholeCoresAndSingleThreads) {
  TopologyNode node(machine_of(1, 1, 2, 4, 2));
  TopologyRequest threads;
  threads.threads = 3;
  auto plan = node.place(threads);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->threads, (Numbers{0, 1, 8})) << "both threads of a core before another";
  TopologyRequest half = cores(2);
  half.threads_per_core = 1;
  auto idle = node.place(half);
  ASSERT_TRUE(idle.ok());
  EXPECT_EQ(idle->threads, (Numbers{2, 3})) << "in the cache that is in use";
  EXPECT_EQ(idle->claimed, (Numbers{2, 3, 10, 11}));
  auto four = node.place(cores(4));
  ASSERT_TRUE(four.ok());
  EXPECT_EQ(four->threads, (Numbers{4, 5, 6, 7, 12, 13, 14, 15}));
  EXPECT_FALSE(node.place(cores(1)).ok());
  threads.threads = 2;
  EXPECT_EQ(node.place(threads).error().message, "the machine has not 2 free hardware threads, but 1");
  threads.threads = 1;
  auto last = node.place(threads);
  ASSERT_TRUE(last.ok());
  EXPECT_EQ(last->threads, (Numbers{9}));
}

TEST(TopologyNode, CouldHoldWhatFitsWithNothingElseOnIt) {
  TopologyNode node(machine_of(1, 2, 1, 4, 1, 1));
  TopologyRequest half = cores(4, Level::kNuma, true);
  half.mem_mib = 1000;
  half.gpus = 1;
  ASSERT_TRUE(node.place(half).ok() && node.place(half).ok());
  EXPECT_FALSE(node.can_place(half));
  EXPECT_TRUE(node.could_place(half));
  for (const auto more : {&TopologyRequest::cores, &TopologyRequest::gpus}) {
    TopologyRequest larger = half;
    ++(larger.*more);
    EXPECT_FALSE(node.could_place(larger));
  }
  ++half.mem_mib;
  EXPECT_FALSE(node.could_place(half));
}

TEST(TopologyNode, HasNeverMoreMemoryThanItHas) {
  TopologyNode node(machine_of(1, 1, 1, 4, 1));
  TopologyRequest request = cores(1);
  request.mem_mib = 600;
  const auto plan = node.place(request);
  ASSERT_TRUE(plan.ok());
  node.release(*plan);
  node.release(*plan);
  EXPECT_EQ(node.free_mem_mib(0), 1000U);
}

TEST(TopologyNode, TheTightestPartThatHoldsItIsTaken) {
  TopologyNode node(machine_of(2, 2, 2, 4, 1));
  ASSERT_TRUE(node.place(cores(3, Level::kL3, true)).ok());
  auto one = node.place(cores(1, Level::kL3));
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->threads, (Numbers{3}));
  auto numa = node.place(cores(5, Level::kNuma, true));
  ASSERT_TRUE(numa.ok());
  EXPECT_EQ(numa->threads, (Numbers{8, 9, 10, 11, 12}));
  auto wide = node.place(cores(12, Level::kNuma));
  ASSERT_TRUE(wide.ok()) << "preferred, not required";
  EXPECT_EQ(wide->threads.front(), 16U) << "one package holds it";
}

TEST(TopologyNode, CoresAndMemoryAreNearTheGpus) {
  TopologyNode node(machine_of(2, 2, 1, 4, 1, 2));
  ASSERT_TRUE(node.place(cores(4, Level::kNuma)).ok());  // NUMA node 0: its GPUs have no cores left
  TopologyRequest request = cores(2, Level::kNuma, true);
  request.gpus = 2;
  request.mem_mib = 500;
  auto plan = node.place(request);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->gpus, (Numbers{2, 3}));
  EXPECT_EQ(plan->threads, (Numbers{4, 5}));
  EXPECT_EQ(plan->mem_mib, (std::vector<std::pair<std::uint32_t, std::uint64_t>>{{1, 500}}));
  request.gpus = 3;
  EXPECT_EQ(node.place(request).error().message,
            "no NUMA node has 3 free GPUs beside 2 free cores: NUMA node 2 comes nearest with 2");
  request.require = false;
  auto both = node.place(request);
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(both->gpus, (Numbers{4, 5, 6}));
}

TEST(TopologyNode, MemoryBeyondANumaNodeComesFromItsNeighbours) {
  TopologyNode node(machine_of(2, 2, 1, 4, 1));
  TopologyRequest request = cores(1, Level::kNuma);
  request.mem_mib = 1500;
  auto plan = node.place(request);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->mem_mib, (std::vector<std::pair<std::uint32_t, std::uint64_t>>{{0, 1000}, {1, 500}}));
  request.require = true;
  EXPECT_EQ(node.place(request).error().message,
            "no NUMA node has 1.4 GiB of free memory beside 1 free core: NUMA node 2 comes nearest with 1000 MiB");
}

// The rules again, by trying all parts: what the best part is, or nothing.
std::optional<CoreRange> best_by_force(const TopologyNode& node, const TopologyRequest& request) {
  const Topology& topology = node.topology();
  const std::uint32_t units = request.cores != 0 ? request.cores : request.threads;
  const auto room = [&](const CoreRange& range) {
    std::uint32_t count = 0;
    for (std::uint32_t core = range.first; core < range.end; ++core) {
      std::uint32_t free = 0;
      for (const std::uint32_t thread : topology.cores[core]) free += node.thread_is_free(thread) ? 1 : 0;
      count += request.threads != 0 ? free : free == topology.cores[core].size() ? 1 : 0;
    }
    return count;
  };
  std::optional<CoreRange> best;
  for (int pass = request.level == Level::kNone ? 1 : 0; pass < (request.require ? 1 : 2) && !best; ++pass) {
    for (const auto& domain : topology.domains) {
      const bool small = std::any_of(topology.domains.begin(), topology.domains.end(), [&](const auto& around) {
        const Part wanted = request.level == Level::kL3     ? Part::kL3
                            : request.level == Level::kNuma ? Part::kNuma
                                                            : Part::kPackage;
        return around.part == wanted && domain.cores.within(around.cores);
      });
      if (pass == 0 && !small) continue;
      std::uint32_t gpus = 0;
      std::uint64_t mem = 0;
      for (std::size_t i = 0; i < topology.devices.size(); ++i)
        gpus += topology.devices[i].cores.meets(domain.cores) && node.device_is_free(i) ? 1 : 0;
      for (std::size_t i = 0; i < topology.memories.size(); ++i)
        mem += topology.memories[i].cores.meets(domain.cores) ? node.free_mem_mib(i) : 0;
      if (room(domain.cores) < units || gpus < request.gpus || mem < request.mem_mib) continue;
      const auto rank = [&](const CoreRange& range) { return std::tuple(range.size(), room(range), range.first); };
      if (!best || rank(domain.cores) < rank(*best)) best = domain.cores;
    }
  }
  return best;
}

// The fewest of the caches in the part that hold so many cores.
std::uint32_t fewest_caches(const TopologyNode& node, const CoreRange& part, std::uint32_t count) {
  std::vector<std::uint32_t> rooms;
  for (const auto& domain : node.topology().domains) {
    if (domain.part != Part::kL3 || !domain.cores.within(part)) continue;
    rooms.push_back(0);
    for (std::uint32_t core = domain.cores.first; core < domain.cores.end; ++core) {
      const auto& threads = node.topology().cores[core];
      rooms.back() +=
          std::all_of(threads.begin(), threads.end(), [&](auto t) { return node.thread_is_free(t); }) ? 1 : 0;
    }
  }
  std::uint32_t fewest = ~0U;
  for (std::uint32_t set = 0; set < 1U << rooms.size(); ++set) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < rooms.size(); ++i) sum += (set >> i & 1U) != 0 ? rooms[i] : 0;
    if (sum >= count) fewest = std::min(fewest, static_cast<std::uint32_t>(std::popcount(set)));
  }
  return fewest;
}

class TopologyNodeAgainstForce : public testing::TestWithParam<unsigned> {};

TEST_P(TopologyNodeAgainstForce, ChoosesTheBestPartAndLosesNothing) {
  std::mt19937 dice(GetParam());
  const auto below = [&](std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(dice); };
  const std::uint32_t gpus_each = below(3);
  TopologyNode node(machine_of(1 + below(2), 1 + below(3), 1 + below(2), 1 + below(4), 1 + below(2), gpus_each));
  const Topology& topology = node.topology();
  std::vector<TopologyPlan> running;
  int placed = 0, refused = 0;
  for (int step = 0; step < 2000; ++step) {
    if (!running.empty() && below(100) < 45) {
      std::swap(running[below(static_cast<std::uint32_t>(running.size()))], running.back());
      node.release(running.back());
      running.pop_back();
      continue;
    }
    TopologyRequest request;
    (below(3) == 0 ? request.threads : request.cores) = 1 + below(6);
    request.gpus = below(4) == 0 ? below(3) : 0;
    request.mem_mib = below(2) == 0 ? below(700) : 0;
    request.level = static_cast<Level>(below(4));
    request.require = request.level != Level::kNone && below(2) == 0;
    const auto expected = best_by_force(node, request);
    const bool one_level = request.level != Level::kNone && request.gpus == 0 && request.cores != 0;
    const std::uint32_t caches = expected && one_level ? fewest_caches(node, *expected, request.cores) : 0;
    std::vector<std::uint64_t> memory_before;
    for (std::size_t i = 0; i < topology.memories.size(); ++i) memory_before.push_back(node.free_mem_mib(i));
    std::set<std::uint32_t> free_before;
    for (const auto& core : topology.cores) {
      for (const auto thread : core) {
        if (node.thread_is_free(thread)) free_before.insert(thread);
      }
    }
    auto plan = node.place(request);
    ASSERT_EQ(plan.ok(), expected.has_value());
    if (!plan.ok()) {
      EXPECT_FALSE(plan.error().message.empty());
      ++refused;
      continue;
    }
    ++placed;
    std::set<std::uint32_t> used_cores, used_caches;
    for (const std::uint32_t thread : plan->claimed) {
      ASSERT_TRUE(free_before.contains(thread)) << "sold twice";
      ASSERT_FALSE(node.thread_is_free(thread));
      for (std::uint32_t core = 0; core < topology.cores.size(); ++core) {
        if (std::count(topology.cores[core].begin(), topology.cores[core].end(), thread) != 0) used_cores.insert(core);
      }
    }
    if (request.threads != 0) {
      ASSERT_EQ(plan->claimed.size(), request.threads);
    } else {
      ASSERT_EQ(used_cores.size(), request.cores);
      ASSERT_EQ(plan->claimed.size(), request.cores * topology.cores[0].size());
    }
    if (request.level != Level::kNone || request.gpus != 0) {
      for (const std::uint32_t core : used_cores) ASSERT_TRUE((CoreRange{core, core + 1}).within(*expected));
    }
    for (const auto& domain : topology.domains) {
      for (const std::uint32_t core : used_cores) {
        if (domain.part == Part::kL3 && core >= domain.cores.first && core < domain.cores.end)
          used_caches.insert(domain.number);
      }
    }
    // Packages and NUMA nodes come before caches: within one of the lowest of these the caches are the fewest.
    if (one_level && expected->size() <= topology.memories[0].cores.size()) {
      ASSERT_EQ(used_caches.size(), caches);
    }
    ASSERT_EQ(plan->gpus.size(), request.gpus);
    std::uint64_t memory = 0;
    for (const auto& [numa, mem_mib] : plan->mem_mib) {
      ASSERT_LE(mem_mib, memory_before[numa]);
      memory += mem_mib;
    }
    ASSERT_EQ(memory, request.mem_mib);
    running.push_back(*plan);
  }
  EXPECT_GT(placed, 100);
  EXPECT_GT(refused, 10);
  for (const TopologyPlan& plan : running) node.release(plan);
  for (const auto& core : topology.cores) {
    for (const auto thread : core) EXPECT_TRUE(node.thread_is_free(thread));
  }
  for (std::size_t i = 0; i < topology.memories.size(); ++i) EXPECT_EQ(node.free_mem_mib(i), 1000U);
  for (std::size_t i = 0; i < topology.devices.size(); ++i) EXPECT_TRUE(node.device_is_free(i));
}

INSTANTIATE_TEST_SUITE_P(Seeds, TopologyNodeAgainstForce, testing::Range(1U, 31U));

}  // namespace
}  // namespace berth::placement
