// What nodes have beside cpu, memory and whole GPUs: countables, shares of GPUs, limits of pods, cores. Against a model
// that looks at every node for each pod.
#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <span>

#include "placement/engine.h"

namespace berth::placement {
namespace {

using state::Countable;
using state::NodeId;
using state::Request;
using state::Resources;

// A machine of packages with NUMA nodes with cores with hardware threads; a GPU near each NUMA node if asked for.
state::Topology machine(std::uint32_t packages, std::uint32_t numas, std::uint32_t cores, std::uint32_t threads,
                        bool gpus = false) {
  state::Topology out;
  const std::uint32_t all = packages * numas * cores;
  for (std::uint32_t core = 0; core < all; ++core) {
    auto& mine = out.cores.emplace_back();
    for (std::uint32_t t = 0; t < threads; ++t) mine.push_back(core + t * all);
  }
  using Part = state::Topology::Part;
  out.domains.push_back({Part::kMachine, 0, {0, all}});
  for (std::uint32_t p = 0; p < packages; ++p) {
    out.domains.push_back({Part::kPackage, p, {p * numas * cores, (p + 1) * numas * cores}});
  }
  for (std::uint32_t n = 0; n < packages * numas; ++n) {
    const state::CoreRange range{n * cores, (n + 1) * cores};
    out.domains.push_back({Part::kNuma, n, range});
    out.memories.push_back({n, 4096, range});
    if (gpus) out.devices.push_back({true, "cuda" + std::to_string(n), "", range});
  }
  return out;
}

struct ExtrasModel {
  struct Node {
    Resources capacity;
    std::int64_t cpu = 0, mem = 0;
    std::map<std::string, std::int64_t> counts;
    std::vector<std::int32_t> gpus = std::vector<std::int32_t>(4, 1000);  // what is left of each, offered or not
    std::span<const std::int32_t> offered() const { return std::span(gpus).first(capacity.gpus); }
    std::uint32_t pods = 0, pods_max = 0;
    bool present = false;
  };
  std::vector<Node> nodes;

