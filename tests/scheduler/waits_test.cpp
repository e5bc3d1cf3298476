// What keeps a job from the queue: holds, times to begin, dependencies of every kind with every outcome.
#include <gtest/gtest.h>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;
using Kind = Dependency::Kind;

constexpr std::int64_t kHourMs = 3'600'000;

bool is_running(Harness& h, JobId id) { return h.job(id).counts.live() != 0; }
JobRow row_of(Harness& h, JobId id, Caller caller = Harness::admin()) {
  return h.ask_for<JobDetail>(ShowJobRequest{id}, std::move(caller)).row;
}
JobSpec after(Kind kind, std::vector<JobId> ids, bool any = false) {
  JobSpec spec = single();
  for (const JobId id : ids) spec.depends.push_back({kind, id, 0, Dependency::State::kOpen});
  spec.any_dependency = any;
  return spec;
}
JobUpdateRequest change(JobId id) {
  JobUpdateRequest request;
  request.job = id;
  return request;
}

class Waits : public testing::Test {
 protected:
  Waits() : agent(h.join("n0", {8000, 8192, 0})) {}
  void end(JobId id, PodState how = PodState::kSucceeded, std::uint32_t element = 0) {
    h.start_all(agent);
    h.end(agent, {{id, element}, 1}, how, how == PodState::kSucceeded ? 0 : 1);
  }
  Harness h;
  FakeAgent& agent;
};

TEST_F(Waits, AHeldJobStartsWhenItIsReleased) {
  JobSpec spec = single();
  spec.hold = Hold::kUser;
  const JobId id = h.submit(spec, Harness::user(1000));
  EXPECT_FALSE(is_running(h, id));
  EXPECT_EQ(row_of(h, id).wait_reason, WaitReason::kHeldUser);
  h.restart();
  EXPECT_FALSE(is_running(h, id));
  JobUpdateRequest release = change(id);
  release.held = false;
  EXPECT_EQ(h.ask_refused(release, Harness::user(1001)).code, ErrorCode::kDenied);
  h.rejoin(agent, {8000, 8192, 0});
  h.ask_for<Ok>(release, Harness::user(1000));
  EXPECT_TRUE(is_running(h, id));
}

TEST_F(Waits, WhatAnAdministratorHoldsHisUserCannotRelease) {
  JobSpec spec = single();
  spec.begin_at = h.now() + kHourMs * 1000;
  const JobId id = h.submit(spec, Harness::user(1000));
  JobUpdateRequest hold = change(id);
  hold.held = true;
  h.ask_for<Ok>(hold);
  EXPECT_EQ(row_of(h, id).wait_reason, WaitReason::kHeldAdmin);
  h.ask_for<Ok>(hold, Harness::user(1000));  // no weaker for that
  JobUpdateRequest release = change(id);
  release.held = false;
  EXPECT_EQ(h.ask_refused(release, Harness::user(1000)).code, ErrorCode::kDenied);
  h.ask_for<Ok>(release);
  EXPECT_EQ(row_of(h, id).wait_reason, WaitReason::kBeginTime);
}

TEST_F(Waits, AUserCannotHoldAsAnAdministrator) {
  JobSpec spec = single();
  spec.hold = Hold::kAdmin;
  const JobId id = h.submit(spec, Harness::user(1000));
  JobUpdateRequest release = change(id);
  release.held = false;
  h.ask_for<Ok>(release, Harness::user(1000));
  EXPECT_TRUE(is_running(h, id));
}

TEST_F(Waits, AJobBeginsAtItsTimeWithoutAnybodysHelp) {
  JobSpec spec = single();
  spec.begin_at = h.now() + kHourMs * 1000;
  const JobId id = h.submit(spec);
  EXPECT_FALSE(is_running(h, id));
  ASSERT_TRUE(h.core().next_deadline().has_value());
  EXPECT_LE(*h.core().next_deadline(), spec.begin_at);
  h.advance_ms(kHourMs / 2);
  EXPECT_FALSE(is_running(h, id));
  h.advance_ms(kHourMs / 2);
  EXPECT_TRUE(is_running(h, id));
}

