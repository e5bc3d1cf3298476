// Steps: commands of a running gang, whose pods run in the places of its own. And gangs of which only the first pod is
// run: the others keep their places for steps.
#include <algorithm>

#include "scheduler/core_impl.h"
#include "state/condition.h"

namespace berth::scheduler {

using namespace state;

namespace {

constexpr std::size_t kActiveStepsMax = 10'000;  // of a job
constexpr std::size_t kOvertakenMax = 64;        // steps that find no room, until later ones are not tried

PodState ended_as(const Job& job, std::uint32_t element) {
  const PodOutcome* outcome = job.outcomes.find(element);
  return outcome == nullptr ? PodState::kCancelled : outcome->state;
}

}  // namespace

// The nodes of a running gang, in the order of its ranks, with what each has of it.
std::vector<Core::Impl::StepNode> Core::Impl::step_nodes(const Job& job) const {
  std::vector<StepNode> nodes;
  std::map<NodeId, std::size_t> numbers;
  const bool exclusive = job.spec.request.exclusive;  // then all cpus of its nodes are its own
  for (std::uint32_t rank = 0; rank < job.spec.elements.size(); ++rank) {
    const Pod* pod = cluster_.pod({job.id, rank});
    if (pod == nullptr || pod->stopping) continue;
    const auto [at, added] = numbers.try_emplace(pod->node, nodes.size());
    if (added) nodes.push_back(StepNode{pod->node});
    StepNode& node = nodes[at->second];
    ++node.ranks;
    node.gpu_mask |= pod->gpu_mask;
    if (const Pinning* pinning = cluster_.pinning({job.id, rank}); pinning != nullptr && !exclusive) {
      std::vector<std::uint32_t> cpus;
      parse_cpus(pinning->cpus, cpus);
      node.cpus.insert(node.cpus.end(), cpus.begin(), cpus.end());
    } else {
      node.unpinned = true;
    }
  }
  const std::uint32_t each = job.spec.request.resources.cpu_milli;
  for (StepNode& node : nodes) {
    node.cpu_milli =
        exclusive ? cluster_.node(node.node)->info.capacity.cpu_milli : static_cast<std::int64_t>(node.ranks) * each;
    node.free_milli = node.cpu_milli;
    std::sort(node.cpus.begin(), node.cpus.end());
  }
  const auto steps = steps_.find(job.id);
  if (steps == steps_.end()) return nodes;
  for (const JobId id : steps->second.running) {
    const Job& step = *cluster_.job(id);
    if (step.spec.step.overlap) continue;
    for (std::uint32_t e = 0; e < step.spec.elements.size(); ++e) {
      const Pod* pod = cluster_.pod({id, e});
      const auto at = pod == nullptr ? numbers.end() : numbers.find(pod->node);
      if (at == numbers.end()) continue;
      std::int64_t& free = nodes[at->second].free_milli;
      free = step.spec.step.whole ? 0 : free - step.spec.request.resources.cpu_milli;
    }
  }
  return nodes;
}

// Where each task goes; empty: nowhere. `empty`: as if no other step ran.
std::vector<NodeId> Core::Impl::lay_out(const JobSpec& spec, std::vector<StepNode> nodes, bool empty) const {
  const std::uint32_t tasks = spec.elements.size();
  if (!spec.request.where.empty()) {
    const auto where = Condition::parse(spec.request.where, "where");
    std::erase_if(nodes, [&](const StepNode& n) {
      const NodeInfo& info = cluster_.node(n.node)->info;
      return !where || !where->holds(info.name, info.features);
    });
  }
  nodes.erase(nodes.begin(), nodes.begin() + std::min<std::ptrdiff_t>(spec.step.relative, std::ssize(nodes)));
  std::uint32_t wanted = spec.gang.nodes_min != 0
                             ? spec.gang.nodes_min
                             : std::min<std::uint32_t>(tasks, static_cast<std::uint32_t>(nodes.size()));
  if (spec.gang.nodes_max != 0) wanted = std::min(wanted, spec.gang.nodes_max);
  const std::int64_t each = std::max(spec.request.resources.cpu_milli, 1U);
  std::vector<std::uint32_t> room;
  for (auto node = nodes.begin(); node != nodes.end();) {
    const bool all = empty || spec.step.overlap;
    const std::int64_t milli = spec.step.whole && !all && node->free_milli < node->cpu_milli ? 0
                               : all                                                         ? node->cpu_milli
                                                                                             : node->free_milli;
    auto most = static_cast<std::uint32_t>(std::clamp<std::int64_t>(milli / each, 0, tasks));
    if (spec.gang.per_node != 0) most = std::min(most, spec.gang.per_node);
    if (most == 0) {
      node = nodes.erase(node);
      continue;
    }
    room.push_back(most);
    ++node;
  }
  if (nodes.size() < wanted) return {};
  // The first nodes that hold all tasks, as many as are wanted if that is enough.
  std::size_t used = wanted;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < used; ++i) sum += room[i];
  while (sum < tasks && used < nodes.size() && (spec.gang.nodes_max == 0 || used < spec.gang.nodes_max)) {
    sum += room[used++];
  }
  if (sum < tasks || used > tasks) return {};
  std::vector<std::uint32_t> here(used, 0);
  std::vector<NodeId> out;
  if (spec.step.cyclic) {
    for (std::size_t i = 0; out.size() < tasks; i = (i + 1) % used) {
      if (here[i] == room[i]) continue;
      ++here[i];
      out.push_back(nodes[i].node);
    }
    return out;
  }
  // Each node has a task; the rest fills one node after the other.
  std::uint32_t left = tasks - static_cast<std::uint32_t>(used);
  for (std::size_t i = 0; i < used; ++i) {
    const std::uint32_t more = std::min(room[i] - 1, left);
    left -= more;
    out.insert(out.end(), 1 + more, nodes[i].node);
  }
  return out;
}

