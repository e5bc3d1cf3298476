// Commands run inside of pods: their streams between a client's connection and an agent's. The core has said who may;
// what passes here is counted, so that whoever does not read holds up himself alone.
#include <spdlog/spdlog.h>

#include "api/server/shell.h"

namespace berth::server {

using state::Error;
using state::ErrorCode;
using state::ExecPart;
using Kind = state::ExecPart::Kind;

namespace {

constexpr std::size_t kExecsMax = 10'000;
constexpr std::uint32_t kExecsPerSessionMax = 16;
// Input that waits for an agent's connection: with more, the clients that send it are not read, so that what pods are
// to start does not wait behind it.
constexpr std::size_t kAgentQueueBytes = 1U << 20;

ExecPart end_part(std::string why) {
  ExecPart part;
  part.kind = Kind::kEnd;
  part.bytes = std::move(why);
  part.count = 1;
  return part;
}

}  // namespace

void Shell::forward_exec(scheduler::ForwardExec& forward) {
  const auto client = sessions_.find(forward.to.session);
  if (client == sessions_.end()) return;
  if (!sessions_.contains(forward.session)) {
    return send_reply(forward.to, Error{ErrorCode::kUnavailable, "job", "the pod's node went away", 1000});
  }
  const std::pair<std::uint64_t, std::uint64_t> stream{forward.to.session, forward.to.request};
  if (execs_.size() >= kExecsMax || client->second->execs >= kExecsPerSessionMax) {
    return send_reply(forward.to,
                      Error{ErrorCode::kUnavailable, "", "the server runs as many commands as it can", 1000});
  }
  if (exec_streams_.contains(stream)) {
    return send_reply(forward.to, Error{ErrorCode::kProtocol, "", "a request with the number of a stream", 0});
  }
  // As with last_ask_: an agent may still speak of what the server before this one began.
  if (last_exec_ == 0) last_exec_ = static_cast<std::uint64_t>(wall_clock_us()) << 8;
  const std::uint64_t token = forward.start.token = ++last_exec_;
  execs_[token] = Exec{forward.to, forward.session, {}, {}};
  exec_streams_[stream] = token;
  ++client->second->execs;
  send(forward.session, wire::encode_frame({0, std::move(forward.start)}));
}

void Shell::on_exec_from_client(Session& session, std::uint64_t request, ExecPart&& part) {
  const auto stream = exec_streams_.find({session.id, request});
  if (stream == exec_streams_.end()) return;  // it has ended meanwhile
  const std::uint64_t token = stream->second;
  Exec& exec = execs_.at(token);
  bool good = false;
  switch (part.kind) {
    case Kind::kInput:
      good = !part.bytes.empty() && part.bytes.size() <= state::kExecPartBytes && exec.input.send(part.bytes.size());
      break;
    case Kind::kTaken:
      good = part.count != 0 && exec.output.taken(part.count);
      break;
    case Kind::kSize:
    case Kind::kInputEnd:
    case Kind::kEnd:
      good = true;
      break;
    default:
      break;
  }
  if (!good) {
    return refuse_and_close(session, {ErrorCode::kProtocol, "", "a part of a stream that has no place here", 0});
  }
  const std::uint64_t agent = exec.agent;
  const bool end = part.kind == Kind::kEnd;
  part.token = token;
  if (end) forget_exec(token);
  const std::uint64_t client = session.id;
  send(agent, wire::encode_frame({0, std::move(part)}));
  const auto to = sessions_.find(agent);
  const auto from = sessions_.find(client);
  if (to == sessions_.end() || from == sessions_.end()) return;
  if (to->second->connection->queued_bytes() <= kAgentQueueBytes) return;
  from->second->connection->pause_reading(true);
  to->second->stalled.push_back(client);
}

// What was to go to an agent is out: those that had to wait for it are read again.
void Shell::on_drained(std::uint64_t id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second->stalled.empty()) return;
  read_again(std::exchange(found->second->stalled, {}));
}

void Shell::read_again(const std::vector<std::uint64_t>& clients) {
  for (const std::uint64_t client : clients) {
    const auto found = sessions_.find(client);
    if (found != sessions_.end()) found->second->connection->pause_reading(false);
  }
}

void Shell::on_exec_from_agent(Session& session, ExecPart&& part) {
  const auto found = execs_.find(part.token);
  if (found == execs_.end() || found->second.agent != session.id) return;  // it was ended from the other side
  const std::uint64_t token = part.token;
  Exec& exec = found->second;
  const scheduler::ReplyTo to = exec.to;
  bool good = false;
  switch (part.kind) {
    case Kind::kOutput:
    case Kind::kError:
      good = exec.output.send(part.bytes.size());
      break;
    case Kind::kTaken:
      good = exec.input.taken(part.count);
      break;
    case Kind::kStarted:
    case Kind::kEnd:
      good = true;
      break;
    default:
      break;
  }
  if (!good || part.kind == Kind::kEnd) forget_exec(token);
  part.token = 0;
  if (good) return send(to.session, wire::encode_frame({to.request, std::move(part)}));
  spdlog::warn("node {} sent a part of a command's stream that has no place there", session.node);
  ExecPart kill = end_part("");
  kill.token = token;
  send(session.id, wire::encode_frame({0, std::move(kill)}));
  send(to.session, wire::encode_frame({to.request, end_part("the node sent what has no place in a stream")}));
}

void Shell::forget_exec(std::uint64_t token) {
  const auto found = execs_.find(token);
  if (found == execs_.end()) return;
  const scheduler::ReplyTo to = found->second.to;
  exec_streams_.erase({to.session, to.request});
  execs_.erase(found);
  const auto client = sessions_.find(to.session);
  if (client != sessions_.end()) --client->second->execs;
}

// The client is gone, and what runs for it goes, too.
void Shell::end_execs_of_client(std::uint64_t client) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> running;  // agent, token
  for (auto at = exec_streams_.lower_bound({client, 0}); at != exec_streams_.end() && at->first.first == client; ++at) {
    running.emplace_back(execs_.at(at->second).agent, at->second);
  }
  for (const auto& [agent, token] : running) {
    forget_exec(token);
    ExecPart kill = end_part("");
    kill.token = token;
    send(agent, wire::encode_frame({0, std::move(kill)}));
  }
}

void Shell::end_execs_of_agent(std::uint64_t agent) {
  std::vector<std::pair<std::uint64_t, scheduler::ReplyTo>> running;
  for (const auto& [token, exec] : execs_) {
    if (exec.agent == agent) running.emplace_back(token, exec.to);
  }
  for (const auto& [token, to] : running) {
    forget_exec(token);
    send(to.session, wire::encode_frame({to.request, end_part("the connection to the pod's node was lost")}));
  }
}

}  // namespace berth::server
