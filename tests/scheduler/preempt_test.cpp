// Jobs of a higher tier take the room of those of a lower one: who goes, how, and that nobody goes in vain. And
// requeueing by hand.
#include <random>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

void add_queue(Harness& h, const std::string& name, std::int32_t tier, Preempt preempt = Preempt::kOff,
               std::int32_t priority = 0) {
  Queue queue;
  queue.name = name;
  queue.tier = tier;
  queue.preempt = preempt;
  queue.priority = priority;
  h.ask_for<Ok>(QueueActionRequest{false, queue});
}
JobSpec in_queue(const std::string& queue, JobSpec spec = single()) {
  spec.queue = queue;
  return spec;
}
std::set<PodRef> stopped(const FakeAgent& agent) { return {agent.stopped.begin(), agent.stopped.end()}; }
void end_stopped(Harness& h, FakeAgent& agent) {
  for (const PodRef& ref : std::exchange(agent.stopped, {})) {
    if (agent.running.contains(ref)) h.end(agent, ref, PodState::kCancelled);
  }
}
std::string reason_of(Harness& h, JobId id) { return h.ask_for<JobDetail>(ShowJobRequest{id}).row.reason; }

TEST(Tiers, ComeBeforeAllPriorities) {
  Harness h;
  add_queue(h, "low", 0, Preempt::kOff, 1'000'000);
  add_queue(h, "high", 1, Preempt::kOff, -1'000'000);
  const JobId low = h.submit(in_queue("low", single(4000)));
  const JobId high = h.submit(in_queue("high", single(4000)));
  h.join("a");
  EXPECT_EQ(h.state_of(high), PodState::kBound);
  EXPECT_EQ(h.state_of(low), PodState::kPending);  // and nobody was told to go for it
  EXPECT_EQ(h.ask_for<PriorityPage>(PriorityRequest{}).rows.at(0).tier, 0);
}

TEST(Preemption, TakesNoMoreThanItNeedsOfWhatStartedLast) {
  Harness h;
  h.resend_allowed = true;
  add_queue(h, "low", 0, Preempt::kRequeue);
  add_queue(h, "high", 1);
  FakeAgent& a = h.join("a");
  std::vector<JobId> low;
  for (int i = 0; i < 4; ++i) {
    low.push_back(h.submit(in_queue("low")));
    h.start_all(a);
    h.advance_ms(1000);
  }
  const JobId high = h.submit(in_queue("high", single(2000)));
  EXPECT_EQ(stopped(a), (std::set<PodRef>{{{low[2], 0}, 1}, {{low[3], 0}, 1}}));
  EXPECT_EQ(reason_of(h, high), "room is being made: 2 pods of lower tiers still have to end");
  const JobId more = h.submit(in_queue("low"));  // what comes free is not for it
  h.turn({Tick{}});
  h.end(a, {{low[3], 0}, 1}, PodState::kCancelled);
  EXPECT_EQ(h.state_of(more), PodState::kPending);
  EXPECT_EQ(h.state_of(low[3]), PodState::kPending);  // it goes back to the queue
  EXPECT_EQ(h.state_of(high), PodState::kPending);
  h.end(a, {{low[2], 0}, 1}, PodState::kCancelled);
  EXPECT_EQ(h.state_of(high), PodState::kBound);
  EXPECT_EQ(stopped(a).size(), 2U);  // nobody else went
  h.start_all(a);
  h.end(a, {{high, 0}, 1});
  EXPECT_EQ(h.state_of(low[2]), PodState::kBound);
  EXPECT_EQ(h.cluster().pod({low[2], 0})->ref.attempt, 2U);
}

