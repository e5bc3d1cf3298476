// Arrays whose elements wait for those of others, and jobs that wait for one element: every outcome, with the server's
// end in the middle.
#include <gtest/gtest.h>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;
using Kind = Dependency::Kind;

constexpr Resources kArrayRoom{16'000, 65'536, 0};

JobSpec array_of(const char* indexes, std::vector<Dependency> depends = {}) {
  JobSpec spec = array(1);
  spec.elements = *IndexSet::parse(indexes, "array");
  spec.depends = std::move(depends);
  return spec;
}
Dependency corr(JobId id) { return {Kind::kAfterCorr, id, 0, Dependency::State::kOpen, {}}; }
Dependency on_element(Kind kind, JobId id, std::uint32_t index) {
  return {kind, id, 0, Dependency::State::kOpen, index};
}
JobSpec after(Dependency on) {
  JobSpec spec = single();
  spec.depends = {on};
  return spec;
}

class Counterparts : public testing::Test {
 protected:
  Counterparts() : agent(&h.join("n0", kArrayRoom)) { h.resend_allowed = true; }
  void end(JobId id, std::uint32_t element, PodState how = PodState::kSucceeded, std::uint32_t attempt = 1) {
    h.start_all(*agent);
    h.end(*agent, {{id, element}, attempt}, how, how == PodState::kSucceeded ? 0 : 1);
  }
  void restart() {
    const FakeAgent copy = *agent;
    h.restart();
    agent = &h.rejoin(copy, kArrayRoom);
  }
  // The states of all elements, a letter each: waiting, live, succeeded, failed otherwise.
  std::string states(JobId id) {
    std::string text;
    for (std::uint32_t e = 0; e < h.job(id).spec.elements.size(); ++e) {
      const PodState s = h.state_of(id, e);
      text += s == PodState::kPending ? 'w' : !is_final(s) ? 'l' : s == PodState::kSucceeded ? 's' : 'f';
    }
    return text;
  }
  JobRow row(JobId id) { return h.ask_for<JobDetail>(ShowJobRequest{id}).row; }
  std::string refusal(JobSpec spec) { return h.ask_refused(SubmitRequest{{std::move(spec)}, 0, false}).message; }
  Harness h;
  FakeAgent* agent;
};

TEST_F(Counterparts, EachElementStartsAfterItsOwnHasSucceeded) {
  struct Case {
    const char* name;
    const char* theirs;
    const char* mine;
    std::vector<std::pair<std::uint32_t, PodState>> ends;  // positions
    const char* then;                                      // of the elements that wait
    WaitReason reason;
  };
  const PodState good = PodState::kSucceeded, bad = PodState::kFailed;
  const std::vector<Case> cases = {
      {"none has ended", "0-3", "0-3", {}, "wwww", WaitReason::kDependency},
      {"one", "0-3", "0-3", {{2, good}}, "wwlw", WaitReason::kNone},
      {"out of order", "0-3", "0-3", {{3, good}, {1, good}, {0, good}, {2, good}}, "llll", WaitReason::kNone},
      {"one failed", "0-3", "0-3", {{0, good}, {1, bad}}, "lwww", WaitReason::kNone},
      {"all failed", "0-1", "0-1", {{0, bad}, {1, PodState::kTimedOut}}, "ww", WaitReason::kDependencyNever},
      {"some never, the others not yet", "0-1", "0-1", {{0, bad}}, "ww", WaitReason::kDependency},
      {"by index and not by place", "0-9", "5-6", {{5, good}}, "lw", WaitReason::kNone},
      {"in steps", "0-8:2", "4,8", {{4, good}}, "wl", WaitReason::kNone},
      {"of no concern", "0-3", "0-1", {{2, good}, {3, bad}}, "ww", WaitReason::kDependency},
  };
  for (const Case& c : cases) {
    for (const bool restarted : {false, true}) {
      const JobId first = h.submit(array_of(c.theirs));
      const JobId second = h.submit(array_of(c.mine, {corr(first)}));
      for (std::size_t i = 0; i < c.ends.size(); ++i) {
        end(first, c.ends[i].first, c.ends[i].second);
        if (restarted && i == 0) restart();
      }
      if (restarted) restart();
      EXPECT_EQ(states(second), c.then) << c.name << (restarted ? ", restarted" : "");
      if (c.reason != WaitReason::kNone) {
        EXPECT_EQ(row(second).wait_reason, c.reason) << c.name;
      }
      for (const JobId id : {first, second}) (void)h.ask(CancelRequest{id, std::nullopt});
      h.start_all(*agent);
      while (!agent->running.empty()) h.end(*agent, agent->running.begin()->first, PodState::kCancelled, 1);
    }
  }
}

