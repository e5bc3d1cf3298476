// What comes in: handshakes, requests, reports.
#include <algorithm>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "api/server/metrics_page.h"
#include "api/server/read_only.h"
#include "api/server/shell.h"

namespace berth::server {

using state::Error;
using state::ErrorCode;
using state::Status;
using state::Unit;
using wire::PeerIdentity;

namespace {

constexpr std::size_t kBacklogMax = 64;  // commands; past it agents are not read
constexpr std::size_t kLogsMax = 100'000;
constexpr std::uint32_t kLogWaitMsMax = 60'000;

}  // namespace

void Shell::on_frame(std::uint64_t id, std::span<const std::byte> bytes) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = *found->second;
  const std::int64_t began_ns = steady_clock_ns();
  session.last_heard_us = began_ns / 1000;
  const Stage stage = session.stage;
  Metrics::Traffic& traffic = metrics_.loop.traffic[peer_of(session)];
  traffic.frames_in.add();
  traffic.bytes_in.add(bytes.size() + sizeof(std::uint32_t));
  auto message = wire::decode_message(bytes);
  if (!message) return refuse_and_close(session, std::move(message.error()));
  on_message(session, std::move(*message), bytes.size());
  if (trace_ != nullptr) trace_frame(id, stage, bytes.size(), began_ns);
}

// The session may be gone by now.
void Shell::trace_frame(std::uint64_t id, Stage stage, std::size_t bytes, std::int64_t began_ns) {
  const bool agent = stage == Stage::kAgent || stage == Stage::kAgentHello;
  trace_->span(Trace::kLoop, agent ? "agent frame" : "frame", began_ns, steady_clock_ns(),
               fmt::format(R"("session":{},"kind":"{}","bytes":{},"command":{})", id, frame_kind_, bytes,
                           std::exchange(frame_command_, 0)));
  frame_kind_ = {};
}

std::uint64_t Shell::next_command() { return frame_command_ = ++last_command_; }

// Of what the core had no part in.
void Shell::answered(std::size_t kind, const state::ServerReply& body) {
  const auto* error = std::get_if<Error>(&body);
  metrics_.loop.requests[kind][error == nullptr ? 0 : static_cast<std::size_t>(error->code)].add();
}

void Shell::on_message(Session& session, wire::Message&& message, std::size_t bytes) {
  const auto unexpected = [&] {
    refuse_and_close(session, {ErrorCode::kProtocol, "", "a message that has no place here", 0});
  };
  switch (session.stage) {
    case Stage::kHello:
      if (const auto* hello = std::get_if<wire::Hello>(&message.body)) return on_hello(session, *hello);
      return unexpected();
    case Stage::kJoin:
      if (const auto* join = std::get_if<wire::JoinRequest>(&message.body)) return on_join(session, *join);
      return unexpected();
    case Stage::kClient:
      if (auto* request = std::get_if<state::ClientRequest>(&message.body)) {
        return on_client(session, message.request, std::move(*request), bytes);
      }
      if (auto* question = std::get_if<state::ArchiveRequest>(&message.body)) {
        return on_archive(session, message.request, std::move(*question));
      }
      if (auto* question = std::get_if<state::NodeRequest>(&message.body)) {
        return on_node_request(session, message.request, std::move(*question));
      }
      if (auto* part = std::get_if<state::ExecPart>(&message.body)) {
        return on_exec_from_client(session, message.request, std::move(*part));
      }
      return unexpected();
    case Stage::kAgentHello:
    case Stage::kAgent:
      if (!on_agent(session, std::move(message.body), bytes)) unexpected();
  }
}

void Shell::on_hello(Session& session, const wire::Hello& hello) {
  if (hello.version_min > wire::kProtocolVersion || hello.version_max < wire::kProtocolVersionOldest) {
    return refuse_and_close(
        session, {ErrorCode::kProtocol, "version",
                  "this server speaks protocol versions " + std::to_string(wire::kProtocolVersionOldest) + " to " +
                      std::to_string(wire::kProtocolVersion) + ", the peer (" + hello.software.substr(0, 64) + ") " +
                      std::to_string(hello.version_min) + " to " + std::to_string(hello.version_max),
                  0});
  }
  if (std::string why = admit(session, hello.role); !why.empty()) {
    return refuse_and_close(session, {ErrorCode::kDenied, "", std::move(why), 0});
  }
  session.connection->set_max_frame(hello.role == wire::PeerRole::kJoin ? wire::kMaxFrameBytesUnproven
                                                                        : wire::kMaxFrameBytes);
  put(session, wire::encode_frame({0, wire::Welcome{std::min(hello.version_max, wire::kProtocolVersion),
                                                    "berth " + options_.version, options_.core.cluster_name}}));
}

