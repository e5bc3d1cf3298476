// What keeps a waiting job from the queue: its user, an administrator, a time to begin, other jobs.
#include <algorithm>
#include <limits>

#include "scheduler/core_impl.h"
#include "scheduler/core_text.h"
#include "state/units.h"

namespace berth::scheduler {

using namespace state;

namespace {

constexpr std::int64_t kDelayMsMax = 366LL * 24 * 3600 * 1000;

std::pair<std::uint32_t, std::string> namesakes_of(const Job& job) { return {job.owner.uid, job.spec.name}; }

bool waits_alone(const Job& job) {
  return std::any_of(job.spec.depends.begin(), job.spec.depends.end(), [](const Dependency& d) {
    return d.kind == Dependency::Kind::kSingleton && d.state == Dependency::State::kOpen;
  });
}

// Of its elements, or of the job as a whole.
bool of_elements(const Dependency& on) { return on.kind == Dependency::Kind::kAfterCorr; }

bool all_succeeded(const Job& job) { return job.counts.of(PodState::kSucceeded) == job.spec.elements.size(); }

// Met, failed for good, or open, of all of them together that the job as a whole has.
Dependency::State together(const JobSpec& spec) {
  using State = Dependency::State;
  std::size_t all = 0, met = 0, failed = 0;
  for (const Dependency& on : spec.depends) {
    if (of_elements(on)) continue;
    ++all;
    met += on.state == State::kMet;
    failed += on.state == State::kFailed;
  }
  if (spec.any_dependency) return all == 0 || met != 0 ? State::kMet : failed == all ? State::kFailed : State::kOpen;
  return failed != 0 ? State::kFailed : met == all ? State::kMet : State::kOpen;
}

}  // namespace

Status Core::Impl::check_waits(const Caller& caller, JobSpec& spec) {
  if (spec.hold != Hold::kNone) spec.hold = caller.admin && spec.hold == Hold::kAdmin ? Hold::kAdmin : Hold::kUser;
  if (spec.begin_at < 0) return invalid("begin", "the time to begin lies before 1970");
  if (!is_line(spec.account, kMaxNameBytes)) {
    return invalid("account", "the account has control characters or more than 255 bytes");
  }
  if (!is_line(spec.comment, kMaxCommentBytes)) {
    return invalid("comment", "the comment has control characters or more than 1024 bytes");
  }
  if (spec.depends.size() > kMaxDependencies) {
    return invalid("depends", "a job may depend on at most " + std::to_string(kMaxDependencies) + " others");
  }
  for (Dependency& on : spec.depends) {
    on.state = Dependency::State::kOpen;
    const bool alone = on.kind == Dependency::Kind::kSingleton;
    if (alone && on.job != JobId{}) return invalid("depends", "singleton names no job");
    if (!alone && cluster_.job(on.job) == nullptr) {
      return invalid("depends", "there is no job " + std::to_string(on.job.value) + " to depend on");
    }
    if (on.delay_ms < 0 || on.delay_ms > kDelayMsMax || (on.delay_ms != 0 && on.kind != Dependency::Kind::kAfter)) {
      return invalid("depends", "only 'after' has a delay, of a year at most");
    }
    if (alone && on.index) return invalid("depends", "singleton names no element");
    if (Status good = alone ? Status(Unit{}) : check_dependency(spec, on); !good) return good;
  }
  return Unit{};
}

namespace {

bool starts_jobs(Queue::State state) { return state == Queue::State::kUp || state == Queue::State::kDraining; }

}  // namespace

bool Core::Impl::eligible(const Job& job) {
  const JobSpec& spec = job.spec;
  const auto queue = cluster_.queues().find(spec.queue);
  if (queue != cluster_.queues().end() && !starts_jobs(queue->second.state)) return false;
  if (tenants_.active() && tenants_.over_job(tenant_of(job), size_of(spec))) return false;
  return spec.hold == Hold::kNone && spec.begin_at <= now_ &&
         (spec.depends.empty() || together(spec) == Dependency::State::kMet);
}

// How the dependency stands. An open one of a job that is forgotten cannot be: its end decides it.
Dependency::State Core::Impl::state_of(const Dependency& on, const Job& job, TimeUs& not_before) const {
  using State = Dependency::State;
  using Kind = Dependency::Kind;
  if (on.kind == Kind::kSingleton) {
    const auto names = singletons_.find(namesakes_of(job));
    const bool first =
        names == singletons_.end() || names->second.active.empty() || *names->second.active.begin() >= job.id;
    return first ? State::kMet : State::kOpen;
  }
  const Job* other = cluster_.job(on.job);
  if (other == nullptr) return on.kind == Kind::kAfter || on.kind == Kind::kAfterAny ? State::kMet : State::kFailed;
  if (on.index) {
    std::uint32_t element = 0;
    if (!other->spec.elements.find(*on.index, element)) return State::kFailed;
    const PodState ended = cluster_.pod_state(*other, element);
    if (on.kind == Kind::kAfter && ended != PodState::kPending && ended != PodState::kBound) {
      not_before = now_ + on.delay_ms * 1000;
      return State::kMet;
    }
    if (!is_final(ended)) return State::kOpen;
    if (on.kind == Kind::kAfterAny) return State::kMet;
    return (ended == PodState::kSucceeded) == (on.kind == Kind::kAfterOk) ? State::kMet : State::kFailed;
  }
  if (on.kind == Kind::kAfter) {
    if (other->counts.of(PodState::kPending) + other->counts.of(PodState::kBound) != 0) return State::kOpen;
    not_before = now_ + on.delay_ms * 1000;
    return State::kMet;
  }
  if (other->active()) return State::kOpen;
  if (on.kind == Kind::kAfterAny) return State::kMet;
  if (on.kind == Kind::kAfterCorr) {
    const bool failed = job.corresponding != nullptr && !job.corresponding->never.empty() && !all_succeeded(*other);
    return failed ? State::kFailed : State::kMet;
  }
  return all_succeeded(*other) == (on.kind == Kind::kAfterOk) ? State::kMet : State::kFailed;
}

// Writes down what has been decided of the job's dependencies; false if nothing has.
bool Core::Impl::decide(const Job& job) {
  JobChanged changed;
  changed.job = job.id;
  for (std::uint32_t i = 0; i < job.spec.depends.size(); ++i) {
    const Dependency& on = job.spec.depends[i];
    if (on.state != Dependency::State::kOpen) continue;
    TimeUs not_before = 0;
    const Dependency::State now = state_of(on, job, not_before);
    if (now == Dependency::State::kOpen) continue;
    changed.decided.push_back({i, now});
    if (not_before > std::max(job.spec.begin_at, now_)) {
      changed.begin_at = std::max(changed.begin_at.value_or(0), not_before);
    }
  }
  if (changed.decided.empty()) return false;
  emit(std::move(changed));
  return true;
}

void Core::Impl::follow(const Job& job) {
  if (waits_alone(job)) {
    auto [names, made] = singletons_.try_emplace(namesakes_of(job));
    names->second.waiting.insert(job.id);
    if (made) {
      for (const auto& [id, other] : cluster_.jobs()) {
        if (other->active() && !other->spec.is_step() && namesakes_of(*other) == names->first)
          names->second.active.insert(id);
      }
    }
  }
  follow_counterparts(job);
  decide(job);
  for (const Dependency& on : job.spec.depends) {
    if (on.state != Dependency::State::kOpen || on.kind == Dependency::Kind::kSingleton) continue;
    if (const auto element = element_of(on); element) {
      element_dependents_[*element].insert(job.id);
    } else {
      dependents_[on.job].insert(job.id);
    }
  }
  if (!waits_alone(job)) unfollow(job);
}

// What it would still be told of it no longer needs.
void Core::Impl::unfollow(const Job& job) {
  if (job.spec.depends.empty()) return;
  const bool over = job.counts.of(PodState::kPending) == 0;
  for (const Dependency& on : job.spec.depends) {
    if (on.kind == Dependency::Kind::kSingleton) {
      const auto names = singletons_.find(namesakes_of(job));
      if (names == singletons_.end() || (!over && on.state == Dependency::State::kOpen)) continue;
      names->second.waiting.erase(job.id);
      if (names->second.waiting.empty()) singletons_.erase(names);
    } else if (over || on.state != Dependency::State::kOpen) {
      const auto leave = [&](auto& all, const auto& key) {
        const auto at = all.find(key);
        if (at == all.end()) return;
        at->second.erase(job.id);
        if (at->second.empty()) all.erase(at);
      };
      // Another dependency on the same may still be open.
      const bool needed = !over && std::any_of(job.spec.depends.begin(), job.spec.depends.end(), [&](const auto& d) {
        return d.job == on.job && d.index == on.index && d.state == Dependency::State::kOpen;
      });
      if (needed) continue;
      if (const auto element = element_of(on); element) {
        leave(element_dependents_, *element);
      } else {
        leave(dependents_, on.job);
        leave(counterparts_, on.job);
      }
    }
  }
}

// Something of the job has started or ended.
void Core::Impl::decide_dependents(const Job& job) {
  const auto found = dependents_.find(job.id);
  if (found == dependents_.end()) return;
  const std::set<JobId> waiting = found->second;
  for (const JobId id : waiting) {
    const Job& dependent = *cluster_.job(id);
    if (!decide(dependent)) continue;
    unfollow(dependent);
    enqueue(dependent);
  }
}

void Core::Impl::note_active(const Job& job) {
  const auto names = singletons_.find(namesakes_of(job));
  if (names != singletons_.end()) names->second.active.insert(job.id);
}

void Core::Impl::note_ended(const Job& job) {
  const auto names = singletons_.find(namesakes_of(job));
  if (names == singletons_.end()) return;
  names->second.active.erase(job.id);
  const std::set<JobId> waiting = names->second.waiting;
  for (const JobId id : waiting) {
    const Job& dependent = *cluster_.job(id);
    if (!decide(dependent)) continue;
    unfollow(dependent);
    enqueue(dependent);
  }
}

// Those whose time has come. Who sleeps is found again at each turn that he is kept back by nothing but time.
void Core::Impl::wake_sleepers() {
  while (!sleepers_.empty() && sleepers_.begin()->first <= now_) {
    const JobId id = sleepers_.begin()->second;
    sleepers_.erase(sleepers_.begin());
    if (const Job* job = cluster_.job(id); job != nullptr && !job->pending.empty()) enqueue(*job);
  }
}

std::pair<WaitReason, std::string> Core::Impl::kept_back_by(const Job& job) {
  const JobSpec& spec = job.spec;
  if (spec.hold == Hold::kAdmin) return {WaitReason::kHeldAdmin, "held by an administrator"};
  if (spec.hold == Hold::kUser) return {WaitReason::kHeldUser, "held; berth release " + std::to_string(job.id.value)};
  const Dependency::State all = together(spec);
  if (!spec.depends.empty() && all != Dependency::State::kMet) {
    const auto shown = all == Dependency::State::kFailed ? Dependency::State::kFailed : Dependency::State::kOpen;
    const auto on = std::find_if(spec.depends.begin(), spec.depends.end(),
                                 [&](const Dependency& d) { return d.state == shown && !of_elements(d); });
    const std::string text = dependency_text(*on);
    if (all == Dependency::State::kFailed) {
      return {WaitReason::kDependencyNever, "its dependency " + text + " will never be met"};
    }
    return {WaitReason::kDependency, "waits for its dependency " + text};
  }
  if (const auto* of = job.corresponding.get(); of != nullptr && of->ready.empty() && !job.pending.empty()) {
    // Who still can start some day tells of all.
    for (const auto& [number, open] : of->open) {
      if (open.empty()) continue;
      return {WaitReason::kDependency, "waits for its dependency " + dependency_text(spec.depends[number])};
    }
    return *counterpart_missing(job, job.pending.front());
  }
  const auto queue = cluster_.queues().find(spec.queue);
  if (queue != cluster_.queues().end() && !starts_jobs(queue->second.state)) {
    return {WaitReason::kQueueDown, "queue " + spec.queue + " is " + std::string(name_of(queue->second.state))};
  }
  if (spec.begin_at > now_) return {WaitReason::kBeginTime, "begins at " + format_time(spec.begin_at)};
  if (auto limited = limited_by(job)) return std::move(*limited);
  return {WaitReason::kNone, ""};
}

void Core::Impl::on_request(ClientCommand& command, JobUpdateRequest& request) {
  const Job* job = find_job(command, request.job);
  if (job == nullptr) return;
  const std::string name = "job " + std::to_string(request.job.value);
  const auto refused = [&](ErrorCode code, const char* field, const std::string& message) {
    refuse(command.reply_to, code, field, message);
  };
  if (job->pending.empty()) {
    return refused(ErrorCode::kConflict, "job",
                   job->active() ? name + " runs; only what waits can be changed" : name + " has already ended");
  }
  if (job->spec.is_step() && (request.held || request.account || request.qos)) {
    return refused(ErrorCode::kConflict, "job", name + " is a step: it is held and charged with its job alone");
  }
  const bool admin = command.caller.admin;
  JobChanged changed;
  changed.job = job->id;
  if (request.held) {
    if (!*request.held && job->spec.hold == Hold::kAdmin && !admin) {
      return refused(ErrorCode::kDenied, "hold", name + " is held by an administrator, who alone can release it");
    }
    const Hold wanted = !*request.held                                  ? Hold::kNone
                        : admin && command.caller.uid != job->owner.uid ? Hold::kAdmin
                                                                        : Hold::kUser;
    // A hold by an administrator is not weakened by the user's own.
    changed.hold = *request.held && job->spec.hold == Hold::kAdmin ? Hold::kAdmin : wanted;
  }
  // The rest is checked as a new job's would be.
  JobSpec spec = job->spec;
  if (request.priority) spec.priority = *request.priority;
  if (request.begin_at) spec.begin_at = *request.begin_at;
  if (request.time_limit_ms) spec.time_limit_ms = *request.time_limit_ms;
  if (request.name) spec.name = *request.name;
  if (request.comment) spec.comment = *request.comment;
  if (request.time_limit_ms && job->counts.live() != 0) {
    return refused(ErrorCode::kConflict, "time", "some of " + name + " runs already, with the time limit it had");
  }
  const bool no_higher = !request.priority || *request.priority <= job->spec.priority;
  Caller as = command.caller;
  as.admin = as.admin || no_higher;  // who keeps or lowers what was raised for him needs nobody's leave
  spec.depends.clear();              // not changed, and what they name may be gone
  if (Status good = check_spec(as, job->owner, spec, false); !good)
    return reply(command.reply_to, std::move(good.error()));
  if (request.account || request.qos) {
    if (job->counts.live() != 0) {
      return refused(ErrorCode::kConflict, "account", "some of " + name + " runs already, and is charged for");
    }
    if (request.account) spec.account = *request.account;
    if (request.qos) spec.qos = *request.qos;
    if (Status good = check_account(command.caller, job->owner, spec); !good) {
      return reply(command.reply_to, std::move(good.error()));
    }
    if (Status good = check_limits(job->owner, spec); !good) return reply(command.reply_to, std::move(good.error()));
    if (spec.account != job->spec.account) changed.account = spec.account;
    if (spec.qos != job->spec.qos) changed.qos = spec.qos;
    if (spec.time_limit_ms != job->spec.time_limit_ms) changed.time_limit_ms = spec.time_limit_ms;
    if (Status good = check_queue(command.caller, spec); !good) return reply(command.reply_to, std::move(good.error()));
    if (changed.account || changed.qos) {  // against what there is without it
      const std::int64_t jobs = job->counts.active();
      const TenantId from = tenant_of(*job);
      tenants_.add_jobs(from, -jobs);
      const auto over = tenants_.over_jobs(tenants_.of(spec.account, job->owner.user, spec.qos), jobs);
      tenants_.add_jobs(from, jobs);
      if (over) return reply(command.reply_to, denied_by(*over));
    }
  } else if (request.time_limit_ms) {
    if (Status good = check_limits(job->owner, spec); !good) return reply(command.reply_to, std::move(good.error()));
  }
  changed.priority = request.priority;
  changed.begin_at = request.begin_at;
  if (request.time_limit_ms) changed.time_limit_ms = spec.time_limit_ms;  // none may mean the queue's
  changed.comment = request.comment;
  if (request.name && *request.name != job->spec.name) {
    if (waits_alone(*job)) {
      return refused(ErrorCode::kConflict, "name", name + " waits for others of its name, and cannot have another");
    }
    if (!singletons_.empty()) note_ended(*job);  // of that name
    changed.name = request.name;
  }
  dispatcher_.forget(job->id);
  const bool charged = tenants_.active() && !job->spec.is_step();
  if (charged) tenants_.add_jobs(tenant_of(*job), -std::int64_t{job->counts.active()});
  emit(std::move(changed));
  if (charged) tenants_.add_jobs(tenant_of(*job), job->counts.active());
  if (request.name && !singletons_.empty()) note_active(*job);
  enqueue(*job);
  reply(command.reply_to, Ok{});
}

}  // namespace berth::scheduler
