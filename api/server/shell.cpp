#include "api/server/shell.h"

#include <algorithm>

namespace berth::server {

using state::Error;
using state::ErrorCode;

Shell::Shell(wire::Loop& loop, const ServerOptions& options, Joining& joining, Metrics& metrics)
    : loop_(loop),
      options_(options),
      joining_(joining),
      metrics_(metrics),
      trace_(options.trace.get()),
      users_(options.admin_uids) {
  keep_house();
}

Shell::~Shell() = default;

void Shell::accept(std::shared_ptr<wire::Connection> connection) {
  const bool unproven = connection->peer().kind == wire::PeerIdentity::Kind::kUnproven;
  const bool full = sessions_.size() >= options_.connections_max || (unproven && unproven_ >= options_.unproven_max);
  if (full || stopping_) {
    const char* why = stopping_ ? "the server is stopping" : "the server has as many connections as it takes";
    connection->send(encode_reply(0, Error{ErrorCode::kUnavailable, "", why, 1000}));
    return connection->close_after_send();
  }
  auto session = std::make_unique<Session>();
  const std::uint64_t id = session->id = ++last_session_;
  session->connection = std::move(connection);
  session->last_heard_us = steady_clock_us();
  session->counted_unproven = unproven;
  if (unproven) ++unproven_;
  metrics_.loop.sessions[peer_of(*session)].add();
  const auto started = session->connection;
  sessions_.emplace(id, std::move(session));
  started->set_max_frame(wire::kMaxFrameBytesUnproven);
  started->start({[this, id](std::span<const std::byte> bytes) { on_frame(id, bytes); },
                  [this, id](const Error&) { drop(id); }, [this, id] { on_drained(id); }});
}

void Shell::refuse_and_close(Session& session, Error error) {
  put(session, encode_reply(0, std::move(error)));
  session.connection->close_after_send();
  drop(session.id);
}

// The session ends; the core hears of it if it has to, and logs that it owed are answered with an error.
void Shell::drop(std::uint64_t id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  const std::unique_ptr<Session> session = std::move(found->second);
  sessions_.erase(found);
  Counter& sessions = metrics_.loop.sessions[peer_of(*session)];
  sessions.set(sessions.get() - 1);
  if (session->counted_unproven) --unproven_;
  if (session->stage == Stage::kAgent) {
    read_again(session->stalled);
    return forget_agent(id);
  }
  if (session->execs != 0) end_execs_of_client(id);
  if (session->watches) push_surely(scheduler::ClientGone{id});
  if (!new_tokens_.empty()) {
    std::erase_if(new_tokens_, [id](const auto& entry) { return entry.first.first == id; });
  }
}

Shell::Peer Shell::peer_of(const Session& session) {
  switch (session.stage) {
    case Stage::kHello:
    case Stage::kJoin:
      return Peer::kUnproven;
    case Stage::kClient:
      return Peer::kClients;
    case Stage::kAgentHello:
    case Stage::kAgent:
      return Peer::kAgents;
  }
  return Peer::kUnproven;
}

void Shell::enter(Session& session, Stage stage) {
  Counter& before = metrics_.loop.sessions[peer_of(session)];
  before.set(before.get() - 1);
  session.stage = stage;
  metrics_.loop.sessions[peer_of(session)].add();
}

void Shell::put(Session& session, std::string frame) {
  Metrics::Traffic& traffic = metrics_.loop.traffic[peer_of(session)];
  traffic.frames_out.add();
  traffic.bytes_out.add(frame.size());
  session.connection->send(std::move(frame));
}

void Shell::forget_agent(std::uint64_t id) {
  const auto is_its = [&](const Waiting& waiting, bool hello_only) {
    const auto* connected = std::get_if<scheduler::AgentConnected>(&waiting.command);
    if (connected != nullptr) return connected->session == id;
    const auto* reported = std::get_if<scheduler::AgentReported>(&waiting.command);
    return !hello_only && reported != nullptr && reported->session == id;
  };
  // If the core has not heard of it yet, it need not: neither of its coming nor of its going.
  const bool unheard = std::any_of(backlog_.begin(), backlog_.end(), [&](const Waiting& w) { return is_its(w, true); });
  if (unheard) {
    std::erase_if(backlog_, [&](const Waiting& waiting) { return is_its(waiting, false); });
  } else {
    push_surely(scheduler::AgentGone{id});
  }
  std::vector<scheduler::ReplyTo> owed;
  std::erase_if(logs_, [&](const auto& entry) {
    if (entry.second.agent == id) owed.push_back(entry.second.to);
    return entry.second.agent == id;
  });
  for (const scheduler::ReplyTo& to : owed) {
    send_reply(to, Error{ErrorCode::kUnavailable, "job", "the node that has the output went away", 1000});
  }
  give_up_asks_of(id);
  end_execs_of_agent(id);
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

void Shell::configure(state::ClientRequest request) {
  scheduler::Caller self;
  self.admin = true;
  push_surely(scheduler::ClientCommand{{0, 2}, self, std::move(request)});
}

}  // namespace berth::server
