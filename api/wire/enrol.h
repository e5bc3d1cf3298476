// Enrolment: prove a token to a server, get a certificate for a fresh key. Blocking; for agents and remote users alike.
#pragma once

#include <string>

#include "state/result.h"

namespace berth::wire {

struct Enrolment {
  std::string key_pem, certificate_pem, authority_pem;
};
// `node_name` is empty for a user's token. With the one of several servers ("a:7117,b:7117") that leads.
state::Result<Enrolment> enrol(const std::string& endpoints, const std::string& token, const std::string& node_name,
                               std::int64_t timeout_ms);

}  // namespace berth::wire