  static std::int64_t whole_gpus(const Node& node) {
    return std::count(node.offered().begin(), node.offered().end(), 1000);
  }
  static bool holds(const Node& node, const Request& r, bool opened) {
    if (!node.present || (node.pods_max != 0 && node.pods >= node.pods_max)) return false;
    if (node.cpu < r.resources.cpu_milli || node.mem < static_cast<std::int64_t>(r.resources.mem_mib)) return false;
    for (const Countable& c : r.counts) {
      const auto has = node.counts.find(c.name);
      if (has == node.counts.end() || has->second < static_cast<std::int64_t>(c.count)) return false;
    }
    if (r.gpu_share_milli != 0) {
      return std::any_of(node.offered().begin(), node.offered().end(), [&](std::int32_t left) {
        return left >= static_cast<std::int32_t>(r.gpu_share_milli) && (opened ? left < 1000 : left == 1000);
      });
    }
    return whole_gpus(node) >= r.resources.gpus;
  }
  static std::int64_t key(const Node& node) {
    Amounts free{static_cast<std::int32_t>(node.cpu), static_cast<std::int32_t>(node.mem),
                 static_cast<std::uint32_t>(whole_gpus(node))};
    return default_policy().key(free.left());
  }
  std::size_t best(const Request& r) const {
    for (const bool opened : {true, false}) {
      if (opened && r.gpu_share_milli == 0) continue;
      std::size_t best = nodes.size();
      for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (holds(nodes[i], r, opened) && (best == nodes.size() || key(nodes[i]) < key(nodes[best]))) best = i;
      }
      if (best != nodes.size()) return best;
    }
    return nodes.size();
  }
  void change(std::size_t at, const Request& r, std::uint64_t mask, int sign) {
    Node& node = nodes[at];
    node.cpu -= sign * static_cast<std::int64_t>(r.resources.cpu_milli);
    node.mem -= sign * static_cast<std::int64_t>(r.resources.mem_mib);
    node.pods += static_cast<std::uint32_t>(sign);
    for (const Countable& c : r.counts) node.counts[c.name] -= sign * static_cast<std::int64_t>(c.count);
    const std::int32_t part = r.gpu_share_milli != 0 ? static_cast<std::int32_t>(r.gpu_share_milli) : 1000;
    for (std::size_t gpu = 0; gpu < node.gpus.size(); ++gpu) {
      if ((mask >> gpu & 1U) != 0) node.gpus[gpu] -= sign * part;
    }
  }
};

TEST(Extras, AreCountedAsAModelCountsThemOverRandomHistories) {
  std::mt19937 rng(11);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(rng() % n); };
  for (int world = 0; world < 12; ++world) {
    Engine engine;
    ExtrasModel model;
    model.nodes.resize(14);
    struct Live {
      Request request;
      Placed placed;
    };
    std::vector<Live> live;
    const auto set_node = [&](std::uint32_t i) {
      ExtrasModel::Node& node = model.nodes[i];
      const Resources capacity{(4 + below(12)) * 1000, 4096 + below(8192), below(5)};
      std::vector<Countable> counts;
      if (below(2) == 0) counts.push_back({"disk", 100 + below(900)});
      if (below(2) == 0) counts.push_back({"fpga", 1 + below(3)});
      const std::uint32_t pods_max = below(3) == 0 ? 2 + below(6) : 0;
      std::map<std::string, std::int64_t> taken;
      for (const Live& pod : live) {
        if (pod.placed.node.value != i + 1) continue;
        for (const Countable& c : pod.request.counts) taken[c.name] += static_cast<std::int64_t>(c.count);
      }
      node.cpu += static_cast<std::int64_t>(capacity.cpu_milli) - (node.present ? node.capacity.cpu_milli : 0);
      node.mem += static_cast<std::int64_t>(capacity.mem_mib) -
                  static_cast<std::int64_t>(node.present ? node.capacity.mem_mib : 0);
      node.counts.clear();
      for (const Countable& c : counts) node.counts[c.name] = static_cast<std::int64_t>(c.count);
      for (const auto& [name, count] : taken) node.counts[name] -= count;
      node.capacity = capacity;
      node.pods_max = pods_max;
      node.present = true;
      engine.set_node(NodeId{i + 1}, {capacity, Traits{"n" + std::to_string(i), {}, {}}, counts, pods_max});
      engine.set_connected(NodeId{i + 1}, true);
    };
    for (std::uint32_t i = 0; i < model.nodes.size(); ++i) set_node(i);
    int refused = 0;
    for (int step = 0; step < 4'000; ++step) {
      const std::uint32_t what = below(100);
      if (what < 52) {
        Request request{{1000 * (1 + below(3)), 64 * below(20), 0}};
        const std::uint32_t kind = below(4);
        if (kind == 0) request.counts = {{"fpga", 1 + below(2)}};
        if (kind == 1) request.counts = {{"disk", 50 + below(200)}, {"fpga", 1}};
        if (kind == 2) {
          request.resources.gpus = 1;
          request.gpu_share_milli = 100 * (1 + below(9));
        }
        if (kind == 3) request.resources.gpus = below(3);
        const std::uint32_t count = 1 + below(4);
        std::vector<Placed> out;
        const std::uint32_t placed = engine.place(request, count, out);
        ASSERT_EQ(placed, out.size());
        for (const Placed& place : out) {
          const std::size_t best = model.best(request);
          ASSERT_EQ(best + 1, place.node.value) << "world " << world << " step " << step;
          if (request.gpu_share_milli != 0) {
            // Of the GPUs in shares the tightest; else the first whole one.
            const auto gpus = model.nodes[best].offered();
            const auto gpu = static_cast<std::size_t>(std::countr_zero(place.gpu_mask));
            ASSERT_EQ(std::popcount(place.gpu_mask), 1);
            ASSERT_LT(gpu, gpus.size());
            for (const std::int32_t left : gpus) {
              if (left >= static_cast<std::int32_t>(request.gpu_share_milli)) {
                ASSERT_LE(gpus[gpu], left);
              }
            }
          }
          model.change(best, request, place.gpu_mask, 1);
          live.push_back({request, place});
        }
        if (placed < count) {
          ++refused;
          ASSERT_EQ(model.best(request), model.nodes.size()) << "world " << world << " step " << step;
          ASSERT_EQ(engine.explain(request).nodes_fit, 0U);
        }
      } else if (what < 97 && !live.empty()) {
        const std::uint32_t which = below(static_cast<std::uint32_t>(live.size()));
        const Live pod = live[which];
        live[which] = live.back();
        live.pop_back();
        engine.release(pod.placed.node, pod.request, pod.placed.gpu_mask);
        model.change(pod.placed.node.value - 1, pod.request, pod.placed.gpu_mask, -1);
      } else {
        set_node(below(14));
      }
      if (step % 50 == 0) {
        ASSERT_EQ(engine.check_invariants(), "");
      }
    }
    EXPECT_GT(refused, 20);
    for (const Live& pod : live) engine.release(pod.placed.node, pod.request, pod.placed.gpu_mask);
    for (std::uint32_t i = 0; i < model.nodes.size(); ++i) {
      EXPECT_EQ(engine.used(NodeId{i + 1}), Resources{});
      EXPECT_TRUE(engine.counts_used(NodeId{i + 1}).empty());
      EXPECT_EQ(engine.gpus_shared_milli(NodeId{i + 1}), 0U);
    }
    ASSERT_EQ(engine.check_invariants(), "");
  }
}