TEST_F(Counterparts, WhatEndedBeforeTheSubmissionCountsAsWell) {
  const JobId first = h.submit(array_of("1-4"));
  end(first, 0);
  end(first, 1, PodState::kFailed);
  const JobId second = h.submit(array_of("1-4", {corr(first)}));
  EXPECT_EQ(states(second), "lwww");
  end(first, 2);
  end(first, 3);
  EXPECT_EQ(states(second), "lwll");
  const JobId third = h.submit(array_of("1-3", {corr(first)}));
  EXPECT_EQ(states(third), "lwl");
}

TEST_F(Counterparts, AnElementThatNeverCanSaysSoAndTheOthersDoNot) {
  const JobId first = h.submit(array_of("0-2"));
  const JobId second = h.submit(array_of("0-2", {corr(first)}));
  end(first, 1, PodState::kFailed);
  const auto pods = h.ask_for<PodPage>(ListPodsRequest{second, {}, 0, 10});
  ASSERT_EQ(pods.rows.size(), 3U);
  EXPECT_EQ(pods.rows[0].wait_reason, WaitReason::kDependency);
  EXPECT_EQ(pods.rows[1].wait_reason, WaitReason::kDependencyNever);
  EXPECT_EQ(pods.rows[1].message, "its dependency aftercorr:" + std::to_string(first.value) + "_1 will never be met");
  EXPECT_EQ(h.ask_for<Explanation>(ExplainRequest{second, 1}).summary, pods.rows[1].message);
  end(first, 0);
  end(first, 2);
  EXPECT_EQ(states(second), "lwl");
  end(second, 0);
  end(second, 2);
  EXPECT_EQ(row(second).wait_reason, WaitReason::kDependencyNever);
  h.ask_for<Ok>(CancelRequest{second, std::nullopt});
  EXPECT_EQ(states(second), "sfs");
}

TEST_F(Counterparts, CancelledElementsNeverLetTheirsStart) {
  JobSpec slow = array_of("0-5");
  slow.throttle = 1;
  const JobId first = h.submit(slow);
  const JobId second = h.submit(array_of("0-5", {corr(first)}));
  h.ask_for<Ok>(CancelRequest{first, *IndexSet::parse("3-4", "")});
  end(first, 0);
  EXPECT_EQ(states(second), "lwwwww");
  h.ask_for<Ok>(CancelRequest{second, *IndexSet::parse("1,3", "")});
  EXPECT_EQ(states(second), "lfwfww");
  end(first, 1);
  end(first, 2);
  EXPECT_EQ(states(second), "lflfww");
  restart();
  end(first, 5);
  EXPECT_EQ(states(second), "lflfwl");
}

TEST_F(Counterparts, OfTwoArraysBothElements) {
  const JobId a = h.submit(array_of("0-3")), b = h.submit(array_of("0-3"));
  const JobId both = h.submit(array_of("0-3", {corr(a), corr(b), {Kind::kAfterAny, h.submit(single())}}));
  const JobId gate{both.value - 1};
  for (std::uint32_t e = 0; e < 3; ++e) end(a, e);
  end(b, 1);
  end(b, 2, PodState::kFailed);
  EXPECT_EQ(states(both), "wwww") << "it waits for another job as well";
  end(gate, 0);
  EXPECT_EQ(states(both), "wlww");
  restart();
  end(a, 3, PodState::kFailed);
  end(b, 3);
  end(b, 0);
  EXPECT_EQ(states(both), "llww");
  EXPECT_EQ(row(both).wait_reason, WaitReason::kDependencyNever);
}

TEST_F(Counterparts, AnElementThatIsRunAgainNeedsNoSecondLeave) {
  const JobId first = h.submit(array_of("0-1"));
  JobSpec spec = array_of("0-1", {corr(first)});
  spec.requeues_max = 3;
  const JobId second = h.submit(spec);
  end(first, 1);
  h.start_all(*agent);
  EXPECT_EQ(states(second), "wl");
  h.end(*agent, {{second, 1}, 1}, PodState::kNodeLost, -1);
  EXPECT_EQ(states(second), "wl");
  EXPECT_EQ(h.cluster().pod({second, 1})->ref.attempt, 2U);
}

TEST_F(Counterparts, TheThrottleHoldsAmongThoseThatMayStart) {
  const JobId first = h.submit(array_of("0-3"));
  JobSpec spec = array_of("0-3", {corr(first)});
  spec.throttle = 1;
  const JobId second = h.submit(spec);
  end(first, 3);
  end(first, 1);
  EXPECT_EQ(states(second), "wwwl");
  EXPECT_EQ(row(second).wait_reason, WaitReason::kArrayLimit);
  end(second, 3);
  EXPECT_EQ(states(second), "wlws");
}

