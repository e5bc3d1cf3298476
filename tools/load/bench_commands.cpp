// The option tables of `berth bench load` and `berth bench agents`.
#include <memory>
#include <string>
#include <vector>

#include "state/units.h"
#include "tools/cli/command.h"
#include "tools/load/agents_command.h"
#include "tools/load/load_command.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::uint32_t kAgentsMax = 100'000;
constexpr std::uint32_t kBatchMax = 10'000;
constexpr std::uint32_t kWindowMax = 10'000;
constexpr std::uint64_t kPodsMax = 1'000'000'000;

// Text as the user wrote it, parsed when the command runs, so that errors read like those of every other command.
struct ResourceTexts {
  std::string cpus, mem;
  std::uint32_t gpus = 0;
};

Result<Resources> parse_resources(const ResourceTexts& texts) {
  const auto cpu = parse_cpu_milli(texts.cpus, "--cpus");
  if (!cpu) return cpu.error();
  const auto mem = parse_mem_mib(texts.mem, "--mem");
  if (!mem) return mem.error();
  return Resources{*cpu, *mem, texts.gpus};
}

Result<std::int64_t> parse_pod_time_ms(const std::string& text) {
  if (text == "0" || text == "0ms" || text == "0s") return std::int64_t{0};
  return parse_duration_ms(text, "--pod-time");
}

void add_agents(CLI::App& bench, Context& context) {
  struct Texts {
    ResourceTexts resources{"64", "256G", 0};
    std::string pod_time = "0ms";
    AgentsOptions options;
  };
  auto texts = std::make_shared<Texts>();
  CLI::App* command = add_command(bench, "agents", "Run thousands of hollow agents",
                                  "Runs hollow agents in one process: each has a connection of its own and speaks what "
                                  "a real agent speaks, but its "
                                  "pods are only simulated. Prints a line when all are connected, runs until it is "
                                  "interrupted (SIGINT or SIGTERM), and "
                                  "then prints what it did.",
                                  "berth bench agents --count 5000\n"
                                  "berth bench agents --count 100 --cpus 8 --mem 32G --pod-time 2s --feature ssd\n"
                                  "berth bench agents --server head:7117 --token berth1-… --count 1000");
  command->add_option("--count", texts->options.count, "How many agents")
      ->check(CLI::Range(1U, kAgentsMax))
      ->capture_default_str();
  command->add_option("--cpus", texts->resources.cpus, "Cores that each node offers")
      ->type_name("CPUS")
      ->capture_default_str();
  command->add_option("--mem", texts->resources.mem, "Memory that each node offers")
      ->type_name("SIZE")
      ->capture_default_str();
  command->add_option("--gpus", texts->resources.gpus, "GPUs that each node offers")
      ->check(CLI::Range(0U, kMaxGpus))
      ->capture_default_str();
  command->add_option("--feature", texts->options.features, "A feature of each node; may be repeated")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command->add_option("--name-prefix", texts->options.name_prefix, "Nodes are named PREFIX00001, PREFIX00002, …")
      ->type_name("PREFIX")
      ->capture_default_str();
  command->add_option("--pod-time", texts->pod_time, "How long a pod runs; 0ms: its start and its end are one report")
      ->type_name("TIME")
      ->capture_default_str();
  command->add_option("--token", texts->options.token, "A node's token, to join HOST:PORT over TLS")
      ->type_name("TOKEN")
      ->envname("BERTH_TOKEN");
  command->add_option("--json", texts->options.json, "Write the totals to this file as well")->type_name("FILE");
  on_run(command, context, [texts, &context]() -> int {
    const auto resources = parse_resources(texts->resources);
    if (!resources) return report(resources.error(), true);
    const auto pod_time_ms = parse_pod_time_ms(texts->pod_time);
    if (!pod_time_ms) return report(pod_time_ms.error(), true);
    texts->options.server = context.server;
    texts->options.capacity = *resources;
    texts->options.pod_time_ms = *pod_time_ms;
    return run_bench_agents(texts->options);
  });
}

