#include "tests/torture/core_run.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <set>

#include "scheduler/core.h"
#include "state/event_codec.h"
#include "state/store/store.h"

namespace berth::store::testing {

using namespace state;
using scheduler::Command;
using scheduler::Core;

namespace {

constexpr const char* kCoreDirectory = "/data";
constexpr std::uint32_t kAgents = 4;

// What a client knows of a submission. It asks again, under the same key, until it is told.
struct Submission {
  JobSpec spec;
  std::uint64_t key = 0;
  bool refused = false;
  bool cancelled = false;  // acknowledged
  JobId id;                // acknowledged
};

struct Agent {
  std::string name;
  std::uint64_t session = 0;  // 0: not connected
  std::map<PodRef, TimeUs> running;
  std::map<PodRef, PodEnd> ended;  // until the server has said that it knows
};

class CoreRun {
 public:
  CoreRun(std::uint64_t seed, Mistake mistake) : disk_(seed, mistake) {
    store_options_.directory = kCoreDirectory;
    store_options_.segment_bytes = 2048U << below(4);
    store_options_.snapshot_after_bytes = store_options_.segment_bytes * (1 + below(3));
    options_.node_lost_after_ms = 5'000;
    for (std::uint32_t i = 0; i < kAgents; ++i) agents_.emplace_back().name = "n" + std::to_string(i);
  }

  RunResult run() {
    const std::uint32_t lives = 2 + below(4);
    for (std::uint32_t i = 0; i < lives && wrong_.empty(); ++i) {
      if (!boot(plan())) continue;
      for (std::uint32_t left = 5 + below(60); left != 0 && core_ != nullptr && wrong_.empty(); --left) something();
      if (core_ != nullptr) die();
    }
    finish();
    core_.reset();
    store_.reset();
    return {wrong_, disk_.digest(), happened_};
  }

 private:
  std::uint32_t below(std::uint32_t n) { return disk_.below(n); }
  void wrong(std::string what) {
    if (wrong_.empty()) wrong_ = std::move(what);
  }
  template <class... Args>
  void tell(fmt::format_string<Args...> format, Args&&... args) {
    if (loud_) fmt::print("{}\n", fmt::format(format, std::forward<Args>(args)...));
  }

  Faults plan() {
    Faults faults;
    switch (below(6)) {
      case 0:
        break;
      case 1:
      case 2:
        faults.crash_at = 1 + below(150);
        break;
      case 3:
        faults.room = below(static_cast<std::uint32_t>(store_options_.segment_bytes * 3));
        break;
      case 4:
        faults.sync_fails_at = 1 + below(60);
        break;
      case 5:
        faults.write_fails_at = 1 + below(60);
        break;
    }
    return faults;
  }

  // ---- the server ----
  bool boot(const Faults& faults) {
    disk_.set_faults(faults);
    auto opened = open_store(store_options_);
    if (!opened) {
      const bool fault = faults.crash_at != 0 || faults.room || faults.sync_fails_at != 0 || faults.write_fails_at != 0;
      if (!fault) wrong("it does not open: " + opened.error().message);
      restart_disk();
      return false;
    }
    ++happened_.opened;
    if (opened->recovered.torn_bytes != 0) ++happened_.torn;
    const Cluster& cluster = opened->recovered.cluster;
    tell("boot: batch {}", cluster.applied_index());
    check_recovered(cluster);
    hashes_.resize(cluster.applied_index() + 1);
    store_ = std::move(opened->store);
    now_ = std::max(now_, cluster.applied_at()) + 1'000;
    core_ = std::make_unique<Core>(options_, std::move(opened->recovered.cluster), now_);
    return wrong_.empty();
  }
  void restart_disk() {
    const bool power = below(2) == 0;
    disk_.restart(power);
    tell("{}", power ? "power failed" : "killed");
    ++happened_.crashes;
    if (power) ++happened_.power_failures;
  }
  void die() {
    disk_.kill();
    if (store_->snapshot_index() != 0) ++happened_.snapshots;
    core_.reset();
    store_.reset();
    restart_disk();
    turns_.clear();
    for (Agent& agent : agents_) agent.session = 0;
  }

