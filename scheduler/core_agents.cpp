// Nodes: agents come, report and go; what they run is brought together with what the cluster decided.
#include <algorithm>
#include <bit>
#include <boost/unordered/unordered_flat_set.hpp>

#include "scheduler/core_impl.h"

namespace berth::scheduler {

using namespace state;

namespace {

bool is_node_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

}  // namespace

std::uint64_t Core::Impl::session_of(NodeId node) const {
  const auto found = runtime_.find(node);
  return found == runtime_.end() ? 0 : found->second.session;
}

void Core::Impl::handle(AgentConnected& command) {
  NodeInfo& info = command.hello.info;
  const auto refuse_agent = [&](ErrorCode code, std::string field, std::string message) {
    effects_.push_back(RefuseAgent{command.session, Error{code, std::move(field), std::move(message), 0}});
  };
  if (!is_node_name(info.name)) {
    return refuse_agent(ErrorCode::kInvalid, "name", "a node's name is 1 to 255 of the characters A-Z a-z 0-9 . _ -");
  }
  if (info.capacity.cpu_milli == 0 || info.capacity.gpus > kMaxGpus) {
    return refuse_agent(ErrorCode::kInvalid, "capacity", "a node offers some cpu and at most 64 GPUs");
  }
  std::sort(info.features.begin(), info.features.end());
  info.features.erase(std::unique(info.features.begin(), info.features.end()), info.features.end());
  std::sort(info.taints.begin(), info.taints.end());
  info.taints.erase(std::unique(info.taints.begin(), info.taints.end()), info.taints.end());
  if (!std::all_of(info.taints.begin(), info.taints.end(), placement::is_taint)) {
    return refuse_agent(ErrorCode::kInvalid, "taint",
                        "a taint is KEY or KEY=VALUE, with :prefer behind it if it is only a wish");
  }

  std::sort(info.counts.begin(), info.counts.end());
  for (std::size_t i = 0; i < info.counts.size(); ++i) {
    const Countable& item = info.counts[i];
    const bool again = i != 0 && info.counts[i - 1].name == item.name;
    if (info.counts.size() <= kCountablesMax && is_countable_name(item.name) && item.count <= kCountMax && !again) {
      continue;
    }
    return refuse_agent(ErrorCode::kInvalid, "resource",
                        "a node offers at most 32 countable resources, each once as NAME=NUMBER");
  }
  if (const std::string wrong = check_topology(info.topology); !wrong.empty()) {
    return refuse_agent(ErrorCode::kInvalid, "topology", "the node's topology cannot be: " + wrong);
  }

  const Node* known = cluster_.node_by_name(info.name);
  if (known != nullptr && session_of(known->id) != 0) {
    if (known->info.instance != info.instance) {
      return refuse_agent(ErrorCode::kConflict, "name", "another agent is connected as node '" + info.name + "'");
    }
    // The same agent came back before its old connection was seen to die.
    const std::uint64_t old = session_of(known->id);
    effects_.push_back(RefuseAgent{old, Error{ErrorCode::kConflict, "", "the agent has connected again", 0}});
    agents_.erase(old);
  }
  const NodeId id = known != nullptr ? known->id : NodeId{cluster_.last_node_id().value + 1};
  const bool other_memory = known != nullptr && known->info.instance != info.instance;
  if (other_memory) lose_pods(id, "node " + info.name + " lost its memory of this pod");
  std::uint32_t subnet = known == nullptr ? 0 : known->subnet;
  if (subnet == 0 && command.hello.network) subnet = network_.free_subnet();
  const bool same =
      known != nullptr && known->info == info && known->state != NodeState::kLost && known->subnet == subnet;
  if (!same) {
    if (subnet != 0) {
      network_.take_subnet(subnet);
      network_.peer_changed(id);
    }
    emit(NodeJoined{id, info, subnet});
  }
  dispatcher_.nodes_changed();
  engine_.set_node(id, offer_of(info));
  engine_.set_in_service(id, cluster_.node(id)->state == NodeState::kUp);
  engine_.set_connected(id, true);
  if (session_of(id) == 0) ++connected_;
  runtime_[id].session = command.session;
  if (command.hello.network) {
    network_nodes_.insert(id);
  } else {
    network_nodes_.erase(id);
  }
  runtime_[id].network_at = 0;
  set_lost_deadline(id, 0);
  agents_[command.session] = id;
  dispatcher_.room_made(id);
  AgentWelcome welcome;
  welcome.node = id;
  welcome.heartbeat_ms = options_.heartbeat_ms;
  if (command.hello.network) {
    welcome.pod_subnet = network_.subnet_text(subnet);
    welcome.pods_cidr = options_.pods_cidr;
    welcome.services_cidr = options_.services_cidr;
  }
  effects_.push_back(ToAgent{command.session, std::move(welcome)});
  if (command.hello.network) effects_.push_back(ToAgent{command.session, network_.all(cluster_)});
  reconcile(id, command.session, command.hello);
}

// What the agent has against what the cluster wants of it.
void Core::Impl::reconcile(NodeId node, std::uint64_t session, const AgentHello& hello) {
  std::map<PodId, const AgentPod*> has;
  PodsStarted started;
  std::vector<PodStop> stops;
  std::vector<PodRef> forgets;
  for (const AgentPod& pod : hello.pods) {
    const Pod* bound = cluster_.pod(pod.ref.pod);
    if (bound == nullptr || bound->node != node || bound->ref != pod.ref) {
      if (!reconcile_unknown(node, pod, stops, forgets)) continue;
      bound = cluster_.pod(pod.ref.pod);
    }
    if (!has.emplace(pod.ref.pod, &pod).second) continue;
    if (pod.running && bound->state == PodState::kBound && pod.started_at != 0) {
      started.starts.push_back({pod.ref, pod.started_at});
    }
  }
  start_places(started);
  running_pods_ += started.starts.size();
  const std::vector<PodId> begun = waited_for(started);
  if (!started.starts.empty()) emit(std::move(started));
  decide_begun(begun);

  std::vector<PodEnd> ends;
  std::map<std::pair<JobId, std::int64_t>, StartOrder> orders;  // by their time limits, too
  for (const PodId& id : cluster_.pods_of(node)) {
    const Pod& pod = *cluster_.pod(id);
    const auto listed = has.find(id);
    if (listed != has.end()) {
      if (pod.stopping && listed->second->running) {
        stops.push_back({pod.ref, pod.stop_state == PodState::kPending ? PodState::kCancelled : pod.stop_state});
      }
      continue;
    }
    const Job& job = *cluster_.job(id.job);
    if (is_place(pod.ref)) continue;
    PodEnd end;
    end.ref = pod.ref;
    end.outcome.exit_code = -1;
    end.outcome.started_at = pod.started_at;
    if (pod.state == PodState::kRunning) {
      // It ran there, and the agent knows nothing of it: to send it again might run it twice.
      end.outcome.state = PodState::kNodeLost;
      end.message = "node " + hello.info.name + " no longer knows this pod";
      ends.push_back(std::move(end));
    } else if (pod.stopping) {
      end.outcome.state = pod.stop_state == PodState::kPending ? PodState::kCancelled : pod.stop_state;
      ends.push_back(std::move(end));
    } else {
      // The order never arrived, or the agent died before it wrote anything down.
      auto [order, made] = orders.try_emplace({id.job, limit_from_now(job, &pod)});
      if (made) order->second = order_for(job, node, 0, &pod);
      order->second.pods.push_back(start_of(job, pod));
    }
  }
  end_pods(std::move(ends));
  if (!orders.empty()) {
    StartPods starts;
    for (auto& [job, order] : orders) starts.orders.push_back(std::move(order));
    effects_.push_back(ToAgent{session, std::move(starts)});
  }
  if (!stops.empty()) effects_.push_back(ToAgent{session, StopPods{std::move(stops)}});
  if (!forgets.empty()) effects_.push_back(ToAgent{session, ForgetPods{std::move(forgets)}});
}

// The agent has a pod that is not bound to it: it was given up while the node was away. True if it is adopted back.
bool Core::Impl::reconcile_unknown(NodeId node, const AgentPod& pod, std::vector<PodStop>& stops,
                                   std::vector<PodRef>& forgets) {
  const Job* job = cluster_.job(pod.ref.pod.job);
  if (!pod.running) {
    forgets.push_back(pod.ref);
  } else if (job != nullptr && adoptable(*job, pod)) {
    adopt(node, pod);
    return true;
  } else {
    stops.push_back({pod.ref, PodState::kCancelled});
  }
  return false;
}

// It was requeued and still waits for its next attempt: the one that runs will do. A gang is requeued as a whole, so
// one of its pods alone is of no use.
bool Core::Impl::adoptable(const Job& job, const AgentPod& pod) const {
  const std::uint32_t element = pod.ref.pod.element;
  return job.spec.kind != JobKind::kGang && !job.spec.is_step() && job.spec.hold == Hold::kNone &&
         std::popcount(pod.gpu_mask) == static_cast<int>(job.spec.request.resources.gpus) && pod.started_at != 0 &&
         element < job.spec.elements.size() && job.pending.contains(element) &&
         Cluster::next_attempt(job, element) == pod.ref.attempt + 1;
}

void Core::Impl::adopt(NodeId node, const AgentPod& pod) {
  emit(PodsAdopted{{{pod.ref, node, pod.gpu_mask, pod.started_at, pod.pinning}}});
  const Job& job = *cluster_.job(pod.ref.pod.job);
  const Pinning* pinning = cluster_.pinning(pod.ref.pod);
  engine_.claim(node, job.spec.request, pod.gpu_mask, pinning);
  dispatcher_.runs(node, job.spec.request, end_of(job, *cluster_.pod(pod.ref.pod)), pinning);
  dispatcher_.licences().take(job.spec.request.licences, 1);
  waits_no_more(job, 1);
  ++running_pods_;
  decide_by_element(job, {pod.ref.pod.element, pod.ref.pod.element + 1});
  after_ends(job);
}

void Core::Impl::handle(AgentReported& command) {
  const auto agent = agents_.find(command.session);
  if (agent == agents_.end()) return;  // refused or replaced: it will connect again and repeat itself
  const NodeId node = agent->second;
  ForgetPods forget;
  std::vector<PodEnd> ends;
  // An end may stand twice in one report: an agent tells it again when a stop comes for a pod that has just ended. And
  // a pod that has ended in the same report needs no event of its own for its start.
  boost::unordered_flat_set<PodId, PodIdHash> told;
  for (PodEnd& end : command.status.ends) {
    if (hold_end(end)) continue;
    forget.pods.push_back(end.ref);
    const Pod* pod = cluster_.pod(end.ref.pod);
    if (pod == nullptr || pod->ref != end.ref || pod->node != node) continue;  // told before, or given up
    if (told.insert(end.ref.pod).second) ends.push_back(std::move(end));
  }
  PodsStarted started;
  for (const PodStart& start : command.status.starts) {
    const Pod* pod = cluster_.pod(start.ref.pod);
    if (pod == nullptr || pod->ref != start.ref || pod->node != node || pod->state != PodState::kBound) continue;
    if (told.insert(start.ref.pod).second) started.starts.push_back(start);
  }
  for (const PodStart& start : started.starts) {
    const Job& job = *cluster_.job(start.ref.pod.job);
    start_latency_.add(start.started_at - job.submitted_at);
    bound_latency_.add(start.started_at - cluster_.pod(start.ref.pod)->bound_at);
    if (!watchers_.empty() && watchers_.contains(job.id)) changed_.insert(job.id);
  }
  start_places(started);
  running_pods_ += started.starts.size();
  const std::vector<PodId> begun = waited_for(started);
  if (!started.starts.empty()) emit(std::move(started));
  decide_begun(begun);
  if (command.status.network != 0) runtime_[node].network_at = command.status.network;
  if (!command.status.readiness.empty()) hear_readiness(node, command.status.readiness);
  end_pods(std::move(ends));
  // Released only when this turn is durable, like every effect: the agent then forgets what the journal remembers.
  if (!forget.pods.empty()) effects_.push_back(ToAgent{command.session, std::move(forget)});
}

// Completes what a node says of an end with what the cluster knows: whether it was told to stop, and whether it goes
// back.
void Core::Impl::decide_end(const Job& job, const Pod& pod, PodEnd& end) {
  PodOutcome& outcome = end.outcome;
  if (!is_final(outcome.state)) outcome.state = PodState::kFailed;
  outcome.node = pod.node;
  outcome.attempt = static_cast<std::uint16_t>(end.ref.attempt);
  if (outcome.started_at == 0) outcome.started_at = pod.started_at;
  if (outcome.ended_at == 0) outcome.ended_at = now_;
  if (outcome.state == PodState::kFailed && end.message.empty() && outcome.exit_code > 0) {
    end.message = "exit code " + std::to_string(outcome.exit_code);
  }
  const bool gang = job.spec.kind == JobKind::kGang;
  const bool lost = outcome.state == PodState::kNodeLost;
  if (const auto victim = preempted_.find(pod.ref.pod); victim != preempted_.end() && pod.stopping) {
    end.message = "made room for job " + std::to_string(victim->second.value);
  }
  if (pod.stopping && pod.stop_state == PodState::kPending) {
    // It is to run again, unless it came to an end of its own before it was stopped. A gang does so as a whole.
    end.requeue = gang || lost || outcome.state == PodState::kCancelled;
    return;
  }
  if (pod.stopping) {
    if (lost || outcome.state == PodState::kCancelled) outcome.state = pod.stop_state;
    // A gang whose member was requeued goes back to the queue as a whole.
    end.requeue = gang && !job.pending.empty();
    return;
  }
  if (const auto lead = is_place(pod.ref) ? lead_ended_as(job) : std::nullopt) {
    outcome.state = *lead;  // a place ends as its job's first pod did
    outcome.exit_code = *lead == PodState::kSucceeded ? std::int16_t{0} : std::int16_t{-1};
    return;
  }
  const bool may_requeue = lost && end.ref.attempt <= job.spec.requeues_max;
  const bool none_ended = job.counts.active() == job.spec.elements.size();
  end.requeue = may_requeue && (!gang || none_ended);
}

void Core::Impl::end_pods(std::vector<PodEnd> ends) {
  if (ends.empty()) return;
  PodsEnded ended;
  ended.ends.reserve(ends.size());
  std::vector<JobId> jobs;
  std::map<JobId, std::vector<Ended>> corresponding;  // of arrays, where somebody waits for elements
  const auto flush = [&] {
    if (!ended.ends.empty()) emit(std::exchange(ended, {}));
  };
  for (PodEnd& end : ends) {
    const Job& job = *cluster_.job(end.ref.pod.job);
    const bool gang = job.spec.kind == JobKind::kGang;
    // Gangs are decided member by member on the state that the member before left.
    if (gang) flush();
    const Pod* found = cluster_.pod(end.ref.pod);
    if (found == nullptr || found->ref != end.ref) continue;  // ended with a member before it
    const Pod pod = *found;
    // Its own end is known, whatever became of its node while it waited for its steps.
    if (job.spec.lead_only && pod.ref.pod.element == 0) {
      if (auto held = held_ends_.extract(job.id); !held.empty() && held.mapped().ref == end.ref) end = held.mapped();
    }
    decide_end(job, pod, end);
    if (!job.spec.is_step()) {
      dispatcher_.ended(pod.node, job.spec.request, pod.gpu_mask, end_of(job, pod), cluster_.pinning(end.ref.pod));
      if (!gang) dispatcher_.licences().give(job.spec.request.licences, 1);
    }
    if (pod.state == PodState::kBound && end.outcome.started_at != 0) {
      start_latency_.add(end.outcome.started_at - job.submitted_at);
      bound_latency_.add(end.outcome.started_at - pod.bound_at);
    }
    if (pod.state == PodState::kRunning) --running_pods_;
    if (end.requeue) waits(job, 1);
    const bool keeps_going = job.spec.keep_going && end.outcome.state != PodState::kNodeLost;
    const bool takes_others = gang && !pod.stopping && end.outcome.state != PodState::kSucceeded && !keeps_going;
    if (jobs.empty() || jobs.back() != job.id) {
      jobs.push_back(job.id);
      if (!job.spec.is_step()) learn(job, end.outcome);  // one element tells of all that end with it
    }
    if (!end.requeue && job.spec.kind == JobKind::kArray && elements_are_waited_for()) {
      const std::uint32_t element = end.ref.pod.element;
      corresponding[job.id].push_back({{element, element + 1}, end.outcome.state == PodState::kSucceeded});
    }
    ended.ends.push_back(std::move(end));
    if (job.spec.lead_only && pod.ref.pod.element == 0) {
      flush();
      end_steps(job);
      settle_places(job);
    }
    if (!takes_others) continue;
    flush();
    if (!job.spec.is_step()) end_steps(job);
    std::vector<PodStop> stops;
    for (std::uint32_t e = 0; e < job.spec.elements.size(); ++e) {
      const Pod* member = cluster_.pod({job.id, e});
      if (member != nullptr && !member->stopping) stops.push_back({member->ref, PodState::kCancelled});
    }
    stop_pods(std::move(stops));
  }
  flush();
  for (const auto& [id, elements] : corresponding) decide_corresponding(*cluster_.job(id), elements);
  for (const JobId id : jobs) after_ends(*cluster_.job(id));
}

void Core::Impl::lose_pods(NodeId node, const std::string& why) {
  std::vector<PodEnd> ends;
  for (const PodId& id : cluster_.pods_of(node)) {
    PodEnd end;
    end.ref = cluster_.pod(id)->ref;
    end.outcome.state = PodState::kNodeLost;
    end.outcome.exit_code = -1;
    end.message = why;
    ends.push_back(std::move(end));
  }
  end_pods(std::move(ends));
}

void Core::Impl::set_lost_deadline(NodeId node, TimeUs at) {
  NodeRuntime& runtime = runtime_[node];
  if (runtime.lost_at != 0) lost_deadlines_.erase({runtime.lost_at, node});
  runtime.lost_at = at;
  if (at != 0) lost_deadlines_.emplace(at, node);
}

void Core::Impl::disconnect(NodeId node) {
  engine_.set_connected(node, false);
  dispatcher_.nodes_changed();
  runtime_[node].session = 0;
  network_nodes_.erase(node);
  --connected_;
  set_lost_deadline(node, now_ + options_.node_lost_after_ms * 1000);
}

void Core::Impl::handle(AgentGone& command) {
  const auto agent = agents_.find(command.session);
  if (agent == agents_.end()) return;
  const NodeId node = agent->second;
  agents_.erase(agent);
  if (session_of(node) == command.session) disconnect(node);
}

void Core::Impl::lose_overdue_nodes() {
  while (!lost_deadlines_.empty() && lost_deadlines_.begin()->first <= now_) {
    const NodeId id = lost_deadlines_.begin()->second;
    set_lost_deadline(id, 0);
    const std::string why = "node " + cluster_.node(id)->info.name + " was lost";
    if (cluster_.node(id)->state == NodeState::kUp) {
      emit(NodeStateChanged{id, NodeState::kLost,
                            "did not answer for " + std::to_string(options_.node_lost_after_ms / 1000) + " s"});
      engine_.set_in_service(id, false);
      dispatcher_.nodes_changed();
    }
    lose_pods(id, why);
  }
}

StartOrder Core::Impl::order_for(const Job& job, NodeId node, std::uint32_t ranks, const Pod* pod) const {
  StartOrder order;
  order.job = job.id;
  order.job_name = job.spec.name;
  order.owner = job.owner;
  order.kind = job.spec.kind;
  order.resources = job.spec.request.resources;
  order.time_limit_ms = limit_from_now(job, pod);
  order.launch = job.spec.launch;
  order.lead_only = job.spec.lead_only;
  order.step_of = job.spec.step_of;
  order.step = job.spec.step.number;
  if (const Service* service = cluster_.service(job.spec.replica.of); service != nullptr) {
    order.replica = job.spec.replica;
    order.service = service->name;
    order.space = service->space;
  }
  // All that the gang has of the node: its first pod, and the tasks of its steps, share it.
  const Job* whole = job.spec.is_step() ? cluster_.job(job.spec.step_of) : job.spec.lead_only ? &job : nullptr;
  if (whole != nullptr) {
    for (std::uint32_t e = 0, count = ranks == 0 ? whole->spec.elements.size() : 0; e < count; ++e) {
      const Pod* member = cluster_.pod({whole->id, e});
      ranks += member != nullptr && member->node == node ? 1 : 0;
    }
    order.resources = whole->spec.request.resources;
    order.resources.cpu_milli *= ranks;
    order.resources.mem_mib *= ranks;
    order.resources.gpus *= ranks;
  }
  // Who has a node for himself has all its cpus.
  if ((whole != nullptr ? whole : &job)->spec.request.exclusive) {
    order.resources.cpu_milli = cluster_.node(node)->info.capacity.cpu_milli;
  }
  order.gpu_share_milli = job.spec.request.gpu_share_milli;
  order.counts = job.spec.request.counts;
  if (job.spec.kind == JobKind::kGang) {
    for (std::uint32_t e = 0; e < job.spec.elements.size(); ++e) {
      const Pod* member = cluster_.pod({job.id, e});
      order.peers.push_back(member == nullptr ? "" : cluster_.node(member->node)->info.name);
    }
  }
  return order;
}

PodToStart Core::Impl::start_of(const Job& job, const Pod& pod) const {
  const std::uint32_t element = pod.ref.pod.element;
  const Pinning* pinning = cluster_.pinning(pod.ref.pod);
  PodToStart out{element, job.spec.elements.at(element), pod.ref.attempt, pod.gpu_mask,
                 pinning == nullptr ? Pinning{} : *pinning};
  if (job.spec.request.exclusive) out.pinning = {};
  if (!job.spec.lead_only) return out;
  // The first pod has all that the gang has of its node.
  for (const StepNode& node : step_nodes(job)) {
    if (node.node != pod.node) continue;
    out.gpu_mask = node.gpu_mask;
    out.pinning = node.unpinned ? Pinning{} : Pinning{format_cpus(node.cpus), {}, false, 0};
  }
  return out;
}

placement::Offered Core::Impl::offer_of(const NodeInfo& info) const {
  return {info.capacity, {info.name, info.features, info.taints}, info.counts, info.pods_max, &info.topology};
}

}  // namespace berth::scheduler
