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
      if (entry.second->blocked) drop_blocked(*entry.second);
      return true;
    });
  }
  auto made = std::make_unique<Class>();
  made->key = key;
  return *classes_.emplace(std::move(key), std::move(made)).first->second;
}

void WaitQueue::relist(Class& which) {
  const bool wanted = !which.jobs.empty();
  if (wanted == which.listed && which.blocked == which.listed_blocked &&
      (!wanted || which.listed_at->first == *which.jobs.begin())) {
    return;
  }
  Heads::node_type entry;  // moved, not made anew
  if (which.listed) entry = (which.listed_blocked ? blocked_heads_ : heads_).extract(which.listed_at);
  which.listed = wanted;
  which.listed_blocked = which.blocked;
  if (!wanted) return;
  Heads& heads = which.blocked ? blocked_heads_ : heads_;
  if (entry.empty()) {
    which.listed_at = heads.emplace(*which.jobs.begin(), &which).first;
  } else {
    entry.key() = *which.jobs.begin();
    which.listed_at = heads.insert(std::move(entry)).position;
  }
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
  for (const auto& [key, in] : blocked_heads_) {
    if (!in->unlicensed) return Head{key, in};
  }
  return std::nullopt;
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
  if (which.blocked) return;
  which.blocked = true;
  which.blocked_at = blocked_.size();
  blocked_.push_back(&which);
  relist(which);
}

void WaitQueue::drop_blocked(Class& which) {
  which.blocked = false;
  blocked_.back()->blocked_at = which.blocked_at;
  blocked_[which.blocked_at] = blocked_.back();
  blocked_.pop_back();
}

void WaitQueue::unblock(Class& which) {
  if (!which.blocked) return;
  drop_blocked(which);
  relist(which);
}

void WaitQueue::unblock_all() {
  while (!blocked_.empty()) unblock(*blocked_.back());
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
  std::size_t listed = 0, blocked = 0, in_list = 0;
  for (const auto& [key, in] : classes_) {
    jobs += in->jobs.size();
    in_list += in->blocked;
    if (in->blocked && (in->blocked_at >= blocked_.size() || blocked_[in->blocked_at] != in.get())) {
      return "a blocked class is not in the list of these";
    }
    if (in->jobs.empty() == in->listed) return "a class that has jobs is not listed, or the other way";
    if (in->jobs.empty()) continue;
    ++(in->blocked ? blocked : listed);
    const auto& heads = in->blocked ? blocked_heads_ : heads_;
    const auto head = heads.find(*in->jobs.begin());
    if (head == heads.end() || head->second != in.get() || head != in->listed_at) return "a head is stale";
  }
  if (in_list != blocked_.size()) return "the list of blocked classes has others in it";
  if (jobs != where_.size()) return "a job waits in no class or in two";
  return listed == heads_.size() && blocked == blocked_heads_.size() ? "" : "a head belongs to no class";
}

}  // namespace berth::scheduler
