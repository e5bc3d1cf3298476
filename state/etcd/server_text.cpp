#include "state/etcd/server_text.h"

#include <algorithm>

#include "state/etcd/keys.h"

namespace berth::etcd {

namespace {

std::string line(std::string_view name, std::string value) {
  std::replace(value.begin(), value.end(), '\n', ' ');
  return std::string(name) + " " + value + "\n";
}

template <class Take>
void each_line(std::string_view text, Take&& take) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view one = text.substr(0, end);
    const std::size_t blank = one.find(' ');
    if (blank != std::string_view::npos) take(one.substr(0, blank), std::string(one.substr(blank + 1)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::uint64_t number(const std::string& text) { return to_number(text).value_or(0); }

}  // namespace

std::string format_text(const ServerText& text) {
  return line("name", text.name) + line("address", text.address) + line("version", text.version) +
         line("applied", std::to_string(text.applied_index));
}

std::string format_text(const LeaderText& text) {
  return line("id", text.id) + line("address", text.address) + line("start", text.start) +
         line("lease_ms", std::to_string(text.lease_ms));
}

std::string format_text(const ClusterText& text) {
  return line("format", std::to_string(text.format)) + line("authority", text.authority);
}

ServerText parse_server_text(std::string_view text) {
  ServerText out;
  each_line(text, [&](std::string_view name, std::string value) {
    if (name == "name")
      out.name = std::move(value);
    else if (name == "address")
      out.address = std::move(value);
    else if (name == "version")
      out.version = std::move(value);
    else if (name == "applied")
      out.applied_index = number(value);
  });
  return out;
}

LeaderText parse_leader_text(std::string_view text) {
  LeaderText out;
  each_line(text, [&](std::string_view name, std::string value) {
    if (name == "id")
      out.id = std::move(value);
    else if (name == "address")
      out.address = std::move(value);
    else if (name == "start")
      out.start = std::move(value);
    else if (name == "lease_ms")
      out.lease_ms = static_cast<std::int64_t>(number(value));
  });
  return out;
}

ClusterText parse_cluster_text(std::string_view text) {
  ClusterText out;
  each_line(text, [&](std::string_view name, std::string value) {
    if (name == "format")
      out.format = number(value);
    else if (name == "authority")
      out.authority = std::move(value);
  });
  return out;
}

}  // namespace berth::etcd
