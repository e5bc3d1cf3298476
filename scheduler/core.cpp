#include "scheduler/core.h"

#include <stdexcept>

#include "scheduler/core_impl.h"

namespace berth::scheduler {

using namespace state;  // the vocabulary of everything below

namespace {

// Pods bound in one turn at most: a turn stays short, and the rest follows in the next.
constexpr std::uint32_t kBindsPerTurn = 16'384;
constexpr std::uint32_t kLearntPerJob = 8;

}  // namespace

Core::Core(CoreOptions options, Cluster cluster, TimeUs now)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(cluster), now)) {}
Core::~Core() = default;
Turn Core::step(std::span<Command> commands, TimeUs now) { return impl_->step(commands, now); }
std::optional<TimeUs> Core::next_deadline() const { return impl_->next_deadline(); }
const Cluster& Core::cluster() const { return impl_->cluster(); }
Figures Core::figures() const { return impl_->figures(); }
std::string Core::check_invariants() const { return impl_->check_invariants(); }

Core::Impl::Impl(CoreOptions options, Cluster cluster, TimeUs now)
    : options_(std::move(options)),
      cluster_(std::move(cluster)),
      dispatcher_(*options_.placement, *options_.queueing, options_.shares),
      tenants_(dispatcher_.tenants()),
      engine_(dispatcher_.engine()),
      services_(cluster_, *this),
      network_(options_.pods_cidr, options_.services_cidr, services_),
      now_(std::max(now, cluster_.applied_at())) {
  restore();
}

// Everything beside the cluster is derived from it: the node table, the claims, the queue of waiting jobs.
void Core::Impl::restore() {
  engine_.set_switches(options_.switches);
  for (const auto& [name, licence] : cluster_.licences()) dispatcher_.licences().set(name, licence.total);
  for (const auto& [id, node] : cluster_.nodes()) {
    engine_.set_node(id, offer_of(node.info));
    engine_.set_in_service(id, node.state == NodeState::kUp);
    if (node.state != NodeState::kLost) set_lost_deadline(id, now_ + options_.node_lost_after_ms * 1000);
  }
  for (const auto& [id, pod] : cluster_.live_pods()) {
    const Job& job = *cluster_.job(id.job);
    if (job.spec.is_step()) continue;  // its job has claimed its place
    if (job.spec.deadline != 0) deadlines_.emplace(job.spec.deadline, job.id);
    const Pinning* pinning = cluster_.pinning(id);
    engine_.claim(pod.node, job.spec.request, pod.gpu_mask, pinning);
    dispatcher_.runs(pod.node, job.spec.request, end_of(job, pod), pinning);
    const bool gang = job.spec.kind == JobKind::kGang && !job.spec.request.licences.empty();
    if (!gang || licensed_gangs_.insert(job.id).second) dispatcher_.licences().take(job.spec.request.licences, 1);
  }
  find_preemptable();
  tenants_.configure(cluster_, now_);
  find_usage();
  count_tenants();
  learn_from_ended();
  for (const auto& [id, job] : cluster_.jobs()) {
    waits(*job, job->counts.of(PodState::kPending));
    running_pods_ += job->counts.of(PodState::kRunning);
    if (job->spec.is_step()) note_step(*job);
  }
  for (const auto& [id, job] : cluster_.jobs()) {
    if (job->pending.empty()) continue;
    if (!job->spec.depends.empty()) follow(*job);
    enqueue(*job);
  }
  services_.restore(now_);
  network_.restore(cluster_);
}

// What users' jobs took is not journaled by itself: the jobs that are still remembered tell it.
void Core::Impl::learn_from_ended() {
  for (const auto& [ended_at, id] : cluster_.ended_jobs()) {
    const Job& job = *cluster_.job(id);
    std::uint32_t learnt = 0;
    job.outcomes.each(0, [&](std::uint32_t, const PodOutcome& outcome) {
      learn(job, outcome);
      return ++learnt < kLearntPerJob;
    });
  }
}

// A run that was cut short by something else than the job itself tells nothing of the next.
void Core::Impl::learn(const Job& job, const PodOutcome& outcome) {
  const bool whole = outcome.state == PodState::kSucceeded || outcome.state == PodState::kFailed ||
                     outcome.state == PodState::kTimedOut || outcome.state == PodState::kOutOfMemory;
  if (!whole || outcome.started_at == 0 || outcome.ended_at < outcome.started_at) return;
  dispatcher_.learn(shape_of(job), outcome.ended_at - outcome.started_at);
}

