#include "placement/neighbours.h"

#include <algorithm>

namespace berth::placement {

using state::PodRule;
using state::Request;

// How many pods that matter are in each domain: those that a selector chooses, or (carriers) those that have a rule to
// keep apart from what the selector chooses.
struct Neighbours::Counter {
  Domains* domains = nullptr;
  std::string selector;
  state::Condition condition;
  bool carriers = false;
  std::vector<std::uint32_t> pods;  // by domain
  std::uint64_t total = 0;
  std::map<std::uint32_t, std::uint32_t> domains_with;  // so many pods; of domains that have nodes
  Mask occupied, unoccupied;                            // nodes of domains with such pods, and all others
  std::map<std::uint32_t, Mask> at_most;                // nodes of domains with so many pods or fewer; as asked for

  std::uint32_t pods_in(std::uint32_t domain) const { return domain < pods.size() ? pods[domain] : 0; }
};

Neighbours::Neighbours() = default;
Neighbours::~Neighbours() = default;

// ---- nodes and domains ----------------------------------------------------------------------------------------------

bool Neighbours::has_nodes(const Domains& domains, std::uint32_t domain) {
  return domains.by_node ? domains.with.test(domain) : domains.nodes[domain].count() != 0;
}

void Neighbours::flip(Mask& mask, const Domains& domains, std::uint32_t domain, bool in) {
  if (domains.by_node) {
    if (domains.with.test(domain)) mask.set(domain, in);
  } else if (const auto& slots = domains.slots[domain]; slots.size() < domains.nodes[domain].words()) {
    for (const std::uint32_t slot : slots) mask.set(slot, in);
  } else {
    mask.flip(domains.nodes[domain], in);
  }
}

Neighbours::Domains& Neighbours::domains_of(const std::string& key) {
  auto& domains = domains_[key];
  if (domains) return *domains;
  domains = std::make_unique<Domains>();
  domains->key = key;
  domains->by_node = key == "node";
  for (std::size_t slot = 0; slot < words_.size(); ++slot) {
    if (present_[slot]) enter(*domains, slot);
  }
  return *domains;
}

void Neighbours::place_in(Domains& domains, std::size_t slot) {
  if (domains.of_slot.size() <= slot) domains.of_slot.resize(slot + 1, kNowhere);
  std::uint32_t& domain = domains.of_slot[slot];
  domain = kNowhere;
  if (domains.by_node) {
    domain = static_cast<std::uint32_t>(slot);
    return;
  }
  const std::string start = domains.key + "=";
  const auto found = std::lower_bound(words_[slot].begin(), words_[slot].end(), start);
  if (found == words_[slot].end() || !found->starts_with(start)) return;
  const auto [at, made] = domains.ids.try_emplace(*found, static_cast<std::uint32_t>(domains.ids.size()));
  if (made) {
    domains.nodes.emplace_back();
    domains.slots.emplace_back();
  }
  domain = at->second;
}

void Neighbours::enter(Domains& domains, std::size_t slot) {
  place_in(domains, slot);
  const std::uint32_t domain = domains.of_slot[slot];
  const bool first = domain != kNowhere && !has_nodes(domains, domain);
  (domain == kNowhere ? domains.without : domains.with).set(slot, true);
  if (domain != kNowhere && !domains.by_node) {
    domains.nodes[domain].set(slot, true);
    domains.slots[domain].push_back(static_cast<std::uint32_t>(slot));
  }
  for (auto& [key, counter] : counters_) {
    if (counter->domains != &domains) continue;
    const std::uint32_t pods = domain == kNowhere ? 0 : counter->pods_in(domain);
    (pods != 0 ? counter->occupied : counter->unoccupied).set(slot, true);
    if (domain == kNowhere) continue;
    if (first) ++counter->domains_with[pods];
    for (auto& [level, mask] : counter->at_most) mask.set(slot, pods <= level);
  }
}

void Neighbours::leave(Domains& domains, std::size_t slot) {
  const std::uint32_t domain = domains.of_slot[slot];
  domains.without.set(slot, false);
  domains.with.set(slot, false);
  if (domain != kNowhere && !domains.by_node) {
    domains.nodes[domain].set(slot, false);
    std::erase(domains.slots[domain], static_cast<std::uint32_t>(slot));
  }
  for (auto& [key, counter] : counters_) {
    if (counter->domains != &domains) continue;
    counter->occupied.set(slot, false);
    counter->unoccupied.set(slot, false);
    for (auto& [level, mask] : counter->at_most) mask.set(slot, false);
    if (domain == kNowhere || has_nodes(domains, domain)) continue;
    const auto with = counter->domains_with.find(counter->pods_in(domain));
    if (--with->second == 0) counter->domains_with.erase(with);
  }
}

void Neighbours::set_node(std::size_t slot, const std::vector<std::string>& words) {
  if (words_.size() <= slot) {
    words_.resize(slot + 1);
    present_.resize(slot + 1);
  }
  if (present_[slot] && words_[slot] == words) return;
  if (present_[slot]) {
    count_residents(slot, -1);
    for (auto& [key, domains] : domains_) leave(*domains, slot);
  }
  words_[slot] = words;
  present_[slot] = true;
  for (auto& [key, domains] : domains_) enter(*domains, slot);
  count_residents(slot, 1);
}

void Neighbours::remove_node(std::size_t slot) {
  if (slot >= words_.size() || !present_[slot]) return;
  count_residents(slot, -1);
  if (const auto found = residents_.find(slot); found != residents_.end()) {
    for (const Resident& resident : found->second) resident.group->pods -= resident.pods;
    residents_.erase(found);
  }
  for (auto& [key, domains] : domains_) leave(*domains, slot);
  present_[slot] = false;
  words_[slot].clear();
}

// ---- pods -----------------------------------------------------------------------------------------------------------

bool Neighbours::matters(const Counter& counter, const Group& group) {
  if (!counter.carriers) return !group.labels.empty() && counter.condition.holds("", group.labels);
  return std::any_of(group.rules.begin(), group.rules.end(), [&](const PodRule& rule) {
    return rule.kind == PodRule::Kind::kApart && !rule.soft && rule.selector == counter.selector &&
           rule.domain == counter.domains->key;
  });
}

void Neighbours::count(Counter& counter, std::size_t slot, std::int64_t change) {
  Domains& domains = *counter.domains;
  const std::uint32_t domain = domains.of_slot[slot];
  if (domain == kNowhere || change == 0) return;
  if (counter.pods.size() <= domain) counter.pods.resize(domain + 1);
  const std::uint32_t before = counter.pods[domain];
  const auto after = static_cast<std::uint32_t>(before + change);
  counter.pods[domain] = after;
  counter.total = static_cast<std::uint64_t>(static_cast<std::int64_t>(counter.total) + change);
  if (!has_nodes(domains, domain)) return;
  if (const auto with = counter.domains_with.find(before); --with->second == 0) counter.domains_with.erase(with);
  ++counter.domains_with[after];
  if ((before == 0) != (after == 0)) {
    flip(counter.occupied, domains, domain, after != 0);
    flip(counter.unoccupied, domains, domain, after == 0);
  }
  for (auto& [level, mask] : counter.at_most) {
    if ((before <= level) != (after <= level)) flip(mask, domains, domain, after <= level);
  }
}

void Neighbours::count_residents(std::size_t slot, std::int64_t sign) {
  const auto found = residents_.find(slot);
  if (found == residents_.end()) return;
  for (const Resident& resident : found->second) {
    refresh(*resident.group);
    for (Counter* counter : resident.group->counters) count(*counter, slot, sign * resident.pods);
  }
}

Neighbours::Group& Neighbours::group_of(const Request& request) {
  if (last_group_ != nullptr && last_group_->labels == request.labels && last_group_->rules == request.rules) {
    return *last_group_;
  }
  last_group_ = nullptr;
  if (groups_.size() > kGroupsKept) std::erase_if(groups_, [](const auto& entry) { return entry.second->pods == 0; });
  auto& group = groups_[{request.labels, request.rules}];
  if (!group) {
    group = std::make_unique<Group>();
    group->labels = request.labels;
    group->rules = request.rules;
  }
  last_group_ = group.get();
  return *group;
}

void Neighbours::refresh(Group& group) {
  if (group.version == version_) return;
  for (const PodRule& rule : group.rules) {
    // May be new: then it counts whoever is there, and changes the version.
    if (rule.kind == PodRule::Kind::kApart && !rule.soft) counter_for(rule.selector, rule.domain, true);
  }
  group.counters.clear();
  for (auto& [key, counter] : counters_) {
    if (matters(*counter, group)) group.counters.push_back(counter.get());
  }
  group.version = version_;
}

void Neighbours::add(std::size_t slot, const Request& request, int pods) {
  if (request.labels.empty() && request.rules.empty()) return;
  if (slot >= words_.size() || !present_[slot]) return;
  Group& group = group_of(request);
  refresh(group);
  auto& here = residents_[slot];
  auto resident = std::find_if(here.begin(), here.end(), [&](const Resident& r) { return r.group == &group; });
  if (resident == here.end()) {
    if (pods < 0) return;  // of before the node was removed
    here.push_back({&group, 0});
    resident = here.end() - 1;
  }
  if (pods < 0) pods = -static_cast<int>(std::min<std::uint32_t>(resident->pods, static_cast<std::uint32_t>(-pods)));
  resident->pods = static_cast<std::uint32_t>(static_cast<std::int64_t>(resident->pods) + pods);
  group.pods = static_cast<std::uint64_t>(static_cast<std::int64_t>(group.pods) + pods);
  for (Counter* counter : group.counters) count(*counter, slot, pods);
  if (resident->pods == 0) {
    here.erase(resident);
    if (here.empty()) residents_.erase(slot);
  }
}

// ---- rules ----------------------------------------------------------------------------------------------------------

Neighbours::Counter& Neighbours::counter_for(const std::string& selector, const std::string& domain, bool carriers) {
  const std::tuple key(selector, domain, carriers);
  if (const auto found = counters_.find(key); found != counters_.end()) return *found->second;
  Domains& domains = domains_of(domain);
  auto made = std::make_unique<Counter>();
  made->domains = &domains;
  made->selector = selector;
  if (auto condition = state::Condition::parse(selector, "selector")) made->condition = std::move(*condition);
  made->carriers = carriers;
  made->unoccupied.flip(domains.with, true);
  made->unoccupied.flip(domains.without, true);
  const std::size_t count_of = domains.by_node ? words_.size() : domains.nodes.size();
  for (std::uint32_t d = 0; d < count_of; ++d) made->domains_with[0] += has_nodes(domains, d) ? 1 : 0;
  if (made->domains_with[0] == 0) made->domains_with.clear();
  Counter& counter = *made;
  counters_.emplace(key, std::move(made));
  for (const auto& [slot, residents] : residents_) {
    for (const Resident& resident : residents) {
      if (matters(counter, *resident.group)) count(counter, slot, resident.pods);
    }
  }
  ++version_;
  return counter;
}

void Neighbours::uses(const Request& request, std::vector<Use>& out) {
  out.clear();
  if (counters_.size() > kCountersKept) {
    std::erase_if(counters_, [](const auto& entry) { return entry.second->total == 0; });
    ++version_;
  }
  for (const PodRule& rule : request.rules) {
    Counter& counter = counter_for(rule.selector, rule.domain, false);
    const bool own_kind = !request.labels.empty() && counter.condition.holds("", request.labels);
    out.push_back({&counter, rule.kind, rule.skew, rule.soft, own_kind});
  }
  if (request.labels.empty()) return;
  for (auto& [key, counter] : counters_) {
    if (!counter->carriers || !counter->condition.holds("", request.labels)) continue;
    out.push_back({counter.get(), PodRule::Kind::kApart, 0, false, false});
  }
}

const Mask* Neighbours::allowed(const Use& use) {
  Counter& counter = *use.counter;
  switch (use.kind) {
    case PodRule::Kind::kApart:
      return &counter.unoccupied;
    case PodRule::Kind::kTogether:
      return counter.total == 0 && use.own_kind ? &counter.domains->with : &counter.occupied;
    case PodRule::Kind::kSpread:
      break;
  }
  // One that counts itself may be one more than the others; one that does not, as many.
  const std::uint32_t fewest = counter.domains_with.empty() ? 0 : counter.domains_with.begin()->first;
  const std::uint32_t level = fewest + use.skew - (use.own_kind ? 1 : 0);
  if (const auto found = counter.at_most.find(level); found != counter.at_most.end()) return &found->second;
  if (counter.at_most.size() >= kLevelsKept) counter.at_most.erase(counter.at_most.begin());
  Mask& mask = counter.at_most[level];
  const Domains& domains = *counter.domains;
  const std::size_t count_of = domains.by_node ? words_.size() : domains.nodes.size();
  for (std::uint32_t d = 0; d < count_of; ++d) {
    if (counter.pods_in(d) <= level) flip(mask, domains, d, true);
  }
  return &mask;
}

std::string Neighbours::words_for(const Use& use) const {
  const Counter& counter = *use.counter;
  const std::string by = " by " + counter.domains->key;
  if (counter.carriers) return "pods that keep apart from " + counter.selector + by;
  switch (use.kind) {
    case PodRule::Kind::kApart:
      return "apart from " + counter.selector + by;
    case PodRule::Kind::kTogether:
      return "together with " + counter.selector + by;
    case PodRule::Kind::kSpread:
      break;
  }
  return "spread of " + counter.selector + by;
}

std::string Neighbours::check() const {
  for (const auto& [key, counter] : counters_) {
    const Domains& domains = *counter->domains;
    std::map<std::uint32_t, std::uint32_t> pods;
    std::uint64_t total = 0;
    for (const auto& [slot, residents] : residents_) {
      for (const Resident& resident : residents) {
        if (!matters(*counter, *resident.group) || domains.of_slot[slot] == kNowhere) continue;
        pods[domains.of_slot[slot]] += resident.pods;
        total += resident.pods;
      }
    }
    const std::string where = counter->selector + " by " + domains.key + ": ";
    if (total != counter->total) return where + "the total is wrong";
    for (std::size_t slot = 0; slot < words_.size(); ++slot) {
      const std::uint32_t domain = present_[slot] ? domains.of_slot[slot] : kNowhere;
      const std::uint32_t here = domain == kNowhere ? 0 : pods[domain];
      if (domain != kNowhere && counter->pods_in(domain) != here) return where + "a domain's pods are miscounted";
      if (counter->occupied.test(slot) != (present_[slot] && here != 0)) return where + "a node is wrongly occupied";
      if (counter->unoccupied.test(slot) != (present_[slot] && here == 0)) return where + "a node is wrongly free";
      for (const auto& [level, mask] : counter->at_most) {
        if (mask.test(slot) != (domain != kNowhere && here <= level)) return where + "a level has the wrong nodes";
      }
    }
  }
  return "";
}

}  // namespace berth::placement
