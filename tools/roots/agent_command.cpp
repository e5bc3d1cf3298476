// `berth agent`: the composition root of a node's agent.
#include <cstdlib>
#include <iostream>
#include <memory>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <tuple>
#include <unistd.h>

#include "agent/io/agent.h"
#include "placement/constraints.h"
#include "state/text.h"
#include "state/units.h"
#include "tools/cli/command.h"

namespace berth::tools {

namespace {

constexpr const char* kAgentDescription =
    "Offers this machine to a cluster and runs pods on it, until it is stopped. Pods outlive the agent: stopping or\n"
    "killing it stops none of them, and the next start with the same --data directory takes them over.\n"
    "\n"
    "The first start joins with a token, which `berth server` prints and `berth token create` makes; the certificate\n"
    "it gets is kept in the data directory, so that later starts need neither --join nor --token.\n"
    "\n"
    "As root, pods run as the users who submitted them, with limits on cpu, memory and processes (cgroup v1, v2 or\n"
    "both), and containers run with crun or runc. As a plain user, it runs that user's own processes.";

constexpr const char* kAgentExamples =
    "  berth agent --join head:7117 --token berth1-…       join a cluster as this host\n"
    "  berth agent                                         start again, as before\n"
    "  berth agent --cpus 8 --mem 16G --feature ssd        offer a part of the machine, with a feature\n"
    "  berth agent --check                                 what is here, and which runtime works\n"
    "  berth agent --join /run/berth/berth.sock            serve a server on this machine, without TLS";

struct AgentOptions {
  agent::AgentOptions agent;
  std::string cpus, mem, runtime = "auto", disk;
  std::string image_space, image_unused, image_retry;
  std::vector<std::string> resources;
  bool pin = false, no_pin = false;
  std::vector<std::string> labels;
  std::uint32_t gpus = 0;
  bool check = false, verbose = false;
};

std::string default_directory() {
  if (geteuid() == 0) return "/var/lib/berth/agent";
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "/tmp" : home) + "/.local/share/berth/agent";
}

state::Status parse(AgentOptions& options, const CLI::App& command) {
  if (!options.cpus.empty()) {
    auto cpus = state::parse_cpu_milli(options.cpus, "--cpus");
    if (!cpus) return cpus.error();
    options.agent.cpu_milli = *cpus;
  }
  if (!options.mem.empty()) {
    auto mem = state::parse_mem_mib(options.mem, "--mem");
    if (!mem) return mem.error();
    options.agent.mem_mib = *mem;
  }
  if (command.count("--gpus") != 0) options.agent.gpus = options.gpus;
  auto runtime = agent::parse_runtime_choice(options.runtime, "--runtime");
  if (!runtime) return runtime.error();
  options.agent.runtime = *runtime;
  for (const std::string& feature : options.agent.features) {
    if (feature.empty() || feature.size() > state::kMaxNameBytes ||
        feature.find_first_of(", \t\n") != std::string::npos) {
      return state::invalid("--feature",
                            "--feature: '" + feature + "' is not a word of 1 to 255 characters without commas");
    }
  }
  for (const std::string& label : options.labels) {
    if (!placement::is_label(label)) {
      return state::invalid("--label", "--label: " + state::shown(label) + " is not a label; accepted: KEY=VALUE");
    }
    options.agent.features.push_back(label);
  }
  for (const std::string& resource : options.resources) {
    auto count = state::parse_countable(resource, "--resource");
    if (!count) return count.error();
    options.agent.counts.push_back(std::move(*count));
  }
  if (!options.disk.empty()) {
    auto disk = state::parse_mem_mib(options.disk, "--disk");
    if (!disk) return disk.error();
    options.agent.counts.push_back({std::string(state::kDisk), *disk});
  }
  if (state::Status good = state::check_countables(options.agent.counts, "--resource"); !good) return good;
  if (!options.image_space.empty()) {
    auto space = state::parse_mem_mib(options.image_space, "--image-space");
    if (!space) return space.error();
    options.agent.images.keep_bytes = *space << 20;
  }
  for (const auto& [text, field, to] :
       {std::tuple{&options.image_unused, "--image-unused", &options.agent.images.unused_ms},
        std::tuple{&options.image_retry, "--image-retry", &options.agent.images.retry_ms}}) {
    if (text->empty()) continue;
    auto time = state::parse_duration_ms(*text, field);
    if (!time) return time.error();
    *to = *time;
  }
  if (options.pin || options.no_pin) options.agent.pin = options.pin;
  for (const std::string& taint : options.agent.taints) {
    if (!placement::is_taint(taint)) {
      return state::invalid("--taint", "--taint: " + state::shown(taint) +
                                           " is not a taint; accepted: KEY or KEY=VALUE, with :prefer behind it if it "
                                           "is only a wish");
    }
  }
  if (options.agent.data_directory.empty()) options.agent.data_directory = default_directory();
  if (options.agent.data_directory[0] != '/') {
    char here[4096];
    if (getcwd(here, sizeof here) == nullptr) return state::invalid("--data", "--data: the current directory is gone");
    options.agent.data_directory = std::string(here) + "/" + options.agent.data_directory;
  }
  while (options.agent.data_directory.size() > 1 && options.agent.data_directory.back() == '/') {
    options.agent.data_directory.pop_back();
  }
  return state::Unit{};
}

int check(const AgentOptions& options) {
  const auto lines = agent::check_node(options.agent);
  if (!lines) return report(lines.error());
  for (const std::string& line : *lines) std::cout << line << "\n";
  return 0;
}

int run(AgentOptions& options, const CLI::App& command) {
  if (auto parsed = parse(options, command); !parsed) return report(parsed.error(), true);
  auto logger = std::make_shared<spdlog::logger>("agent", std::make_shared<spdlog::sinks::stderr_sink_st>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l: %v");
  logger->set_level(options.verbose ? spdlog::level::debug : spdlog::level::info);
  spdlog::set_default_logger(logger);
  if (options.check) return check(options);
  options.agent.handle_signals = true;
  options.agent.on_ready = [](const state::NodeInfo& node) {
    spdlog::info("node {}: {} cpus, {}, {} gpus, limits {}", node.name,
                 state::format_cpu_milli(node.capacity.cpu_milli), state::format_mem_mib(node.capacity.mem_mib),
                 node.capacity.gpus, node.limits);
  };
  agent::Agent agent(options.agent);
  const auto ended = agent.run();
  return ended ? 0 : report(ended.error(), ended.error().code == state::ErrorCode::kInvalid);
}

}  // namespace

void add_agent_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, "agent", "run pods on this machine", kAgentDescription, kAgentExamples);
  auto options = std::make_shared<AgentOptions>();
  agent::AgentOptions& agent = options->agent;
  command->add_option("--join", agent.server, "the server: HOST:PORT, or the path of its Unix socket on this machine")
      ->type_name("SERVER");
  command->add_option("--token", agent.token, "proves the first time that this node may join")->type_name("TOKEN");
  command->add_option("--name", agent.node_name, "the node's name (default: the host's)")->type_name("NAME");
  command
      ->add_option("--data", agent.data_directory,
                   "where it keeps pods, output and images (default: " + default_directory() + ")")
      ->type_name("DIR");
  command->add_option("--cpus", options->cpus, "offer so many cpus instead of all, as in 4 or 0.5")->type_name("CPUS");
  command->add_option("--mem", options->mem, "offer so much memory instead of all, as in 512M or 16G")
      ->type_name("SIZE");
  command->add_option("--gpus", options->gpus, "offer so many GPUs instead of all")->type_name("N");
  command->add_option("--resource", options->resources, "it has so many of it, as in fpga=2; repeat for more")
      ->type_name("NAME=N")
      ->allow_extra_args(false);
  command
      ->add_option("--disk", options->disk, "offer so much disk instead of the whole file system of --data, as in 100G")
      ->type_name("SIZE");
  command->add_option("--pods", agent.pods_max, "run so many pods at once at most")->type_name("N");
  auto* pin =
      command->add_flag("--pin", options->pin,
                        "give pods that ask for whole cpus cores of their own (the default where it offers all cpus)");
  command->add_flag("--no-pin", options->no_pin, "do not")->excludes(pin);
  command
      ->add_option("--topology", agent.topology_file,
                   "stand in for the machine of this file (XML of lstopo): its cpus, memory and GPUs, bound to nothing")
      ->type_name("FILE");
  command->add_flag("--pod-tunnel", agent.always_tunnel,
                    "reach the pods of other nodes through a tunnel (VXLAN), also where the nodes share a link");
  command->add_option("--feature", agent.features, "a feature that jobs may ask for; repeat for more")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command->add_option("--label", options->labels, "a label that jobs may ask for, as in zone=a; repeat for more")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command
      ->add_option(
          "--taint", agent.taints,
          "only pods that tolerate it come here, as in gpu or team=x; with :prefer behind it, only if need be; "
          "repeat for more")
      ->type_name("KEY[=VALUE]")
      ->allow_extra_args(false);
  command->add_option("--runtime", options->runtime, "for containers: auto (the first that works), crun or runc")
      ->type_name("RUNTIME")
      ->capture_default_str();
  agent::ImageOptions& images = agent.images;
  command
      ->add_option("--image-space", options->image_space,
                   "remove images that no pod uses, the longest unused first, while all take more, as in 100G")
      ->type_name("SIZE");
  command->add_option("--image-unused", options->image_unused, "remove images that no pod used for so long, as in 14d")
      ->type_name("TIME");
  command
      ->add_option("--image-retry", options->image_retry,
                   "try a registry that cannot be reached again for so long, until the pod fails (default: 2m)")
      ->type_name("TIME");
  command
      ->add_option("--registry-auth", images.registry.auth_file,
                   "the site's credentials for registries (containers-auth.json), for all pods")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  command
      ->add_option("--registry-ca", images.registry.ca_directory,
                   "certificates (*.crt) of authorities that sign for registries, beside the system's")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory);
  command
      ->add_option(
          "--insecure-registry", images.registry.insecure,
          "a registry, HOST or HOST:PORT, whose certificate is not looked at, or that has none; repeat for more")
      ->type_name("HOST")
      ->allow_extra_args(false);
  command->add_flag("--check", options->check, "print what was found here and which runtime works, and end");
  command->add_flag("--verbose", options->verbose, "log more");
  on_run(command, context, [options, command] { return run(*options, *command); });
}

}  // namespace berth::tools
