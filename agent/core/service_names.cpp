#include "agent/core/service_names.h"

#include <algorithm>

#include "agent/core/service_rules.h"

namespace berth::agent {

using namespace state;

namespace {

// Names come from the server, which knows what a name may be; here only what could break a file is kept out.
bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

bool is_address(const std::string& text) {
  std::uint32_t number = 0;
  return parse_ipv4(text, number);
}

}  // namespace

ServiceNames::Entry ServiceNames::entry_of(const ServiceRoute& route) {
  Entry entry;
  const std::string space = route.space.empty() ? std::string(kDefaultSpace) : route.space;
  if (!is_name(route.name) || !is_name(space)) return entry;
  const std::string full = route.name + "." + space + "." + std::string(kDomain);
  std::string names = full + " " + route.name + "." + space;
  if (space == kDefaultSpace) names += " " + route.name + "." + std::string(kDomain) + " " + route.name;
  const bool headless = !is_address(route.address);
  if (!headless) entry.hosts = route.address + " " + names + "\n";
  std::vector<std::pair<std::string, const Endpoint*>> pods;  // the pod's own name
  for (const Endpoint& endpoint : route.endpoints) {
    if (!headless || !is_address(endpoint.address)) continue;
    const std::string slot = endpoint.name.substr(endpoint.name.rfind('.') + 1);
    const bool named = slot != endpoint.name && is_name(slot);
    entry.hosts += endpoint.address + " " + names + "\n";
    if (!named) continue;
    pods.emplace_back(slot + "." + full, &endpoint);
    entry.hosts += endpoint.address + " " + pods.back().first + "\n";
  }
  for (const ServicePort& port : route.ports) {
    if (!is_name(port.name)) continue;
    const std::string record = "srv-host=_" + port.name + "._" +
                               std::string(port.protocol == Protocol::kTcp ? "tcp" : "udp") + "." + full + ",";
    if (!headless) entry.records += record + full + "," + std::to_string(port.port) + "\n";
    for (const auto& [name, endpoint] : pods) entry.records += record + name + "," + std::to_string(port.target) + "\n";
  }
  return entry;
}

bool ServiceNames::update(const std::vector<ServiceRoute>& services, const std::vector<ServiceId>& removed, bool all) {
  bool changed = false;
  if (all) {
    std::map<ServiceId, Entry> entries;
    for (const ServiceRoute& route : services) entries[route.service] = entry_of(route);
    changed = entries != entries_;
    entries_ = std::move(entries);
    return changed;
  }
  for (const ServiceId id : removed) changed = entries_.erase(id) != 0 || changed;
  for (const ServiceRoute& route : services) {
    Entry entry = entry_of(route);
    const auto [at, fresh] = entries_.try_emplace(route.service);
    if (!fresh && at->second == entry) continue;
    at->second = std::move(entry);
    changed = true;
  }
  return changed;
}

std::string ServiceNames::hosts() const {
  std::string text;
  for (const auto& [id, entry] : entries_) text += entry.hosts;
  return text;
}

std::string ServiceNames::records() const {
  std::string text;
  for (const auto& [id, entry] : entries_) text += entry.records;
  return text;
}

std::string resolv_conf(const std::string& server, const std::string& space) {
  const std::string domain(kDomain);
  // "web" and "web.space" are looked for here before they are asked for elsewhere.
  return "nameserver " + server + "\nsearch " + (is_name(space) ? space : std::string(kDefaultSpace)) + "." + domain +
         " " + domain + "\noptions ndots:2 timeout:1 attempts:5\n";
}

}  // namespace berth::agent
