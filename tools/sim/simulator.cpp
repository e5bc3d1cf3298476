#include "tools/sim/simulator.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>

namespace berth::tools {

using namespace state;
using scheduler::Dispatcher;

namespace {

constexpr TimeUs kSecond = 1'000'000;
constexpr std::uint32_t kMilli = 1'000;

class Simulation : private scheduler::Starter {
 public:
  Simulation(const JobLog& log, const SimOptions& options)
      : log_(log), options_(options), dispatcher_(placement::default_policy(), *options.policy, options.shares) {
    add_groups();
    for (std::uint32_t n = 1; n <= options.cluster.nodes; ++n) {
      dispatcher_.engine().set_node(NodeId{n}, {options.cluster.cpus * kMilli, 0, 0}, std::vector<std::string>{});
      dispatcher_.engine().set_connected(NodeId{n}, true);
    }
    result_.starts_s.assign(log.jobs.size(), -1);
    places_.resize(options.cluster.nodes > 1 ? log.jobs.size() : 0);
  }

  Result<SimResult> run() {
    std::size_t next = 0;
    while (next < log_.jobs.size() || !ends_.empty()) {
      std::int64_t now = std::numeric_limits<std::int64_t>::max();
      if (!ends_.empty()) now = ends_.top().at_s;
      if (next < log_.jobs.size()) now = std::min(now, log_.jobs[next].submit_s);
      now_s_ = now;
      early_.clear();
      bool ended = false;
      while (!ends_.empty() && ends_.top().at_s == now) {
        const std::uint32_t job = ends_.top().job;
        ends_.pop();
        if (log_.jobs[job].run_s < limit_of(job)) {
          early_.push_back(job);
        } else {
          end(job);
          ended = true;
        }
      }
      if (ended && early_.empty() && (next == log_.jobs.size() || log_.jobs[next].submit_s != now)) pass();
      for (; next < log_.jobs.size() && log_.jobs[next].submit_s == now; ++next) {
        submit(static_cast<std::uint32_t>(next));
        pass();
      }
      for (const std::uint32_t job : early_) {
        end(job);
        pass();
      }
      if (!wrong_.empty()) return Error{ErrorCode::kInternal, "", wrong_, 0};
    }
    return std::move(result_);
  }

 private:
  struct End {
    std::int64_t at_s;
    std::uint32_t order;  // of the starts
    std::uint32_t job;
    bool operator>(const End& other) const { return at_s != other.at_s ? at_s > other.at_s : order > other.order; }
  };

  static JobId id_of(std::uint32_t job) { return JobId{job + 1}; }
  static std::uint32_t job_of(JobId id) { return static_cast<std::uint32_t>(id.value - 1); }
  bool pool() const { return options_.cluster.nodes == 1; }
  std::uint32_t limit_of(std::uint32_t job) const {
    return options_.exact_limits ? log_.jobs[job].run_s : log_.jobs[job].limit_s;
  }
  // On one pool a job is one pod of all its processors; on nodes it is a gang of pods of one processor each.
  const Request& request_of(std::uint32_t job) {
    request_.resources.cpu_milli = pool() ? log_.jobs[job].procs * kMilli : kMilli;
    return request_;
  }
  // A limit of 0 would be none.
  TimeUs limit_us(std::uint32_t job) const { return std::max<TimeUs>(1, TimeUs{limit_of(job)} * kSecond); }
  scheduler::JobShape shape_of(std::uint32_t job) const {
    const LogJob& of = log_.jobs[job];
    return {of.user, std::uint64_t{of.procs} * kMilli, limit_us(job), of.submit_s * kSecond};
  }

  void submit(std::uint32_t job) {
    const std::uint32_t procs = log_.jobs[job].procs;
    const std::uint32_t gang = pool() || procs == 1 ? 0 : procs;
    dispatcher_.wait({id_of(job), {request_of(job), gang, {}, limit_us(job)}, 0, shape_of(job), tenant_of(job)});
  }

  void end(std::uint32_t job) {
    const TimeUs end_us = result_.starts_s[job] * kSecond + limit_us(job);
    const Request& request = request_of(job);
    if (pool()) {
      dispatcher_.ended(NodeId{1}, request, 0, end_us);
    } else {
      for (const NodeId node : places_[job]) dispatcher_.ended(node, request, 0, end_us);
      places_[job] = {};
    }
    charge(job, false);
    dispatcher_.learn(shape_of(job), TimeUs{log_.jobs[job].run_s} * kSecond);
  }

