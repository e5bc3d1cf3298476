#include "agent/io/session.h"

#include <algorithm>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace berth::agent {

using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

constexpr std::int64_t kPauseMinMs = 100;
constexpr std::int64_t kPauseMaxMs = 10'000;
constexpr std::int64_t kConnectTimeoutMs = 10'000;
constexpr std::int64_t kOneOfSeveralTimeoutMs = 2'000;
// Where others can take over, it is worth looking more often.
constexpr std::int64_t kPauseOfSeveralMaxMs = 1'000;
constexpr int kBeatsUnansweredMax = 3;
// From connecting to being served; a server that recovers a large journal may take its time.
constexpr std::int64_t kGreetingTimeoutMs = 60'000;
constexpr std::int64_t kGreetingOfSeveralTimeoutMs = 5'000;  // a paused server greets nobody

}  // namespace

Session::Session(wire::Loop& loop, std::vector<wire::Endpoint> servers, std::shared_ptr<wire::TlsContext> tls,
                 std::string software, Handlers handlers)
    : loop_(loop),
      servers_(std::move(servers)),
      tls_(std::move(tls)),
      software_(std::move(software)),
      handlers_(std::move(handlers)),
      pause_ms_(kPauseMinMs),
      jitter_(static_cast<std::uint32_t>(getpid())) {}

void Session::start() { connect(); }

void Session::connect() {
  phase_ = Phase::kConnecting;
  const std::int64_t timeout_ms = servers_.size() > 1 ? kOneOfSeveralTimeoutMs : kConnectTimeoutMs;
  const bool local = servers_.current().is_unix;
  wire::connect(loop_, servers_.current(), local ? nullptr : tls_, timeout_ms,
                [this](Result<std::shared_ptr<wire::Connection>> result) {
                  if (!result) return drop(result.error());
                  connected(std::move(*result));
                });
}

void Session::connected(std::shared_ptr<wire::Connection> connection) {
  connection_ = std::move(connection);
  phase_ = Phase::kGreeting;
  connection_->set_max_frame(wire::kMaxFrameBytes);
  connection_->start({[this](std::span<const std::byte> bytes) { on_frame(bytes); },
                      [this](const Error& error) { drop(error); },
                      [this] {
                        if (serving()) handlers_.on_drained();
                      }});
  const std::int64_t patience_ms = servers_.size() > 1 ? kGreetingOfSeveralTimeoutMs : kGreetingTimeoutMs;
  timer_ = loop_.after_ms(patience_ms, [this, patience_ms] {
    drop(Error{ErrorCode::kUnavailable, "",
               "the server did not answer within " + std::to_string(patience_ms / 1000) + " s", 0});
  });
  wire::Hello hello;
  hello.role = wire::PeerRole::kAgent;
  hello.software = software_;
  transmit(std::move(hello));
}

void Session::transmit(wire::Body body) { connection_->send(wire::encode_frame({0, std::move(body)})); }

void Session::send(wire::Body body) {
  if (serving()) transmit(std::move(body));
}

void Session::on_frame(std::span<const std::byte> bytes) {
  auto message = wire::decode_message(bytes);
  if (!message) return drop(message.error());
  if (const auto* reply = std::get_if<state::ServerReply>(&message->body)) {
    if (const auto* error = std::get_if<Error>(reply)) return drop(*error);
  }
  if (phase_ == Phase::kGreeting && std::holds_alternative<wire::Welcome>(message->body)) {
    phase_ = Phase::kJoining;
    return transmit(handlers_.hello());
  }
  if (phase_ == Phase::kJoining) {
    if (const auto* welcome = std::get_if<state::AgentWelcome>(&message->body)) {
      phase_ = Phase::kServing;
      timer_.reset();
      pause_ms_ = kPauseMinMs;
      said_.clear();
      servers_.served();
      answers_beats_ = false;
      unanswered_ = 0;
      heartbeat_ms_ = std::max<std::int64_t>(welcome->heartbeat_ms, 100);
      heartbeat_ = loop_.after_ms(heartbeat_ms_, [this] { beat(); });
      spdlog::info("connected to {}", servers_.current().to_string());
      return handlers_.on_welcome(*welcome);
    }
  }
  if (phase_ == Phase::kServing && std::holds_alternative<state::AgentHeartbeat>(message->body)) {
    answers_beats_ = true;
    unanswered_ = 0;
    return;
  }
  if (phase_ == Phase::kServing) return handlers_.on_message(std::move(*message));
  drop(Error{ErrorCode::kProtocol, "", "the server sent an unexpected message", 0});
}

void Session::beat() {
  if (answers_beats_ && unanswered_ >= kBeatsUnansweredMax) {
    return drop(
        Error{ErrorCode::kUnavailable, "", "it has not answered " + std::to_string(unanswered_) + " heartbeats", 0});
  }
  ++unanswered_;
  send(state::AgentHeartbeat{});
  heartbeat_ = loop_.after_ms(heartbeat_ms_, [this] { beat(); });
}

void Session::drop(const Error& why) {
  if (phase_ == Phase::kIdle) return;
  const bool served = phase_ == Phase::kServing;
  phase_ = Phase::kIdle;
  // We may be inside one of its callbacks: it goes in the next turn.
  loop_.post([connection = std::move(connection_), timer = std::move(timer_)] {});
  heartbeat_.reset();
  constexpr std::size_t kSaidMax = 100;
  if (said_.size() < kSaidMax && said_.insert(servers_.current().to_string() + why.message).second) {
    spdlog::warn("{} {}: {}", served ? "lost" : "cannot use", servers_.current().to_string(), why.message);
  }
  if (!served && servers_.next(why)) {
    timer_ = loop_.after_ms(0, [this] { connect(); });
    return;
  }
  // Spread out: the agents of a cluster all lose a server at the same moment.
  jitter_ = jitter_ * 1664525U + 1013904223U;
  const std::int64_t pause_ms = pause_ms_ / 2 + static_cast<std::int64_t>(jitter_ >> 8) % pause_ms_;
  pause_ms_ = std::min(pause_ms_ * 2, servers_.size() > 1 ? kPauseOfSeveralMaxMs : kPauseMaxMs);
  timer_ = loop_.after_ms(std::min(pause_ms, kPauseMaxMs), [this] { connect(); });
  if (served) handlers_.on_lost();
}

}  // namespace berth::agent
