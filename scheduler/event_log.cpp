#include "scheduler/event_log.h"

#include <algorithm>

#include "scheduler/core_text.h"

namespace berth::scheduler {

using namespace state;

namespace {

using Kind = EventRow::Kind;

// A row's number: its batch, and its place in it. So numbers grow over restarts and over a change of the leader, too.
constexpr unsigned kPlaceBits = 20;

std::string pod_name(const Job& job, std::uint32_t element) {
  std::string name = std::to_string(job.id.value);
  if (job.spec.elements.size() > 1) name += "[" + std::to_string(job.spec.elements.at(element)) + "]";
  return name;
}

std::string service_name(const Service& service) {
  return service.space == kDefaultSpace ? service.name : service.space + "/" + service.name;
}

std::string called(const Job& job) { return job.spec.name.empty() ? "" : "'" + job.spec.name + "' "; }

std::string end_text(const PodEnd& end) {
  std::string text(name_of(end.outcome.state));
  if (!end.message.empty()) {
    text += ": " + end.message;
  } else if (end.outcome.signal != 0) {
    text += ", signal " + std::to_string(end.outcome.signal);
  } else if (end.outcome.state == PodState::kFailed && end.outcome.exit_code > 0) {
    text += ", exit code " + std::to_string(end.outcome.exit_code);
  }
  if (end.requeue) text += "; it is queued again";
  return text;
}

}  // namespace

void EventLog::add(Kind kind, std::string object, std::string text, bool warning, const Owner* owner) {
  Entry& entry = kept_.emplace_back();
  entry.row.kind = kind;
  entry.row.object = std::move(object);
  entry.row.text = std::move(text);
  entry.row.warning = warning;
  entry.for_all = owner == nullptr;
  if (owner != nullptr) entry.uid = owner->uid;
  ++fresh_;
}

void EventLog::add_job(const Job& job, std::string text, bool warning) {
  add(Kind::kJob, std::to_string(job.id.value), std::move(text), warning, &job.owner);
}

void EventLog::before(const Event& event, const Cluster& cluster) {
  if (const auto* status = std::get_if<ServiceStatusSet>(&event)) {
    const Service* service = cluster.service(status->id);
    if (service != nullptr) old_status_ = service->status;
  } else if (const auto* removed = std::get_if<ServiceRemoved>(&event)) {
    const Service* service = cluster.service(removed->id);
    if (service != nullptr) add(Kind::kService, service_name(*service), "is gone", false, &service->owner);
  } else if (const auto* gone = std::get_if<NodeRemoved>(&event)) {
    const Node* node = cluster.node(gone->id);
    if (node != nullptr) add(Kind::kNode, node->info.name, "was removed", false, nullptr);
  } else if (const auto* joined = std::get_if<NodeJoined>(&event)) {
    old_name_ = cluster.node(joined->id) == nullptr ? "" : joined->info.name;
  } else if (const auto* set = std::get_if<ServiceSet>(&event)) {
    old_name_ = cluster.service(set->service.id) == nullptr ? "" : set->service.name;
  }
}

void EventLog::after(const Event& event, const Cluster& cluster) {
  const auto set_or_removed = [&](Kind kind, const std::string& name, bool removed) {
    add(kind, name, removed ? "was removed" : "was set", false, nullptr);
  };
  if (const auto* submitted = std::get_if<JobSubmitted>(&event)) {
    if (submitted->spec.replica.of != ServiceId{}) return;  // its service tells of it
    if (++many_.submitted > kRowsPerTurn) return;
    const Job* job = cluster.job(submitted->id);
    if (job == nullptr) return;
    const std::uint64_t pods = job->spec.elements.size();
    add_job(*job,
            called(*job) + "submitted by " + job->owner.user + " to queue " + job->spec.queue +
                (pods == 1 ? "" : ", " + plural(pods, "pod", "pods")),
            false);
  } else if (const auto* ends = std::get_if<PodsEnded>(&event)) {
    ended(*ends, cluster);
  } else if (const auto* cancelled = std::get_if<ElementsCancelled>(&event)) {
    const Job* job = cluster.job(cancelled->job);
    if (job != nullptr && !job->active()) job_ended(*job);
  } else if (const auto* joined = std::get_if<NodeJoined>(&event)) {
    add(Kind::kNode, joined->info.name, old_name_.empty() ? "joined" : "came with another offer", false, nullptr);
  } else if (const auto* changed = std::get_if<NodeStateChanged>(&event)) {
    const Node* node = cluster.node(changed->id);
    if (node == nullptr) return;
    std::string text = "is " + std::string(name_of(changed->state));
    if (!changed->reason.empty()) text += ": " + changed->reason;
    add(Kind::kNode, node->info.name, std::move(text), changed->state == NodeState::kLost, nullptr);
  } else if (const auto* job_changed = std::get_if<JobChanged>(&event)) {
    const Job* job = cluster.job(job_changed->job);
    if (job == nullptr || !job_changed->hold) return;
    if (++many_.submitted > kRowsPerTurn) return;
    add_job(*job, *job_changed->hold == Hold::kNone ? "was released" : "is held", false);
  } else if (const auto* set = std::get_if<ServiceSet>(&event)) {
    add(Kind::kService, service_name(set->service), old_name_.empty() ? "was created" : "has a new revision", false,
        &set->service.owner);
  } else if (const auto* status = std::get_if<ServiceStatusSet>(&event)) {
    const Service* service = cluster.service(status->id);
    if (service != nullptr) service_changed(*service);
    old_status_.reset();
  } else if (const auto* ready = std::get_if<PodsReady>(&event)) {
    for (const PodReadiness& each : ready->pods) {
      const Job* job = cluster.job(each.ref.pod.job);
      const Service* service = job == nullptr ? nullptr : cluster.service(job->spec.replica.of);
      if (service == nullptr || ++many_.readiness > kRowsPerTurn) continue;
      add(Kind::kService, service_name(*service),
          "replica " + job->spec.name + (each.ready ? " is ready" : " is not ready"), !each.ready, &service->owner);
    }
  } else if (const auto* queue = std::get_if<QueueSet>(&event)) {
    set_or_removed(Kind::kQueue, queue->queue.name, false);
  } else if (const auto* no_queue = std::get_if<QueueRemoved>(&event)) {
    set_or_removed(Kind::kQueue, no_queue->name, true);
  } else if (const auto* licence = std::get_if<LicenceSet>(&event)) {
    set_or_removed(Kind::kLicence, licence->licence.name, false);
  } else if (const auto* no_licence = std::get_if<LicenceRemoved>(&event)) {
    set_or_removed(Kind::kLicence, no_licence->name, true);
  } else if (const auto* account = std::get_if<AccountSet>(&event)) {
    set_or_removed(Kind::kAccount, account->account.name, false);
  } else if (const auto* no_account = std::get_if<AccountRemoved>(&event)) {
    set_or_removed(Kind::kAccount, no_account->name, true);
  }
}

void EventLog::ended(const PodsEnded& event, const Cluster& cluster) {
  const Job* job = nullptr;
  for (std::size_t i = 0; i < event.ends.size(); ++i) {
    const PodEnd& end = event.ends[i];
    const JobId id = end.ref.pod.job;
    if (job == nullptr || job->id != id) job = cluster.job(id);
    if (job == nullptr) continue;
    const PodState state = end.outcome.state;
    const bool wanted = state == PodState::kSucceeded || state == PodState::kCancelled;
    const bool replica = job->spec.is_replica();
    if (!wanted && (job->spec.elements.size() > 1 || end.requeue || replica)) {
      if (++many_.pods <= kRowsPerTurn) {
        const Service* service = replica ? cluster.service(job->spec.replica.of) : nullptr;
        if (service != nullptr) {
          add(Kind::kService, service_name(*service), "replica " + job->spec.name + " " + end_text(end), true,
              &service->owner);
        } else {
          add(Kind::kPod, pod_name(*job, end.ref.pod.element), end_text(end), true, &job->owner);
        }
      }
    }
    const bool last_of_job = i + 1 == event.ends.size() || event.ends[i + 1].ref.pod.job != id;
    if (!last_of_job || replica || job->active()) continue;
    if (job->spec.elements.size() == 1) {
      if (++many_.ended <= kRowsPerTurn) add_job(*job, called(*job) + end_text(end), !wanted);
    } else {
      job_ended(*job);
    }
  }
}

void EventLog::job_ended(const Job& job) {
  if (job.spec.is_replica() || ++many_.ended > kRowsPerTurn) return;
  std::string text = called(job) + "ended";
  bool warning = false;
  const char* before = ": ";
  for (std::size_t i = 0; i < kPodStates; ++i) {
    const auto state = static_cast<PodState>(i);
    const std::uint64_t pods = job.counts.by_state[i];
    if (pods == 0 || !is_final(state)) continue;
    text += before + std::to_string(pods) + " " + std::string(name_of(state));
    before = ", ";
    warning = warning || (state != PodState::kSucceeded && state != PodState::kCancelled);
  }
  add_job(job, std::move(text), warning);
}

void EventLog::service_changed(const Service& service) {
  if (!old_status_) return;
  const ServiceStatus& old = *old_status_;
  const ServiceStatus& now = service.status;
  const auto say = [&](std::string text, bool warning = false) {
    add(Kind::kService, service_name(service), std::move(text), warning, &service.owner);
  };
  if (now.removing && !old.removing) return say("is being removed");
  if (now.replicas != old.replicas) {
    say("is scaled from " + std::to_string(old.replicas) + " to " + plural(now.replicas, "replica", "replicas"));
  }
  if (now.paused != old.paused) say(now.paused ? "is paused" : "goes on");
  if (now.rollout == old.rollout && now.revision == old.revision) return;
  const std::string revision = "revision " + std::to_string(now.revision);
  std::string text;
  switch (now.rollout) {
    case Rollout::kNone:
      text = revision + " is rolled out";
      break;
    case Rollout::kRolling:
      text = revision + " is being rolled out";
      break;
    case Rollout::kPaused:
      text = revision + " is not rolled out any further";
      break;
    case Rollout::kRollingBack:
      text = "goes back to " + revision;
      break;
    case Rollout::kRolledBack:
      text = "is back at " + revision;
      break;
  }
  if (!now.message.empty()) text += ": " + now.message;
  say(std::move(text), now.rollout != Rollout::kNone && now.rollout != Rollout::kRolling);
}

void EventLog::end_turn(std::uint64_t batch, TimeUs now) {
  const auto rest = [&](std::uint32_t count, Kind kind, const char* what, bool warning) {
    if (count > kRowsPerTurn) {
      add(kind, "", plural(count - kRowsPerTurn, "more ", "more ") + what, warning, nullptr);
    }
  };
  rest(many_.submitted, Kind::kJob, "jobs were submitted or changed", false);
  rest(many_.ended, Kind::kJob, "jobs ended", false);
  rest(many_.pods, Kind::kPod, "pods did not end well", true);
  rest(many_.readiness, Kind::kService, "replicas became ready or stopped being so", false);
  many_ = {};
  std::uint64_t place = 0;
  for (auto entry = kept_.end() - static_cast<std::ptrdiff_t>(fresh_); entry != kept_.end(); ++entry) {
    entry->row.number = (batch << kPlaceBits) + ++place;
    entry->row.at = now;
    newest_ = entry->row.number;
  }
  fresh_ = 0;
  while (kept_.size() > most_) {
    dropped_ = kept_.front().row.number;
    kept_.pop_front();
  }
}

EventPage EventLog::page(const ListEventsRequest& request, std::optional<std::uint32_t> only_uid) const {
  EventPage page;
  const std::uint32_t limit = std::clamp<std::uint32_t>(request.limit, 1, kRowsMax);
  const auto wanted = [&](const Entry& entry) {
    if (only_uid && !entry.for_all && entry.uid != *only_uid) return false;
    if (request.warnings && !entry.row.warning) return false;
    if (request.kind && entry.row.kind != *request.kind) {
      // Who asks for a job means its pods, too.
      if (*request.kind != Kind::kJob || entry.row.kind != Kind::kPod) return false;
    }
    if (request.object.empty()) return true;
    const std::string& object = entry.row.object;
    return object == request.object || (object.size() > request.object.size() && object.starts_with(request.object) &&
                                        object[request.object.size()] == '[');
  };
  const std::size_t numbered = kept_.size() - fresh_;
  const auto first =
      std::lower_bound(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(numbered), request.after + 1,
                       [](const Entry& entry, std::uint64_t number) { return entry.row.number < number; });
  page.lost = request.after != 0 && request.after < dropped_;
  page.last = std::max(request.after, newest_);
  if (request.after == 0) {  // the newest
    for (auto at = kept_.begin() + static_cast<std::ptrdiff_t>(numbered);
         at != kept_.begin() && page.rows.size() < limit;) {
      if (wanted(*--at)) page.rows.push_back(at->row);
    }
    std::reverse(page.rows.begin(), page.rows.end());
    return page;
  }
  for (auto at = first; at != kept_.begin() + static_cast<std::ptrdiff_t>(numbered); ++at) {
    if (!wanted(*at)) continue;
    if (page.rows.size() == limit) {
      page.last = page.rows.back().number;
      break;
    }
    page.rows.push_back(at->row);
  }
  return page;
}

}  // namespace berth::scheduler
