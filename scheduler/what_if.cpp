#include "scheduler/what_if.h"

#include <algorithm>

namespace berth::scheduler {

using namespace state;

void WhatIf::add(Node node) {
  dispatcher_.engine().set_node(node.id, std::move(node.offered));
  dispatcher_.engine().set_connected(node.id, node.open);
}

void WhatIf::run_until(TimeUs at, const Request& request, const placement::Placed& place, const Pinning* pinning,
                       JobId gang) {
  dispatcher_.runs(place.node, request, at, pinning);
  if (gang != JobId{}) ++gangs_[gang];
  if (at != 0) ends_.push({at, ++order_, place, &request, pinning == nullptr ? Pinning{} : *pinning, gang});
}

void WhatIf::add_running(JobId job, bool gang, const placement::Placed& place, const Request& request,
                         const Pinning* pinning, TimeUs end) {
  // Runs of one job come one after the other: they share a copy of its request.
  if (requests_.empty() || *requests_.back() != request) requests_.push_back(std::make_unique<Request>(request));
  const Request& kept = *requests_.back();
  dispatcher_.engine().claim(place.node, kept, place.gpu_mask, pinning);
  if (!gang || gangs_[job] == 0) dispatcher_.licences().take(kept.licences, 1);
  run_until(end == 0 ? 0 : std::max(end, now_), kept, place, pinning, gang ? job : JobId{});
}

void WhatIf::add_waiting(const WaitKey& key, ClassKey in, std::uint32_t pods) {
  Job& job = jobs_[key.job];
  job.in = std::move(in);
  job.pods = pods;
  dispatcher_.wait(key, job.in);
}

std::uint32_t WhatIf::startable(JobId job) const { return jobs_.at(job).pods; }

void WhatIf::start(JobId id, const std::vector<placement::Placed>& places, TimeUs limit_us) {
  Job& job = jobs_.at(id);
  if (limit_us == 0) limit_us = job.in.limit_us;
  if (!job.start) job.start = now_;
  for (const placement::Placed& place : places) {
    run_until(limit_us == 0 ? 0 : now_ + limit_us, job.in.request, place, dispatcher_.engine().pinning(place),
              job.in.gang != 0 ? id : JobId{});
  }
  job.pods -= std::min(job.pods, static_cast<std::uint32_t>(places.size()));
  if (job.pods == 0) dispatcher_.forget(id);
}

std::optional<TimeUs> WhatIf::start_of(JobId id) {
  const auto wanted = jobs_.find(id);
  if (wanted == jobs_.end()) return std::nullopt;
  constexpr std::uint32_t kBudget = 16'384;
  for (std::uint32_t ended = 0;;) {
    do {
      dispatcher_.pass(now_, kBudget, *this);
    } while (!wanted->second.start && dispatcher_.unfinished());
    if (wanted->second.start) return wanted->second.start;
    if (ends_.empty() || ended >= kEndsMax) return std::nullopt;
    now_ = ends_.top().at;
    for (; !ends_.empty() && ends_.top().at == now_; ++ended) {
      const End end = ends_.top();
      ends_.pop();
      dispatcher_.ended(end.place.node, *end.request, end.place.gpu_mask, end.at,
                        end.pinning.empty() ? nullptr : &end.pinning);
      if (end.gang == JobId{} || --gangs_[end.gang] == 0) dispatcher_.licences().give(end.request->licences, 1);
    }
  }
}

}  // namespace berth::scheduler
