// The scheduling pass: who of the waiting may start, in order, and where.
#include <algorithm>

#include "scheduler/core_impl.h"

namespace berth::scheduler {

using namespace state;

namespace {

// Pods bound in one turn at most: a turn stays short, and the rest follows in the next.
constexpr std::uint32_t kBindsPerTurn = 16'384;

}  // namespace

// Classes that found no room are tried again when a node that could now take one of their pods has had capacity come
// free.
void Core::Impl::unblock_for_room() {
  if (std::exchange(retry_blocked_, false)) waiting_.unblock_all();
  if (!room_made_.empty() && !waiting_.blocked().empty()) {
    const std::vector<WaitQueue::Class*> blocked(waiting_.blocked().begin(), waiting_.blocked().end());
    for (WaitQueue::Class* in : blocked) {
      const bool room = std::any_of(room_made_.begin(), room_made_.end(),
                                    [&](NodeId node) { return engine_.fits_now(node, in->request()); });
      if (room) waiting_.unblock(*in);
    }
  }
  if (std::exchange(moves_seen_, moves_) != moves_) {
    const std::vector<WaitQueue::Class*> blocked(waiting_.blocked().begin(), waiting_.blocked().end());
    for (WaitQueue::Class* in : blocked) {
      if (in->minds_pods() && in->moves_seen != moves_) waiting_.unblock(*in);
    }
  }
  room_made_.clear();
}

// A job that nothing could be placed of for too long, though it is first of its class.
bool Core::Impl::overdue(const WaitQueue::Class& in) const {
  if (in.jobs.empty()) return false;
  const Job& first = *cluster_.job(in.jobs.begin()->job);
  return first.counts.live() == 0 && first.submitted_at <= now_ - options_.overtaking_ends_after_ms * 1000;
}

// Overdue jobs that come before `upto` keep the nodes that could hold them from all that come after.
void Core::Impl::apply_holds(const WaitKey& upto) {
  for (auto it = overdue_.begin(); it != overdue_.end();) {
    if (!(*(*it)->jobs.begin() < upto)) {
      ++it;
      continue;
    }
    engine_.hold_for((*it)->request());
    holds_applied_ = true;
    it = overdue_.erase(it);
  }
}

void Core::Impl::run_pass() {
  unblock_for_room();
  pass_unfinished_ = false;
  overdue_.clear();
  if (waiting_.head()) {
    for (const WaitQueue::Class* in : waiting_.blocked()) {
      if (overdue(*in)) overdue_.push_back(in);
    }
  }
  std::uint32_t budget = kBindsPerTurn;
  while (const auto head = waiting_.head()) {
    if (budget == 0) {
      pass_unfinished_ = true;
      break;
    }
    if (!overdue_.empty()) apply_holds(head->key);
    if (!place_from(*head, budget)) {
      head->in->moves_seen = moves_;
      waiting_.block(*head->in);
      if (holds_applied_) retry_blocked_ = true;
      if (overdue(*head->in)) overdue_.push_back(head->in);
    }
  }
  if (holds_applied_) engine_.drop_holds();
  holds_applied_ = false;
  // What was placed may be what others waited for.
  if (moves_ != moves_seen_) {
    pass_unfinished_ |=
        std::any_of(waiting_.blocked().begin(), waiting_.blocked().end(),
                    [&](const WaitQueue::Class* in) { return in->minds_pods() && in->moves_seen != moves_; });
  }
}

// Places what it can of the first job; false if its class found no room.
bool Core::Impl::place_from(WaitQueue::Head head, std::uint32_t& budget) {
  const Job& job = *cluster_.job(head.key.job);
  if (job.spec.kind == JobKind::kGang) {
    if (!place_gang(job)) return false;
    budget -= std::min(budget, job.spec.elements.size());
    enqueue(job);
    return true;
  }
  const std::uint32_t wanted = std::min(throttle_room(job), budget);
  const std::uint32_t placed = place_some(job, wanted);
  budget -= placed;
  enqueue(job);
  return placed == wanted;
}

bool Core::Impl::place_gang(const Job& job) {
  std::vector<placement::Placed> places;
  if (!engine_.place_gang(job.spec.request, job.spec.elements.size(), job.spec.distinct_nodes, places)) return false;
  std::vector<std::uint32_t> elements(places.size());
  for (std::uint32_t e = 0; e < elements.size(); ++e) elements[e] = e;
  bind(job, elements, places);
  return true;
}

std::uint32_t Core::Impl::place_some(const Job& job, std::uint32_t wanted) {
  std::vector<placement::Placed> places;
  engine_.place(job.spec.request, wanted, places);
  if (places.empty()) return 0;
  std::vector<std::uint32_t> elements;
  elements.reserve(places.size());
  for (const auto& [first, end] : job.pending.intervals()) {
    for (std::uint32_t e = first; e < end && elements.size() < places.size(); ++e) elements.push_back(e);
    if (elements.size() == places.size()) break;
  }
  bind(job, elements, places);
  return static_cast<std::uint32_t>(places.size());
}

// The binds of a turn share one event; each job's are applied at once, since the next decision builds on them.
void Core::Impl::bind(const Job& job, const std::vector<std::uint32_t>& elements,
                      const std::vector<placement::Placed>& places) {
  PodsBound bound;
  bound.binds.reserve(places.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    const PodRef ref{{job.id, elements[i]}, Cluster::next_attempt(job, elements[i])};
    bound.binds.push_back({ref, places[i].node, places[i].gpu_mask});
  }
  waiting_pods_ -= bound.binds.size();
  if (!job.spec.request.labels.empty() || !job.spec.request.rules.empty()) ++moves_;
  emit(std::move(bound));
  if (!watchers_.empty() && watchers_.contains(job.id)) changed_.insert(job.id);

  for (std::size_t i = 0; i < places.size(); ++i) {
    auto& orders = starts_[places[i].node].orders;
    if (orders.empty() || orders.back().job != job.id) orders.push_back(order_for(job));
    orders.back().pods.push_back(start_of(job, *cluster_.pod({job.id, elements[i]})));
  }
}

void Core::Impl::send_starts() {
  for (auto& [node, starts] : starts_) {
    const std::uint64_t session = session_of(node);
    // Nodes are placed on only while connected, and nothing disconnects them within the pass.
    if (session != 0) effects_.push_back(ToAgent{session, std::move(starts)});
  }
  starts_.clear();
}

}  // namespace berth::scheduler