TEST(Extras, AGpuIsGivenOnceThoughFewerAreOfferedForAWhile) {
  Engine engine;
  const auto offer = [&](std::uint32_t gpus) {
    engine.set_node(NodeId{1}, {16'000, 16'384, gpus}, std::vector<std::string>{});
    engine.set_connected(NodeId{1}, true);
  };
  const Request whole{{1000, 64, 1}};
  std::vector<Placed> out;
  offer(4);
  ASSERT_EQ(engine.place(whole, 4, out), 4U);
  offer(2);
  EXPECT_EQ(engine.used(NodeId{1}).gpus, 4U);
  engine.release(NodeId{1}, whole, 8);
  EXPECT_EQ(engine.place(whole, 1, out), 0U);
  offer(4);
  ASSERT_EQ(engine.place(whole, 2, out), 1U);
  EXPECT_EQ(out.back().gpu_mask, 8U);
  EXPECT_EQ(engine.check_invariants(), "");
}

TEST(Extras, AGpuInSharesIsGivenNoMoreOfWhileItIsNotOffered) {
  Engine engine;
  const auto offer = [&](std::uint32_t gpus) {
    engine.set_node(NodeId{1}, {16'000, 16'384, gpus}, std::vector<std::string>{});
    engine.set_connected(NodeId{1}, true);
  };
  Request most{{1000, 64, 1}}, rest{{1000, 64, 1}};
  most.gpu_share_milli = 600;
  rest.gpu_share_milli = 400;
  std::vector<Placed> out;
  offer(2);
  ASSERT_EQ(engine.place(most, 2, out), 2U);
  offer(1);
  ASSERT_EQ(engine.place(rest, 2, out), 1U);
  EXPECT_EQ(out.back().gpu_mask, 1U);
  EXPECT_FALSE(engine.fits_now(NodeId{1}, rest));
  offer(2);
  EXPECT_EQ(engine.place(Request{{1000, 64, 1}}, 1, out), 0U);
  ASSERT_EQ(engine.place(rest, 2, out), 1U);
  EXPECT_EQ(out.back().gpu_mask, 2U);
  EXPECT_EQ(engine.check_invariants(), "");
}

TEST(Extras, PodsThatAreFoundRunningCountAgainstALimitOfPods) {
  Engine engine;
  engine.set_node(NodeId{1}, {{4000, 4096, 0}, Traits{"n1", {}, {}}, {}, 1});
  engine.set_connected(NodeId{1}, true);
  std::vector<Placed> out;
  engine.claim(NodeId{1}, Resources{1000, 0, 0}, 0);
  EXPECT_EQ(engine.check_invariants(), "");
  EXPECT_EQ(engine.place(Request{{1000, 0, 0}}, 1, out), 0U);
  engine.release(NodeId{1}, Resources{1000, 0, 0}, 0);
  EXPECT_EQ(engine.place(Request{{1000, 0, 0}}, 1, out), 1U);
}

