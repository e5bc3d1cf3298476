// `berth dev`: a whole cluster on one machine, in the foreground: the server here, and an agent as a child.
#include <iostream>
#include <memory>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "api/wire/connection.h"
#include "tools/cli/command.h"
#include "tools/cli/paths.h"
#include "tools/cli/program.h"
#include "tools/roots/agent_child.h"
#include "tools/roots/directories.h"
#include "tools/roots/server_config.h"

namespace berth::tools {

namespace {

constexpr const char* kDevDescription =
    "Runs a cluster of this one machine in the foreground: a server and an agent, reached through a Unix socket. "
    "Ctrl-C\n"
    "stops both; pods that run go on, and the next `berth dev` with the same data takes them over (`berth cancel` "
    "first\n"
    "if they should not). Started by root, any user of the machine may submit; by a user, it runs that user's pods.";

constexpr const char* kDevExamples =
    "  berth dev                                  with the default data directory and socket\n"
    "  berth dev --data /tmp/try --socket /tmp/try.sock\n"
    "  berth run -- echo hello                    in another terminal";

struct DevOptions {
  std::string data, socket, cpus, mem, name, config;
  std::vector<std::string> features;
  bool verbose = false;
};

std::vector<std::string> agent_arguments(const DevOptions& options, const server::ServerOptions& server) {
  std::vector<std::string> arguments = {
      "berth", "agent", "--join", server.unix_socket, "--data", server.data_directory + "/agent"};
  const auto add = [&](const char* option, const std::string& value) {
    if (value.empty()) return;
    arguments.emplace_back(option);
    arguments.push_back(value);
  };
  add("--cpus", options.cpus);
  add("--mem", options.mem);
  add("--name", options.name);
  for (const std::string& feature : options.features) add("--feature", feature);
  if (options.verbose) arguments.emplace_back("--verbose");
  return arguments;
}

int run(const DevOptions& options) {
  auto logger = std::make_shared<spdlog::logger>("server", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l: %v");
  logger->set_level(options.verbose ? spdlog::level::debug : spdlog::level::warn);
  spdlog::set_default_logger(logger);

  use_huge_pages();
  ServerConfig config;
  server::ServerOptions& server = config.server;
  server.data_directory = default_data_directory();
  server.unix_socket = default_socket();
  server.core.cluster_name = "dev";
  server.accounting.where = "sqlite";
  if (!options.config.empty()) {
    if (auto read = read_server_config(options.config, config); !read) return report(read.error(), true);
  }
  if (!options.data.empty()) server.data_directory = options.data;
  if (!options.socket.empty()) server.unix_socket = options.socket;
  if (!config.store.empty()) {
    return report(state::invalid("config", "berth dev keeps its own journal; 'berth server' takes store"), true);
  }
  server.data_directory = absolute_path(server.data_directory);
  server.unix_socket = absolute_path(server.unix_socket);
  if (!(server.listen.empty() || server.listen == "none") || !config.advertise.empty()) {
    return report(state::invalid("config",
                                 "berth dev is of this machine alone, without listen and advertise; "
                                 "'berth server' takes them"),
                  true);
  }
  server.listen.clear();
  if (const auto socket = wire::parse_endpoint(server.unix_socket, "--socket"); !socket)
    return report(socket.error(), true);
  // Pods of other users reach their output below it: searchable, not readable.
  if (auto made = make_directory(server.data_directory, 0711); !made) return report(made.error());
  if (auto made = make_parent(server.unix_socket, 0755); !made) return report(made.error());
  server.version = berth_version();
  AgentChild agent(agent_arguments(options, server));
  server.on_ready = [&](const std::vector<std::string>&) {
    agent.start();
    const std::string where = server.unix_socket == default_socket() ? "" : " --server " + server.unix_socket;
    std::cout << "berth dev " << server.version << ": ready, data in " << server.data_directory << "; Ctrl-C stops it\n"
              << "try: berth run" << where << " -- echo hello\n"
              << std::flush;
  };
  server::Server shell(server);
  const auto ended = shell.run();
  agent.stop();
  if (!ended.ok()) return report(ended.error());
  return agent.gave_up();
}

}  // namespace

void add_dev_command(CLI::App& app, Context& context) {
  CLI::App* command =
      add_command(app, "dev", "run a whole cluster on this machine, in the foreground", kDevDescription, kDevExamples);
  auto options = std::make_shared<DevOptions>();
  command->add_option("--data", options->data, "where everything is kept (default: " + default_data_directory() + ")")
      ->type_name("DIR");
  command->add_option("--socket", options->socket, "the Unix socket for commands (default: " + default_socket() + ")")
      ->type_name("PATH");
  command->add_option("--config", options->config, "a YAML file with the server's settings (docs/server.md)")
      ->type_name("FILE");
  command->add_option("--name", options->name, "the node's name (default: the host's)")->type_name("NAME");
  command->add_option("--cpus", options->cpus, "offer so many cpus instead of all")->type_name("CPUS");
  command->add_option("--mem", options->mem, "offer so much memory instead of all")->type_name("SIZE");
  command->add_option("--feature", options->features, "a feature that the node has; may be repeated")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command->add_flag("-v,--verbose", options->verbose, "log more");
  on_run(command, context, [options] { return run(*options); });
}

}  // namespace berth::tools
