// Inside of connection.cpp: the life of one socket, plain or TLS, and the handle that its owner holds. Loop's thread
// only.
#pragma once

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <sys/socket.h>

#include "api/wire/connection.h"
#include "api/wire/message.h"
#include "api/wire/tls_internal.h"

namespace berth::wire {

using UnixSocket = boost::asio::local::stream_protocol::socket;
using TlsStream = boost::asio::ssl::stream<boost::asio::ip::tcp::socket>;

inline state::Error unavailable(std::string message) {
  return state::Error{state::ErrorCode::kUnavailable, "", std::move(message), 0};
}

// Shared by its pending operations; the owner holds a Handle. When that goes this closes, at once or, after
// close_after_send, when the last bytes are out and the other side has taken them.
template <class Stream>
class Channel : public std::enable_shared_from_this<Channel<Stream>> {
 public:
  using ErrorCode = boost::system::error_code;

  Channel(Stream stream, PeerIdentity peer, bool accepted)
      : stream_(std::move(stream)), timer_(stream_.get_executor()), peer_(std::move(peer)), accepted_(accepted) {
    ErrorCode ignored;
    if constexpr (kPlain) stream_.non_blocking(true, ignored);
  }

  void start(Connection::Handlers handlers) {
    handlers_ = std::make_shared<const Connection::Handlers>(std::move(handlers));
    read();
  }

  void send(std::string frame) {
    if (closed_ || closing_ || broken_) return;
    queued_bytes_ += frame.size();
    queue_.push_back(std::move(frame));
    if (flush_posted_ || !writing_.empty()) return;
    // Not at once: what else is sent in this turn of the loop goes out with it.
    flush_posted_ = true;
    boost::asio::post(stream_.get_executor(), [self = this->shared_from_this()] {
      self->flush_posted_ = false;
      self->flush();
    });
  }

  void close_after_send() {
    if (closed_ || closing_) return;
    closing_ = true;
    handlers_.reset();
    timer_.expires_after(kLastBytes);
    timer_.async_wait([self = this->shared_from_this()](const ErrorCode& error) {
      if (!error) self->close();
    });
    if (queue_.empty() && writing_.empty()) finish_sending();
  }

  void pause_reading(bool paused) {
    paused_ = paused;
    if (paused_ || reading_ || closed_) return;
    // Later: the caller may be within on_frame.
    boost::asio::post(stream_.get_executor(), [self = this->shared_from_this()] {
      if (self->reading_ || self->closed_ || self->paused_) return;
      self->take_kept();
      self->read();
    });
  }

  void abandon() {
    if (!closing_) close();
  }

  std::size_t queued_bytes() const { return queued_bytes_; }
  void set_max_frame(std::size_t bytes) { max_frame_ = bytes; }
  const PeerIdentity& peer() const { return peer_; }

 private:
  static constexpr bool kPlain = std::is_same_v<Stream, UnixSocket>;
  static constexpr std::size_t kHead = sizeof(std::uint32_t);
  static constexpr std::size_t kScratchBytes = 256 * 1024;
  static constexpr std::size_t kTlsReadBytes = 4096;    // what an idle TLS connection keeps
  static constexpr std::size_t kGrowBytes = 64 * 1024;  // the first room for a frame that comes in parts
  static constexpr auto kLastBytes = std::chrono::seconds(5);

  void close() {
    if (closed_) return;
    closed_ = true;
    ErrorCode ignored;
    stream_.lowest_layer().close(ignored);
    timer_.cancel();
    handlers_.reset();  // who calls them has a reference of his own
    queue_.clear();
    queued_bytes_ = 0;
  }

  void fail(const state::Error& error) {
    if (closed_) return;
    const auto handlers = handlers_;
    close();
    if (handlers && handlers->on_close) handlers->on_close(error);
  }

  // The peer broke the rules: it is told, if it is one that connected to us, and our owner too.
  void refuse(const state::Error& error) {
    const auto handlers = handlers_;
    if (!accepted_) return fail(error);
    send(encode_frame({0, state::ServerReply(error)}));
    close_after_send();
    if (handlers && handlers->on_close) handlers->on_close(error);
  }