// Whether the peer may have this role; "" if so, and then the session is of that stage. Else why not.
std::string Shell::admit(Session& session, wire::PeerRole role) {
  const PeerIdentity& peer = session.connection->peer();
  const bool certified = peer.kind == PeerIdentity::Kind::kCertificate;
  const bool local = peer.kind == PeerIdentity::Kind::kUnix;
  switch (role) {
    case wire::PeerRole::kJoin:
      if (local) return "joining is for remote machines; a local agent needs no token";
      enter(session, Stage::kJoin);
      return "";
    case wire::PeerRole::kAgent:
      if (certified && peer.common_name.starts_with("node:")) {
        session.certified = peer.common_name.substr(5);
      } else if (!local) {
        return "an agent needs a node's certificate: it has to join first";
      } else if (peer.uid != 0 && peer.uid != ::geteuid()) {
        return "only root and the server's own user may run an agent on this socket";
      }
      enter(session, Stage::kAgentHello);
      return "";
    case wire::PeerRole::kClient:
    case wire::PeerRole::kStatus:
      if (local) {
        session.caller = users_.by_uid(peer.uid, peer.gid);
      } else if (certified && peer.common_name.starts_with("user:")) {
        const std::string name = peer.common_name.substr(5);
        const auto caller = users_.by_name(name);
        if (!caller) return "user '" + name + "' does not exist on the server's machine";
        session.caller = *caller;
      } else {
        return "a client needs a user's certificate: 'berth login' gets one";
      }
      enter(session, Stage::kClient);
      return "";
  }
  return "there is no such role";
}

void Shell::on_join(Session& session, const wire::JoinRequest& request) {
  auto reply = joining_.join(request, wall_clock_us());
  if (!reply) return refuse_and_close(session, std::move(reply.error()));
  spdlog::info("{} joined from {} with token {}", request.name.empty() ? "a user" : "node " + request.name,
               session.connection->peer().address, request.token_id);
  // One certificate a connection: that was all it was for.
  put(session, wire::encode_frame({0, std::move(*reply)}));
  session.connection->close_after_send();
  drop(session.id);
}

bool Shell::within_rate(Session& session, std::uint64_t request) {
  if (options_.requests_per_second_max == 0) return true;
  const std::int64_t second = session.last_heard_us / 1'000'000;
  if (session.second != second) session.requests = 0;
  session.second = second;
  if (++session.requests <= options_.requests_per_second_max) return true;
  metrics_.loop.rate_limited.add();
  send_reply({session.id, request},
             Error{ErrorCode::kUnavailable, "",
                   "more than " + std::to_string(options_.requests_per_second_max) + " requests in a second", 1000});
  return false;
}

void Shell::on_client(Session& session, std::uint64_t request, state::ClientRequest&& body, std::size_t bytes) {
  if (!within_rate(session, request)) return;
  const scheduler::ReplyTo to{session.id, request};
  const std::size_t kind = body.index();
  frame_kind_ = request_kind(kind);
  const auto refuse = [&](Error error) {
    state::ServerReply reply(std::move(error));
    answered(kind, reply);
    send_reply(to, std::move(reply));
  };
  if (stopping_) return refuse({ErrorCode::kUnavailable, "", "the server is stopping", 1000});
  if (pipeline_->suspended() && !only_reads(body)) return refuse(pipeline_->suspended_error());
  if (Status prepared = prepare(session, request, body); !prepared) return refuse(std::move(prepared.error()));
  // What agents said and could not be taken yet goes first.
  const bool room = backlog_.empty() || pipeline_->suspended();
  const std::uint64_t number = next_command();
  if (!room || !pipeline_->push(scheduler::ClientCommand{to, session.caller, std::move(body)}, bytes, number)) {
    frame_command_ = 0;
    new_tokens_.erase({session.id, request});
    metrics_.loop.queue_full.add();
    refuse({ErrorCode::kUnavailable, "", "the server has more requests waiting than it takes", 50});
  }
}

