// How much of a cluster's GPUs each policy allocates: packing_bench NODES.csv PODS.csv SEEDS POLICY... prints one flat
// JSON object. The files are those of the Alibaba trace cluster-trace-gpu-v2023 (unpacked); the runs go as in Weng et
// al., "Beware of Fragmentation" (USENIX ATC'23): the pods shuffled by the seed, then pods drawn from the same list
// until 130 % of the cluster's GPUs have been asked for; pods never leave, and one that does not fit is dropped.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fmt/core.h>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "placement/engine.h"
#include "placement/gpu_policy.h"

using namespace berth::placement;

namespace {

using Row = std::vector<std::string>;

[[noreturn]] void fail(const std::string& why) {
  fmt::print(stderr, "packing_bench: {}\n", why);
  std::exit(2);
}

std::vector<Row> read_csv(const std::string& path, std::size_t columns) {
  std::ifstream file(path);
  if (!file) fail("cannot read " + path);
  std::vector<Row> rows;
  std::string line;
  std::getline(file, line);  // the names
  while (std::getline(file, line)) {
    Row row;
    std::istringstream cells(line);
    for (std::string cell; std::getline(cells, cell, ',');) row.push_back(cell);
    row.resize(std::max(row.size(), columns));
    rows.push_back(std::move(row));
  }
  if (rows.empty()) fail(path + " has no rows");
  return rows;
}

std::int32_t number(const std::string& text) { return text.empty() ? 0 : std::stoi(text); }

struct Trace {
  std::vector<GpuNode> nodes;
  std::int64_t gpu_milli = 0;
  DemandMix mix;
  std::vector<std::uint32_t> pods;  // indexes of the mix, sorted by the pods' names
};

Trace load(const std::string& nodes_path, const std::string& pods_path) {
  Trace trace;
  std::map<std::string, std::uint8_t> models;
  for (const Row& row : read_csv(nodes_path, 5)) {  // sn,cpu_milli,memory_mib,gpu,model
    GpuNode node;
    node.cpu_milli = number(row[1]);
    node.mem_mib = number(row[2]);
    node.gpus = static_cast<std::uint8_t>(number(row[3]));
    if (node.gpus > kGpusPerNodeMax) fail("node " + row[0] + " has too many GPUs");
    node.model = models.try_emplace(row[4], static_cast<std::uint8_t>(models.size())).first->second;
    std::fill_n(node.left.begin(), node.gpus, kWholeGpu);
    trace.gpu_milli += node.left_milli();
    trace.nodes.push_back(node);
  }
  std::vector<Row> pods = read_csv(pods_path, 6);  // name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,…
  std::sort(pods.begin(), pods.end(), [](const Row& a, const Row& b) { return a[0] < b[0]; });
  std::map<Row, std::uint32_t> known;
  for (const Row& row : pods) {
    const auto [entry, is_new] =
        known.try_emplace(Row(row.begin() + 1, row.begin() + 6), static_cast<std::uint32_t>(trace.mix.size()));
    if (is_new) {
      GpuDemand demand{number(row[1]), number(row[2]), number(row[3]), number(row[3]) > 0 ? number(row[4]) : 0, 0};
      std::istringstream names(row[5]);
      for (std::string name; std::getline(names, name, '|');) {
        const auto model = models.find(name);
        demand.models |= model == models.end() ? 1U << 31 : 1U << model->second;  // bit 31: a model nobody has
      }
      trace.mix.push_back({demand, 0});
    }
    trace.mix[entry->second].weight += 1.0 / static_cast<double>(pods.size());
    trace.pods.push_back(entry->second);
  }
  return trace;
}

struct Outcome {
  double allocated_at_100 = 0, allocated_at_130 = 0;  // per cent of the cluster's GPUs
};

Outcome run(const Trace& trace, const std::string& policy, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint32_t> pods = trace.pods;
  std::shuffle(pods.begin(), pods.end(), random);
  GpuCluster cluster(trace.nodes, {trace.mix}, policy, seed);
  const auto allocated = [&] {
    return 100.0 * static_cast<double>(trace.gpu_milli - cluster.free_milli()) / static_cast<double>(trace.gpu_milli);
  };
  Outcome outcome;
  std::int64_t arrived = 0;
  std::uniform_int_distribution<std::size_t> any(0, trace.pods.size() - 1);
  for (std::size_t i = 0; arrived * 10 < trace.gpu_milli * 13; ++i) {
    const std::uint32_t index = i < pods.size() ? pods[i] : trace.pods[any(random)];
    const GpuDemand& demand = trace.mix[index].demand;
    const bool before = arrived < trace.gpu_milli;
    arrived += static_cast<std::int64_t>(demand.gpus) * demand.share_milli;
    cluster.place(index);
    if (before && arrived >= trace.gpu_milli) outcome.allocated_at_100 = allocated();
  }
  outcome.allocated_at_130 = allocated();
  return outcome;
}

// The same by the engine that runs in the server: it is told nothing of what will come, and learns it on the way.
Outcome run_engine(const Trace& trace, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint32_t> pods = trace.pods;
  std::shuffle(pods.begin(), pods.end(), random);
  Engine engine(*find_policy("fragmentation"));
  std::uint32_t id = 0;
  for (const GpuNode& node : trace.nodes) {
    const berth::state::NodeId at{++id};
    engine.set_node(at,
                    {static_cast<std::uint32_t>(node.cpu_milli), static_cast<std::uint64_t>(node.mem_mib), node.gpus},
                    std::vector<std::string>{"m" + std::to_string(node.model)});
    engine.set_connected(at, true);
  }
  Outcome outcome;
  std::int64_t arrived = 0, taken = 0;
  const auto allocated = [&] { return 100.0 * static_cast<double>(taken) / static_cast<double>(trace.gpu_milli); };
  std::uniform_int_distribution<std::size_t> any(0, trace.pods.size() - 1);
  std::vector<Placed> out;
  for (std::size_t i = 0; arrived * 10 < trace.gpu_milli * 13; ++i) {
    const GpuDemand& demand = trace.mix[i < pods.size() ? pods[i] : trace.pods[any(random)]].demand;
    const bool before = arrived < trace.gpu_milli;
    arrived += demand.gpu_milli();
    berth::state::Request request{{static_cast<std::uint32_t>(demand.cpu_milli),
                                   static_cast<std::uint64_t>(demand.mem_mib),
                                   static_cast<std::uint32_t>(demand.gpus)}};
    if (demand.gpus == 1 && demand.share_milli < kWholeGpu) {
      request.gpu_share_milli = static_cast<std::uint32_t>(demand.share_milli);
    }
    // Of several models that would do, a condition; of one, a feature.
    std::string where;
    for (std::uint32_t model = 0; model < 31; ++model) {
      if ((demand.models >> model & 1U) == 0) continue;
      where += (where.empty() ? "m" : "|m") + std::to_string(model);
    }
    if (demand.models != 0 && where.empty()) where = "nobody_has_it";
    if (!where.empty() && where.find('|') == std::string::npos) {
      request.features = {where};
    } else {
      request.where = where;
    }
    out.clear();
    if (engine.place(request, 1, out) == 1) taken += demand.gpu_milli();
    if (before && arrived >= trace.gpu_milli) outcome.allocated_at_100 = allocated();
  }
  outcome.allocated_at_130 = allocated();
  return outcome;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) fail("usage: packing_bench NODES.csv PODS.csv SEEDS POLICY...");
  const Trace trace = load(argv[1], argv[2]);
  const int seeds = std::atoi(argv[3]);
  std::string out;
  for (int i = 4; i < argc; ++i) {
    const std::string policy = argv[i];
    if (policy != "engine" && !make_gpu_policy(policy, {trace.mix})) fail("there is no policy '" + policy + "'");
    double at_100 = 0, at_130 = 0;
    for (int seed = 1; seed <= seeds; ++seed) {
      const auto number = static_cast<std::uint64_t>(seed);
      const Outcome outcome = policy == "engine" ? run_engine(trace, number) : run(trace, policy, number);
      at_100 += outcome.allocated_at_100 / seeds;
      at_130 += outcome.allocated_at_130 / seeds;
    }
    std::string key = policy;
    std::replace(key.begin(), key.end(), '-', '_');
    out += fmt::format("{}\"{}_allocated_at_100_percent\": {:.3f}, \"{}_allocated_at_130_percent\": {:.3f}",
                       out.empty() ? "" : ", ", key, at_100, key, at_130);
  }
  fmt::print("{{{}}}\n", out);
  return 0;
}