  // Nothing more to say. To close with input unread would make the kernel throw away what the peer has not read yet: so
  // the peer is told that this was all, and what it still sends is dropped until it closes, or its time is over.
  void finish_sending() {
    ErrorCode ignored;
    stream_.lowest_layer().shutdown(boost::asio::socket_base::shutdown_send, ignored);
    kept_ = {};
    filled_ = 0;
    if (!reading_) read();
  }

  // ---- reading: a plain socket is read into room that all share, and only a frame that comes in parts is kept
  // ----------

  void read() {
    if (closed_ || reading_ || (paused_ && !closing_)) return;
    reading_ = true;
    if constexpr (kPlain) {
      stream_.async_wait(boost::asio::socket_base::wait_read,
                         [self = this->shared_from_this()](const ErrorCode& error) {
                           self->reading_ = false;
                           if (self->closed_) return;
                           if (error) return self->on_end(error);
                           self->read_plain();
                         });
    } else {
      kept_.resize(std::max(kept_.size(), filled_ + kTlsReadBytes));
      stream_.async_read_some(boost::asio::buffer(kept_.data() + filled_, kept_.size() - filled_),
                              [self = this->shared_from_this()](const ErrorCode& error, std::size_t count) {
                                self->reading_ = false;
                                if (self->closed_) return;
                                if (error) return self->on_end(error);
                                self->filled_ += count;
                                self->take_kept();
                                self->read();
                              });
    }
  }

  void read_plain() {
    // So placed that the content of the first frame lies aligned, as the decoder likes it.
    static thread_local const std::unique_ptr<std::uint64_t[]> scratch =
        std::make_unique_for_overwrite<std::uint64_t[]>(kScratchBytes / sizeof(std::uint64_t));
    char* const room = reinterpret_cast<char*>(scratch.get()) + kHead;
    ErrorCode error;
    const std::size_t count = stream_.read_some(boost::asio::buffer(room, kScratchBytes - kHead), error);
    if (error && error != boost::asio::error::would_block && error != boost::asio::error::interrupted) {
      return on_end(error);
    }
    if (closing_) return read();
    std::string_view bytes(room, count);
    if (filled_ != 0) {
      keep(bytes);
      take_kept();
    } else {
      take_frames(bytes);
      if (!closed_ && !closing_ && !bytes.empty()) keep(bytes);
    }
    read();
  }

  void on_end(const ErrorCode& error) {
    if (closing_) return close();
    const bool ended = error == boost::asio::error::eof || error == boost::asio::ssl::error::stream_truncated ||
                       error == boost::asio::error::connection_reset;
    fail(unavailable(ended ? "the connection was closed" : "the connection broke: " + error.message()));
  }

  void keep(std::string_view bytes) {
    if (kept_.size() - filled_ < bytes.size()) {
      kept_.resize(std::max({filled_ + bytes.size(), filled_ * 2, std::min(wanted_, kGrowBytes)}));
    }
    std::memcpy(kept_.data() + filled_, bytes.data(), bytes.size());
    filled_ += bytes.size();
  }

  void take_kept() {
    std::vector<char> bytes = std::move(kept_);  // the owner may pause, drop or refuse us meanwhile
    kept_ = {};
    std::string_view rest(bytes.data(), std::exchange(filled_, 0));
    const std::size_t before = rest.size();
    if (!closing_) take_frames(rest);
    if (closed_ || closing_ || rest.empty()) return;
    filled_ = rest.size();
    if (filled_ != before) std::memmove(bytes.data(), rest.data(), filled_);
    kept_ = std::move(bytes);
    // A long frame grows with what has come of it, not with what it says of itself.
    if (!kPlain && wanted_ > kept_.size()) kept_.resize(std::min(wanted_, std::max(kGrowBytes, filled_ * 2)));
  }

