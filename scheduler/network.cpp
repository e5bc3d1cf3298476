#include "scheduler/network.h"

#include <algorithm>
#include <charconv>

namespace berth::scheduler {

using namespace state;

namespace {

constexpr std::uint32_t kNodeBits = 24;       // each node's part of the pods' network is a /24
constexpr TimeUs kUpdateIntervalUs = 50'000;  // changes that come close together share an update
constexpr std::uint64_t kServiceAddressesMax = 1 << 20;

std::optional<std::uint32_t> parse_number(std::string_view& text, std::uint32_t most) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value > most) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::optional<std::uint32_t> parse_ipv4(std::string_view& text) {
  std::uint32_t address = 0;
  for (int i = 0; i < 4; ++i) {
    if (i != 0) {
      if (text.empty() || text.front() != '.') return std::nullopt;
      text.remove_prefix(1);
    }
    const auto part = parse_number(text, 255);
    if (!part) return std::nullopt;
    address = address << 8 | *part;
  }
  return address;
}

}  // namespace

std::optional<Cidr> parse_cidr(std::string_view text) {
  const auto base = parse_ipv4(text);
  if (!base || text.empty() || text.front() != '/') return std::nullopt;
  text.remove_prefix(1);
  const auto bits = parse_number(text, 30);
  if (!bits || *bits == 0 || !text.empty()) return std::nullopt;
  if ((*base & ((1ULL << (32 - *bits)) - 1)) != 0) return std::nullopt;
  return Cidr{*base, *bits};
}

std::string format_ipv4(std::uint32_t address) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) {
    out += std::to_string(address >> shift & 255) + (shift == 0 ? "" : ".");
  }
  return out;
}

Network::Network(const std::string& pods_cidr, const std::string& services_cidr, const Services& services)
    : replicas_(services), pods_(parse_cidr(pods_cidr)), services_(parse_cidr(services_cidr)) {}

void Network::restore(const Cluster& cluster) {
  for (const auto& [id, node] : cluster.nodes()) {
    if (node.subnet != 0) subnets_.insert(node.subnet);
  }
  for (const auto& [id, service] : cluster.services()) {
    dirty_.insert(id);
    note_address(id, service.address);
  }
}

void Network::note_address(ServiceId id, const std::string& address) {
  const auto known = addresses_.find(id);
  if (known != addresses_.end()) {
    if (known->second == address) return;
    taken_addresses_.erase(known->second);
    addresses_.erase(known);
  }
  if (address.empty()) return;
  addresses_.emplace(id, address);
  taken_addresses_.insert(address);
}

std::uint32_t Network::free_subnet() {
  if (!pods_ || pods_->bits > kNodeBits) return 0;
  const std::uint64_t most = 1ULL << (kNodeBits - pods_->bits);
  std::uint32_t next = 1;
  for (const std::uint32_t taken : subnets_) {
    if (taken != next) break;
    ++next;
  }
  return next > most ? 0 : next;
}

std::string Network::subnet_text(std::uint32_t subnet) const {
  if (subnet == 0 || !pods_ || pods_->bits > kNodeBits) return "";
  if (subnet > 1ULL << (kNodeBits - pods_->bits)) return "";
  return format_ipv4(pods_->base + ((subnet - 1) << (32 - kNodeBits))) + "/" + std::to_string(kNodeBits);
}

std::string Network::free_service_address(const Cluster& cluster) const {
  if (!services_) return "";
  const std::uint64_t end = std::min(services_->size() - 1, kServiceAddressesMax);
  // One behind the other, from where the last was: an address is not given again at once.
  const std::uint64_t count = end - 1;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t offset = 1 + (cluster.last_service_id().value + i) % count;
    std::string address = format_ipv4(services_->base + static_cast<std::uint32_t>(offset));
    if (!taken_addresses_.contains(address)) return address;
  }
  return "";
}

ServiceRoute Network::route_of(const Cluster& cluster, const Service& service) const {
  ServiceRoute route{service.id, service.name, service.space, service.address, service.sticky, service.ports, {}};
  if (service.status.removing) return route;
  for (const JobId id : replicas_.replicas_of(service.id)) {
    const Job& job = *cluster.job(id);
    const Pod* pod = cluster.pod({id, 0});
    if (pod == nullptr || pod->stopping || !pod->ready) continue;
    const Node* node = cluster.node(pod->node);
    const std::string& own = cluster.address_of({id, 0});
    const std::string& address = own.empty() ? node->info.address : own;
    route.endpoints.push_back({pod->ref, pod->node, address, job.spec.name});
  }
  return route;
}

std::optional<NetworkPeer> Network::peer_of(const Cluster& cluster, NodeId id) const {
  const Node* node = cluster.node(id);
  if (node == nullptr || node->subnet == 0) return std::nullopt;
  return NetworkPeer{id, node->info.name, node->info.address, subnet_text(node->subnet)};
}

std::optional<NetworkUpdate> Network::update(const Cluster& cluster, TimeUs now) {
  if ((dirty_.empty() && peers_.empty()) || now < told_at_ + kUpdateIntervalUs) return std::nullopt;
  NetworkUpdate out;
  for (const ServiceId id : std::exchange(dirty_, {})) {
    const Service* service = cluster.service(id);
    if (service == nullptr) {
      if (told_.erase(id) != 0) out.services_removed.push_back(id);
      continue;
    }
    ServiceRoute route = route_of(cluster, *service);
    const auto [known, added] = told_.try_emplace(id);
    if (!added && known->second == route) continue;
    known->second = route;
    out.services.push_back(std::move(route));
  }
  for (const NodeId id : std::exchange(peers_, {})) {
    if (auto peer = peer_of(cluster, id)) {
      out.peers.push_back(std::move(*peer));
    } else {
      out.peers_removed.push_back(id);
    }
  }
  const bool nothing =
      out.services.empty() && out.services_removed.empty() && out.peers.empty() && out.peers_removed.empty();
  if (nothing) return std::nullopt;
  told_at_ = now;
  out.number = ++number_;
  return out;
}

NetworkUpdate Network::all(const Cluster& cluster) {
  NetworkUpdate out;
  out.all = true;
  out.number = number_;
  for (const auto& [id, service] : cluster.services()) out.services.push_back(route_of(cluster, service));
  for (const auto& [id, node] : cluster.nodes()) {
    if (auto peer = peer_of(cluster, id)) out.peers.push_back(std::move(*peer));
  }
  return out;
}

std::optional<TimeUs> Network::next_at() const {
  if (dirty_.empty() && peers_.empty()) return std::nullopt;
  return told_at_ + kUpdateIntervalUs;
}

}  // namespace berth::scheduler