// Every whole cpu is one thread of one pod; parts that are insisted on are kept; nothing that fits is refused.
TEST(Cores, AreGivenToOnePodEachAndWhereItInsists) {
  std::mt19937 rng(3);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(rng() % n); };
  Engine engine;
  constexpr std::uint32_t kNodes = 4, kNuma = 4, kCores = 4, kThreads = 2;
  const state::Topology topology = machine(2, 2, kCores, kThreads, true);
  for (std::uint32_t id = 1; id <= kNodes; ++id) {
    engine.set_node(NodeId{id}, {{32'000, 16'384, 4}, Traits{"n" + std::to_string(id), {}, {}}, {}, 0, &topology});
    engine.set_connected(NodeId{id}, true);
  }
  struct Live {
    Request request;
    Placed placed;
    state::Pinning pinning;
  };
  std::vector<Live> live;
  std::map<std::uint32_t, std::vector<int>> owner;  // by node: the pods of each thread
  for (std::uint32_t id = 1; id <= kNodes; ++id) owner[id].assign(32, 0);
  const auto mark = [&](const Live& pod, int by) {
    std::vector<std::uint32_t> cpus;
    ASSERT_TRUE(state::parse_cpus(pod.pinning.cpus, cpus));
    for (const std::uint32_t cpu : cpus) owner[pod.placed.node.value][cpu] += by;
    if (pod.pinning.idle == 0) return;
    for (const std::uint32_t cpu : cpus) owner[pod.placed.node.value][cpu < 16 ? cpu + 16 : cpu - 16] += by;
  };
  // Whether some NUMA node of some machine has so many whole free cores (or threads), and the node the cpu.
  const auto fits_in_numa = [&](const Request& request, bool with_gpu) {
    const std::uint32_t cpus = request.resources.cpu_milli / 1000;
    for (std::uint32_t id = 1; id <= kNodes; ++id) {
      const Resources used = engine.used(NodeId{id});
      if (32'000 - used.cpu_milli < request.resources.cpu_milli || 4 - used.gpus < request.resources.gpus) continue;
      for (std::uint32_t numa = 0; numa < kNuma; ++numa) {
        std::uint32_t cores = 0, threads = 0;
        for (std::uint32_t core = numa * kCores; core < (numa + 1) * kCores; ++core) {
          const int a = owner[id][core], b = owner[id][core + 16];
          threads += (a == 0) + (b == 0);
          cores += a == 0 && b == 0;
        }
        bool gpu_free = true;
        for (const Live& pod : live)
          gpu_free &= !(pod.placed.node.value == id && (pod.placed.gpu_mask >> numa & 1U) != 0);
        if (with_gpu && !gpu_free) continue;
        if (cpus % 2 == 0 ? cores * 2 >= cpus : threads >= cpus) return true;
      }
    }
    return false;
  };
  int refused = 0, in_one = 0, idle = 0, parts = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (below(100) < 55) {
      Request request{{1000 * (1 + below(8)), 0, 0}};
      const std::uint32_t kind = below(5);
      if (kind == 0) request.cores = {state::CoreFit::Level::kNuma, true, 0};
      if (kind == 1) request.cores = {state::CoreFit::Level::kNuma, false, 0};
      if (kind == 2) request.cores.threads_per_core = 1;
      if (kind == 3) request.resources.cpu_milli = 500;
      if (kind == 4) request.resources.gpus = below(2);
      const bool with_gpu = kind == 0 && below(3) == 0;
      if (with_gpu) request.resources.gpus = 1;
      const bool should = kind == 0 ? fits_in_numa(request, with_gpu) : true;
      engine.drop_pinnings();
      std::vector<Placed> out;
      const bool placed = engine.place(request, 1, out) == 1;
      if (kind == 0) {
        ASSERT_EQ(placed, should) << "step " << step;
      }
      if (!placed) {
        ++refused;
        continue;
      }
      Live pod{request, out[0], {}};
      if (const state::Pinning* pinning = engine.pinning(out[0])) pod.pinning = *pinning;
      if (kind == 3) {
        ASSERT_TRUE(pod.pinning.empty());
        ++parts;
      } else {
        std::vector<std::uint32_t> cpus;
        ASSERT_TRUE(state::parse_cpus(pod.pinning.cpus, cpus)) << pod.pinning.cpus;
        ASSERT_EQ(cpus.size(), request.resources.cpu_milli / 1000) << "step " << step;
        if (kind == 0) {
          ++in_one;
          for (const std::uint32_t cpu : cpus) ASSERT_EQ(cpu % 16 / kCores, cpus[0] % 16 / kCores);
          if (with_gpu) {
            ASSERT_EQ(static_cast<std::uint32_t>(std::countr_zero(out[0].gpu_mask)), cpus[0] % 16 / kCores);
          }
        }
        if (kind == 2) {
          ++idle;
          ASSERT_EQ(pod.pinning.idle, cpus.size());
        }
      }
      mark(pod, 1);
      for (const int pods : owner[out[0].node.value]) ASSERT_LE(pods, 1) << "two pods on one thread at step " << step;
      live.push_back(std::move(pod));
    } else if (!live.empty()) {
      const std::uint32_t which = below(static_cast<std::uint32_t>(live.size()));
      const Live pod = live[which];
      live[which] = live.back();
      live.pop_back();
      engine.release(pod.placed.node, pod.request, pod.placed.gpu_mask, pod.pinning.empty() ? nullptr : &pod.pinning);
      mark(pod, -1);
    }
    if (step % 100 == 0) {
      ASSERT_EQ(engine.check_invariants(), "");
    }
  }
  EXPECT_GT(refused, 100);
  EXPECT_GT(in_one, 500);
  EXPECT_GT(idle, 300);
  EXPECT_GT(parts, 500);
  for (const Live& pod : live) {
    engine.release(pod.placed.node, pod.request, pod.placed.gpu_mask, pod.pinning.empty() ? nullptr : &pod.pinning);
  }
  for (std::uint32_t id = 1; id <= kNodes; ++id) EXPECT_EQ(engine.used(NodeId{id}), Resources{});
}

