#include "api/wire/blocking.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include "api/wire/tls_internal.h"

namespace berth::wire {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kUnreadBytesMax = 64U << 20;  // while sending; past it the server must wait for us
constexpr std::size_t kHead = sizeof(std::uint32_t);

Error not_reached(std::string message) { return {ErrorCode::kUnavailable, "", std::move(message), 0}; }
Error timeout() { return not_reached("timeout"); }
Error closed() { return not_reached("the server closed the connection"); }
Error system_error() { return not_reached(std::strerror(errno)); }

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// False if the deadline came first.
bool wait_for(int fd, short events, const Deadline& deadline) {
  pollfd one{fd, events, 0};
  for (;;) {
    const int ready = ::poll(&one, 1, deadline.left_ms());
    if (ready > 0) return true;
    if (ready == 0) {
      if (deadline.left_ms() == 0) return false;
    } else if (errno != EINTR && errno != EAGAIN) {
      return true;  // the read or write that follows says what is wrong
    }
  }
}

Status finish_connecting(int fd, const sockaddr* address, socklen_t size, const Deadline& deadline) {
  constexpr auto kPause = std::chrono::milliseconds(10);
  while (::connect(fd, address, size) != 0) {
    if (errno == EINTR) continue;
    if (errno == EISCONN) return Unit{};
    if (errno == EAGAIN) {  // a Unix socket whose queue of connections is full: it says so and forgets us
      if (deadline.left_ms() == 0) return not_reached("no answer in time");
      std::this_thread::sleep_for(kPause);
      continue;
    }
    if (errno != EINPROGRESS && errno != EALREADY) return system_error();
    if (!wait_for(fd, POLLOUT, deadline)) return not_reached("no answer in time");
    int error = 0;
    socklen_t length = sizeof(error);
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == 0) return Unit{};
    errno = error;
    return system_error();
  }
  return Unit{};
}

Result<int> connect_unix(const std::string& path, const Deadline& deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return not_reached("the socket's path is too long");
  path.copy(address.sun_path, path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return system_error();
  if (Status done = finish_connecting(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address), deadline); !done) {
    ::close(fd);
    return done.error();
  }
  return fd;
}

Result<int> connect_tcp(const Endpoint& endpoint, const Deadline& deadline) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failure = ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  if (failure != 0) return not_reached(failure == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(failure));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, &::freeaddrinfo);
  Error last = not_reached("the name has no address");
  for (const addrinfo* one = list.get(); one != nullptr; one = one->ai_next) {
    const int fd = ::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return system_error();
    if (Status done = finish_connecting(fd, one->ai_addr, one->ai_addrlen, deadline); done) {
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      return fd;
    } else {
      last = done.error();
    }
    ::close(fd);
  }
  return last;
}

// ---- a BIO that never raises SIGPIPE: a closed server must not kill a command
// -----------------------------------------