void add_load(CLI::App& bench, Context& context) {
  struct Texts {
    ResourceTexts resources{"1", "1G", 0};
    std::string mode = "arrays";
    std::string json;
    LoadOptions options;
  };
  auto texts = std::make_shared<Texts>();
  CLI::App* command = add_command(bench, "load", "Submit a load, follow it to its end and check it",
                                  "Submits jobs that run /bin/true, follows them until all have ended, checks that "
                                  "every acknowledged pod ended exactly "
                                  "once, and prints rates and latencies. arrays: array jobs. singles: single jobs. "
                                  "latency: one single job at a time, "
                                  "from its submission to the news that it runs.",
                                  "berth bench load --mode arrays --pods 1000000\n"
                                  "berth bench load --mode singles --seconds 10 --batch 100\n"
                                  "berth bench load --mode latency --pods 200 --json latency.json");
  LoadOptions& options = texts->options;
  command->add_option("--mode", texts->mode, "arrays, singles or latency")
      ->check(CLI::IsMember({"arrays", "singles", "latency"}))
      ->capture_default_str();
  auto* pods = command->add_option("--pods", options.pods, "How many pods, rounded up to whole arrays")
                   ->check(CLI::Range(std::uint64_t{1}, kPodsMax));
  command->add_option("--seconds", options.seconds, "Submit for so long (10 unless --pods is given)")
      ->check(CLI::Range(0.01, 86'400.0))
      ->excludes(pods);
  command->add_option("--array-size", options.array_size, "Elements of each array")
      ->check(CLI::Range(1U, IndexSet::kMaxSize))
      ->capture_default_str();
  command->add_option("--batch", options.batch, "Jobs in one submission")
      ->check(CLI::Range(1U, kBatchMax))
      ->capture_default_str();
  command->add_option("--window", options.window, "Submissions that wait for their acknowledgement at once")
      ->check(CLI::Range(1U, kWindowMax))
      ->capture_default_str();
  command->add_option("--backlog", options.backlog, "Submit no further while so many pods have not ended")
      ->check(CLI::Range(std::uint64_t{1}, kPodsMax))
      ->capture_default_str();
  command->add_option("--cpus", texts->resources.cpus, "Cores that each pod asks for")
      ->type_name("CPUS")
      ->capture_default_str();
  command->add_option("--mem", texts->resources.mem, "Memory that each pod asks for")
      ->type_name("SIZE")
      ->capture_default_str();
  command->add_option("--json", texts->json, "Write the figures to this file as well")->type_name("FILE");
  on_run(command, context, [texts, &context]() -> int {
    const auto resources = parse_resources(texts->resources);
    if (!resources) return report(resources.error(), true);
    LoadOptions chosen = texts->options;
    chosen.resources = *resources;
    chosen.mode = texts->mode == "arrays"    ? LoadOptions::Mode::kArrays
                  : texts->mode == "singles" ? LoadOptions::Mode::kSingles
                                             : LoadOptions::Mode::kLatency;
    if (chosen.pods == 0 && chosen.seconds == 0) chosen.seconds = 10;
    client::ClientOptions server;
    server.endpoint = context.server;
    server.identity_dir = context.identity_dir;
    return run_bench_load(server, chosen, texts->json);
  });
}

}  // namespace

void add_bench_commands(CLI::App& app, Context& context) {
  CLI::App* bench =
      add_command(app, "bench", "Load generator and hollow agents",
                  "Tools to measure a server: hollow agents take the place of nodes, a load generator that of users.",
                  "berth bench agents --count 5000 &\nberth bench load --mode arrays --pods 1000000");
  bench->require_subcommand(1);
  add_agents(*bench, context);
  add_load(*bench, context);
}

}  // namespace berth::tools
