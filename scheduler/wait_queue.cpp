#include "scheduler/wait_queue.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace berth::scheduler {

using state::JobId;

WaitQueue::Class& WaitQueue::class_of(ClassKey key) {
  auto found = classes_.find(key);
  if (found != classes_.end()) return *found->second;
  if (classes_.size() >= kIdleClassesMax) {
    std::erase_if(classes_, [this](const auto& entry) {
      const auto& groups = entry.second->groups_;
      if (std::any_of(groups.begin(), groups.end(), [](const auto& g) { return !g.second.jobs.empty(); })) return false;
      drop(*entry.second);
      return true;
    });
  }
  auto made = std::make_unique<Class>();
  made->key = key;
  return *classes_.emplace(std::move(key), std::move(made)).first->second;
}

// Of a class without jobs: what knows of it forgets it.
void WaitQueue::drop(Class& which) {
  if (which.blocked) drop_blocked(which);
  for (auto& [tenant, group] : which.groups_) {
    if (group.limited) std::erase(limited_, &group);
    std::erase(groups_of_[tenant], &group);
  }
}

void WaitQueue::relist(Group& which) {
  const bool wanted = !which.jobs.empty() && !which.limited;
  const WaitKey head = wanted ? shifted(*which.jobs.begin(), which.tenant) : WaitKey{};
  if (wanted == which.listed && (!wanted || which.listed_at->first == head)) return;
  GroupHeads& heads = which.in->heads_;
  GroupHeads::node_type entry;  // moved, not made anew
  if (which.listed) entry = heads.extract(which.listed_at);
  which.listed = wanted;
  if (wanted && entry.empty()) {
    which.listed_at = heads.emplace(head, &which).first;
  } else if (wanted) {
    entry.key() = head;
    which.listed_at = heads.insert(std::move(entry)).position;
  }
  relist(*which.in);
}

void WaitQueue::relist(Class& which) {
  const bool wanted = !which.heads_.empty();
  if (wanted == which.listed && which.blocked == which.listed_blocked &&
      (!wanted || which.listed_at->first == which.head())) {
    return;
  }
  Heads::node_type entry;  // moved, not made anew
  if (which.listed) entry = (which.listed_blocked ? blocked_heads_ : heads_).extract(which.listed_at);
  which.listed = wanted;
  which.listed_blocked = which.blocked;
  if (!wanted) return;
  Heads& heads = which.blocked ? blocked_heads_ : heads_;
  if (entry.empty()) {
    which.listed_at = heads.emplace(which.head(), &which).first;
  } else {
    entry.key() = which.head();
    which.listed_at = heads.insert(std::move(entry)).position;
  }
}

void WaitQueue::add(Class& in, WaitKey key, TenantId tenant) {
  auto [found, made] = in.groups_.try_emplace(tenant);
  Group& group = found->second;
  if (made) {
    group.in = &in;
    group.tenant = tenant;
    if (tenant >= groups_of_.size()) groups_of_.resize(tenant + 1);
    groups_of_[tenant].push_back(&group);
  }
  if (!where_.emplace(key.job, Where{&group, key}).second) return;
  group.jobs.insert(key);
  relist(group);
}

void WaitQueue::remove(JobId job) {
  const auto found = where_.find(job);
  if (found == where_.end()) return;
  Group& group = *found->second.group;
  group.jobs.erase(found->second.key);
  where_.erase(found);
  relist(group);
}

const WaitQueue::Class* WaitQueue::waiting_in(JobId job) const {
  const auto found = where_.find(job);
  return found == where_.end() ? nullptr : found->second.group->in;
}

const WaitQueue::Group* WaitQueue::group_of(JobId job) const {
  const auto found = where_.find(job);
  return found == where_.end() ? nullptr : found->second.group;
}

std::optional<WaitKey> WaitQueue::key_of(JobId job) const {
  const auto found = where_.find(job);
  if (found == where_.end()) return std::nullopt;
  return shifted(found->second.key, found->second.group->tenant);
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

void WaitQueue::limit(Group& which) {
  if (which.limited) return;
  which.limited = true;
  limited_.push_back(&which);
  relist(which);
}

void WaitQueue::unlimit(Group& which) {
  if (!which.limited) return;
  which.limited = false;
  std::erase(limited_, &which);
  relist(which);
}

void WaitQueue::set_head_start(TenantId tenant, std::int64_t by) {
  if (tenant >= head_starts_.size()) head_starts_.resize(tenant + 1);
  if (std::exchange(head_starts_[tenant], by) == by || tenant >= groups_of_.size()) return;
  for (Group* group : groups_of_[tenant]) relist(*group);
}

void WaitQueue::clear() {
  classes_.clear();
  where_.clear();
  heads_.clear();
  blocked_heads_.clear();
  blocked_.clear();
  limited_.clear();
  groups_of_.clear();
  head_starts_.clear();
}

std::size_t WaitQueue::ahead_of(JobId job, std::size_t limit) const {
  const auto own = key_of(job);
  if (!own) return 0;
  std::size_t ahead = 0;
  for (const auto& [key, in] : classes_) {
    for (const auto& [tenant, group] : in->groups_) {
      for (const WaitKey& other : group.jobs) {
        if (shifted(other, tenant) >= *own || ahead >= limit) break;
        ++ahead;
      }
    }
  }
  return ahead;
}

std::string WaitQueue::check_invariants() const {
  std::size_t jobs = 0;
  std::size_t listed = 0, blocked = 0, in_list = 0, groups = 0, limited = 0;
  for (const auto& [key, in] : classes_) {
    std::size_t groups_listed = 0;
    for (const auto& [tenant, group] : in->groups_) {
      jobs += group.jobs.size();
      groups_listed += group.listed;
      groups += 1;
      limited += group.limited;
      if (group.in != in.get() || group.tenant != tenant) return "a group is not of its class";
      if (group.listed == (group.jobs.empty() || group.limited)) return "a group is not listed, or the other way";
      if (!group.listed) continue;
      const auto head = in->heads_.find(shifted(*group.jobs.begin(), tenant));
      if (head == in->heads_.end() || head->second != &group || head != group.listed_at) return "a group is stale";
    }
    if (groups_listed != in->heads_.size()) return "a class lists a group that is none";
    in_list += in->blocked;
    if (in->blocked && (in->blocked_at >= blocked_.size() || blocked_[in->blocked_at] != in.get())) {
      return "a blocked class is not in the list of these";
    }
    if (in->empty() == in->listed) return "a class that has jobs is not listed, or the other way";
    if (in->empty()) continue;
    ++(in->blocked ? blocked : listed);
    const auto& heads = in->blocked ? blocked_heads_ : heads_;
    const auto head = heads.find(in->head());
    if (head == heads.end() || head->second != in.get() || head != in->listed_at) return "a head is stale";
  }
  if (in_list != blocked_.size()) return "the list of blocked classes has others in it";
  std::size_t known = 0;
  for (const auto& of : groups_of_) known += of.size();
  if (groups != known || limited != limited_.size()) return "a group is in no list, or in one too many";
  if (jobs != where_.size()) return "a job waits in no class or in two";
  return listed == heads_.size() && blocked == blocked_heads_.size() ? "" : "a head belongs to no class";
}

}  // namespace berth::scheduler
