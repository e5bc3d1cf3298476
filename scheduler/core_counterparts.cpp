// Dependencies on elements of arrays: of a job on one of them, and of each element of an array on the one of the same
// index in another, after which it starts if that succeeded. What waits stays a range; what an end changes is found
// from the elements that ended alone.
#include <algorithm>

#include "scheduler/core_impl.h"
#include "scheduler/core_text.h"

namespace berth::scheduler {

using namespace state;

namespace {

// The first index of `mine` that is not in `theirs`: range by range, whatever their sizes.
std::optional<std::uint32_t> first_without(const IndexSet& mine, const IndexSet& theirs) {
  for (const IndexRange& range : mine.ranges()) {
    std::uint64_t index = range.first;
    while (index <= range.last) {
      const auto at = static_cast<std::uint32_t>(index);
      std::uint32_t position = 0;
      if (!theirs.find(at, position)) return at;
      const auto other = std::prev(std::upper_bound(theirs.ranges().begin(), theirs.ranges().end(), at,
                                                    [](std::uint32_t i, const IndexRange& r) { return i < r.first; }));
      const std::uint64_t next = index + range.step;
      if (next > range.last) break;
      // All that follow in the other's range are in it, or the next is not.
      const bool all = range.step % other->step == 0;
      index = all ? index + (std::uint64_t{other->last} - at) / range.step * range.step + range.step : next;
    }
  }
  return std::nullopt;
}

bool is_element(const Job& other, std::uint32_t index) {
  std::uint32_t position = 0;
  return other.spec.kind == JobKind::kArray && other.spec.elements.find(index, position);
}

}  // namespace

Status Core::Impl::check_dependency(const JobSpec& spec, const Dependency& on) const {
  const Job& other = *cluster_.job(on.job);
  const std::string name = "job " + std::to_string(on.job.value);
  if (on.index && !is_element(other, *on.index)) {
    return invalid("depends", name + " has no element " + std::to_string(*on.index) + " to depend on");
  }
  if (on.kind != Dependency::Kind::kAfterCorr) return Unit{};
  if (on.index) return invalid("depends", "aftercorr names an array, and none of its elements");
  if (spec.any_dependency) return invalid("depends", "aftercorr must be met with all others: it does not go with '?'");
  if (spec.kind != JobKind::kArray) {
    return invalid("depends", "only an array has elements that wait for those of " + name + "; accepted: afterok");
  }
  if (other.spec.kind != JobKind::kArray) return invalid("depends", name + " is no array, as aftercorr wants");
  if (const auto missing = first_without(spec.elements, other.spec.elements)) {
    return invalid("depends", "element " + std::to_string(*missing) + " would wait for one that " + name +
                                  " does not have: its indexes are " + other.spec.elements.to_string());
  }
  return Unit{};
}

// What has ended of the job, as ranges.
std::vector<Core::Impl::Ended> Core::Impl::ended_elements(const Job& job) {
  std::vector<Ended> ended;
  job.outcomes.each(0, [&](std::uint32_t element, const PodOutcome& outcome) {
    const bool succeeded = outcome.state == PodState::kSucceeded;
    if (!ended.empty() && ended.back().elements.end == element && ended.back().succeeded == succeeded) {
      ++ended.back().elements.end;
    } else {
      ended.push_back({{element, element + 1}, succeeded});
    }
    return true;
  });
  for (const IntervalSet* never_ran : {&job.cancelled, &job.late}) {
    for (const auto& [first, end] : never_ran->intervals()) ended.push_back({{first, end}, false});
  }
  return ended;
}

// What of the job's elements that is decided by: those that wait for it until now.
void Core::Impl::find_decided(const Job& job, std::uint32_t number, const Job& other, const std::vector<Ended>& ended,
                              JobChanged& changed) {
  const auto open = job.corresponding->open.find(number);
  if (open == job.corresponding->open.end()) return;
  const auto& waiting = open->second.intervals();
  const auto add = [&](std::uint32_t first, std::uint32_t end, bool succeeded) {
    const auto state = succeeded ? Dependency::State::kMet : Dependency::State::kFailed;
    auto run = waiting.upper_bound(first);
    if (run != waiting.begin()) --run;
    for (; run != waiting.end() && run->first < end; ++run) {
      const ElementRange part{std::max(first, run->first), std::min(end, run->second)};
      if (part.first >= part.end) continue;
      auto& list = changed.elements;
      const bool follows = !list.empty() && list.back().number == number && list.back().state == state &&
                           list.back().elements.end == part.first;
      if (follows) {
        list.back().elements.end = part.end;
      } else {
        list.push_back({number, part, state});
      }
    }
  };
  const bool same = job.spec.elements == other.spec.elements;
  for (const Ended& of : ended) {
    if (same) {
      add(of.elements.first, of.elements.end, of.succeeded);
      continue;
    }
    for (std::uint32_t e = of.elements.first; e < of.elements.end; ++e) {
      std::uint32_t mine = 0;
      if (job.spec.elements.find(other.spec.elements.at(e), mine)) add(mine, mine + 1, of.succeeded);
    }
  }
}

// A job with such dependencies came, or came back: what has ended before it counts as well.
void Core::Impl::follow_counterparts(const Job& job) {
  if (job.corresponding == nullptr) return;
  JobChanged changed;
  changed.job = job.id;
  for (std::uint32_t i = 0; i < job.spec.depends.size(); ++i) {
    const Dependency& on = job.spec.depends[i];
    const Job* other = cluster_.job(on.job);
    if (on.kind != Dependency::Kind::kAfterCorr || on.state != Dependency::State::kOpen || other == nullptr) continue;
    counterparts_[on.job].insert(job.id);
    find_decided(job, i, *other, ended_elements(*other), changed);
  }
  if (!changed.elements.empty()) emit(std::move(changed));
}

// These elements of the job have ended, for good.
void Core::Impl::decide_corresponding(const Job& job, const std::vector<Ended>& ended) {
  if (!element_dependents_.empty()) {
    for (const Ended& of : ended) decide_by_element(job, of.elements);
  }
  const auto found = counterparts_.find(job.id);
  if (found == counterparts_.end() || ended.empty()) return;
  const std::set<JobId> waiting = found->second;
  for (const JobId id : waiting) {
    const Job& dependent = *cluster_.job(id);
    JobChanged changed;
    changed.job = id;
    for (std::uint32_t i = 0; i < dependent.spec.depends.size(); ++i) {
      const Dependency& on = dependent.spec.depends[i];
      const bool of_these = on.kind == Dependency::Kind::kAfterCorr && on.job == job.id;
      if (of_these && on.state == Dependency::State::kOpen) find_decided(dependent, i, job, ended, changed);
    }
    if (changed.elements.empty()) continue;
    emit(std::move(changed));
    enqueue(dependent);
  }
}

std::optional<PodId> Core::Impl::element_of(const Dependency& on) const {
  const Job* other = on.index ? cluster_.job(on.job) : nullptr;
  std::uint32_t element = 0;
  if (other == nullptr || !other->spec.elements.find(*on.index, element)) return std::nullopt;
  return PodId{on.job, element};
}

// These elements have started, or ended.
void Core::Impl::decide_by_element(const Job& job, ElementRange elements) {
  std::set<JobId> waiting;
  auto of = element_dependents_.lower_bound({job.id, elements.first});
  for (; of != element_dependents_.end() && of->first < PodId{job.id, elements.end}; ++of) {
    waiting.insert(of->second.begin(), of->second.end());
  }
  for (const JobId id : waiting) {
    const Job& dependent = *cluster_.job(id);
    if (!decide(dependent)) continue;
    unfollow(dependent);
    enqueue(dependent);
  }
}

std::vector<PodId> Core::Impl::waited_for(const PodsStarted& started) const {
  std::vector<PodId> pods;
  if (dependents_.empty() && element_dependents_.empty()) return pods;
  for (const PodStart& start : started.starts) pods.push_back(start.ref.pod);
  return pods;
}

void Core::Impl::decide_begun(const std::vector<PodId>& pods) {
  for (const PodId& id : pods) {
    const Job& job = *cluster_.job(id.job);
    decide_dependents(job);
    decide_by_element(job, {id.element, id.element + 1});
  }
}

// What keeps this waiting element from starting, if its counterparts do.
std::optional<std::pair<WaitReason, std::string>> Core::Impl::counterpart_missing(const Job& job,
                                                                                  std::uint32_t element) const {
  if (job.corresponding == nullptr || job.corresponding->ready.contains(element)) return std::nullopt;
  const bool never = job.corresponding->never.contains(element);
  const std::uint32_t index = job.spec.elements.at(element);
  for (std::uint32_t i = 0; i < job.spec.depends.size(); ++i) {
    const Dependency& on = job.spec.depends[i];
    if (on.kind != Dependency::Kind::kAfterCorr) continue;
    const std::string text = dependency_text(on) + "_" + std::to_string(index);
    if (!never) {
      const auto open = job.corresponding->open.find(i);
      if (open == job.corresponding->open.end() || !open->second.contains(element)) continue;
      return std::pair{WaitReason::kDependency, "waits for its dependency " + text};
    }
    const Job* other = cluster_.job(on.job);
    std::uint32_t theirs = 0;
    const bool failed = other == nullptr || !other->spec.elements.find(index, theirs)
                            ? on.state == Dependency::State::kFailed
                            : is_final(cluster_.pod_state(*other, theirs)) &&
                                  cluster_.pod_state(*other, theirs) != PodState::kSucceeded;
    if (failed) return std::pair{WaitReason::kDependencyNever, "its dependency " + text + " will never be met"};
  }
  return std::pair{WaitReason::kDependencyNever, "its dependency aftercorr will never be met"};
}

}  // namespace berth::scheduler