  // Groups are accounts, users their members.
  void add_groups() {
    if (!fair()) return;
    Cluster cluster;
    for (const auto& [group, shares] : options_.group_shares) {
      (void)cluster.apply_event(AccountSet{{account_of(group), "", shares, "", {}}}, 0);
    }
    for (const LogJob& job : log_.jobs) {
      if (options_.group_shares.contains(job.group) || cluster.accounts().contains(account_of(job.group))) continue;
      (void)cluster.apply_event(AccountSet{{account_of(job.group), "", 1, "", {}}}, 0);
    }
    dispatcher_.tenants().configure(cluster, 0);
  }
  bool fair() const { return options_.shares.head_start.value_or(0) != 0; }
  static std::string account_of(std::uint32_t group) { return "g" + std::to_string(group); }
  scheduler::TenantId tenant_of(std::uint32_t job) {
    if (!fair()) return 0;
    const LogJob& of = log_.jobs[job];
    const std::size_t before = dispatcher_.tenants().size();
    const auto id = dispatcher_.tenants().of(account_of(of.group), "u" + std::to_string(of.user), "");
    if (dispatcher_.tenants().size() != before) judged_s_ = -kJudgeEveryS;
    return id;
  }
  void charge(std::uint32_t job, bool runs) {
    if (!fair()) return;
    const std::uint32_t pods = pool() ? 1 : log_.jobs[job].procs;
    const auto charge = scheduler::Charge::of(request_of(job), pods, 1);
    scheduler::Tenants& tenants = dispatcher_.tenants();
    if (runs) {
      tenants.add(tenant_of(job), charge, now_s_ * kSecond);
    } else {
      tenants.remove(tenant_of(job), charge, now_s_ * kSecond);
    }
  }

  void pass() {
    if (fair() && now_s_ >= judged_s_ + kJudgeEveryS) {
      judged_s_ = now_s_;
      dispatcher_.judge_shares(now_s_ * kSecond);
    }
    do {
      dispatcher_.pass(now_s_ * kSecond, ~0U, *this);
      ++result_.passes;
    } while (dispatcher_.unfinished());
    result_.waiting_most = std::max(result_.waiting_most, dispatcher_.queue().size());
    if (options_.check && wrong_.empty()) check();
  }

  // By arrival a promise once made is only ever bettered, and kept.
  void check() {
    wrong_ = dispatcher_.check_invariants();
    const auto promise = dispatcher_.promise();
    if (!promise || options_.policy->by_size) return;
    if (promised_.empty()) promised_.assign(log_.jobs.size(), std::numeric_limits<TimeUs>::max());
    TimeUs& best = promised_[job_of(promise->job)];
    if (promise->at > std::max(best, now_s_ * kSecond)) {
      wrong_ = "job " + std::to_string(log_.jobs[job_of(promise->job)].id) + " had a better promise before";
    }
    best = std::min(best, promise->at);
  }

  std::uint32_t startable(JobId) const override { return 1; }
  bool overdue(JobId) const override { return false; }
  void start(JobId id, const std::vector<placement::Placed>& places, TimeUs) override {
    const std::uint32_t job = job_of(id);
    result_.starts_s[job] = now_s_;
    if (!promised_.empty() && now_s_ * kSecond > promised_[job] && wrong_.empty()) {
      wrong_ = "job " + std::to_string(log_.jobs[job].id) + " starts later than it was promised";
    }
    dispatcher_.forget(id);
    const TimeUs end_us = now_s_ * kSecond + limit_us(job);
    const Request& request = request_of(job);
    for (const placement::Placed& place : places) {
      dispatcher_.runs(place.node, request, end_us);
      if (!pool()) places_[job].push_back(place.node);
    }
    charge(job, true);
    ends_.push({now_s_ + log_.jobs[job].run_s, ++started_, job});
  }

  const JobLog& log_;
  const SimOptions& options_;
  Dispatcher dispatcher_;
  Request request_;
  SimResult result_;
  std::int64_t now_s_ = 0;
  static constexpr std::int64_t kJudgeEveryS = 10;  // as the server does
  std::int64_t judged_s_ = -kJudgeEveryS;
  std::uint32_t started_ = 0;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  std::vector<std::uint32_t> early_;
  std::vector<std::vector<NodeId>> places_;  // of the jobs that run, on nodes
  std::vector<TimeUs> promised_;
  std::string wrong_;
};

}  // namespace

Status fits_cluster(const JobLog& log, const SimCluster& cluster) {
  for (const LogJob& job : log.jobs) {
    if (job.procs <= cluster.total()) continue;
    return Error{ErrorCode::kInvalid, "",
                 "job " + std::to_string(job.id) + " wants " + std::to_string(job.procs) +
                     " processors and the cluster has " + std::to_string(cluster.total()),
                 0};
  }
  return Unit{};
}

Result<SimResult> simulate(const JobLog& log, const SimOptions& options) {
  if (Status good = fits_cluster(log, options.cluster); !good) return good.error();
  return Simulation(log, options).run();
}

}  // namespace berth::tools
