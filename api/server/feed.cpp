#include "api/server/feed.h"

#include <algorithm>
#include <vector>

namespace berth::server {

using namespace state;
using accounting::Ended;

namespace {

constexpr std::size_t kJobsAtOnce = 512;        // read again in one turn …
constexpr std::uint64_t kPodsAtOnce = 100'000;  // … with about so many pods at most

// Jobs of which something ended in the batch, each once.
std::vector<JobId> candidates(const Batch& batch) {
  std::vector<JobId> jobs;
  const auto add = [&jobs](JobId job) {
    if (jobs.empty() || jobs.back() != job) jobs.push_back(job);
  };
  for (const Event& event : batch.events) {
    if (const auto* ended = std::get_if<PodsEnded>(&event)) {
      for (const PodEnd& end : ended->ends) {
        if (!end.requeue) add(end.ref.pod.job);
      }
    } else if (const auto* cancelled = std::get_if<ElementsCancelled>(&event)) {
      add(cancelled->job);
    }
  }
  std::sort(jobs.begin(), jobs.end());
  jobs.erase(std::unique(jobs.begin(), jobs.end()), jobs.end());
  return jobs;
}

}  // namespace

void Feed::missed(TimeUs from) {
  const std::lock_guard lock(mutex_);
  missed_from_ = missed_from_ ? std::min(*missed_from_, from) : from;
  ++missed_round_;
  behind_ = true;
}

bool Feed::is_whole(const Ended& unit) const {
  const std::lock_guard lock(mutex_);
  return unit.round == missed_round_;
}

std::optional<Ended> Feed::collect(const Cluster& cluster, const Batch& batch, bool has_room) {
  if (behind_) {
    const std::lock_guard lock(mutex_);
    if (missed_from_) {
      const std::pair<TimeUs, JobId> place{*missed_from_, JobId{}};
      cursor_ = cursor_ ? std::min(*cursor_, place) : place;
      round_ = missed_round_;
      missed_from_.reset();
    }
  }
  if (cursor_) return has_room ? catch_up(cluster) : std::nullopt;
  if (batch.index == 0) return std::nullopt;
  Ended unit{batch.index, batch.at, {}, round_};
  for (const JobId id : candidates(batch)) {
    const Job* job = cluster.job(id);
    if (job == nullptr) {
      ++lost_;
    } else if (!job->active() && job->ended_at == batch.at) {
      unit.jobs.push_back(accounting::record_of(cluster, *job));
    }
  }
  return unit.jobs.empty() ? std::nullopt : std::optional<Ended>(std::move(unit));
}

std::optional<Ended> Feed::catch_up(const Cluster& cluster) {
  Ended unit;
  unit.round = round_;
  std::uint64_t pods = 0;
  const auto& ended = cluster.ended_jobs();
  for (auto at = ended.lower_bound(*cursor_); at != ended.end(); ++at) {
    if (unit.jobs.size() == kJobsAtOnce || pods >= kPodsAtOnce) {
      cursor_ = *at;
      return unit;
    }
    const Job& job = *cluster.job(at->second);
    pods += job.spec.elements.size();
    unit.jobs.push_back(accounting::record_of(cluster, job));
  }
  // All there is: from here on each turn tells its own.
  unit.index = cluster.applied_index();
  unit.at = cluster.applied_at();
  cursor_.reset();
  const std::lock_guard lock(mutex_);
  behind_ = missed_from_.has_value();
  return unit;
}

}  // namespace berth::server
