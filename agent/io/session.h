// Session: the agent's connection to its server, made again and again with growing pauses for as long as it takes. Of
// several servers it is the one that leads: standbys say who that is. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/wire/connection.h"
#include "api/wire/loop.h"
#include "api/wire/message.h"
#include "api/wire/servers.h"
#include "api/wire/tls.h"

namespace berth::agent {

class Session {
 public:
  struct Handlers {
    std::function<state::AgentHello()> hello;                    // what to say of ourselves, now
    std::function<void(const state::AgentWelcome&)> on_welcome;  // served from here on
    std::function<void(wire::Message)> on_message;               // anything after that
    std::function<void()> on_lost;
    std::function<void()> on_drained;  // all that was sent is out
  };
  Session(wire::Loop& loop, std::vector<wire::Endpoint> servers, std::shared_ptr<wire::TlsContext> tls,
          std::string software, Handlers handlers);

  void start();
  bool serving() const { return phase_ == Phase::kServing; }
  void send(wire::Body body);                                                                 // only while serving
  std::size_t queued_bytes() const { return connection_ ? connection_->queued_bytes() : 0; }  // not out yet

 private:
  enum class Phase { kIdle, kConnecting, kGreeting, kJoining, kServing };
  void connect();
  void connected(std::shared_ptr<wire::Connection> connection);
  void on_frame(std::span<const std::byte> bytes);
  void drop(const state::Error& why);
  void transmit(wire::Body body);

  wire::Loop& loop_;
  wire::Servers servers_;
  const std::shared_ptr<wire::TlsContext> tls_;
  const std::string software_;
  const Handlers handlers_;
  Phase phase_ = Phase::kIdle;
  std::shared_ptr<wire::Connection> connection_;
  std::shared_ptr<wire::Loop::Timer> timer_, heartbeat_;
  std::int64_t heartbeat_ms_ = 5000;
  std::int64_t pause_ms_;
  std::uint32_t jitter_;
  std::set<std::string> said_;  // errors since we were served: each is said once, not at each attempt
  // Heartbeats that the server has not answered; counted once it has answered one. One that several share answers
  // them: while it is paused or cut off, another may lead.
  bool answers_beats_ = false;
  int unanswered_ = 0;

  void beat();
};

}  // namespace berth::agent
