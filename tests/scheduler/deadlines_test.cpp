// Deadlines, of what waits and of what runs; jobs that make do with less time where that lets them start.
#include <gtest/gtest.h>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

constexpr std::int64_t kMinuteMs = 60'000;
constexpr Resources kRoom{2000, 8192, 0};

class Deadlines : public testing::Test {
 protected:
  Deadlines() : h(by_arrival()), agent(&h.join("n0", kRoom)) { h.resend_allowed = true; }
  static CoreOptions by_arrival() {
    CoreOptions options;
    options.queueing = find_queue_policy("easy");
    return options;
  }
  JobSpec due(std::int64_t in_minutes, std::int64_t limit_minutes, std::uint32_t cpu_milli = 1000) {
    JobSpec spec = single(cpu_milli);
    spec.time_limit_ms = limit_minutes * kMinuteMs;
    spec.deadline = h.now() + in_minutes * kMinuteMs * 1000;
    return spec;
  }
  // Takes the whole node, for so long at most.
  JobId fill(std::int64_t limit_minutes) {
    JobSpec spec = single(2000);
    spec.time_limit_ms = limit_minutes * kMinuteMs;
    const JobId id = h.submit(spec);
    EXPECT_EQ(h.state_of(id), PodState::kBound);
    h.start_all(*agent);
    return id;
  }
  void restart() {
    const FakeAgent copy = *agent;
    h.restart();
    agent = &h.rejoin(copy, kRoom);
  }
  JobRow row(JobId id) { return h.ask_for<JobDetail>(ShowJobRequest{id}).row; }
  std::int64_t ordered_ms(JobId id, std::uint32_t element = 0) {
    for (const auto& [ref, order] : h.orders_of(*agent)) {
      if (ref.pod == PodId{id, element}) return order.time_limit_ms;
    }
    ADD_FAILURE() << "job " << id.value << " was not started";
    return -1;
  }
  std::string refusal(JobSpec spec) { return h.ask_refused(SubmitRequest{{std::move(spec)}, 0, false}).field; }
  Harness h;
  FakeAgent* agent;
};

TEST_F(Deadlines, WhatWaitsUntilItCanEndInTimeNoMoreIsEnded) {
  struct Case {
    const char* name;
    std::int64_t deadline, limit, least;  // minutes
    std::int64_t ends_after;
  };
  for (const Case& c : {Case{"with a limit", 60, 20, 0, 40}, Case{"without", 60, 0, 0, 60},
                        Case{"less will do", 60, 40, 10, 50}, Case{"less of no limit", 60, 0, 15, 45}}) {
    for (const bool restarted : {false, true}) {
      const JobId other = fill(0);
      JobSpec spec = due(c.deadline, c.limit);
      spec.time_min_ms = c.least * kMinuteMs;
      const JobId id = h.submit(spec);
      const JobId after = [&] {
        JobSpec next = single();
        next.depends = {{Dependency::Kind::kAfterNotOk, id, 0, Dependency::State::kOpen}};
        return h.submit(next);
      }();
      ASSERT_TRUE(h.core().next_deadline());
      h.advance_ms(c.ends_after * kMinuteMs - 1000);
      if (restarted) restart();
      EXPECT_EQ(h.state_of(id), PodState::kPending) << c.name;
      h.advance_ms(1001);
      EXPECT_EQ(h.state_of(id), PodState::kDeadline) << c.name << (restarted ? ", restarted" : "");
      EXPECT_EQ(row(id).summary, PodState::kDeadline);
      EXPECT_TRUE(row(id).reason.starts_with("could not have ended before its deadline at ")) << row(id).reason;
      EXPECT_NE(row(after).wait_reason, WaitReason::kDependency) << "what waits for its failure need wait no more";
      h.ask_for<Ok>(CancelRequest{after, std::nullopt});
      h.end(*agent, {{other, 0}, 1});
    }
  }
}

TEST_F(Deadlines, ItsTimerIsTheCoresNextDeadline) {
  fill(0);
  const JobSpec spec = due(60, 20);
  h.submit(spec);
  ASSERT_TRUE(h.core().next_deadline());
  EXPECT_EQ(*h.core().next_deadline(), spec.deadline - 20 * kMinuteMs * 1000 + 1);
}

TEST_F(Deadlines, OfAnArrayThoseThatWaitAreEndedAndThoseThatRunGoOnUntilIt) {
  JobSpec spec = array(4);
  spec.time_limit_ms = 20 * kMinuteMs;
  spec.deadline = h.now() + 30 * kMinuteMs * 1000;
  const JobId id = h.submit(spec);
  h.start_all(*agent);
  h.advance_ms(10 * kMinuteMs + 1);
  EXPECT_EQ(h.job(id).counts.of(PodState::kRunning), 2U);
  EXPECT_EQ(h.job(id).counts.of(PodState::kDeadline), 2U);
  EXPECT_EQ(row(id).summary, PodState::kRunning);
  const auto pods = h.ask_for<PodPage>(ListPodsRequest{id, {PodState::kDeadline}, 0, 10});
  ASSERT_EQ(pods.rows.size(), 2U);
  EXPECT_EQ(pods.rows[0].exit_code, -1);
  h.end(*agent, {{id, 0}, 1});
  h.end(*agent, {{id, 1}, 1});
  EXPECT_EQ(row(id).summary, PodState::kDeadline);
}