Status Core::Impl::check_step(const Caller& caller, JobSpec& spec) const {
  const Job* job = cluster_.job(spec.step_of);
  const std::string name = "job " + std::to_string(spec.step_of.value);
  if (job == nullptr) return Error{ErrorCode::kNotFound, "job", "there is no " + name, 0};
  if (job->owner.uid != caller.uid && !caller.admin) {
    return Error{ErrorCode::kDenied, "job", name + " belongs to another user", 0};
  }
  if (job->spec.kind != JobKind::kGang || job->spec.is_step()) {
    return invalid("job", name + " is no gang, and only the pods of a gang have places for steps");
  }
  if (job->counts.of(PodState::kRunning) != job->spec.elements.size()) {
    // A step of the job's own may be faster than the word that the job runs.
    return job->active() && job->counts.of(PodState::kPending) == 0
               ? Error{ErrorCode::kUnavailable, "job", name + " does not run yet", 100}
               : Error{ErrorCode::kConflict, "job", name + " does not run" + (job->active() ? " yet" : " any more"), 0};
  }
  if (held_ends_.contains(job->id)) return Error{ErrorCode::kConflict, "job", name + " is ending", 0};
  if (spec.kind == JobKind::kArray) return invalid("array", "a step is no array");
  if (spec.lead_only) return invalid("gang", "a step keeps no places for others");
  const Request& wants = spec.request;
  const char* foreign = !wants.licences.empty()      ? "licences"
                        : !wants.counts.empty()      ? "countable resources"
                        : wants.gpu_share_milli != 0 ? "shares of GPUs"
                        : !wants.rules.empty()       ? "rules about other pods"
                        : wants.exclusive            ? "nodes for itself"
                        : spec.gang.contiguous || spec.gang.compact || spec.gang.switches != 0 ? "a shape of nodes"
                                                                                               : nullptr;
  if (foreign != nullptr)
    return invalid("step", std::string("a step has what its job has, and asks for no ") + foreign);
  spec.requeues_max = 0;
  spec.account = job->spec.account;
  spec.qos = job->spec.qos;
  if (!spec.depends.empty() || spec.hold != Hold::kNone || spec.begin_at != 0) {
    return invalid("after", "a step waits for nothing but its turn");
  }
  if (spec.deadline != 0 || spec.time_min_ms != 0) {
    return invalid(spec.deadline != 0 ? "deadline" : "time-min", "a step ends with its job, and has no such time");
  }
  if (lay_out(spec, step_nodes(*job), true).empty()) {
    return invalid("nodes", name + " has no places for such a step: more cpus or nodes than it has");
  }
  return Unit{};
}

