#include "api/server/shell.h"

namespace berth::server {

using scheduler::Command;
using state::Error;
using state::ErrorCode;

namespace {

constexpr std::int64_t kHouseMs = 1'000;
constexpr std::int64_t kHelloUs = 10'000'000;  // to say who one is
constexpr std::int64_t kBacklogMs = 2;
constexpr int kHeartbeatsMissed = 3;

}  // namespace

Shell::Shell(wire::Loop& loop, const ServerOptions& options, Joining& joining)
    : loop_(loop), options_(options), joining_(joining), users_(options.admin_uids) {
  house_timer_ = loop_.after_ms(kHouseMs, [this] { keep_house(); });
}

Shell::~Shell() = default;

void Shell::accept(std::shared_ptr<wire::Connection> connection) {
  if (closing_) return;
  auto session = std::make_unique<Session>();
  const std::uint64_t id = session->id = ++last_session_;
  session->connection = std::move(connection);
  session->last_heard_us = wall_clock_us();
  Session& kept = *sessions_.emplace(id, std::move(session)).first->second;
  kept.connection->set_max_frame(wire::kMaxFrameBytesUnproven);
  kept.connection->start({[this, id](std::span<const std::byte> bytes) { on_frame(id, bytes); },
                          [this, id](const Error&) { on_close(id); },
                          {}});
  if (sessions_.size() > options_.connections_max) {
    refuse_and_close(kept, {ErrorCode::kUnavailable, "", "the server has as many connections as it takes", 1000});
  }
}

void Shell::refuse_and_close(Session& session, Error error) {
  session.connection->send(wire::encode_frame({0, state::ServerReply(std::move(error))}));
  session.connection->close_after_send();
  // The Handle must outlive the flush: let the loop drop the session a little later.
  const std::uint64_t id = session.id;
  auto connection = session.connection;
  on_close(id);
  auto timer = std::make_shared<std::shared_ptr<wire::Loop::Timer>>();
  *timer = loop_.after_ms(1'000, [connection, timer] { timer->reset(); });
}

void Shell::on_close(std::uint64_t id) { drop(id); }

// The session ends; the core hears of it if it knew it, and logs that it owed are answered with an error.
void Shell::drop(std::uint64_t id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  const Stage stage = found->second->stage;
  const bool known = found->second->known_to_core;
  sessions_.erase(found);
  if (known && stage == Stage::kAgent) push_surely(scheduler::AgentGone{id});
  if (known && stage == Stage::kClient) push_surely(scheduler::ClientGone{id});
  for (auto it = logs_.begin(); it != logs_.end();) {
    if (it->second.agent != id) {
      ++it;
      continue;
    }
    send_reply(it->second.to, Error{ErrorCode::kUnavailable, "job", "the node that has the output went away", 1000});
    it = logs_.erase(it);
  }
  std::erase_if(new_tokens_, [id](const auto& entry) { return entry.first.first == id; });
}

void Shell::push_surely(Command command) {
  if (backlog_.empty() && pipeline_->push(std::move(command))) return;
  backlog_.push_back(std::move(command));
  if (!backlog_timer_) backlog_timer_ = loop_.after_ms(kBacklogMs, [this] { flush_backlog(); });
}

void Shell::flush_backlog() {
  backlog_timer_.reset();
  while (!backlog_.empty()) {
    if (!pipeline_->push(std::move(backlog_.front()))) {
      backlog_timer_ = loop_.after_ms(kBacklogMs, [this] { flush_backlog(); });
      return;
    }
    backlog_.pop_front();
  }
  for (const std::uint64_t id : std::exchange(paused_, {})) {
    if (const auto found = sessions_.find(id); found != sessions_.end())
      found->second->connection->pause_reading(false);
  }
}

// Once a second: who is silent for too long, who never said who he is, whose log never came.
void Shell::keep_house() {
  const std::int64_t now = wall_clock_us();
  std::vector<std::uint64_t> silent;
  for (const auto& [id, session] : sessions_) {
    const std::int64_t quiet = now - session->last_heard_us;
    const bool agent = session->stage == Stage::kAgent;
    const bool unproven = session->stage != Stage::kClient && !agent;
    if ((agent && quiet > options_.core.heartbeat_ms * 1000 * kHeartbeatsMissed) || (unproven && quiet > kHelloUs))
      silent.push_back(id);
  }
  // A paused agent is not silent, we are: its frames wait in its socket.
  for (const std::uint64_t id : silent) {
    if (backlog_.empty()) drop(id);
  }
  for (auto it = logs_.begin(); it != logs_.end();) {
    if (it->second.deadline_us > now) {
      ++it;
      continue;
    }
    send_reply(it->second.to, Error{ErrorCode::kUnavailable, "job", "the node did not send the output in time", 1000});
    it = logs_.erase(it);
  }
  house_timer_ = loop_.after_ms(kHouseMs, [this] { keep_house(); });
}

void Shell::request_first_token() {
  state::TokenCreateRequest request;
  request.role = state::TokenRole::kNode;
  request.ttl_ms = 24LL * 3600 * 1000;
  const wire::JoinToken token = joining_.make_token();
  request.id = token.id;
  request.secret_hash = wire::hash_secret(token.secret);
  new_tokens_[{0, 1}] = token;
  scheduler::Caller self;
  self.admin = true;
  push_surely(scheduler::ClientCommand{{0, 1}, self, std::move(request)});
}

void Shell::set_queues() {
  scheduler::Caller self;
  self.admin = true;
  for (const state::Queue& queue : options_.queues) {
    push_surely(scheduler::ClientCommand{{0, 0}, self, state::QueueActionRequest{false, queue}});
  }
}

void Shell::close_all() {
  closing_ = true;
  for (auto& [id, session] : sessions_) session->connection->close_after_send();
}

}  // namespace berth::server
