// A blocking connection of frames over a plain descriptor, with or without TLS, for programs that ask one thing and
// end: the command line and enrolment. No Asio, so that it starts at once. One thread. Every wait is bounded by a
// deadline.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/wire/connection.h"
#include "api/wire/message.h"
#include "api/wire/tls.h"
#include "state/result.h"

namespace berth::wire {

class Deadline {
 public:
  static Deadline after_ms(std::int64_t timeout_ms);  // negative: never
  bool never() const { return !at_.has_value(); }
  int left_ms() const;  // as poll() takes it: -1 for never, 0 when it has passed

 private:
  std::optional<std::chrono::steady_clock::time_point> at_;
};

class BlockingStream {
 public:
  // Connects and, with `tls`, shakes hands. Errors say why, without the address: "No such file or directory".
  static state::Result<std::unique_ptr<BlockingStream>> open(const Endpoint& endpoint, std::shared_ptr<TlsContext> tls,
                                                             const Deadline& deadline);
  ~BlockingStream();
  BlockingStream(const BlockingStream&) = delete;
  BlockingStream& operator=(const BlockingStream&) = delete;

  // Sends all of it. Reads meanwhile what arrives, so that two sides that both write never wait for each other.
  state::Status send(std::string_view frame, const Deadline& deadline);
  // The next frame decoded. kUnavailable "timeout" if the deadline came first: nothing is lost, and it may be called
  // again.
  state::Result<Message> receive(const Deadline& deadline);
  int fd() const;

 private:
  struct Transport;
  explicit BlockingStream(std::unique_ptr<Transport> transport);
  state::Status fill(const Deadline& deadline);
  bool take_frame(std::string_view& frame);

  std::unique_ptr<Transport> transport_;
  std::string input_;
  std::size_t taken_ = 0;  // bytes of input_ that were given out
};

// Hello and Welcome: the first words of the side that connects. The server's Error comes back as the error.
state::Result<Welcome> shake_hands(BlockingStream& stream, PeerRole role, const Deadline& deadline);

}  // namespace berth::wire