int bio_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t sent =
      ::send(*static_cast<int*>(BIO_get_data(bio)), data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int bio_read(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t got = ::recv(*static_cast<int*>(BIO_get_data(bio)), data, static_cast<std::size_t>(size), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BIO* new_bio(int* fd) {
  static const std::unique_ptr<BIO_METHOD, decltype(&BIO_meth_free)> method = [] {
    std::unique_ptr<BIO_METHOD, decltype(&BIO_meth_free)> made(
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket without SIGPIPE"), &BIO_meth_free);
    BIO_meth_set_write(made.get(), bio_write);
    BIO_meth_set_read(made.get(), bio_read);
    BIO_meth_set_ctrl(made.get(), bio_control);
    return made;
  }();
  BIO* bio = BIO_new(method.get());
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, fd);
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace

// ---- Deadline -------------------------------------------------------------------------------------------------------

Deadline Deadline::after_ms(std::int64_t timeout_ms) {
  constexpr std::int64_t kLongest = 365LL * 24 * 3600 * 1000;  // so that adding it never overflows
  Deadline out;
  if (timeout_ms >= 0) {
    out.at_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(std::min(timeout_ms, kLongest));
  }
  return out;
}

int Deadline::left_ms() const {
  if (!at_) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*at_ - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX));
}

// ---- Transport ------------------------------------------------------------------------------------------------------

struct BlockingStream::Transport {
  Fd fd;
  int raw = -1;  // what the BIO reads from
  std::shared_ptr<TlsContext> tls;
  SslPtr ssl;

  // Bytes done; 0 if it has to wait for `events` first.
  Result<std::size_t> read(char* data, std::size_t size, short& events);
  Result<std::size_t> write(std::string_view bytes, short& events);
  Status shake_hands(const Deadline& deadline);

 private:
  Result<std::size_t> tls_result(int result, short& events);
};

Result<std::size_t> BlockingStream::Transport::tls_result(int result, short& events) {
  if (result > 0) return static_cast<std::size_t>(result);
  const int saved = errno;
  switch (SSL_get_error(ssl.get(), result)) {
    case SSL_ERROR_WANT_READ:
      events = POLLIN;
      return std::size_t{0};
    case SSL_ERROR_WANT_WRITE:
      events = POLLOUT;
      return std::size_t{0};
    case SSL_ERROR_ZERO_RETURN:
      return closed();
    case SSL_ERROR_SYSCALL:
      return result == 0 || saved == 0 ? closed() : not_reached(std::strerror(saved));
    default: {
      const int reason = ERR_GET_REASON(ERR_peek_last_error());
      const std::string why = last_tls_error();
      if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) return closed();
      // What a server of another authority answers to our certificate; in TLS 1.3 it comes after our own handshake.
      if (reason == SSL_R_TLSV1_ALERT_UNKNOWN_CA || reason == SSL_R_TLSV1_ALERT_DECRYPT_ERROR ||
          reason == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE || reason == SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED) {
        return Error{ErrorCode::kDenied, "", "the server refused this certificate: " + why, 0};
      }
      return not_reached("the secure connection failed: " + why);
    }
  }
}

Result<std::size_t> BlockingStream::Transport::read(char* data, std::size_t size, short& events) {
  if (ssl) {
    ERR_clear_error();
    return tls_result(SSL_read(ssl.get(), data, static_cast<int>(std::min<std::size_t>(size, INT_MAX))), events);
  }
  const ssize_t got = ::recv(fd.get(), data, size, 0);
  if (got > 0) return static_cast<std::size_t>(got);
  if (got == 0) return closed();
  if (errno != EAGAIN && errno != EINTR) return system_error();
  events = POLLIN;
  return std::size_t{0};
}

Result<std::size_t> BlockingStream::Transport::write(std::string_view bytes, short& events) {
  if (ssl) {
    ERR_clear_error();
    constexpr std::size_t kRecord = 16 * 1024;  // a retry must begin with the same bytes: one record at a time
    return tls_result(SSL_write(ssl.get(), bytes.data(), static_cast<int>(std::min(bytes.size(), kRecord))), events);
  }
  const ssize_t sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent >= 0) return static_cast<std::size_t>(sent);
  if (errno != EAGAIN && errno != EINTR) return system_error();
  events = POLLOUT;
  return std::size_t{0};
}

Status BlockingStream::Transport::shake_hands(const Deadline& deadline) {
  ssl.reset(SSL_new(tls->native()));
  raw = fd.get();
  BIO* bio = ssl ? new_bio(&raw) : nullptr;
  if (bio == nullptr) return Error{ErrorCode::kInternal, "", "cannot set up TLS: " + last_tls_error(), 0};
  SSL_set_bio(ssl.get(), bio, bio);
  for (;;) {
    ERR_clear_error();
    const int result = SSL_connect(ssl.get());
    if (result == 1) return Unit{};
    const long verified = SSL_get_verify_result(ssl.get());
    short events = 0;
    const auto done = tls_result(result, events);
    if (done) {
      if (!wait_for(fd.get(), events, deadline)) return not_reached("no answer in time");
      continue;
    }
    if (verified == X509_V_OK) return done.error();
    if (!tls->fingerprint.empty()) {
      return Error{ErrorCode::kDenied, "token", "it is not the one this token was made for", 0};
    }
    const std::string why = X509_verify_cert_error_string(verified);
    return Error{ErrorCode::kDenied, "", "its certificate is not of the authority we trust (" + why + ")", 0};
  }
}

// ---- BlockingStream -------------------------------------------------------------------------------------------------

