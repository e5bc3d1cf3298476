// Connections, listeners and connecting, over Asio. The only file besides loop.cpp that compiles it.
#include "api/wire/connection.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/wire/loop_impl.h"
#include "api/wire/message.h"
#include "api/wire/tls_internal.h"

namespace berth::wire {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using UnixSocket = asio::local::stream_protocol::socket;
using TlsStream = asio::ssl::stream<tcp::socket>;
using state::Error;
using state::ErrorCode;

namespace {

constexpr std::size_t kReadStep = 4096;  // what an idle connection keeps
constexpr std::size_t kReadStepBusy = 64 * 1024;
constexpr std::size_t kBuffersPerWrite = 64;
constexpr std::int64_t kHandshakeMs = 10'000;

Error unavailable(std::string message) { return Error{ErrorCode::kUnavailable, "", std::move(message), 0}; }

// The socket's life, shared by its pending operations. The user holds a Handle; when that goes, this closes.
template <class Stream>
class Channel : public std::enable_shared_from_this<Channel<Stream>> {
 public:
  Channel(Stream stream, PeerIdentity peer) : stream_(std::move(stream)), peer_(std::move(peer)) {}

  void start(Connection::Handlers handlers) {
    handlers_ = std::move(handlers);
    read();
  }

  void send(std::string frame) {
    if (closed_ || closing_) return;
    queued_bytes_ += frame.size();
    queue_.push_back(std::move(frame));
    if (flush_posted_ || !writing_.empty()) return;
    // Not at once: what else is sent in this turn of the loop goes out with it.
    flush_posted_ = true;
    asio::post(stream_.get_executor(), [self = this->shared_from_this()] {
      self->flush_posted_ = false;
      self->flush();
    });
  }

  void close_after_send() {
    closing_ = true;
    if (queue_.empty() && writing_.empty()) close();
  }

  void pause_reading(bool paused) {
    paused_ = paused;
    if (!paused_ && !reading_ && !closed_) {
      // Later: the caller may be within on_frame.
      asio::post(stream_.get_executor(), [self = this->shared_from_this()] {
        if (self->reading_ || self->closed_ || self->paused_) return;
        self->take_frames();
        if (!self->reading_ && !self->closed_ && !self->paused_) self->read();
      });
    }
  }

  void close() {
    if (closed_) return;
    closed_ = true;
    error_code ignored;
    stream_.lowest_layer().close(ignored);
    // The handlers may be running: let them return before they go.
    asio::post(stream_.get_executor(), [self = this->shared_from_this()] { self->handlers_ = {}; });
  }

  std::size_t queued_bytes() const { return queued_bytes_; }
  void set_max_frame(std::size_t bytes) { max_frame_ = bytes; }
  const PeerIdentity& peer() const { return peer_; }

 private:
  void fail(Error error) {
    if (closed_) return;
    const bool tell = !closing_;
    const auto on_close = handlers_.on_close;
    close();
    if (tell && on_close) on_close(error);
  }

  void read() {
    if (closed_ || paused_ || reading_) return;
    const std::size_t step = busy_ ? kReadStepBusy : kReadStep;
    if (input_.size() - filled_ < step) input_.resize(std::max(filled_ + step, wanted_));
    reading_ = true;
    stream_.async_read_some(asio::buffer(input_.data() + filled_, input_.size() - filled_),
                            [self = this->shared_from_this()](const error_code& error, std::size_t count) {
                              self->reading_ = false;
                              self->on_read(error, count);
                            });
  }

  void on_read(const error_code& error, std::size_t count) {
    if (closed_) return;
    if (error) {
      const bool ended = error == asio::error::eof || error == asio::ssl::error::stream_truncated;
      return fail(unavailable(ended ? "the connection was closed" : "the connection broke: " + error.message()));
    }
    busy_ = count >= kReadStep / 2;
    filled_ += count;
    take_frames();
    read();
  }

  void take_frames() {
    std::size_t at = 0;
    wanted_ = 0;
    while (!closed_ && !paused_ && filled_ - at >= 4) {
      std::uint32_t size = 0;
      for (int i = 3; i >= 0; --i)
        size = size << 8 | static_cast<unsigned char>(input_[at + static_cast<std::size_t>(i)]);
      if (size == 0 || size > max_frame_) {
        return fail(Error{ErrorCode::kProtocol, "",
                          "a frame of " + std::to_string(size) + " bytes; accepted: 1 to " + std::to_string(max_frame_),
                          0});
      }
      if (filled_ - at - 4 < size) {
        wanted_ = size + 4;
        break;
      }
      const auto* frame = reinterpret_cast<const std::byte*>(input_.data() + at + 4);
      at += 4 + size;
      handlers_.on_frame({frame, size});
    }
    if (at != 0) {
      std::memmove(input_.data(), input_.data() + at, filled_ - at);
      filled_ -= at;
      if (filled_ == 0 && wanted_ == 0 && !busy_ && input_.size() > kReadStep) {
        input_.resize(kReadStep);
        input_.shrink_to_fit();
      }
    }
  }

