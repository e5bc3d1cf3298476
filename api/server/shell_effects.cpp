// What goes out, once it is durable.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "api/server/shell.h"

namespace berth::server {

using scheduler::Effect;
using state::Error;
using state::ErrorCode;

void Shell::deliver(Delivery delivery) {
  Outbox outbox([this](state::ServerInfo& info) {
    archive_->tell(info);
    tell_store_(info.store);
  });
  for (std::vector<Effect>& effects : delivery.turns) outbox.add(std::move(effects));
  auto outgoing = std::make_shared<std::vector<Outgoing>>(outbox.pack());
  loop_.post([this, outgoing, tokens = std::move(delivery.token_events), batch = delivery.last_batch] {
    const std::int64_t began_ns = trace_ == nullptr ? 0 : steady_clock_ns();
    for (const state::Event& event : tokens) joining_.apply(event);
    for (Outgoing& item : *outgoing) finish(item);
    if (trace_ == nullptr) return;
    trace_->span(Trace::kLoop, "send", began_ns, steady_clock_ns(),
                 fmt::format(R"("messages":{},"last_batch":{})", outgoing->size(), batch));
  });
}

void Shell::finish(Outgoing& item) {
  if (item.special == nullptr) {
    // Should it answer a request for a token, that was refused.
    if (!new_tokens_.empty()) new_tokens_.erase({item.session, item.request});
    return send(item.session, std::move(item.frame));
  }
  if (auto* reply = std::get_if<scheduler::Reply>(item.special.get())) {
    if (std::holds_alternative<state::TokenCreated>(reply->body)) return finish_token(*reply);
    // The server's own request: nobody waits, but an error is worth a line.
    if (const auto* error = std::get_if<Error>(&reply->body)) spdlog::warn("a setting was refused: {}", error->message);
  } else if (auto* refused = std::get_if<scheduler::RefuseAgent>(item.special.get())) {
    const auto found = sessions_.find(refused->session);
    if (found == sessions_.end()) return;
    Session& session = *found->second;
    spdlog::warn("the agent of node {} at {} was refused: {}", session.node, session.connection->peer().address,
                 refused->error.message);
    enter(session, Stage::kAgentHello);  // the core has let go of it, and need not hear of it again
    refuse_and_close(session, std::move(refused->error));
  } else if (auto* forward = std::get_if<scheduler::ForwardLog>(item.special.get())) {
    forward_log(*forward);
  } else if (auto* exec = std::get_if<scheduler::ForwardExec>(item.special.get())) {
    forward_exec(*exec);
  }
}

// The core knows the token's hash alone: the line goes out from here, once.
void Shell::finish_token(scheduler::Reply& reply) {
  auto& created = std::get<state::TokenCreated>(reply.body);
  const auto found = new_tokens_.find({reply.to.session, reply.to.request});
  if (found == new_tokens_.end()) return;  // its session is gone
  created.token = wire::format_token(found->second);
  new_tokens_.erase(found);
  if (reply.to.session != 0) return send_reply(reply.to, std::move(created));
  if (options_.on_first_token) options_.on_first_token(created.token);
}

void Shell::forward_log(scheduler::ForwardLog& forward) {
  if (!sessions_.contains(forward.session)) {
    return send_reply(forward.to,
                      Error{ErrorCode::kUnavailable, "job", "the node that has the output went away", 1000});
  }
  constexpr std::int64_t kPatienceUs = 30'000'000;
  const std::int64_t wait_us = static_cast<std::int64_t>(forward.read.request.wait_ms) * 1000;
  logs_[forward.read.token] = {forward.to, forward.session, steady_clock_us() + wait_us + kPatienceUs};
  send(forward.session, wire::encode_frame({0, std::move(forward.read)}));
}

void Shell::send(std::uint64_t session, std::string frame) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  wire::Connection& connection = *found->second->connection;
  put(*found->second, std::move(frame));
  // Whoever does not read is not waited for.
  if (connection.queued_bytes() <= options_.unsent_bytes_max) return;
  metrics_.loop.slow_readers.add();
  const Session& slow = *found->second;
  spdlog::warn("{} at {} does not read: {} bytes wait for it, its connection is closed",
               slow.node.empty() ? "user " + slow.caller.user : "node " + slow.node, connection.peer().address,
               connection.queued_bytes());
  drop(session);
}

void Shell::send_reply(const scheduler::ReplyTo& to, state::ServerReply body) {
  send(to.session, encode_reply(to.request, std::move(body)));
}

}  // namespace berth::server
