// The configuration that the CNI plugins get, and what they say (CNI specification 1.0). JSON of theirs is read and
// written here and nowhere else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace berth::agent {

struct CniNetwork {
  std::string name;     // unique on the machine
  std::string subnet;   // of the node's pods
  std::string gateway;  // this node, as its pods see it
  std::string leases;   // directory: who has which address
  std::uint32_t mtu = 1500;
};
// A pair of virtual devices for each pod, and a route to it: all that a pod sends passes the node's own rules, also
// when it is meant for a pod of the same node.
std::string cni_config(const CniNetwork& network);

struct CniAnswer {
  std::string address;  // without its prefix; "" if there is none
  std::string error;    // "" if there is none
};
CniAnswer read_cni_answer(std::string_view json);

}  // namespace berth::agent
