// Connections, listeners and connecting, over Asio. The only file besides loop.cpp that compiles it.
#include "api/wire/connection.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/wire/channel.h"
#include "api/wire/loop_impl.h"

namespace berth::wire {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using state::Error;
using state::ErrorCode;

namespace {

constexpr std::int64_t kHandshakeMs = 10'000;

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
        self->take_waiting();
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
  // Those that came in a crowd, without a turn of the loop for each.
  void take_waiting() {
    constexpr int kMost = 64;
    error_code error;
    acceptor_.non_blocking(true, error);
    for (int i = 0; i < kMost && acceptor_.is_open(); ++i) {
      Socket socket = acceptor_.accept(error);
      if (error) return;  // none left, or something that the next async_accept meets too
      on_socket_(std::move(socket));
    }
  }

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
          on_accept(std::make_shared<Handle<UnixSocket>>(std::move(socket), std::move(peer), true));
        });
    if (::stat(path_.c_str(), &own_) != 0) own_ = {};
    accepting_->next();
  }
  ~UnixListener() override {
    accepting_->close();
    struct stat now {};
    // Another server may have taken the path meanwhile: its socket stays.
    const bool same = ::stat(path_.c_str(), &now) == 0 && now.st_ino == own_.st_ino && now.st_dev == own_.st_dev;
    if (same) ::unlink(path_.c_str());
  }
  std::string address() const override { return path_; }

 private:
  std::string path_;
  struct stat own_ {};
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
                        on_accept(std::make_shared<Handle<TlsStream>>(std::move(h.stream), std::move(peer), true));
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

// Not blocking: one whose queue of connections is full lives as well.
bool answers(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const sockaddr_un address = address_of(path);
  const bool connected =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EAGAIN;
  ::close(fd);
  return connected;
}

}  // namespace

state::Result<std::unique_ptr<Listener>> listen_unix(Loop& loop, const std::string& path, AcceptHandler on_accept) {
  const auto failed = [&] {
    return Error{ErrorCode::kUnavailable, "socket", "cannot listen on " + path + ": " + std::strerror(errno), 0};
  };
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return Error{ErrorCode::kInvalid, "socket",
                 "the path " + path + " is too long for a socket; accepted: at most " +
                     std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes",
                 0};
  }
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

// A Unix socket connects at once or not at all, but where the server's queue of connections is full the kernel asks to
// come again. (Asio takes that for a connection on its way, and then calls it made.)
struct UnixAttempt : std::enable_shared_from_this<UnixAttempt> {
  UnixAttempt(Loop& loop, const Endpoint& to, std::int64_t bound_ms, ConnectHandler done)
      : io(loop.impl().io),
        path(to.path),
        timer(io),
        deadline(std::chrono::steady_clock::now() + std::chrono::milliseconds(bound_ms)),
        on_done(std::move(done)) {}

  void attempt() {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const sockaddr_un address = address_of(path);
    if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      UnixSocket socket(io);
      error_code error;
      socket.assign(asio::local::stream_protocol(), fd, error);
      if (error) ::close(fd);
      if (error) return fail(error.message());
      PeerIdentity peer = unix_peer(socket);
      return on_done(
          std::shared_ptr<Connection>(std::make_shared<Handle<UnixSocket>>(std::move(socket), std::move(peer), false)));
    }
    const int why = errno;
    if (fd >= 0) ::close(fd);
    if (why != EAGAIN) return fail(std::strerror(why));
    if (std::chrono::steady_clock::now() >= deadline) return fail("no answer in time");
    pause = std::min(pause * 2, kPauseMost);
    timer.expires_after(pause);
    timer.async_wait([self = shared_from_this()](const error_code& error) {
      if (!error) self->attempt();
    });
  }
  void fail(const std::string& why) { on_done(unavailable("cannot reach the server at " + path + ": " + why)); }

  static constexpr std::chrono::milliseconds kPauseMost{160};
  std::chrono::milliseconds pause{2};
  asio::io_context& io;
  std::string path;
  asio::steady_timer timer;
  std::chrono::steady_clock::time_point deadline;
  ConnectHandler on_done;
};

// One attempt: resolve, connect, shake hands, within one bound of time.
struct TlsAttempt : std::enable_shared_from_this<TlsAttempt> {
  TlsAttempt(Loop& loop, Endpoint to, std::shared_ptr<TlsContext> with, std::int64_t bound_ms, ConnectHandler done)
      : endpoint(std::move(to)),
        tls(std::move(with)),
        context(std::make_shared<asio::ssl::context>(share(*tls))),
        resolver(loop.impl().io),
        socket(loop.impl().io),
        timer(loop.impl().io),
        deadline(std::chrono::steady_clock::now() + std::chrono::milliseconds(bound_ms)),
        on_done(std::move(done)) {}

  void start() {
    timer.expires_at(deadline);
    timer.async_wait([self = shared_from_this()](const error_code& error) {
      if (error) return;
      error_code ignored;
      self->late = true;
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
      if (self->late || ++at == all.end()) return self->fail(error);
      self->try_next(all, at);
    });
  }
  void shake_hands() {
    timer.cancel();
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    std::make_shared<Handshake>(std::move(socket), *context)
        ->start(asio::ssl::stream_base::client, std::max<std::int64_t>(left.count(), 1),
                [self = shared_from_this()](const error_code& error, Handshake& h) {
                  if (error) return self->fail(error, SSL_get_verify_result(h.stream.native_handle()));
                  PeerIdentity peer = tls_peer(h.stream);
                  self->on_done(std::shared_ptr<Connection>(
                      std::make_shared<Handle<TlsStream>>(std::move(h.stream), std::move(peer), false)));
                });
  }
  void fail(const error_code& error, long verified = X509_V_OK) {
    timer.cancel();
    const std::string server = "the server at " + endpoint.to_string();
    if (verified != X509_V_OK) {
      return on_done(Error{ErrorCode::kDenied, "",
                           "the certificate of " + server + " is not of the authority we trust (" +
                               X509_verify_cert_error_string(verified) + ")",
                           0});
    }
    const bool out_of_time = late || error == asio::error::operation_aborted;
    on_done(unavailable("cannot reach " + server + ": " + (out_of_time ? "no answer in time" : error.message())));
  }

  Endpoint endpoint;
  std::shared_ptr<TlsContext> tls;
  std::shared_ptr<asio::ssl::context> context;
  tcp::resolver resolver;
  tcp::socket socket;
  asio::steady_timer timer;
  std::chrono::steady_clock::time_point deadline;
  bool late = false;
  ConnectHandler on_done;
};

}  // namespace

void connect(Loop& loop, const Endpoint& endpoint, std::shared_ptr<TlsContext> tls, std::int64_t timeout_ms,
             ConnectHandler on_done) {
  if (endpoint.is_unix) {
    auto attempt = std::make_shared<UnixAttempt>(loop, endpoint, timeout_ms, std::move(on_done));
    return loop.post([attempt] { attempt->attempt(); });
  }
  if (!tls) {
    return loop.post([on_done = std::move(on_done)] {
      on_done(unavailable("this node has no certificate yet: it has to join first"));
    });
  }
  std::make_shared<TlsAttempt>(loop, endpoint, std::move(tls), timeout_ms, std::move(on_done))->start();
}

}  // namespace berth::wire
