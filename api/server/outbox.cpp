#include "api/server/outbox.h"

#include <algorithm>
#include <iterator>

#include "api/wire/message.h"

namespace berth::server {

using scheduler::Effect;
using scheduler::ToAgent;

namespace {

// Far below kMaxFrameBytes: a part is cut after what made it reach this, and one order may be some 18 MiB by itself.
constexpr std::size_t kPartBytes = 4U << 20;
constexpr std::size_t kEntriesPerPart = 100'000;  // of some 30 bytes

template <class T>
void append(std::vector<T>& to, std::vector<T>&& more) {
  to.insert(to.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

// Appends what `more` says to `to`, if they are of one kind that can be added up.
struct Merge {
  bool operator()(state::StartPods& to, state::StartPods& more) const {
    return append(to.orders, std::move(more.orders)), true;
  }
  bool operator()(state::StopPods& to, state::StopPods& more) const {
    return append(to.stops, std::move(more.stops)), true;
  }
  bool operator()(state::ForgetPods& to, state::ForgetPods& more) const {
    return append(to.pods, std::move(more.pods)), true;
  }
  bool operator()(state::ForgetJobs& to, state::ForgetJobs& more) const {
    return append(to.jobs, std::move(more.jobs)), true;
  }
  template <class A, class B>
  bool operator()(A&, B&) const {
    return false;
  }
};

// Calls part(T) for `whole` in parts of at most kEntriesPerPart entries.
template <class T, class Entry, class Part>
void in_parts(T whole, std::vector<Entry> T::*entries, Part&& part) {
  std::vector<Entry> all = std::move(whole.*entries);
  std::size_t at = 0;
  do {
    const std::size_t count = std::min(all.size() - at, kEntriesPerPart);
    const auto from = all.begin() + static_cast<std::ptrdiff_t>(at);
    T one;
    (one.*entries).assign(from, from + static_cast<std::ptrdiff_t>(count));
    part(std::move(one));
    at += count;
  } while (at < all.size());
}

std::size_t bytes_of(const state::StartOrder& order) {
  std::size_t bytes = 512 + order.launch.size() + order.job_name.size() + order.pods.size() * 24;
  for (const std::string& peer : order.peers) bytes += peer.size() + 8;
  return bytes;
}

template <class Part>
void in_parts(state::StartPods whole, Part&& part) {
  state::StartPods one;
  std::size_t bytes = 0;
  const auto add = [&](state::StartOrder order) {
    bytes += bytes_of(order);
    one.orders.push_back(std::move(order));
    if (bytes < kPartBytes) return;
    part(std::exchange(one, {}));
    bytes = 0;
  };
  for (state::StartOrder& order : whole.orders) {
    while (order.pods.size() > kEntriesPerPart) {
      std::vector<state::PodToStart> rest(order.pods.begin() + kEntriesPerPart, order.pods.end());
      order.pods.resize(kEntriesPerPart);
      add(order);
      order.pods = std::move(rest);
    }
    add(std::move(order));
  }
  if (!one.orders.empty()) part(std::move(one));
}

template <class T, class Part>
void part_order(T& body, Part&& part) {
  if constexpr (std::is_same_v<T, state::StartPods>) {
    in_parts(std::move(body), part);
  } else if constexpr (std::is_same_v<T, state::StopPods>) {
    in_parts(std::move(body), &state::StopPods::stops, part);
  } else if constexpr (std::is_same_v<T, state::ForgetPods>) {
    in_parts(std::move(body), &state::ForgetPods::pods, part);
  } else if constexpr (std::is_same_v<T, state::ForgetJobs>) {
    in_parts(std::move(body), &state::ForgetJobs::jobs, part);
  } else {
    part(std::move(body));
  }
}

}  // namespace

std::string encode_reply(std::uint64_t request, state::ServerReply body) {
  std::string frame = wire::encode_frame({request, std::move(body)});
  if (frame.size() <= wire::kMaxFrameBytes) return frame;
  return wire::encode_frame({request, state::ServerReply(state::Error{
                                          state::ErrorCode::kTooLarge, "",
                                          "the answer is longer than a message may be; ask for less at once", 0})});
}

void Outbox::add(std::vector<Effect>&& effects) {
  if (effects_.empty()) effects_.reserve(effects.size());
  for (Effect& effect : effects) {
    auto* order = std::get_if<ToAgent>(&effect);
    if (order != nullptr && merge(*order)) continue;
    if (order != nullptr) last_[order->session] = effects_.size();
    if (const auto* forward = std::get_if<scheduler::ForwardLog>(&effect)) last_.erase(forward->session);
    if (const auto* exec = std::get_if<scheduler::ForwardExec>(&effect)) last_.erase(exec->session);
    effects_.push_back(std::move(effect));
  }
}

bool Outbox::merge(ToAgent& order) {
  const auto last = last_.find(order.session);
  if (last == last_.end()) return false;
  return std::visit(Merge(), std::get<ToAgent>(effects_[last->second]).body, order.body);
}

std::vector<Outgoing> Outbox::pack() {
  std::vector<Outgoing> out;
  out.reserve(effects_.size());
  for (Effect& effect : effects_) {
    auto* reply = std::get_if<scheduler::Reply>(&effect);
    auto* info = reply == nullptr ? nullptr : std::get_if<state::ServerInfo>(&reply->body);
    if (info != nullptr && complete_) complete_(*info);
    if (reply != nullptr && reply->to.session != 0 && !std::holds_alternative<state::TokenCreated>(reply->body)) {
      out.push_back(
          {reply->to.session, reply->to.request, encode_reply(reply->to.request, std::move(reply->body)), nullptr});
    } else if (auto* order = std::get_if<ToAgent>(&effect)) {
      std::visit(
          [&](auto& body) {
            part_order(body, [&](auto&& part) {
              out.push_back({order->session, 0, wire::encode_frame({0, std::move(part)}), nullptr});
            });
          },
          order->body);
    } else if (auto* to_all = std::get_if<scheduler::ToAgents>(&effect)) {
      const std::string frame = wire::encode_frame({0, std::move(to_all->body)});
      for (const std::uint64_t session : to_all->sessions) out.push_back({session, 0, frame, nullptr});
    } else {
      out.push_back({0, 0, "", std::make_unique<Effect>(std::move(effect))});
    }
  }
  effects_.clear();
  last_.clear();
  return out;
}

}  // namespace berth::server
