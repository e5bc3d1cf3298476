// Housekeeping: commands that wait for room, peers that are silent, and the end.
#include <algorithm>
#include <spdlog/spdlog.h>

#include "api/server/shell.h"

namespace berth::server {

using scheduler::Command;
using state::Error;
using state::ErrorCode;

namespace {

constexpr std::int64_t kHouseMsMin = 50, kHouseMsMax = 1'000;
constexpr std::int64_t kHelloUs = 10'000'000;  // to say who one is
constexpr std::int64_t kBacklogMs = 2;
constexpr std::int64_t kBacklogSuspendedMs = 100;
constexpr int kHeartbeatsMissed = 3;
constexpr std::int64_t kFlushMs = 2;
constexpr std::int64_t kFlushUsMax = 3'000'000;

}  // namespace

void Shell::push_surely(Command command, std::size_t bytes, std::uint64_t number) {
  const bool may = backlog_.empty() && !pipeline_->suspended();
  if (may && pipeline_->push(std::move(command), bytes, number)) return;
  backlog_.push_back({std::move(command), bytes, number});
  metrics_.loop.backlog.set(backlog_.size());
  arm_backlog_timer();
}

void Shell::arm_backlog_timer() {
  if (backlog_timer_) return;
  const std::int64_t pause_ms = pipeline_->suspended() ? kBacklogSuspendedMs : kBacklogMs;
  backlog_timer_ = loop_.after_ms(pause_ms, [this] { flush_backlog(); });
}

void Shell::flush_backlog() {
  backlog_timer_.reset();
  while (!backlog_.empty()) {
    Waiting& next = backlog_.front();
    if (pipeline_->suspended() || !pipeline_->push(std::move(next.command), next.bytes, next.number)) {
      return arm_backlog_timer();
    }
    backlog_.pop_front();
    metrics_.loop.backlog.set(backlog_.size());
  }
  for (const std::uint64_t id : std::exchange(paused_, {})) {
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) continue;
    found->second->last_heard_us = steady_clock_us();  // it was we who did not listen
    found->second->connection->pause_reading(false);
  }
}

void Shell::keep_house() {
  const std::int64_t now = steady_clock_us();
  // Where the loop itself was held up (a suspended machine, a stopped process), that is nobody else's silence.
  const std::int64_t held_up = house_due_us_ == 0 ? 0 : now - house_due_us_;
  if (held_up > kHouseMsMax * 1000) {
    for (auto& [id, session] : sessions_) session->last_heard_us += held_up;
  }
  close_silent(now);
  std::vector<scheduler::ReplyTo> late;
  std::erase_if(logs_, [&](const auto& entry) {
    if (entry.second.deadline_us <= now) late.push_back(entry.second.to);
    return entry.second.deadline_us <= now;
  });
  for (const scheduler::ReplyTo& to : late) {
    send_reply(to, Error{ErrorCode::kUnavailable, "job", "the node did not send the output in time", 1000});
  }
  give_up_late_asks(now);
  const std::int64_t pause_ms = std::clamp(options_.core.heartbeat_ms, kHouseMsMin, kHouseMsMax);
  house_due_us_ = now + pause_ms * 1000;
  house_timer_ = loop_.after_ms(pause_ms, [this] { keep_house(); });
}

// Agents that have missed their heartbeats, and whoever never said who he is.
void Shell::close_silent(std::int64_t now) {
  const std::int64_t patience_us = options_.core.heartbeat_ms * 1000 * kHeartbeatsMissed;
  std::vector<std::uint64_t> silent;
  for (const auto& [id, session] : sessions_) {
    const std::int64_t quiet = now - session->last_heard_us;
    if (session->stage == Stage::kAgent) {
      // One that we do not read is not silent: its frames wait in its socket.
      if (quiet > patience_us && paused_.empty()) silent.push_back(id);
    } else if (session->stage != Stage::kClient && quiet > kHelloUs) {
      silent.push_back(id);
    }
  }
  for (const std::uint64_t id : silent) {
    metrics_.loop.silent_peers.add();
    const Session& session = *sessions_.at(id);
    if (session.stage == Stage::kAgent) {
      spdlog::warn("node {} was silent for {} ms: its connection is closed", session.node,
                   (now - session.last_heard_us) / 1000);
    }
    drop(id);
  }
}

void Shell::close_all(std::function<void()> done) {
  for (auto& [id, session] : sessions_) session->connection->close_after_send();
  close_flushed(steady_clock_us() + kFlushUsMax, std::move(done));
}

void Shell::close_flushed(std::int64_t until_us, std::function<void()> done) {
  const bool flushed = std::all_of(sessions_.begin(), sessions_.end(),
                                   [](const auto& entry) { return entry.second->connection->queued_bytes() == 0; });
  if (flushed || steady_clock_us() > until_us) return done();
  closing_timer_ = loop_.after_ms(
      kFlushMs, [this, until_us, done = std::move(done)]() mutable { close_flushed(until_us, std::move(done)); });
}

}  // namespace berth::server