TEST(Preemption, IsNeverInVain) {
  Harness h;
  add_queue(h, "low", 0, Preempt::kRequeue);
  add_queue(h, "same", 1, Preempt::kRequeue);
  add_queue(h, "kept", 0);
  add_queue(h, "high", 1);
  FakeAgent& a = h.join("a");
  h.submit(in_queue("low", single(2000)));
  h.submit(in_queue("kept", single(1000)));
  h.submit(in_queue("same", single(1000)));
  h.start_all(a);
  h.submit(in_queue("high", single(3000)));  // even if what may go went, there were 2 cpus
  EXPECT_TRUE(a.stopped.empty());
  h.submit(in_queue("low", single(2000)));  // of a lower tier: nobody goes
  EXPECT_TRUE(a.stopped.empty());
  h.submit(in_queue("high", single(2000)));  // this one overtakes nobody that it could not
  EXPECT_EQ(a.stopped.size(), 1U);
}

TEST(Preemption, MakesNoRoomForWhatMayNotStart) {
  Harness h;
  add_queue(h, "low", 0, Preempt::kRequeue);
  add_queue(h, "high", 1);
  h.ask_for<Ok>(AccountActionRequest{false, {"physics", "", 1, "", {}}});
  Limits two;
  two.most[static_cast<std::size_t>(Limit::kRunning)] = 2;
  h.ask_for<Ok>(MemberActionRequest{false, {"physics", "user7", 1, false, two}});
  h.ask_for<Ok>(LicenceActionRequest{false, {"matlab", 1}});
  FakeAgent& a = h.join("a", {8000, 8192, 0});
  h.submit(in_queue("low", array(8)));
  h.start_all(a);
  const JobId high = h.submit(in_queue("high", array(8)), Harness::user(7));
  EXPECT_EQ(a.stopped.size(), 2U);  // no more than its limit lets run
  end_stopped(h, a);
  EXPECT_EQ(h.job(high).counts.live(), 2U);
  h.start_all(a);
  JobSpec licensed = in_queue("high", array(4));
  licensed.request.licences = {{"matlab", 1}};
  const JobId one = h.submit(licensed);
  EXPECT_EQ(a.stopped.size(), 1U);
  end_stopped(h, a);
  EXPECT_EQ(h.job(one).counts.live(), 1U);
  h.advance_ms(5'000);
  EXPECT_TRUE(a.stopped.empty());  // the licence is out, so nobody goes
}

// A gang whose pods are many is one victim, whatever stands before it in line.
TEST(Preemption, NeverCutsAGangInTwo) {
  Harness h;
  h.resend_allowed = true;
  add_queue(h, "low", 0, Preempt::kRequeue);
  add_queue(h, "high", 1);
  FakeAgent& a = h.join("a", {1'200'000, 1'000'000, 0});
  const JobId many = h.submit(in_queue("low", array(1000)));
  const JobId team = h.submit(in_queue("low", gang(200)));
  EXPECT_EQ(h.job(many).counts.live() + h.job(team).counts.live(), 1200U);
  h.start_all(a);
  h.submit(in_queue("high", single(150'000)));
  const auto of_team =
      std::count_if(a.stopped.begin(), a.stopped.end(), [&](const PodRef& ref) { return ref.pod.job == team; });
  EXPECT_TRUE(of_team == 0 || of_team == 200) << of_team;
  EXPECT_GE(a.stopped.size(), 150U);
}

TEST(Preemption, SwitchedOffInTheMiddleLeavesNothingBehind) {
  Harness h;
  h.resend_allowed = true;
  add_queue(h, "low", 0, Preempt::kRequeue);
  add_queue(h, "high", 1);
  FakeAgent& a = h.join("a");
  h.submit(in_queue("low", single(4000)));
  h.start_all(a);
  const JobId high = h.submit(in_queue("high", single(4000)));
  add_queue(h, "low", 0, Preempt::kOff);
  end_stopped(h, a);
  EXPECT_EQ(h.state_of(high), PodState::kBound);
  h.start_all(a);
  h.end(a, {{high, 0}, 1});
  add_queue(h, "low", 0, Preempt::kRequeue);
  h.start_all(a);
  h.submit(in_queue("high", single(4000)));
  EXPECT_EQ(a.stopped.size(), 1U);  // it works as the first time
}

TEST(Preemption, IsTriedAgainWhenSomethingElseEnds) {
  Harness h;
  add_queue(h, "low", 0, Preempt::kRequeue);
  add_queue(h, "kept", 0);
  add_queue(h, "high", 1);
  FakeAgent& a = h.join("a");
  const JobId low = h.submit(in_queue("low", single(2000)));
  const JobId kept = h.submit(in_queue("kept", single(2000)));
  h.start_all(a);
  const JobId high = h.submit(in_queue("high", single(4000)));
  EXPECT_TRUE(a.stopped.empty());
  h.end(a, {{kept, 0}, 1});
  EXPECT_TRUE(a.stopped.empty());  // who looked in vain rests for a second
  EXPECT_LE(*h.core().next_deadline(), h.now() + 1'000'000);
  h.advance_ms(1'000);
  EXPECT_EQ(stopped(a), (std::set<PodRef>{{{low, 0}, 1}}));
  end_stopped(h, a);
  EXPECT_EQ(h.state_of(high), PodState::kBound);
}

TEST(Preemption, CancelsWhereItIsToAndSaysForWhom) {
  Harness h;
  add_queue(h, "low", 0, Preempt::kCancel);
  Qos safe;
  safe.name = "safe";
  safe.preempt = Preempt::kOff;
  h.ask_for<Ok>(QosActionRequest{false, safe});
  Qos urgent;
  urgent.name = "urgent";
  urgent.tier = 5;
  h.ask_for<Ok>(QosActionRequest{false, urgent});
  FakeAgent& a = h.join("a");
  JobSpec spec = in_queue("low", single(2000));
  const JobId victim = h.submit(spec);
  spec.qos = "safe";
  const JobId kept = h.submit(spec);
  h.start_all(a);
  JobSpec wants = single(2000);
  wants.qos = "urgent";
  const JobId high = h.submit(wants);
  EXPECT_EQ(stopped(a), (std::set<PodRef>{{{victim, 0}, 1}}));
  end_stopped(h, a);
  EXPECT_EQ(h.state_of(victim), PodState::kCancelled);
  EXPECT_EQ(reason_of(h, victim), "made room for job " + std::to_string(high.value));
  EXPECT_EQ(h.state_of(high), PodState::kBound);
  EXPECT_EQ(h.state_of(kept), PodState::kRunning);
}

TEST(Preemption, AGangGoesAsAWholeAndComesAgainAsAWhole) {
  Harness h;
  h.resend_allowed = true;
  add_queue(h, "low", 0, Preempt::kRequeue);
  add_queue(h, "high", 1);
  FakeAgent& a = h.join("a");
  FakeAgent& b = h.join("b");
  const JobId low = h.submit(in_queue("low", gang(8)));
  h.start_all(a);
  h.start_all(b);
  const JobId high = h.submit(in_queue("high"));
  EXPECT_EQ(a.stopped.size() + b.stopped.size(), 8U);
  end_stopped(h, a);
  EXPECT_EQ(h.state_of(high), PodState::kBound);  // there is room for it already
  end_stopped(h, b);
  EXPECT_EQ(h.job(low).counts.of(PodState::kPending), 8U);
  h.start_all(a);
  h.start_all(b);
  h.end(h.cluster().pod({high, 0})->node == NodeId{1} ? a : b, {{high, 0}, 1});
  EXPECT_EQ(h.job(low).counts.live(), 8U);
}

// Room for several pods of an array is made at once.
TEST(Preemption, MakesRoomForAsManyAsItCan) {
  Harness h;
  add_queue(h, "low", 0, Preempt::kRequeue);
  add_queue(h, "high", 1);
  FakeAgent& a = h.join("a");
  h.submit(in_queue("low", array(4)));
  h.start_all(a);
  const JobId high = h.submit(in_queue("high", array(3)));
  EXPECT_EQ(a.stopped.size(), 3U);
  end_stopped(h, a);
  EXPECT_EQ(h.job(high).counts.live(), 3U);
}

TEST(Preemption, IsFinishedThoughTheServerCameAgainInTheMiddle) {
  Harness h;
  h.resend_allowed = true;
  add_queue(h, "low", 0, Preempt::kRequeue);
  add_queue(h, "high", 1);
  FakeAgent* a = &h.join("a");
  const JobId low = h.submit(in_queue("low", single(4000)));
  h.start_all(*a);
  const JobId high = h.submit(in_queue("high", single(4000)));
  EXPECT_EQ(a->stopped.size(), 1U);
  FakeAgent back = *a;
  h.restart();
  a = &h.rejoin(back);
  EXPECT_FALSE(a->stopped.empty());  // it hears it again
  end_stopped(h, *a);
  EXPECT_EQ(h.state_of(high), PodState::kBound);
  EXPECT_EQ(h.state_of(low), PodState::kPending);
  h.ask_for<Ok>(CancelRequest{low, std::nullopt});
  EXPECT_EQ(h.state_of(low), PodState::kCancelled);
}

TEST(Preemption, OfACancelledJobStaysACancellation) {
  Harness h;
  add_queue(h, "low", 0, Preempt::kRequeue);
  add_queue(h, "high", 1);
  FakeAgent& a = h.join("a");
  const JobId low = h.submit(in_queue("low", single(4000)));
  h.start_all(a);
  h.submit(in_queue("high", single(4000)));
  h.ask_for<Ok>(CancelRequest{low, std::nullopt});
  end_stopped(h, a);
  EXPECT_EQ(h.state_of(low), PodState::kCancelled);
}

// Against trying all sets of victims: a job preempts if and only if some set would do, and no victim could be spared.
TEST(Preemption, IsAsSmallAsItCanBe) {
  std::mt19937 random(7);
  const auto below = [&](std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random); };
  int preempted = 0;
  for (int round = 0; round < 300 && !HasFatalFailure(); ++round) {
    Harness h;
    add_queue(h, "low", 0, Preempt::kRequeue);
    add_queue(h, "mid", 1, Preempt::kCancel);
    add_queue(h, "high", 2);
    std::vector<std::uint64_t> agents;
    const std::uint32_t nodes = 1 + below(3);
    for (std::uint32_t i = 0; i < nodes; ++i) agents.push_back(h.join("n" + std::to_string(i)).session);
    struct Pod {
      JobId id;
      std::uint32_t cpu;
      NodeId node;
      bool may_go;
    };
    std::vector<Pod> pods;
    for (int i = 0; i < 8; ++i) {
      const std::uint32_t kind = below(3);
      const std::uint32_t cpu = 500 * (1 + below(4));
      const JobId id = h.submit(in_queue(kind == 0 ? "low" : kind == 1 ? "mid" : "high", single(cpu)));
      if (h.state_of(id) != PodState::kBound) {
        h.ask_for<Ok>(CancelRequest{id, std::nullopt});
        for (const std::uint64_t session : agents) {
          EXPECT_TRUE(h.agent_at(session).stopped.empty() || kind != 0);
        }
        break;  // it may have made others go
      }
      pods.push_back({id, cpu, h.cluster().pod({id, 0})->node, kind != 2});
      for (const std::uint64_t session : agents) h.start_all(h.agent_at(session));
    }
    for (const std::uint64_t session : agents) h.agent_at(session).stopped.clear();
    const bool clean = std::none_of(h.cluster().live_pods().begin(), h.cluster().live_pods().end(),
                                    [](const auto& entry) { return entry.second.stopping; });
    if (!clean) continue;
    const std::uint32_t wants = 500 * (1 + below(8));
    std::map<NodeId, std::uint32_t> free;
    for (const auto& [id, node] : h.cluster().nodes()) free[id] = 4000;
    for (const Pod& pod : pods) free[pod.node] -= pod.cpu;
    const auto fits = [&](const std::set<JobId>& gone) {
      for (auto [node, left] : free) {
        for (const Pod& pod : pods) left += pod.node == node && gone.contains(pod.id) ? pod.cpu : 0;
        if (left >= wants) return true;
      }
      return false;
    };
    std::set<JobId> all;
    for (const Pod& pod : pods) {
      if (pod.may_go) all.insert(pod.id);
    }
    const JobId high = h.submit(in_queue("high", single(wants)));
    std::set<JobId> gone;
    for (const auto& [id, pod] : h.cluster().live_pods()) {
      if (pod.stopping) gone.insert(id.job);
    }
    if (fits({})) {
      EXPECT_TRUE(gone.empty());
      EXPECT_EQ(h.state_of(high), PodState::kBound);
      continue;
    }
    EXPECT_EQ(!gone.empty(), fits(all));
    if (gone.empty()) continue;
    ++preempted;
    EXPECT_TRUE(fits(gone));
    for (const JobId spared : gone) {
      std::set<JobId> fewer = gone;
      fewer.erase(spared);
      EXPECT_FALSE(fits(fewer));
    }
  }
  EXPECT_GT(preempted, 30);
}

TEST(Requeue, ByHandStopsAndStartsAgain) {
  Harness h;
  h.resend_allowed = true;
  FakeAgent& a = h.join("a");
  const JobId id = h.submit(single(), Harness::user(7));
  EXPECT_EQ(h.ask_refused(JobRequeueRequest{id, false}, Harness::user(8)).code, ErrorCode::kDenied);
  h.start_all(a);
  h.ask_for<Ok>(JobRequeueRequest{id, false}, Harness::user(7));
  EXPECT_EQ(h.state_of(id), PodState::kRunning);
  end_stopped(h, a);
  EXPECT_EQ(h.state_of(id), PodState::kBound);
  EXPECT_EQ(h.cluster().pod({id, 0})->ref.attempt, 2U);
  h.start_all(a);
  h.ask_for<Ok>(JobRequeueRequest{id, true}, Harness::user(7));
  end_stopped(h, a);
  EXPECT_EQ(h.state_of(id), PodState::kPending);
  EXPECT_EQ(h.ask_refused(JobRequeueRequest{id, false}).code, ErrorCode::kConflict);
  JobUpdateRequest release;
  release.job = id;
  release.held = false;
  h.ask_for<Ok>(release, Harness::user(7));
  EXPECT_EQ(h.state_of(id), PodState::kBound);
  h.start_all(a);
  h.ask_for<Ok>(JobRequeueRequest{id, false});
  h.end(a, {{id, 0}, 3});  // it was faster
  EXPECT_EQ(h.state_of(id), PodState::kSucceeded);
}

TEST(Requeue, OfAGangWithStepsTakesAllOfIt) {
  Harness h;
  h.resend_allowed = true;
  FakeAgent& a = h.join("a");
  JobSpec spec = gang(4);
  spec.lead_only = true;
  const JobId id = h.submit(spec);
  h.start_all(a);
  JobSpec step = gang(2);
  step.step_of = id;
  const JobId s = h.submit(step);
  h.start_all(a);
  h.ask_for<Ok>(JobRequeueRequest{id, false});
  EXPECT_EQ(a.stopped.size(), 3U);  // the first pod and two of the step
  end_stopped(h, a);
  EXPECT_EQ(h.job(s).counts.of(PodState::kCancelled), 2U);
  EXPECT_EQ(h.job(id).counts.live(), 4U);  // again
  EXPECT_EQ(h.cluster().pod({id, 3})->ref.attempt, 2U);
}

}  // namespace
}  // namespace berth::scheduler
