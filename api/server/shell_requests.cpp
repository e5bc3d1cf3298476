// What comes in: handshakes, requests, reports.
#include <unistd.h>

#include "api/server/shell.h"

namespace berth::server {

using state::Error;
using state::ErrorCode;
using wire::PeerIdentity;

namespace {

constexpr std::size_t kBacklogMax = 64;  // commands; past it agents are not read

bool changes_state(const state::ClientRequest& request) {
  return std::holds_alternative<state::SubmitRequest>(request) ||
         std::holds_alternative<state::CancelRequest>(request) ||
         std::holds_alternative<state::NodeActionRequest>(request) ||
         std::holds_alternative<state::QueueActionRequest>(request) ||
         std::holds_alternative<state::TokenCreateRequest>(request) ||
         std::holds_alternative<state::TokenRevokeRequest>(request);
}

}  // namespace

void Shell::on_frame(std::uint64_t id, std::span<const std::byte> bytes) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = *found->second;
  session.last_heard_us = wall_clock_us();
  auto message = wire::decode_message(bytes);
  if (!message) return refuse_and_close(session, std::move(message.error()));
  const auto unexpected = [&] {
    refuse_and_close(session, {ErrorCode::kProtocol, "", "a message that has no place here", 0});
  };
  switch (session.stage) {
    case Stage::kHello:
      if (const auto* hello = std::get_if<wire::Hello>(&message->body)) return on_hello(session, *hello);
      return unexpected();
    case Stage::kJoin:
      if (const auto* join = std::get_if<wire::JoinRequest>(&message->body)) return on_join(session, *join);
      return unexpected();
    case Stage::kClient:
      if (auto* request = std::get_if<state::ClientRequest>(&message->body)) {
        return on_client(session, message->request, std::move(*request));
      }
      return unexpected();
    case Stage::kAgentHello:
    case Stage::kAgent:
      if (!on_agent(session, std::move(message->body))) unexpected();
  }
}

void Shell::on_hello(Session& session, const wire::Hello& hello) {
  if (hello.version_min > wire::kProtocolVersion || hello.version_max < wire::kProtocolVersionOldest) {
    return refuse_and_close(
        session, {ErrorCode::kProtocol, "version",
                  "this server speaks protocol versions " + std::to_string(wire::kProtocolVersionOldest) + " to " +
                      std::to_string(wire::kProtocolVersion) + ", the peer (" + hello.software + ") " +
                      std::to_string(hello.version_min) + " to " + std::to_string(hello.version_max),
                  0});
  }
  const PeerIdentity& peer = session.connection->peer();
  const auto deny = [&](std::string message) {
    refuse_and_close(session, {ErrorCode::kDenied, "", std::move(message), 0});
  };
  const bool certified = peer.kind == PeerIdentity::Kind::kCertificate;
  const bool local = peer.kind == PeerIdentity::Kind::kUnix;
  switch (hello.role) {
    case wire::PeerRole::kJoin:
      if (local) return deny("joining is for remote machines; a local agent needs no token");
      session.stage = Stage::kJoin;
      break;
    case wire::PeerRole::kAgent:
      if (certified && peer.common_name.starts_with("node:")) {
        session.node = peer.common_name.substr(5);
      } else if (!local || (peer.uid != 0 && peer.uid != ::geteuid())) {
        return deny(local ? "only root and the server's own user may run an agent on this socket"
                          : "an agent needs a node's certificate: it has to join first");
      }
      session.stage = Stage::kAgentHello;
      break;
    case wire::PeerRole::kClient:
      if (local) {
        session.caller = users_.by_uid(peer.uid, peer.gid);
      } else if (certified && peer.common_name.starts_with("user:")) {
        const std::string name = peer.common_name.substr(5);
        const auto caller = users_.by_name(name);
        if (!caller) return deny("user '" + name + "' does not exist on the server's machine");
        session.caller = *caller;
      } else {
        return deny("a client needs a user's certificate: 'berth login' gets one");
      }
      session.stage = Stage::kClient;
      break;
  }
  session.connection->set_max_frame(hello.role == wire::PeerRole::kJoin ? wire::kMaxFrameBytesUnproven
                                                                        : wire::kMaxFrameBytes);
  session.connection->send(
      wire::encode_frame({0, wire::Welcome{std::min(hello.version_max, wire::kProtocolVersion),
                                           "berth " + options_.version, options_.core.cluster_name}}));
}

