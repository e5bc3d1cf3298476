#include "scheduler/services.h"

#include <algorithm>
#include <utility>

namespace berth::scheduler {

using namespace state;

namespace {

struct Replica {
  const Job* job = nullptr;
  const Pod* pod = nullptr;  // nullptr: waits
  std::uint32_t revision = 0;
  bool stopping = false;
  bool ready = false;
  bool settled = false;    // ready for long enough
  bool misplaced = false;  // its node is to be emptied
};

TimeUs us(std::int64_t ms) { return ms * 1000; }

constexpr std::size_t kPastKept = 4;  // of each slot

}  // namespace

std::string replica_name(const Service& service, const Cluster& cluster, std::uint32_t slot) {
  if (!service.per_node) return service.name + "." + std::to_string(slot);
  const Node* node = cluster.node(NodeId{slot});
  return service.name + "." + (node == nullptr ? "node-" + std::to_string(slot) : node->info.name);
}

void Services::restore(TimeUs now) {
  for (const auto& [id, service] : cluster_.services()) {
    entries_[id];
    dirty_.insert(id);
  }
  if (entries_.empty()) return;
  for (const auto& [ended_at, id] : cluster_.ended_jobs()) {
    const Job& job = *cluster_.job(id);
    if (Entry* entry = job.spec.is_replica() ? entry_of(job) : nullptr; entry != nullptr) {
      auto& past = entry->past[job.spec.replica.slot];
      if (past.size() >= kPastKept) past.erase(past.begin());
      past.push_back(id);
    }
  }
  for (const auto& [id, job] : cluster_.jobs()) {
    if (!job->spec.is_replica() || !job->active()) continue;
    replica_came(*job);
    // How long it has been ready is not remembered: it is as if it had just become so.
    replica_changed(*job, now);
  }
}

Services::Entry* Services::entry_of(const Job& job) {
  const auto found = entries_.find(job.spec.replica.of);
  return found == entries_.end() ? nullptr : &found->second;
}

void Services::replica_came(const Job& job) {
  Entry* entry = entry_of(job);
  if (entry == nullptr) return;
  entry->slots[job.spec.replica.slot].push_back(job.id);
  dirty_.insert(job.spec.replica.of);
}

void Services::replica_changed(const Job& job, TimeUs now) {
  Entry* entry = entry_of(job);
  if (entry == nullptr) return;
  const Pod* pod = cluster_.pod({job.id, 0});
  if (pod != nullptr && pod->ready && !pod->stopping) {
    entry->ready_at.try_emplace(job.id, now);
  } else {
    entry->ready_at.erase(job.id);
  }
  dirty_.insert(job.spec.replica.of);
}

void Services::service_changed(ServiceId id) {
  if (cluster_.service(id) != nullptr) entries_[id];
  dirty_.insert(id);
}

void Services::nodes_changed() {
  for (const auto& [id, service] : cluster_.services()) {
    if (service.per_node) dirty_.insert(id);
  }
}

// What a failure means for what is being rolled out.
void Services::failed(const Service& service, Entry& entry, std::uint32_t revision, const std::string& what,
                      ServiceStatus& status, TimeUs now) const {
  const bool rolling = status.rollout == Rollout::kRolling || status.rollout == Rollout::kRollingBack;
  if (!rolling || revision != status.revision) return;
  const bool back = status.rollout == Rollout::kRollingBack;
  const UpdatePolicy& policy = back ? service.rollback : service.update;
  ++status.failures;
  if (policy.on_failure == UpdatePolicy::OnFailure::kContinue || status.failures <= policy.failures_max) return;
  const bool can_go_back = service.revision(status.from_revision) != nullptr;
  if (policy.on_failure == UpdatePolicy::OnFailure::kRollback && !back && can_go_back) {
    status.rollout = Rollout::kRollingBack;
    status.message = "rolling back to revision " + std::to_string(status.from_revision) + ": " + what;
    std::swap(status.revision, status.from_revision);
    status.failures = 0;
    status.changed_at = now;
    entry.helping_at = 0;
    entry.helping = false;
    return;
  }
  status.rollout = Rollout::kPaused;
  status.message = (back ? "the rollback is paused: " : "the update is paused: ") + what;
}

void Services::replica_ended(const Job& job) {
  Entry* entry = entry_of(job);
  if (entry == nullptr) return;
  const std::uint32_t slot = job.spec.replica.slot;
  if (const auto at = entry->slots.find(slot); at != entry->slots.end()) {
    std::erase(at->second, job.id);
    if (at->second.empty()) entry->slots.erase(at);
  }
  auto& past = entry->past[slot];
  if (past.size() >= kPastKept) past.erase(past.begin());
  past.push_back(job.id);
  entry->ready_at.erase(job.id);
  ended_.push_back({job.id, entry->charged.erase(job.id) != 0});
  dirty_.insert(job.spec.replica.of);
}

// What the end of a replica says of its slot, and of what is being rolled out.
void Services::judge(const Ended& ended, TimeUs now) {
  const Job* job = cluster_.job(ended.job);
  Entry* entry = job == nullptr ? nullptr : entry_of(*job);
  const Service* service = entry == nullptr ? nullptr : cluster_.service(job->spec.replica.of);
  if (service == nullptr || service->status.removing) return;
  const auto [of, revision, slot] = job->spec.replica;
  entry->last_revision[slot] = revision;
  const PodOutcome* outcome = job->outcomes.find(0);
  // Nothing of its own doing: another takes its place at once.
  if (outcome == nullptr || outcome->state == PodState::kCancelled || outcome->state == PodState::kNodeLost) return;
  const RestartPolicy& policy = service->restart;
  const bool succeeded = outcome->state == PodState::kSucceeded;
  const std::string why =
      outcome->message == 0 ? std::string(name_of(outcome->state)) : job->messages[outcome->message];
  Trouble& trouble = entry->troubles[slot];
  const bool stayed = outcome->started_at != 0 && outcome->ended_at - outcome->started_at >= us(policy.window_ms);
  if (stayed) trouble.failures = 0;
  ++trouble.failures;
  trouble.why = why;
  trouble.not_before = 0;
  if (trouble.failures > 1) {
    const std::uint32_t doublings = std::min(trouble.failures - 2, 20U);
    trouble.not_before = now + us(std::min(policy.delay_ms << doublings, policy.delay_max_ms));
  }
  ServiceStatus status = service->status;
  const bool given_up = policy.attempts_max != 0 && trouble.failures >= policy.attempts_max;
  const bool never =
      policy.when == RestartPolicy::When::kNever || (policy.when == RestartPolicy::When::kOnFailure && succeeded);
  const std::string what = "replica " + replica_name(*service, cluster_, slot) + " of revision " +
                           std::to_string(revision) + (succeeded ? " ended" : " failed: " + why);
  if (!ended.charged && !(succeeded && never)) failed(*service, *entry, revision, what, status, now);
  if ((given_up || never) && revision == status.revision && status.revision == service->status.revision) {
    const auto place = std::lower_bound(status.done.begin(), status.done.end(), slot);
    if (place == status.done.end() || *place != slot) status.done.insert(place, slot);
    if (given_up && !never && status.message.empty()) {
      status.message = what + ", " + std::to_string(trouble.failures) + " times in a row: it is given up";
    }
    entry->troubles.erase(slot);
  }
  if (status != service->status) hands_.set_status(of, std::move(status));
}

std::vector<std::uint32_t> Services::wanted_slots(const Service& service) const {
  std::vector<std::uint32_t> slots;
  const auto& done = service.status.done;
  const auto want = [&](std::uint32_t slot) {
    if (!std::binary_search(done.begin(), done.end(), slot)) slots.push_back(slot);
  };
  if (service.per_node) {
    for (const auto& [id, node] : cluster_.nodes()) {
      if (node.state == NodeState::kUp && hands_.could_run(service, node)) want(id.value);
    }
  } else {
    for (std::uint32_t slot = 1; slot <= service.status.replicas; ++slot) want(slot);
  }
  return slots;
}

// One look at one service: what is, what should be, and what is done about it.
struct Services::Pass {
  const Cluster& cluster;
  Hands& hands;
  const Service& service;
  Entry& entry;
  TimeUs now;
  ServiceStatus status;
  const UpdatePolicy& policy;
  TimeUs wake = 0;                            // look again then; 0: no need to
  std::vector<std::uint32_t> outdated = {};   // slots with nothing but a replica that is to be replaced by another …
  std::vector<std::uint32_t> misplaced = {};  // … or to be moved
  std::vector<std::uint32_t> empty = {};      // slots that could have a replica at once
  std::uint32_t under_way = 0;                // slots that are neither outdated nor settled

