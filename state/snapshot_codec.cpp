#include "state/snapshot_codec.h"

#include <algorithm>

#include "state/journal_convert.h"

namespace berth::state {

namespace {

namespace fb = flatbuffers;
using Builder = fb::FlatBufferBuilder;

fb::Offset<fb::Vector<const journal::ElementRange*>> intervals(Builder& b, const IntervalSet& set) {
  if (set.empty()) return {};
  std::vector<journal::ElementRange> list;
  list.reserve(set.intervals().size());
  for (const auto& [first, end] : set.intervals()) list.emplace_back(first, end);
  return b.CreateVectorOfStructs(list);
}

bool to_intervals(const fb::Vector<const journal::ElementRange*>* list, std::uint32_t size, IntervalSet& out) {
  if (list == nullptr) return true;
  for (const auto* r : *list) {
    if (r->first() >= r->end() || r->end() > size) return false;
    out.insert(r->first(), r->end());
  }
  return true;
}

fb::Offset<journal::Job> encode_job(Builder& b, const Job& job) {
  std::vector<journal::EndedElement> ended;
  job.outcomes.each(0, [&](std::uint32_t element, const PodOutcome& o) {
    ended.emplace_back(convert::outcome(o, o.message), element);
    return true;
  });
  std::vector<journal::Attempt> used;
  for (const auto& [element, attempts] : job.attempts) used.emplace_back(element, attempts);
  const auto owner = convert::owner(b, job.owner);
  const auto spec = convert::job_spec(b, job.spec);
  const auto pending = intervals(b, job.pending);
  const auto cancelled = intervals(b, job.cancelled);
  const auto outcomes = ended.empty() ? 0 : b.CreateVectorOfStructs(ended);
  const auto attempts = used.empty() ? 0 : b.CreateVectorOfStructs(used);
  const auto messages = convert::strings(b, job.messages);
  return journal::CreateJob(b, job.id.value, owner, spec, job.submit_key, job.submitted_at, job.first_started_at, job.ended_at,
                            pending, cancelled, outcomes, attempts, messages);
}

// Everything but the counts, which follow from the rest.
bool decode_job(const journal::Job& table, Job& job) {
  job.id = JobId{table.id()};
  job.owner = convert::to_owner(table.owner());
  if (!convert::to_job_spec(table.spec(), job.spec)) return false;
  const std::uint32_t size = job.spec.elements.size();
  job.submit_key = table.submit_key();
  job.submitted_at = table.submitted_at();
  job.first_started_at = table.first_started_at();
  job.ended_at = table.ended_at();
  if (!to_intervals(table.pending(), size, job.pending) || !to_intervals(table.cancelled(), size, job.cancelled)) return false;
  job.messages = convert::strings(table.messages());
  if (table.outcomes() != nullptr) {
    for (const auto* ended : *table.outcomes()) {
      PodOutcome outcome;
      if (ended->element() >= size || !convert::to_outcome(ended->outcome(), outcome) || !is_final(outcome.state)) return false;
      if (outcome.message != 0 && outcome.message >= job.messages.size()) return false;
      job.outcomes.slot(ended->element()) = outcome;
    }
  }
  if (table.attempts() != nullptr) {
    for (const auto* used : *table.attempts()) {
      if (used->element() >= size || used->used() == 0) return false;
      job.attempts[used->element()] = used->used();
    }
  }
  return true;
}

void count_states(Job& job) {
  auto& by_state = job.counts.by_state;
  by_state[static_cast<std::size_t>(PodState::kPending)] += job.pending.size();
  by_state[static_cast<std::size_t>(PodState::kCancelled)] += job.cancelled.size();
  job.outcomes.each(0, [&](std::uint32_t, const PodOutcome& outcome) {
    ++by_state[static_cast<std::size_t>(outcome.state)];
    return true;
  });
}

bool decode_pod(const journal::LivePod& table, Pod& pod) {
  if (!convert::is_pod_state(table.state()) || !convert::is_pod_state(table.stop_state())) return false;
  pod.ref = convert::to_pod_ref(table.ref());
  pod.node = NodeId{table.node()};
  pod.state = static_cast<PodState>(table.state());
  pod.stopping = table.stopping();
  pod.stop_state = static_cast<PodState>(table.stop_state());
  pod.gpu_mask = table.gpu_mask();
  pod.bound_at = table.bound_at();
  pod.started_at = table.started_at();
  return pod.state == PodState::kBound || pod.state == PodState::kRunning;
}

}  // namespace

std::string SnapshotCodec::encode(const Cluster& cluster) {
  Builder b(1 << 20);
  std::vector<fb::Offset<journal::Job>> jobs;
  jobs.reserve(cluster.jobs_.size());
  for (const auto& [id, job] : cluster.jobs_) jobs.push_back(encode_job(b, *job));
  const auto job_list = b.CreateVector(jobs);

  // Through the nodes, whose pods are in order: the same cluster gives the same bytes.
  journal::LivePod* pod_list = nullptr;
  const auto pods = b.CreateUninitializedVectorOfStructs(cluster.pods_.size(), &pod_list);
  for (const auto& [node, ids] : cluster.node_pods_) {
    for (const PodId& id : ids) {
      const Pod& pod = cluster.pods_.at(id);
      *pod_list++ = {convert::pod_ref(pod.ref), pod.gpu_mask, pod.bound_at, pod.started_at, pod.node.value,
                     static_cast<std::uint8_t>(pod.state), pod.stopping, static_cast<std::uint8_t>(pod.stop_state)};
    }
  }
  std::vector<fb::Offset<journal::Node>> nodes;
  for (const auto& [id, node] : cluster.nodes_) {
    const auto info = convert::node_info(b, node.info);
    const auto reason = convert::text(b, node.reason);
    nodes.push_back(journal::CreateNode(b, id.value, info, static_cast<std::uint8_t>(node.state), reason, node.joined_at));
  }
  const auto node_list = b.CreateVector(nodes);
  std::vector<fb::Offset<journal::QueueSet>> queues;
  for (const auto& [name, queue] : cluster.queues_) queues.push_back(convert::queue(b, queue));
  const auto queue_list = b.CreateVector(queues);
  std::vector<fb::Offset<journal::TokenAdded>> tokens;
  for (const auto& [id, token] : cluster.tokens_) tokens.push_back(convert::token(b, token));
  const auto token_list = b.CreateVector(tokens);
  b.Finish(journal::CreateSnapshot(b, cluster.applied_index_, cluster.applied_at_, cluster.last_job_id_.value,
                                   cluster.last_node_id_.value, job_list, pods, node_list, queue_list, token_list));
  return {reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize()};
}

Result<Cluster> SnapshotCodec::decode(std::span<const std::byte> bytes) {
  const auto bad = [](std::string what) {
    return Error{ErrorCode::kInternal, "", "the snapshot is malformed: " + std::move(what), 0};
  };
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  fb::Verifier verifier(data, bytes.size(), 16, 1'000'000'000);
  if (!verifier.VerifyBuffer<journal::Snapshot>(nullptr)) return bad("its structure");
  const auto* table = fb::GetRoot<journal::Snapshot>(data);
  Cluster cluster;
  cluster.applied_index_ = table->index();
  cluster.applied_at_ = table->at();
  cluster.last_job_id_ = JobId{table->last_job_id()};
  cluster.last_node_id_ = NodeId{table->last_node_id()};
  if (table->nodes() != nullptr) {
    for (const auto* entry : *table->nodes()) {
      Node node;
      node.id = NodeId{entry->id()};
      if (entry->state() > static_cast<std::uint8_t>(NodeState::kLost) || !convert::to_node_info(entry->info(), node.info)) {
        return bad("a node");
      }
      node.state = static_cast<NodeState>(entry->state());
      node.reason = convert::text(entry->reason());
      node.joined_at = entry->joined_at();
      cluster.node_names_.emplace(node.info.name, node.id);
      cluster.nodes_.emplace(node.id, std::move(node));
    }
  }
  if (table->jobs() != nullptr) {
    for (const auto* entry : *table->jobs()) {
      auto job = std::make_unique<Job>();
      if (!decode_job(*entry, *job)) return bad("job " + std::to_string(entry->id()));
      count_states(*job);
      if (job->submit_key != 0) cluster.submit_keys_.emplace(job->submit_key, job->id);
      if (job->ended_at != 0) {
        cluster.ended_jobs_.emplace(job->ended_at, job->id);
        cluster.ended_pods_ += job->spec.elements.size();
      }
      const JobId id = job->id;
      cluster.jobs_.emplace_hint(cluster.jobs_.end(), id, std::move(job));
    }
  }
  if (table->pods() != nullptr) {
    for (const auto* entry : *table->pods()) {
      Pod pod;
      Job* job = cluster.job_to_change(JobId{entry->ref().job()});
      if (job == nullptr || !decode_pod(*entry, pod)) return bad("a running pod");
      ++job->counts.by_state[static_cast<std::size_t>(pod.state)];
      cluster.node_pods_[pod.node].insert(pod.ref.pod);
      cluster.pods_.emplace(pod.ref.pod, pod);
    }
  }
  if (table->queues() != nullptr) {
    for (const auto* entry : *table->queues()) {
      Queue queue = convert::to_queue(*entry);
      cluster.queues_[queue.name] = queue;
    }
  }
  if (table->tokens() != nullptr) {
    for (const auto* entry : *table->tokens()) {
      Token token;
      if (!convert::to_token(*entry, token)) return bad("a token");
      cluster.tokens_[token.id] = token;
    }
  }
  if (std::string wrong = check_invariants(cluster); !wrong.empty()) return bad(std::move(wrong));
  return cluster;
}

}  // namespace berth::state
