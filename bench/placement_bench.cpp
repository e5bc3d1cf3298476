// placement::Engine at steady state: pods of mixed sizes come and go on a cluster that stays 50, 90 or 99 % full.
// Beside it, in the same run and on the same pods, the same policy as a plain loop over structs and as a vectorised
// scan over all nodes. All must choose the same nodes: the counter `hash` is over their first choices.
#include <atomic>
#include <benchmark/benchmark.h>
#include <bit>
#include <sys/mman.h>
#include <thread>

#include "bench/placement_world.h"
#include "bench/scan.h"
#include "placement/shared_engine.h"

namespace berth::bench {
namespace {

constexpr state::GangShape kApart{0, 0, 1};  // each pod on a node of its own

constexpr std::size_t kVerified = 200;  // decisions that go into the hash
constexpr std::size_t kRequests = 1'024;

// Only the last cluster is kept: the benches come in the clusters' order.
const World& world_of(std::size_t nodes, std::uint32_t percent) {
  static std::pair<std::size_t, std::uint32_t> known;
  static World world;
  if (known != std::pair(nodes, percent)) {
    world = World{};
    world = make_world(nodes, percent);
    known = {nodes, percent};
  }
  return world;
}

class EngineUnderTest {
 public:
  explicit EngineUnderTest(const World& world) {
    open_nodes(engine_, world.nodes);
    for (const Live& pod : world.live) engine_.claim(pod.placed.node, pod.resources, pod.placed.gpu_mask);
  }
  bool place(const Request& request, Placed& out) {
    placed_.clear();
    if (engine_.place(request, 1, placed_) == 0) return false;
    out = placed_[0];
    return true;
  }
  void release(const Live& pod) { engine_.release(pod.placed.node, pod.resources, pod.placed.gpu_mask); }
  void release_soon(const Live& pod) const { engine_.release_soon(pod.placed.node); }
  Engine& engine() { return engine_; }

 private:
  Engine engine_;
  std::vector<Placed> placed_;
};

std::uint64_t take_lowest(std::uint64_t& mask, std::uint32_t count) {
  std::uint64_t taken = 0;
  for (std::uint32_t i = 0; i < count; ++i) taken |= (mask & ~taken) & -(mask & ~taken);
  mask &= ~taken;
  return taken;
}

// The policy written the obvious way.
class PlainLoop {
 public:
  explicit PlainLoop(const World& world) {
    for (const NodeKind& kind : world.nodes) {
      nodes_.push_back({kind.capacity.cpu_milli, static_cast<std::int64_t>(kind.capacity.mem_mib),
                        (std::uint64_t{1} << kind.capacity.gpus) - 1, kind.features});
    }
    for (const Live& pod : world.live) {
      Node& node = nodes_[pod.placed.node.value - 1];
      node.cpu -= pod.resources.cpu_milli;
      node.mem -= static_cast<std::int64_t>(pod.resources.mem_mib);
      node.gpus &= ~pod.placed.gpu_mask;
    }
  }
  bool place(const Request& request, Placed& out) {
    std::size_t best = nodes_.size();
    std::int64_t least = 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const Node& node = nodes_[i];
      if (node.cpu < request.resources.cpu_milli || node.mem < static_cast<std::int64_t>(request.resources.mem_mib))
        continue;
      if (std::popcount(node.gpus) < static_cast<int>(request.resources.gpus)) continue;
      if (!std::includes(node.features.begin(), node.features.end(), request.features.begin(), request.features.end()))
        continue;
      const std::int64_t left = node.cpu + (node.mem >> 2) + 16'000LL * std::popcount(node.gpus);
      if (best == nodes_.size() || left < least) {
        best = i;
        least = left;
      }
    }
    if (best == nodes_.size()) return false;
    Node& node = nodes_[best];
    out = {NodeId{static_cast<std::uint32_t>(best + 1)}, 0, take_lowest(node.gpus, request.resources.gpus)};
    node.cpu -= request.resources.cpu_milli;
    node.mem -= static_cast<std::int64_t>(request.resources.mem_mib);
    return true;
  }
  void release(const Live& pod) {
    Node& node = nodes_[pod.placed.node.value - 1];
    node.cpu += pod.resources.cpu_milli;
    node.mem += static_cast<std::int64_t>(pod.resources.mem_mib);
    node.gpus |= pod.placed.gpu_mask;
  }

