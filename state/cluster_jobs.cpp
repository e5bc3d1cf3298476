// The events of jobs and pods.
#include <algorithm>

#include "state/apply_error.h"
#include "state/cluster.h"

namespace berth::state {

namespace {

std::string text_of(const PodRef& ref) {
  return "pod " + std::to_string(ref.pod.job.value) + "." + std::to_string(ref.pod.element) + " attempt " +
         std::to_string(ref.attempt);
}

}  // namespace

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
  if (event.id.value != last_job_id_.value + 1)
    return mismatch("job " + std::to_string(event.id.value) + " is out of order");
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
  for (std::uint32_t i = 0; i < job->spec.depends.size(); ++i) {
    const Dependency& on = job->spec.depends[i];
    if (on.kind != Dependency::Kind::kAfterCorr || on.state != Dependency::State::kOpen) continue;
    if (job->corresponding == nullptr) job->corresponding = std::make_unique<Job::Corresponding>();
    job->corresponding->open[i].insert(0, size);
  }
  // Keys are chosen by clients; where two collide, the first keeps it.
  if (event.submit_key != 0 && !submit_keys_.emplace(event.submit_key, event.id).second) job->submit_key = 0;
  last_job_id_ = event.id;
  if (Job* of = job->spec.is_step() ? job_to_change(job->spec.step_of) : nullptr; of != nullptr) {
    of->next_step = std::max(of->next_step, job->spec.step.number + 1);
  }
  jobs_.emplace_hint(jobs_.end(), event.id, std::move(job));
  return Unit{};
}

Status Cluster::on(const ElementsCancelled& event, TimeUs at) {
  Job* job = job_to_change(event.job);
  if (job == nullptr) return mismatch("a cancelled job does not exist");
  for (const ElementRange& range : event.elements) {
    const std::uint32_t before = job->pending.size();
    if (range.first >= range.end || range.end > job->spec.elements.size())
      return mismatch("cancelled elements out of range");
    job->pending.erase(range.first, range.end);
    if (before - job->pending.size() != range.end - range.first) return mismatch("a cancelled element did not wait");
    if (job->corresponding != nullptr) {
      Job::Corresponding& of = *job->corresponding;
      for (auto& [number, open] : of.open) open.erase(range.first, range.end);
      of.never.erase(range.first, range.end);
      of.ready.erase(range.first, range.end);
    }
    (event.late ? job->late : job->cancelled).insert(range.first, range.end);
    count(*job, PodState::kPending, event.late ? PodState::kDeadline : PodState::kCancelled, range.end - range.first);
  }
  end_if_done(*job, at);
  return Unit{};
}

// A waiting element becomes a live pod.
void Cluster::place(Job& job, const Pod& pod) {
  const PodId id = pod.ref.pod;
  job.pending.erase(id.element, id.element + 1);
  if (job.corresponding != nullptr) job.corresponding->ready.erase(id.element, id.element + 1);
  pods_.emplace(id, pod);
  node_pods_[pod.node].insert(id);
  count(job, PodState::kPending, pod.state, 1);
}

Status Cluster::on(const PodsBound& event, TimeUs at) {
  Job* job = nullptr;
  for (const Bind& bind : event.binds) {
    const PodId id = bind.ref.pod;
    if (job == nullptr || job->id != id.job) job = job_to_change(id.job);
    if (job == nullptr || !nodes_.contains(bind.node) || !job->startable().contains(id.element) ||
        next_attempt(*job, id.element) != bind.ref.attempt) {
      return mismatch(text_of(bind.ref) + " cannot be bound");
    }
    Pod pod;
    pod.ref = bind.ref;
    pod.node = bind.node;
    pod.gpu_mask = bind.gpu_mask;
    pod.bound_at = at;
    place(*job, pod);
  }
  for (const PodsBound::Pin& pin : event.pins) {
    if (pin.bind >= event.binds.size()) return mismatch("cores of a pod that is not bound");
    pinnings_[event.binds[pin.bind].ref.pod] = pin.pinning;
  }
  for (const PodsBound::Limit& limit : event.limits) {
    if (limit.bind >= event.binds.size()) return mismatch("a time limit of a pod that is not bound");
    pods_.at(event.binds[limit.bind].ref.pod).limit_ms = limit.limit_ms;
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
    if (!is_final(stop.stop_state) && stop.stop_state != PodState::kPending) {
      return mismatch(text_of(stop.ref) + " is to stop with a state that is none to stop with");
    }
    found->second.stopping = true;
    found->second.stop_state = stop.stop_state;
  }
  return Unit{};
}

std::uint16_t Cluster::intern(Job& job, const std::string& message) {
  constexpr std::size_t kFew = 16;  // up to so many are found by looking at all
  if (message.empty()) return 0;
  if (job.messages.empty()) job.messages.emplace_back();
  if (job.messages.size() <= kFew) {
    const auto found = std::find(job.messages.begin() + 1, job.messages.end(), message);
    if (found != job.messages.end()) return static_cast<std::uint16_t>(found - job.messages.begin());
  } else {
    if (job.message_numbers.empty()) {
      for (std::size_t i = 1; i < job.messages.size(); ++i) {
        job.message_numbers.emplace(job.messages[i], static_cast<std::uint16_t>(i));
      }
    }
    if (const auto found = job.message_numbers.find(message); found != job.message_numbers.end()) return found->second;
  }
  if (job.messages.size() > Job::kMessagesMax) return 0;
  const auto number = static_cast<std::uint16_t>(job.messages.size());
  job.messages.push_back(message);
  if (!job.message_numbers.empty()) job.message_numbers.emplace(message, number);
  return number;
}