  void turn(std::vector<Command> commands) {
    if (core_ == nullptr) return;
    now_ += 10;
    scheduler::Turn turn = core_->step(commands, now_);
    if (turn.batch.index != 0) {
      hashes_.push_back(core_->cluster().hash());
      ++happened_.batches;
    }
    turns_.push_back(std::move(turn));
    if (below(3) != 0) make_durable();  // several turns share a write when the disk is slow
    disk_.let_workers_run(below(4) == 0 ? below(10) : 0);
  }
  // As api/server/pipeline.cpp does it: nothing leaves before it is durable, and a full disk is waited out.
  void make_durable() {
    std::vector<std::string> records;
    std::uint64_t first = 0;
    for (const scheduler::Turn& turn : turns_) {
      if (turn.batch.index == 0) continue;
      if (first == 0) first = turn.batch.index;
      records.push_back(encode_batch(turn.batch));
    }
    if (!records.empty()) {
      const Status done = store_->append(first, records);
      if (!done && done.error().code == ErrorCode::kUnavailable && !disk_.dead()) {
        ++happened_.full;
        if (below(3) == 0) disk_.set_faults({});  // there is room again
        if (below(8) == 0) die();
        return;
      }
      if (!done) {
        if (!disk_.dead()) ++happened_.failed;
        return die();
      }
    }
    std::vector<scheduler::Turn> done;
    done.swap(turns_);
    for (scheduler::Turn& turn : done) {
      for (scheduler::Effect& effect : turn.effects) std::visit([this](auto& body) { take(body); }, effect);
    }
  }

  // ---- the world ----
  void something() {
    const std::uint32_t what = below(100);
    if (what < 25) return submit();
    if (what < 35) return ask_again();
    if (what < 40) return cancel();
    if (what < 45) return turn({scheduler::Tick{}});
    if (what < 47) {
      now_ += 1'000'000;
      return turn({scheduler::Tick{}});
    }
    Agent& agent = agents_[below(kAgents)];
    if (agent.session == 0) return connect(agent);
    if (what < 50) {
      const std::uint64_t session = std::exchange(agent.session, 0);
      return turn({scheduler::AgentGone{session}});
    }
    report(agent);
  }

  void submit() {
    Submission& made = submissions_.emplace_back();
    made.key = 1'000 + submissions_.size();
    made.spec.name = "job" + std::to_string(made.key);
    made.spec.request.resources = {250 * (1 + below(8)), 64ULL * (1 + below(8)), 0};
    made.spec.requeues_max = 3;
    made.spec.launch = std::string(below(400), 'x') + std::to_string(made.key);
    const std::uint32_t kind = below(4);
    if (kind != 0) {
      made.spec.kind = kind == 1 ? JobKind::kGang : JobKind::kArray;
      made.spec.elements = IndexSet::dense(1 + below(kind == 1 ? 3 : 12));
    }
    if (below(10) == 0) made.spec.queue = "no-such-queue";
    send(made);
  }
  void ask_again() {
    for (Submission& made : submissions_) {
      if (made.id == JobId{} && !made.refused && below(2) == 0) send(made);
    }
  }
  void send(const Submission& made) {
    asked_[++request_] = made.key;
    turn({scheduler::ClientCommand{{1, request_}, caller(), SubmitRequest{{made.spec}, made.key, false}}});
  }
  void cancel() {
    for (Submission& made : submissions_) {
      if (made.id == JobId{} || below(4) != 0) continue;
      asked_[++request_] = made.key;
      return turn({scheduler::ClientCommand{{1, request_}, caller(), CancelRequest{made.id, std::nullopt}}});
    }
  }
  static scheduler::Caller caller() { return {1000, 1000, "user", {1000}, false}; }