  void wake_at(TimeUs at) {
    if (wake == 0 || at < wake) wake = at;
  }
  bool rolling() const { return status.rollout == Rollout::kRolling || status.rollout == Rollout::kRollingBack; }

  Replica replica(JobId id) const {
    Replica r;
    r.job = cluster.job(id);
    r.pod = cluster.pod({id, 0});
    r.revision = r.job->spec.replica.revision;
    r.stopping = r.pod != nullptr && r.pod->stopping && r.pod->stop_state != PodState::kPending;
    const auto ready = entry.ready_at.find(id);
    r.ready = ready != entry.ready_at.end();
    r.settled = r.ready && now - ready->second >= us(policy.monitor_ms);
    if (r.pod != nullptr) {
      const Node* node = cluster.node(r.pod->node);
      r.misplaced = node != nullptr && node->state == NodeState::kDrained;
    }
    return r;
  }

  void stop(const Replica& r, PodState why = PodState::kCancelled) { hands.stop_replica(*r.job, why); }

  // The slots, each for itself.
  void look_at_slots(const std::vector<std::uint32_t>& wanted) {
    std::vector<JobId> excess;
    for (const auto& [slot, jobs] : entry.slots) {
      if (!std::binary_search(wanted.begin(), wanted.end(), slot))
        excess.insert(excess.end(), jobs.begin(), jobs.end());
    }
    for (const JobId id : excess) {
      if (const Replica r = replica(id); !r.stopping) stop(r);
    }
    for (const std::uint32_t slot : wanted) {
      const auto found = entry.slots.find(slot);
      if (found == entry.slots.end()) {
        empty.push_back(slot);
      } else {
        look_at_slot(slot, std::vector<JobId>(found->second));  // a copy: replicas that only wait end when stopped
      }
    }
  }

