#include "agent/net/node_network.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <set>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/net/links.h"

extern char** environ;

namespace berth::agent {

using namespace state;

namespace {

constexpr std::int64_t kNetworkRetryMs = 3'000;
constexpr int kTunnelPort = 4789;

std::string missing_for_services() {
  if (geteuid() != 0) return "the agent does not run as root";
  if (find_system_program("ip").empty()) return "'ip' is not installed (package iproute2)";
  if (find_system_program("nft").empty()) return "'nft' is not installed (package nftables)";
  return "";
}

bool write_setting(const char* path, const char* value) {
  const Fd file(open(path, O_WRONLY | O_CLOEXEC));
  return file && write(file.get(), value, 1) == 1;
}

// At the end, when no loop runs any more.
void run_now(std::vector<std::string> words) {
  const std::string program = find_system_program(words[0]);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd < 3; ++fd) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  pid_t pid = -1;
  if (posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ) == 0) waitpid(pid, nullptr, 0);
  posix_spawn_file_actions_destroy(&actions);
}

}  // namespace

std::string pod_netns_path(const std::string& instance, const std::string& pod_name) {
  return "/run/netns/berth-" + instance + "-" + pod_name;
}

std::string missing_for_pod_network(const NodeNetworkOptions& options) {
  if (const std::string missing = missing_for_services(); !missing.empty()) return missing;
  for (const char* plugin : {"ptp", "host-local"}) {
    bool there = false;
    std::istringstream places(options.plugins);
    for (std::string place; std::getline(places, place, ':');) {
      there = there || access((place + "/" + plugin).c_str(), X_OK) == 0;
    }
    if (!there) {
      return std::string("the network plugin '") + plugin + "' is not in " + options.plugins +
             " (package containernetworking-plugins)";
    }
  }
  if (find_system_program("dnsmasq").empty()) return "'dnsmasq' is not installed (package dnsmasq-base)";
  return "";
}

NodeNetwork::NodeNetwork(wire::Loop& loop, NodeNetworkOptions options)
    : loop_(loop),
      options_(std::move(options)),
      commands_(loop),
      dns_(loop, commands_, directory() + "/dns"),
      rules_({"berth_" + options_.instance, "", "", ""}) {}

NodeNetwork::~NodeNetwork() = default;

bool NodeNetwork::able() const { return missing_for_services().empty(); }

std::string NodeNetwork::gateway() const {
  Subnet subnet;
  return parse_subnet(pod_subnet_, subnet) ? format_ipv4(subnet.first()) : "";
}

void NodeNetwork::on_welcome(const AgentWelcome& welcome) {
  if (welcome.pod_subnet == pod_subnet_ && welcome.pods_cidr == pods_cidr_ && welcome.services_cidr == services_cidr_) {
    return;
  }
  pod_subnet_ = welcome.pod_subnet;
  pods_cidr_ = welcome.pods_cidr.empty() ? welcome.pod_subnet : welcome.pods_cidr;
  services_cidr_ = welcome.services_cidr;
  rules_.set_settings({"berth_" + options_.instance, pod_subnet_, pods_cidr_, services_cidr_});
  routes_.set_settings(
      {"berth" + options_.instance, "bvx" + options_.instance, pod_subnet_, services_cidr_, options_.always_tunnel});
  rules_fresh_ = true;
  if (stage_ == Stage::kUp) stage_ = Stage::kDown;
}

void NodeNetwork::on_update(const NetworkUpdate& update) {
  rules_.update(update.services, update.services_removed, update.all);
  routes_.update(update.peers, update.peers_removed, update.all);
  names_changed_ = names_.update(update.services, update.services_removed, update.all) || names_changed_;
  told_ = told_ || update.all;
  heard_ = update.number;
  if (update.all) applied_ = 0;  // a server that has started again counts anew
  if (stage_ == Stage::kUp) return sync();
  if (rules_.services() != 0 || !attached_.empty() || !waiting_.empty()) return want();
  say_applied(heard_);  // nothing is led from here
}

void NodeNetwork::say_applied(std::uint64_t number) {
  if (number <= applied_) return;
  applied_ = number;
  if (applied_handler_) applied_handler_(number);
}