Turn Core::Impl::step(std::span<Command> commands, TimeUs now) {
  now_ = std::max({now, now_, cluster_.applied_at()});
  forget_old_jobs();  // first: what has ended is in the state for a turn at least, for whoever keeps records of it
  for (Command& command : commands) {
    std::visit([this](auto& body) { handle(body); }, command);
  }
  lose_overdue_nodes();
  wake_sleepers();
  end_late();
  keep_shares();
  retry_room();
  services_.pass(now_);
  dispatcher_.pass(now_, kBindsPerTurn, *this);
  send_starts();
  tell_network();
  stop_leaving();
  notify_watchers();

  Turn turn;
  turn.effects = std::exchange(effects_, {});
  if (!events_.empty()) {
    turn.batch.index = cluster_.applied_index() + 1;
    turn.batch.at = now_;
    turn.batch.events = std::exchange(events_, {});
    cluster_.finish_batch(turn.batch.index, now_);
    log_.end_turn(turn.batch.index, now_);
  }
  return turn;
}

void Core::Impl::emit(Event event) {
  log_.before(event, cluster_);
  const Status applied = cluster_.apply_event(event, now_);
  // The core decides from the same cluster that it applies to: an event that does not apply is a defect of the core,
  // and going on would write a journal that cannot be read back. Nobody catches this.
  if (!applied.ok()) throw std::logic_error("the core decided what cannot be: " + applied.error().message);
  log_.after(event, cluster_);
  count(event);
  follow_preemptable(event);
  follow_services(event);
  events_.push_back(std::move(event));
}

void Core::Impl::refuse(const ReplyTo& to, ErrorCode code, std::string field, std::string message,
                        std::uint32_t retry_after_ms) {
  reply(to, Error{code, std::move(field), std::move(message), retry_after_ms});
}

void Core::Impl::handle(ClientCommand& command) {
  const std::size_t before = effects_.size();
  std::visit([&](auto& request) { on_request(command, request); }, command.request);
  count_reply(command, before);
}

void Core::Impl::handle(ClientGone& command) {
  const auto found = watched_by_.find(command.session);
  if (found == watched_by_.end()) return;
  for (const JobId job : found->second) {
    const auto watchers = watchers_.find(job);
    if (watchers == watchers_.end()) continue;
    std::erase_if(watchers->second, [&](const ReplyTo& to) { return to.session == command.session; });
    if (watchers->second.empty()) watchers_.erase(watchers);
  }
  watched_by_.erase(found);
}

// One progress message to each watcher of each job that changed, however much changed in the turn.
void Core::Impl::notify_watchers() {
  for (const JobId id : std::exchange(changed_, {})) {
    const auto watchers = watchers_.find(id);
    const Job* job = cluster_.job(id);
    if (watchers == watchers_.end() || job == nullptr) continue;
    const JobProgress progress{id, job->counts, summary_of(job->counts), !job->active()};
    for (const ReplyTo& to : watchers->second) reply(to, progress);
    if (!progress.ended) continue;
    for (const ReplyTo& to : watchers->second) {
      const auto session = watched_by_.find(to.session);
      if (session == watched_by_.end()) continue;
      session->second.erase(id);
      if (session->second.empty()) watched_by_.erase(session);
    }
    watchers_.erase(watchers);
  }
}

// Ended jobs leave the state, oldest first, when there are too many or they are too old: in helpings, so that a steady
// stream of ends does not send every node a message for every job.
void Core::Impl::forget_old_jobs() {
  constexpr std::size_t kForgetMax = 4096;
  const TimeUs oldest = now_ - options_.ended_kept_ms * 1000;
  const auto& ended = cluster_.ended_jobs();
  std::uint64_t pods = cluster_.ended_pods();
  // However big they are, the last few stay: who submitted them will look.
  std::size_t rest = ended.size();
  const bool too_many =
      pods > options_.ended_pods_kept + options_.ended_pods_kept / 64 && rest > options_.ended_jobs_kept_min;
  if (ended.empty() || (!too_many && ended.begin()->first >= oldest)) return;
  JobsForgotten forgotten;
  std::map<NodeId, ForgetJobs> by_node;
  for (const auto& [ended_at, id] : ended) {
    const bool over = pods > options_.ended_pods_kept && rest > options_.ended_jobs_kept_min;
    if ((!over && ended_at >= oldest) || forgotten.jobs.size() >= kForgetMax) break;
    --rest;
    const Job& job = *cluster_.job(id);
    pods -= job.spec.elements.size();
    forgotten.jobs.push_back(id);
    job.outcomes.each(0, [&](std::uint32_t, const PodOutcome& outcome) {
      auto& jobs = by_node[outcome.node].jobs;
      if (jobs.empty() || jobs.back() != job.id) jobs.push_back(job.id);
      return true;
    });
  }
  // A node that is away keeps its output of them: an administrator's to remove.
  for (auto& [node, body] : by_node) {
    if (const std::uint64_t session = session_of(node); session != 0)
      effects_.push_back(ToAgent{session, std::move(body)});
  }
  emit(std::move(forgotten));
}

