#include "agent/core/node_routes.h"

#include <algorithm>
#include <cstdio>

namespace berth::agent {

using namespace state;

bool operator==(const Subnet& a, const Subnet& b) { return a.address == b.address && a.bits == b.bits; }

std::string tunnel_hardware_address(const Subnet& subnet) {
  const std::uint32_t base = subnet.address & subnet.mask();
  char text[32];
  // 02: given out locally.
  std::snprintf(text, sizeof text, "02:be:%02x:%02x:%02x:%02x", base >> 24, base >> 16 & 255, base >> 8 & 255,
                base & 255);
  return text;
}

std::uint32_t pod_mtu(const std::vector<LinkAddress>& links, const std::string& default_device, bool tunnel,
                      const std::string& pod_subnet) {
  std::uint32_t mtu = 0;
  Subnet pods;
  const bool has_pods = parse_subnet(pod_subnet, pods);
  for (const LinkAddress& link : links) {
    // The anchor, the tunnel and the near ends of the pods' own links carry addresses of the pods' subnet: what was
    // set on them before is no limit of the machine's.
    if (has_pods && pods.overlaps(link.subnet)) continue;
    if (link.device == default_device) return link.mtu - (tunnel ? kTunnelOverhead : 0);
    if (link.device != "lo" && (mtu == 0 || link.mtu < mtu)) mtu = link.mtu;
  }
  return (mtu == 0 ? 1500 : mtu) - (tunnel ? kTunnelOverhead : 0);
}

void NodeRoutes::update(const std::vector<NetworkPeer>& peers, const std::vector<NodeId>& removed, bool all) {
  if (all) peers_.clear();
  for (const NodeId node : removed) peers_.erase(node);
  for (const NetworkPeer& peer : peers) {
    NetworkPeer& known = peers_[peer.node] = peer;
    known.address = known.address.substr(0, known.address.find(':'));  // a port is no part of the way
  }
}

NodeRoutes::Plan NodeRoutes::plan(const std::vector<LinkAddress>& links) const {
  Plan plan;
  if (!settings_.services_cidr.empty()) {
    // Never used to send anything: the rules turn such packets around before. It makes the kernel accept them.
    plan.routes[settings_.services_cidr] = "dev " + settings_.anchor;
  }
  Subnet own;
  const bool has_own = parse_subnet(settings_.pod_subnet, own);
  for (const auto& [node, peer] : peers_) {
    Subnet subnet;
    std::uint32_t address = 0;
    if (!parse_subnet(peer.subnet, subnet) || !parse_ipv4(peer.address, address)) continue;
    if (has_own && subnet.overlaps(own)) continue;  // this node itself
    const bool here = address >> 24 == 127 || std::any_of(links.begin(), links.end(), [&](const LinkAddress& link) {
                        return link.subnet.address == address;
                      });
    if (here) continue;  // another agent of this machine: the way to its pods is there
    const auto shared = std::find_if(links.begin(), links.end(), [&](const LinkAddress& link) {
      return link.subnet.bits < 32 && link.subnet.holds(address) && link.device != settings_.anchor;
    });
    if (shared != links.end() && !settings_.always_tunnel) {
      plan.routes[peer.subnet] = "via " + peer.address + " dev " + shared->device;
      continue;
    }
    const std::string end = format_ipv4(subnet.address & subnet.mask()), hardware = tunnel_hardware_address(subnet);
    plan.routes[peer.subnet] = "via " + end + " dev " + settings_.tunnel + " onlink";
    plan.neighbors[end] = hardware;
    plan.forwards[hardware] = peer.address;
  }
  return plan;
}

NodeRoutes::Commands NodeRoutes::commands(const Plan& from, const Plan& to) const {
  Commands out;
  const std::string ours = " proto " + std::to_string(kRouteProtocol);
  for (const auto& [subnet, way] : from.routes) {
    if (!to.routes.contains(subnet)) out.ip += "route del " + subnet + ours + "\n";
  }
  for (const auto& [address, hardware] : from.neighbors) {
    if (!to.neighbors.contains(address)) out.ip += "neigh del " + address + " dev " + settings_.tunnel + "\n";
  }
  for (const auto& [hardware, node] : from.forwards) {
    if (!to.forwards.contains(hardware))
      out.bridge += "fdb del " + hardware + " dev " + settings_.tunnel + " dst " + node + "\n";
  }
  const auto differs = [](const auto& map, const auto& item) {
    const auto at = map.find(item.first);
    return at == map.end() || at->second != item.second;
  };
  for (const auto& item : to.forwards) {
    if (!differs(from.forwards, item)) continue;
    out.bridge +=
        "fdb replace " + item.first + " dev " + settings_.tunnel + " dst " + item.second + " self permanent\n";
  }
  for (const auto& item : to.neighbors) {
    if (!differs(from.neighbors, item)) continue;
    out.ip +=
        "neigh replace " + item.first + " lladdr " + item.second + " dev " + settings_.tunnel + " nud permanent\n";
  }
  const std::string source = " src ";
  Subnet own;
  const bool has_own = parse_subnet(settings_.pod_subnet, own);
  for (const auto& item : to.routes) {
    if (!differs(from.routes, item)) continue;
    // What this machine itself sends to pods comes from an address that their nodes know the way back to.
    out.ip += "route replace " + item.first + " " + item.second + ours +
              (has_own ? source + format_ipv4(own.first()) : std::string()) + "\n";
  }
  return out;
}

}  // namespace berth::agent
