// Random batches that follow from a cluster's state: every kind of event, with the sizes and corners that a real core
// makes. A seed gives the same batches again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "state/cluster.h"

namespace berth::state::testing {

class RandomBatches {
 public:
  explicit RandomBatches(std::uint64_t seed) : random_(seed) {}

  // A batch for `cluster`, already applied to it.
  Batch next(Cluster& cluster);

 private:
  std::uint32_t below(std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random_); }
  bool chance(std::uint32_t percent) { return below(100) < percent; }
  std::string word(std::size_t most);

  bool make(const Cluster& cluster, Event& event);
  bool submit(const Cluster& cluster, Event& event);
  bool bind(const Cluster& cluster, Event& event);
  bool start(const Cluster& cluster, Event& event);
  bool stop(const Cluster& cluster, Event& event);
  bool end(const Cluster& cluster, Event& event);
  bool adopt(const Cluster& cluster, Event& event);
  bool cancel(const Cluster& cluster, Event& event);
  bool change(const Cluster& cluster, Event& event);
  bool forget(const Cluster& cluster, Event& event);
  bool node(const Cluster& cluster, Event& event);
  bool admin(const Cluster& cluster, Event& event);
  bool service(const Cluster& cluster, Event& event);

  const Job* some_job(const Cluster& cluster);
  std::vector<Pod> some_pods(const Cluster& cluster, std::size_t most);

  std::mt19937_64 random_;
  TimeUs now_ = 1'700'000'000'000'000;
};

inline std::string RandomBatches::word(std::size_t most) {
  std::string text(below(static_cast<std::uint32_t>(most + 1)), 'x');
  for (char& c : text) c = static_cast<char>(chance(95) ? 'a' + below(26) : below(256));
  return text;
}

inline const Job* RandomBatches::some_job(const Cluster& cluster) {
  if (cluster.jobs().empty()) return nullptr;
  auto it = cluster.jobs().lower_bound(JobId{below(static_cast<std::uint32_t>(cluster.last_job_id().value)) + 1});
  return it == cluster.jobs().end() ? cluster.jobs().begin()->second.get() : it->second.get();
}

inline std::vector<Pod> RandomBatches::some_pods(const Cluster& cluster, std::size_t most) {
  std::vector<Pod> pods;
  for (const auto& [id, node] : cluster.nodes()) {
    for (const PodId& pod : cluster.pods_of(id)) {
      if (pods.size() < most && chance(40)) pods.push_back(*cluster.pod(pod));
    }
  }
  return pods;
}

