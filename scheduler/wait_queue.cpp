#include "scheduler/wait_queue.h"

#include <limits>
#include <string>

namespace berth::scheduler {

using state::JobId;

WaitQueue::Class& WaitQueue::class_of(ClassKey key) {
  auto found = classes_.find(key);
  if (found != classes_.end()) return *found->second;
  if (classes_.size() >= kIdleClassesMax) {
    std::erase_if(classes_, [this](const auto& entry) {
      if (!entry.second->jobs.empty()) return false;
      blocked_.erase(entry.second.get());
      return true;
    });
  }
  auto made = std::make_unique<Class>();
  made->key = key;
  return *classes_.emplace(std::move(key), std::move(made)).first->second;
}

void WaitQueue::relist(Class& which) {
  std::optional<WaitKey> wanted;
  if (!which.jobs.empty()) wanted = *which.jobs.begin();
  if (wanted == which.listed && which.blocked == which.listed_blocked) return;
  if (which.listed) (which.listed_blocked ? blocked_heads_ : heads_).erase(*which.listed);
  which.listed = wanted;
  which.listed_blocked = which.blocked;
  if (wanted) (which.blocked ? blocked_heads_ : heads_).emplace(*wanted, &which);
}

void WaitQueue::add(Class& in, WaitKey key) {
  if (!where_.emplace(key.job, Where{&in, key}).second) return;
  in.jobs.insert(key);
  relist(in);
}

void WaitQueue::remove(JobId job) {
  const auto found = where_.find(job);
  if (found == where_.end()) return;
  Class& in = *found->second.in;
  in.jobs.erase(found->second.key);
  where_.erase(found);
  relist(in);
}

const WaitQueue::Class* WaitQueue::waiting_in(JobId job) const {
  const auto found = where_.find(job);
  return found == where_.end() ? nullptr : found->second.in;
}

std::optional<WaitKey> WaitQueue::key_of(JobId job) const {
  const auto found = where_.find(job);
  if (found == where_.end()) return std::nullopt;
  return found->second.key;
}

std::optional<WaitQueue::Head> WaitQueue::head() const {
  if (heads_.empty()) return std::nullopt;
  return Head{heads_.begin()->first, heads_.begin()->second};
}

std::optional<WaitQueue::Head> WaitQueue::first_blocked() const {
  if (blocked_heads_.empty()) return std::nullopt;
  return Head{blocked_heads_.begin()->first, blocked_heads_.begin()->second};
}

std::optional<WaitQueue::Head> WaitQueue::shortest_head() const {
  constexpr auto limit_of = [](const Class* in) {
    return in->key.limit_us == 0 ? std::numeric_limits<state::TimeUs>::max() : in->key.limit_us;
  };
  std::optional<Head> shortest;
  for (const auto& [key, in] : heads_) {
    if (!shortest || limit_of(in) < limit_of(shortest->in)) shortest = Head{key, in};
  }
  return shortest;
}

void WaitQueue::block(Class& which) {
  which.blocked = true;
  blocked_.insert(&which);
  relist(which);
}

void WaitQueue::unblock(Class& which) {
  which.blocked = false;
  blocked_.erase(&which);
  relist(which);
}

void WaitQueue::unblock_all() {
  while (!blocked_.empty()) unblock(**blocked_.begin());
}

void WaitQueue::clear() {
  classes_.clear();
  where_.clear();
  heads_.clear();
  blocked_heads_.clear();
  blocked_.clear();
}

std::size_t WaitQueue::ahead_of(JobId job, std::size_t limit) const {
  const auto own = key_of(job);
  if (!own) return 0;
  std::size_t ahead = 0;
  for (const auto& [key, in] : classes_) {
    for (const WaitKey& other : in->jobs) {
      if (other >= *own || ahead >= limit) break;
      ++ahead;
    }
  }
  return ahead;
}

std::string WaitQueue::check_invariants() const {
  std::size_t jobs = 0;
  std::size_t listed = 0, blocked = 0;
  for (const auto& [key, in] : classes_) {
    jobs += in->jobs.size();
    if (in->blocked != blocked_.contains(in.get())) return "a class is blocked and not in the set, or the other way";
    if (in->jobs.empty() == in->listed.has_value()) return "a class that has jobs is not listed, or the other way";
    if (in->jobs.empty()) continue;
    ++(in->blocked ? blocked : listed);
    const auto& heads = in->blocked ? blocked_heads_ : heads_;
    const auto head = heads.find(*in->listed);
    if (*in->listed != *in->jobs.begin() || head == heads.end() || head->second != in.get()) return "a head is stale";
  }
  if (jobs != where_.size()) return "a job waits in no class or in two";
  return listed == heads_.size() && blocked == blocked_heads_.size() ? "" : "a head belongs to no class";
}

}  // namespace berth::scheduler
