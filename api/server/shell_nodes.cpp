// What clients ask of a node itself, passed on to its agent, and the answers passed back. Nothing of it changes the
// cluster, so the core has no part in it.
#include <algorithm>

#include "api/server/metrics_page.h"
#include "api/server/shell.h"

namespace berth::server {

using state::Error;
using state::ErrorCode;

namespace {

constexpr std::size_t kAsksMax = 100'000;
constexpr std::int64_t kPatienceUs = 30'000'000;
constexpr std::int64_t kPullPatienceUs = 3600LL * 1'000'000;

}  // namespace

void Shell::on_node_request(Session& session, std::uint64_t request, state::NodeRequest&& body) {
  if (!within_rate(session, request)) return;
  const scheduler::ReplyTo to{session.id, request};
  const std::size_t kind = scheduler::kRequestKinds + kArchiveKinds + body.index();
  frame_kind_ = request_kind(kind);
  const auto refuse = [&](Error error) {
    state::ServerReply reply(std::move(error));
    answered(kind, reply);
    send_reply(to, std::move(reply));
  };
  if (stopping_) return refuse({ErrorCode::kUnavailable, "", "the server is stopping", 1000});
  const std::string& node = std::visit([](const auto& r) -> const std::string& { return r.node; }, body);
  const auto at = std::find_if(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
    return entry.second->stage == Stage::kAgent && entry.second->node == node;
  });
  if (at == sessions_.end()) {
    return refuse(
        {ErrorCode::kUnavailable, "node", "node '" + node.substr(0, state::kMaxNameBytes) + "' is not connected", 0});
  }
  if (asks_.size() >= kAsksMax) {
    return refuse({ErrorCode::kUnavailable, "", "the server waits for as many answers as it can", 1000});
  }
  const auto* images = std::get_if<state::ImageRequest>(&body);
  const bool pull = images != nullptr && images->action == state::ImageRequest::Action::kPull;
  state::NodeAsk ask;
  // An agent may answer what it was asked by the server before this one: no token is ever used again.
  if (last_ask_ == 0) last_ask_ = static_cast<std::uint64_t>(wall_clock_us()) << 8;
  ask.token = ++last_ask_;
  const scheduler::Caller& caller = session.caller;
  ask.owner = {caller.uid, caller.gid, caller.user, caller.groups};
  ask.admin = caller.admin;
  asks_[ask.token] = {to, kind, at->first, node, steady_clock_us() + (pull ? kPullPatienceUs : kPatienceUs)};
  ask.request = std::move(body);
  send(at->first, wire::encode_frame({0, std::move(ask)}));
}

void Shell::on_node_answer(Session& session, state::NodeAnswer&& answer) {
  const auto found = asks_.find(answer.token);
  if (found == asks_.end() || found->second.agent != session.id) return;  // too late, or not its to answer
  const scheduler::ReplyTo to = found->second.to;
  const std::size_t kind = found->second.kind;
  asks_.erase(found);
  std::visit(
      [&](auto& body) {
        state::ServerReply reply(std::move(body));
        answered(kind, reply);
        send_reply(to, std::move(reply));
      },
      answer.body);
}

template <class Gone>
void Shell::give_up_asks(Gone&& gone, const char* why) {
  std::vector<PendingAsk> owed;
  std::erase_if(asks_, [&](auto& entry) {
    if (!gone(entry.second)) return false;
    owed.push_back(std::move(entry.second));
    return true;
  });
  for (const PendingAsk& ask : owed) {
    state::ServerReply reply(Error{ErrorCode::kUnavailable, "node", "node '" + ask.node + "' " + why, 1000});
    answered(ask.kind, reply);
    send_reply(ask.to, std::move(reply));
  }
}

void Shell::give_up_asks_of(std::uint64_t agent) {
  give_up_asks([agent](const PendingAsk& ask) { return ask.agent == agent; }, "went away before it answered");
}

void Shell::give_up_late_asks(std::int64_t now_us) {
  give_up_asks([now_us](const PendingAsk& ask) { return ask.deadline_us <= now_us; }, "did not answer in time");
}

}  // namespace berth::server
