// Client: what the command line speaks. Blocking, one connection, small and quick to start (no Asio).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "api/wire/connection.h"
#include "api/wire/message.h"
#include "state/result.h"

namespace berth::client {

struct ClientOptions {
  std::string endpoint;      // one or more, with commas between, as parse_endpoints takes them
  std::string identity_dir;  // for HOST:PORT: user.crt, user.key, authority.crt
  std::int64_t connect_timeout_ms = 5'000;
  wire::PeerRole role = wire::PeerRole::kClient;  // or kStatus: then a standby serves, too
};

class Client {
 public:
  // Connects and shakes hands, with the one of several servers that leads. The error says which server was tried and
  // what to do (is it running?).
  static state::Result<std::unique_ptr<Client>> connect(const ClientOptions& options);
  ~Client();

  // Sends a request and waits for its reply. An Error reply comes back as the error.
  state::Result<state::ServerReply> call(state::ClientRequest request);
  state::Result<state::ServerReply> call(state::ArchiveRequest request);
  state::Result<state::ServerReply> call(state::NodeRequest request);
  // The same, and gives back T or an error of code kProtocol if the reply is of another kind.
  template <class T>
  state::Result<T> call_for(state::ClientRequest request) {
    auto reply = call(std::move(request));
    if (!reply) return reply.error();
    if (auto* body = std::get_if<T>(&*reply)) return std::move(*body);
    return state::Error{state::ErrorCode::kProtocol, "", "the server sent an unexpected reply", 0};
  }

  // Pipelining: send without waiting, then receive in order of arrival. The request number is in the message.
  state::Result<std::uint64_t> send(state::ClientRequest request);
  state::Result<std::uint64_t> send(state::ArchiveRequest request);
  state::Result<std::uint64_t> send(state::NodeRequest request);
  // A part of the stream of the ExecRequest with this number.
  state::Status send(std::uint64_t number, state::ExecPart part);
  // Waits up to timeout_ms (-1: for ever). kUnavailable with message "timeout" if nothing came.
  state::Result<wire::Message> receive(std::int64_t timeout_ms);
  int fd() const;  // for poll(); readable may mean bytes that complete no message yet
  const wire::Welcome& welcome() const;

 private:
  struct Impl;
  static state::Result<std::unique_ptr<Client>> connect_to(const wire::Endpoint& endpoint, const ClientOptions& options,
                                                           std::int64_t timeout_ms);
  state::Result<std::uint64_t> send_body(wire::Body body);
  state::Result<state::ServerReply> reply_to(const state::Result<std::uint64_t>& number);
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::client
