// Random workloads with faults, by seed: agents that die and return, servers that restart in the middle, cancellations.
// After every turn the harness checks the invariants and the replayed hash; at the end nothing is lost and nothing ran
// twice.
#include <gtest/gtest.h>
#include <random>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

class RandomLife : public testing::TestWithParam<unsigned> {
 protected:
  std::mt19937 random{GetParam()};
  std::vector<std::pair<JobId, std::uint32_t>> arrays;  // with their sizes
  std::uint32_t below(std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random); }

  // Accounts whose limits come and go, for every second seed.
  void change_accounts(Harness& h) {
    const auto any_limits = [&] {
      Limits limits;
      for (std::size_t i = 0; i < kSharedLimits; ++i) {
        if (below(3) != 0) continue;
        const std::array<std::int64_t, kSharedLimits> most = {40, 2 + below(6), 500 * (4 + below(12)),
                                                              256 * (2 + below(8)), 1 + below(2)};
        limits.most[i] = most[i];
      }
      if (below(4) == 0) limits.most[static_cast<std::size_t>(Limit::kJobCpus)] = 2000;
      limits.wait = below(2) == 0;
      return limits;
    };
    (void)h.ask(AccountActionRequest{false, {"top", "", 1, "", any_limits()}});
    (void)h.ask(AccountActionRequest{false, {"below", "top", 1 + below(3), "", any_limits()}});
    for (const std::uint32_t uid : {1000U, 1001U}) {
      (void)h.ask(MemberActionRequest{
          false, {uid == 1000 ? "top" : "below", "user" + std::to_string(uid), 1, false, any_limits()}});
    }
    Qos qos;
    qos.name = "q";
    qos.limits = any_limits();
    qos.user_limits = any_limits();
    (void)h.ask(QosActionRequest{false, qos});
  }

  JobSpec any_spec() {
    const std::uint32_t kind = below(4);
    JobSpec spec = kind == 0   ? array(1 + below(30), below(2) * below(6))
                   : kind == 1 ? gang(1 + below(4), below(2) == 0)
                               : single();
    spec.request.resources = {250 * (1 + below(8)), 64ULL * (1 + below(8)), below(8) == 0 ? 1U : 0U};
    spec.requeues_max = below(3);
    spec.priority = -static_cast<std::int32_t>(below(3));
    if (GetParam() % 2 == 0 && below(3) == 0) spec.qos = "q";
    if (GetParam() % 3 == 0 && below(3) == 0) spec.queue = "high";
    if (below(3) == 0) spec.time_limit_ms = 1000 * (1 + below(60));
    if (below(4) == 0) spec.time_min_ms = 1000;
    if (spec.kind == JobKind::kArray && !arrays.empty() && below(2) == 0) {
      const auto& [id, size] = arrays[below(static_cast<std::uint32_t>(arrays.size()))];
      if (spec.elements.size() > size) spec.elements = IndexSet::dense(size);
      spec.depends.push_back({Dependency::Kind::kAfterCorr, id, 0, Dependency::State::kOpen});
    }
    return spec;
  }
};

