#include "agent/core/service_rules.h"

#include <algorithm>
#include <charconv>

namespace berth::agent {

using namespace state;

namespace {

constexpr const char* kMapNames[] = {"services", "endpoints", "published", "doors", "loops"};
constexpr const char* kMapTypes[] = {
    "typeof ip daddr . meta l4proto . th dport : verdict",
    "typeof numgen random mod 65536 . ip daddr . meta l4proto . th dport : ip daddr . th dport",
    "typeof meta l4proto . th dport : verdict",
    "typeof numgen random mod 65536 . meta l4proto . th dport : ip daddr . th dport",
    "typeof ip saddr . ip daddr",
};
// On a packet that came to a published port and goes on to another node: its answer has to come back through here.
constexpr const char* kMark = "0x00800000";

std::uint64_t mix(std::string_view text, std::uint64_t seed) {
  std::uint64_t hash = 1469598103934665603ULL ^ seed;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdULL;
  return hash ^ (hash >> 33);
}

void append(std::string& list, const std::string& more) {
  if (!list.empty()) list += ", ";
  list += more;
}

std::string element_text(const std::string& key, const std::string& value) {
  return value.empty() ? key : key + " : " + value;
}

// All that there are: nft cannot add a rule that looks into such a map to a table that is there already (seen
// with 1.0.6: it takes the map's type as it reads it back for another one).
std::vector<std::string> chain_names() {
  std::vector<std::string> names;
  for (const char* kind : {"spread_", "published_spread_"}) {
    for (std::uint32_t count = 1; count <= kExactMax; ++count) names.push_back(kind + std::to_string(count));
    for (const char* count : {"2048", "8192"}) names.push_back(kind + std::string(count));
  }
  for (const char* name : {"sticky_256", "sticky_1024", "published_sticky_256", "published_sticky_1024"}) {
    names.emplace_back(name);
  }
  return names;
}

// nft reads a line of any length, but a person does not.
void append_elements(std::string& out, const std::vector<std::string>& elements, const char* indent) {
  for (std::size_t i = 0; i < elements.size(); ++i) {
    out += i == 0 ? "" : ",";
    out += "\n";
    out += indent + elements[i];
  }
}

}  // namespace

bool parse_ipv4(std::string_view text, std::uint32_t& out) {
  const char* at = text.data();
  const char* const end = at + text.size();
  std::uint32_t address = 0;
  for (int part = 0; part < 4; ++part) {
    std::uint32_t byte = 0;
    const auto read = std::from_chars(at, end, byte);
    if (read.ec != std::errc() || byte > 255 || read.ptr - at > 3) return false;
    address = address << 8 | byte;
    at = read.ptr;
    if (part < 3 && (at == end || *at++ != '.')) return false;
  }
  out = address;
  return at == end;
}

std::string format_ipv4(std::uint32_t address) {
  return std::to_string(address >> 24) + "." + std::to_string(address >> 16 & 255) + "." +
         std::to_string(address >> 8 & 255) + "." + std::to_string(address & 255);
}

bool parse_subnet(std::string_view text, Subnet& out) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view bits = text.substr(slash + 1);
  const auto read = std::from_chars(bits.data(), bits.data() + bits.size(), out.bits);
  return read.ec == std::errc() && read.ptr == bits.data() + bits.size() && out.bits <= 32 && !bits.empty() &&
         parse_ipv4(text.substr(0, slash), out.address);
}

std::uint32_t sticky_slot_count(std::size_t endpoints) { return endpoints <= 1 ? 1 : endpoints <= 32 ? 256 : 1024; }

std::uint32_t slot_count(std::size_t endpoints) {
  if (endpoints <= kExactMax) return static_cast<std::uint32_t>(endpoints);
  return endpoints <= 512 ? 2048 : 8192;
}

std::vector<std::uint32_t> sticky_slots(const std::vector<std::string>& names, std::uint32_t slots) {
  std::vector<std::uint32_t> lead(slots, 0);
  for (std::uint32_t slot = 0; slot < slots; ++slot) {
    std::uint64_t best = 0;
    for (std::uint32_t i = 0; i < names.size(); ++i) {
      const std::uint64_t hash = mix(names[i], (slot + 1) * 0x9e3779b97f4a7c15ULL);
      if (i == 0 || hash > best) {
        best = hash;
        lead[slot] = i;
      }
    }
  }
  return lead;
}