TEST_F(Waits, EveryKindOfDependencyWithEveryOutcome) {
  struct Case {
    Kind kind;
    PodState how;
    bool starts, never;
  };
  for (const Case& c :
       {Case{Kind::kAfterAny, PodState::kSucceeded, true, false}, Case{Kind::kAfterAny, PodState::kFailed, true, false},
        Case{Kind::kAfterOk, PodState::kSucceeded, true, false}, Case{Kind::kAfterOk, PodState::kFailed, false, true},
        Case{Kind::kAfterOk, PodState::kTimedOut, false, true},
        Case{Kind::kAfterNotOk, PodState::kSucceeded, false, true},
        Case{Kind::kAfterNotOk, PodState::kFailed, true, false},
        Case{Kind::kAfterNotOk, PodState::kOutOfMemory, true, false}}) {
    const JobId first = h.submit(single());
    const JobId second = h.submit(after(c.kind, {first}));
    EXPECT_FALSE(is_running(h, second));
    EXPECT_EQ(row_of(h, second).wait_reason, WaitReason::kDependency);
    end(first, c.how);
    EXPECT_EQ(is_running(h, second), c.starts) << name_of(c.kind) << " " << name_of(c.how);
    EXPECT_EQ(row_of(h, second).wait_reason == WaitReason::kDependencyNever, c.never) << name_of(c.kind);
    if (c.starts) {
      end(second);
    } else {
      h.ask_for<Ok>(CancelRequest{second, std::nullopt});
    }
  }
}