void Shell::on_join(Session& session, const wire::JoinRequest& request) {
  auto reply = joining_.join(request, wall_clock_us());
  if (!reply) return refuse_and_close(session, std::move(reply.error()));
  session.connection->send(wire::encode_frame({0, std::move(*reply)}));
}

bool Shell::within_rate(Session& session, std::uint64_t request) {
  if (options_.requests_per_second_max == 0) return true;
  const std::int64_t second = session.last_heard_us / 1'000'000;
  if (session.second != second) session.requests = 0;
  session.second = second;
  if (++session.requests <= options_.requests_per_second_max) return true;
  send_reply({session.id, request},
             Error{ErrorCode::kUnavailable, "",
                   "more than " + std::to_string(options_.requests_per_second_max) + " requests in a second", 1000});
  return false;
}

void Shell::on_client(Session& session, std::uint64_t request, state::ClientRequest&& body) {
  if (!within_rate(session, request)) return;
  const scheduler::ReplyTo to{session.id, request};
  if (pipeline_->disk_full() && changes_state(body)) {
    return send_reply(to, Error{ErrorCode::kUnavailable, "",
                                "the server's disk is full: nothing can be changed until there is space", 5000});
  }
  if (auto* create = std::get_if<state::TokenCreateRequest>(&body)) {
    const wire::JoinToken token = joining_.make_token();
    create->id = token.id;
    create->secret_hash = wire::hash_secret(token.secret);
    new_tokens_[{session.id, request}] = token;
  }
  session.known_to_core = true;
  if (!backlog_.empty() || !pipeline_->push(scheduler::ClientCommand{to, session.caller, std::move(body)})) {
    new_tokens_.erase({session.id, request});
    send_reply(to, Error{ErrorCode::kUnavailable, "", "the server has more requests waiting than it takes", 50});
  }
}

bool Shell::on_agent(Session& session, wire::Body&& body) {
  if (std::holds_alternative<state::AgentHeartbeat>(body)) return session.stage == Stage::kAgent;
  if (auto* hello = std::get_if<state::AgentHello>(&body)) {
    if (session.stage != Stage::kAgentHello) return false;
    if (!session.node.empty() && hello->info.name != session.node) {
      refuse_and_close(
          session, {ErrorCode::kDenied, "name",
                    "this agent's certificate is for node '" + session.node + "', not '" + hello->info.name + "'", 0});
      return true;
    }
    hello->info.address = session.connection->peer().address;
    session.stage = Stage::kAgent;
    session.known_to_core = true;
    push_surely(scheduler::AgentConnected{session.id, std::move(*hello)});
  } else if (session.stage != Stage::kAgent) {
    return false;
  } else if (auto* status = std::get_if<state::AgentStatus>(&body)) {
    push_surely(scheduler::AgentReported{session.id, std::move(*status)});
  } else if (auto* log = std::get_if<state::LogReply>(&body)) {
    on_log_reply(session, std::move(*log));
  } else {
    return false;
  }
  if (backlog_.size() > kBacklogMax) {
    session.connection->pause_reading(true);
    paused_.push_back(session.id);
  }
  return true;
}

void Shell::on_log_reply(Session& session, state::LogReply&& reply) {
  const auto found = logs_.find(reply.token);
  if (found == logs_.end() || found->second.agent != session.id) return;  // too late, or not its to answer
  const scheduler::ReplyTo to = found->second.to;
  logs_.erase(found);
  std::visit([&](auto& body) { send_reply(to, std::move(body)); }, reply.body);
}

}  // namespace berth::server
