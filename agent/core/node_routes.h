// NodeRoutes: which way leads to the pods of each other node: straight to the node where both are on one link, else
// through a tunnel (VXLAN, whose table of addresses is filled by hand). Decides, and says it in commands of iproute2
// (`ip -batch -`, `bridge -batch -`). Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/core/service_rules.h"
#include "state/services.h"

namespace berth::agent {

// An address of this machine.
struct LinkAddress {
  std::string device;
  Subnet subnet;  // its address, and how much of the link it spans
  std::uint32_t mtu = 1500;
  bool operator==(const LinkAddress&) const = default;
};
bool operator==(const Subnet& a, const Subnet& b);

struct RouteSettings {
  std::string anchor;         // the device that holds the node's own address for its pods
  std::string tunnel;         // the VXLAN device
  std::string pod_subnet;     // "": no pods of this node have addresses
  std::string services_cidr;  // "": none
  bool always_tunnel = false;
};

class NodeRoutes {
 public:
  void set_settings(RouteSettings settings) { settings_ = std::move(settings); }
  void update(const std::vector<state::NetworkPeer>& peers, const std::vector<state::NodeId>& removed, bool all);

  struct Plan {
    std::map<std::string, std::string> routes;     // subnet -> the rest of its route, "via … dev … onlink"
    std::map<std::string, std::string> neighbors;  // address at the tunnel -> the hardware address there
    std::map<std::string, std::string> forwards;   // hardware address at the tunnel -> the node that has it
    bool operator==(const Plan&) const = default;
  };
  Plan plan(const std::vector<LinkAddress>& links) const;
  // Commands that lead from one plan to another; a plan with nothing in it is where a machine begins.
  struct Commands {
    std::string ip, bridge;
  };
  Commands commands(const Plan& from, const Plan& to) const;
  bool needs_tunnel(const Plan& plan) const { return !plan.forwards.empty(); }
  std::size_t peers() const { return peers_.size(); }

 private:
  RouteSettings settings_;
  std::map<state::NodeId, state::NetworkPeer> peers_;
};

// Of the tunnel's end at the node with that subnet: everybody can work it out.
std::string tunnel_hardware_address(const Subnet& subnet);
// What a frame may carry to the pods of other nodes.
std::uint32_t pod_mtu(const std::vector<LinkAddress>& links, const std::string& default_device, bool tunnel,
                      const std::string& pod_subnet);
inline constexpr int kRouteProtocol = 117;  // marks routes as ours
inline constexpr int kTunnelNumber = 7117;
inline constexpr std::uint32_t kTunnelOverhead = 50;

}  // namespace berth::agent