// ---- set up, once ---------------------------------------------------------------------------------------------------
// Not before the server has said all that there is: what another agent set up before us is not to be emptied.
void NodeNetwork::want() {
  if (stage_ == Stage::kDown && told_) set_up();
}

std::string NodeNetwork::set_up_text() const {
  const std::string anchor = "berth" + options_.instance;
  std::string text;
  // A bridge without ports: there on every kernel that can have pod networks.
  if (!device_exists(anchor)) text += "link add " + anchor + " type bridge\n";
  if (!gateway().empty()) text += "addr replace " + gateway() + "/32 dev " + anchor + "\n";
  return text + "link set " + anchor + " up\n";
}

void NodeNetwork::set_up() {
  stage_ = Stage::kComing;
  std::string why = missing_for_services();
  const std::vector<LinkAddress> links = read_links();
  if (why.empty()) {
    why = find_overlap(links, {pods_cidr_, services_cidr_},
                       {"berth" + options_.instance, "bvx" + options_.instance, "veth"});
  }
  if (why.empty() && !write_setting("/proc/sys/net/ipv4/ip_forward", "1")) {
    const auto now = read_file("/proc/sys/net/ipv4/ip_forward", 16);
    if (!now || !now->starts_with("1")) why = "net.ipv4.ip_forward cannot be set";
  }
  if (!why.empty()) {
    // Nothing is set up then, and it is looked at again when somebody wants it again.
    loop_.post([this, why] { fail(why); });
    return;
  }
  Command command;
  command.argv = {"ip", "-batch", "-"};
  command.input = set_up_text();
  commands_.run(std::move(command), [this, subnet = pod_subnet_](const CommandEnd& end) {
    if (subnet != pod_subnet_) {  // a welcome came meanwhile, with another one
      stage_ = Stage::kDown;
      return want();
    }
    if (!end.good()) return fail("cannot set up the node's network: " + end.why());
    stage_ = Stage::kUp;
    if (!trouble_.empty()) spdlog::info("the node's network works");
    trouble_.clear();
    sync();
  });
}

void NodeNetwork::fail(const std::string& why) {
  if (why != trouble_) spdlog::warn("services and pod networks do not work here: {}", why);
  trouble_ = why;
  syncing_ = again_ = false;
  rules_fresh_ = true;
  routes_there_.reset();
  stage_ = Stage::kDown;
  for (const auto& pod : std::exchange(waiting_, {})) give_up(pod, why);
  retry_ = loop_.after_ms(kNetworkRetryMs, [this] {
    if (rules_.services() != 0 || !attached_.empty()) want();
  });
}

// ---- what there is, made as it should be ----------------------------------------------------------------------------
// One at a time: ways, then rules, then connections, then names. What changes meanwhile is the next round's.
void NodeNetwork::sync() {
  again_ = syncing_;
  if (syncing_) return;
  syncing_ = true;
  in_hand_ = heard_;
  sync_routes();
}

void NodeNetwork::run_in_turn(std::vector<std::string> words, std::string input, std::function<void()> next) {
  if (input.empty()) return next();
  Command command;
  command.argv = std::move(words);
  command.input = std::move(input);
  const std::string name = command.argv[0];
  commands_.run(std::move(command), [this, name, next = std::move(next)](const CommandEnd& end) {
    if (!end.good()) return fail(name + ": " + end.why());
    next();
  });
}

void NodeNetwork::sync_routes() {
  const std::vector<LinkAddress> links = read_links();
  NodeRoutes::Plan plan = routes_.plan(links);
  mtu_ = pod_mtu(links, default_route_device(), routes_.needs_tunnel(plan), pod_subnet_);
  if (routes_there_ && *routes_there_ == plan) return sync_rules();
  if (routes_there_) {
    NodeRoutes::Commands commands = routes_.commands(*routes_there_, plan);
    return send_routes(std::move(plan), std::move(commands));
  }
  // Ways that an agent before us left, to nodes that are there no more.
  Command list;
  list.argv = {"ip", "-4", "route", "show", "proto", std::to_string(kRouteProtocol)};
  commands_.run(std::move(list), [this, plan = std::move(plan)](const CommandEnd& end) {
    if (!end.good()) return fail("ip route: " + end.why());
    NodeRoutes::Plan old;
    std::istringstream lines(end.output);
    for (std::string line; std::getline(lines, line);) {
      const std::string subnet = line.substr(0, line.find(' '));
      if (!plan.routes.contains(subnet)) old.routes[subnet] = "";
    }
    send_routes(plan, routes_.commands(old, plan));
  });
}