std::optional<TimeUs> Core::Impl::next_deadline() const {
  if (dispatcher_.unfinished()) return now_;
  std::optional<TimeUs> next;
  const auto at = [&next](TimeUs time) {
    if (!next || time < *next) next = time;
  };
  if (!lost_deadlines_.empty()) at(lost_deadlines_.begin()->first);
  if (!sleepers_.empty()) at(sleepers_.begin()->first);
  if (!deadlines_.empty()) at(deadlines_.begin()->first);
  if (const auto shares = shares_deadline()) at(*shares);
  for (const auto& [ref, leaving] : leaving_) at(leaving.until);
  if (const auto wake = services_.next_wake()) at(std::max(*wake, now_));
  if (const auto told = network_.next_at()) at(std::max(*told, now_));
  if (room_retry_at_ != 0) at(room_retry_at_);
  if (!cluster_.ended_jobs().empty()) at(cluster_.ended_jobs().begin()->first + options_.ended_kept_ms * 1000 + 1);
  return next;
}

std::string Core::Impl::check_invariants() {
  if (std::string wrong = state::check_invariants(cluster_); !wrong.empty()) return "cluster: " + wrong;
  if (std::string wrong = dispatcher_.check_invariants(); !wrong.empty()) return wrong;
  if (std::string wrong = check_tenants(); !wrong.empty()) return wrong;
  if (std::string wrong = services_.check_invariants(); !wrong.empty()) return wrong;
  std::map<NodeId, Resources> used;
  std::map<NodeId, std::uint64_t> shared;  // GPUs in shares: each counts once
  for (const auto& [id, pod] : cluster_.live_pods()) {
    if (cluster_.job(id.job)->spec.is_step()) continue;
    const Request& request = cluster_.job(id.job)->spec.request;
    const Resources& r = request.resources;
    const Pinning* pinning = cluster_.pinning(id);
    Resources& sum = used[pod.node];
    const bool again = request.gpu_share_milli != 0 && (shared[pod.node] & pod.gpu_mask) != 0;
    if (request.gpu_share_milli != 0) shared[pod.node] |= pod.gpu_mask;
    sum = {sum.cpu_milli + r.cpu_milli + (pinning == nullptr ? 0 : pinning->idle * 1000), sum.mem_mib + r.mem_mib,
           sum.gpus + (again ? 0 : r.gpus)};
  }
  for (const auto& [id, node] : cluster_.nodes()) {
    if (const Resources claimed = engine_.used(id); claimed != used[id]) {
      const auto text = [](const Resources& r) {
        return std::to_string(r.cpu_milli) + "m/" + std::to_string(r.mem_mib) + " MiB/" + std::to_string(r.gpus);
      };
      return "node " + node.info.name + ": " + text(claimed) + " is claimed, its live pods have " + text(used[id]);
    }
  }
  std::uint64_t pending = 0, running = 0;
  std::map<std::string, std::uint64_t, std::less<>> by_queue;
  for (const auto& [id, job] : cluster_.jobs()) {
    pending += job->counts.of(PodState::kPending);
    running += job->counts.of(PodState::kRunning);
    if (!job->pending.empty()) by_queue[job->spec.queue] += job->counts.of(PodState::kPending);
    const bool gang = job->spec.kind == JobKind::kGang;
    const bool should =
        gang ? job->pending.size() == job->spec.elements.size() : !job->pending.empty() && throttle_room(*job) != 0;
    if ((should && eligible(*job) && !job->spec.is_step()) != dispatcher_.waits(id))
      return "job " + std::to_string(id.value) + " should wait and does not, or the other way";
  }
  if (pending != waiting_pods_) return "the count of waiting pods is wrong";
  for (const auto& [name, pods] : waiting_by_queue_) {
    if (by_queue[name] != pods) return "the count of the pods that wait in queue " + name + " is wrong";
    by_queue.erase(name);
  }
  if (!by_queue.empty()) return "the pods that wait in queue " + by_queue.begin()->first + " are not counted";
  return running == running_pods_ ? "" : "the count of running pods is wrong";
}

}  // namespace berth::scheduler
