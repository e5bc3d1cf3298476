// ServerLink: a command's connection to the server, which it makes again when it is lost. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/client/client.h"
#include "state/requests.h"
#include "tools/cli/command.h"

namespace berth::tools {

std::int64_t now_ms();  // a steady clock
// SIGINT and SIGTERM as readable events while one exists, instead of ending the program. At most one at a time.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  int fd() const { return fd_; }
  bool take();  // true if one came since the last call

 private:
  int fd_ = -1;
};

class ServerLink {
 public:
  static constexpr std::int64_t kPatienceMs = 10LL * 60 * 1000;  // how long a restarting server is waited for

  explicit ServerLink(const Context& context, wire::PeerRole role = wire::PeerRole::kClient);
  state::Status connect();
  // Connects again, for at most patience_ms; says so on standard error once. An interrupt ends the wait.
  state::Status reconnect(std::int64_t patience_ms, const Interrupts* interrupts = nullptr);
  client::Client& client() { return *client_; }  // connect() was good

  // Asks once, connecting if need be.
  state::Result<state::ServerReply> call(state::ClientRequest request);
  state::Result<state::ServerReply> call(state::ArchiveRequest request);
  template <class T, class Request>
  state::Result<T> call_for(Request request) {
    return only<T>(call(std::move(request)));
  }
  // Asks again after a lost connection, or when the server says to come back later. For requests that may be repeated.
  state::Result<state::ServerReply> call_patiently(const state::ClientRequest& request,
                                                   std::int64_t patience_ms = kPatienceMs);
  template <class T>
  state::Result<T> call_patiently_for(const state::ClientRequest& request, std::int64_t patience_ms = kPatienceMs) {
    return only<T>(call_patiently(request, patience_ms));
  }
  bool is_local() const { return local_; }  // through a Unix socket

  // The connection is gone, as opposed to an answer that refuses.
  static bool is_lost(const state::Error& error);

 private:
  template <class T>
  static state::Result<T> only(state::Result<state::ServerReply> reply) {
    if (!reply) return reply.error();
    if (auto* body = std::get_if<T>(&*reply)) return std::move(*body);
    return state::Error{state::ErrorCode::kProtocol, "", "the server sent an unexpected reply", 0};
  }

  client::ClientOptions options_;
  std::unique_ptr<client::Client> client_;
  bool local_ = true;
};

// Sleeps, but not past an interrupt.
void sleep_ms(std::int64_t ms, const Interrupts* interrupts = nullptr);

}  // namespace berth::tools
