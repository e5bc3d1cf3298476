#include "agent/net/links.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sstream>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "agent/io/files.h"

namespace berth::agent {

std::vector<LinkAddress> read_links() {
  std::vector<LinkAddress> links;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return links;
  const Fd asking(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  for (const ifaddrs* at = all; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != AF_INET || (at->ifa_flags & IFF_UP) == 0) continue;
    LinkAddress link;
    link.device = at->ifa_name;
    link.subnet.address = ntohl(reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr.s_addr);
    const auto* mask = reinterpret_cast<const sockaddr_in*>(at->ifa_netmask);
    link.subnet.bits = mask == nullptr ? 32 : static_cast<std::uint32_t>(std::popcount(mask->sin_addr.s_addr));
    ifreq request{};
    std::strncpy(request.ifr_name, at->ifa_name, IFNAMSIZ - 1);
    if (asking && ioctl(asking.get(), SIOCGIFMTU, &request) == 0)
      link.mtu = static_cast<std::uint32_t>(request.ifr_mtu);
    links.push_back(std::move(link));
  }
  freeifaddrs(all);
  return links;
}

std::string default_route_device() {
  auto table = read_file("/proc/self/net/route", 1U << 20);
  // A thread may have a network of its own.
  if (auto own = read_file("/proc/thread-self/net/route", 1U << 20)) table = std::move(own);
  if (!table) return "";
  std::istringstream lines(*table);
  std::string line, device, destination;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    if (words >> device >> destination && destination == "00000000") return device;
  }
  return "";
}

bool device_exists(const std::string& name) { return if_nametoindex(name.c_str()) != 0; }

std::string find_overlap(const std::vector<LinkAddress>& links, const std::vector<std::string>& networks,
                         const std::vector<std::string>& ours) {
  for (const std::string& text : networks) {
    Subnet network;
    if (!parse_subnet(text, network)) continue;
    for (const LinkAddress& link : links) {
      const bool own =
          std::any_of(ours.begin(), ours.end(), [&](const auto& name) { return link.device.starts_with(name); });
      if (own || !network.overlaps(link.subnet)) continue;
      return "the cluster's network " + text + " overlaps this machine's " + format_ipv4(link.subnet.address) + "/" +
             std::to_string(link.subnet.bits) + " on " + link.device;
    }
  }
  return "";
}

}  // namespace berth::agent
