#include "tools/cli/server_link.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/wire/servers.h"
#include "tools/cli/terminal.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::int64_t kFirstPauseMs = 50;
constexpr std::int64_t kLongestPauseMs = 1000;

sigset_t interrupting_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void sleep_ms(std::int64_t ms, const Interrupts* interrupts) {
  pollfd wake{interrupts == nullptr ? -1 : interrupts->fd(), POLLIN, 0};
  poll(&wake, 1, static_cast<int>(std::clamp<std::int64_t>(ms, 0, 3'600'000)));
}

Interrupts::Interrupts() {
  const sigset_t set = interrupting_signals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  fd_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

Interrupts::~Interrupts() {
  if (fd_ >= 0) close(fd_);
  const sigset_t set = interrupting_signals();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

bool Interrupts::take() {
  signalfd_siginfo info{};
  return fd_ >= 0 && read(fd_, &info, sizeof info) == sizeof info;
}

ServerLink::ServerLink(const Context& context, wire::PeerRole role) {
  options_.role = role;
  options_.endpoint = context.server;
  options_.identity_dir = context.identity_dir;
  if (const auto endpoints = wire::parse_endpoints(context.server, "server")) {
    local_ = std::all_of(endpoints->begin(), endpoints->end(), [](const auto& endpoint) { return endpoint.is_unix; });
  }
  // A server that goes away must not end us; Output does what SIGPIPE is for.
  std::signal(SIGPIPE, SIG_IGN);
}

Status ServerLink::connect() {
  auto made = client::Client::connect(options_);
  if (!made) return made.error();
  client_ = std::move(*made);
  return Unit{};
}

bool ServerLink::is_lost(const Error& error) {
  return error.code == ErrorCode::kUnavailable && error.retry_after_ms == 0 && error.message != "timeout";
}

Status ServerLink::reconnect(std::int64_t patience_ms, const Interrupts* interrupts) {
  const std::int64_t until = now_ms() + patience_ms;
  client_.reset();
  bool told = false;
  for (std::int64_t pause = kFirstPauseMs;; pause = std::min(pause * 2, kLongestPauseMs)) {
    Status done = connect();
    if (done) {
      if (told) note("connected again");
      return done;
    }
    if (done.error().code != ErrorCode::kUnavailable || now_ms() + pause > until) return done;
    if (!told)
      note("lost the connection to the server; trying again for up to " + std::to_string(patience_ms / 1000) + " s");
    told = true;
    sleep_ms(pause, interrupts);
    if (interrupts != nullptr) {
      pollfd wake{interrupts->fd(), POLLIN, 0};
      if (poll(&wake, 1, 0) == 1) return done;
    }
  }
}

Result<ServerReply> ServerLink::call(ClientRequest request) {
  if (client_ == nullptr) {
    if (Status done = connect(); !done) return done.error();
  }
  return client_->call(std::move(request));
}

Result<ServerReply> ServerLink::call(ArchiveRequest request) {
  if (client_ == nullptr) {
    if (Status done = connect(); !done) return done.error();
  }
  return client_->call(std::move(request));
}

Result<ServerReply> ServerLink::call_patiently(const ClientRequest& request, std::int64_t patience_ms) {
  // A server that was never reached is told at once: it is more likely a mistake than a restart.
  if (client_ == nullptr) {
    if (Status done = connect(); !done) return done.error();
  }
  const std::int64_t until = now_ms() + patience_ms;
  while (true) {
    auto reply = client_->call(request);
    if (reply || reply.error().code != ErrorCode::kUnavailable || now_ms() >= until) return reply;
    if (is_lost(reply.error())) {
      if (Status again = reconnect(until - now_ms()); !again) return again.error();
    } else {
      sleep_ms(std::min<std::int64_t>(std::max<std::uint32_t>(reply.error().retry_after_ms, 20), until - now_ms()));
    }
  }
}

}  // namespace berth::tools
