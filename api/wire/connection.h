// Connections of frames over a Unix socket or TLS 1.3, on a Loop. All calls and callbacks on the loop's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "api/wire/loop.h"
#include "api/wire/tls.h"
#include "state/result.h"

namespace berth::wire {

// "unix:/run/berth/berth.sock", "/run/…" (a path), or "HOST:PORT".
struct Endpoint {
  bool is_unix = true;
  std::string path;
  std::string host;
  std::uint16_t port = 0;
  std::string to_string() const;
};
state::Result<Endpoint> parse_endpoint(std::string_view text, std::string_view field);

// Who is at the other end, as the transport proves it.
struct PeerIdentity {
  enum class Kind { kUnix, kCertificate, kUnproven } kind = Kind::kUnproven;
  std::uint32_t uid = 0, gid = 0;  // kUnix: SO_PEERCRED
  std::int32_t pid = 0;
  std::string common_name;  // kCertificate: "node:NAME" or "user:NAME"
  std::string address;      // for people
};

class Connection {
 public:
  struct Handlers {
    std::function<void(std::span<const std::byte>)> on_frame;  // one frame, without its length; valid during the call
    std::function<void(const state::Error&)> on_close;         // once; never after close()
    std::function<void()> on_drained;                          // optional: the send queue became empty
  };
  virtual ~Connection() = default;  // closes; after close_after_send what is queued still goes out
  virtual void start(Handlers handlers) = 0;
  virtual void send(std::string frame) = 0;           // queues; frames sent in one turn of the loop share a write
  virtual std::size_t queued_bytes() const = 0;       // for back-pressure
  virtual void set_max_frame(std::size_t bytes) = 0;  // a longer frame closes with kProtocol, and its sender is told
  virtual void close_after_send() = 0;                // flush what is queued, then close (on_close is not called)
  virtual void pause_reading(bool paused) = 0;        // while paused, the end of the other side is not noticed
  virtual const PeerIdentity& peer() const = 0;
};

using AcceptHandler = std::function<void(std::shared_ptr<Connection>)>;
class Listener {
 public:
  virtual ~Listener() = default;
  virtual std::string address() const = 0;  // with the real port if 0 was asked for
};
// A stale socket file is replaced; one with a living server behind it is refused. Mode 0666: the peer's credentials
// decide.
state::Result<std::unique_ptr<Listener>> listen_unix(Loop& loop, const std::string& path, AcceptHandler on_accept);
state::Result<std::unique_ptr<Listener>> listen_tls(Loop& loop, const std::string& host, std::uint16_t port,
                                                    std::shared_ptr<TlsContext> tls, AcceptHandler on_accept);

using ConnectHandler = std::function<void(state::Result<std::shared_ptr<Connection>>)>;
// `tls` may be null for a Unix endpoint. Gives up after timeout_ms.
void connect(Loop& loop, const Endpoint& endpoint, std::shared_ptr<TlsContext> tls, std::int64_t timeout_ms,
             ConnectHandler on_done);

}  // namespace berth::wire