// `more`: that come with it.
Status Core::Impl::check_step_count(JobId job, std::size_t more) const {
  const auto steps = steps_.find(job);
  const std::size_t active = steps == steps_.end() ? 0 : steps->second.waiting.size() + steps->second.running.size();
  if (active + more <= kActiveStepsMax) return Unit{};
  return Error{ErrorCode::kUnavailable, "job",
               "job " + std::to_string(job.value) + " may have at most " + std::to_string(kActiveStepsMax) +
                   " steps that wait or run",
               1000};
}

void Core::Impl::note_step(const Job& job) {
  if (!job.active()) return;
  Steps& steps = steps_[job.spec.step_of];
  (job.counts.live() == 0 ? steps.waiting : steps.running).insert(job.id);
}

// Starts what can of the steps that wait, in their order.
void Core::Impl::start_steps(JobId of) {
  const Job* job = cluster_.job(of);
  const auto steps = steps_.find(of);
  if (job == nullptr || steps == steps_.end() || steps->second.waiting.empty()) return;
  std::vector<StepNode> nodes = step_nodes(*job);
  std::size_t overtaken = 0;
  const std::vector<JobId> waiting(steps->second.waiting.begin(), steps->second.waiting.end());
  for (const JobId id : waiting) {
    const Job& step = *cluster_.job(id);
    const bool full = std::none_of(nodes.begin(), nodes.end(), [](const StepNode& n) { return n.free_milli > 0; });
    if (!step.spec.step.overlap && (full || overtaken >= kOvertakenMax)) continue;
    const std::vector<NodeId> places = lay_out(step.spec, nodes, false);
    if (places.empty()) {
      ++overtaken;
      continue;
    }
    steps->second.waiting.erase(id);
    steps->second.running.insert(id);
    bind_step(step, nodes, places);
    if (step.spec.step.overlap) continue;
    for (const NodeId place : places) {
      const auto at = std::find_if(nodes.begin(), nodes.end(), [&](const StepNode& n) { return n.node == place; });
      at->free_milli = step.spec.step.whole ? 0 : at->free_milli - step.spec.request.resources.cpu_milli;
    }
  }
}

void Core::Impl::bind_step(const Job& step, const std::vector<StepNode>& nodes, const std::vector<NodeId>& places) {
  std::map<NodeId, const StepNode*> by_node;
  for (const StepNode& node : nodes) by_node[node.node] = &node;
  PodsBound bound;
  for (std::uint32_t e = 0; e < places.size(); ++e) {
    const StepNode* at = by_node.at(places[e]);
    bound.binds.push_back({{{step.id, e}, Cluster::next_attempt(step, e)}, places[e], at->gpu_mask});
    if (!at->unpinned) bound.pins.push_back({e, {format_cpus(at->cpus), {}, false, 0}});
  }
  waits_no_more(step, places.size());
  bind_latency_.add(now_ - step.submitted_at, places.size());
  emit(std::move(bound));
  if (!watchers_.empty() && watchers_.contains(step.id)) changed_.insert(step.id);
  std::map<NodeId, StartPods> orders;
  for (std::uint32_t e = 0; e < places.size(); ++e) {
    auto& list = orders[places[e]].orders;
    if (list.empty()) list.push_back(order_for(step, places[e], by_node.at(places[e])->ranks));
    list.back().pods.push_back(start_of(step, *cluster_.pod({step.id, e})));
  }
  for (auto& [node, starts] : orders) {
    if (const std::uint64_t session = session_of(node); session != 0) {
      effects_.push_back(ToAgent{session, std::move(starts)});
    }
  }
}

// A step has come to its end, or lost a pod.
void Core::Impl::after_step(const Job& step) {
  const auto steps = steps_.find(step.spec.step_of);
  if (steps == steps_.end()) return;
  if (step.counts.live() == 0) steps->second.running.erase(step.id);
  if (!step.active()) steps->second.waiting.erase(step.id);
  const JobId of = step.spec.step_of;
  if (steps->second.empty()) steps_.erase(steps);
  const Job* job = cluster_.job(of);
  if (job == nullptr || !job->active()) return;
  if (job->counts.of(PodState::kRunning) == job->spec.elements.size()) start_steps(of);
  settle_places(*job);
}