  void connect(Agent& agent) {
    AgentHello hello;
    hello.info.name = agent.name;
    hello.info.instance = "instance of " + agent.name;
    hello.info.capacity = {8000, 8192, 0};
    for (const auto& [ref, at] : agent.running) hello.pods.push_back({ref, true, 0, at});
    for (const auto& [ref, end] : agent.ended) hello.pods.push_back({ref, false, 0, end.outcome.started_at});
    agent.session = ++session_;
    turn({scheduler::AgentConnected{agent.session, std::move(hello)}});
  }
  void end(Agent& agent, const PodRef& ref, PodState how) {
    PodEnd done;
    done.ref = ref;
    done.outcome.state = how;
    done.outcome.exit_code = how == PodState::kFailed ? 1 : 0;
    done.outcome.started_at = agent.running[ref];
    done.outcome.ended_at = now_;
    agent.running.erase(ref);
    agent.ended[ref] = done;
  }
  void report(Agent& agent) {
    AgentStatus status;
    for (const auto& [ref, at] : agent.running) status.starts.push_back({ref, at});
    for (std::uint32_t left = below(4); left != 0 && !agent.running.empty(); --left) {
      end(agent, std::next(agent.running.begin(), below(static_cast<std::uint32_t>(agent.running.size())))->first,
          below(8) == 0 ? PodState::kFailed : PodState::kSucceeded);
    }
    for (const auto& [ref, done] : agent.ended) status.ends.push_back(done);
    turn({scheduler::AgentReported{agent.session, std::move(status)}});
  }