inline bool RandomBatches::submit(const Cluster& cluster, Event& event) {
  JobSubmitted e;
  e.id = JobId{cluster.last_job_id().value + 1};
  e.owner = {below(3) * 1000, below(3) * 1000, word(8), {}};
  for (std::uint32_t i = below(4); i != 0; --i) e.owner.groups.push_back(below(5000));
  e.submit_key = chance(50) ? below(50) : random_();
  e.spec.name = word(20);
  e.spec.queue = chance(80) ? "default" : word(5);
  e.spec.kind = static_cast<JobKind>(below(3));
  if (e.spec.kind == JobKind::kArray && chance(20)) {
    e.spec.elements = *IndexSet::parse("1-30:3,40,50-1000", "array");
  } else if (e.spec.kind != JobKind::kSingle) {
    e.spec.elements = IndexSet::dense(1 + below(chance(10) ? 10'000'000 : 700));
  }
  e.spec.throttle = below(3);
  e.spec.distinct_nodes = chance(20);
  e.spec.request = {{below(4000), below(100'000), below(9)}, {}};
  for (std::uint32_t i = below(3); i != 0; --i) e.spec.request.features.push_back(word(6));
  if (chance(20)) e.spec.request.counts = {{"fpga", 1 + below(3)}, {word(5), below(9)}};
  if (chance(20)) e.spec.request.licences = {{"l1", 1 + below(3)}};
  e.spec.request.gpu_share_milli = chance(10) ? below(1000) : 0;
  e.spec.request.cores = {static_cast<CoreFit::Level>(below(4)), chance(50), static_cast<std::uint8_t>(below(3))};
  if (chance(20)) e.spec.gang = {below(3), below(5), below(4), below(3), chance(30)};
  e.spec.priority = static_cast<std::int32_t>(below(2001)) - 1000;
  e.spec.time_limit_ms = below(1'000'000);
  e.spec.time_min_ms = chance(20) ? below(1'000'000) : 0;
  e.spec.deadline = chance(20) ? now_ + below(1000) : 0;
  e.spec.requeues_max = below(5);
  e.spec.launch = word(300);
  e.spec.hold = static_cast<Hold>(below(3));
  e.spec.begin_at = chance(20) ? now_ + below(1000) : 0;
  for (std::uint32_t i = chance(30) ? below(4) : 0; i != 0; --i) {
    e.spec.depends.push_back({static_cast<Dependency::Kind>(below(6)), JobId{below(100)}, below(1000),
                              static_cast<Dependency::State>(below(3))});
    if (chance(30)) e.spec.depends.back().index = below(1000);
  }
  e.spec.any_dependency = chance(30);
  e.spec.account = word(5);
  e.spec.comment = chance(20) ? word(50) : "";
  event = std::move(e);
  return true;
}

inline bool RandomBatches::bind(const Cluster& cluster, Event& event) {
  if (cluster.nodes().empty()) return false;
  std::vector<NodeId> nodes;
  for (const auto& [id, node] : cluster.nodes()) nodes.push_back(id);
  PodsBound e;
  for (int tries = 0; tries < 5; ++tries) {
    const Job* job = some_job(cluster);
    if (job == nullptr || job->startable().empty() || (!e.binds.empty() && e.binds.back().ref.pod.job == job->id))
      continue;
    if (std::any_of(e.binds.begin(), e.binds.end(), [&](const Bind& b) { return b.ref.pod.job == job->id; })) continue;
    IntervalSet pending = job->startable();
    for (std::uint32_t n = 1 + below(60); n != 0 && !pending.empty(); --n) {
      const std::uint32_t element = pending.take_front(1).first;
      if (chance(10)) continue;  // leaves a hole
      const PodRef ref{{job->id, element}, Cluster::next_attempt(*job, element)};
      e.binds.push_back({ref, nodes[below(static_cast<std::uint32_t>(nodes.size()))], random_()});
      if (chance(10)) e.limits.push_back({static_cast<std::uint32_t>(e.binds.size() - 1), 1 + below(99'999)});
      if (chance(20))
        e.pins.push_back(
            {static_cast<std::uint32_t>(e.binds.size() - 1), {"0-3,8", {{0, below(99)}}, chance(50), below(9)}});
    }
  }
  event = std::move(e);
  return !std::get<PodsBound>(event).binds.empty();
}

inline bool RandomBatches::start(const Cluster& cluster, Event& event) {
  PodsStarted e;
  for (const Pod& pod : some_pods(cluster, 50)) e.starts.push_back({pod.ref, now_ - below(1000)});
  event = e;
  return !e.starts.empty();
}

inline bool RandomBatches::stop(const Cluster& cluster, Event& event) {
  PodsStopping e;
  for (const Pod& pod : some_pods(cluster, 5)) {
    e.stops.push_back({pod.ref, chance(50) ? PodState::kCancelled : PodState::kTimedOut});
  }
  event = e;
  return !e.stops.empty();
}

inline bool RandomBatches::end(const Cluster& cluster, Event& event) {
  PodsEnded e;
  for (const Pod& pod : some_pods(cluster, 80)) {
    PodEnd end;
    end.ref = pod.ref;
    end.outcome.state = static_cast<PodState>(3 + below(6));
    end.outcome.signal = static_cast<std::uint8_t>(below(65));
    end.outcome.exit_code = static_cast<std::int16_t>(static_cast<int>(below(257)) - 1);
    end.outcome.attempt = static_cast<std::uint16_t>(pod.ref.attempt);
    end.outcome.node = pod.node;
    end.outcome.mem_peak_mib = below(10'000);
    end.outcome.started_at = pod.started_at;
    end.outcome.ended_at = now_;
    if (chance(30)) end.message = chance(50) ? "message " + std::to_string(below(40)) : word(40);
    end.requeue = chance(20);
    if (chance(50)) end.use = {below(1'000'000), below(1'000'000), below(1U << 30), below(1U << 30)};
    e.ends.push_back(std::move(end));
  }
  event = e;
  return !e.ends.empty();
}

inline bool RandomBatches::adopt(const Cluster& cluster, Event& event) {
  const Job* job = some_job(cluster);
  if (job == nullptr || cluster.nodes().empty()) return false;
  PodsAdopted e;
  for (const auto& [element, used] : job->attempts) {
    if (!job->pending.contains(element) || chance(50)) continue;
    e.pods.push_back({{{job->id, element}, used}, cluster.nodes().begin()->first, random_(), now_ - 5000});
  }
  event = e;
  return !e.pods.empty();
}

inline bool RandomBatches::cancel(const Cluster& cluster, Event& event) {
  const Job* job = some_job(cluster);
  if (job == nullptr || job->pending.empty()) return false;
  ElementsCancelled e{job->id, {}, chance(30)};
  for (const auto& [first, last] : job->pending.intervals()) {
    if (chance(30)) continue;
    const std::uint32_t from = chance(50) ? first : first + below(last - first);
    e.elements.push_back({from, chance(50) ? last : from + 1 + below(last - from)});
  }
  event = e;
  return !e.elements.empty();
}

inline bool RandomBatches::change(const Cluster& cluster, Event& event) {
  const Job* job = some_job(cluster);
  if (job == nullptr) return false;
  JobChanged e;
  e.job = job->id;
  if (chance(40)) e.hold = static_cast<Hold>(below(3));
  if (chance(30)) e.begin_at = below(3) * now_;
  if (chance(30)) e.priority = static_cast<std::int32_t>(below(2001)) - 1000;
  if (chance(30)) e.time_limit_ms = below(1'000'000);
  if (chance(30)) e.name = word(9);
  if (chance(30)) e.comment = word(9);
  for (std::uint32_t i = 0; i < job->spec.depends.size(); ++i) {
    if (chance(50)) e.decided.push_back({i, static_cast<Dependency::State>(below(3))});
  }
  for (const auto& [number, open] :
       job->corresponding == nullptr ? decltype(job->corresponding->open){} : job->corresponding->open) {
    for (const auto& [first, end] : open.intervals()) {
      if (chance(40)) continue;
      const std::uint32_t from = chance(50) ? first : first + below(end - first);
      e.elements.push_back({number,
                            {from, chance(50) ? end : from + 1 + below(end - from)},
                            chance(70) ? Dependency::State::kMet : Dependency::State::kFailed});
    }
  }
  event = std::move(e);
  return true;
}

inline bool RandomBatches::forget(const Cluster& cluster, Event& event) {
  JobsForgotten e;
  for (const auto& [at, id] : cluster.ended_jobs()) {
    if (e.jobs.size() < 3) e.jobs.push_back(id);
  }
  event = e;
  return !e.jobs.empty();
}

inline bool RandomBatches::node(const Cluster& cluster, Event& event) {
  const auto& nodes = cluster.nodes();
  if (nodes.size() < 3 || chance(20)) {
    const NodeId id{cluster.last_node_id().value + 1 + below(2)};
    event = NodeJoined{
        id, {"node-" + std::to_string(id.value), word(8), word(8), "1", "none", {below(64'000), 1024, 8}, {word(4)}}};
    return true;
  }
  auto it = nodes.begin();
  std::advance(it, below(static_cast<std::uint32_t>(nodes.size())));
  switch (below(3)) {
    case 0: {
      NodeInfo info = it->second.info;
      info.instance = word(8);
      event = NodeJoined{it->first, std::move(info)};
      return true;
    }
    case 1:
      event = NodeStateChanged{it->first, static_cast<NodeState>(below(3)), word(12)};
      return true;
    default:
      it = std::find_if(nodes.begin(), nodes.end(), [&](const auto& n) { return cluster.pods_of(n.first).empty(); });
      if (it == nodes.end()) return false;
      event = NodeRemoved{it->first};
      return true;
  }
}

inline bool RandomBatches::admin(const Cluster& cluster, Event& event) {
  switch (below(10)) {
    case 6: {
      Account account;
      account.name = "a" + std::to_string(below(5));
      // Below one that was there before it: never below itself.
      if (chance(50) && !cluster.accounts().contains(account.name) && !cluster.accounts().empty()) {
        account.parent = cluster.accounts().begin()->first;
      }
      account.shares = below(9);
      account.description = word(9);
      account.limits.most[below(kLimits)] = below(99);
      account.limits.wait = chance(50);
      event = AccountSet{std::move(account)};
      return true;
    }
    case 7: {
      if (cluster.accounts().empty()) return false;
      Member member{cluster.accounts().begin()->first, word(3), below(5), chance(30), {}};
      member.limits.most[below(kLimits)] = below(99);
      event = MemberSet{std::move(member)};
      return true;
    }
    case 8: {
      Qos qos;
      qos.name = "qos" + std::to_string(below(4));
      qos.priority = static_cast<std::int32_t>(below(10)) - 5;
      qos.usage_milli = below(2000);
      qos.tier = static_cast<std::int32_t>(below(5)) - 2;
      qos.preempt = static_cast<Preempt>(below(4));
      qos.user_limits.most[below(kLimits)] = below(99);
      for (std::uint32_t i = below(3); i != 0; --i) qos.users.push_back(word(4));
      event = QosSet{std::move(qos)};
      return true;
    }
    case 9: {
      if (chance(40)) {
        UsageNoted noted;
        for (std::uint32_t i = below(4); i != 0; --i) noted.usage.push_back({word(3), word(3), below(1'000'000) / 7.0});
        event = std::move(noted);
        return true;
      }
      if (chance(30) && !cluster.members().empty()) {
        event = MemberRemoved{cluster.members().begin()->first.first, cluster.members().begin()->first.second};
        return true;
      }
      if (chance(30) && !cluster.qos().empty()) {
        event = QosRemoved{cluster.qos().begin()->first};
        return true;
      }
      for (const auto& each : cluster.accounts()) {
        const std::string& name = each.first;
        const bool parent = std::any_of(cluster.accounts().begin(), cluster.accounts().end(),
                                        [&](const auto& other) { return other.second.parent == name; });
        const auto member = cluster.members().lower_bound({name, ""});
        if (parent || (member != cluster.members().end() && member->first.first == name)) continue;
        event = AccountRemoved{name};
        return true;
      }
      return false;
    }
    case 0: {
      Queue queue{
          "q" + std::to_string(below(5)), static_cast<std::int32_t>(below(100)), below(1000), {}, "", 0, 0, {}, {}};
      queue.state = static_cast<Queue::State>(below(4));
      queue.where = chance(50) ? word(9) : "";
      queue.nodes_max = below(3);
      queue.tier = static_cast<std::int32_t>(below(5)) - 2;
      queue.preempt = static_cast<Preempt>(below(3));
      for (std::uint32_t i = below(3); i != 0; --i) queue.users.push_back(word(4));
      event = QueueSet{std::move(queue)};
      return true;
    }
    case 4:
      event = LicenceSet{{"l" + std::to_string(below(4)), below(50)}};
      return true;
    case 5:
      if (cluster.licences().empty()) return false;
      event = LicenceRemoved{cluster.licences().begin()->first};
      return true;
    case 1: {
      if (cluster.queues().size() == 1) return false;
      event = QueueRemoved{cluster.queues().rbegin()->first};
      return cluster.queues().rbegin()->first != "default";
    }
    case 2:
      event =
          TokenAdded{{"t" + std::to_string(below(9)), word(64), static_cast<TokenRole>(below(2)), word(5), now_, 0}};
      return true;
    default: {
      if (cluster.tokens().empty()) return false;
      event = TokenRemoved{cluster.tokens().begin()->first};
      return true;
    }
  }
}

inline bool RandomBatches::service(const Cluster& cluster, Event& event) {
  const auto& services = cluster.services();
  auto it = services.begin();
  if (!services.empty()) std::advance(it, below(static_cast<std::uint32_t>(services.size())));
  const auto status = [&](ServiceStatus of) {
    of.replicas = below(9);
    of.rollout = static_cast<Rollout>(below(5));
    of.paused = chance(20);
    of.failures = below(5);
    of.message = chance(50) ? word(20) : "";
    of.done.clear();
    for (std::uint32_t slot = below(5), end = below(9); slot < end; ++slot) of.done.push_back(slot);
    ++of.version;
    return of;
  };
  switch (below(4)) {
    case 0: {
      Service made;
      if (!services.empty() && chance(50)) {
        made = it->second;
        if (made.revisions.size() > 3) made.revisions.erase(made.revisions.begin());
      } else {
        made.id = ServiceId{cluster.last_service_id().value + 1 + below(2)};
        made.name = "service" + std::to_string(made.id.value);
        made.space = chance(50) ? "default" : word(5) + "x";
        made.owner = {below(9), below(9), word(4), {below(9)}};
        made.created_at = now_;
      }
      ServiceRevision revision;
      revision.number = made.revisions.empty() ? 1 : made.revisions.back().number + 1;
      revision.spec.name = word(6);
      revision.spec.launch = word(30);
      revision.made_at = now_;
      made.revisions.push_back(std::move(revision));
      made.status = status(made.status);
      made.status.revision = made.revisions[below(static_cast<std::uint32_t>(made.revisions.size()))].number;
      made.ports.clear();
      for (std::uint32_t i = below(3); i != 0; --i) {
        made.ports.push_back({word(3), static_cast<std::uint16_t>(below(65'536)),
                              static_cast<std::uint16_t>(below(65'536)), static_cast<std::uint16_t>(below(65'536)),
                              static_cast<Protocol>(below(2))});
      }
      made.address = chance(50) ? "10.0.0.1" : "";
      made.per_node = chance(20);
      made.headless = chance(20);
      made.sticky = chance(20);
      made.update = {below(5), chance(50), below(99), below(99), below(99), UpdatePolicy::OnFailure::kRollback,
                     below(5)};
      made.restart = {RestartPolicy::When::kOnFailure, below(99), below(99), below(9), below(99)};
      event = ServiceSet{std::move(made)};
      return true;
    }
    case 1:
      if (services.empty()) return false;
      event = ServiceStatusSet{it->first, status(it->second.status)};
      return true;
    case 2:
      if (services.size() < 3) return false;
      event = ServiceRemoved{it->first};
      return true;
    default: {
      PodsReady ready;
      for (const auto& [id, pod] : cluster.live_pods()) {
        if (ready.pods.size() < 3 && chance(30)) {
          ready.pods.push_back({pod.ref, chance(70), chance(50) ? "10.1.2.3" : "", {}});
        }
      }
      event = std::move(ready);
      return true;
    }
  }
}

inline bool RandomBatches::make(const Cluster& cluster, Event& event) {
  const std::uint32_t kind = below(100);
  if (kind < 15) return submit(cluster, event);
  if (kind < 35) return bind(cluster, event);
  if (kind < 50) return start(cluster, event);
  if (kind < 55) return stop(cluster, event);
  if (kind < 75) return end(cluster, event);
  if (kind < 80) return adopt(cluster, event);
  if (kind < 86) return cancel(cluster, event);
  if (kind < 88) return forget(cluster, event);
  if (kind < 91) return change(cluster, event);
  if (kind < 94) return node(cluster, event);
  if (kind < 97) return service(cluster, event);
  return admin(cluster, event);
}

inline Batch RandomBatches::next(Cluster& cluster) {
  now_ += below(1'000'000);
  Batch batch{cluster.applied_index() + 1, now_, {}};
  for (std::uint32_t n = 1 + below(6); n != 0; --n) {
    Event event;
    if (!make(cluster, event)) continue;
    const Status done = cluster.apply_event(event, batch.at);
    if (!done) throw std::logic_error("the generator made an event that does not apply: " + done.error().message);
    batch.events.push_back(std::move(event));
  }
  cluster.finish_batch(batch.index, batch.at);
  return batch;
}

}  // namespace berth::state::testing