  void flush() {
    if (closed_ || !writing_.empty() || queue_.empty()) return;
    writing_.swap(queue_);
    std::vector<asio::const_buffer> buffers;
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      // One record instead of one for every small frame.
      std::string all;
      for (const std::string& frame : writing_) all += frame;
      writing_.clear();
      writing_.push_back(std::move(all));
    }
    buffers.reserve(std::min(writing_.size(), kBuffersPerWrite));
    for (const std::string& frame : writing_) buffers.emplace_back(frame.data(), frame.size());
    asio::async_write(stream_, buffers, [self = this->shared_from_this()](const error_code& error, std::size_t) {
      self->on_written(error);
    });
  }

  void on_written(const error_code& error) {
    if (closed_) return;
    if (error) return fail(unavailable("the connection broke: " + error.message()));
    for (const std::string& frame : writing_) queued_bytes_ -= frame.size();
    writing_.clear();
    if (!queue_.empty()) return flush();
    if (closing_) return close();
    if (handlers_.on_drained) handlers_.on_drained();
  }

  Stream stream_;
  PeerIdentity peer_;
  Connection::Handlers handlers_;
  std::vector<char> input_;
  std::size_t filled_ = 0;
  std::size_t wanted_ = 0;
  std::size_t max_frame_ = kMaxFrameBytes;
  std::vector<std::string> queue_, writing_;
  std::size_t queued_bytes_ = 0;
  bool reading_ = false, paused_ = false, busy_ = false;
  bool flush_posted_ = false, closing_ = false, closed_ = false;
};

template <class Stream>
class Handle : public Connection {
 public:
  Handle(Stream stream, PeerIdentity peer)
      : channel_(std::make_shared<Channel<Stream>>(std::move(stream), std::move(peer))) {}
  ~Handle() override { channel_->close(); }
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

PeerIdentity unix_peer(UnixSocket& socket) {
  PeerIdentity peer;
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
    peer.kind = PeerIdentity::Kind::kUnix;
    peer.uid = credentials.uid;
    peer.gid = credentials.gid;
    peer.pid = credentials.pid;
  }
  peer.address = "local";
  return peer;
}

PeerIdentity tls_peer(TlsStream& stream) {
  PeerIdentity peer;
  if (const CertPtr certificate(SSL_get1_peer_certificate(stream.native_handle())); certificate) {
    peer.kind = PeerIdentity::Kind::kCertificate;
    peer.common_name = common_name_of(certificate.get());
  }
  error_code ignored;
  peer.address = stream.lowest_layer().remote_endpoint(ignored).address().to_string();
  return peer;
}

asio::ssl::context share(const TlsContext& tls) {
  SSL_CTX_up_ref(tls.native());
  return asio::ssl::context(tls.native());  // takes the reference over
}

// Accepts until the Listener is destroyed; a full table of descriptors makes it wait, not end.
template <class Acceptor>
class Accepting : public std::enable_shared_from_this<Accepting<Acceptor>> {
 public:
  using Socket = typename Acceptor::protocol_type::socket;
  Accepting(Acceptor acceptor, std::function<void(Socket)> on_socket)
      : acceptor_(std::move(acceptor)), retry_(acceptor_.get_executor()), on_socket_(std::move(on_socket)) {}
  void next() {
    acceptor_.async_accept([self = this->shared_from_this()](const error_code& error, Socket socket) {
      if (!self->acceptor_.is_open()) return;
      if (!error) {
        self->on_socket_(std::move(socket));
        return self->next();
      }
      self->retry_.expires_after(std::chrono::milliseconds(50));
      self->retry_.async_wait([self](const error_code& stopped) {
        if (!stopped && self->acceptor_.is_open()) self->next();
      });
    });
  }
  void close() {
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  }
  Acceptor& acceptor() { return acceptor_; }