  void look_at_slot(std::uint32_t slot, const std::vector<JobId>& jobs) {
    std::vector<Replica> here;
    for (const JobId id : jobs) {
      if (Replica r = replica(id); !r.stopping) here.push_back(r);
    }
    if (here.empty()) {  // what is there is on its way out
      ++under_way;
      return;
    }
    // The one that is to stay: of the revision that is wanted, on a node that stays; the one that has been ready
    // longest.
    const Replica* best = nullptr;
    for (const Replica& r : here) {
      if (r.revision != status.revision || r.misplaced) continue;
      const bool better = best == nullptr || (r.settled && !best->settled) || (r.ready && !best->ready);
      if (better) best = &r;
    }
    if (best == nullptr) {
      // Of several that are all to go, as after an update that overtook another, one stays until its time has come.
      const auto works = std::find_if(here.begin(), here.end(), [](const Replica& r) { return r.ready; });
      const Replica& kept = works == here.end() ? here.front() : *works;
      for (const Replica& r : here) {
        if (&r != &kept) stop(r);
      }
      const bool old =
          std::any_of(here.begin(), here.end(), [&](const Replica& r) { return r.revision != status.revision; });
      (old ? outdated : misplaced).push_back(slot);
      return;
    }
    const bool alone = here.size() == 1;
    const bool others_work =
        std::any_of(here.begin(), here.end(), [&](const Replica& r) { return &r != best && r.ready; });
    if (!alone && (best->settled || !others_work)) {
      for (const Replica& r : here) {
        if (&r != best) stop(r);
      }
    }
    if (best->settled) {
      entry.last_revision.erase(slot);
      under_way += jobs.size() > 1 ? 1 : 0;  // what it replaces has to be gone, too
      return;
    }
    ++under_way;
    const auto ready = entry.ready_at.find(best->job->id);
    if (ready != entry.ready_at.end()) {
      const TimeUs at = ready->second + us(policy.monitor_ms);
      if (rolling() || !alone) return wake_at(at);
      settles_at = settles_at == 0 ? at : std::min(settles_at, at);  // nobody may be waiting for it
    }
    if (!rolling() && alone) return;
    // Not ready yet: for how long is it borne?
    const TimeUs since =
        best->pod != nullptr && best->pod->started_at != 0 ? best->pod->started_at : best->job->submitted_at;
    const TimeUs due = since + us(policy.ready_within_ms);
    if (!rolling() || policy.ready_within_ms == 0) return;
    if (now < due) return wake_at(due);
    late.push_back(*best);
  }
  std::vector<Replica> late = {};
  TimeUs settles_at = 0;  // the next replica that nothing waits for as yet

  void fill(std::uint32_t slot, std::uint32_t revision) {
    const ServiceRevision* spec = service.revision(revision);
    if (spec == nullptr) spec = service.revision(status.revision);
    hands.start_replica(service, *spec, slot);
  }