 private:
  struct Node {
    std::int64_t cpu = 0, mem = 0;
    std::uint64_t gpus = 0;
    std::vector<std::string> features;
  };
  std::vector<Node> nodes_;
};

// One pass over dense columns, vectorised.
class Scan {
 public:
  explicit Scan(const World& world) {
    for (const NodeKind& kind : world.nodes) {
      cpu_.push_back(static_cast<std::int32_t>(kind.capacity.cpu_milli));
      mem_.push_back(static_cast<std::int32_t>(kind.capacity.mem_mib));
      mask_.push_back((std::uint64_t{1} << kind.capacity.gpus) - 1);
      any_.push_back(-1);
      ssd_.push_back(kind.features.empty() ? 0 : -1);
    }
    gpus_.resize(cpu_.size());
    left_.resize(cpu_.size());
    for (std::size_t i = 0; i < cpu_.size(); ++i) refresh(i);
    for (const Live& pod : world.live) change(pod.placed.node.value - 1, pod.resources, pod.placed.gpu_mask, -1);
  }
  bool place(const Request& request, Placed& out) {
    const ScanTable table{
        cpu_.data(), mem_.data(), gpus_.data(), left_.data(), (request.features.empty() ? any_ : ssd_).data(),
        cpu_.size()};
    const ScanDemand demand{static_cast<std::int32_t>(request.resources.cpu_milli),
                            static_cast<std::int32_t>(request.resources.mem_mib),
                            static_cast<std::int32_t>(request.resources.gpus)};
    const std::size_t best = scan_best(table, demand);
    if (best == kNoSlot) return false;
    std::uint64_t free = mask_[best];
    out = {NodeId{static_cast<std::uint32_t>(best + 1)}, 0, take_lowest(free, request.resources.gpus)};
    change(best, request.resources, out.gpu_mask, -1);
    return true;
  }
  void release(const Live& pod) { change(pod.placed.node.value - 1, pod.resources, pod.placed.gpu_mask, 1); }

