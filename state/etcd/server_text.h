// What servers write of themselves in etcd: lines of "name value", so that people can read them, too. Unknown names are
// skipped. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace berth::etcd {

struct ServerText {  // servers/ID
  std::string name, address, version;
  std::uint64_t applied_index = 0;
};
struct LeaderText {  // leader
  std::string id, address;
  std::string start;  // random: tells one start of a server from the next
  std::int64_t lease_ms = 0;
};
struct ClusterText {  // cluster
  std::uint64_t format = 1;
  std::string authority;
};

std::string format_text(const ServerText& text);
std::string format_text(const LeaderText& text);
std::string format_text(const ClusterText& text);
ServerText parse_server_text(std::string_view text);
LeaderText parse_leader_text(std::string_view text);
ClusterText parse_cluster_text(std::string_view text);

}  // namespace berth::etcd