  void fill_empty() {
    const std::uint32_t most = policy.parallelism == 0 ? UINT32_MAX : policy.parallelism;
    const bool held = status.paused || status.rollout == Rollout::kPaused;
    for (const std::uint32_t slot : empty) {
      const auto trouble = entry.troubles.find(slot);
      if (trouble != entry.troubles.end() && trouble->second.not_before > now) {
        wake_at(trouble->second.not_before);
        ++under_way;
        continue;
      }
      // While something is rolled out, a slot that fell empty by itself gets what it had, unless it is its turn.
      const auto last = entry.last_revision.find(slot);
      const bool as_before = last != entry.last_revision.end() && last->second != status.revision &&
                             (held || (!outdated.empty() && under_way >= most));
      fill(slot, as_before ? last->second : status.revision);
      if (!as_before) ++under_way;
    }
  }

  // Moving a replica is not an update: the new one comes first, whatever the policy says, and nothing is paused by it.
  void move_misplaced() {
    const std::uint32_t most = policy.parallelism == 0 ? UINT32_MAX : policy.parallelism;
    for (const std::uint32_t slot : misplaced) {
      if (under_way >= most) {
        if (settles_at != 0) wake_at(settles_at);
        return;
      }
      fill(slot, status.revision);
      ++under_way;
    }
  }

  void roll() {
    if (outdated.empty()) return;
    if (status.paused || status.rollout == Rollout::kPaused) return;
    if (now < entry.helping_at) return wake_at(entry.helping_at);
    const std::uint32_t most = policy.parallelism == 0 ? UINT32_MAX : policy.parallelism;
    if (under_way == 0 && entry.helping &&
        policy.delay_ms != 0) {  // one helping is done: the next one is after a while
      entry.helping = false;
      entry.helping_at = now + us(policy.delay_ms);
      return wake_at(entry.helping_at);
    }
    if (under_way >= most) return;
    // Those that do not work are of no use to anybody: they go first.
    const auto works = [&](std::uint32_t slot) {
      const auto& jobs = entry.slots.at(slot);
      return std::any_of(jobs.begin(), jobs.end(), [&](JobId id) { return entry.ready_at.contains(id); });
    };
    std::stable_partition(outdated.begin(), outdated.end(), [&](std::uint32_t slot) { return !works(slot); });
    for (const std::uint32_t slot : outdated) {
      if (under_way >= most) return;
      ++under_way;
      entry.helping = true;
      entry.troubles.erase(slot);
      if (policy.start_first) {
        fill(slot, status.revision);
        continue;
      }
      for (const JobId id : std::vector<JobId>(entry.slots.at(slot))) {
        if (const Replica r = replica(id); !r.stopping) stop(r);
      }
    }
  }