 private:
  Acceptor acceptor_;
  asio::steady_timer retry_;
  std::function<void(Socket)> on_socket_;
};

class UnixListener : public Listener {
 public:
  UnixListener(asio::io_context& io, int fd, std::string path, AcceptHandler on_accept) : path_(std::move(path)) {
    asio::local::stream_protocol::acceptor acceptor(io, asio::local::stream_protocol(), fd);
    accepting_ = std::make_shared<Accepting<asio::local::stream_protocol::acceptor>>(
        std::move(acceptor), [on_accept = std::move(on_accept)](UnixSocket socket) {
          PeerIdentity peer = unix_peer(socket);
          on_accept(std::make_shared<Handle<UnixSocket>>(std::move(socket), std::move(peer)));
        });
    accepting_->next();
  }
  ~UnixListener() override {
    accepting_->close();
    ::unlink(path_.c_str());
  }
  std::string address() const override { return path_; }

 private:
  std::string path_;
  std::shared_ptr<Accepting<asio::local::stream_protocol::acceptor>> accepting_;
};

// A TLS stream with a bound on the time of its handshake.
struct Handshake : std::enable_shared_from_this<Handshake> {
  Handshake(tcp::socket socket, asio::ssl::context& context)
      : stream(std::move(socket), context), timer(stream.get_executor()) {
    error_code ignored;
    stream.lowest_layer().set_option(tcp::no_delay(true), ignored);
  }
  void start(asio::ssl::stream_base::handshake_type side, std::int64_t timeout_ms,
             std::function<void(const error_code&, Handshake&)> done) {
    timer.expires_after(std::chrono::milliseconds(timeout_ms));
    timer.async_wait([self = shared_from_this()](const error_code& error) {
      if (error) return;
      error_code ignored;
      self->stream.lowest_layer().close(ignored);
    });
    stream.async_handshake(side, [self = shared_from_this(), done = std::move(done)](const error_code& error) {
      self->timer.cancel();
      done(error, *self);
    });
  }
  TlsStream stream;
  asio::steady_timer timer;
};

class TlsListener : public Listener {
 public:
  TlsListener(tcp::acceptor acceptor, std::shared_ptr<TlsContext> tls, AcceptHandler on_accept)
      : tls_(std::move(tls)), context_(std::make_shared<asio::ssl::context>(share(*tls_))) {
    accepting_ = std::make_shared<Accepting<tcp::acceptor>>(
        std::move(acceptor), [context = context_, on_accept = std::move(on_accept)](tcp::socket socket) {
          std::make_shared<Handshake>(std::move(socket), *context)
              ->start(asio::ssl::stream_base::server, kHandshakeMs,
                      [context, on_accept](const error_code& error, Handshake& h) {
                        if (error) return;  // not one of ours: nothing to say to it
                        PeerIdentity peer = tls_peer(h.stream);
                        on_accept(std::make_shared<Handle<TlsStream>>(std::move(h.stream), std::move(peer)));
                      });
        });
    accepting_->next();
  }
  ~TlsListener() override { accepting_->close(); }
  std::string address() const override {
    error_code ignored;
    const auto at = accepting_->acceptor().local_endpoint(ignored);
    return Endpoint{false, "", at.address().to_string(), at.port()}.to_string();
  }

 private:
  std::shared_ptr<TlsContext> tls_;
  std::shared_ptr<asio::ssl::context> context_;
  std::shared_ptr<Accepting<tcp::acceptor>> accepting_;
};

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof(address.sun_path) - 1));
  return address;
}

bool answers(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = address_of(path);
  const bool connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return connected;
}

}  // namespace

state::Result<std::unique_ptr<Listener>> listen_unix(Loop& loop, const std::string& path, AcceptHandler on_accept) {
  const auto failed = [&] {
    return Error{ErrorCode::kUnavailable, "socket", "cannot listen on " + path + ": " + std::strerror(errno), 0};
  };
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return Error{ErrorCode::kConflict, "socket", path + " exists and is not a socket", 0};
    if (answers(path)) return Error{ErrorCode::kConflict, "socket", "another server already listens on " + path, 0};
    ::unlink(path.c_str());
  }
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const sockaddr_un address = address_of(path);
  if (fd < 0 || ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::chmod(path.c_str(), 0666) != 0 || ::listen(fd, 4096) != 0) {
    const Error error = failed();
    if (fd >= 0) ::close(fd);
    return error;
  }
  return std::unique_ptr<Listener>(std::make_unique<UnixListener>(loop.impl().io, fd, path, std::move(on_accept)));
}

