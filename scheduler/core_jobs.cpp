// Jobs: submission, cancellation, and what their waiting means for the queue.
#include <algorithm>
#include <numeric>

#include "scheduler/check_request.h"
#include "scheduler/core_impl.h"
#include "state/units.h"

namespace berth::scheduler {

using namespace state;

namespace {

constexpr std::int32_t kPriorityMax = 1000;
constexpr std::int64_t kTierStep = 100'000'000;  // above all that priorities add up to
constexpr std::size_t kJobsPerRequestMax = 100'000;

bool is_name(std::string_view text, std::size_t max) {
  return text.size() <= max &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
}

}  // namespace

Status Core::Impl::check_spec(const Caller& caller, const Owner& owner, JobSpec& spec, bool new_job) {
  if (!is_name(spec.name, kMaxNameBytes)) {
    return invalid("name", "the name has control characters or more than " + std::to_string(kMaxNameBytes) + " bytes");
  }
  if (const Job* of = cluster_.job(spec.step_of); of != nullptr) spec.queue = of->spec.queue;
  const auto queue = cluster_.queues().find(spec.queue);
  if (queue == cluster_.queues().end()) {
    std::string known;
    for (const auto& [name, unused] : cluster_.queues()) known += (known.empty() ? "" : ", ") + name;
    return Error{ErrorCode::kNotFound, "queue", "there is no queue '" + spec.queue + "'; there are: " + known, 0};
  }
  const std::uint32_t size = spec.elements.size();
  if (size == 0) return invalid("array", "a job needs at least one element");
  if (spec.kind == JobKind::kArray && size > options_.array_size_max) {
    return invalid("array", "an array of " + std::to_string(size) + " elements is over the limit of " +
                                std::to_string(options_.array_size_max));
  }
  if (spec.kind == JobKind::kGang && size > kMaxGangSize) {
    return invalid("gang",
                   "a gang of " + std::to_string(size) + " pods is over the limit of " + std::to_string(kMaxGangSize));
  }
  if (spec.kind == JobKind::kSingle && size != 1) return invalid("array", "a single job has exactly one element");
  if (spec.throttle != 0 && spec.kind != JobKind::kArray) return invalid("array", "only an array has a throttle");
  if (spec.distinct_nodes && spec.kind != JobKind::kGang) return invalid("nodes", "only a gang has distinct nodes");
  if (spec.request.resources.cpu_milli == 0) return invalid("cpus", "a pod needs at least 0.001 cpus");
  if (spec.request.resources.gpus > kMaxGpus) {
    return invalid("gpus", std::to_string(spec.request.resources.gpus) + " GPUs are over the limit of " +
                               std::to_string(kMaxGpus) + " for a pod");
  }
  if (Status good = check_request(spec); !good) return good;
  if (spec.priority < -kPriorityMax || spec.priority > kPriorityMax) {
    return invalid("priority", "the priority must be from -1000 to 1000");
  }
  if (spec.priority > 0 && !caller.admin) {
    return Error{ErrorCode::kDenied, "priority", "only an administrator may raise a job's priority above 0", 0};
  }
  if (spec.time_limit_ms < 0) return invalid("time", "the time limit must not be negative");
  if (spec.time_limit_ms == 0 && !spec.is_step()) spec.time_limit_ms = queue->second.time_default_ms;
  if (new_job && !spec.is_step()) {
    if (Status good = check_account(caller, owner, spec); !good) return good;
    if (Status good = check_limits(owner, spec); !good) return good;
  }
  if (const std::int64_t longest = spec.is_step() ? 0 : queue->second.time_limit_ms; longest != 0) {
    if (spec.time_limit_ms > longest) {
      return invalid("time", "the time limit of " + format_duration_ms(spec.time_limit_ms) + " is over queue '" +
                                 spec.queue + "''s " + format_duration_ms(longest));
    }
    if (spec.time_limit_ms == 0) spec.time_limit_ms = longest;
  }
  if (spec.launch.empty() || spec.launch.size() > kMaxLaunchBytes) {
    return invalid("command", "the command and its environment must take from 1 byte to 1 MiB");
  }
  if (Status good = check_waits(caller, spec); !good) return good;
  if (Status good = check_times(spec); !good) return good;
  if (Status good = new_job ? check_licences(spec) : Status(Unit{}); !good) return good;
  if (spec.lead_only && spec.kind != JobKind::kGang) return invalid("gang", "only a gang keeps places for steps");
  if (spec.is_step()) return check_step(caller, spec);
  if (new_job) {
    if (Status good = check_queue(caller, spec); !good) return good;
  }
  return new_job ? check_possible(spec, owner) : Status(Unit{});
}

// Who may use the queue, and for what.
Status Core::Impl::check_queue(const Caller& caller, JobSpec& spec) const {
  const Queue& queue = cluster_.queues().find(spec.queue)->second;
  if (queue.state == Queue::State::kDraining || queue.state == Queue::State::kInactive) {
    return Error{ErrorCode::kUnavailable, "queue",
                 "queue '" + queue.name + "' takes no jobs: it is " + std::string(name_of(queue.state)), 0};
  }
  if (!caller.admin && !queue.users.empty() &&
      !std::binary_search(queue.users.begin(), queue.users.end(), caller.user)) {
    return Error{ErrorCode::kDenied, "queue", "user " + caller.user + " may not use queue '" + queue.name + "'", 0};
  }
  if (!caller.admin && !queue.accounts.empty() &&
      !std::binary_search(queue.accounts.begin(), queue.accounts.end(), spec.account)) {
    return Error{ErrorCode::kDenied, "account",
                 (spec.account.empty() ? "jobs without an account" : "account " + spec.account) +
                     " may not use queue '" + queue.name + "'",
                 0};
  }
  if (queue.nodes_max != 0 && spec.kind == JobKind::kGang) {
    const std::uint32_t least = spec.distinct_nodes ? spec.elements.size() : std::max(spec.gang.nodes_min, 1U);
    if (least > queue.nodes_max) {
      return invalid("nodes", "the job wants " + std::to_string(least) + " nodes and queue '" + queue.name +
                                  "' allows at most " + std::to_string(queue.nodes_max));
    }
  }
  return Unit{};
}

Status Core::Impl::check_licences(const JobSpec& spec) const {
  for (const Countable& wanted : spec.request.licences) {
    const auto known = cluster_.licences().find(wanted.name);
    if (known == cluster_.licences().end()) {
      std::string names;
      for (const auto& [name, licence] : cluster_.licences()) names += (names.empty() ? "" : ", ") + name;
      return Error{ErrorCode::kNotFound, "licence",
                   "there is no licence '" + wanted.name + "'; there " + (names.empty() ? "are none" : "are: " + names),
                   0};
    }
    if (wanted.count > known->second.total) {
      return invalid("licence", "the job wants " + std::to_string(wanted.count) + " licences '" + wanted.name +
                                    "' and the cluster has " + std::to_string(known->second.total));
    }
  }
  return Unit{};
}

// A request that no node could ever hold is refused, unless there are no nodes yet to judge by.
Status Core::Impl::check_possible(const JobSpec& spec, const Owner& owner) {
  if (engine_.node_count() == 0) return Unit{};
  WaitQueue::Class& in = dispatcher_.class_of(class_key_of(spec, owner.user));
  const Request& request = in.request();
  if (in.potential_version != engine_.offers_version()) {
    const placement::Potential potential = engine_.potential(request);
    in.potential_version = engine_.offers_version();
    in.potential_nodes = potential.nodes;
    in.potential_pods = potential.pods;
  }
  const std::uint32_t size = spec.kind == JobKind::kGang ? spec.elements.size() : 1;
  if (in.potential_nodes == 0) {
    const placement::Refusal refusal = engine_.explain(request);
    std::string counts;
    for (const auto& count : refusal.counts) {
      counts += (counts.empty() ? "" : ", ") + std::to_string(count.nodes) + " by " + count.constraint;
    }
    return invalid("resources", "no node could ever hold this request (" + std::to_string(refusal.nodes_total) +
                                    (refusal.nodes_total == 1 ? " node" : " nodes") + " ruled out: " + counts + ")");
  }
  const std::uint32_t per_node = spec.distinct_nodes ? 1 : spec.gang.per_node;
  const std::uint32_t nodes = std::max(per_node == 0 ? 1 : (size + per_node - 1) / per_node, spec.gang.nodes_min);
  if (in.potential_nodes < nodes) {
    return invalid("nodes", "the job wants " + std::to_string(nodes) + " nodes and only " +
                                std::to_string(in.potential_nodes) + " could ever hold one of its pods");
  }
  if (in.potential_pods < size) {
    return invalid("gang", "the job wants " + std::to_string(size) +
                               " pods at once and the nodes could never hold more than " +
                               std::to_string(in.potential_pods));
  }
  return Unit{};
}

void Core::Impl::on_request(ClientCommand& command, SubmitRequest& request) {
  if (request.jobs.empty()) return refuse(command.reply_to, ErrorCode::kInvalid, "jobs", "the request has no job");
  if (request.jobs.size() > kJobsPerRequestMax) {
    return refuse(command.reply_to, ErrorCode::kTooLarge, "jobs", "at most 100,000 jobs fit into one request");
  }
  const Job* first = request.dry_run ? nullptr : cluster_.job_by_submit_key(request.submit_key);
  if (first != nullptr && first->owner.uid == command.caller.uid) {
    // A repetition: the ids of one request are consecutive.
    SubmitReply again;
    for (std::size_t i = 0; i < request.jobs.size(); ++i) again.jobs.push_back(JobId{first->id.value + i});
    return reply(command.reply_to, std::move(again));
  }
  const Owner owner{command.caller.uid, command.caller.gid, command.caller.user, command.caller.groups};
  JobCount counted(*this);  // of the jobs of the request
  std::map<JobId, std::size_t> steps;
  std::uint64_t pods = waiting_pods_;
  for (std::size_t i = 0; i < request.jobs.size(); ++i) {
    pods += request.jobs[i].elements.size();
    Status good = check_spec(command.caller, owner, request.jobs[i]);
    if (good) good = counted.add(owner, request.jobs[i]);
    if (good && request.jobs[i].is_step()) {
      const JobId of = request.jobs[i].step_of;
      good = check_step_count(of, ++steps[of]);
    }
    if (!good) {
      if (request.jobs.size() > 1) good.error().message += " (job " + std::to_string(i + 1) + " of the request)";
      return reply(command.reply_to, std::move(good.error()));
    }
  }
  if (pods > options_.waiting_pods_max) {
    return refuse(command.reply_to, ErrorCode::kUnavailable, "jobs",
                  "the cluster has " + std::to_string(waiting_pods_) + " waiting pods and takes at most " +
                      std::to_string(options_.waiting_pods_max),
                  1000);
  }
  counted.undo();  // what is emitted counts itself
  SubmitReply done;
  if (!request.dry_run) {
    done.jobs.reserve(request.jobs.size());
    std::uint64_t key = request.submit_key;
    std::set<JobId> with_steps;
    for (JobSpec& spec : request.jobs) {
      const JobId id{cluster_.last_job_id().value + 1};
      name_own_pods(spec, id);
      if (spec.is_step()) spec.step.number = cluster_.job(spec.step_of)->next_step;
      emit(JobSubmitted{id, owner, std::move(spec), key});
      if (key != 0) ++key;
      const Job& job = *cluster_.job(id);
      waits(job, job.spec.elements.size());
      if (job.spec.is_step()) {
        note_step(job);
        done.jobs.push_back(id);
        with_steps.insert(job.spec.step_of);
        continue;
      }
      if (!singletons_.empty()) note_active(job);
      if (!job.spec.depends.empty()) follow(job);
      enqueue(job);
      done.jobs.push_back(id);
    }
    for (const JobId of : with_steps) start_steps(of);
  }
  reply(command.reply_to, std::move(done));
}

std::int64_t Core::Impl::priority_of(const Job& job) const {
  const auto queue = cluster_.queues().find(job.spec.queue);
  const auto qos = cluster_.qos().find(job.spec.qos);
  return std::int64_t{tier_of(job.spec)} * kTierStep + job.spec.priority +
         (queue == cluster_.queues().end() ? 0 : queue->second.priority) +
         (qos == cluster_.qos().end() ? 0 : qos->second.priority);
}

std::uint32_t Core::Impl::throttle_room(const Job& job) const {
  const std::uint32_t waiting = job.startable().size();
  if (job.spec.throttle == 0) return waiting;
  const std::uint32_t live = job.counts.live();
  return live >= job.spec.throttle ? 0 : std::min(job.spec.throttle - live, waiting);
}

// Puts the job where it belongs: in the queue if some of it may start, else out of it. A gang waits as a whole.
void Core::Impl::enqueue(const Job& job) {
  if (job.spec.is_step()) return;
  note_deadline(job);
  const bool gang = job.spec.kind == JobKind::kGang;
  const bool may_start = gang ? job.pending.size() == job.spec.elements.size() : throttle_room(job) != 0;
  if (!may_start) return dispatcher_.forget(job.id);
  if (!eligible(job)) {
    if (kept_back_by(job).first == WaitReason::kBeginTime) sleepers_.emplace(job.spec.begin_at, job.id);
    return dispatcher_.forget(job.id);
  }
  if (dispatcher_.waits(job.id)) return;
  const TenantId tenant = tenant_of(job);
  dispatcher_.wait({job.id, class_key_of(job.spec, job.owner.user), priority_of(job), shape_of(job), tenant});
}

const Job* Core::Impl::find_job(const ClientCommand& command, JobId id) {
  const Job* job = cluster_.job(id);
  if (job == nullptr) {
    refuse(command.reply_to, ErrorCode::kNotFound, "job", "there is no job " + std::to_string(id.value));
    return nullptr;
  }
  if (!command.caller.admin && job->owner.uid != command.caller.uid) {
    refuse(command.reply_to, ErrorCode::kDenied, "job", "job " + std::to_string(id.value) + " belongs to another user");
    return nullptr;
  }
  return job;
}

void Core::Impl::on_request(ClientCommand& command, CancelRequest& request) {
  const Job* job = find_job(command, request.job);
  if (job == nullptr) return;
  const std::string name = "job " + std::to_string(request.job.value);
  if (!job->active()) return refuse(command.reply_to, ErrorCode::kConflict, "job", name + " has already ended");
  std::vector<ElementRange> elements;
  if (!request.indexes || job->spec.kind == JobKind::kGang) {
    elements.push_back({0, job->spec.elements.size()});  // a gang lives and dies as a whole
  } else {
    for (std::uint32_t i = 0; i < request.indexes->size(); ++i) {
      const std::uint32_t index = request.indexes->at(i);
      std::uint32_t element = 0;
      if (!job->spec.elements.find(index, element)) {
        return refuse(command.reply_to, ErrorCode::kNotFound, "job", name + " has no element " + std::to_string(index));
      }
      if (!elements.empty() && elements.back().end == element) {
        ++elements.back().end;
      } else {
        elements.push_back({element, element + 1});
      }
    }
  }
  if (!cancel_elements(*job, elements)) {
    return refuse(command.reply_to, ErrorCode::kConflict, "job", "those elements of " + name + " have already ended");
  }
  reply(command.reply_to, Ok{});
}

// False if none of the elements waits or lives.
bool Core::Impl::cancel_elements(const Job& job, const std::vector<ElementRange>& elements) {
  std::vector<ElementRange> cancelled;
  std::uint32_t waiting = 0;
  bool any_live = false;
  std::vector<PodStop> stops;
  for (const ElementRange& range : elements) {
    for (const auto& [first, end] : job.pending.intervals()) {
      const ElementRange overlap{std::max(first, range.first), std::min(end, range.end)};
      if (overlap.first >= overlap.end) continue;
      cancelled.push_back(overlap);
      waiting += overlap.end - overlap.first;
    }
  }
  if (job.counts.live() != 0) {
    // The live pods of a job are few beside a big array's elements: find them from their side.
    std::vector<PodId> live;
    const auto wanted = [&](std::uint32_t element) {
      return std::any_of(elements.begin(), elements.end(),
                         [&](const ElementRange& r) { return element >= r.first && element < r.end; });
    };
    if (job.spec.elements.size() <= cluster_.live_pods().size()) {
      for (const ElementRange& range : elements) {
        for (std::uint32_t e = range.first; e < range.end; ++e) {
          if (cluster_.pod({job.id, e}) != nullptr) live.push_back({job.id, e});
        }
      }
    } else {
      for (const auto& [id, pod] : cluster_.live_pods()) {
        if (id.job == job.id && wanted(id.element)) live.push_back(id);
      }
    }
    std::sort(live.begin(), live.end());
    any_live = !live.empty();
    for (const PodId& id : live) {
      const Pod& pod = *cluster_.pod(id);
      const bool comes_again = pod.stopping && pod.stop_state == PodState::kPending;
      if (!pod.stopping || comes_again) stops.push_back({pod.ref, PodState::kCancelled});
    }
  }
  if (waiting != 0) cancel_waiting(job, std::move(cancelled), false);
  stop_pods(std::move(stops));
  if (!steps_.empty() && !job.spec.is_step()) end_steps(job);
  after_ends(job);
  return waiting != 0 || any_live;
}

// These elements, which wait, have ended so.
void Core::Impl::cancel_waiting(const Job& job, std::vector<ElementRange> elements, bool late) {
  std::vector<Ended> ended;
  for (const ElementRange& range : elements) {
    waits_no_more(job, range.end - range.first);
    ended.push_back({range, false});
  }
  emit(ElementsCancelled{job.id, std::move(elements), late});
  decide_corresponding(job, ended);
}

// Journals that they are to stop and tells the nodes; a node that is away hears it when it returns.
void Core::Impl::stop_pods(std::vector<PodStop> stops) {
  if (stops.empty()) return;
  std::map<NodeId, StopPods> by_node;
  for (const PodStop& stop : stops) {
    if (is_place(stop.ref)) continue;
    if (services_.any() && leaves_first(*cluster_.pod(stop.ref.pod))) {
      leaving_[stop.ref] = {network_.told() + 1, now_ + kLeaveUs};
      continue;
    }
    // That it will run again is none of the node's business.
    const PodState why = stop.stop_state == PodState::kPending ? PodState::kCancelled : stop.stop_state;
    by_node[cluster_.pod(stop.ref.pod)->node].stops.push_back({stop.ref, why});
  }
  emit(PodsStopping{std::move(stops)});
  for (auto& [node, body] : by_node) {
    if (const std::uint64_t session = session_of(node); session != 0)
      effects_.push_back(ToAgent{session, std::move(body)});
  }
}

// After some of a job's pods ended, were requeued or cancelled.
void Core::Impl::after_ends(const Job& job) {
  if (job.counts.of(PodState::kPending) == 0) unfollow(job);
  if (job.spec.is_step()) {
    after_step(job);
    if (!dependents_.empty()) decide_dependents(job);
    if (watchers_.contains(job.id)) changed_.insert(job.id);
    return;
  }
  enqueue(job);
  if (!steps_.empty() && job.counts.live() == 0) end_steps(job);
  if (!licensed_gangs_.empty() && job.counts.live() == 0 && licensed_gangs_.erase(job.id) != 0) {
    dispatcher_.licences().give(job.spec.request.licences, 1);
  }
  if (!dependents_.empty()) decide_dependents(job);
  if (!singletons_.empty() && !job.active()) note_ended(job);
  if (watchers_.contains(job.id)) changed_.insert(job.id);
}

void Core::Impl::on_request(ClientCommand& command, WatchJobsRequest& request) {
  for (const JobId id : request.jobs) {
    if (find_job(command, id) == nullptr) return;
  }
  for (const JobId id : request.jobs) {
    const Job& job = *cluster_.job(id);
    if (job.active()) {
      watchers_[id].push_back(command.reply_to);
      watched_by_[command.reply_to.session].insert(id);
      changed_.insert(id);  // the first progress comes with the others of this turn
    } else {
      reply(command.reply_to, JobProgress{id, job.counts, summary_of(job.counts), true});
    }
  }
}

}  // namespace berth::scheduler