TEST(Cores, StayTakenWhenTheNodeIsSeenAnew) {
  Engine engine;
  const state::Topology small = machine(1, 1, 4, 1), large = machine(1, 2, 4, 1);
  const auto offer = [&](const state::Topology& topology, std::uint32_t cpus) {
    engine.set_node(NodeId{1}, {{cpus * 1000, 4096, 0}, Traits{"n1", {}, {}}, {}, 0, &topology});
    engine.set_connected(NodeId{1}, true);
  };
  offer(small, 4);
  std::vector<Placed> out;
  ASSERT_EQ(engine.place(Request{{3000, 0, 0}}, 1, out), 1U);
  const state::Pinning first = *engine.pinning(out[0]);
  EXPECT_EQ(first.cpus, "0-2");
  offer(large, 8);
  ASSERT_EQ(engine.place(Request{{5000, 0, 0}}, 1, out), 1U);
  EXPECT_EQ(engine.pinning(out[1])->cpus, "3-7");
  engine.release(NodeId{1}, Request{{3000, 0, 0}}, 0, &first);
  ASSERT_EQ(engine.place(Request{{3000, 0, 0}}, 1, out), 1U);
  EXPECT_EQ(engine.pinning(out[2])->cpus, "0-2");
}

TEST(Cores, StayTakenWhileTheNodeGivesNoneOut) {
  Engine engine;
  const state::Topology topology = machine(1, 1, 4, 1);
  const auto offer = [&](const state::Topology* known, std::uint32_t cpus) {
    engine.set_node(NodeId{1}, {{cpus * 1000, 4096, 0}, Traits{"n1", {}, {}}, {}, 0, known});
    engine.set_connected(NodeId{1}, true);
  };
  const Request one{{1000, 0, 0}};
  std::vector<Placed> out;
  offer(&topology, 4);
  ASSERT_EQ(engine.place(one, 2, out), 2U);
  const state::Pinning first = *engine.pinning(out[0]);
  EXPECT_EQ(first.cpus, "0");
  offer(nullptr, 4);
  engine.release(NodeId{1}, one, 0, &first);
  ASSERT_EQ(engine.place(one, 1, out), 1U);
  EXPECT_EQ(engine.pinning(out[2]), nullptr);
  engine.release(NodeId{1}, one, 0);
  offer(&topology, 8);  // more than it has
  offer(&topology, 4);
  ASSERT_EQ(engine.place(Request{{3000, 0, 0}}, 1, out), 1U);
  EXPECT_EQ(engine.pinning(out.back())->cpus, "0,2-3");
}

TEST(Cores, MemoryThatIsTakenBeyondWhatThereIsStaysTakenOnAnotherViewOfTheMachine) {
  state::Topology topology = machine(1, 1, 4, 1);
  NodeCores before(topology, 0);
  const state::Pinning over{"0", {{0, 5000}}};
  before.claim(over);
  topology.memories[0].mem_mib = 8192;
  NodeCores now(topology, 0);
  now.take_over(before);
  Request request{{1000, 3500, 0}};
  request.cores = {state::CoreFit::Level::kNuma, true, 0};
  EXPECT_FALSE(now.holds(request, 0));
  EXPECT_TRUE(now.could_hold(request));
  now.release(over);
  request.resources.mem_mib = 8192;
  EXPECT_TRUE(now.holds(request, 0));
}

