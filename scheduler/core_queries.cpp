// Listings, one bounded page at a time, and the reasons for waiting.
#include <algorithm>
#include <array>

#include "scheduler/core_impl.h"
#include "scheduler/core_text.h"
#include "scheduler/what_if.h"
#include "state/units.h"

namespace berth::scheduler {

using namespace state;

namespace {

// "hardware threads 0-3 for itself, of NUMA node 0; memory counted on NUMA node 0"
std::string cores_text(const Topology& topology, const Pinning& pinning) {
  std::string text = "hardware threads " + pinning.cpus + " for itself";
  std::vector<std::uint32_t> cpus;
  parse_cpus(pinning.cpus, cpus);
  const Topology::Domain* smallest = nullptr;
  for (const Topology::Domain& domain : topology.domains) {
    std::vector<std::uint32_t> threads;
    for (std::uint32_t core = domain.cores.first; core < domain.cores.end; ++core) {
      threads.insert(threads.end(), topology.cores[core].begin(), topology.cores[core].end());
    }
    std::sort(threads.begin(), threads.end());
    const bool around = std::includes(threads.begin(), threads.end(), cpus.begin(), cpus.end());
    if (around && (smallest == nullptr || domain.cores.size() < smallest->cores.size())) smallest = &domain;
  }
  if (smallest != nullptr && smallest->part != Topology::Part::kMachine) {
    constexpr std::array<const char*, 4> kParts = {"machine", "package", "NUMA node", "L3 cache"};
    text += std::string(", of ") + kParts[static_cast<std::size_t>(smallest->part)] + " " +
            std::to_string(smallest->number);
  }
  std::string memory;
  for (const Pinning::Memory& part : pinning.memories) {
    memory +=
        (memory.empty() ? "" : ", ") + format_mem_mib(part.mem_mib) + " on NUMA node " + std::to_string(part.numa);
  }
  if (!memory.empty()) text += "; memory: " + memory;
  if (pinning.idle != 0) text += "; " + plural(pinning.idle, "more thread stays idle", "more threads stay idle");
  return text;
}

bool matches(const JobFilter& filter, const Job& job) {
  if (filter.uid && job.owner.uid != *filter.uid) return false;
  if (!filter.name.empty() && job.spec.name != filter.name) return false;
  if (!filter.queue.empty() && job.spec.queue != filter.queue) return false;
  if (!filter.ended && !job.active()) return false;
  if (filter.steps_of != job.spec.step_of && filter.jobs.empty()) return false;
  if (filter.replicas_of != job.spec.replica.of && filter.jobs.empty()) return false;
  return filter.states.empty() ||
         std::any_of(filter.states.begin(), filter.states.end(), [&](PodState s) { return job.counts.of(s) != 0; });
}

}  // namespace

void Core::Impl::on_request(ClientCommand& command, ListJobsRequest& request) {
  JobFilter& filter = request.filter;
  const std::uint32_t limit = std::clamp<std::uint32_t>(request.limit, 1, kRowsMax);
  if (!command.caller.admin) {
    if (filter.uid && *filter.uid != command.caller.uid) {
      return refuse(command.reply_to, ErrorCode::kDenied, "user", "only administrators see other users' jobs");
    }
    filter.uid = command.caller.uid;
  }
  JobPage page;
  ClassReasons class_reasons;
  if (!filter.jobs.empty()) {
    std::sort(filter.jobs.begin(), filter.jobs.end());
    for (const JobId id : filter.jobs) {
      const Job* job = id > request.after ? cluster_.job(id) : nullptr;
      if (job == nullptr || !matches(filter, *job)) continue;
      if (page.rows.size() == limit) {
        page.next = page.rows.back().id;
        break;
      }
      page.rows.push_back(row_of(*job, class_reasons));
    }
    return reply(command.reply_to, std::move(page));
  }
  std::uint32_t scanned = 0;
  for (auto it = cluster_.jobs().upper_bound(request.after); it != cluster_.jobs().end(); ++it) {
    if (page.rows.size() == limit || scanned++ == kScanMax) {
      page.next = std::prev(it)->first;
      break;
    }
    if (matches(filter, *it->second)) page.rows.push_back(row_of(*it->second, class_reasons));
  }
  reply(command.reply_to, std::move(page));
}

void Core::Impl::on_request(ClientCommand& command, ListPodsRequest& request) {
  const Job* job = find_job(command, request.job);
  if (job == nullptr) return;
  const std::uint32_t limit = std::clamp<std::uint32_t>(request.limit, 1, kRowsMax);
  PodPage page;
  std::uint32_t scanned = 0;
  for (std::uint32_t e = request.from_element; e < job->spec.elements.size(); ++e) {
    if (page.rows.size() == limit || scanned++ == kScanMax) {
      page.more = true;
      page.next_element = e;
      break;
    }
    const PodState s = cluster_.pod_state(*job, e);
    const bool wanted =
        request.states.empty() || std::find(request.states.begin(), request.states.end(), s) != request.states.end();
    if (wanted) page.rows.push_back(pod_row_of(*job, e));
  }
  reply(command.reply_to, std::move(page));
}

void Core::Impl::on_request(ClientCommand& command, ListEventsRequest& request) {
  std::optional<std::uint32_t> only_uid;
  if (!command.caller.admin) only_uid = command.caller.uid;
  reply(command.reply_to, log_.page(request, only_uid));
}

void Core::Impl::on_request(ClientCommand& command, ListNodesRequest& request) {
  const std::uint32_t limit = std::clamp<std::uint32_t>(request.limit, 1, kRowsMax);
  NodePage page;
  for (auto it = cluster_.nodes().upper_bound(request.after); it != cluster_.nodes().end(); ++it) {
    if (page.rows.size() == limit) {
      page.next = page.rows.back().id;
      break;
    }
    NodeRow row;
    row.id = it->first;
    row.info = it->second.info;
    if (!request.topology) row.info.topology = {};
    row.counts_used = engine_.counts_used(it->first);
    row.gpus_shared_milli = engine_.gpus_shared_milli(it->first);
    row.state = it->second.state;
    row.reason = it->second.reason;
    row.connected = session_of(it->first) != 0;
    row.used = engine_.used(it->first);
    row.pods = static_cast<std::uint32_t>(cluster_.pods_of(it->first).size());
    page.rows.push_back(std::move(row));
  }
  reply(command.reply_to, std::move(page));
}

void Core::Impl::on_request(ClientCommand& command, ShowJobRequest& request) {
  const Job* job = find_job(command, request.job);
  if (job == nullptr) return;
  ClassReasons class_reasons;
  reply(command.reply_to, JobDetail{row_of(*job, class_reasons), job->spec, job->owner});
}

// 0 where it is not known, or where to find it out would keep the core from its work.
TimeUs Core::Impl::expected_start(const Job& job) const {
  constexpr std::size_t kMost = 5'000;  // nodes, running pods and waiting jobs: a few milliseconds
  const std::size_t size = cluster_.nodes().size() + cluster_.live_pods().size() + dispatcher_.queue().size();
  const WaitQueue::Group* group = dispatcher_.queue().group_of(job.id);
  if (group == nullptr || group->limited || size > kMost) return 0;
  WhatIf what_if(*options_.placement, *options_.queueing, now_);
  for (const auto& [id, node] : cluster_.nodes()) {
    const bool open = node.state == NodeState::kUp && session_of(id) != 0;
    what_if.add({id, offer_of(node.info), open});
  }
  what_if.set_switches(options_.switches);
  for (const auto& [name, licence] : cluster_.licences()) what_if.licences().set(name, licence.total);
  for (const auto& [id, node] : cluster_.nodes()) {
    for (const PodId& pod_id : cluster_.pods_of(id)) {
      const Pod& pod = *cluster_.pod(pod_id);
      const Job& other = *cluster_.job(pod_id.job);
      if (other.spec.is_step()) continue;
      what_if.add_running(pod_id.job, other.spec.kind == JobKind::kGang, {id, 0, pod.gpu_mask}, other.spec.request,
                          cluster_.pinning(pod_id), end_of(other, pod));
    }
  }
  dispatcher_.queue().each([&](const WaitKey& key, const WaitQueue::Class& in) {
    const Job& other = *cluster_.job(key.job);
    if (dispatcher_.queue().group_of(key.job)->limited) return;  // nobody knows until when
    what_if.add_waiting(key, in.key, in.key.gang != 0 ? in.key.gang : throttle_room(other));
  });
  return what_if.start_of(job.id).value_or(0);
}

Explanation Core::Impl::explain_waiting(const Job& job) {
  Explanation out;
  ClassReasons class_reasons;
  out.summary = waiting_reason(job, class_reasons).second;
  const Resources& wanted = job.spec.request.resources;
  std::string asks = "asks for " + format_cpu_milli(wanted.cpu_milli) + " cpus";
  if (wanted.mem_mib != 0) asks += ", " + format_mem_mib(wanted.mem_mib);
  if (wanted.gpus != 0) asks += ", " + plural(wanted.gpus, "GPU", "GPUs");
  for (const std::string& text : constraint_texts(job.spec.request)) asks += ", " + text;
  if (job.spec.kind == JobKind::kGang) {
    asks += " for each of " + plural(job.spec.elements.size(), "pod", "pods") + " at once";
    if (job.spec.distinct_nodes) asks += ", each on a node of its own";
    for (const std::string& text : shape_texts(job.spec.gang)) asks += ", " + text;
  }
  out.lines.push_back(asks);
  const placement::Refusal refusal = engine_.explain(class_key_of(job.spec, job.owner.user).request);
  for (const auto& count : refusal.counts) {
    out.lines.push_back(plural(count.nodes, "node", "nodes") + " ruled out by " + count.constraint);
  }
  out.lines.push_back(plural(refusal.nodes_fit, "node has", "nodes have") + " room for one of its pods now");
  if (!refusal.nearest_miss.empty()) out.lines.push_back(refusal.nearest_miss);
  if (job.spec.throttle != 0) {
    out.lines.push_back(plural(job.counts.live(), "pod", "pods") + " of at most " + std::to_string(job.spec.throttle) +
                        " at once run");
  }
  if (job.spec.deadline != 0) {
    out.lines.push_back("has to start by " + format_time(latest_start(job.spec)) + ", to end before its deadline at " +
                        format_time(job.spec.deadline));
  }
  if (job.spec.time_min_ms != 0) {
    out.lines.push_back("may be given less time than its limit, down to " + format_duration_ms(job.spec.time_min_ms) +
                        ", to start sooner");
  }
  constexpr std::size_t kCountAhead = 100'000;
  if (dispatcher_.waits(job.id)) {
    const std::size_t ahead = dispatcher_.queue().ahead_of(job.id, kCountAhead);
    out.lines.push_back((ahead == kCountAhead ? "at least " : "") + plural(ahead, "job waits", "jobs wait") +
                        " in front of it");
  }
  if (const auto promise = dispatcher_.promise(); promise && promise->job == job.id) {
    out.lines.push_back("will have room at " + format_time(promise->at) +
                        " at the latest: by then enough of what runs has reached its time limit");
  }
  out.expected_start = expected_start(job);
  if (out.expected_start != 0) {
    out.lines.push_back("expected to start at " + format_time(out.expected_start) +
                        ", if all that runs and waits before it takes its whole time limit");
  }
  return out;
}

void Core::Impl::on_request(ClientCommand& command, ExplainRequest& request) {
  const Job* job = find_job(command, request.job);
  if (job == nullptr) return;
  std::uint32_t element = job->pending.empty() ? 0 : job->pending.front();
  if (request.index && !job->spec.elements.find(*request.index, element)) {
    return refuse(command.reply_to, ErrorCode::kNotFound, "job",
                  "job " + std::to_string(job->id.value) + " has no element " + std::to_string(*request.index));
  }
  const PodRow row = pod_row_of(*job, element);
  Explanation out;
  if (row.state == PodState::kPending) {
    out = explain_waiting(*job);
    if (request.index && row.wait_reason != WaitReason::kNone) out.summary = row.message;
  } else if (!is_final(row.state)) {
    out.summary = row.state == PodState::kBound
                      ? "placed on node " + row.node + ", which has not reported its start yet"
                      : "runs on node " + row.node + " since " + format_time(row.started_at);
    if (const Pinning* pinning = cluster_.pinning({job->id, element}); pinning != nullptr) {
      const Node* node = cluster_.node(cluster_.pod({job->id, element})->node);
      out.lines.push_back("has " + cores_text(node->info.topology, *pinning));
    }
  } else {
    out.summary = std::string(name_of(row.state)) + (row.message.empty() ? "" : ": " + row.message);
    if (row.exit_code >= 0) out.lines.push_back("exit code " + std::to_string(row.exit_code));
    if (!row.node.empty()) out.lines.push_back("ran on node " + row.node);
  }
  out.state = row.state;
  reply(command.reply_to, std::move(out));
}

void Core::Impl::on_request(ClientCommand& command, ServerInfoRequest&) {
  ServerInfo info;
  info.version = options_.version;
  info.cluster = options_.cluster_name;
  info.journal_index = cluster_.applied_index();
  info.jobs = cluster_.jobs().size();
  info.pods_pending = waiting_pods_;
  info.pods_live = cluster_.live_pods().size();
  info.nodes = cluster_.nodes().size();
  info.nodes_connected = connected_;
  info.started_at = options_.started_at;
  info.start_latency_p50_us = start_latency_.percentile(0.50);
  info.start_latency_p99_us = start_latency_.percentile(0.99);
  reply(command.reply_to, std::move(info));
}

std::optional<std::uint32_t> Core::Impl::element_of(const ClientCommand& command, const Job& job,
                                                    const std::optional<std::uint32_t>& index) {
  const std::string name = "job " + std::to_string(job.id.value);
  std::uint32_t element = 0;
  if (index) {
    if (job.spec.elements.find(*index, element)) return element;
    refuse(command.reply_to, ErrorCode::kNotFound, "job", name + " has no element " + std::to_string(*index));
    return std::nullopt;
  }
  if (job.spec.elements.size() == 1) return element;
  refuse(command.reply_to, ErrorCode::kInvalid, "job",
         name + " has " + std::to_string(job.spec.elements.size()) + " pods; name one, as " +
             std::to_string(job.id.value) + "." + std::to_string(job.spec.elements.at(0)));
  return std::nullopt;
}

void Core::Impl::on_request(ClientCommand& command, ReadLogRequest& request) {
  const Job* job = find_job(command, request.job);
  if (job == nullptr) return;
  const auto named = element_of(command, *job, request.index);
  if (!named) return;
  const std::uint32_t element = *named;
  const Pod* pod = cluster_.pod({job->id, element});
  const PodOutcome* outcome = job->outcomes.find(element);
  if (pod == nullptr && outcome == nullptr) {
    return refuse(command.reply_to, ErrorCode::kUnavailable, "job", "this pod has not started, so it has no output",
                  500);
  }
  const NodeId node = pod != nullptr ? pod->node : outcome->node;
  const std::uint64_t session = session_of(node);
  if (session == 0) {
    const Node* record = cluster_.node(node);
    return refuse(
        command.reply_to, ErrorCode::kUnavailable, "job",
        "the output is on node " + (record == nullptr ? "(removed)" : record->info.name) + ", which is not connected",
        1000);
  }
  ReadLog read;
  read.token = ++log_tokens_;
  read.ref = {{job->id, element}, pod != nullptr ? pod->ref.attempt : outcome->attempt};
  read.uid = job->owner.uid;  // what the pod could write, its owner may read; nothing else
  read.gid = job->owner.gid;
  read.request = request;
  read.index = job->spec.elements.at(element);
  read.job_name = job->spec.name;
  read.user = job->owner.user;
  read.launch = job->spec.launch;
  read.step_of = job->spec.step_of;
  read.step = job->spec.step.number;
  effects_.push_back(ForwardLog{command.reply_to, session, std::move(read)});
}

void Core::Impl::on_request(ClientCommand& command, ExecRequest& request) {
  const Job* job = find_job(command, request.job);
  if (job == nullptr) return;
  const auto element = element_of(command, *job, request.index);
  if (!element) return;
  const PodState pod_state = cluster_.pod_state(*job, *element);
  const Pod* pod = cluster_.pod({job->id, *element});
  std::string name = "job " + std::to_string(job->id.value);
  if (request.index) name = "pod " + std::to_string(job->id.value) + "." + std::to_string(*request.index);
  if (pod == nullptr || pod_state != PodState::kRunning) {
    return refuse(command.reply_to, ErrorCode::kConflict, "job",
                  name + " does not run: it is " + std::string(name_of(pod_state)));
  }
  const std::uint64_t session = session_of(pod->node);
  if (session == 0) {
    const Node* record = cluster_.node(pod->node);
    return refuse(
        command.reply_to, ErrorCode::kUnavailable, "job",
        name + " is on node " + (record == nullptr ? "(removed)" : record->info.name) + ", which is not connected",
        1000);
  }
  effects_.push_back(ForwardExec{command.reply_to, session, {0, pod->ref, std::move(request)}});
}

}  // namespace berth::scheduler
