// What the machine's network looks like: read from the kernel. Any thread.
#pragma once

#include <string>
#include <vector>

#include "agent/core/node_routes.h"

namespace berth::agent {

// IPv4 addresses of devices that are up.
std::vector<LinkAddress> read_links();
std::string default_route_device();  // "" if there is none
bool device_exists(const std::string& name);
// The first way in which the cluster's networks and this machine's get in each other's way, as one line; "" if they do
// not. Devices whose name begins with one of `ours` do not count.
std::string find_overlap(const std::vector<LinkAddress>& links, const std::vector<std::string>& networks,
                         const std::vector<std::string>& ours);

}  // namespace berth::agent