 private:
  void change(std::size_t i, const Resources& amounts, std::uint64_t gpus, int sign) {
    cpu_[i] += sign * static_cast<std::int32_t>(amounts.cpu_milli);
    mem_[i] += sign * static_cast<std::int32_t>(amounts.mem_mib);
    mask_[i] ^= gpus;
    refresh(i);
  }
  void refresh(std::size_t i) {
    gpus_[i] = std::popcount(mask_[i]);
    left_[i] = cpu_[i] + (mem_[i] >> 2) + 16'000 * gpus_[i];
  }
  std::vector<std::int32_t> cpu_, mem_, gpus_, left_, any_, ssd_;
  std::vector<std::uint64_t> mask_;
};

// A random pod ends whenever the cluster is as full as it should be; then a new one comes.
template <class Placer>
void mixed_pods(benchmark::State& bench) {
  World world = world_of(static_cast<std::size_t>(bench.range(0)), static_cast<std::uint32_t>(bench.range(1)));
  Placer placer(world);
  const double full = world.full();
  Sequence random(7);
  std::vector<Request> requests;
  for (std::size_t i = 0; i < kRequests; ++i) requests.push_back(mixed_pod(random));
  std::uint64_t placed = 0, refused = 0, hash = 0;
  std::size_t turn = 0;
  const std::uint64_t used = world.used_cpu;
  // Ends come in batches, so that the next ones are known: their records are asked for two turns ahead, their nodes
  // one.
  std::size_t next = 0, after = 0;
  const auto one = [&]() -> std::uint32_t {
    if (world.used_cpu >= used) {
      placer.release(world.remove(std::min<std::size_t>(next, world.live.size() - 1)));
      const auto pods = static_cast<std::uint32_t>(world.live.size());
      next = std::min<std::size_t>(after, pods - 1);
      after = random.below(pods);
      __builtin_prefetch(&world.live[after]);
      if constexpr (requires { placer.release_soon(world.live[next]); }) placer.release_soon(world.live[next]);
    }
    const Request& request = requests[turn++ % kRequests];
    Placed out;
    if (!placer.place(request, out)) {
      ++refused;
      return 0;
    }
    ++placed;
    world.add({out, request.resources});
    return out.node.value;
  };
  for (std::size_t i = 0; i < kVerified; ++i) hash = (hash ^ one()) * 0x100000001B3ULL;
  placed = refused = 0;
  for (auto _ : bench) benchmark::DoNotOptimize(one());
  bench.SetItemsProcessed(static_cast<std::int64_t>(placed));
  bench.counters["hash"] = static_cast<double>(hash & 0xFFFFFFFFFFFFULL);  // what a double holds exactly
  bench.counters["refused_share"] = static_cast<double>(refused) / static_cast<double>(placed + refused);
  bench.counters["full"] = full;
}

// The ends of a batch of equal pods: each by itself, the nodes of the next asked for.
void release_all(Engine& engine, const std::vector<Placed>& placed, const Resources& resources) {
  constexpr std::size_t kAhead = 8;
  for (std::size_t i = 0; i < placed.size(); ++i) {
    if (i + kAhead < placed.size()) engine.release_soon(placed[i + kAhead].node);
    engine.release(placed[i].node, resources, placed[i].gpu_mask);
  }
}

// An array's equal pods, 1,000 at a time: they share a search.
void equal_pods(benchmark::State& bench) {
  EngineUnderTest under_test(world_of(static_cast<std::size_t>(bench.range(0)), 50));
  const Request request{{1'000, 1'024, 0}, {}};
  std::vector<Placed> placed;
  std::int64_t pods = 0;
  for (auto _ : bench) {
    placed.clear();
    pods += under_test.engine().place(request, 1'000, placed);
    release_all(under_test.engine(), placed, request.resources);
  }
  bench.SetItemsProcessed(pods);
}

// Gangs of 64 pods, each on a node of its own.
void gangs(benchmark::State& bench) {
  EngineUnderTest under_test(world_of(static_cast<std::size_t>(bench.range(0)), 50));
  const Request request{{8'000, 16'384, 0}, {}};
  std::vector<Placed> placed;
  std::int64_t pods = 0;
  for (auto _ : bench) {
    placed.clear();
    if (!under_test.engine().place_gang(request, 64, kApart, placed)) bench.SkipWithError("no room for a gang");
    pods += 64;
    release_all(under_test.engine(), placed, request.resources);
  }
  bench.SetItemsProcessed(pods);
}

// A pod that only an empty node could take, on a cluster without one.
void impossible(benchmark::State& bench) {
  EngineUnderTest under_test(world_of(static_cast<std::size_t>(bench.range(0)), 90));
  const Request request{{96'000, 1'048'576, 8}, {}};
  Placed out;
  std::int64_t refused = 0;
  for (auto _ : bench) refused += under_test.place(request, out) ? 0 : 1;
  bench.counters["refused_share"] = static_cast<double>(refused) / static_cast<double>(bench.iterations());
  bench.SetItemsProcessed(static_cast<std::int64_t>(bench.iterations()));
}

// Mixed pods under a constraint, beside the same without: nodes have a zone of three, a rack of 40 nodes and a name;
// one in a thousand pods that are there is of the benched kind.
struct Constraint {
  const char* name;
  void (*add)(Request&);
};
constexpr Constraint kConstraints[] = {
    {"none", [](Request&) {}},
    {"zone", [](Request& r) { r.where = "zone=b"; }},
    {"rack", [](Request& r) { r.where = "rack=7"; }},
    {"prefer",
     [](Request& r) {
       r.prefers = {"rack=7", "zone=b"};
     }},
    {"apart",
     [](Request& r) {
       r.labels = {"app=web"};
       r.rules = {{state::PodRule::Kind::kApart, false, "app=web", "node", 1}};
     }},
    {"together",
     [](Request& r) {
       r.labels = {"app=web"};
       r.rules = {{state::PodRule::Kind::kTogether, false, "app=web", "rack", 1}};
     }},
    {"spread_racks",
     [](Request& r) {
       r.labels = {"app=web"};
       r.rules = {{state::PodRule::Kind::kSpread, false, "app=web", "rack", 1}};
     }},
};

void constrained(benchmark::State& bench) {
  const World& world = world_of(static_cast<std::size_t>(bench.range(0)), 50);
  const Constraint& constraint = kConstraints[bench.range(1)];
  Engine engine;
  for (std::uint32_t i = 0; i < world.nodes.size(); ++i) {
    std::vector<std::string> words = world.nodes[i].features;
    words.push_back("rack=" + std::to_string(i / 40));
    words.push_back(std::string("zone=") + "abc"[i % 3]);
    std::sort(words.begin(), words.end());
    engine.set_node(NodeId{i + 1}, {world.nodes[i].capacity, {"n" + std::to_string(i), words, {}}});
    engine.set_connected(NodeId{i + 1}, true);
  }
  for (const Live& pod : world.live) engine.claim(pod.placed.node, pod.resources, pod.placed.gpu_mask);
  Sequence random(7);
  std::vector<Request> requests;
  for (std::size_t i = 0; i < kRequests; ++i) {
    requests.push_back(mixed_pod(random));
    constraint.add(requests.back());
  }
  std::vector<std::pair<Placed, const Request*>> mine;
  std::vector<Placed> out;
  std::int64_t placed = 0, refused = 0;
  std::size_t turn = 0;
  const std::size_t most = std::max<std::size_t>(world.nodes.size() / 20, 20);
  for (auto _ : bench) {
    const Request& request = requests[turn++ % kRequests];
    out.clear();
    if (engine.place(request, 1, out) == 1) {
      ++placed;
      mine.emplace_back(out[0], &request);
    } else {
      ++refused;
    }
    if (mine.size() < most && out.size() == 1) continue;
    if (mine.empty()) continue;
    std::swap(mine[random.below(static_cast<std::uint32_t>(mine.size()))], mine.back());
    engine.release(mine.back().first.node, *mine.back().second, mine.back().first.gpu_mask);
    mine.pop_back();
  }
  bench.SetItemsProcessed(placed);
  bench.SetLabel(constraint.name);
  bench.counters["refused_share"] = static_cast<double>(refused) / static_cast<double>(placed + refused);
}

// Several workers at once on one cluster that stays 90 % full: each ends a random pod of its own and places a new one.
class Crew {
 public:
  Crew(std::uint32_t workers, std::uint32_t nodes) : engine_(workers, nodes), mine_(workers) {
    Sequence random(42);
    std::uint64_t capacity = 0;
    for (std::uint32_t id = 1; id <= nodes; ++id) {
      const NodeKind kind = node_kind(random);
      engine_.set_node(NodeId{id}, kind.capacity, kind.features);
      engine_.set_open(NodeId{id}, true);
      capacity += kind.capacity.cpu_milli;
    }
    for (std::size_t i = 0; i < kRequests; ++i) requests_.push_back(mixed_pod(random));
    // The pods of 100 % of the cpu arrive in turn at the workers; what they could place shows how well they pack.
    std::uint64_t arrived = 0, placed = 0;
    for (std::uint32_t turn = 0; arrived < capacity; ++turn) {
      const Request request = mixed_pod(random);
      arrived += request.resources.cpu_milli;
      if (const auto place = engine_.place(turn % workers, request)) {
        placed += request.resources.cpu_milli;
        mine_[turn % workers].push_back({*place, request.resources});
      }
    }
    packed_percent = 100.0 * static_cast<double>(placed) / static_cast<double>(capacity);
    Sequence ends(43);
    for (std::uint32_t turn = 0; placed > capacity / 10 * 9; ++turn) {
      auto& pods = mine_[turn % workers];
      std::swap(pods[ends.below(static_cast<std::uint32_t>(pods.size()))], pods.back());
      placed -= pods.back().resources.cpu_milli;
      engine_.release(turn % workers, pods.back().place, pods.back().resources);
      pods.pop_back();
    }
  }
  // On a thread of its own for each worker; returns how many found a place.
  std::uint64_t work(std::uint32_t worker, std::uint64_t seed, int turns) {
    Sequence random(seed);
    auto& pods = mine_[worker];
    std::uint64_t placed = 0;
    std::size_t next = 0;  // to end; drawn a turn ahead, as above
    bool full = true;
    for (int i = 0; i < turns; ++i) {
      if (full && !pods.empty()) {
        std::swap(pods[std::min(next, pods.size() - 1)], pods.back());
        engine_.release(worker, pods.back().place, pods.back().resources);
        pods.pop_back();
        next = pods.empty() ? 0 : random.below(static_cast<std::uint32_t>(pods.size()));
        __builtin_prefetch(pods.data() + next);
      }
      const Request& request = requests_[random.below(kRequests)];
      const auto place = engine_.place(worker, request);
      full = place.has_value();
      if (!place) continue;
      ++placed;
      pods.push_back({*place, request.resources});
    }
    return placed;
  }
  double packed_percent = 0;

 private:
  struct Pod {
    placement::SharedEngine::Place place;
    Resources resources;
  };
  placement::SharedEngine engine_;
  std::vector<std::vector<Pod>> mine_;
  std::vector<Request> requests_;
};

void shared(benchmark::State& bench) {
  const auto nodes = static_cast<std::uint32_t>(bench.range(0)), workers = static_cast<std::uint32_t>(bench.range(1));
  Crew crew(workers, nodes);
  constexpr int kTurns = 20'000;
  std::uint64_t placed = 0, seed = 0;
  for (auto _ : bench) {
    std::atomic<std::uint64_t> sum{0};
    std::vector<std::thread> threads;
    ++seed;
    for (std::uint32_t worker = 0; worker < workers; ++worker) {
      threads.emplace_back([&, worker] { sum += crew.work(worker, seed * 64 + worker, kTurns); });
    }
    for (std::thread& thread : threads) thread.join();
    placed += sum;
  }
  bench.SetItemsProcessed(static_cast<std::int64_t>(placed));
  bench.counters["packed"] = crew.packed_percent;
}

void add_benches() {
  for (const std::int64_t nodes : {100, 1'000, 10'000, 100'000, 1'000'000}) {
    for (const std::int64_t percent : {50, 90, 99}) {
      benchmark::RegisterBenchmark("engine", mixed_pods<EngineUnderTest>)->Args({nodes, percent});
      // Filling a million nodes takes its time: the others once.
      if (nodes < 1'000'000 || percent == 90) {
        benchmark::RegisterBenchmark("scan", mixed_pods<Scan>)->Args({nodes, percent});
        benchmark::RegisterBenchmark("plain_loop", mixed_pods<PlainLoop>)->Args({nodes, percent});
      }
      if (percent == 50) {
        benchmark::RegisterBenchmark("engine_equal", equal_pods)->Arg(nodes);
        if (nodes >= 1'000) benchmark::RegisterBenchmark("engine_gangs", gangs)->Arg(nodes);
      }
      if (percent == 50 && nodes >= 1'000 && nodes <= 100'000) {
        for (std::size_t i = 0; i < std::size(kConstraints); ++i) {
          benchmark::RegisterBenchmark("engine_constrained", constrained)->Args({nodes, static_cast<std::int64_t>(i)});
        }
      }
      if (percent == 90) benchmark::RegisterBenchmark("engine_impossible", impossible)->Arg(nodes);
    }
    if (nodes < 1'000 || nodes > 100'000) continue;
    for (const std::int64_t workers : {1, 2}) {
      benchmark::RegisterBenchmark("shared", shared)->Args({nodes, workers})->UseRealTime();
    }
  }
}

}  // namespace
}  // namespace berth::bench

int main(int argc, char** argv) {
  berth::placement::ask_for_huge_pages = [](void* memory, std::size_t bytes) { madvise(memory, bytes, MADV_HUGEPAGE); };
  berth::bench::add_benches();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
