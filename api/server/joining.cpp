#include "api/server/joining.h"

#include <algorithm>

namespace berth::server {

using state::Error;
using state::ErrorCode;

namespace {

constexpr std::int64_t kCertificateDays = 10 * 365;

// Without a way out before the end: how much of a guess was right must not show in the time.
bool equal_in_constant_time(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) difference |= static_cast<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

}  // namespace

Joining::Joining(wire::Authority authority, const state::Cluster& cluster)
    : authority_(std::move(authority)), tokens_(cluster.tokens()) {}

void Joining::apply(const state::Event& event) {
  if (const auto* added = std::get_if<state::TokenAdded>(&event)) tokens_[added->token.id] = added->token;
  if (const auto* removed = std::get_if<state::TokenRemoved>(&event)) tokens_.erase(removed->id);
}

state::Result<wire::JoinReply> Joining::join(const wire::JoinRequest& request, state::TimeUs now) const {
  const auto denied = [](std::string message) { return Error{ErrorCode::kDenied, "token", std::move(message), 0}; };
  const auto found = tokens_.find(request.token_id);
  if (found == tokens_.end())
    return denied("the token is unknown or has been revoked; 'berth token create' makes a new one");
  const state::Token& token = found->second;
  if (!equal_in_constant_time(token.secret_hash, wire::hash_secret(request.token_secret)))
    return denied("the token is wrong");
  if (token.expires_at <= now) return denied("the token has expired; 'berth token create' makes a new one");
  std::string common_name;
  if (token.role == state::TokenRole::kUser) {
    common_name = "user:" + token.user;
  } else {
    if (!is_plain_name(request.name)) {
      return state::invalid(
          "name", "'" + request.name.substr(0, 64) + "' is not a node's name; accepted: 1 to 255 of A-Z a-z 0-9 . _ -");
    }
    common_name = "node:" + request.name;
  }
  auto certificate = wire::sign_request(authority_, request.csr_pem, common_name, kCertificateDays);
  if (!certificate) return certificate.error();
  return wire::JoinReply{std::move(*certificate), wire::authority_pem(authority_)};
}

}  // namespace berth::server
