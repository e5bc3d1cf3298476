// The cluster's network, as far as the core decides it: which part of the pods' network a node has, which address a
// service, and what nodes are told of both. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "scheduler/services.h"
#include "state/cluster.h"

namespace berth::scheduler {

// "10.96.0.0/16": IPv4 only.
struct Cidr {
  std::uint32_t base = 0;  // in the host's order
  std::uint32_t bits = 0;  // of the prefix
  std::uint64_t size() const { return 1ULL << (32 - bits); }
};
std::optional<Cidr> parse_cidr(std::string_view text);  // nullopt if it is none, or has bits behind its prefix
std::string format_ipv4(std::uint32_t address);

class Network {
 public:
  // Empty ones: there is no such network. Each node gets a /24 of the pods'. `services`: knows the replicas.
  Network(const std::string& pods_cidr, const std::string& services_cidr, const Services& services);

  void restore(const state::Cluster& cluster);
  std::uint32_t free_subnet();  // 0: none is free
  void take_subnet(std::uint32_t subnet) { subnets_.insert(subnet); }
  void give_subnet(std::uint32_t subnet) { subnets_.erase(subnet); }
  std::string subnet_text(std::uint32_t subnet) const;                    // "10.88.3.0/24", "" of none
  std::string free_service_address(const state::Cluster& cluster) const;  // "": none is free
  void note_address(state::ServiceId id, const std::string& address);     // that the service has; "": none any more

  // ---- what nodes are told ----
  void service_changed(state::ServiceId id) { dirty_.insert(id); }
  void peer_changed(state::NodeId id) { peers_.insert(id); }
  // What differs from what was told; nullopt: nothing, or it is too soon after the last.
  std::optional<state::NetworkUpdate> update(const state::Cluster& cluster, state::TimeUs now);
  state::NetworkUpdate all(const state::Cluster& cluster);  // for a node that has just come
  std::optional<state::TimeUs> next_at() const;
  std::uint64_t told() const { return number_; }  // of the last update
  bool untold() const { return !dirty_.empty() || !peers_.empty(); }

 private:
  state::ServiceRoute route_of(const state::Cluster& cluster, const state::Service& service) const;
  std::optional<state::NetworkPeer> peer_of(const state::Cluster& cluster, state::NodeId id) const;

  const Services& replicas_;
  std::optional<Cidr> pods_, services_;
  std::set<std::uint32_t> subnets_;  // taken
  std::map<state::ServiceId, std::string> addresses_;
  std::set<std::string> taken_addresses_;
  std::map<state::ServiceId, state::ServiceRoute> told_;
  std::set<state::ServiceId> dirty_;
  std::set<state::NodeId> peers_;  // changed
  state::TimeUs told_at_ = 0;
  std::uint64_t number_ = 0;
};

}  // namespace berth::scheduler
