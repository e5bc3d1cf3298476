// Fleet: thousands of hollow agents in one process, each with a connection of its own, on one loop. They speak what a
// real agent speaks; only the pods are simulated. All members are called on the loop's thread.
//
// What would cost per agent or per pod is shared: one timer sends the heartbeats of a slice of the agents at a time,
// one timer and one wheel end the pods, and so many connections are opened at once and no more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "api/wire/connection.h"
#include "api/wire/enrol.h"
#include "api/wire/loop.h"
#include "api/wire/message.h"
#include "state/requests.h"
#include "tools/load/hollow_node.h"
#include "tools/load/timer_wheel.h"

namespace berth::tools {

struct FleetOptions {
  wire::Endpoint server;
  std::uint32_t count = 5'000;
  state::Resources capacity;
  std::vector<std::string> features;
  std::string name_prefix = "hollow-";
  std::int64_t pod_time_us = 0;
  std::uint32_t connecting_max = 64;  // connections that shake hands at once
};

struct FleetTotals {
  HollowTotals pods;
  std::uint64_t reports = 0;  // AgentStatus frames sent
  std::uint64_t frames = 0;   // received
  std::uint64_t heartbeats = 0;
  std::uint64_t logs = 0;         // ReadLog answered
  std::uint64_t connections = 0;  // that the server welcomed, the first of each agent included
};

class Fleet {
 public:
  struct Events {
    std::function<void()> on_all_connected;               // each time the last missing agent was welcomed
    std::function<void(const state::Error&)> on_trouble;  // an agent could not connect or was cut off; it tries again
    std::function<void(const state::Error&)> on_refused;  // the server will never take this agent
  };
  Fleet(wire::Loop& loop, FleetOptions options, Events events);
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  // Lets agent `index` connect. Over TLS it needs the identity that enrolment gave it; over a Unix socket null.
  void admit(std::uint32_t index, std::unique_ptr<wire::Enrolment> identity);
  std::string name_of(std::uint32_t index) const;
  const FleetTotals& totals() const { return totals_; }
  std::uint32_t connected() const { return connected_; }
  std::size_t pods_running() const;
  std::size_t pods_unacknowledged() const;

 private:
  enum class Phase : std::uint8_t { kAway, kConnecting, kGreeting, kServing };
  struct Agent {
    Phase phase = Phase::kAway;
    bool due_report = false;  // is in touched_
    HollowNode node;
    std::shared_ptr<wire::Connection> connection;
    std::unique_ptr<wire::Enrolment> identity;
    state::AgentStatus report;  // collected during one turn of the wheel
  };
  struct DuePod {
    std::uint32_t agent = 0;
    state::PodRef ref;
  };

  void pump();  // opens connections as far as the pace allows
  void open(std::uint32_t index);
  void on_connected(std::uint32_t index, state::Result<std::shared_ptr<wire::Connection>> made);
  void on_lost(std::uint32_t index, const state::Error& error);
  void retry_later(std::uint32_t index, const state::Error& error);
  void on_frame(std::uint32_t index, std::span<const std::byte> bytes);
  void handle(std::uint32_t index, const wire::Welcome& welcome);
  void handle(std::uint32_t index, const state::ServerReply& reply);
  void handle(std::uint32_t index, const state::AgentWelcome& welcome);
  void handle(std::uint32_t index, const state::StartPods& request);
  void handle(std::uint32_t index, const state::StopPods& request);
  void handle(std::uint32_t index, const state::ForgetPods& request);
  void handle(std::uint32_t index, const state::ForgetJobs& request);
  void handle(std::uint32_t index, const state::ReadLog& request);
  void handle(std::uint32_t index, const state::ExecStart& start);
  void handle(std::uint32_t, const state::ExecPart&) {}
  template <class Other>
  void handle(std::uint32_t index, const Other& unexpected);
  void answer_log(std::uint32_t index, const state::ReadLog& request);
  void send_report(Agent& agent, state::AgentStatus report);
  void send_hello(std::uint32_t index);
  void arm_wheel();
  void turn_wheel();
  void send_heartbeats();

  wire::Loop& loop_;
  FleetOptions options_;
  Events events_;
  std::string instance_;
  std::string hello_frame_, heartbeat_frame_;
  std::vector<Agent> agents_;
  FleetTotals totals_;
  std::uint32_t connected_ = 0;

  std::deque<std::uint32_t> ready_;     // may connect
  std::vector<std::uint32_t> waiting_;  // may connect when retry_timer_ fires
  std::uint32_t connecting_ = 0;
  std::int64_t retry_ms_;
  std::shared_ptr<wire::Loop::Timer> retry_timer_;

  TimerWheel<DuePod> wheel_;
  std::shared_ptr<wire::Loop::Timer> wheel_timer_;
  state::TimeUs wheel_at_ = 0;  // when wheel_timer_ fires; 0: not armed
  std::vector<std::uint32_t> touched_;
  std::vector<HollowNode::Due> dues_;  // kept for its capacity

  std::int64_t heartbeat_ms_ = 0;  // 0: no welcome yet
  std::uint32_t heartbeat_next_ = 0;
  std::int64_t heartbeat_debt_ = 0;  // agents times slices that are due a heartbeat
  std::shared_ptr<wire::Loop::Timer> heartbeat_timer_;
  std::map<std::uint64_t, std::shared_ptr<wire::Loop::Timer>> held_logs_;  // ReadLog answers that wait, by token
};

}  // namespace berth::tools
