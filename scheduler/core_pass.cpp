// What starts: the dispatcher says which job's pods go where, the core makes it so.
#include <algorithm>

#include "scheduler/core_impl.h"

namespace berth::scheduler {

using namespace state;

ClassKey Core::Impl::class_key_of(const JobSpec& spec, const std::string& user) {
  ClassKey key;
  key.request = spec.request;
  key.limit_us = spec.time_limit_ms * 1000;
  if (spec.time_min_ms != spec.time_limit_ms) key.least_us = spec.time_min_ms * 1000;
  if (preempts_) key.tier = tier_of(spec);
  const auto queue = cluster_.queues().find(spec.queue);
  if (queue != cluster_.queues().end()) key.request.queue_nodes = queue->second.where;
  if (spec.kind != JobKind::kGang) return key;
  key.gang = spec.elements.size();
  key.shape = spec.gang;
  if (spec.distinct_nodes) key.shape.per_node = 1;
  for (const std::uint32_t most :
       {queue == cluster_.queues().end() ? 0 : queue->second.nodes_max, most_nodes(spec, user)}) {
    if (most == 0 || most >= key.gang) continue;
    key.shape.nodes_max = key.shape.nodes_max == 0 ? most : std::min(most, key.shape.nodes_max);
  }
  return key;
}

JobShape Core::Impl::shape_of(const Job& job) {
  const std::uint64_t pods = job.spec.kind == JobKind::kGang ? job.spec.elements.size() : 1;
  return {job.owner.uid, pods * job.spec.request.resources.cpu_milli, job.spec.time_limit_ms * 1000, job.submitted_at};
}

// When the pod will have ended at the latest, as far as that is known: it may start a moment after it was bound.
TimeUs Core::Impl::end_of(const Job& job, const Pod& pod) {
  const std::int64_t limit = limit_of(job, pod);
  return limit == 0 ? 0 : pod.bound_at + limit * 1000;
}

std::uint32_t Core::Impl::startable(JobId job) const { return throttle_room(*cluster_.job(job)); }

// A job that nothing could be placed of for too long.
bool Core::Impl::overdue(JobId id) const {
  const Job& job = *cluster_.job(id);
  if (takes_room(id)) return true;
  return job.counts.live() == 0 && job.submitted_at <= now_ - options_.overtaking_ends_after_ms * 1000;
}

void Core::Impl::start(JobId id, const std::vector<placement::Placed>& given, TimeUs limit_us) {
  const Job& job = *cluster_.job(id);
  std::vector<placement::Placed> sorted;
  if (job.spec.kind == JobKind::kGang) {
    // Ranks go through the nodes in the order of their names.
    sorted = given;
    std::stable_sort(sorted.begin(), sorted.end(), [&](const placement::Placed& a, const placement::Placed& b) {
      return engine_.gang_node(a.node, 1).place < engine_.gang_node(b.node, 1).place;
    });
  }
  const std::vector<placement::Placed>& places = sorted.empty() ? given : sorted;
  std::vector<std::uint32_t> elements;
  elements.reserve(places.size());
  for (const auto& [first, end] : job.startable().intervals()) {
    for (std::uint32_t e = first; e < end && elements.size() < places.size(); ++e) elements.push_back(e);
    if (elements.size() == places.size()) break;
  }
  bind(job, elements, places, limit_us / 1000);
  enqueue(job);
}

// The binds of a turn share one event; each job's are applied at once, since the next decision builds on them.
void Core::Impl::bind(const Job& job, const std::vector<std::uint32_t>& elements,
                      const std::vector<placement::Placed>& places, std::int64_t limit_ms) {
  // What would run beyond its deadline has until then.
  if (job.spec.deadline != 0) {
    const std::int64_t left = limit_from_now(job, nullptr);
    if (limit_ms == 0 ? left != job.spec.time_limit_ms : left < limit_ms) limit_ms = left;
  }
  PodsBound bound;
  bound.binds.reserve(places.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    const PodRef ref{{job.id, elements[i]}, Cluster::next_attempt(job, elements[i])};
    bound.binds.push_back({ref, places[i].node, places[i].gpu_mask});
    if (limit_ms != 0) bound.limits.push_back({static_cast<std::uint32_t>(i), limit_ms});
    if (const Pinning* pinning = engine_.pinning(places[i]); pinning != nullptr) {
      bound.pins.push_back({static_cast<std::uint32_t>(i), *pinning});
    }
  }
  if (job.spec.kind == JobKind::kGang && !job.spec.request.licences.empty()) licensed_gangs_.insert(job.id);
  waits_no_more(job, bound.binds.size());
  bind_latency_.add(now_ - job.submitted_at, bound.binds.size());
  emit(std::move(bound));
  if (!watchers_.empty() && watchers_.contains(job.id)) changed_.insert(job.id);

  for (std::size_t i = 0; i < places.size(); ++i) {
    const Pod& pod = *cluster_.pod({job.id, elements[i]});
    dispatcher_.runs(pod.node, job.spec.request, end_of(job, pod), engine_.pinning(places[i]));
    if (job.spec.lead_only && elements[i] != 0) continue;  // a place for steps: nothing runs there yet
    auto& orders = starts_[places[i].node].orders;
    if (orders.empty() || orders.back().job != job.id || orders.back().time_limit_ms != limit_from_now(job, &pod)) {
      orders.push_back(order_for(job, places[i].node, 0, &pod));
    }
    orders.back().pods.push_back(start_of(job, pod));
  }
}

void Core::Impl::send_starts() {
  for (auto& [node, starts] : starts_) {
    const std::uint64_t session = session_of(node);
    // Nodes are placed on only while connected, and nothing disconnects them within the pass.
    if (session != 0) effects_.push_back(ToAgent{session, std::move(starts)});
  }
  starts_.clear();
}

}  // namespace berth::scheduler