  // Gives out the whole frames at the front of `bytes`, and leaves there what is not whole.
  void take_frames(std::string_view& bytes) {
    wanted_ = 0;
    while (!closed_ && !closing_ && !paused_ && bytes.size() >= kHead) {
      std::uint32_t size = 0;
      std::memcpy(&size, bytes.data(), kHead);
      if (size == 0 || size > max_frame_) {
        return refuse(state::Error{
            state::ErrorCode::kProtocol, "",
            "a frame of " + std::to_string(size) + " bytes; accepted: 1 to " + std::to_string(max_frame_), 0});
      }
      if (bytes.size() - kHead < size) {
        wanted_ = kHead + size;
        return;
      }
      const auto handlers = handlers_;
      if (handlers && handlers->on_frame) {
        handlers->on_frame(std::as_bytes(std::span(bytes.data() + kHead, std::size_t{size})));
      }
      bytes.remove_prefix(kHead + size);
    }
  }

  // ---- writing
  // ----------------------------------------------------------------------------------------------------------

  void flush() {
    if (closed_ || !writing_.empty() || queue_.empty()) return;
    writing_.swap(queue_);
    if constexpr (!kPlain) {
      // One record instead of one for every small frame.
      if (writing_.size() > 1) {
        std::string all;
        all.reserve(queued_bytes_);
        for (const std::string& frame : writing_) all += frame;
        writing_.clear();
        writing_.push_back(std::move(all));
      }
    }
    std::vector<boost::asio::const_buffer> buffers;
    buffers.reserve(writing_.size());
    for (const std::string& frame : writing_) buffers.emplace_back(frame.data(), frame.size());
    boost::asio::async_write(stream_, buffers, [self = this->shared_from_this()](const ErrorCode& error, std::size_t) {
      self->on_written(error);
    });
  }

  void on_written(const ErrorCode& error) {
    if (closed_) return;
    for (const std::string& frame : writing_) queued_bytes_ -= frame.size();
    writing_.clear();
    if (error) {
      // The peer may have said why before it closed: what it sent is read first, and the end is found there.
      queue_.clear();
      queued_bytes_ = 0;
      broken_ = true;
      if (!reading_ || closing_)
        return closing_ ? close() : fail(unavailable("the connection broke: " + error.message()));
      return;
    }
    if (!queue_.empty()) return flush();
    if (closing_) return finish_sending();
    const auto handlers = handlers_;
    if (handlers && handlers->on_drained) handlers->on_drained();
  }

  Stream stream_;
  boost::asio::steady_timer timer_;  // bounds the last bytes
  PeerIdentity peer_;
  std::shared_ptr<const Connection::Handlers> handlers_;
  std::vector<char> kept_;  // the first filled_ bytes are a frame that is not whole yet, or what came while paused
  std::size_t filled_ = 0;
  std::size_t wanted_ = 0;  // the size of that frame with its head, if known
  std::size_t max_frame_ = kMaxFrameBytes;
  std::vector<std::string> queue_, writing_;
  std::size_t queued_bytes_ = 0;
  bool accepted_ = false;
  bool reading_ = false, paused_ = false;
  bool flush_posted_ = false, broken_ = false, closing_ = false, closed_ = false;
};

template <class Stream>
class Handle : public Connection {
 public:
  Handle(Stream stream, PeerIdentity peer, bool accepted)
      : channel_(std::make_shared<Channel<Stream>>(std::move(stream), std::move(peer), accepted)) {}
  ~Handle() override { channel_->abandon(); }
  void start(Handlers handlers) override { channel_->start(std::move(handlers)); }
  void send(std::string frame) override { channel_->send(std::move(frame)); }
  std::size_t queued_bytes() const override { return channel_->queued_bytes(); }
  void set_max_frame(std::size_t bytes) override { channel_->set_max_frame(bytes); }
  void close_after_send() override { channel_->close_after_send(); }
  void pause_reading(bool paused) override { channel_->pause_reading(paused); }
  const PeerIdentity& peer() const override { return channel_->peer(); }

 private:
  std::shared_ptr<Channel<Stream>> channel_;
};

}  // namespace berth::wire
