#include "scheduler/dispatcher.h"

#include <algorithm>
#include <utility>

namespace berth::scheduler {

using state::JobId;
using state::NodeId;
using state::TimeUs;

namespace {

// A promise that took a look at many nodes is kept for 20 times as long as that takes (about 0.1 µs a node), even where
// it might be made a little better.
constexpr std::uint32_t kManyNodes = 1'000;
constexpr TimeUs kKeepPerNodeUs = 2;

}  // namespace

Dispatcher::Dispatcher(const placement::Policy& placement, const QueuePolicy& policy, FairShare shares)
    : engine_(placement), policy_(&policy), tenants_(shares) {}

void Dispatcher::nodes_changed() {
  ++nodes_version_;
  ++moves_;
}

// A part of a GPU that ends gives nobody a whole one for certain.
placement::Amounts Dispatcher::amounts_of(const state::Request& request, const state::Pinning* pinning) {
  placement::Amounts amounts = placement::amounts_of(request.resources);
  if (request.gpu_share_milli != 0) amounts.gpus = 0;
  if (pinning != nullptr) amounts.cpu_milli += static_cast<std::int32_t>(pinning->idle * 1000);
  return amounts;
}

void Dispatcher::runs(NodeId node, const state::Request& request, TimeUs end, const state::Pinning* pinning) {
  if (end != 0) forecast_.add(node, end, amounts_of(request, pinning));
  if (!request.labels.empty() || !request.rules.empty()) ++moves_;
}

void Dispatcher::ended(NodeId node, const state::Request& request, std::uint64_t gpu_mask, TimeUs end,
                       const state::Pinning* pinning) {
  engine_.release(node, request, gpu_mask, pinning);
  if (end != 0) forecast_.remove(node, end, amounts_of(request, pinning));
  if (!request.labels.empty() || !request.rules.empty()) ++moves_;
  if (room_made_.empty() || room_made_.back() != node) room_made_.push_back(node);
}

void Dispatcher::wait(Job job) {
  if (queue_.contains(job.id)) return;
  const WaitKey key{-job.priority, rank(*policy_, job.shape, predictor_), job.id};
  queue_.add(queue_.class_of(std::move(job.key)), key, job.tenant);
}

void Dispatcher::judge_shares(TimeUs now) {
  tenants_judged_ = tenants_.size();
  tenants_.refresh(now, [this](TenantId tenant, TimeUs head_start) { queue_.set_head_start(tenant, head_start); });
}

// How many runs its limits allow the group's tenant to begin.
std::uint32_t Dispatcher::allowed(const WaitQueue::Group& group, std::uint32_t wanted) const {
  if (group.tenant == 0) return wanted;
  const ClassKey& key = group.in->key;
  return tenants_.room(group.tenant, Charge::of(key.request, std::max(key.gang, 1U), 1), wanted);
}

void Dispatcher::wait(const WaitKey& key, const ClassKey& in) {
  if (!queue_.contains(key.job)) queue_.add(queue_.class_of(in), key);
}

// ---- the pass -------------------------------------------------------------------------------------------------------

// Classes that found no room are tried again when a node that could now take one of their pods has had capacity come
// free; those that only a promise kept back, when that is out of date.
void Dispatcher::unblock_for_room() {
  if (std::exchange(retry_blocked_, false)) queue_.unblock_all();
  if (std::exchange(tenants_seen_, tenants_.version()) != tenants_.version()) {
    for (std::size_t i = queue_.limited().size(); i-- > 0;) {  // the order of the others stays when one goes
      WaitQueue::Group* group = queue_.limited()[i];
      if (allowed(*group, 1) != 0) queue_.unlimit(*group);
    }
  }
  const bool moved = std::exchange(moves_seen_, moves_) != moves_;
  for (std::size_t i = queue_.blocked().size(); i-- > 0;) {
    WaitQueue::Class* in = queue_.blocked()[i];
    if (in->unlicensed && in->licences_seen != licences_.version()) queue_.unblock(*in);
  }
  if ((!room_made_.empty() || moved) && !queue_.blocked().empty()) {
    std::sort(room_made_.begin(), room_made_.end());
    room_made_.erase(std::unique(room_made_.begin(), room_made_.end()), room_made_.end());
    for (std::size_t i = queue_.blocked().size(); i-- > 0;) {  // the last takes the place of one that goes
      WaitQueue::Class* in = queue_.blocked()[i];
      if (in->unlicensed) continue;
      // With what may go, even a little more room may be enough.
      const bool may = in->key.tier > lowest_preemptable_ || (in->minds_pods() && in->moves_seen != moves_) ||
                       std::any_of(room_made_.begin(), room_made_.end(),
                                   [&](NodeId node) { return engine_.fits_now(node, in->request()); });
      if (may) queue_.unblock(*in);
    }
  }
  room_made_.clear();
  if (promise_is_stale()) unblock_beside();
}

bool Dispatcher::promise_is_stale() const {
  if (!made_.tried) return false;
  const auto first = queue_.first_blocked();
  if (!first || first->key.job != made_.job || made_.passed || made_.nodes_version != nodes_version_) return true;
  return made_.version != forecast_.version() && now_ >= made_.keep_until;
}

// For as many of its pods as limits and licences allow.
void Dispatcher::try_make_room(JobId job, Starter& starter) {
  const WaitQueue::Group* group = queue_.group_of(job);
  if (group == nullptr || group->in->key.tier <= lowest_preemptable_) return;
  constexpr std::uint32_t kMany = 65'536;
  std::uint32_t most = allowed(*group, kMany);
  const auto& licences = group->in->key.request.licences;
  if (!licences.empty()) most = std::min(most, licences_.room(licences));
  if (most != 0) starter.make_room(job, ClassKey(group->in->key), most);
}

void Dispatcher::retry_tiers() {
  for (std::size_t i = queue_.blocked().size(); i-- > 0;) {
    WaitQueue::Class* in = queue_.blocked()[i];
    if (in->key.tier > lowest_preemptable_) queue_.unblock(*in);
  }
}

bool Dispatcher::unblock_beside() {
  bool any = false;
  for (std::size_t i = queue_.blocked().size(); i-- > 0;) {
    WaitQueue::Class* in = queue_.blocked()[i];
    if (!in->beside) continue;
    queue_.unblock(*in);
    any = true;
  }
  return any;
}

void Dispatcher::block(WaitQueue::Class& in, bool beside, const Starter& starter) {
  in.moves_seen = moves_;
  in.beside = beside;
  in.unlicensed = !in.request().licences.empty() && licences_.room(in.request().licences) == 0;
  in.licences_seen = licences_.version();
  queue_.block(in);
  if (in.unlicensed) return;
  if (holds_applied_) retry_blocked_ = true;
  if (overdue(in, starter)) overdue_.push_back(&in);
}

bool Dispatcher::overdue(const WaitQueue::Class& in, const Starter& starter) {
  return !in.empty() && starter.overdue(in.head().job);
}

std::optional<WaitQueue::Head> Dispatcher::next() const {
  const auto head = queue_.head();
  if (!head || !policy_->shortest_overtakes_first) return head;
  const auto first = queue_.first_blocked();
  return first && first->key < head->key ? queue_.shortest_head() : head;
}

const Plan* Dispatcher::plan_for(const WaitQueue::Head& first) {
  if (forecast_.empty()) return nullptr;
  if (!made_.tried || promise_is_stale()) {
    made_.tried = true;
    made_.passed = false;
    made_.job = first.key.job;
    made_.version = forecast_.version();
    made_.nodes_version = nodes_version_;
    const ClassKey& key = first.in->key;
    made_.possible = forecast_.earliest(engine_, key.request, std::max(key.gang, 1U), key.shape, now_, made_.plan);
    const std::uint32_t looked_at = made_.plan.candidates;
    made_.keep_until = looked_at > kManyNodes ? now_ + looked_at * kKeepPerNodeUs : now_;
    unblock_beside();  // they may do better by this one
  }
  return made_.possible ? &made_.plan : nullptr;
}

// Overdue jobs that come before `upto` keep the nodes that could hold them from all that come after.
void Dispatcher::apply_holds(const WaitKey& upto, const Starter* taking) {
  for (auto it = overdue_.begin(); it != overdue_.end();) {
    const bool now =
        !(*it)->empty() && (*it)->head() < upto && (taking == nullptr || taking->takes_room((*it)->head().job));
    if (!now) {
      ++it;
      continue;
    }
    engine_.hold_for((*it)->request());
    holds_applied_ = true;
    it = overdue_.erase(it);
  }
}

void Dispatcher::pass(TimeUs now, std::uint32_t budget, Starter& starter) {
  now_ = now;
  unblock_for_room();
  unfinished_ = false;
  overdue_.clear();
  if (queue_.head()) {
    for (const WaitQueue::Class* in : queue_.blocked()) {
      if (!in->unlicensed && overdue(*in, starter)) overdue_.push_back(in);
    }
  }
  while (true) {
    const auto head = next();
    if (!head) {
      // Who was kept back by a promise that another job has now got may do better by that one.
      if (promise_is_stale() && unblock_beside()) {
        made_.tried = false;
        continue;
      }
      break;
    }
    if (budget == 0) {
      unfinished_ = true;
      break;
    }
    const std::uint32_t may = allowed(*head->group(), budget);
    if (may == 0) {
      queue_.limit(*head->group());
      continue;
    }
    placement::Promised* beside = nullptr;
    const auto first = queue_.first_blocked();
    if (!first || head->key < first->key) {
      made_.passed = true;
    } else {
      if (!policy_->backfill) break;
      apply_holds(head->key, &starter);  // the room that is being made is for nobody else, whatever is promised
      if (const Plan* plan = starter.takes_room(first->key.job) ? nullptr : plan_for(*first); plan == nullptr) {
        apply_holds(head->key, nullptr);
      } else if (const TimeUs limit = head->in->key.limit_us; limit == 0 || now_ + limit > plan->at) {
        beside = &made_.plan.promised;
      }
    }
    if (place_from(*head, beside, may, budget, starter)) continue;
    if (const TimeUs cut = beside == nullptr ? 0 : cut_for(head->in->key, made_.plan.at); cut != 0) {
      // What could be placed of it with its whole limit has taken its part of what is allowed.
      const std::uint32_t rest = allowed(*head->group(), budget);
      if (place_from(*head, nullptr, rest, budget, starter, cut)) continue;
    }
    // What is kept back by a promise alone needs nobody to go.
    if (beside == nullptr) try_make_room(head->key.job, starter);
    block(*head->in, beside != nullptr, starter);
  }
  if (holds_applied_) engine_.drop_holds();
  holds_applied_ = false;
  // What was placed may be what others waited for.
  if (moves_ != moves_seen_) {
    unfinished_ |= std::any_of(queue_.blocked().begin(), queue_.blocked().end(), [&](const WaitQueue::Class* in) {
      return in->minds_pods() && in->moves_seen != moves_;
    });
  }
}

// With how much time it would end before what is promised for then: in whole seconds, 0 if it is too little.
TimeUs Dispatcher::cut_for(const ClassKey& key, TimeUs promised_at) const {
  constexpr TimeUs kSecond = 1'000'000;
  const TimeUs left = (promised_at - now_) / kSecond * kSecond;
  return key.least_us != 0 && left >= key.least_us ? left : 0;
}

// Places what it can of the first job; false if its class found no room.
bool Dispatcher::place_from(const WaitQueue::Head& head, placement::Promised* beside, std::uint32_t allowed,
                            std::uint32_t& budget, Starter& starter, TimeUs limit_us) {
  const ClassKey& key = head.in->key;
  places_.clear();
  engine_.drop_pinnings();
  std::uint32_t wanted = key.gang;
  std::uint32_t placed = 0;
  const auto& licences = key.request.licences;
  const std::uint32_t licensed = licences.empty() ? ~0U : licences_.room(licences);
  if (licensed == 0) return false;
  if (key.gang != 0) {
    const bool all = beside != nullptr ? engine_.place_gang(key.request, wanted, key.shape, *beside, places_)
                                       : engine_.place_gang(key.request, wanted, key.shape, places_);
    placed = all ? wanted : 0;
    if (all) licences_.take(licences, 1);
  } else {
    wanted = std::min({starter.startable(head.key.job), budget, licensed, allowed});
    placed = beside != nullptr ? engine_.place(key.request, wanted, *beside, places_)
                               : engine_.place(key.request, wanted, places_);
  }
  if (key.gang == 0) licences_.take(licences, placed);
  if (placed != 0) {
    budget -= std::min(budget, placed);
    starter.start(head.key.job, places_, limit_us);
  }
  return placed == wanted;
}

std::optional<Dispatcher::Promise> Dispatcher::promise() const {
  if (!made_.tried || !made_.possible || !queue_.contains(made_.job)) return std::nullopt;
  return Promise{made_.job, made_.plan.at};
}

std::string Dispatcher::check_invariants() const {
  if (std::string wrong = engine_.check_invariants(); !wrong.empty()) return "placement: " + wrong;
  if (std::string wrong = forecast_.check_invariants(); !wrong.empty()) return "future: " + wrong;
  if (std::string wrong = queue_.check_invariants(); !wrong.empty()) return "waiting: " + wrong;
  return "";
}

}  // namespace berth::scheduler