  // ---- what the server says, once it is durable ----
  Submission* of_request(std::uint64_t request) {
    const auto key = asked_.find(request);
    return key == asked_.end() ? nullptr : &submissions_[key->second - 1'001];
  }
  void take(scheduler::Reply& reply) {
    Submission* made = of_request(reply.to.request);
    if (made == nullptr) return;
    if (const auto* done = std::get_if<SubmitReply>(&reply.body)) {
      if (made->refused) wrong(fmt::format("submission {} was refused, and is taken now", made->key));
      if (made->id != JobId{} && made->id != done->jobs.at(0))
        wrong(fmt::format("submission {} is two jobs", made->key));
      made->id = done->jobs.at(0);
      tell("acknowledged: {} is job {}", made->key, made->id.value);
    } else if (const auto* error = std::get_if<Error>(&reply.body)) {
      if (made->id == JobId{} && error->code != ErrorCode::kUnavailable) made->refused = true;
    } else if (made->id != JobId{}) {
      made->cancelled = true;
    }
  }
  void take(scheduler::ToAgents&) {}  // what nodes hear of services: these have none
  void take(scheduler::RefuseAgent& refused) { wrong("an agent was refused: " + refused.error.message); }
  void take(scheduler::ForwardLog&) {}
  void take(scheduler::ForwardExec&) {}
  void take(scheduler::ToAgent& to) {
    for (Agent& agent : agents_) {
      if (agent.session != to.session) continue;
      std::visit([&](auto& body) { told(agent, body); }, to.body);
    }
  }
  void told(Agent& agent, StartPods& start) {
    for (const StartOrder& order : start.orders) {
      for (const PodToStart& pod : order.pods) {
        const PodRef ref{{order.job, pod.element}, pod.attempt};
        if (agent.running.contains(ref) || agent.ended.contains(ref)) continue;
        const auto [it, first] = started_.emplace(ref, agent.name);
        if (!first)
          wrong(fmt::format("job {} element {} attempt {} is started on {} after {}", ref.pod.job.value,
                            ref.pod.element, ref.attempt, agent.name, it->second));
        agent.running[ref] = now_;
      }
    }
  }
  void told(Agent& agent, StopPods& stop) {
    for (const PodStop& told : stop.stops) {
      if (agent.running.contains(told.ref))
        end(agent, told.ref, PodState::kCancelled);
      else if (!agent.ended.contains(told.ref)) {
        // It is not there: ended at once.
        end(agent, told.ref, PodState::kCancelled);
      }
    }
  }
  void told(Agent& agent, ForgetPods& forget) {
    for (const PodRef& ref : forget.pods) {
      agent.ended.erase(ref);
      forgotten_.insert(ref);
    }
  }
  template <class Other>
  void told(Agent&, Other&) {}

  // ---- what a server that comes back must know ----
  void check_recovered(const Cluster& cluster) {
    if (std::string broken = state::check_invariants(cluster); !broken.empty()) return wrong(broken);
    const std::uint64_t index = cluster.applied_index();
    if (index >= hashes_.size()) return wrong(fmt::format("it has batch {} that nobody made", index));
    if (index != 0 && cluster.hash() != hashes_[index])
      return wrong(fmt::format("the state at batch {} is not the one that the core had", index));
    std::size_t known = 0;
    for (const Submission& made : submissions_) {
      const Job* job = cluster.job_by_submit_key(made.key);
      if (job != nullptr) ++known;
      if (made.id != JobId{} && (job == nullptr || job->id != made.id || job->spec.launch != made.spec.launch))
        return wrong(fmt::format("job {} was acknowledged, and it is not there", made.id.value));
      if (made.refused && job != nullptr)
        return wrong(fmt::format("submission {} was refused, and it is there", made.key));
      if (made.cancelled && job != nullptr && !job->pending.empty())
        return wrong(fmt::format("job {} was cancelled, and it waits", made.id.value));
    }
    if (known != cluster.jobs().size()) wrong("there are jobs that nobody submitted, or twice");
    for (const PodRef& ref : forgotten_) {
      const Pod* pod = cluster.pod(ref.pod);
      if (pod != nullptr && pod->ref.attempt <= ref.attempt)
        return wrong(
            fmt::format("job {} element {}: its end was known, and it runs", ref.pod.job.value, ref.pod.element));
    }
  }

  // Nothing fails any more: whatever was acknowledged has to come to its end.
  void finish() {
    if (!wrong_.empty() || (core_ == nullptr && !boot({}))) return;
    for (int round = 0; round < 400 && wrong_.empty() && core_ != nullptr; ++round) {
      now_ += 200'000;
      disk_.set_faults({});
      turn({scheduler::Tick{}});
      ask_again();
      for (Agent& agent : agents_) agent.session == 0 ? connect(agent) : report(agent);
      const auto& jobs = core_->cluster().jobs();
      const bool active = std::any_of(jobs.begin(), jobs.end(), [](const auto& job) { return job.second->active(); });
      const bool open = std::any_of(submissions_.begin(), submissions_.end(),
                                    [](const Submission& made) { return made.id == JobId{} && !made.refused; });
      if (!active && !open) return check_end();
    }
    if (wrong_.empty()) wrong("what was acknowledged did not end");
  }
  void check_end() {
    make_durable();
    for (const Submission& made : submissions_) {
      if (made.refused) continue;
      const Job* job = core_->cluster().job(made.id);
      if (job == nullptr) return wrong(fmt::format("job {} is gone", made.id.value));
      std::uint32_t ended = 0;
      for (std::size_t i = 0; i < kPodStates; ++i)
        ended += is_final(static_cast<PodState>(i)) ? job->counts.by_state[i] : 0;
      if (ended != made.spec.elements.size()) wrong(fmt::format("job {} has {} ends", made.id.value, ended));
    }
    const std::uint64_t index = core_->cluster().applied_index();
    die();
    if (boot({}) && store_->last_index() < index) wrong("what was durable at the end is not there");
  }

  Disk disk_;
  StoreOptions store_options_;
  scheduler::CoreOptions options_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Core> core_;
  TimeUs now_ = 1'700'000'000'000'000;
  std::vector<std::uint64_t> hashes_{0};  // of the live core's cluster, by index
  std::vector<scheduler::Turn> turns_;    // not durable yet
  std::vector<Submission> submissions_;
  std::map<std::uint64_t, std::uint64_t> asked_;  // request -> key
  std::vector<Agent> agents_;
  std::map<PodRef, std::string> started_;  // attempt -> where
  std::set<PodRef> forgotten_;             // attempts whose end the server knows
  std::uint64_t session_ = 100, request_ = 0;
  std::string wrong_;
  Happened happened_;
  const bool loud_ = std::getenv("BERTH_TORTURE_LOUD") != nullptr;
};

}  // namespace

RunResult run_core(std::uint64_t seed, Mistake mistake) { return CoreRun(seed, mistake).run(); }

}  // namespace berth::store::testing
