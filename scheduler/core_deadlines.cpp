// Deadlines: what cannot end before its own any more is not started, and what runs is ended at it.
#include <algorithm>

#include "scheduler/core_impl.h"
#include "state/units.h"

namespace berth::scheduler {

using namespace state;

// With the least time that will do for it.
TimeUs Core::Impl::latest_start(const JobSpec& spec) {
  if (spec.deadline == 0) return 0;
  return spec.deadline - (spec.time_min_ms != 0 ? spec.time_min_ms : spec.time_limit_ms) * 1000;
}

Status Core::Impl::check_times(const JobSpec& spec) const {
  if (spec.time_min_ms < 0) return invalid("time-min", "the minimum time must not be negative");
  if (spec.time_limit_ms != 0 && spec.time_min_ms > spec.time_limit_ms) {
    return invalid("time-min", "the minimum time of " + format_duration_ms(spec.time_min_ms) +
                                   " is over the time limit of " + format_duration_ms(spec.time_limit_ms));
  }
  if (spec.deadline == 0) return Unit{};
  if (spec.deadline <= now_)
    return invalid("deadline", "the deadline at " + format_time(spec.deadline) + " has passed");
  const TimeUs begin = std::max(spec.begin_at, now_);
  if (latest_start(spec) >= begin) return Unit{};
  return invalid("deadline", "it could begin at " + format_time(begin) + " and needs " +
                                 format_duration_ms((spec.deadline - latest_start(spec)) / 1000) +
                                 ": no end before the deadline at " + format_time(spec.deadline) + " is possible");
}

// Of its run, as far as it is known when it is bound: 0 is none.
std::int64_t Core::Impl::limit_of(const Job& job, const Pod& pod) {
  return pod.limit_ms != 0 ? pod.limit_ms : job.spec.time_limit_ms;
}

// What the node is told, which counts from the pod's start: that may be later.
std::int64_t Core::Impl::limit_from_now(const Job& job, const Pod* pod) const {
  const std::int64_t limit = pod == nullptr ? job.spec.time_limit_ms : limit_of(job, *pod);
  if (job.spec.deadline == 0) return limit;
  const std::int64_t left = std::max<std::int64_t>((job.spec.deadline - now_) / 1000, 1);
  return limit == 0 ? left : std::min(limit, left);
}

std::string Core::Impl::late_text(const JobSpec& spec) {
  return "could not have ended before its deadline at " + format_time(spec.deadline) + " any more";
}

// Its time comes again where some of it waits that could start until then, or runs.
void Core::Impl::note_deadline(const Job& job) {
  if (job.spec.deadline == 0) return;
  if (!job.pending.empty()) deadlines_.emplace(latest_start(job.spec) + 1, job.id);
  if (job.counts.live() != 0 && job.spec.deadline > now_) deadlines_.emplace(job.spec.deadline, job.id);
}

void Core::Impl::end_late() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    const Job* job = cluster_.job(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
    if (job == nullptr || !job->active()) continue;
    const bool waits_too_long = !job->pending.empty() && latest_start(job->spec) < now_;
    const bool runs_too_long = job->counts.live() != 0 && job->spec.deadline <= now_;
    if (waits_too_long) {
      std::vector<ElementRange> elements;
      for (const auto& [first, end] : job->pending.intervals()) elements.push_back({first, end});
      cancel_waiting(*job, std::move(elements), true);
    }
    if (runs_too_long) {
      std::vector<PodStop> stops;
      for (const PodId& id : live_pods_of(*job)) {
        const Pod& pod = *cluster_.pod(id);
        const bool comes_again = pod.stopping && pod.stop_state == PodState::kPending;
        if (!pod.stopping || comes_again) stops.push_back({pod.ref, PodState::kTimedOut});
      }
      stop_pods(std::move(stops));
      if (!steps_.empty()) end_steps(*job);
    }
    if (waits_too_long || runs_too_long) {
      after_ends(*job);
    } else {
      note_deadline(*job);  // its limit has changed since
    }
  }
}

}  // namespace berth::scheduler
