// Accounts: who is charged for a job, what limits it is under, and what its user's share makes of its place in the
// queue.
#include <algorithm>

#include "scheduler/core_impl.h"
#include "scheduler/core_text.h"
#include "state/units.h"

namespace berth::scheduler {

using namespace state;

namespace {

constexpr TimeUs kJudgeEvery = 10'000'000;       // shares, while something runs
constexpr TimeUs kNoteEvery = 5 * 60'000'000LL;  // usage, likewise; what came after is found again in what ended

// "8 cpus", "2 GiB", "10 jobs"
std::string amount_text(Limit limit, std::int64_t amount) {
  const auto counted = [&](const char* one, const char* many, std::int64_t of = 1) {
    return plural(static_cast<std::uint64_t>(amount / of), one, many);
  };
  switch (limit) {
    case Limit::kJobs:
    case Limit::kRunning:
      return counted("job", "jobs");
    case Limit::kCpus:
    case Limit::kJobCpus:
      return amount % 1000 == 0 ? counted("cpu", "cpus", 1000)
                                : format_cpu_milli(static_cast<std::uint32_t>(amount)) + " cpus";
    case Limit::kMemory:
    case Limit::kJobMemory:
      return format_mem_mib(static_cast<std::uint64_t>(amount));
    case Limit::kGpus:
    case Limit::kJobGpus:
      return counted("GPU", "GPUs");
    case Limit::kJobNodes:
      return counted("node", "nodes");
    case Limit::kJobTime:
      return amount == 0 ? "no time limit" : format_duration_ms(amount);
  }
  return "";
}

std::string over_text(const Tenants::Over& over) {
  std::string text = over.whose + " may have at most " + amount_text(over.limit, over.most);
  const std::string wanted = amount_text(over.limit, over.wanted);
  if (static_cast<std::size_t>(over.limit) >= kSharedLimits) return text + " for one job, and this one wants " + wanted;
  if (over.limit == Limit::kJobs) text += " that wait or run";
  if (over.limit == Limit::kRunning) text += " that run";
  if (over.wanted > over.most) return text + " at once, and this has " + wanted;
  return text + " at once: " + amount_text(over.limit, over.taken) + (over.taken == 1 ? " is" : " are") +
         " there, and this needs " + wanted;
}

WaitReason reason_of(const Tenants::Over& over) {
  using enum WaitReason;
  switch (over.limit) {
    case Limit::kJobs:
    case Limit::kRunning:
      return over.of_qos ? kQosJobs : kAccountJobs;
    case Limit::kJobTime:
      return over.of_qos ? kQosTime : kAccountTime;
    default:
      return over.of_qos ? kQosResources : kAccountResources;
  }
}

template <class Map>
std::string names_in(const Map& map) {
  std::string names;
  std::size_t count = 0;
  for (const auto& [name, unused] : map) {
    if (++count > 20) return names + ", …";
    names += (names.empty() ? "" : ", ") + name;
  }
  return names.empty() ? "there are none" : "there are: " + names;
}

Status check(const Limits& limits) {
  const auto wrong = std::find_if(limits.most.begin(), limits.most.end(), [](std::int64_t most) {
    return most < Limits::kNone || most > std::int64_t{1} << 50;
  });
  if (wrong == limits.most.end()) return Unit{};
  return invalid(std::string(name_of(static_cast<Limit>(wrong - limits.most.begin()))), "the limit is out of range");
}

// How many of the event's items each job has: those of one job come together.
template <class Items, class JobOf, class Each>
void by_job(const Items& items, JobOf&& job_of, Each&& each) {
  std::map<JobId, std::vector<const typename Items::value_type*>> jobs;
  for (const auto& item : items) jobs[job_of(item)].push_back(&item);
  for (const auto& [job, of] : jobs) each(job, of);
}

}  // namespace

// ---- who is charged, for what ---------------------------------------------------------------------------------------

TenantId Core::Impl::tenant_of(const Job& job) {
  if (!tenants_.active()) return 0;
  const TenantId id = tenants_.of(job.spec.account, job.owner.user, job.spec.qos);
  if (tenants_.size() != dispatcher_.tenants_judged() && tenants_.shared()) dispatcher_.judge_shares(now_);
  return id;
}

JobSize Core::Impl::size_of(const JobSpec& spec) {
  const bool gang = spec.kind == JobKind::kGang;
  const std::int64_t pods = gang ? spec.elements.size() : 1;
  const Resources& each = spec.request.resources;
  JobSize size;
  const auto set = [&](Limit limit, std::int64_t amount) { size.amounts[static_cast<std::size_t>(limit)] = amount; };
  set(Limit::kJobCpus, pods * each.cpu_milli);
  set(Limit::kJobMemory, pods * static_cast<std::int64_t>(each.mem_mib));
  set(Limit::kJobGpus, pods * each.gpus);
  const std::uint32_t per_node = spec.distinct_nodes ? 1 : spec.gang.per_node;
  const std::int64_t nodes = per_node == 0 ? 1 : (pods + per_node - 1) / per_node;
  set(Limit::kJobNodes, gang ? std::max<std::int64_t>(nodes, spec.gang.nodes_min) : 1);
  set(Limit::kJobTime, spec.time_limit_ms);
  return size;
}

// Every event that changes what somebody has waiting or running is counted here, and nowhere else.
void Core::Impl::count(const Event& event) {
  if (!tenants_.active()) return;
  if (const auto* submitted = std::get_if<JobSubmitted>(&event)) {
    const Job& job = *cluster_.job(submitted->id);
    if (!job.spec.is_step()) tenants_.add_jobs(tenant_of(job), job.spec.elements.size());
  } else if (const auto* cancelled = std::get_if<ElementsCancelled>(&event)) {
    const Job& job = *cluster_.job(cancelled->job);
    std::int64_t elements = 0;
    for (const ElementRange& range : cancelled->elements) elements += range.end - range.first;
    if (!job.spec.is_step()) tenants_.add_jobs(tenant_of(job), -elements);
  } else if (const auto* bound = std::get_if<PodsBound>(&event)) {
    by_job(
        bound->binds, [](const Bind& bind) { return bind.ref.pod.job; },
        [&](JobId id, const auto& binds) { charge(*cluster_.job(id), static_cast<std::uint32_t>(binds.size())); });
  } else if (const auto* adopted = std::get_if<PodsAdopted>(&event)) {
    for (const auto& pod : adopted->pods) charge(*cluster_.job(pod.ref.pod.job), 1);
  } else if (const auto* ended = std::get_if<PodsEnded>(&event)) {
    by_job(
        ended->ends, [](const PodEnd& end) { return end.ref.pod.job; },
        [&](JobId id, const auto& ends) {
          const Job& job = *cluster_.job(id);
          if (job.spec.is_step()) return;
          const auto pods = static_cast<std::uint32_t>(ends.size());
          const bool gang = job.spec.kind == JobKind::kGang;
          const std::uint32_t runs = gang ? (job.counts.live() == 0 ? 1 : 0) : pods;
          tenants_.remove(tenant_of(job), Charge::of(job.spec.request, pods, runs), now_);
          const auto gone = std::count_if(ends.begin(), ends.end(), [](const PodEnd* end) { return !end->requeue; });
          tenants_.add_jobs(tenant_of(job), -gone);
        });
  }
}

// So many of its pods have just got a place. A gang counts as one job from its first pod to its last.
void Core::Impl::charge(const Job& job, std::uint32_t pods) {
  if (job.spec.is_step()) return;
  const bool gang = job.spec.kind == JobKind::kGang;
  const std::uint32_t runs = gang ? (job.counts.live() == pods ? 1 : 0) : pods;
  tenants_.add(tenant_of(job), Charge::of(job.spec.request, pods, runs), now_);
}

// Counts from nothing, as the cluster is.
void Core::Impl::count_tenants() {
  tenants_.configure(cluster_, now_);
  if (!tenants_.active()) return;
  for (const auto& [id, job] : cluster_.jobs()) {
    if (job->active() && !job->spec.is_step()) tenants_.add_jobs(tenant_of(*job), job->counts.active());
  }
  std::map<JobId, std::uint32_t> live;
  for (const auto& [id, pod] : cluster_.live_pods()) ++live[id.job];
  for (const auto& [id, pods] : live) {
    const Job& job = *cluster_.job(id);
    if (job.spec.is_step()) continue;
    const std::uint32_t runs = job.spec.kind == JobKind::kGang ? 1 : pods;
    tenants_.add(tenant_of(job), Charge::of(job.spec.request, pods, runs), now_);
  }
  dispatcher_.judge_shares(now_);
}

// What was used since it was last written down: what ended since then tells, and what runs.
void Core::Impl::find_usage() {
  if (!tenants_.active()) return;
  for (const auto& [id, job] : cluster_.jobs()) {
    const Job& ended = *job;
    if (ended.spec.is_step()) continue;
    const Charge each = Charge::of(ended.spec.request, 1, 0);
    ended.outcomes.each(0, [&](std::uint32_t, const PodOutcome& outcome) {
      if (outcome.started_at != 0) {
        tenants_.used(tenant_of(ended), each, outcome.started_at, outcome.ended_at, now_);
      }
      return true;
    });
  }
  for (const auto& [id, pod] : cluster_.live_pods()) {
    const Job& job = *cluster_.job(id.job);
    if (!job.spec.is_step())
      tenants_.used(tenant_of(job), Charge::of(job.spec.request, 1, 0), pod.bound_at, now_, now_);
  }
}

// From turn to turn.
void Core::Impl::keep_shares() {
  if (!tenants_.active()) return;
  if (tenants_.shared() && now_ >= shares_at_ + kJudgeEvery) {
    shares_at_ = now_;
    dispatcher_.judge_shares(now_);
  }
  if (now_ < usage_at_ + kNoteEvery) return;
  usage_at_ = now_;
  if (auto usage = tenants_.changed_usage(now_); !usage.empty()) emit(UsageNoted{std::move(usage)});
}

std::optional<TimeUs> Core::Impl::shares_deadline() const {
  if (!tenants_.uses()) return std::nullopt;
  const bool judged = tenants_.shared() && dispatcher_.queue().size() != 0;
  return judged ? std::min(shares_at_ + kJudgeEvery, usage_at_ + kNoteEvery) : usage_at_ + kNoteEvery;
}

// ---- what a job may -------------------------------------------------------------------------------------------------

// Settles which account and which quality of service a new job has.
Status Core::Impl::check_account(const Caller& caller, const Owner& owner, JobSpec& spec) const {
  if (spec.qos == "normal" && !cluster_.qos().contains(spec.qos)) spec.qos.clear();  // what jobs have that name none
  if (const auto qos = cluster_.qos().find(spec.qos); !spec.qos.empty() && qos == cluster_.qos().end()) {
    return Error{ErrorCode::kNotFound, "qos",
                 "there is no quality of service '" + spec.qos + "'; " + names_in(cluster_.qos()), 0};
  }
  if (!cluster_.accounts().empty()) {
    if (spec.account.empty()) {
      for (const auto& [key, member] : cluster_.members()) {
        if (key.second == owner.user && member.is_default) spec.account = key.first;
      }
      if (spec.account.empty() && !caller.admin) {
        return Error{ErrorCode::kDenied, "account",
                     "user " + owner.user + " is in no account; an administrator adds whom he should be in with " +
                         "'berth user add " + owner.user + " --account NAME'",
                     0};
      }
    } else if (!cluster_.accounts().contains(spec.account)) {
      return Error{ErrorCode::kNotFound, "account",
                   "there is no account '" + spec.account + "'; " + names_in(cluster_.accounts()), 0};
    } else if (!caller.admin && !cluster_.members().contains({spec.account, owner.user})) {
      return Error{ErrorCode::kDenied, "account", "user " + owner.user + " is not in account '" + spec.account + "'",
                   0};
    }
  }
  if (spec.qos.empty() || caller.admin) return Unit{};
  const Qos& qos = cluster_.qos().find(spec.qos)->second;
  const auto may = [](const std::vector<std::string>& names, const std::string& name) {
    return names.empty() || std::binary_search(names.begin(), names.end(), name);
  };
  if (may(qos.users, owner.user) && may(qos.accounts, spec.account)) return Unit{};
  return Error{ErrorCode::kDenied, "qos",
               "quality of service '" + spec.qos + "' is not for user " + owner.user +
                   (spec.account.empty() ? " without an account" : " in account " + spec.account),
               0};
}

Error Core::Impl::denied_by(const Tenants::Over& over) {
  return {ErrorCode::kDenied, over.of_qos ? "qos" : "account", over_text(over), 0};
}

// Against the limits of one job; one that asks for no time gets what is allowed.
Status Core::Impl::check_limits(const Owner& owner, JobSpec& spec) {
  if (!tenants_.active()) return Unit{};
  const TenantId tenant = tenants_.of(spec.account, owner.user, spec.qos);
  if (const std::int64_t most = tenants_.most_of(tenant, Limit::kJobTime);
      most != Limits::kNone && spec.time_limit_ms == 0) {
    const std::int64_t of_queue = cluster_.queues().find(spec.queue)->second.time_limit_ms;
    spec.time_limit_ms = of_queue == 0 ? most : std::min(most, of_queue);
  }
  if (const auto over = tenants_.over_job(tenant, size_of(spec)); over && !over->wait) {
    return denied_by(*over);
  }
  return Unit{};
}

Status Core::Impl::JobCount::add(const Owner& owner, const JobSpec& spec) {
  if (!core_.tenants_.active() || spec.is_step()) return Unit{};
  const TenantId tenant = core_.tenants_.of(spec.account, owner.user, spec.qos);
  const std::int64_t jobs = spec.elements.size();
  if (const auto over = core_.tenants_.over_jobs(tenant, jobs)) {
    return denied_by(*over);
  }
  core_.tenants_.add_jobs(tenant, jobs);
  counted_.emplace_back(tenant, jobs);
  return Unit{};
}

void Core::Impl::JobCount::undo() {
  for (const auto& [tenant, jobs] : counted_) core_.tenants_.add_jobs(tenant, -jobs);
  counted_.clear();
}

// The most nodes that its limits allow the job; 0: any.
std::uint32_t Core::Impl::most_nodes(const JobSpec& spec, const std::string& user) {
  if (!tenants_.active()) return 0;
  const std::int64_t most = tenants_.most_of(tenants_.of(spec.account, user, spec.qos), Limit::kJobNodes);
  return most <= 0 ? 0 : static_cast<std::uint32_t>(std::min<std::int64_t>(most, kMaxGangSize));
}

// What of its limits keeps the job from the queue, or from starting.
std::optional<std::pair<WaitReason, std::string>> Core::Impl::limited_by(const Job& job) {
  if (!tenants_.active()) return std::nullopt;
  const TenantId tenant = tenant_of(job);
  if (const auto over = tenants_.over_job(tenant, size_of(job.spec))) return {{reason_of(*over), over_text(*over)}};
  const WaitQueue::Group* group = dispatcher_.queue().group_of(job.id);
  if (group == nullptr || !group->limited) return std::nullopt;
  const std::uint32_t pods = job.spec.kind == JobKind::kGang ? job.spec.elements.size() : 1;
  const auto over = tenants_.over(tenant, Charge::of(job.spec.request, pods, 1));
  if (!over) return std::nullopt;
  return {{reason_of(*over), over_text(*over)}};
}

// ---- what administrators do -----------------------------------------------------------------------------------------

const Job* Core::Impl::active_job_of(const std::string* account, const std::string* user,
                                     const std::string* qos) const {
  for (const auto& [id, job] : cluster_.jobs()) {
    if (!job->active() || job->spec.is_step()) continue;
    if ((account == nullptr || job->spec.account == *account) && (user == nullptr || job->owner.user == *user) &&
        (qos == nullptr || job->spec.qos == *qos)) {
      return job.get();
    }
  }
  return nullptr;
}

void Core::Impl::accounts_changed() {
  count_tenants();
  requeue_all_waiting();
}

void Core::Impl::on_request(ClientCommand& command, AccountActionRequest& request) {
  if (!require_admin(command, "change an account")) return;
  const auto refused = [&](ErrorCode code, const char* field, const std::string& message) {
    refuse(command.reply_to, code, field, message);
  };
  Account& account = request.account;
  if (!is_account_name(account.name)) {
    return refused(ErrorCode::kInvalid, "account",
                   "an account's name is 1 to 64 of the characters A-Z a-z 0-9 . _ -, a letter or digit first");
  }
  if (!request.remove) {
    if (account.shares > kSharesMax) return refused(ErrorCode::kInvalid, "shares", "shares are from 0 to 1000000");
    if (!is_line(account.description, kMaxNameBytes)) {
      return refused(ErrorCode::kInvalid, "description", "the description is one line of at most 255 bytes");
    }
    if (Status good = check(account.limits); !good) return reply(command.reply_to, std::move(good.error()));
    std::size_t depth = 1;
    for (std::string above = account.parent; !above.empty(); ++depth) {
      const auto parent = cluster_.accounts().find(above);
      if (parent == cluster_.accounts().end()) {
        return refused(ErrorCode::kNotFound, "parent",
                       "there is no account '" + above + "'; " + names_in(cluster_.accounts()));
      }
      if (above == account.name || depth > kAccountDepthMax) {
        return refused(
            ErrorCode::kInvalid, "parent",
            above == account.name ? "account '" + above + "' would be below itself" : "accounts are at most 32 deep");
      }
      above = parent->second.parent;
    }
    emit(AccountSet{account});
  } else {
    const std::string name = "account '" + account.name + "'";
    if (!cluster_.accounts().contains(account.name)) {
      return refused(ErrorCode::kNotFound, "account", "there is no " + name + "; " + names_in(cluster_.accounts()));
    }
    for (const auto& [other, below] : cluster_.accounts()) {
      if (below.parent != account.name) continue;
      return refused(ErrorCode::kConflict, "account", name + " has account '" + other + "' below it");
    }
    const auto member = cluster_.members().lower_bound({account.name, ""});
    if (member != cluster_.members().end() && member->first.first == account.name) {
      return refused(ErrorCode::kConflict, "account", name + " still has user " + member->first.second);
    }
    if (const Job* job = active_job_of(&account.name, nullptr, nullptr); job != nullptr) {
      return refused(ErrorCode::kConflict, "account",
                     name + " still has jobs (job " + std::to_string(job->id.value) + " is one)");
    }
    emit(AccountRemoved{account.name});
  }
  accounts_changed();
  reply(command.reply_to, Ok{});
}

void Core::Impl::on_request(ClientCommand& command, MemberActionRequest& request) {
  if (!require_admin(command, "change who is in an account")) return;
  const auto refused = [&](ErrorCode code, const char* field, const std::string& message) {
    refuse(command.reply_to, code, field, message);
  };
  Member& member = request.member;
  const Cluster::MemberKey key{member.account, member.user};
  const auto known = cluster_.members().find(key);
  const auto other = std::find_if(cluster_.members().begin(), cluster_.members().end(), [&](const auto& entry) {
    return entry.first.second == member.user && entry.first != key;
  });
  if (!request.remove) {
    if (!cluster_.accounts().contains(member.account)) {
      return refused(ErrorCode::kNotFound, "account",
                     "there is no account '" + member.account + "'; " + names_in(cluster_.accounts()));
    }
    if (member.user.empty() || !is_line(member.user, kMaxNameBytes) || member.user.find(' ') != std::string::npos) {
      return refused(ErrorCode::kInvalid, "user", "a user's name is 1 to 255 bytes without blanks");
    }
    if (member.shares > kSharesMax) return refused(ErrorCode::kInvalid, "shares", "shares are from 0 to 1000000");
    if (Status good = check(member.limits); !good) return reply(command.reply_to, std::move(good.error()));
    // Somebody's first account is his default until another is.
    member.is_default = member.is_default || other == cluster_.members().end() ||
                        (known != cluster_.members().end() && known->second.is_default);
    emit(MemberSet{member});
  } else {
    if (known == cluster_.members().end()) {
      return refused(ErrorCode::kNotFound, "user",
                     "user '" + member.user + "' is not in account '" + member.account + "'");
    }
    if (const Job* job = active_job_of(&member.account, &member.user, nullptr); job != nullptr) {
      return refused(ErrorCode::kConflict, "user",
                     "user '" + member.user + "' still has jobs in account '" + member.account + "' (job " +
                         std::to_string(job->id.value) + " is one)");
    }
    const bool was_default = known->second.is_default;
    tenants_.forget_usage(member.account, member.user);
    emit(MemberRemoved{member.account, member.user});
    if (was_default && other != cluster_.members().end()) {
      Member next = other->second;
      next.is_default = true;
      emit(MemberSet{std::move(next)});
    }
  }
  accounts_changed();
  reply(command.reply_to, Ok{});
}

void Core::Impl::on_request(ClientCommand& command, QosActionRequest& request) {
  if (!require_admin(command, "change a quality of service")) return;
  const auto refused = [&](ErrorCode code, const char* field, const std::string& message) {
    refuse(command.reply_to, code, field, message);
  };
  Qos& qos = request.qos;
  if (!is_account_name(qos.name)) {
    return refused(ErrorCode::kInvalid, "qos",
                   "a quality's name is 1 to 64 of the characters A-Z a-z 0-9 . _ -, a letter or digit first");
  }
  if (!request.remove) {
    if (qos.priority < -1'000'000 || qos.priority > 1'000'000) {
      return refused(ErrorCode::kInvalid, "priority", "the priority is from -1000000 to 1000000");
    }
    if (qos.tier < -kTierMax || qos.tier > kTierMax) {
      return refused(ErrorCode::kInvalid, "tier", "the tier is from -1000 to 1000");
    }
    if (qos.usage_milli > kUsageFactorMax) {
      return refused(ErrorCode::kInvalid, "usage", "use counts from 0 to 1000 times");
    }
    for (const Limits* limits : {&qos.limits, &qos.user_limits}) {
      if (Status good = check(*limits); !good) return reply(command.reply_to, std::move(good.error()));
    }
    for (auto* names : {&qos.users, &qos.accounts}) {
      std::sort(names->begin(), names->end());
      names->erase(std::unique(names->begin(), names->end()), names->end());
    }
    emit(QosSet{qos});
  } else {
    const std::string name = "quality of service '" + qos.name + "'";
    if (!cluster_.qos().contains(qos.name)) {
      return refused(ErrorCode::kNotFound, "qos", "there is no " + name + "; " + names_in(cluster_.qos()));
    }
    if (const Job* job = active_job_of(nullptr, nullptr, &qos.name); job != nullptr) {
      return refused(ErrorCode::kConflict, "qos",
                     name + " still has jobs (job " + std::to_string(job->id.value) + " is one)");
    }
    emit(QosRemoved{qos.name});
  }
  accounts_changed();
  reply(command.reply_to, Ok{});
}

// ---- what is told ---------------------------------------------------------------------------------------------------

void Core::Impl::on_request(ClientCommand& command, ListAccountsRequest&) {
  AccountPage page;
  if (tenants_.active()) dispatcher_.judge_shares(now_);
  tenants_.fill(page, cluster_);
  reply(command.reply_to, std::move(page));
}

PriorityRow Core::Impl::priority_row_of(const Job& job) {
  PriorityRow row;
  row.job = job.id;
  row.user = job.owner.user;
  row.account = job.spec.account;
  row.queue = job.spec.queue;
  row.qos = job.spec.qos;
  row.own = job.spec.priority;
  if (const auto queue = cluster_.queues().find(row.queue); queue != cluster_.queues().end()) {
    row.of_queue = queue->second.priority;
  }
  if (const auto qos = cluster_.qos().find(row.qos); qos != cluster_.qos().end()) row.of_qos = qos->second.priority;
  row.tier = tier_of(job.spec);
  row.submitted_at = job.submitted_at;
  row.waited_ms = (now_ - job.submitted_at) / 1000;
  const TenantId tenant = tenant_of(job);
  row.factor = tenants_.active() ? tenants_.factor_of(tenant) : 0;
  row.head_start_ms = tenants_.active() ? tenants_.head_start_of(tenant) / 1000 : 0;
  if (const auto key = dispatcher_.queue().key_of(job.id)) {
    row.waits = true;
    row.delay_ms = (key->rank - job.submitted_at) / 1000 + row.head_start_ms;
  }
  return row;
}

void Core::Impl::on_request(ClientCommand& command, PriorityRequest& request) {
  const std::uint32_t limit = std::clamp<std::uint32_t>(request.limit, 1, kRowsMax);
  PriorityPage page;
  if (tenants_.active() && tenants_.shared()) dispatcher_.judge_shares(now_);
  const auto add = [&](const Job& job) {
    if (job.pending.empty() || job.spec.is_step()) return;
    if (!command.caller.admin && job.owner.uid != command.caller.uid) return;
    page.rows.push_back(priority_row_of(job));
  };
  if (!request.jobs.empty()) {
    if (request.jobs.size() > kRowsMax) {
      return refuse(command.reply_to, ErrorCode::kTooLarge, "jobs", "at most 10,000 jobs may be named");
    }
    for (const JobId id : request.jobs) {
      const Job* job = find_job(command, id);
      if (job == nullptr) return;
      add(*job);
    }
    return reply(command.reply_to, std::move(page));
  }
  std::uint32_t scanned = 0;
  for (auto it = cluster_.jobs().upper_bound(request.after); it != cluster_.jobs().end(); ++it) {
    if (page.rows.size() == limit || scanned++ == kScanMax) {
      page.next = std::prev(it)->first;
      break;
    }
    add(*it->second);
  }
  reply(command.reply_to, std::move(page));
}

// "" if what is counted is what the cluster has.
std::string Core::Impl::check_tenants() const {
  if (!tenants_.active()) return "";
  Tenants anew(options_.shares);
  anew.configure(cluster_, now_);
  for (const auto& [id, job] : cluster_.jobs()) {
    if (!job->active() || job->spec.is_step()) continue;
    const TenantId tenant = anew.of(job->spec.account, job->owner.user, job->spec.qos);
    anew.add_jobs(tenant, job->counts.active());
    const std::uint32_t live = job->counts.live();
    if (live == 0) continue;
    anew.add(tenant, Charge::of(job->spec.request, live, job->spec.kind == JobKind::kGang ? 1 : live), now_);
  }
  const std::string counted = tenants_.counts_text(), should = anew.counts_text();
  return counted == should ? "" : "charged:\n" + counted + "should be:\n" + should;
}

}  // namespace berth::scheduler