// The job has ended, or is being stopped: so are its steps.
void Core::Impl::end_steps(const Job& job) {
  const auto steps = steps_.find(job.id);
  if (steps == steps_.end()) return;
  std::vector<JobId> active(steps->second.waiting.begin(), steps->second.waiting.end());
  active.insert(active.end(), steps->second.running.begin(), steps->second.running.end());
  for (const JobId id : active) {
    const Job& step = *cluster_.job(id);
    if (step.active()) cancel_elements(step, {{0, step.spec.elements.size()}});
  }
}

bool Core::Impl::is_place(const PodRef& ref) const {
  const Job* job = cluster_.job(ref.pod.job);
  return job != nullptr && job->spec.lead_only && ref.pod.element != 0;
}

// The places of such a gang are taken from when its first pod runs.
void Core::Impl::start_places(PodsStarted& started) const {
  for (std::size_t i = 0, own = started.starts.size(); i < own; ++i) {
    const PodStart start = started.starts[i];
    const Job& job = *cluster_.job(start.ref.pod.job);
    if (!job.spec.lead_only || start.ref.pod.element != 0) continue;
    for (std::uint32_t rank = 1; rank < job.spec.elements.size(); ++rank) {
      const Pod* place = cluster_.pod({job.id, rank});
      if (place != nullptr && place->state == PodState::kBound) {
        started.starts.push_back({place->ref, start.started_at});
      }
    }
  }
}

std::optional<PodState> Core::Impl::lead_ended_as(const Job& job) const {
  if (const auto held = held_ends_.find(job.id); held != held_ends_.end()) {
    const PodState state = held->second.outcome.state;
    return is_final(state) ? state : PodState::kFailed;
  }
  const PodOutcome* outcome = job.outcomes.find(0);
  if (outcome == nullptr) return std::nullopt;
  return outcome->state;
}

// The places of a gang of which only the first pod is run end with that one, as it ended: but not before the last step
// on any of them has. Its own place neither: true if that end is to wait.
bool Core::Impl::hold_end(const PodEnd& end) {
  const Pod* pod = cluster_.pod(end.ref.pod);
  if (pod == nullptr || pod->ref != end.ref || end.ref.pod.element != 0) return false;
  const Job& job = *cluster_.job(end.ref.pod.job);
  const auto steps = steps_.find(job.id);
  if (!job.spec.lead_only || steps == steps_.end() || steps->second.running.empty()) return false;
  if (held_ends_.emplace(job.id, end).second) end_steps(job);
  return true;
}

void Core::Impl::settle_places(const Job& job) {
  if (!job.spec.lead_only || job.counts.live() == 0) return;
  if (const auto steps = steps_.find(job.id); steps != steps_.end() && !steps->second.running.empty()) return;
  if (auto held = held_ends_.extract(job.id); !held.empty()) {
    const PodEnd& end = held.mapped();
    const Pod* pod = cluster_.pod(end.ref.pod);
    if (pod != nullptr && pod->ref == end.ref) {
      if (const std::uint64_t session = session_of(pod->node); session != 0) {
        effects_.push_back(ToAgent{session, ForgetPods{{end.ref}}});
      }
      return end_pods({end});  // which comes back here
    }
  }
  if (cluster_.pod({job.id, 0}) != nullptr) return;
  const bool requeue = job.pending.contains(0);
  PodsEnded ended;
  for (std::uint32_t rank = 1; rank < job.spec.elements.size(); ++rank) {
    const Pod* pod = cluster_.pod({job.id, rank});
    if (pod == nullptr) continue;
    PodEnd end;
    end.ref = pod->ref;
    end.outcome.state = requeue ? PodState::kNodeLost : ended_as(job, 0);
    end.outcome.exit_code = end.outcome.state == PodState::kSucceeded ? std::int16_t{0} : std::int16_t{-1};
    end.outcome.node = pod->node;
    end.outcome.attempt = static_cast<std::uint16_t>(pod->ref.attempt);
    end.outcome.started_at = pod->started_at;
    end.outcome.ended_at = now_;
    end.requeue = requeue;
    dispatcher_.ended(pod->node, job.spec.request, pod->gpu_mask, end_of(job, *pod), cluster_.pinning(pod->ref.pod));
    if (pod->state == PodState::kRunning) --running_pods_;
    if (requeue) waits(job, 1);
    ended.ends.push_back(std::move(end));
  }
  emit(std::move(ended));
  after_ends(job);
}

}  // namespace berth::scheduler
