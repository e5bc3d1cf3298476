// Joining: checks tokens against the cluster's, and signs certificates. Holds a copy of the tokens that follows the
// journal, so that a token counts only once it is durable and no longer once its removal is. Loop thread only.
#pragma once

#include <map>
#include <string>

#include "api/wire/message.h"
#include "api/wire/tls.h"
#include "state/cluster.h"

namespace berth::server {

class Joining {
 public:
  Joining(wire::Authority authority, const state::Cluster& cluster);
  void apply(const state::Event& event);  // TokenAdded, TokenRemoved
  state::Result<wire::JoinReply> join(const wire::JoinRequest& request, state::TimeUs now) const;
  wire::JoinToken make_token() const { return wire::make_token(authority_); }
  const wire::Authority& authority() const { return authority_; }

 private:
  wire::Authority authority_;
  std::map<std::string, state::Token, std::less<>> tokens_;
};

}  // namespace berth::server
