// ServiceNames: the names of services as files for dnsmasq. A service "web" of the space "shop" is
// web.shop.berth.internal; its address, or those of all its ready pods if it has none of its own. A pod of such a
// headless service is 1.web.shop.berth.internal. In the space "default" web.berth.internal and plain web will do. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "state/services.h"

namespace berth::agent {

inline constexpr std::string_view kDomain = "berth.internal";

class ServiceNames {
 public:
  // True if something that names say has changed.
  bool update(const std::vector<state::ServiceRoute>& services, const std::vector<state::ServiceId>& removed, bool all);

  std::string hosts() const;    // as /etc/hosts; read again by dnsmasq when it is told
  std::string records() const;  // SRV records, lines of dnsmasq's configuration; read when it starts
 private:
  struct Entry {
    std::string hosts, records;
    bool operator==(const Entry&) const = default;
  };
  static Entry entry_of(const state::ServiceRoute& route);
  std::map<state::ServiceId, Entry> entries_;
};

// What a pod of that space finds as its /etc/resolv.conf.
std::string resolv_conf(const std::string& server, const std::string& space);

}  // namespace berth::agent