Status Cluster::on(const PodsEnded& event, TimeUs at) {
  for (const PodEnd& end : event.ends) {
    const PodId id = end.ref.pod;
    const auto found = pods_.find(id);
    if (found == pods_.end() || found->second.ref != end.ref) return mismatch(text_of(end.ref) + " is not live");
    if (!end.requeue && !is_final(end.outcome.state))
      return mismatch(text_of(end.ref) + " ends in a state that is not final");
    Job& job = *job_to_change(id.job);
    const PodState before = found->second.state;
    node_pods_[found->second.node].erase(id);
    pods_.erase(found);
    if (!pinnings_.empty()) pinnings_.erase(id);
    if (!addresses_.empty()) addresses_.erase(id);
    if (job.first_started_at == 0) job.first_started_at = end.outcome.started_at;
    job.use += end.use;
    if (end.requeue) {
      job.attempts[id.element] = end.ref.attempt;
      job.pending.insert(id.element, id.element + 1);
      if (job.corresponding != nullptr) job.corresponding->ready.insert(id.element, id.element + 1);
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
    if (job == nullptr || !nodes_.contains(adopted.node) || !job->startable().contains(id.element) ||
        adopted.ref.attempt == 0 || next_attempt(*job, id.element) != adopted.ref.attempt + 1) {
      return mismatch(text_of(adopted.ref) + " cannot be adopted");
    }
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
    place(*job, pod);
    if (!adopted.pinning.empty()) pinnings_[id] = adopted.pinning;
    if (job->first_started_at == 0) job->first_started_at = adopted.started_at;
  }
  return Unit{};
}

namespace {

// What of the range is in none of the sets.
std::vector<ElementRange> outside(ElementRange range, const Job::Corresponding& of) {
  IntervalSet rest;
  rest.insert(range.first, range.end);
  const auto without = [&](const IntervalSet& set) {
    const auto& runs = set.intervals();
    auto run = runs.upper_bound(range.first);
    if (run != runs.begin()) --run;
    for (; run != runs.end() && run->first < range.end; ++run) rest.erase(run->first, run->second);
  };
  for (const auto& [number, open] : of.open) without(open);
  without(of.never);
  std::vector<ElementRange> out;
  for (const auto& [first, end] : rest.intervals()) out.push_back({first, end});
  return out;
}

}  // namespace

bool Job::Corresponding::any_open() const {
  return std::any_of(open.begin(), open.end(), [](const auto& entry) { return !entry.second.empty(); });
}

// The counterparts of these elements have ended. Each of them has waited for that one until now.
Status Cluster::decide_elements(Job& job, const JobChanged::ElementsDecided& decided) {
  const auto [first, end] = decided.elements;
  if (job.corresponding == nullptr || first >= end || decided.state == Dependency::State::kOpen) {
    return mismatch("elements that are decided wait for no counterpart");
  }
  Job::Corresponding& of = *job.corresponding;
  const auto open = of.open.find(decided.number);
  if (open == of.open.end()) return mismatch("elements that are decided wait for no counterpart of that number");
  const std::uint32_t before = open->second.size();
  open->second.erase(first, end);
  if (before - open->second.size() != end - first) return mismatch("an element that is decided did not wait for it");
  if (decided.state == Dependency::State::kFailed) {
    of.never.insert(first, end);
    return Unit{};
  }
  for (const ElementRange& range : outside(decided.elements, of)) of.ready.insert(range.first, range.end);
  return Unit{};
}

Status Cluster::on(const JobChanged& event, TimeUs) {
  Job* job = job_to_change(event.job);
  if (job == nullptr) return mismatch("a changed job does not exist");
  JobSpec& spec = job->spec;
  for (const auto& [number, state] : event.decided) {
    if (number >= spec.depends.size()) return mismatch("a dependency that is decided does not exist");
    spec.depends[number].state = state;
  }
  for (const JobChanged::ElementsDecided& decided : event.elements) {
    if (Status done = decide_elements(*job, decided); !done) return done;
  }
  if (event.hold) spec.hold = *event.hold;
  if (event.begin_at) spec.begin_at = *event.begin_at;
  if (event.priority) spec.priority = *event.priority;
  if (event.time_limit_ms) spec.time_limit_ms = *event.time_limit_ms;
  if (event.name) spec.name = *event.name;
  if (event.comment) spec.comment = *event.comment;
  if (event.account) spec.account = *event.account;
  if (event.qos) spec.qos = *event.qos;
  return Unit{};
}

Status Cluster::on(const JobsForgotten& event, TimeUs) {
  for (const JobId id : event.jobs) {
    const auto found = jobs_.find(id);
    if (found == jobs_.end() || found->second->ended_at == 0)
      return mismatch("job " + std::to_string(id.value) + " has not ended");
    const Job& job = *found->second;
    ended_jobs_.erase({job.ended_at, id});
    ended_pods_ -= job.spec.elements.size();
    if (const auto key = submit_keys_.find(job.submit_key); key != submit_keys_.end() && key->second == id)
      submit_keys_.erase(key);
    jobs_.erase(found);
  }
  return Unit{};
}

}  // namespace berth::state