TEST(Cores, ThatAreLackingAreNamedAlsoToWhoLeavesThreadsIdle) {
  Engine engine;
  const state::Topology topology = machine(1, 1, 2, 2);
  engine.set_node(NodeId{1}, {{4000, 4096, 0}, Traits{"n1", {}, {}}, {}, 0, &topology});
  engine.set_connected(NodeId{1}, true);
  std::vector<Placed> out;
  ASSERT_EQ(engine.place(Request{{1000, 0, 0}}, 1, out), 1U);
  Request request{{2000, 0, 0}};
  request.cores.threads_per_core = 1;
  EXPECT_EQ(engine.place(request, 1, out), 0U);
  const Refusal refusal = engine.explain(request);
  EXPECT_EQ(refusal.nodes_fit, 0U);
  ASSERT_EQ(refusal.counts.size(), 1U);
  EXPECT_EQ(refusal.counts[0].constraint, "free cores");
}

TEST(Cores, AreCountedByThreadsWhereSomeHaveFewer) {
  state::Topology topology = machine(1, 1, 6, 1);
  topology.cores[0].push_back(6);
  topology.cores[1].push_back(7);
  Engine engine;
  engine.set_node(NodeId{1}, {{8000, 4096, 0}, Traits{"n1", {}, {}}, {}, 0, &topology});
  engine.set_connected(NodeId{1}, true);
  std::vector<Placed> out;
  ASSERT_EQ(engine.place(Request{{4000, 0, 0}}, 2, out), 2U);
  std::vector<int> pods(8);
  for (const Placed& placed : out) {
    ASSERT_NE(engine.pinning(placed), nullptr);
    std::vector<std::uint32_t> cpus;
    ASSERT_TRUE(state::parse_cpus(engine.pinning(placed)->cpus, cpus));
    for (const std::uint32_t cpu : cpus) ++pods[cpu];
  }
  EXPECT_EQ(pods, std::vector<int>(8, 1));
}

TEST(Cores, AreNotKeptOnANodeThatOffersMoreThanItHas) {
  Engine engine;
  const state::Topology topology = machine(1, 1, 2, 1);
  engine.set_node(NodeId{1}, {{4000, 4096, 0}, Traits{"n1", {}, {}}, {}, 0, &topology});
  engine.set_connected(NodeId{1}, true);
  std::vector<Placed> out;
  ASSERT_EQ(engine.place(Request{{1000, 0, 0}}, 4, out), 4U);
  for (const Placed& placed : out) EXPECT_EQ(engine.pinning(placed), nullptr);
}

TEST(Topology, AnythingThatAnAgentMaySendIsChecked) {
  EXPECT_EQ(state::check_topology(machine(2, 2, 4, 2)), "");
  state::Topology broken = machine(1, 1, 2, 1);
  broken.cores[1] = {0};
  EXPECT_NE(state::check_topology(broken), "");
  broken = machine(1, 1, 2, 1);
  broken.domains[0].cores.end = 9;
  EXPECT_NE(state::check_topology(broken), "");
  broken = machine(1, 1, 2, 1);
  broken.memories[0].cores = {5, 2};
  EXPECT_NE(state::check_topology(broken), "");
  broken = machine(1, 1, 2, 1);
  broken.cores[0] = {1'000'000};
  EXPECT_NE(state::check_topology(broken), "");
}

TEST(Topology, ListsOfCpusComeBack) {
  for (const char* text : {"0", "0-3", "0-3,8-11", "1,3,5", "0,2-3"}) {
    std::vector<std::uint32_t> cpus;
    ASSERT_TRUE(state::parse_cpus(text, cpus)) << text;
    EXPECT_EQ(state::format_cpus(cpus), text);
  }
  for (const char* text : {"a", "3-1", "1,1", "2,1", "1,", ",1", "1-", "-1", "99999999999", "1 2", "0-99999"}) {
    std::vector<std::uint32_t> cpus;
    EXPECT_FALSE(state::parse_cpus(text, cpus)) << text;
  }
}

}  // namespace
}  // namespace berth::placement