TEST_F(Deadlines, WhatRunsIsEndedAtIt) {
  JobSpec spec = due(30, 0);
  const JobId id = h.submit(spec);
  EXPECT_NEAR(static_cast<double>(ordered_ms(id)), 30.0 * kMinuteMs, 5);
  EXPECT_NEAR(static_cast<double>(row(id).time_limit_ms), 30.0 * kMinuteMs, 5);
  h.start_all(*agent);
  restart();
  h.advance_ms(29 * kMinuteMs);
  EXPECT_TRUE(agent->stopped.empty());
  h.advance_ms(kMinuteMs);
  ASSERT_EQ(agent->stopped.size(), 1U);
  h.advance_ms(kMinuteMs);
  EXPECT_EQ(agent->stopped.size(), 1U) << "told once";
  h.end(*agent, {{id, 0}, 1}, PodState::kCancelled, 0);
  EXPECT_EQ(h.state_of(id), PodState::kTimedOut);
}

TEST_F(Deadlines, AnOrderThatArrivesLateLeavesLessTime) {
  const FakeAgent away = *agent;
  const JobId id = h.submit(due(30, 0));
  EXPECT_NEAR(static_cast<double>(ordered_ms(id)), 30.0 * kMinuteMs, 5);
  h.leave(*agent);
  h.advance_ms(10'000);
  agent = &h.rejoin(away, kRoom);
  EXPECT_NEAR(static_cast<double>(ordered_ms(id)), 30.0 * kMinuteMs - 10'000, 5);
}

TEST_F(Deadlines, WhatIsRunAgainTooLateIsEnded) {
  JobSpec spec = due(30, 20);
  spec.requeues_max = 3;
  const JobId id = h.submit(spec);
  h.start_all(*agent);
  h.advance_ms(15 * kMinuteMs);
  h.end(*agent, {{id, 0}, 1}, PodState::kNodeLost, -1);
  EXPECT_EQ(h.state_of(id), PodState::kDeadline);
}

TEST_F(Deadlines, AnotherLimitIsAnotherLatestStart) {
  fill(0);
  const JobId id = h.submit(due(60, 50));
  JobUpdateRequest change;
  change.job = id;
  change.time_limit_ms = 10 * kMinuteMs;
  h.ask_for<Ok>(change);
  h.advance_ms(11 * kMinuteMs);
  EXPECT_EQ(h.state_of(id), PodState::kPending);
  change.time_limit_ms = 55 * kMinuteMs;
  EXPECT_EQ(h.ask_refused(change).field, "deadline");
  h.advance_ms(40 * kMinuteMs);
  EXPECT_EQ(h.state_of(id), PodState::kDeadline);
}

TEST_F(Deadlines, WhatCannotBeIsRefused) {
  JobSpec spec = due(30, 31);
  EXPECT_EQ(refusal(spec), "deadline");
  spec = due(30, 10);
  spec.begin_at = spec.deadline - 5 * kMinuteMs * 1000;
  EXPECT_EQ(refusal(spec), "deadline");
  spec.begin_at = 0;
  spec.deadline = h.now() - 1;
  EXPECT_EQ(refusal(spec), "deadline");
  spec = due(30, 10);
  spec.time_min_ms = 11 * kMinuteMs;
  EXPECT_EQ(refusal(spec), "time-min");
  spec.time_min_ms = -1;
  EXPECT_EQ(refusal(spec), "time-min");
}

// One cpu of the node's two runs for 30 minutes, and a job that wants both is promised them then.
class LessTime : public Deadlines {
 protected:
  LessTime() {
    JobSpec spec = single();
    spec.time_limit_ms = 30 * kMinuteMs;
    running = h.submit(spec);
    h.start_all(*agent);
    spec.request.resources.cpu_milli = 2000;
    promised = h.submit(spec);
  }
  JobSpec asks(std::int64_t limit, std::int64_t least) {
    JobSpec spec = single();
    spec.time_limit_ms = limit * kMinuteMs;
    spec.time_min_ms = least * kMinuteMs;
    return spec;
  }
  JobId running, promised;
};

TEST_F(LessTime, ItIsGivenNoMoreThanThePromiseLeaves) {
  struct Case {
    const char* name;
    std::int64_t limit, least;  // minutes
    bool starts, cut;
  };
  for (const Case& c :
       {Case{"the whole limit fits", 20, 10, true, false}, Case{"less fits", 60, 10, true, true},
        Case{"not even the least", 60, 40, false, false}, Case{"it wants all", 60, 0, false, false},
        Case{"less of no limit", 0, 10, true, true}, Case{"the least is the limit", 60, 60, false, false}}) {
    const JobId id = h.submit(asks(c.limit, c.least));
    EXPECT_EQ(h.state_of(id) == PodState::kBound, c.starts) << c.name;
    if (!c.starts) {
      h.ask_for<Ok>(CancelRequest{id, std::nullopt});
      continue;
    }
    const std::int64_t given = ordered_ms(id);
    EXPECT_EQ(row(id).time_limit_ms, given) << c.name;
    if (c.cut) {
      EXPECT_LT(given, 30 * kMinuteMs) << c.name;
      EXPECT_GT(given, 29 * kMinuteMs) << c.name;
      EXPECT_EQ(given % 1000, 0);
      restart();
      EXPECT_EQ(row(id).time_limit_ms, given) << "what it was given is remembered";
      EXPECT_EQ(h.job(id).spec.time_limit_ms, c.limit * kMinuteMs);
    } else {
      EXPECT_EQ(given, c.limit * kMinuteMs) << c.name;
    }
    h.start_all(*agent);
    h.end(*agent, {{id, 0}, 1});
  }
}

TEST_F(LessTime, ThePromiseIsKept) {
  const JobId id = h.submit(asks(60, 10));
  h.start_all(*agent);
  h.advance_ms(30 * kMinuteMs);
  h.end(*agent, {{id, 0}, 1}, PodState::kTimedOut, -1);
  h.end(*agent, {{running, 0}, 1}, PodState::kTimedOut, -1);
  EXPECT_EQ(h.state_of(promised), PodState::kBound);
}

TEST_F(LessTime, ElementsOfAnArrayEachHaveTheirOwn) {
  JobSpec spec = asks(60, 10);
  spec.kind = JobKind::kArray;
  spec.elements = IndexSet::dense(2);
  const JobId id = h.submit(spec);
  const std::int64_t first = ordered_ms(id, 0);
  EXPECT_LT(first, 30 * kMinuteMs);
  h.start_all(*agent);
  h.advance_ms(5 * kMinuteMs);
  h.end(*agent, {{id, 0}, 1});
  const std::int64_t second = ordered_ms(id, 1);
  EXPECT_LT(second, 25 * kMinuteMs);
  EXPECT_GT(second, 24 * kMinuteMs);
  const auto pods = h.ask_for<PodPage>(ListPodsRequest{id, {PodState::kBound}, 0, 10});
  ASSERT_EQ(pods.rows.size(), 1U);
  EXPECT_EQ(pods.rows[0].time_limit_ms, second);
}

TEST_F(LessTime, AGangIsCutAsAWhole) {
  FakeAgent* more = &h.join("n1", {1000, 1024, 0});
  JobSpec spec = gang(2, true);
  spec.time_limit_ms = 60 * kMinuteMs;
  spec.time_min_ms = 10 * kMinuteMs;
  const JobId id = h.submit(spec);
  ASSERT_EQ(h.job(id).counts.live(), 2U);
  std::set<std::int64_t> limits;
  for (FakeAgent* node : {agent, more}) {
    for (const auto& [ref, order] : h.orders_of(*node)) limits.insert(order.time_limit_ms);
  }
  ASSERT_EQ(limits.size(), 1U);
  EXPECT_LT(*limits.begin(), 30 * kMinuteMs);
}

TEST_F(LessTime, TheExpectedStartKnowsOfIt) {
  h.submit(asks(10, 0));  // the other cpu
  h.start_all(*agent);
  const TimeUs now = h.now();
  const auto minutes = [&](JobId id) {
    return static_cast<double>(h.ask_for<Explanation>(ExplainRequest{id, {}}).expected_start - now) / 60e6;
  };
  EXPECT_NEAR(minutes(h.submit(asks(60, 10))), 10, 0.1);
  EXPECT_NEAR(minutes(h.submit(asks(60, 0))), 60, 0.1) << "behind the promise";
}

TEST_F(LessTime, TheNextAttemptMayHaveAllOfIt) {
  JobSpec spec = asks(60, 10);
  spec.requeues_max = 1;
  const JobId id = h.submit(spec);
  h.start_all(*agent);
  h.ask_for<Ok>(CancelRequest{promised, std::nullopt});
  h.end(*agent, {{id, 0}, 1}, PodState::kNodeLost, -1);
  EXPECT_EQ(ordered_ms(id), 60 * kMinuteMs);
}

TEST_F(LessTime, ADeadlineCutsItToo) {
  h.ask_for<Ok>(CancelRequest{promised, std::nullopt});
  JobSpec spec = asks(60, 10);
  spec.deadline = h.now() + 40 * kMinuteMs * 1000;
  const JobId id = h.submit(spec);
  EXPECT_NEAR(static_cast<double>(ordered_ms(id)), 40.0 * kMinuteMs, 5);
}

}  // namespace
}  // namespace berth::scheduler