TEST_P(RandomLife, LosesNothingAndRunsNothingTwice) {
  CoreOptions options;
  options.node_lost_after_ms = 5'000;
  options.overtaking_ends_after_ms = 2'000;
  Harness h(options);
  h.resend_allowed = true;
  constexpr std::uint32_t kNodes = 6;
  const Resources capacity{4000, 4096, 2};
  std::map<std::uint32_t, std::uint64_t> connected;  // node number -> session
  std::map<std::uint32_t, FakeAgent> away;
  std::vector<JobId> jobs;
  std::set<PodRef> ended;
  for (std::uint32_t i = 0; i < kNodes; ++i) connected[i] = h.join("n" + std::to_string(i), capacity).session;

  const auto leave = [&](std::uint32_t i) {
    away[i] = h.agent_at(connected[i]);
    connected.erase(i);
  };
  if (GetParam() % 2 == 0) change_accounts(h);
  if (GetParam() % 3 == 0) {
    Queue low, high;
    low.name = "default";
    low.preempt = GetParam() % 4 < 2 ? Preempt::kRequeue : Preempt::kCancel;
    high.name = "high";
    high.tier = 1;
    (void)h.ask(QueueActionRequest{false, low});
    (void)h.ask(QueueActionRequest{false, high});
  }
  for (int step = 0; step < 400 && !HasFatalFailure(); ++step) {
    const std::uint32_t what = below(100);
    if (GetParam() % 2 == 0 && below(40) == 0) change_accounts(h);
    if (what < 15) {
      JobSpec spec = any_spec();
      if (below(5) == 0) spec.deadline = h.now() + 1'000'000 * (70 + below(200));
      auto reply = h.ask(SubmitRequest{{spec}, 0, false}, Harness::user(1000 + below(2)));
      if (auto* done = std::get_if<SubmitReply>(&reply)) {
        jobs.push_back(done->jobs.at(0));
        if (spec.kind == JobKind::kArray) arrays.emplace_back(jobs.back(), spec.elements.size());
      }
    } else if (what < 40 && !connected.empty()) {
      h.start_all(h.agent_at(std::next(connected.begin(), below(static_cast<std::uint32_t>(connected.size())))->second),
                  1 + static_cast<int>(below(2)));
    } else if (what < 75 && !connected.empty()) {
      FakeAgent& agent =
          h.agent_at(std::next(connected.begin(), below(static_cast<std::uint32_t>(connected.size())))->second);
      if (agent.running.empty()) continue;
      const PodRef ref =
          std::next(agent.running.begin(), below(static_cast<std::uint32_t>(agent.running.size())))->first;
      ASSERT_TRUE(ended.insert(ref).second) << "an attempt ended twice";
      const std::uint32_t how = below(10);
      const bool told = std::find(agent.stopped.begin(), agent.stopped.end(), ref) != agent.stopped.end();
      h.end(agent, ref,
            told && how < 8 ? PodState::kCancelled
            : how < 7       ? PodState::kSucceeded
            : how < 9       ? PodState::kFailed
                            : PodState::kNodeLost,
            how < 7 ? 0 : 1, 1 + static_cast<int>(below(2)));
    } else if (what < 77 && !jobs.empty() && GetParam() % 3 == 0) {
      (void)h.ask(JobRequeueRequest{jobs[below(static_cast<std::uint32_t>(jobs.size()))], false});
    } else if (what < 80 && !jobs.empty()) {
      (void)h.ask(CancelRequest{jobs[below(static_cast<std::uint32_t>(jobs.size()))], std::nullopt});
    } else if (what < 86 && !connected.empty()) {
      const std::uint32_t i = std::next(connected.begin(), below(static_cast<std::uint32_t>(connected.size())))->first;
      const std::uint64_t session = connected[i];
      leave(i);
      h.turn({AgentGone{session}});
    } else if (what < 93 && !away.empty()) {
      const auto it = std::next(away.begin(), below(static_cast<std::uint32_t>(away.size())));
      const std::uint32_t i = it->first;
      FakeAgent agent = it->second;
      away.erase(it);
      connected[i] = h.rejoin(agent, capacity).session;
    } else if (what < 97) {
      h.advance_ms(1000 * below(4));
    } else {
      while (!connected.empty()) leave(connected.begin()->first);
      h.restart();
    }
  }
  // Let everything come back and run to its end, without limits: some may never let a job run.
  for (const char* name : {"top", "below"}) {
    if (GetParam() % 2 == 0)
      (void)h.ask(AccountActionRequest{false, {name, name == std::string("top") ? "" : "top", 1, "", {}}});
  }
  for (const std::uint32_t uid : {1000U, 1001U}) {
    if (GetParam() % 2 == 0) {
      (void)h.ask(
          MemberActionRequest{false, {uid == 1000 ? "top" : "below", "user" + std::to_string(uid), 1, false, {}}});
    }
  }
  Qos open;
  open.name = "q";
  if (GetParam() % 2 == 0) (void)h.ask(QosActionRequest{false, open});
  for (auto& [i, agent] : away) connected[i] = h.rejoin(agent, capacity).session;
  // What can never start is cancelled; the rest will.
  const auto give_up = [&] {
    for (const auto& [id, size] : arrays) {
      const Job& job = h.job(id);
      if (job.corresponding == nullptr || job.pending.empty() || job.corresponding->any_open()) continue;
      if (job.corresponding->ready.empty()) (void)h.ask(CancelRequest{id, std::nullopt});
    }
  };
  const auto busy = [&] { return std::any_of(jobs.begin(), jobs.end(), [&](JobId id) { return h.job(id).active(); }); };
  for (int round = 0; round < 2000 && busy() && !HasFatalFailure(); ++round) {
    for (const auto& [i, session] : connected) {
      FakeAgent& agent = h.agent_at(session);
      h.start_all(agent);
      while (!agent.running.empty()) {
        const PodRef ref = agent.running.begin()->first;
        ASSERT_TRUE(ended.insert(ref).second) << "an attempt ended twice";
        h.end(agent, ref);
      }
    }
    h.advance_ms(1000);
    give_up();
  }
  for (const JobId id : jobs) {
    EXPECT_FALSE(h.job(id).active()) << "job " << id.value << " never ended";
    EXPECT_EQ(h.job(id).counts.of(PodState::kPending), 0U);
  }
  h.take_refused_agents();
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomLife, testing::Range(1U, 41U));

}  // namespace
}  // namespace berth::scheduler
