// NodeNetwork: this node's part of the cluster's network: addresses for pods, ways to the pods of other nodes,
// services' addresses and names. Nothing is set up before it is needed: a service to lead to, or a pod that wants an
// address. What was set up outlives the agent, like the pods; the next one with the same instance takes it over. Loop
// thread only.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/core/node_routes.h"
#include "agent/core/service_names.h"
#include "agent/core/service_rules.h"
#include "agent/io/pod_network.h"
#include "agent/net/commands.h"
#include "agent/net/dns_server.h"
#include "state/requests.h"

namespace berth::agent {

struct NodeNetworkOptions {
  std::string instance;        // short, unique on the machine
  bool always_tunnel = false;  // to the pods of all other nodes, also of those on the same link
  std::string run_directory = "/run/berth";
  std::string netns_directory = "/run/netns";
  std::string plugins = "/usr/lib/cni:/opt/cni/bin";
};

// What is missing for it on this machine, one line; "" if nothing is.
std::string missing_for_pod_network(const NodeNetworkOptions& options);

class NodeNetwork : public PodNetworks {
 public:
  NodeNetwork(wire::Loop& loop, NodeNetworkOptions options);
  ~NodeNetwork() override;

  // At start: clears away what pods left that are not among these, and remembers the others' addresses. Returns how
  // many it clears.
  std::size_t recover(const std::set<state::PodRef>& living);
  // Told of the number of each update once what it says holds on this node.
  void on_applied(std::function<void(std::uint64_t)> handler) { applied_handler_ = std::move(handler); }
  bool able() const;  // it could lead to services, and wants to hear of them
  void on_welcome(const state::AgentWelcome& welcome);
  void on_update(const state::NetworkUpdate& update);

  void attach(const state::PodRef& ref, const std::string& host_name, const std::string& space,
              Attached handler) override;
  void release(const state::PodRef& ref) override;
  std::string address(const state::PodRef& ref) const;
  // At the agent's end: if no pod needs it any more, all of it goes.
  void end();

 private:
  struct Attaching {
    state::PodRef ref;
    std::string host_name, space;
    Attached handler;
  };
  enum class Stage { kDown, kComing, kUp };

  void want();
  void set_up();
  std::string set_up_text() const;
  void sync();
  void sync_routes();
  void send_routes(NodeRoutes::Plan plan, NodeRoutes::Commands commands);
  void sync_rules();
  void sync_connections();
  void fail(const std::string& why);
  void finish_sync();
  void say_names();
  void say_applied(std::uint64_t number);

  void pump();
  void make_namespace(std::shared_ptr<Attaching> pod);
  void plug_in(std::shared_ptr<Attaching> pod);
  void attached(std::shared_ptr<Attaching> pod, const CommandEnd& end);
  void give_up(std::shared_ptr<Attaching> pod, const std::string& why);
  void unplug(const std::string& pod_name);
  Command plugin(const std::string& verb, const std::string& pod_name) const;
  std::string config() const;
  void run_in_turn(std::vector<std::string> words, std::string input, std::function<void()> next);

  std::string directory() const { return options_.run_directory + "/" + options_.instance; }
  std::string netns(const std::string& pod_name) const;
  std::string hosts_file(const std::string& pod_name) const { return directory() + "/pods/" + pod_name + ".hosts"; }
  std::string leases() const { return directory() + "/leases/berth-" + options_.instance; }
  std::string gateway() const;

  wire::Loop& loop_;
  const NodeNetworkOptions options_;
  Commands commands_;
  DnsServer dns_;
  ServiceRules rules_;
  ServiceNames names_;
  NodeRoutes routes_;
  std::string pod_subnet_, pods_cidr_, services_cidr_;
  std::string trouble_;  // why it cannot be had, one line; "" while nobody knows
  bool told_ = false;    // what services and nodes there are
  Stage stage_ = Stage::kDown;
  std::uint32_t mtu_ = 1500;
  bool syncing_ = false, again_ = false, rules_fresh_ = true, names_changed_ = false;
  std::uint64_t heard_ = 0, in_hand_ = 0, applied_ = 0;  // numbers of updates
  std::function<void(std::uint64_t)> applied_handler_;
  std::optional<NodeRoutes::Plan> routes_there_;  // nullopt: another agent's may be there
  std::shared_ptr<wire::Loop::Timer> retry_;
  std::deque<std::shared_ptr<Attaching>> waiting_;
  std::size_t attaching_ = 0;
  std::map<state::PodRef, std::shared_ptr<const PodNetwork>> attached_;
  std::set<state::PodRef> unwanted_;  // released while they were being attached
  std::set<state::PodRef> under_way_;
};

}  // namespace berth::agent
