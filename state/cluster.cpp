// What the cluster knows, and the events of nodes, queues and tokens. Those of jobs and pods are in cluster_jobs.cpp.
#include "state/cluster.h"

#include "state/apply_error.h"

namespace berth::state {

// ---- lookups --------------------------------------------------------------------------------------------------------

Cluster::Cluster() { queues_.emplace("default", Queue{"default", 0, 0, {}, {}, 0, 0, {}, {}}); }
Cluster::Cluster(Cluster&&) noexcept = default;
Cluster& Cluster::operator=(Cluster&&) noexcept = default;
Cluster::~Cluster() = default;

const Job* Cluster::job(JobId id) const {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : found->second.get();
}

Job* Cluster::job_to_change(JobId id) {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : found->second.get();
}

const Job* Cluster::job_by_submit_key(std::uint64_t key) const {
  if (key == 0) return nullptr;
  const auto found = submit_keys_.find(key);
  return found == submit_keys_.end() ? nullptr : job(found->second);
}

const Pod* Cluster::pod(PodId id) const {
  const auto found = pods_.find(id);
  return found == pods_.end() ? nullptr : &found->second;
}

const Pinning* Cluster::pinning(PodId id) const {
  if (pinnings_.empty()) return nullptr;
  const auto found = pinnings_.find(id);
  return found == pinnings_.end() ? nullptr : &found->second;
}

PodState Cluster::pod_state(const Job& job, std::uint32_t element) const {
  if (const Pod* live = pod({job.id, element}); live != nullptr) return live->state;
  if (const PodOutcome* outcome = job.outcomes.find(element); outcome != nullptr) return outcome->state;
  if (job.cancelled.contains(element)) return PodState::kCancelled;
  return job.late.contains(element) ? PodState::kDeadline : PodState::kPending;
}

std::uint32_t Cluster::next_attempt(const Job& job, std::uint32_t element) {
  if (job.attempts.empty()) return 1;
  const auto used = job.attempts.find(element);
  return used == job.attempts.end() ? 1 : used->second + 1;
}

const Node* Cluster::node(NodeId id) const {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : &found->second;
}

const Node* Cluster::node_by_name(std::string_view name) const {
  const auto found = node_names_.find(name);
  return found == node_names_.end() ? nullptr : node(found->second);
}

const PodSet& Cluster::pods_of(NodeId id) const {
  static const PodSet kNone;
  const auto found = node_pods_.find(id);
  return found == node_pods_.end() ? kNone : found->second;
}

// ---- apply ----------------------------------------------------------------------------------------------------------

Status Cluster::apply(const Batch& batch) {
  if (batch.index != applied_index_ + 1) {
    return mismatch("batch " + std::to_string(batch.index) + " after batch " + std::to_string(applied_index_));
  }
  for (const Event& event : batch.events) {
    if (Status done = apply_event(event, batch.at); !done) return done;
  }
  finish_batch(batch.index, batch.at);
  return Unit{};
}

Status Cluster::apply_event(const Event& event, TimeUs at) {
  return std::visit([&](const auto& body) { return on(body, at); }, event);
}

void Cluster::finish_batch(std::uint64_t index, TimeUs at) {
  applied_index_ = index;
  applied_at_ = at;
}

Status Cluster::on(const NodeJoined& event, TimeUs at) {
  const auto found = nodes_.find(event.id);
  const auto named = node_names_.find(event.info.name);
  if (found == nodes_.end()) {
    if (event.id.value <= last_node_id_.value || named != node_names_.end())
      return mismatch("a node joins under a taken id or name");
    Node& node = nodes_[event.id];
    node.id = event.id;
    node.info = event.info;
    node.joined_at = at;
    node.subnet = event.subnet;
    node_names_.emplace(event.info.name, event.id);
    last_node_id_ = event.id;
    return Unit{};
  }
  if (named == node_names_.end() || named->second != event.id) return mismatch("a node changes its name");
  Node& node = found->second;
  node.info = event.info;
  node.subnet = event.subnet;
  if (node.state == NodeState::kLost) {
    node.state = NodeState::kUp;
    node.reason.clear();
  }
  return Unit{};
}

Status Cluster::on(const NodeStateChanged& event, TimeUs) {
  const auto found = nodes_.find(event.id);
  if (found == nodes_.end()) return mismatch("a node that changes does not exist");
  found->second.state = event.state;
  found->second.reason = event.reason;
  return Unit{};
}

Status Cluster::on(const NodeRemoved& event, TimeUs) {
  const auto found = nodes_.find(event.id);
  if (found == nodes_.end() || !pods_of(event.id).empty()) return mismatch("a removed node does not exist or has pods");
  node_names_.erase(found->second.info.name);
  node_pods_.erase(event.id);
  nodes_.erase(found);
  return Unit{};
}

Status Cluster::on(const QueueSet& event, TimeUs) {
  queues_[event.queue.name] = event.queue;
  return Unit{};
}

Status Cluster::on(const QueueRemoved& event, TimeUs) {
  if (event.name == "default") return mismatch("the queue 'default' is removed");
  return queues_.erase(event.name) == 1 ? Status(Unit{}) : Status(mismatch("a removed queue does not exist"));
}

Status Cluster::on(const LicenceSet& event, TimeUs) {
  licences_[event.licence.name] = event.licence;
  return Unit{};
}

Status Cluster::on(const LicenceRemoved& event, TimeUs) {
  return licences_.erase(event.name) == 1 ? Status(Unit{}) : Status(mismatch("a removed licence does not exist"));
}

Status Cluster::on(const AccountSet& event, TimeUs) {
  if (!event.account.parent.empty() && !accounts_.contains(event.account.parent)) {
    return mismatch("an account's parent does not exist");
  }
  accounts_[event.account.name] = event.account;
  return Unit{};
}

Status Cluster::on(const AccountRemoved& event, TimeUs) {
  for (const auto& [name, account] : accounts_) {
    if (account.parent == event.name) return mismatch("a removed account has others below it");
  }
  const auto member = members_.lower_bound({event.name, ""});
  if (member != members_.end() && member->first.first == event.name) return mismatch("a removed account has members");
  return accounts_.erase(event.name) == 1 ? Status(Unit{}) : Status(mismatch("a removed account does not exist"));
}

Status Cluster::on(const MemberSet& event, TimeUs) {
  if (!accounts_.contains(event.member.account)) return mismatch("a member's account does not exist");
  if (event.member.is_default) {
    for (auto& [key, member] : members_) {
      if (key.second == event.member.user) member.is_default = false;
    }
  }
  members_[{event.member.account, event.member.user}] = event.member;
  return Unit{};
}

Status Cluster::on(const MemberRemoved& event, TimeUs) {
  usage_.erase({event.account, event.user});
  return members_.erase({event.account, event.user}) == 1 ? Status(Unit{})
                                                          : Status(mismatch("a removed member does not exist"));
}

Status Cluster::on(const QosSet& event, TimeUs) {
  qos_[event.qos.name] = event.qos;
  return Unit{};
}

Status Cluster::on(const QosRemoved& event, TimeUs) {
  return qos_.erase(event.name) == 1 ? Status(Unit{}) : Status(mismatch("a removed quality does not exist"));
}

Status Cluster::on(const UsageNoted& event, TimeUs at) {
  for (const UsageNoted::Of& of : event.usage) usage_[{of.account, of.user}] = {of.cpu_seconds, at};
  return Unit{};
}

Status Cluster::on(const TokenAdded& event, TimeUs) {
  tokens_[event.token.id] = event.token;
  return Unit{};
}

Status Cluster::on(const TokenRemoved& event, TimeUs) {
  return tokens_.erase(event.id) == 1 ? Status(Unit{}) : Status(mismatch("a removed token does not exist"));
}

}  // namespace berth::state