TEST_F(Waits, AfterMeansStartedAndMayHaveADelay) {
  const JobId first = h.submit(single());
  const JobId second = h.submit(after(Kind::kAfter, {first}));
  JobSpec spec = after(Kind::kAfter, {first});
  spec.depends[0].delay_ms = 10 * 60'000;
  const JobId third = h.submit(spec);
  EXPECT_FALSE(is_running(h, second));
  h.start_all(agent);
  EXPECT_TRUE(is_running(h, second));
  EXPECT_FALSE(is_running(h, third));
  EXPECT_EQ(row_of(h, third).wait_reason, WaitReason::kBeginTime);
  h.advance_ms(10 * 60'000);
  EXPECT_TRUE(is_running(h, third));
}

TEST_F(Waits, AllOfThemOrAnyOfThem) {
  const JobId a = h.submit(single()), b = h.submit(single());
  const JobId all = h.submit(after(Kind::kAfterOk, {a, b}));
  const JobId any = h.submit(after(Kind::kAfterOk, {a, b}, true));
  end(a, PodState::kFailed);
  EXPECT_EQ(row_of(h, all).wait_reason, WaitReason::kDependencyNever);
  EXPECT_EQ(row_of(h, any).wait_reason, WaitReason::kDependency);
  end(b);
  EXPECT_FALSE(is_running(h, all));
  EXPECT_TRUE(is_running(h, any));
}

TEST_F(Waits, AnArrayCountsAsAWhole) {
  const JobId first = h.submit(array(2));
  const JobId second = h.submit(after(Kind::kAfterOk, {first}));
  end(first, PodState::kSucceeded, 0);
  EXPECT_FALSE(is_running(h, second));
  end(first, PodState::kSucceeded, 1);
  EXPECT_TRUE(is_running(h, second));
}

TEST_F(Waits, ACancelledJobHasEndedAndNotSucceeded) {
  JobSpec held = single();
  held.hold = Hold::kUser;
  const JobId first = h.submit(held);
  const JobId any = h.submit(after(Kind::kAfterAny, {first})), ok = h.submit(after(Kind::kAfterOk, {first}));
  h.ask_for<Ok>(CancelRequest{first, std::nullopt});
  EXPECT_TRUE(is_running(h, any));
  EXPECT_EQ(row_of(h, ok).wait_reason, WaitReason::kDependencyNever);
}

TEST_F(Waits, SingletonsRunOneAfterTheOther) {
  JobSpec spec = single();
  spec.name = "solo";
  const JobId first = h.submit(spec, Harness::user(1000));
  spec.depends.push_back({Kind::kSingleton, JobId{}, 0, Dependency::State::kOpen});
  const JobId second = h.submit(spec, Harness::user(1000));
  const JobId third = h.submit(spec, Harness::user(1000));
  const JobId others = h.submit(spec, Harness::user(1001));
  EXPECT_TRUE(is_running(h, first) && is_running(h, others));
  EXPECT_FALSE(is_running(h, second) || is_running(h, third));
  end(first);
  EXPECT_TRUE(is_running(h, second));
  EXPECT_FALSE(is_running(h, third));
  end(second, PodState::kFailed);
  EXPECT_TRUE(is_running(h, third));
}

TEST_F(Waits, DependenciesOutliveARestartAndTheJobTheyNamed) {
  CoreOptions options;
  options.ended_pods_kept = 1;
  options.ended_jobs_kept_min = 0;
  Harness other(options);
  FakeAgent& n0 = other.join("n0", {1000, 1024, 0});
  const JobId first = other.submit(single());
  const JobId second = other.submit(after(Kind::kAfterOk, {first}));
  JobSpec spec = after(Kind::kAfterOk, {first});
  spec.hold = Hold::kUser;
  const JobId held = other.submit(spec);
  other.start_all(n0);
  FakeAgent copy = n0;
  other.restart();
  FakeAgent& again = other.rejoin(copy, {1000, 1024, 0});
  EXPECT_FALSE(is_running(other, second));
  other.end(again, {{first, 0}, 1});
  EXPECT_TRUE(is_running(other, second));
  other.start_all(again);
  other.end(again, {{second, 0}, 1});
  other.turn({Tick{}});
  EXPECT_EQ(other.cluster().job(first), nullptr) << "forgotten";
  JobUpdateRequest release = change(held);
  release.held = false;
  other.ask_for<Ok>(release);
  EXPECT_TRUE(is_running(other, held)) << "what was decided stays decided";
}

TEST_F(Waits, WhatDoesNotExistIsRefused) {
  EXPECT_EQ(h.ask_refused(SubmitRequest{{after(Kind::kAfterOk, {JobId{99}})}, 0, false}).message,
            "there is no job 99 to depend on");
  JobSpec spec = after(Kind::kAfterOk, {});
  spec.depends.push_back({Kind::kSingleton, JobId{1}, 0, Dependency::State::kOpen});
  EXPECT_EQ(h.ask_refused(SubmitRequest{{spec}, 0, false}).field, "depends");
  spec = single();
  spec.comment = "two\nlines";
  EXPECT_EQ(h.ask_refused(SubmitRequest{{spec}, 0, false}).field, "comment");
}

TEST_F(Waits, ADependencyThatTheClientCallsMetIsNot) {
  const JobId first = h.submit(single());
  JobSpec spec = after(Kind::kAfterOk, {first});
  spec.depends[0].state = Dependency::State::kMet;
  EXPECT_FALSE(is_running(h, h.submit(spec)));
}

TEST_F(Waits, WhatWaitsCanBeChangedAndWhatRunsCannot) {
  JobSpec spec = single();
  spec.hold = Hold::kUser;
  const JobId id = h.submit(spec, Harness::user(1000));
  JobUpdateRequest request = change(id);
  request.priority = -5;
  request.time_limit_ms = 60'000;
  request.name = "other";
  request.comment = "why";
  h.ask_for<Ok>(request, Harness::user(1000));
  EXPECT_EQ(h.job(id).spec.priority, -5);
  EXPECT_EQ(h.job(id).spec.time_limit_ms, 60'000);
  EXPECT_EQ(row_of(h, id).name, "other");
  EXPECT_EQ(row_of(h, id).comment, "why");
  request = change(id);
  request.priority = 5;
  EXPECT_EQ(h.ask_refused(request, Harness::user(1000)).code, ErrorCode::kDenied);
  h.ask_for<Ok>(request);
  EXPECT_EQ(h.job(id).spec.priority, 5);
  request = change(id);
  request.held = false;
  h.ask_for<Ok>(request, Harness::user(1000));
  ASSERT_TRUE(is_running(h, id));
  request.held = true;
  EXPECT_EQ(h.ask_refused(request, Harness::user(1000)).code, ErrorCode::kConflict);
}

}  // namespace
}  // namespace berth::scheduler