BlockingStream::BlockingStream(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {}

BlockingStream::~BlockingStream() {
  // Says that this is the end, so that the server does not take it for a cut line. Whether it arrives does not matter.
  if (transport_->ssl) SSL_shutdown(transport_->ssl.get());
  ERR_clear_error();
}

int BlockingStream::fd() const { return transport_->fd.get(); }

Result<std::unique_ptr<BlockingStream>> BlockingStream::open(const Endpoint& endpoint, std::shared_ptr<TlsContext> tls,
                                                             const Deadline& deadline) {
  const auto fd = endpoint.is_unix ? connect_unix(endpoint.path, deadline) : connect_tcp(endpoint, deadline);
  if (!fd) return fd.error();
  auto transport = std::make_unique<Transport>();
  transport->fd = Fd(*fd);
  if (!endpoint.is_unix) {
    if (!tls) return Error{ErrorCode::kInternal, "", "a connection over TCP needs certificates", 0};
    transport->tls = std::move(tls);
    if (Status done = transport->shake_hands(deadline); !done) return done.error();
  }
  return std::unique_ptr<BlockingStream>(new BlockingStream(std::move(transport)));
}

Status BlockingStream::send(std::string_view frame, const Deadline& deadline) {
  while (!frame.empty()) {
    short events = 0;
    auto sent = transport_->write(frame, events);
    if (!sent) {
      // The server may have said why before it closed: receive() finds that in the input.
      while (fill(Deadline::after_ms(0))) {
      }
      std::string_view last;
      return take_frame(last) ? Status(Unit{}) : Status(sent.error());
    }
    frame.remove_prefix(*sent);
    if (*sent != 0) continue;
    const bool listen = input_.size() - taken_ < kUnreadBytesMax;
    if (!wait_for(fd(), static_cast<short>(events | (listen ? POLLIN : 0)), deadline))
      return not_reached("no answer in time");
    // An end while reading is not the end of the story: the write that follows meets it as well.
    if (listen) (void)fill(Deadline::after_ms(0));
  }
  return Unit{};
}

// Reads once, at least a byte, unless the deadline comes first.
Status BlockingStream::fill(const Deadline& deadline) {
  if (taken_ == input_.size()) {
    input_.clear();
    taken_ = 0;
  } else if (taken_ > kReadBytes && taken_ > input_.size() / 2) {
    input_.erase(0, taken_);
    taken_ = 0;
  }
  const std::size_t before = input_.size();
  for (;;) {
    input_.resize(before + kReadBytes);
    short events = 0;
    const auto got = transport_->read(input_.data() + before, kReadBytes, events);
    input_.resize(before + (got ? *got : 0));
    if (!got) return got.error();
    if (*got != 0) return Unit{};
    if (!wait_for(fd(), events, deadline)) return timeout();
  }
}

// The frame stays in input_ until the next fill().
bool BlockingStream::take_frame(std::string_view& frame) {
  if (input_.size() - taken_ < kHead) return false;
  std::uint32_t size = 0;
  std::memcpy(&size, input_.data() + taken_, kHead);
  if (input_.size() - taken_ - kHead < size) return false;
  frame = std::string_view(input_).substr(taken_ + kHead, size);
  return true;
}

Result<Message> BlockingStream::receive(const Deadline& deadline) {
  std::string_view frame;
  while (!take_frame(frame)) {
    std::uint32_t size = 0;
    if (input_.size() - taken_ >= kHead) std::memcpy(&size, input_.data() + taken_, kHead);
    if (size > kMaxFrameBytes) {
      return Error{ErrorCode::kProtocol, "",
                   "a frame of " + std::to_string(size) + " bytes: this is not a berth server", 0};
    }
    if (Status more = fill(deadline); !more) return more.error();
  }
  taken_ += kHead + frame.size();
  return decode_message(std::as_bytes(std::span(frame)));
}

Result<Welcome> shake_hands(BlockingStream& stream, PeerRole role, const Deadline& deadline) {
  Hello hello;
  hello.role = role;
  hello.software = "berth " BERTH_VERSION;
  if (Status sent = stream.send(encode_frame({0, hello}), deadline); !sent) return sent.error();
  auto reply = stream.receive(deadline);
  if (!reply) return reply.error();
  if (auto* refused = std::get_if<state::ServerReply>(&reply->body)) {
    if (auto* error = std::get_if<Error>(refused)) return *error;
  }
  auto* welcome = std::get_if<Welcome>(&reply->body);
  if (welcome == nullptr) return Error{ErrorCode::kProtocol, "", "it does not answer as a berth server does", 0};
  if (welcome->version < hello.version_min || welcome->version > hello.version_max) {
    return Error{ErrorCode::kProtocol, "",
                 "it speaks version " + std::to_string(welcome->version) + " of the protocol; accepted: " +
                     std::to_string(hello.version_min) + " to " + std::to_string(hello.version_max),
                 0};
  }
  return std::move(*welcome);
}

}  // namespace berth::wire