state::Result<std::unique_ptr<Listener>> listen_tls(Loop& loop, const std::string& host, std::uint16_t port,
                                                    std::shared_ptr<TlsContext> tls, AcceptHandler on_accept) {
  const std::string where = Endpoint{false, "", host, port}.to_string();
  const auto failed = [&](const error_code& error) {
    return Error{ErrorCode::kUnavailable, "listen", "cannot listen on " + where + ": " + error.message(), 0};
  };
  error_code error;
  tcp::resolver resolver(loop.impl().io);
  const auto found =
      resolver.resolve(host.empty() ? "0.0.0.0" : host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) return failed(error);
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor acceptor(loop.impl().io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(4096, error);
  if (error) return failed(error);
  return std::unique_ptr<Listener>(
      std::make_unique<TlsListener>(std::move(acceptor), std::move(tls), std::move(on_accept)));
}

namespace {

void connect_unix(Loop& loop, const Endpoint& endpoint, ConnectHandler on_done) {
  auto socket = std::make_shared<UnixSocket>(loop.impl().io);
  socket->async_connect(
      asio::local::stream_protocol::endpoint(endpoint.path),
      [socket, endpoint, on_done = std::move(on_done)](const error_code& error) {
        if (error) return on_done(unavailable("cannot reach the server at " + endpoint.path + ": " + error.message()));
        PeerIdentity peer = unix_peer(*socket);
        on_done(std::shared_ptr<Connection>(std::make_shared<Handle<UnixSocket>>(std::move(*socket), std::move(peer))));
      });
}

// One attempt: resolve, connect, shake hands, within one bound of time.
struct TlsAttempt : std::enable_shared_from_this<TlsAttempt> {
  TlsAttempt(Loop& loop, Endpoint to, std::shared_ptr<TlsContext> with, std::int64_t bound_ms, ConnectHandler done)
      : endpoint(std::move(to)),
        tls(std::move(with)),
        context(std::make_shared<asio::ssl::context>(share(*tls))),
        resolver(loop.impl().io),
        socket(loop.impl().io),
        timer(loop.impl().io),
        timeout_ms(bound_ms),
        on_done(std::move(done)) {}

  void start() {
    timer.expires_after(std::chrono::milliseconds(timeout_ms));
    timer.async_wait([self = shared_from_this()](const error_code& error) {
      if (error) return;
      error_code ignored;
      self->resolver.cancel();
      self->socket.close(ignored);
    });
    resolver.async_resolve(
        endpoint.host, std::to_string(endpoint.port),
        [self = shared_from_this()](const error_code& error, const tcp::resolver::results_type& found) {
          if (error) return self->fail(error);
          self->try_next(found, found.begin());
        });
  }
  void try_next(tcp::resolver::results_type all, tcp::resolver::results_type::iterator at) {
    error_code ignored;
    socket.close(ignored);
    socket.async_connect(at->endpoint(), [self = shared_from_this(), all, at](const error_code& error) mutable {
      if (!error) return self->shake_hands();
      if (++at == all.end()) return self->fail(error);
      self->try_next(all, at);
    });
  }
  void shake_hands() {
    timer.cancel();
    std::make_shared<Handshake>(std::move(socket), *context)
        ->start(asio::ssl::stream_base::client, timeout_ms,
                [self = shared_from_this()](const error_code& error, Handshake& h) {
                  if (error) return self->fail(error);
                  PeerIdentity peer = tls_peer(h.stream);
                  self->on_done(std::shared_ptr<Connection>(
                      std::make_shared<Handle<TlsStream>>(std::move(h.stream), std::move(peer))));
                });
  }
  void fail(const error_code& error) {
    timer.cancel();
    const std::string why = error == asio::error::operation_aborted ? "no answer in time" : error.message();
    on_done(unavailable("cannot reach the server at " + endpoint.to_string() + ": " + why));
  }

  Endpoint endpoint;
  std::shared_ptr<TlsContext> tls;
  std::shared_ptr<asio::ssl::context> context;
  tcp::resolver resolver;
  tcp::socket socket;
  asio::steady_timer timer;
  std::int64_t timeout_ms;
  ConnectHandler on_done;
};

}  // namespace

void connect(Loop& loop, const Endpoint& endpoint, std::shared_ptr<TlsContext> tls, std::int64_t timeout_ms,
             ConnectHandler on_done) {
  if (endpoint.is_unix) return connect_unix(loop, endpoint, std::move(on_done));
  if (!tls)
    return loop.post([on_done = std::move(on_done)] {
      on_done(unavailable("this node has no certificate yet: it has to join first"));
    });
  std::make_shared<TlsAttempt>(loop, endpoint, std::move(tls), timeout_ms, std::move(on_done))->start();
}

}  // namespace berth::wire
