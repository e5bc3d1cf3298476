#include "state/cluster.h"

#include <algorithm>

namespace berth::state {

namespace {

Error mismatch(std::string what) { return Error{ErrorCode::kInternal, "", "an event does not follow from the state: " + std::move(what), 0}; }

std::string text_of(const PodRef& ref) {
  return "pod " + std::to_string(ref.pod.job.value) + "." + std::to_string(ref.pod.element) + " attempt " + std::to_string(ref.attempt);
}

}  // namespace

// ---- OutcomeTable ---------------------------------------------------------------------------------------------------

const PodOutcome* OutcomeTable::find(std::uint32_t element) const {
  const std::size_t chunk = element / kChunk;
  const std::size_t place = element % kChunk;
  if (chunk >= chunks_.size() || !chunks_[chunk] || place >= chunks_[chunk]->size()) return nullptr;
  const PodOutcome& outcome = (*chunks_[chunk])[place];
  return outcome.state == PodState::kPending ? nullptr : &outcome;
}

PodOutcome& OutcomeTable::slot(std::uint32_t element) {
  const std::size_t chunk = element / kChunk;
  const std::size_t place = element % kChunk;
  if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
  if (!chunks_[chunk]) chunks_[chunk] = std::make_unique<std::vector<PodOutcome>>();
  if (place >= chunks_[chunk]->size()) chunks_[chunk]->resize(place + 1);
  return (*chunks_[chunk])[place];
}

void OutcomeTable::erase(std::uint32_t element) {
  if (find(element) != nullptr) slot(element) = PodOutcome{};
}

// ---- lookups --------------------------------------------------------------------------------------------------------

Cluster::Cluster() { queues_.emplace("default", Queue{"default", 0, 0}); }
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

PodState Cluster::pod_state(const Job& job, std::uint32_t element) const {
  if (const Pod* live = pod({job.id, element}); live != nullptr) return live->state;
  if (const PodOutcome* outcome = job.outcomes.find(element); outcome != nullptr) return outcome->state;
  return job.cancelled.contains(element) ? PodState::kCancelled : PodState::kPending;
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

const std::set<PodId>& Cluster::pods_of(NodeId id) const {
  static const std::set<PodId> kNone;
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

void Cluster::count(Job& job, PodState from, PodState to, std::uint32_t pods) {
  job.counts.by_state[static_cast<std::size_t>(from)] -= pods;
  job.counts.by_state[static_cast<std::size_t>(to)] += pods;
}

void Cluster::end_if_done(Job& job, TimeUs at) {
  if (job.active() || job.ended_at != 0) return;
  job.ended_at = at;
  ended_jobs_.emplace(at, job.id);
  ended_pods_ += job.spec.elements.size();
}

Status Cluster::on(const JobSubmitted& event, TimeUs at) {
  if (event.id.value != last_job_id_.value + 1) return mismatch("job " + std::to_string(event.id.value) + " is out of order");
  const std::uint32_t size = event.spec.elements.size();
  if (size == 0) return mismatch("a job without elements");
  auto job = std::make_unique<Job>();
  job->id = event.id;
  job->owner = event.owner;
  job->spec = event.spec;
  job->submit_key = event.submit_key;
  job->submitted_at = at;
  job->counts.by_state[static_cast<std::size_t>(PodState::kPending)] = size;
  job->pending.insert(0, size);
  if (event.submit_key != 0) submit_keys_.emplace(event.submit_key, event.id);
  last_job_id_ = event.id;
  jobs_.emplace_hint(jobs_.end(), event.id, std::move(job));
  return Unit{};
}

Status Cluster::on(const ElementsCancelled& event, TimeUs at) {
  Job* job = job_to_change(event.job);
  if (job == nullptr) return mismatch("a cancelled job does not exist");
  for (const ElementRange& range : event.elements) {
    const std::uint32_t before = job->pending.size();
    if (range.first >= range.end || range.end > job->spec.elements.size()) return mismatch("cancelled elements out of range");
    job->pending.erase(range.first, range.end);
    if (before - job->pending.size() != range.end - range.first) return mismatch("a cancelled element did not wait");
    job->cancelled.insert(range.first, range.end);
    count(*job, PodState::kPending, PodState::kCancelled, range.end - range.first);
  }
  end_if_done(*job, at);
  return Unit{};
}

Status Cluster::on(const PodsBound& event, TimeUs at) {
  Job* job = nullptr;
  for (const Bind& bind : event.binds) {
    const PodId id = bind.ref.pod;
    if (job == nullptr || job->id != id.job) job = job_to_change(id.job);
    if (job == nullptr || !nodes_.contains(bind.node) || !job->pending.contains(id.element) ||
        next_attempt(*job, id.element) != bind.ref.attempt) {
      return mismatch(text_of(bind.ref) + " cannot be bound");
    }
    job->pending.erase(id.element, id.element + 1);
    Pod pod;
    pod.ref = bind.ref;
    pod.node = bind.node;
    pod.gpu_mask = bind.gpu_mask;
    pod.bound_at = at;
    pods_.emplace(id, pod);
    node_pods_[bind.node].insert(id);
    count(*job, PodState::kPending, PodState::kBound, 1);
  }
  return Unit{};
}

Status Cluster::on(const PodsStarted& event, TimeUs) {
  for (const PodStart& start : event.starts) {
    const auto found = pods_.find(start.ref.pod);
    if (found == pods_.end() || found->second.ref != start.ref) return mismatch(text_of(start.ref) + " is not live");
    if (found->second.state == PodState::kRunning) continue;
    Job& job = *job_to_change(start.ref.pod.job);
    found->second.state = PodState::kRunning;
    found->second.started_at = start.started_at;
    if (job.first_started_at == 0) job.first_started_at = start.started_at;
    count(job, PodState::kBound, PodState::kRunning, 1);
  }
  return Unit{};
}

Status Cluster::on(const PodsStopping& event, TimeUs) {
  for (const PodStop& stop : event.stops) {
    const auto found = pods_.find(stop.ref.pod);
    if (found == pods_.end() || found->second.ref != stop.ref) return mismatch(text_of(stop.ref) + " is not live");
    if (!is_final(stop.stop_state)) return mismatch(text_of(stop.ref) + " is to stop with a state that is not final");
    found->second.stopping = true;
    found->second.stop_state = stop.stop_state;
  }
  return Unit{};
}

std::uint16_t Cluster::intern(Job& job, const std::string& message) {
  constexpr std::size_t kMessagesMax = 1000;
  if (message.empty()) return 0;
  if (job.messages.empty()) job.messages.emplace_back();
  const auto found = std::find(job.messages.begin() + 1, job.messages.end(), message);
  if (found != job.messages.end()) return static_cast<std::uint16_t>(found - job.messages.begin());
  if (job.messages.size() >= kMessagesMax) return 0;
  job.messages.push_back(message);
  return static_cast<std::uint16_t>(job.messages.size() - 1);
}

Status Cluster::on(const PodsEnded& event, TimeUs at) {
  for (const PodEnd& end : event.ends) {
    const PodId id = end.ref.pod;
    const auto found = pods_.find(id);
    if (found == pods_.end() || found->second.ref != end.ref) return mismatch(text_of(end.ref) + " is not live");
    if (!end.requeue && !is_final(end.outcome.state)) return mismatch(text_of(end.ref) + " ends in a state that is not final");
    Job& job = *job_to_change(id.job);
    const PodState before = found->second.state;
    node_pods_[found->second.node].erase(id);
    pods_.erase(found);
    if (job.first_started_at == 0) job.first_started_at = end.outcome.started_at;
    if (end.requeue) {
      job.attempts[id.element] = end.ref.attempt;
      job.pending.insert(id.element, id.element + 1);
      count(job, before, PodState::kPending, 1);
      continue;
    }
    PodOutcome& outcome = job.outcomes.slot(id.element);
    outcome = end.outcome;
    outcome.message = intern(job, end.message);
    count(job, before, outcome.state, 1);
    end_if_done(job, at);
  }
  return Unit{};
}

Status Cluster::on(const PodsAdopted& event, TimeUs at) {
  for (const PodsAdopted::Adopted& adopted : event.pods) {
    const PodId id = adopted.ref.pod;
    Job* job = job_to_change(id.job);
    if (job == nullptr || !nodes_.contains(adopted.node) || !job->pending.contains(id.element) || adopted.ref.attempt == 0 ||
        next_attempt(*job, id.element) != adopted.ref.attempt + 1) {
      return mismatch(text_of(adopted.ref) + " cannot be adopted");
    }
    job->pending.erase(id.element, id.element + 1);
    if (adopted.ref.attempt == 1) {
      job->attempts.erase(id.element);
    } else {
      job->attempts[id.element] = adopted.ref.attempt - 1;
    }
    Pod pod;
    pod.ref = adopted.ref;
    pod.node = adopted.node;
    pod.state = PodState::kRunning;
    pod.gpu_mask = adopted.gpu_mask;
    pod.bound_at = at;
    pod.started_at = adopted.started_at;
    pods_.emplace(id, pod);
    node_pods_[adopted.node].insert(id);
    count(*job, PodState::kPending, PodState::kRunning, 1);
  }
  return Unit{};
}

Status Cluster::on(const JobsForgotten& event, TimeUs) {
  for (const JobId id : event.jobs) {
    const auto found = jobs_.find(id);
    if (found == jobs_.end() || found->second->ended_at == 0) return mismatch("job " + std::to_string(id.value) + " has not ended");
    const Job& job = *found->second;
    ended_jobs_.erase({job.ended_at, id});
    ended_pods_ -= job.spec.elements.size();
    if (const auto key = submit_keys_.find(job.submit_key); key != submit_keys_.end() && key->second == id) submit_keys_.erase(key);
    jobs_.erase(found);
  }
  return Unit{};
}

Status Cluster::on(const NodeJoined& event, TimeUs at) {
  const auto found = nodes_.find(event.id);
  const auto named = node_names_.find(event.info.name);
  if (found == nodes_.end()) {
    if (event.id.value <= last_node_id_.value || named != node_names_.end()) return mismatch("a node joins under a taken id or name");
    Node& node = nodes_[event.id];
    node.id = event.id;
    node.info = event.info;
    node.joined_at = at;
    node_names_.emplace(event.info.name, event.id);
    last_node_id_ = event.id;
    return Unit{};
  }
  if (named == node_names_.end() || named->second != event.id) return mismatch("a node changes its name");
  Node& node = found->second;
  node.info = event.info;
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
  return queues_.erase(event.name) == 1 ? Status(Unit{}) : Status(mismatch("a removed queue does not exist"));
}

Status Cluster::on(const TokenAdded& event, TimeUs) {
  tokens_[event.token.id] = event.token;
  return Unit{};
}

Status Cluster::on(const TokenRemoved& event, TimeUs) {
  return tokens_.erase(event.id) == 1 ? Status(Unit{}) : Status(mismatch("a removed token does not exist"));
}

}  // namespace berth::state