// Remembers what the kernel has before the first change to it.
void ServiceRules::take_out(ServiceId id) {
  const auto at = services_.find(id);
  if (at == services_.end()) return;
  for (const Element& element : at->second) {
    const auto there = elements_.find(element);
    const bool is_set = element.first == kLoops;
    before_.try_emplace(element, is_set ? "+" : there->second.text);
    elements_.erase(there);
  }
  services_.erase(at);
}

void ServiceRules::add(ServiceId id, Map map, std::string key, std::string value) {
  Element element{map, std::move(key)};
  const auto [at, fresh] = elements_.try_emplace(element, Value{std::move(value), id});
  if (!fresh) return;  // somebody else's: the server gives no address or port twice
  before_.try_emplace(element, "");
  services_[id].push_back(std::move(element));
}

namespace {

std::string rule_of(const std::string& name) {
  // "spread_3": spread, 3
  const std::size_t at = name.rfind('_');
  const std::string kind = name.substr(0, at), count = name.substr(at + 1);
  const bool sticky = kind.ends_with("sticky"), published = kind.starts_with("published");
  const std::string number = (sticky ? "jhash ip saddr mod " : "numgen random mod ") + count;
  if (!published) return "dnat ip to " + number + " . ip daddr . meta l4proto . th dport map @endpoints";
  return std::string("meta mark set meta mark or ") + kMark + " dnat ip to " + number +
         " . meta l4proto . th dport map @doors";
}

}  // namespace

void ServiceRules::put_in(const ServiceRoute& route) {
  std::uint32_t address = 0;
  const bool has_address = parse_ipv4(route.address, address);
  std::vector<std::string> names;
  std::vector<std::string> addresses;
  Subnet local;
  const bool has_local = parse_subnet(settings_.pod_subnet, local);
  services_[route.service];
  std::vector<const Endpoint*> sorted;
  for (const Endpoint& endpoint : route.endpoints) {
    std::uint32_t number = 0;
    if (parse_ipv4(endpoint.address, number)) sorted.push_back(&endpoint);
  }
  std::sort(sorted.begin(), sorted.end(), [](const Endpoint* a, const Endpoint* b) { return a->pod < b->pod; });
  for (const Endpoint* endpoint : sorted) {
    names.push_back(std::to_string(endpoint->pod.pod.job.value) + "." + std::to_string(endpoint->pod.pod.element));
    addresses.push_back(endpoint->address);
    std::uint32_t number = 0;
    if (has_local && parse_ipv4(endpoint->address, number) && local.holds(number)) {
      add(route.service, kLoops, endpoint->address + " . " + endpoint->address, "");
    }
  }
  if (addresses.empty()) return;
  const bool sticky = route.sticky && addresses.size() > 1;
  std::vector<std::uint32_t> lead(sticky ? sticky_slot_count(addresses.size()) : slot_count(addresses.size()));
  for (std::uint32_t i = 0; i < lead.size(); ++i) lead[i] = i % static_cast<std::uint32_t>(addresses.size());
  if (sticky) lead = sticky_slots(names, static_cast<std::uint32_t>(lead.size()));
  const std::string chain = (sticky ? "sticky_" : "spread_") + std::to_string(lead.size());
  for (const ServicePort& port : route.ports) {
    const std::string protocol = port.protocol == Protocol::kTcp ? "tcp" : "udp";
    const std::string target = " . " + std::to_string(port.target);
    const std::string inner = route.address + " . " + protocol + " . " + std::to_string(port.port);
    const std::string outer = protocol + " . " + std::to_string(port.published);
    if (has_address) add(route.service, kServices, inner, "goto " + chain);
    if (port.published != 0) add(route.service, kPublished, outer, "goto published_" + chain);
    for (std::size_t i = 0; i < lead.size(); ++i) {
      const std::string number = std::to_string(i) + " . ", value = addresses[lead[i]] + target;
      if (has_address) add(route.service, kEndpoints, number + inner, value);
      if (port.published != 0) add(route.service, kDoors, number + outer, value);
    }
  }
}

