// placement::Engine on clusters of 100 to 100,000 partly used nodes, with mixed pods, and the same policy beside it as
// a plain loop over plain structs. Both must choose the same nodes: the counter `hash` is over their first choices.
#include <algorithm>
#include <benchmark/benchmark.h>
#include <bit>
#include <cstdint>
#include <vector>

#include "placement/engine.h"

namespace {

using berth::placement::Engine;
using berth::placement::Placed;
using berth::state::NodeId;
using berth::state::Request;
using berth::state::Resources;

constexpr std::size_t kVerified = 2'000;  // placements that go into the hash
constexpr std::size_t kLive = 4'096;      // pods kept placed while measuring: the oldest goes when a new one comes

class Sequence {  // splitmix64: the same numbers on every machine
 public:
  explicit Sequence(std::uint64_t seed) : x_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (x_ += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t n) { return next() % n; }

 private:
  std::uint64_t x_;
};

struct NodeSetup {
  Resources capacity;
  std::vector<std::string> features;
  Resources used;
  std::uint64_t used_gpus = 0;
};

std::vector<NodeSetup> make_nodes(std::size_t count) {
  static const Resources kKinds[] = {
      {64'000, 262'144, 0}, {128'000, 524'288, 0}, {32'000, 131'072, 4}, {96'000, 1'048'576, 8}};
  Sequence random(42);
  std::vector<NodeSetup> nodes(count);
  for (NodeSetup& node : nodes) {
    node.capacity = kKinds[random.below(4)];
    if (random.below(3) == 0) node.features.push_back("ssd");
    node.used.cpu_milli = static_cast<std::uint32_t>(random.below(node.capacity.cpu_milli / 1000) * 1000);
    node.used.mem_mib = random.below(node.capacity.mem_mib / 1024) * 1024;
    node.used.gpus = static_cast<std::uint32_t>(random.below(node.capacity.gpus + 1));
    node.used_gpus = (std::uint64_t{1} << node.used.gpus) - 1;
  }
  return nodes;
}

std::vector<Request> make_requests() {
  return {{{1'000, 1'024, 0}, {}},      {{4'000, 16'384, 0}, {}}, {{500, 256, 0}, {}},      {{16'000, 8'192, 0}, {}},
          {{2'000, 4'096, 0}, {"ssd"}}, {{8'000, 65'536, 1}, {}}, {{1'000, 98'304, 0}, {}}, {{32'000, 32'768, 4}, {}}};
}

// The same policy, written the obvious way.
class PlainLoop {
 public:
  explicit PlainLoop(const std::vector<NodeSetup>& nodes) {
    for (const NodeSetup& setup : nodes) {
      Node node;
      node.cpu = setup.capacity.cpu_milli - static_cast<std::int64_t>(setup.used.cpu_milli);
      node.mem = static_cast<std::int64_t>(setup.capacity.mem_mib - setup.used.mem_mib);
      node.gpus = ((std::uint64_t{1} << setup.capacity.gpus) - 1) & ~setup.used_gpus;
      node.features = setup.features;
      nodes_.push_back(std::move(node));
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
    out = {NodeId{static_cast<std::uint32_t>(best + 1)}, 0};
    for (std::uint32_t g = 0; g < request.resources.gpus; ++g) {
      const std::uint64_t lowest = node.gpus & -node.gpus;
      out.gpu_mask |= lowest;
      node.gpus &= ~lowest;
    }
    node.cpu -= request.resources.cpu_milli;
    node.mem -= static_cast<std::int64_t>(request.resources.mem_mib);
    return true;
  }
  void release(const Placed& placed, const Resources& resources) {
    Node& node = nodes_[placed.node.value - 1];
    node.cpu += resources.cpu_milli;
    node.mem += static_cast<std::int64_t>(resources.mem_mib);
    node.gpus |= placed.gpu_mask;
  }

 private:
  struct Node {
    std::int64_t cpu = 0, mem = 0;
    std::uint64_t gpus = 0;
    std::vector<std::string> features;
  };
  std::vector<Node> nodes_;
};

class EngineUnderTest {
 public:
  explicit EngineUnderTest(const std::vector<NodeSetup>& nodes) {
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const NodeId id{static_cast<std::uint32_t>(i + 1)};
      engine_.set_node(id, nodes[i].capacity, nodes[i].features);
      engine_.set_connected(id, true);
      engine_.claim(id, nodes[i].used, nodes[i].used_gpus);
    }
  }
  bool place(const Request& request, Placed& out) {
    placed_.clear();
    if (engine_.place(request, 1, placed_) == 0) return false;
    out = placed_[0];
    return true;
  }
  void release(const Placed& placed, const Resources& resources) {
    engine_.release(placed.node, resources, placed.gpu_mask);
  }
  Engine& engine() { return engine_; }

 private:
  Engine engine_;
  std::vector<Placed> placed_;
};

// Mixed pods, one search each; the oldest is released as a new one is placed.
template <class Placer>
void mixed_pods(benchmark::State& bench) {
  const auto nodes = make_nodes(static_cast<std::size_t>(bench.range(0)));
  const auto requests = make_requests();
  struct Live {
    Placed placed;
    const Request* request = nullptr;
  };
  std::vector<Live> live(kLive);
  std::uint64_t placed = 0, refused = 0, hash = 0;
  std::size_t turn = 0;
  Sequence random(7);
  Placer placer(nodes);
  const auto one = [&] {
    Live& slot = live[turn++ % kLive];
    if (slot.request != nullptr) placer.release(slot.placed, slot.request->resources);
    const Request& request = requests[random.below(requests.size())];
    const bool found = placer.place(request, slot.placed);
    slot.request = found ? &request : nullptr;
    ++(found ? placed : refused);
    return found ? slot.placed.node.value : 0;
  };
  for (std::size_t i = 0; i < kVerified; ++i) hash = (hash ^ one()) * 0x100000001B3ULL;
  for (auto _ : bench) benchmark::DoNotOptimize(one());
  bench.SetItemsProcessed(static_cast<std::int64_t>(bench.iterations()));
  bench.counters["hash"] = static_cast<double>(hash & 0xFFFFFFFFFFFFULL);  // what a double holds exactly
  bench.counters["refused_share"] = static_cast<double>(refused) / static_cast<double>(placed + refused);
}

// An array's equal pods, 1,000 at a time: they share searches.
void equal_pods(benchmark::State& bench) {
  EngineUnderTest under_test(make_nodes(static_cast<std::size_t>(bench.range(0))));
  const Request request{{1'000, 1'024, 0}, {}};
  std::vector<Placed> placed;
  std::int64_t pods = 0;
  for (auto _ : bench) {
    placed.clear();
    pods += under_test.engine().place(request, 1'000, placed);
    for (const Placed& pod : placed) under_test.engine().release(pod.node, request.resources, pod.gpu_mask);
  }
  bench.SetItemsProcessed(pods);
}

BENCHMARK(mixed_pods<EngineUnderTest>)->Name("engine")->RangeMultiplier(10)->Range(100, 100'000);
BENCHMARK(mixed_pods<PlainLoop>)->Name("plain_loop")->RangeMultiplier(10)->Range(100, 100'000);
BENCHMARK(equal_pods)->Name("engine_equal")->RangeMultiplier(10)->Range(100, 100'000);

}  // namespace

BENCHMARK_MAIN();
