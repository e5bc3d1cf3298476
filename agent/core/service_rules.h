// ServiceRules: the kernel's rules (nftables) that lead from a service's address and published ports to its pods, as
// text for `nft -f`. Maps do the work: there is the same small number of rules however many services there are, and
// what changes for one service touches its own elements alone. Pure.
//
//   services   address . protocol . port -> goto spread_N: one of N endpoints at random, or sticky: by the client's
//   address endpoints  number . address . protocol . port -> pod's address . port published  protocol . port -> goto
//   published_N, for what is sent to an address of the node doors      number . protocol . port -> pod's address .
//   port, of published ports loops      address . address: pods of this node, which may reach themselves through their
//   service
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "state/services.h"

namespace berth::agent {

struct RuleSettings {
  std::string table;          // its name
  std::string pod_subnet;     // of this node's pods
  std::string pods_cidr;      // of all pods; "": there is no pod network
  std::string services_cidr;  // of all services' addresses
};

// An endpoint that is gone: what its datagram clients have in the kernel's connection table has to go as well.
struct GoneEndpoint {
  std::string address;
  std::uint16_t port = 0;
  bool operator<(const GoneEndpoint& other) const {
    return std::tie(address, port) < std::tie(other.address, other.port);
  }
};

class ServiceRules {
 public:
  explicit ServiceRules(RuleSettings settings) : settings_(std::move(settings)) {}
  void set_settings(RuleSettings settings) { settings_ = std::move(settings); }

  // Takes the changes up. Addresses that are none, and what is another service's already, are left out.
  void update(const std::vector<state::ServiceRoute>& services, const std::vector<state::ServiceId>& removed, bool all);

  // Replaces the table, whatever is there: one transaction. Nothing is pending after that.
  std::string whole();
  // What changed since the last whole() or changes(); "" if nothing did.
  std::string changes();
  std::set<GoneEndpoint> gone() { return std::exchange(gone_, {}); }
  std::size_t services() const { return services_.size(); }

 private:
  enum Map : std::uint8_t { kServices, kEndpoints, kPublished, kDoors, kLoops, kMaps };
  using Element = std::pair<std::uint8_t, std::string>;  // map, key
  struct Value {
    std::string text;
    state::ServiceId owner;
  };
  void take_out(state::ServiceId id);
  void put_in(const state::ServiceRoute& route);
  void add(state::ServiceId id, Map map, std::string key, std::string value);

  RuleSettings settings_;
  std::map<state::ServiceId, std::vector<Element>> services_;
  std::map<Element, Value> elements_;
  std::map<Element, std::string> before_;  // of elements that changed: as the kernel has them; "": not at all
  std::set<GoneEndpoint> gone_;
};

// Among so many the endpoints of a service are chosen: each once, or, of very many, each about as often as the others.
// Endpoints beyond 8192 get nothing.
inline constexpr std::uint32_t kExactMax = 128;
std::uint32_t slot_count(std::size_t endpoints);
// For sticky services: which endpoint (its place in `names`) each of so many slots leads to, so that only the clients
// of an endpoint that comes or goes move (rendezvous hashing: the endpoint with the highest hash has the slot).
std::vector<std::uint32_t> sticky_slots(const std::vector<std::string>& names, std::uint32_t slots);
std::uint32_t sticky_slot_count(std::size_t endpoints);

// "a.b.c.d"; false if it is none.
bool parse_ipv4(std::string_view text, std::uint32_t& out);
std::string format_ipv4(std::uint32_t address);
struct Subnet {
  std::uint32_t address = 0;
  std::uint32_t bits = 0;
  std::uint32_t mask() const { return bits == 0 ? 0 : ~std::uint32_t{0} << (32 - bits); }
  bool holds(std::uint32_t other) const { return (other & mask()) == (address & mask()); }
  std::uint32_t first() const { return (address & mask()) + 1; }
  bool overlaps(const Subnet& other) const { return holds(other.address) || other.holds(address); }
};
bool parse_subnet(std::string_view text, Subnet& out);  // "a.b.c.d/n"

}  // namespace berth::agent
