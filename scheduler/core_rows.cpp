// Jobs and pods as rows of a listing, and why a job waits.
#include <algorithm>
#include <tuple>

#include "scheduler/core_impl.h"
#include "scheduler/core_text.h"
#include "state/units.h"

namespace berth::scheduler {

using namespace state;

std::pair<WaitReason, std::string> Core::Impl::waiting_reason(const Job& job, ClassReasons& reasons) {
  using enum WaitReason;
  if (job.counts.of(PodState::kPending) == 0) return {kNone, ""};
  if (job.spec.kind == JobKind::kGang && job.pending.size() != job.spec.elements.size()) {
    return {kCleaning, "the gang's other pods are being stopped before it starts again"};
  }
  if (job.spec.is_step()) return {kResources, "other steps of its job have the cpus"};
  if (auto kept = kept_back_by(job); kept.first != kNone) return kept;
  const WaitQueue::Class* in = dispatcher_.queue().waiting_in(job.id);
  if (in == nullptr) {
    return {kArrayLimit, "the array runs at most " + std::to_string(job.spec.throttle) + " pods at once"};
  }
  if (engine_.node_count() == 0) return {kResources, "no node has joined yet"};
  if (!in->blocked) {
    const auto first = dispatcher_.queue().first_blocked();
    const bool behind = !dispatcher_.policy().backfill && first && first->key.job != job.id;
    if (!behind) return {kNone, "about to be placed"};
    return {kPriority, "waits behind job " + std::to_string(first->key.job.value)};
  }
  if (const auto going = making_room_.find(job.id); going != making_room_.end()) {
    return {kResources, "room is being made: " + plural(going->second.size(), "pod", "pods") +
                            " of lower tiers still " + (going->second.size() == 1 ? "has" : "have") + " to end"};
  }
  auto [known, made] = reasons.try_emplace(in);
  auto& [code, text] = known->second;
  if (!made) return known->second;
  if (in->unlicensed) {
    code = kLicences;
    for (const Countable& wanted : in->request().licences) {
      const Licences::Known of = dispatcher_.licences().find(wanted.name);
      if (of.used + wanted.count <= of.total) continue;
      text += (text.empty() ? "" : ", ") + std::to_string(of.used) + " of " + std::to_string(of.total) + " licences " +
              wanted.name + " are in use";
    }
    if (text.empty()) text = "waits for licences";
    return known->second;
  }
  code = kResources;
  const placement::Refusal refusal = engine_.explain(in->request());
  if (refusal.nodes_fit == 0) {
    text = "no room on " + plural(refusal.nodes_total, "node: ", "nodes: ") + join_counts(refusal);
    return known->second;
  }
  const auto promise = dispatcher_.promise();
  if (in->beside && promise) {
    code = kPriority;
    text =
        "would run into what job " + std::to_string(promise->job.value) + " is promised at " + format_time(promise->at);
  } else if (job.spec.kind == JobKind::kGang) {
    text = "too few nodes have room for the whole gang at once";
  } else {
    code = kPriority;
    text = "kept back for a job that waited longer";
  }
  return known->second;
}

namespace {

// The indexes of an array that wait, as ranges.
std::string waiting_indexes(const Job& job) {
  constexpr std::size_t kRangesMax = 64;
  constexpr std::uint32_t kPositionsMax = 4'096;  // looked at one by one, where the indexes are no simple range
  const IndexSet& all = job.spec.elements;
  std::string text;
  std::size_t ranges = 0;
  const auto add = [&](std::uint32_t first, std::uint32_t last, std::uint32_t step) {
    if (++ranges > kRangesMax) return false;
    text += (text.empty() ? "" : ",") + std::to_string(first);
    if (last != first) text += "-" + std::to_string(last);
    if (last != first && step != 1) text += ":" + std::to_string(step);
    return true;
  };
  const bool simple = all.ranges().size() == 1;
  std::uint32_t looked_at = 0;
  for (const auto& [first, end] : job.pending.intervals()) {
    if (simple) {
      if (!add(all.at(first), all.at(end - 1), all.ranges()[0].step)) return text + ",...";
      continue;
    }
    for (std::uint32_t e = first; e < end;) {
      std::uint32_t last = e;
      while (last + 1 < end && all.at(last + 1) == all.at(last) + 1 && looked_at++ < kPositionsMax) ++last;
      if (looked_at >= kPositionsMax || !add(all.at(e), all.at(last), 1)) return text + ",...";
      e = last + 1;
    }
  }
  return text;
}

}  // namespace

// Where its live pods are, else where the first of those that ended was.
void Core::Impl::add_nodes(const Job& job, JobRow& row) const {
  const auto add = [&](NodeId id) {
    const Node* node = cluster_.node(id);
    if (node == nullptr) return;
    if (std::find(row.nodes.begin(), row.nodes.end(), node->info.name) == row.nodes.end()) {
      row.nodes.push_back(node->info.name);
    }
  };
  constexpr std::uint32_t kLookedAt = 4'096;  // elements of an array: a row costs no more
  if (job.counts.live() != 0) {
    const std::uint32_t size = std::min(job.spec.elements.size(), kLookedAt);
    for (std::uint32_t e = 0; e < size && row.nodes.size() < kRowNodesMax; ++e) {
      if (const Pod* pod = cluster_.pod({job.id, e}); pod != nullptr) add(pod->node);
    }
    std::sort(row.nodes.begin(), row.nodes.end());
    return;
  }
  job.outcomes.each(0, [&](std::uint32_t, const PodOutcome& outcome) {
    add(outcome.node);
    return job.spec.kind == JobKind::kGang && row.nodes.size() < kRowNodesMax;
  });
}

JobRow Core::Impl::row_of(const Job& job, ClassReasons& class_reasons) {
  JobRow row;
  row.id = job.id;
  row.name = job.spec.name;
  row.user = job.owner.user;
  row.queue = job.spec.queue;
  row.kind = job.spec.kind;
  row.summary = summary_of(job.counts);
  row.counts = job.counts;
  row.resources = job.spec.request.resources;
  row.priority = job.spec.priority;
  row.submitted_at = job.submitted_at;
  row.started_at = job.first_started_at;
  row.ended_at = job.ended_at;
  std::tie(row.wait_reason, row.reason) = waiting_reason(job, class_reasons);
  if (row.summary == PodState::kDeadline) row.reason = late_text(job.spec);
  if (row.reason.empty() && job.messages.size() > 1) row.reason = job.messages[1];
  row.time_limit_ms = job.spec.time_limit_ms;
  if (const Pod* pod = job.spec.kind == JobKind::kArray ? nullptr : cluster_.pod({job.id, 0}); pod != nullptr) {
    row.time_limit_ms = limit_of(job, *pod);
  }
  row.begin_at = job.spec.begin_at;
  row.uid = job.owner.uid;
  row.gid = job.owner.gid;
  row.pods = job.spec.elements.size();
  row.account = job.spec.account;
  row.qos = job.spec.qos;
  row.comment = job.spec.comment;
  add_nodes(job, row);
  row.throttle = job.spec.throttle;
  row.step_of = job.spec.step_of;
  row.replica_of = job.spec.replica.of;
  row.step = job.spec.step.number;
  row.use = job.use;
  if (job.spec.kind == JobKind::kArray && !job.pending.empty()) row.waiting = waiting_indexes(job);
  if (!job.active()) {
    job.outcomes.each(0, [&](std::uint32_t, const PodOutcome& outcome) {
      if (outcome.state != row.summary) return true;
      row.exit_code = outcome.exit_code;
      row.signal = outcome.signal;
      return false;
    });
  }
  return row;
}

PodRow Core::Impl::pod_row_of(const Job& job, std::uint32_t element) const {
  PodRow row;
  row.element = element;
  row.index = job.spec.elements.at(element);
  row.state = cluster_.pod_state(job, element);
  const auto node_name = [&](NodeId id) {
    const Node* node = cluster_.node(id);
    return node == nullptr ? std::string() : node->info.name;
  };
  if (const Pod* pod = cluster_.pod({job.id, element}); pod != nullptr) {
    row.attempt = pod->ref.attempt;
    row.node = node_name(pod->node);
    row.started_at = pod->started_at;
    if (pod->stopping) row.message = "stopping";
    row.time_limit_ms = pod->limit_ms;
  } else if (const PodOutcome* outcome = job.outcomes.find(element); outcome != nullptr) {
    row.attempt = outcome->attempt;
    row.node = node_name(outcome->node);
    row.exit_code = outcome->exit_code;
    row.signal = outcome->signal;
    row.mem_peak_mib = outcome->mem_peak_mib;
    row.started_at = outcome->started_at;
    row.ended_at = outcome->ended_at;
    if (outcome->message < job.messages.size()) row.message = job.messages[outcome->message];
  } else if (row.state == PodState::kPending) {
    row.attempt = Cluster::next_attempt(job, element);
    if (auto missing = counterpart_missing(job, element)) std::tie(row.wait_reason, row.message) = std::move(*missing);
  } else if (row.state == PodState::kDeadline) {
    row.message = late_text(job.spec);
  }
  return row;
}

}  // namespace berth::scheduler