  void conclude() {
    if (!rolling() || !outdated.empty() || !misplaced.empty() || under_way != 0) return;
    if (status.rollout == Rollout::kRolling) {
      status.rollout = Rollout::kNone;
      status.message.clear();
    } else {
      status.rollout = Rollout::kRolledBack;
      if (status.message.starts_with("rolling back")) status.message.replace(0, 12, "rolled back");
    }
    status.failures = 0;
    entry.last_revision.clear();
    entry.helping = false;
    entry.helping_at = 0;
  }
};

void Services::look_at(const Service& service, Entry& entry, TimeUs now) {
  const bool back = service.status.rollout == Rollout::kRollingBack;
  Pass pass{cluster_, hands_, service, entry, now, service.status, back ? service.rollback : service.update};
  if (service.status.removing) {
    pass.look_at_slots({});
    if (entry.slots.empty()) hands_.service_gone(service.id);
    return;
  }
  pass.look_at_slots(wanted_slots(service));
  if (!pass.late.empty()) {
    for (const Replica& r : pass.late) {
      const std::uint32_t slot = r.job->spec.replica.slot;
      entry.charged.insert(r.job->id);
      failed(service, entry, r.revision,
             "replica " + replica_name(service, cluster_, slot) + " of revision " + std::to_string(r.revision) +
                 (r.pod == nullptr ? " found no place within " : " was not ready within ") +
                 std::to_string(pass.policy.ready_within_ms / 1000) + " s",
             pass.status, now);
      // What is rolled back goes by itself; otherwise it is tried again.
      if (pass.status.revision == r.revision) hands_.stop_replica(*r.job, PodState::kFailed);
      if (pass.status.revision != service.status.revision) break;
    }
    const ServiceId id = service.id;
    hands_.set_status(id, std::move(pass.status));
    dirty_.insert(id);  // what is wanted may be another revision now: all is looked at again
    return;
  }
  pass.fill_empty();
  pass.move_misplaced();
  pass.roll();
  pass.conclude();
  set_wake(service.id, entry, pass.wake);
  if (pass.status != service.status) hands_.set_status(service.id, std::move(pass.status));
}

void Services::set_wake(ServiceId id, Entry& entry, TimeUs at) {
  if (entry.wake_at == at) return;
  if (entry.wake_at != 0) wakes_.erase({entry.wake_at, id});
  entry.wake_at = at;
  if (at != 0) wakes_.emplace(at, id);
}

void Services::pass(TimeUs now) {
  while (!wakes_.empty() && wakes_.begin()->first <= now) {
    const ServiceId id = wakes_.begin()->second;
    set_wake(id, entries_.at(id), 0);
    dirty_.insert(id);
  }
  // What a look does makes the service dirty again: each is looked at a few times at most, and the rest follows in the
  // next turn.
  for (int round = 0; round < 4 && !dirty_.empty(); ++round) {
    for (const Ended& ended : std::exchange(ended_, {})) judge(ended, now);
    for (const ServiceId id : std::exchange(dirty_, {})) {
      const Service* service = cluster_.service(id);
      const auto entry = entries_.find(id);
      if (entry == entries_.end()) continue;
      if (service == nullptr) {
        set_wake(id, entry->second, 0);
        entries_.erase(entry);
        continue;
      }
      look_at(*service, entry->second, now);
    }
  }
}

std::optional<TimeUs> Services::next_wake() const {
  if (!dirty_.empty()) return 0;
  if (wakes_.empty()) return std::nullopt;
  return wakes_.begin()->first;
}

std::vector<JobId> Services::replicas_of(ServiceId id) const {
  std::vector<JobId> out;
  const auto entry = entries_.find(id);
  if (entry == entries_.end()) return out;
  for (const auto& [slot, jobs] : entry->second.slots) out.insert(out.end(), jobs.begin(), jobs.end());
  return out;
}

std::vector<JobId> Services::past_of(ServiceId id) const {
  std::vector<JobId> out;
  const auto entry = entries_.find(id);
  if (entry == entries_.end()) return out;
  for (const auto& [slot, jobs] : entry->second.past) {
    for (const JobId job : jobs) {
      if (cluster_.job(job) != nullptr) out.push_back(job);
    }
  }
  return out;
}

bool Services::is_ready(const Job& job) const {
  const auto entry = entries_.find(job.spec.replica.of);
  return entry != entries_.end() && entry->second.ready_at.contains(job.id);
}

Services::Counts Services::counts_of(const Service& service) const {
  Counts counts;
  counts.wanted = static_cast<std::uint32_t>(wanted_slots(service).size());
  if (service.status.removing) counts.wanted = 0;
  const auto entry = entries_.find(service.id);
  if (entry == entries_.end()) return counts;
  for (const auto& [slot, jobs] : entry->second.slots) {
    for (const JobId id : jobs) {
      ++counts.there;
      const Pod* pod = cluster_.pod({id, 0});
      if (pod == nullptr) continue;
      counts.running += pod->state == PodState::kRunning ? 1 : 0;
      const bool ready = entry->second.ready_at.contains(id);
      counts.ready += ready ? 1 : 0;
      counts.updated += ready && cluster_.job(id)->spec.replica.revision == service.status.revision ? 1 : 0;
    }
  }
  return counts;
}

std::vector<Services::Waiting> Services::waiting_of(ServiceId id, TimeUs now) const {
  std::vector<Waiting> out;
  const auto entry = entries_.find(id);
  if (entry == entries_.end()) return out;
  for (const auto& [slot, trouble] : entry->second.troubles) {
    if (trouble.not_before > now && !entry->second.slots.contains(slot)) {
      out.push_back({slot, trouble.not_before, trouble.why});
    }
  }
  return out;
}

std::string Services::check_invariants() const {
  std::size_t listed = 0, active = 0;
  for (const auto& [id, entry] : entries_) {
    for (const auto& [slot, jobs] : entry.slots) {
      listed += jobs.size();
      if (jobs.empty()) return "a slot without replicas is listed";
      for (const JobId job_id : jobs) {
        const Job* job = cluster_.job(job_id);
        if (job == nullptr || !job->active() || job->spec.replica.of != id || job->spec.replica.slot != slot) {
          return "job " + std::to_string(job_id.value) + " is listed as a replica, and is none";
        }
      }
    }
    for (const auto& [job_id, since] : entry.ready_at) {
      const Pod* pod = cluster_.pod({job_id, 0});
      if (pod == nullptr || !pod->ready) return "job " + std::to_string(job_id.value) + " counts as ready, and is not";
    }
  }
  if (entries_.empty()) return "";
  for (const auto& [id, job] : cluster_.jobs()) {
    active += job->spec.is_replica() && job->active() && entries_.contains(job->spec.replica.of) ? 1 : 0;
  }
  return listed == active ? "" : "a replica is not listed";
}

}  // namespace berth::scheduler