void ServiceRules::update(const std::vector<ServiceRoute>& services, const std::vector<ServiceId>& removed, bool all) {
  std::vector<ServiceId> gone = removed;
  if (all) {
    gone.clear();
    for (const auto& [id, elements] : services_) gone.push_back(id);
  }
  for (const ServiceId id : gone) take_out(id);
  for (const ServiceRoute& route : services) take_out(route.service);
  for (const ServiceRoute& route : services) put_in(route);
  // Datagrams have no end: who sent to an endpoint that is gone would send there for ever.
  for (const auto& [element, before] : before_) {
    if ((element.first != kEndpoints && element.first != kDoors) || before.empty()) continue;
    if (element.second.find(" . udp . ") == std::string::npos) continue;
    const std::size_t dot = before.find(" . ");
    gone_.insert({before.substr(0, dot), static_cast<std::uint16_t>(std::stoi(before.substr(dot + 3)))});
  }
  if (gone_.empty()) return;
  for (const auto& [element, value] : elements_) {
    if ((element.first != kEndpoints && element.first != kDoors) ||
        element.second.find(" . udp . ") == std::string::npos)
      continue;
    const std::size_t dot = value.text.find(" . ");
    gone_.erase({value.text.substr(0, dot), static_cast<std::uint16_t>(std::stoi(value.text.substr(dot + 3)))});
  }
}

std::string ServiceRules::changes() {
  std::string removals[kMaps], additions[kMaps];
  for (const auto& [element, before] : before_) {
    const auto now = elements_.find(element);
    const bool there = now != elements_.end();
    const bool is_set = element.first == kLoops;
    if (there && !before.empty() && (is_set || before == now->second.text)) continue;
    if (!before.empty()) append(removals[element.first], element_text(element.second, is_set ? "" : before));
    if (there) append(additions[element.first], element_text(element.second, now->second.text));
  }
  before_.clear();
  std::string out;
  // A service's way is closed before the endpoints that it leads to, and opened after them.
  for (const int map : {kServices, kPublished, kEndpoints, kDoors, kLoops}) {
    if (removals[map].empty()) continue;
    out += "delete element ip " + settings_.table + " " + kMapNames[map] + " { " + removals[map] + " }\n";
  }
  for (const int map : {kLoops, kEndpoints, kDoors, kServices, kPublished}) {
    if (additions[map].empty()) continue;
    out += "add element ip " + settings_.table + " " + kMapNames[map] + " { " + additions[map] + " }\n";
  }
  return out;
}

std::string ServiceRules::whole() {
  before_.clear();
  std::vector<std::string> lists[kMaps];
  for (const auto& [element, value] : elements_) {
    lists[element.first].push_back(element_text(element.second, value.text));
  }
  const std::string& table = settings_.table;
  std::string out = "table ip " + table + " { }\ndelete table ip " + table + "\ntable ip " + table + " {\n";
  for (int map = 0; map < kMaps; ++map) {
    out += std::string("  ") + (map == kLoops ? "set " : "map ") + kMapNames[map] + " {\n    " + kMapTypes[map] + "\n";
    if (!lists[map].empty()) {
      out += "    elements = {";
      append_elements(out, lists[map], "      ");
      out += " }\n";
    }
    out += "  }\n";
  }
  for (const std::string& name : chain_names()) out += "  chain " + name + " {\n    " + rule_of(name) + "\n  }\n";
  // Established connections never come here: whom they were led to is in the kernel's connection table.
  const std::string ways =
      "    ip daddr . meta l4proto . th dport vmap @services\n"
      "    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @published\n";
  out += "  chain prerouting {\n    type nat hook prerouting priority dstnat; policy accept;\n" + ways + "  }\n";
  out += "  chain output {\n    type nat hook output priority -100; policy accept;\n" + ways + "  }\n";
  out += "  chain postrouting {\n    type nat hook postrouting priority srcnat; policy accept;\n";
  out += "    ip saddr . ip daddr @loops masquerade\n";
  if (!settings_.pod_subnet.empty()) {
    out += std::string("    meta mark & ") + kMark + " == " + kMark +
           " oifname != \"lo\" ip daddr != " + settings_.pod_subnet + " masquerade\n";
    out += "    ip saddr " + settings_.pod_subnet + " ip daddr != " + settings_.pods_cidr + " masquerade\n";
  } else {
    out += std::string("    meta mark & ") + kMark + " == " + kMark + " oifname != \"lo\" masquerade\n";
  }
  out += "  }\n";
  if (!settings_.services_cidr.empty()) {
    // An address or a port that leads nowhere says so at once.
    const std::string refuse = "    ip daddr " + settings_.services_cidr + " meta l4proto tcp reject with tcp reset\n" +
                               "    ip daddr " + settings_.services_cidr + " reject\n";
    out +=
        "  chain refuse_forward {\n    type filter hook forward priority filter; policy accept;\n" + refuse + "  }\n";
    out += "  chain refuse_output {\n    type filter hook output priority filter; policy accept;\n" + refuse + "  }\n";
  }
  return out + "}\n";
}

}  // namespace berth::agent