TEST_F(Counterparts, MillionsOfElementsStayRanges) {
  Harness big;
  FakeAgent& node = big.join("n0", {2000, 4096, 0});
  const JobId first = big.submit(array(5'000'000));
  JobSpec spec = array(5'000'000);
  spec.depends = {corr(first)};
  const JobId second = big.submit(spec);
  big.start_all(node);
  big.end(node, {{first, 1}, 1});
  const auto& of = *big.job(second).corresponding;
  EXPECT_EQ(of.open.at(0).intervals().size(), 2U);
  EXPECT_EQ(of.ready.size() + big.job(second).counts.live(), 1U);
  big.ask_for<Ok>(CancelRequest{first, std::nullopt});
  EXPECT_EQ(of.never.size(), big.job(first).counts.of(PodState::kCancelled));
  EXPECT_GT(of.never.size(), 4'999'990U);
  EXPECT_LE(of.never.intervals().size(), 3U);
}

TEST_F(Counterparts, EveryKindOfDependencyOnOneElement) {
  struct Case {
    Kind kind;
    PodState how;
    bool starts, never;
  };
  const PodState good = PodState::kSucceeded, bad = PodState::kFailed;
  for (const Case& c : {Case{Kind::kAfterAny, good, true, false}, Case{Kind::kAfterAny, bad, true, false},
                        Case{Kind::kAfterOk, good, true, false}, Case{Kind::kAfterOk, bad, false, true},
                        Case{Kind::kAfterNotOk, good, false, true}, Case{Kind::kAfterNotOk, bad, true, false}}) {
    const JobId first = h.submit(array_of("10-12"));
    const JobId second = h.submit(after(on_element(c.kind, first, 11)));
    end(first, 0, c.how);
    EXPECT_EQ(states(second), "w") << "another element has ended";
    EXPECT_EQ(row(second).reason,
              "waits for its dependency " + std::string(name_of(c.kind)) + ":" + std::to_string(first.value) + "_11");
    restart();
    end(first, 1, c.how);
    EXPECT_EQ(states(second), c.starts ? "l" : "w") << name_of(c.kind);
    EXPECT_EQ(row(second).wait_reason == WaitReason::kDependencyNever, c.never) << name_of(c.kind);
    end(first, 2);
    if (c.starts) {
      end(second, 0);
    } else {
      h.ask_for<Ok>(CancelRequest{second, std::nullopt});
    }
  }
}

TEST_F(Counterparts, AfterAnElementMeansThatItHasStarted) {
  JobSpec slow = array_of("0-1");
  slow.throttle = 1;
  const JobId first = h.submit(slow);
  const JobId of_first = h.submit(after(on_element(Kind::kAfter, first, 0)));
  const JobId of_second = h.submit(after(on_element(Kind::kAfter, first, 1)));
  h.start_all(*agent);
  EXPECT_EQ(states(of_first), "l");
  EXPECT_EQ(states(of_second), "w");
  end(first, 0);
  h.start_all(*agent);
  EXPECT_EQ(states(of_second), "l");
}

TEST_F(Counterparts, AStartThatIsToldWithTheNextConnectionCounts) {
  const JobId first = h.submit(array_of("0-1"));
  const JobId of_one = h.submit(after(on_element(Kind::kAfter, first, 1)));
  const JobId of_all = h.submit(after({Kind::kAfter, first, 0, Dependency::State::kOpen, {}}));
  FakeAgent copy = *agent;
  for (const auto& [ref, order] : h.orders_of(*agent)) copy.running[ref] = h.now();
  h.leave(*agent);
  agent = &h.rejoin(copy, kArrayRoom);
  EXPECT_EQ(states(of_one) + states(of_all), "ll");
}

TEST_F(Counterparts, WhatCannotBeMetIsRefused) {
  const JobId of = h.submit(array_of("0-5,8")), alone = h.submit(single());
  const std::string id = std::to_string(of.value);
  EXPECT_EQ(refusal(array_of("3-7", {corr(of)})),
            "element 6 would wait for one that job " + id + " does not have: its indexes are 0-5,8");
  EXPECT_EQ(refusal(array_of("8-9", {corr(of)})),
            "element 9 would wait for one that job " + id + " does not have: its indexes are 0-5,8");
  EXPECT_EQ(refusal(after(corr(of))),
            "only an array has elements that wait for those of job " + id + "; accepted: afterok");
  EXPECT_EQ(refusal(array_of("0", {corr(alone)})),
            "job " + std::to_string(alone.value) + " is no array, as aftercorr wants");
  JobSpec any = array_of("0", {corr(of)});
  any.any_dependency = true;
  EXPECT_EQ(refusal(any), "aftercorr must be met with all others: it does not go with '?'");
  EXPECT_EQ(refusal(after(on_element(Kind::kAfterOk, of, 7))), "job " + id + " has no element 7 to depend on");
  EXPECT_EQ(refusal(after(on_element(Kind::kAfterOk, alone, 0))),
            "job " + std::to_string(alone.value) + " has no element 0 to depend on");
  EXPECT_EQ(refusal(array_of("0", {on_element(Kind::kAfterCorr, of, 0)})),
            "aftercorr names an array, and none of its elements");
}

}  // namespace
}  // namespace berth::scheduler
