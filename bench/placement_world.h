// Clusters for the placement bench: nodes of four kinds, filled with mixed pods to a given degree, and the stream of
// releases and requests that keeps them so. The same numbers on every machine.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "placement/engine.h"

namespace berth::bench {

using placement::Engine;
using placement::Placed;
using state::NodeId;
using state::Request;
using state::Resources;

class Sequence {  // splitmix64
 public:
  explicit Sequence(std::uint64_t seed) : x_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (x_ += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>((next() >> 32) * n >> 32); }

 private:
  std::uint64_t x_;
};

struct NodeKind {
  Resources capacity;
  std::vector<std::string> features;
};
inline NodeKind node_kind(Sequence& random) {
  static const Resources kKinds[] = {
      {64'000, 262'144, 0}, {128'000, 524'288, 0}, {32'000, 131'072, 4}, {96'000, 1'048'576, 8}};
  NodeKind kind{kKinds[random.below(4)], {}};
  if (random.below(3) == 0) kind.features.push_back("ssd");
  return kind;
}

// 1 to 16 cores, 1 to 64 GiB; one in five with a GPU, one in ten on nodes with the feature. 10,240 different pods.
inline Request mixed_pod(Sequence& random) {
  Request request;
  request.resources.cpu_milli = 1000 * (1 + random.below(16));
  request.resources.mem_mib = 1024ULL * (1 + random.below(64));
  if (random.below(5) == 0) request.resources.gpus = 1;
  if (random.below(10) == 0) request.features.push_back("ssd");
  return request;
}

struct Live {
  Placed placed;
  Resources resources;
};

// What a placer of any make is filled with.
struct World {
  std::vector<NodeKind> nodes;
  placement::HugeVector<Live> live;
  std::uint64_t cpu = 0, mem = 0, used_cpu = 0, used_mem = 0;
  double full() const {
    return std::max(static_cast<double>(used_cpu) / static_cast<double>(cpu),
                    static_cast<double>(used_mem) / static_cast<double>(mem));
  }
  void add(const Live& pod) {
    live.push_back(pod);
    used_cpu += pod.resources.cpu_milli;
    used_mem += pod.resources.mem_mib;
  }
  Live remove(std::size_t at) {
    std::swap(live[at], live.back());
    const Live pod = live.back();
    live.pop_back();
    used_cpu -= pod.resources.cpu_milli;
    used_mem -= pod.resources.mem_mib;
    return pod;
  }
};

inline void open_nodes(Engine& engine, const std::vector<NodeKind>& nodes) {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const NodeId id{static_cast<std::uint32_t>(i + 1)};
    engine.set_node(id, nodes[i].capacity, nodes[i].features);
    engine.set_connected(id, true);
  }
}

// Fills until the scarcer of cpu and memory is used to `percent`, or a thousand pods in a row find no room.
inline World make_world(std::size_t nodes, std::uint32_t percent) {
  World world;
  Sequence random(42);
  for (std::size_t i = 0; i < nodes; ++i) {
    world.nodes.push_back(node_kind(random));
    world.cpu += world.nodes.back().capacity.cpu_milli;
    world.mem += world.nodes.back().capacity.mem_mib;
  }
  Engine engine;
  open_nodes(engine, world.nodes);
  std::vector<Placed> out;
  int refused = 0;
  while (world.full() * 100 < percent && refused < 1000) {
    const Request request = mixed_pod(random);
    out.clear();
    if (engine.place(request, 1, out) == 0) {
      ++refused;
      continue;
    }
    refused = 0;
    world.add({out[0], request.resources});
  }
  return world;
}

}  // namespace berth::bench