// The past is not the core's: a full disk or a busy core changes nothing about it.
void Shell::on_archive(Session& session, std::uint64_t request, state::ArchiveRequest&& body) {
  if (!within_rate(session, request)) return;
  const scheduler::ReplyTo to{session.id, request};
  if (stopping_) return send_reply(to, Error{ErrorCode::kUnavailable, "", "the server is stopping", 1000});
  // The frame is made where the answer is.
  const std::size_t kind = scheduler::kRequestKinds + body.index();
  frame_kind_ = request_kind(kind);
  archive_->ask(session.caller, std::move(body), [this, to, kind](state::ServerReply reply) {
    const auto* error = std::get_if<Error>(&reply);
    const std::size_t outcome = error == nullptr ? 0 : static_cast<std::size_t>(error->code);
    auto frame = std::make_shared<std::string>(encode_reply(to.request, std::move(reply)));
    loop_.post([this, to, frame, kind, outcome] {
      metrics_.loop.requests[kind][outcome].add();
      send(to.session, std::move(*frame));
    });
  });
}

// What the core cannot do for a request.
Status Shell::prepare(Session& session, std::uint64_t request, state::ClientRequest& body) {
  if (std::holds_alternative<state::WatchJobsRequest>(body)) {
    session.watches = true;
  } else if (auto* read = std::get_if<state::ReadLogRequest>(&body)) {
    read->wait_ms = std::min(read->wait_ms, kLogWaitMsMax);
    if (logs_.size() >= kLogsMax) {
      return Error{ErrorCode::kUnavailable, "", "the server waits for as much output as it can", 1000};
    }
  } else if (auto* create = std::get_if<state::TokenCreateRequest>(&body)) {
    const wire::JoinToken token = joining_.make_token();
    create->id = token.id;
    create->secret_hash = wire::hash_secret(token.secret);
    if (!new_tokens_.try_emplace({session.id, request}, token).second) {
      return Error{ErrorCode::kProtocol, "", "a request with the number of another that is not answered yet", 0};
    }
  }
  return Unit{};
}

bool Shell::on_agent(Session& session, wire::Body&& body, std::size_t bytes) {
  if (stopping_) return true;  // it repeats to the next server what this one does not hear
  if (std::holds_alternative<state::AgentHeartbeat>(body)) {
    if (session.stage != Stage::kAgent) return false;
    frame_kind_ = "heartbeat";
    // Where another server may lead meanwhile, an agent wants to hear that this one is still there.
    if (options_.open_shared) put(session, wire::encode_frame({0, state::AgentHeartbeat{}}));
    return true;
  }
  const std::uint64_t id = session.id;
  if (auto* hello = std::get_if<state::AgentHello>(&body)) {
    if (session.stage != Stage::kAgentHello) return false;
    on_agent_hello(session, std::move(*hello), bytes);
  } else if (session.stage != Stage::kAgent) {
    return false;
  } else if (auto* status = std::get_if<state::AgentStatus>(&body)) {
    frame_kind_ = "report";
    push_surely(scheduler::AgentReported{id, std::move(*status)}, bytes, next_command());
  } else if (auto* log = std::get_if<state::LogReply>(&body)) {
    frame_kind_ = "log";
    on_log_reply(session, std::move(*log));
  } else if (auto* answer = std::get_if<state::NodeAnswer>(&body)) {
    frame_kind_ = "answer";
    on_node_answer(session, std::move(*answer));
  } else if (auto* part = std::get_if<state::ExecPart>(&body)) {
    on_exec_from_agent(session, std::move(*part));
  } else {
    return false;
  }
  const auto still = sessions_.find(id);
  if (backlog_.size() > kBacklogMax && still != sessions_.end()) {
    still->second->connection->pause_reading(true);
    paused_.push_back(id);
    metrics_.loop.agents_paused.add();
  }
  return true;
}

void Shell::on_agent_hello(Session& session, state::AgentHello&& hello, std::size_t bytes) {
  if (!session.certified.empty() && hello.info.name != session.certified) {
    return refuse_and_close(session, {ErrorCode::kDenied, "name",
                                      "this agent's certificate is for node '" + session.certified + "', not '" +
                                          hello.info.name.substr(0, state::kMaxNameBytes) + "'",
                                      0});
  }
  hello.info.address = session.connection->peer().address;
  enter(session, Stage::kAgent);
  session.node = hello.info.name.substr(0, state::kMaxNameBytes);
  frame_kind_ = "hello";
  push_surely(scheduler::AgentConnected{session.id, std::move(hello)}, bytes, next_command());
}

void Shell::on_log_reply(Session& session, state::LogReply&& reply) {
  const auto found = logs_.find(reply.token);
  if (found == logs_.end() || found->second.agent != session.id) return;  // too late, or not its to answer
  const scheduler::ReplyTo to = found->second.to;
  logs_.erase(found);
  std::visit([&](auto& body) { send_reply(to, std::move(body)); }, reply.body);
}

}  // namespace berth::server
