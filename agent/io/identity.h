// Identity: who a node is, kept in its data directory from the first start on: instance, name, server, certificate.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/io/agent.h"
#include "agent/io/layout.h"
#include "api/wire/connection.h"
#include "api/wire/tls.h"

namespace berth::agent {

// One agent at a time uses a data directory. Released with the descriptor.
state::Result<Fd> lock_data_directory(const Layout& layout);

struct Identity {
  std::string instance;  // 32 hex digits
  std::string name;
  std::vector<wire::Endpoint> servers;    // of which one leads
  std::shared_ptr<wire::TlsContext> tls;  // nullptr for Unix sockets alone
};
// Blocking: joins with the token if there is no certificate yet.
state::Result<Identity> open_identity(const Layout& layout, const AgentOptions& options);

// True if the machine was not restarted since the last call with this directory.
bool same_boot(const Layout& layout);
std::string host_name();

}  // namespace berth::agent
