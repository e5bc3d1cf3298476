// What goes out, once it is durable.
#include "api/server/shell.h"

namespace berth::server {

using scheduler::Effect;
using state::Error;
using state::ErrorCode;

void Shell::deliver(Delivery delivery) {
  // Encoding is the larger part of the work: done here, on the journal's thread, beside the loop.
  auto outgoing = std::make_shared<std::vector<Outgoing>>();
  outgoing->reserve(delivery.effects.size());
  for (Effect& effect : delivery.effects) {
    if (auto* reply = std::get_if<scheduler::Reply>(&effect);
        reply != nullptr && !std::holds_alternative<state::TokenCreated>(reply->body)) {
      if (reply->to.session == 0) continue;  // the server's own request
      outgoing->push_back(
          {reply->to.session, wire::encode_frame({reply->to.request, std::move(reply->body)}), nullptr});
    } else if (auto* order = std::get_if<scheduler::ToAgent>(&effect)) {
      wire::Message message;
      std::visit([&](auto& body) { message.body = std::move(body); }, order->body);
      outgoing->push_back({order->session, wire::encode_frame(message), nullptr});
    } else {
      outgoing->push_back({0, "", std::make_unique<Effect>(std::move(effect))});
    }
  }
  loop_.post([this, outgoing, tokens = std::move(delivery.token_events)] {
    for (const state::Event& event : tokens) joining_.apply(event);
    for (Outgoing& item : *outgoing) finish(item);
  });
}

void Shell::finish(Outgoing& item) {
  if (!item.special) return send(item.session, std::move(item.frame));
  if (auto* reply = std::get_if<scheduler::Reply>(item.special.get())) {
    auto& created = std::get<state::TokenCreated>(reply->body);
    const auto found = new_tokens_.find({reply->to.session, reply->to.request});
    if (found == new_tokens_.end()) return;
    created.token = wire::format_token(found->second);
    new_tokens_.erase(found);
    if (reply->to.session != 0) return send_reply(reply->to, std::move(created));
    if (options_.on_first_token) options_.on_first_token(created.token);
  } else if (auto* refused = std::get_if<scheduler::RefuseAgent>(item.special.get())) {
    const auto found = sessions_.find(refused->session);
    if (found == sessions_.end()) return;
    found->second->known_to_core = false;  // the core has let go of it
    refuse_and_close(*found->second, std::move(refused->error));
  } else if (auto* forward = std::get_if<scheduler::ForwardLog>(item.special.get())) {
    if (!sessions_.contains(forward->session)) {
      return send_reply(forward->to,
                        Error{ErrorCode::kUnavailable, "job", "the node that has the output went away", 1000});
    }
    constexpr std::int64_t kPatienceUs = 30'000'000;
    logs_[forward->read.token] = {
        forward->to, forward->session,
        wall_clock_us() + static_cast<std::int64_t>(forward->read.request.wait_ms) * 1000 + kPatienceUs};
    send(forward->session, wire::encode_frame({0, std::move(forward->read)}));
  }
}

void Shell::send(std::uint64_t session, std::string frame) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  wire::Connection& connection = *found->second->connection;
  connection.send(std::move(frame));
  // Whoever does not read is not waited for.
  if (connection.queued_bytes() > options_.unsent_bytes_max) drop(session);
}

void Shell::send_reply(const scheduler::ReplyTo& to, state::ServerReply body) {
  send(to.session, wire::encode_frame({to.request, std::move(body)}));
}

}  // namespace berth::server