void NodeNetwork::send_routes(NodeRoutes::Plan plan, NodeRoutes::Commands commands) {
  const std::string tunnel = "bvx" + options_.instance;
  Subnet own;
  if (routes_.needs_tunnel(plan) && parse_subnet(pod_subnet_, own)) {
    std::string first;
    if (!device_exists(tunnel)) {
      first = "link add " + tunnel + " address " + tunnel_hardware_address(own) + " type vxlan id " +
              std::to_string(kTunnelNumber) + " dstport " + std::to_string(kTunnelPort) + " nolearning\n";
    }
    first += "addr replace " + format_ipv4(own.address & own.mask()) + "/32 dev " + tunnel + "\nlink set " + tunnel +
             " up\n";
    commands.ip = first + commands.ip;
  }
  run_in_turn({"ip", "-batch", "-"}, commands.ip, [this, plan = std::move(plan), bridge = std::move(commands.bridge)] {
    run_in_turn({"bridge", "-batch", "-"}, bridge, [this, plan] {
      routes_there_ = plan;
      sync_rules();
    });
  });
}

void NodeNetwork::sync_rules() {
  const bool whole = std::exchange(rules_fresh_, false);
  Command command;
  command.argv = {"nft", "-f", "-"};
  command.input = whole ? rules_.whole() : rules_.changes();
  if (command.input.empty()) return sync_connections();
  commands_.run(std::move(command), [this, whole](const CommandEnd& end) {
    if (end.good()) return sync_connections();
    if (whole) return fail("nft: " + end.why());
    // Somebody else changed the table: all of it anew.
    spdlog::warn("nft: {}; the rules are replaced", end.why());
    rules_fresh_ = true;
    sync_rules();
  });
}

void NodeNetwork::sync_connections() {
  say_applied(in_hand_);
  const std::set<GoneEndpoint> gone = rules_.gone();
  if (gone.empty() || find_system_program("conntrack").empty()) return finish_sync();
  std::string script;
  for (const GoneEndpoint& endpoint : gone) {
    script += "conntrack -D -p udp --reply-src " + endpoint.address + " --reply-port-src " +
              std::to_string(endpoint.port) + " >/dev/null 2>&1\n";
  }
  Command command;
  command.argv = {"/bin/sh", "-s"};
  command.input = script;
  commands_.run(std::move(command), [this](const CommandEnd&) { finish_sync(); });  // there may have been none
}

void NodeNetwork::finish_sync() {
  syncing_ = false;
  say_names();
  if (std::exchange(again_, false)) return sync();
  pump();
}

void NodeNetwork::say_names() {
  const bool wanted = !attached_.empty() || !waiting_.empty();
  if (wanted && !dns_.wanted()) {
    names_changed_ = false;
    dns_.set_names(names_.hosts(), names_.records());
    dns_.start(gateway());
  } else if (dns_.wanted() && std::exchange(names_changed_, false)) {
    dns_.set_names(names_.hosts(), names_.records());
  }
}

void NodeNetwork::end() {
  // Pods, or what they left and could not be cleared yet: the next agent's.
  if (!attached_.empty() || attaching_ != 0 || commands_.running() != 0) return;
  dns_.end();
  if (routes_there_ || stage_ == Stage::kUp) {
    run_now({"nft", "delete", "table", "ip", "berth_" + options_.instance});
    run_now({"ip", "link", "del", "berth" + options_.instance});
    if (device_exists("bvx" + options_.instance)) run_now({"ip", "link", "del", "bvx" + options_.instance});
    run_now({"ip", "route", "flush", "proto", std::to_string(kRouteProtocol)});
  }
  remove_tree(directory());
}

}  // namespace berth::agent
