// `berth server`: the composition root of a cluster's server.
#include <array>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <memory>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <tuple>
#include <unistd.h>

#include "api/wire/connection.h"
#include "state/units.h"
#include "tools/cli/command.h"
#include "tools/cli/paths.h"
#include "tools/cli/program.h"
#include "tools/cli/server_status.h"
#include "tools/roots/directories.h"
#include "tools/roots/server_config.h"

namespace berth::tools {

namespace {

constexpr const char* kDefaultListen = "0.0.0.0:7117";

constexpr const char* kServerDescription =
    "Runs the server of a cluster: it takes jobs, decides where their pods run, and keeps all of it in a journal, so\n"
    "that nothing it has acknowledged is ever lost. It stops on SIGINT or SIGTERM; what runs on the nodes goes on.\n"
    "\n"
    "On its first start it makes the cluster's certificate authority in the data directory and prints the one line\n"
    "that joins a node. Commands on this machine speak to it through its Unix socket, where the user is known by the\n"
    "socket's credentials; nodes and remote users through TLS 1.3 with certificates of the authority.";

constexpr const char* kServerExamples =
    "  berth server                                     the defaults: port 7117, data in /var/lib/berth\n"
    "  berth server --listen 10.0.0.1:7117              one address only\n"
    "  berth server --listen none                       no nodes from elsewhere: the Unix socket alone\n"
    "  berth server --config /etc/berth.yaml            queues, administrators, times from a file\n"
    "  berth server --advertise head.example.org:7117   what the join line should name\n"
    "  berth server --store etcd://e1:2379,e2:2379,e3:2379   one of several, of which one leads\n"
    "  berth server --metrics 127.0.0.1:9117            figures for Prometheus at http://127.0.0.1:9117/metrics\n"
    "  berth server status                              who leads, who stands by";

struct ServerOptions {
  std::string config, data, socket, listen, advertise, lost_after, heartbeat, placement, scheduling, switches,
      fair_share, accounting, store, lease_ms, pods_network, services_network, metrics, trace;
  bool verbose = false;
};

state::Status gather(const ServerOptions& options, ServerConfig& config) {
  server::ServerOptions& server = config.server;
  server.data_directory = default_data_directory();
  server.unix_socket = default_socket();
  server.listen = kDefaultListen;
  server.core.cluster_name = "berth";
  server.accounting.where = "sqlite";
  if (!options.config.empty()) {
    if (auto read = read_server_config(options.config, config); !read) return read;
  }
  // The command line wins over the file.
  if (!options.data.empty()) server.data_directory = options.data;
  if (!options.socket.empty()) server.unix_socket = options.socket;
  if (!options.listen.empty()) server.listen = options.listen;
  if (!options.advertise.empty()) config.advertise = options.advertise;
  const auto duration = [](const std::string& text, const char* option, std::int64_t& out) -> state::Status {
    if (text.empty()) return state::Unit{};
    auto ms = state::parse_duration_ms(text, option);
    if (!ms) return ms.error();
    out = *ms;
    return state::Unit{};
  };
  if (auto set = duration(options.lost_after, "--node-lost-after", server.core.node_lost_after_ms); !set) return set;
  if (auto set = duration(options.heartbeat, "--heartbeat", server.core.heartbeat_ms); !set) return set;
  if (auto good = check_heartbeat(server.core.heartbeat_ms, "--heartbeat"); !good) return good;
  if (!options.placement.empty()) {
    auto policy = parse_placement(options.placement, "--placement");
    if (!policy) return policy.error();
    server.core.placement = *policy;
  }
  if (!options.scheduling.empty()) {
    auto policy = scheduler::parse_queue_policy(options.scheduling, "--scheduling");
    if (!policy) return policy.error();
    server.core.queueing = *policy;
  }
  if (!options.fair_share.empty()) {
    if (auto set = set_fair_share(options.fair_share, "--fair-share", server.core.shares); !set) return set;
  }
  for (const auto& [text, field, to] :
       {std::tuple{&options.pods_network, "--pods-network", &server.core.pods_cidr},
        std::tuple{&options.services_network, "--services-network", &server.core.services_cidr}}) {
    if (text->empty()) continue;
    if (auto set = set_network(*text, field, *to); !set) return set;
  }
  if (!options.accounting.empty()) {
    if (auto good = server::check_accounting(options.accounting, "--accounting"); !good) return good;
    server.accounting.where = options.accounting;
  }
  if (!options.store.empty()) config.store = options.store;
  if (!options.lease_ms.empty()) {
    if (auto set = set_lease(options.lease_ms, "--lease-ms", config.shared); !set) return set;
  }
  if (!config.store.empty()) {
    const auto url = etcd::parse_etcd_url(config.store, "--store");
    if (!url) return url.error();
    server.open_shared = [url = *url, shared = config.shared] { return etcd::open_etcd(url, shared); };
  }
  if (!options.switches.empty()) {
    auto tree = read_switches(options.switches, "--switches");
    if (!tree) return tree.error();
    server.core.switches = std::move(*tree);
  }
  if (!options.metrics.empty()) {
    if (auto good = set_metrics(options.metrics, "--metrics", server.metrics); !good) return good;
  }
  server.data_directory = absolute_path(server.data_directory);
  server.unix_socket = absolute_path(server.unix_socket);
  if (server.listen == "none") server.listen.clear();
  for (const auto& [address, option] :
       {std::pair{server.listen, "--listen"}, std::pair{config.advertise, "--advertise"}}) {
    if (address.empty()) continue;
    const auto endpoint = wire::parse_endpoint(address, option);
    if (!endpoint) return endpoint.error();
    if (endpoint->is_unix)
      return state::invalid(option, "'" + address + "' is not an address of a port; accepted: HOST:PORT, or none");
  }
  const auto socket = wire::parse_endpoint(server.unix_socket, "--socket");
  return socket.ok() ? state::Status(state::Unit{}) : state::Status(socket.error());
}

// What other machines can reach: the address that listens, or this host's name if that is every address; the socket
// where no port listens.
std::string reachable(const ServerConfig& config, const std::string& listening) {
  if (!config.advertise.empty()) return config.advertise;
  if (listening.empty()) return config.server.unix_socket;
  const auto endpoint = wire::parse_endpoint(listening, "listen");
  if (!endpoint || (endpoint->host != "0.0.0.0" && endpoint->host != "::")) return listening;
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return std::string(host.data()) + ":" + std::to_string(endpoint->port);
}

std::string shown_store(const ServerConfig& config) {
  const auto url = etcd::parse_etcd_url(config.store, "--store");
  return url.ok() ? url->to_string() : "";
}

int run(const ServerOptions& options) {
  auto logger = std::make_shared<spdlog::logger>("server", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l: %v");
  logger->set_level(options.verbose ? spdlog::level::debug : spdlog::level::info);
  spdlog::set_default_logger(logger);

  use_huge_pages();
  ServerConfig config;
  if (auto gathered = gather(options, config); !gathered) return report(gathered.error(), true);
  // Searchable: an agent of this machine keeps its pods below it by default. What the server keeps there is its own.
  if (auto made = make_directory(config.server.data_directory, 0711); !made) return report(made.error());
  if (auto made = make_parent(config.server.unix_socket, 0755); !made) return report(made.error());
  config.server.version = berth_version();
  if (!options.trace.empty()) {
    auto trace = server::Trace::open(options.trace);
    if (!trace) return report(trace.error());
    config.server.trace = std::move(*trace);
  }
  const bool known = ::access((config.server.data_directory + "/authority").c_str(), F_OK) == 0;
  std::string listening;
  const auto note_addresses = [&](const std::vector<std::string>& addresses) {
    listening.clear();
    for (const std::string& address : addresses) {
      spdlog::info("listening on {}", address);
      if (address != config.server.unix_socket) listening = address;
    }
  };
  config.server.reachable = [&](const std::vector<std::string>& addresses) {
    note_addresses(addresses);
    return reachable(config, listening);
  };
  config.server.on_standby = [&](const std::vector<std::string>&) {
    std::cout << "berth server " << config.server.version << ": standing by, the journal is in " << shown_store(config)
              << "\n"
              << std::flush;
  };
  config.server.on_ready = [&](const std::vector<std::string>& addresses) {
    if (config.store.empty()) note_addresses(addresses);
    std::cout << "berth server " << config.server.version << ": ready, data in "
              << (config.store.empty() ? config.server.data_directory : shown_store(config)) << "\n";
    if (known && !listening.empty()) std::cout << "to join a node, 'berth token create' makes a token\n";
    std::cout << std::flush;
  };
  config.server.on_first_token = [&](const std::string& token) {
    std::cout << "To join a node, run on it (the token is good for 24 hours; 'berth token create' makes others):\n"
              << "  berth agent --join " << reachable(config, listening) << " --token " << token << "\n"
              << std::flush;
  };
  if (!config.store.empty() && config.server.accounting.where == "sqlite") {
    spdlog::warn("each server keeps a history of its own (accounting: sqlite); PostgreSQL is one for all of them");
  }
  while (true) {
    server::Server server(config.server);
    const auto ended = server.run();
    if (ended.ok()) return 0;
    if (!server.deposed()) return report(ended.error());
    spdlog::warn("{}; this one stands by", ended.error().message);
  }
}

}  // namespace

void add_server_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, "server", "run the server of a cluster", kServerDescription, kServerExamples);
  auto options = std::make_shared<ServerOptions>();
  command->add_option("--config", options->config, "a YAML file with settings (docs/server.md); options win over it")
      ->type_name("FILE");
  command
      ->add_option("--data", options->data,
                   "where the journal and the authority are (default: " + default_data_directory() + ")")
      ->type_name("DIR");
  command->add_option("--socket", options->socket, "the Unix socket for commands (default: " + default_socket() + ")")
      ->type_name("PATH");
  command
      ->add_option("--listen", options->listen,
                   std::string("where nodes connect, or none (default: ") + kDefaultListen + ")")
      ->type_name("HOST:PORT");
  command->add_option("--advertise", options->advertise, "the address in the join line, if it differs")
      ->type_name("HOST:PORT");
  command->add_option("--node-lost-after", options->lost_after, "a node that is away for longer is lost (default: 30s)")
      ->type_name("TIME");
  command->add_option("--heartbeat", options->heartbeat, "how often nodes say that they are there (default: 5s)")
      ->type_name("TIME");
  command
      ->add_option("--placement", options->placement,
                   "which node a pod gets: binpack (the default), spread or first-fit")
      ->type_name("POLICY");
  command
      ->add_option("--switches", options->switches,
                   "how nodes are connected: a file in the form of Slurm's topology.conf; gangs keep together")
      ->type_name("FILE");
  command
      ->add_option("--scheduling", options->scheduling,
                   "who of the waiting is next: default, easy, easy-sjbf or fcfs (see docs/queue.md)")
      ->type_name("POLICY");
  command
      ->add_option("--fair-share", options->fair_share,
                   "how far who used the least of his share stands before who used the most; none for no difference "
                   "(default: 7d, once there are accounts)")
      ->type_name("TIME");
  command
      ->add_option("--accounting", options->accounting,
                   "where ended jobs are written: sqlite (the default: accounting.db in the data directory), "
                   "postgresql://USER@HOST/DATABASE, or none")
      ->type_name("DATABASE");
  command
      ->add_option("--pods-network", options->pods_network,
                   "where pods have their addresses, a /24 for each node; none for none (default: 10.128.0.0/12)")
      ->type_name("CIDR");
  command
      ->add_option("--services-network", options->services_network,
                   "where services have theirs; none for none (default: 10.144.0.0/16)")
      ->type_name("CIDR");
  command
      ->add_option("--metrics", options->metrics,
                   "where Prometheus reads this server's figures (docs/server.md), or none (default: none)")
      ->type_name("HOST:PORT");
  command
      ->add_option("--trace", options->trace,
                   "write what the server's threads do and when to this file, at most 256 MiB, in Chrome's trace event "
                   "format")
      ->type_name("FILE");
  command->add_flag("-v,--verbose", options->verbose, "log more");
  command
      ->add_option("--store", options->store,
                   "share the journal with other servers, of which one leads: etcd://HOST:PORT,... "
                   "(docs/high-availability.md; default: the journal is in the data directory)")
      ->type_name("URL");
  command
      ->add_option("--lease-ms", options->lease_ms,
                   "a leader that is not heard for so many milliseconds is replaced (default: 1500)")
      ->type_name("N");
  const CLI::App* status = add_server_status(*command, context);
  command->callback([options, status, &context] {
    if (!status->parsed()) context.exit_code = run(*options);
  });
}

}  // namespace berth::tools
