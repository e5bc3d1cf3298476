#include "api/wire/servers.h"

#include <algorithm>

namespace berth::wire {

using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

constexpr const char* kField = "leader";
constexpr std::string_view kLeaderAt = "this server is a standby; the leader is at ";
constexpr const char* kNobody = "this server is a standby, and no server leads just now";
constexpr std::uint32_t kRetryMs = 200;
constexpr std::size_t kServersMax = 64;

}  // namespace

Result<std::vector<Endpoint>> parse_endpoints(std::string_view text, std::string_view field) {
  std::vector<Endpoint> out;
  while (true) {
    const std::size_t comma = text.find(',');
    auto one = parse_endpoint(text.substr(0, comma), field);
    if (!one) return one.error();
    const std::string name = one->to_string();
    if (std::any_of(out.begin(), out.end(), [&](const Endpoint& other) { return other.to_string() == name; })) {
      return state::invalid(std::string(field), "'" + name + "' is there twice");
    }
    out.push_back(std::move(*one));
    if (out.size() > kServersMax) {
      return state::invalid(std::string(field), "more than " + std::to_string(kServersMax) + " servers");
    }
    if (comma == std::string_view::npos) return out;
    text.remove_prefix(comma + 1);
  }
}

std::string to_string(const std::vector<Endpoint>& endpoints) {
  std::string text;
  for (const Endpoint& endpoint : endpoints) text += (text.empty() ? "" : ",") + endpoint.to_string();
  return text;
}

Error not_leading(const std::string& leader) {
  return {ErrorCode::kUnavailable, kField, leader.empty() ? kNobody : std::string(kLeaderAt) + leader, kRetryMs};
}

bool is_not_leading(const Error& error) { return error.code == ErrorCode::kUnavailable && error.field == kField; }

std::optional<Endpoint> leader_named_in(const Error& error) {
  if (!is_not_leading(error) || !error.message.starts_with(kLeaderAt)) return std::nullopt;
  auto endpoint = parse_endpoint(std::string_view(error.message).substr(kLeaderAt.size()), kField);
  if (!endpoint) return std::nullopt;
  return std::move(*endpoint);
}

bool Servers::next(const Error& why) {
  ++tried_;
  const auto leader = leader_named_in(why);
  // Whoever was named once and does not serve may be dead, and the standbys may not know it yet.
  if (leader && leader->to_string() != current_.to_string() && tried_ <= list_.size()) {
    current_ = *leader;
    return true;
  }
  at_ = (at_ + 1) % list_.size();
  current_ = list_[at_];
  if (tried_ < list_.size()) return true;
  tried_ = 0;
  return false;
}

void Servers::served() {
  tried_ = 0;
  const std::string name = current_.to_string();
  for (std::size_t i = 0; i < list_.size(); ++i) {
    if (list_[i].to_string() == name) at_ = i;
  }
}

}  // namespace berth::wire
