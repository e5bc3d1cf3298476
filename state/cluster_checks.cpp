// What must hold of a cluster, checked the slow way, and a hash that two equal clusters share.
#include <cstring>
#include <numeric>
#include <span>

#include "state/cluster.h"
#include "state/snapshot_codec.h"

namespace berth::state {

namespace {

std::string name_job(JobId id) { return "job " + std::to_string(id.value); }

// What waits for counterparts waits; what may start is the rest of it.
std::string check_corresponding(const Job& job) {
  if (job.corresponding == nullptr) return "";
  const Job::Corresponding& of = *job.corresponding;
  IntervalSet ready = job.pending;
  std::string wrong;
  const auto waits = [&](const IntervalSet& set) {
    for (const auto& [first, end] : set.intervals()) {
      const auto run = job.pending.intervals().upper_bound(first);
      if (run == job.pending.intervals().begin() || std::prev(run)->second < end) {
        wrong = "an element that has a counterpart to wait for does not wait";
      }
      ready.erase(first, end);
    }
  };
  for (const auto& [number, open] : of.open) {
    if (number >= job.spec.depends.size() || job.spec.depends[number].kind != Dependency::Kind::kAfterCorr) {
      return "elements wait for counterparts of no dependency";
    }
    waits(open);
  }
  waits(of.never);
  if (!wrong.empty()) return wrong;
  return ready == of.ready ? "" : "other elements may start than those that wait for no counterpart";
}

std::string check_job(const Cluster& cluster, const Job& job) {
  const std::uint32_t size = job.spec.elements.size();
  const std::string who = name_job(job.id) + ": ";
  JobCounts counts;
  const auto add = [&](PodState s, std::uint32_t n) { counts.by_state[static_cast<std::size_t>(s)] += n; };
  add(PodState::kPending, job.pending.size());
  add(PodState::kCancelled, job.cancelled.size());
  add(PodState::kDeadline, job.late.size());
  std::string wrong;
  job.outcomes.each(0, [&](std::uint32_t element, const PodOutcome& outcome) {
    add(outcome.state, 1);
    if (element >= size || !is_final(outcome.state)) wrong = who + "an outcome that cannot be";
    if (job.pending.contains(element) || job.cancelled.contains(element) || job.late.contains(element)) {
      wrong = who + "an element ended and waits";
    }
    return wrong.empty();
  });
  if (!wrong.empty()) return wrong;
  add(PodState::kBound, job.counts.of(PodState::kBound));  // checked against the live pods by the caller
  add(PodState::kRunning, job.counts.of(PodState::kRunning));
  if (counts != job.counts) return who + "the counts differ from the elements";
  if (std::accumulate(counts.by_state.begin(), counts.by_state.end(), 0ULL) != size)
    return who + "the counts do not add up";
  if (job.active() != (job.ended_at == 0)) return who + "ended and active, or neither";
  for (const auto& [first, end] : job.pending.intervals()) {
    if (end > size) return who + "a waiting element out of range";
  }
  if (wrong = check_corresponding(job); !wrong.empty()) return who + wrong;
  const bool listed = cluster.ended_jobs().contains({job.ended_at, job.id});
  return listed == (job.ended_at != 0) ? "" : who + "not among the ended jobs, or wrongly";
}

}  // namespace

std::string check_invariants(const Cluster& cluster) {
  std::map<JobId, JobCounts> live;
  std::size_t on_nodes = 0;
  for (const auto& [id, node] : cluster.nodes()) {
    if (cluster.node_by_name(node.info.name) != &node) return "node " + node.info.name + " is not found by its name";
    on_nodes += cluster.pods_of(id).size();
    for (const PodId& pod_id : cluster.pods_of(id)) {
      const Pod* pod = cluster.pod(pod_id);
      if (pod == nullptr || pod->node != id) return "node " + node.info.name + " lists a pod that is not there";
    }
  }
  if (on_nodes != cluster.live_pods().size()) return "a live pod is on no node";
  for (const auto& [id, pod] : cluster.live_pods()) {
    const Job* job = cluster.job(id.job);
    if (job == nullptr || id.element >= job->spec.elements.size()) return "a live pod belongs to no job";
    if (job->pending.contains(id.element) || job->cancelled.contains(id.element) || job->late.contains(id.element) ||
        job->outcomes.find(id.element) != nullptr) {
      return name_job(id.job) + ": an element is live and waits or has ended";
    }
    if (pod.ref.pod != id || pod.ref.attempt != Cluster::next_attempt(*job, id.element))
      return name_job(id.job) + ": a wrong attempt is live";
    ++live[id.job].by_state[static_cast<std::size_t>(pod.state)];
  }
  std::size_t pinned = 0;
  for (const auto& [id, pod] : cluster.live_pods()) pinned += cluster.pinning(id) != nullptr ? 1 : 0;
  if (pinned != cluster.pinned_pods()) return "cores are kept for a pod that is not live";
  for (const auto& [id, service] : cluster.services()) {
    if (id > cluster.last_service_id()) return "service " + service.name + " is beyond the last id";
    if (cluster.service_by_name(service.space, service.name) != &service) {
      return "service " + service.name + " is not found by its name";
    }
    if (service.revision(service.status.revision) == nullptr) return "service " + service.name + " lacks its revision";
  }
  std::uint64_t ended_pods = 0;
  std::size_t ended = 0;
  for (const auto& [id, job] : cluster.jobs()) {
    if (id > cluster.last_job_id()) return name_job(id) + " is beyond the last id";
    const JobCounts& counted = live[id];
    if (counted.of(PodState::kBound) != job->counts.of(PodState::kBound) ||
        counted.of(PodState::kRunning) != job->counts.of(PodState::kRunning)) {
      return name_job(id) + ": the counts differ from the live pods";
    }
    if (std::string wrong = check_job(cluster, *job); !wrong.empty()) return wrong;
    if (job->ended_at != 0) {
      ++ended;
      ended_pods += job->spec.elements.size();
    }
  }
  if (ended != cluster.ended_jobs().size() || ended_pods != cluster.ended_pods())
    return "the count of ended pods is wrong";
  for (const auto& [name, account] : cluster.accounts()) {
    const Account* above = &account;
    for (std::size_t depth = 0; !above->parent.empty(); ++depth) {
      const auto parent = cluster.accounts().find(above->parent);
      if (parent == cluster.accounts().end()) return "account " + name + " is below one that is not there";
      if (depth > cluster.accounts().size()) return "account " + name + " is above itself";
      above = &parent->second;
    }
  }
  for (const auto& [key, member] : cluster.members()) {
    if (!cluster.accounts().contains(key.first)) return "a member of account " + key.first + ", which is not there";
  }
  return cluster.queues().contains("default") ? "" : "the queue 'default' is missing";
}

std::uint64_t Cluster::hash() const {
  // The snapshot holds everything that matters, in a fixed order: FNV-1a over its bytes, eight at a time.
  constexpr std::uint64_t kPrime = 0x100000001b3ULL;
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  SnapshotCodec::encode(*this, [&hash](std::span<const std::byte> bytes) {
    for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data(), 8);
      hash = (hash ^ word) * kPrime;
      hash ^= hash >> 29;
    }
    for (const std::byte byte : bytes) hash = (hash ^ static_cast<std::uint64_t>(byte)) * kPrime;
    return true;
  });
  return hash;
}

}  // namespace berth::state
