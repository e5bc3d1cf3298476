// The hollow node's side of the protocol, and its clock.
#include <csignal>
#include <gtest/gtest.h>

#include "tools/load/hollow_node.h"
#include "tools/load/timer_wheel.h"

namespace berth::tools {
namespace {

using namespace state;

PodRef ref(std::uint64_t job, std::uint32_t element, std::uint32_t attempt = 1) {
  return {{JobId{job}, element}, attempt};
}

StartPods start_of(std::uint64_t job, std::vector<std::uint32_t> elements, std::int64_t time_limit_ms = 0) {
  StartOrder order;
  order.job = JobId{job};
  order.time_limit_ms = time_limit_ms;
  for (const std::uint32_t element : elements) order.pods.push_back({element, element, 1, 0});
  return StartPods{{order}};
}

struct HollowNodeTest : testing::Test {
  HollowNode node;
  HollowTotals totals;
  std::vector<HollowNode::Due> dues;

  AgentStatus start(const StartPods& request, TimeUs now, std::int64_t pod_time_us) {
    AgentStatus report;
    node.on_start(request, now, pod_time_us, report, dues, totals);
    return report;
  }
};

TEST_F(HollowNodeTest, WithoutAPodTimeStartAndEndAreOneReport) {
  const AgentStatus report = start(start_of(7, {0, 1, 2}), 1'000, 0);
  ASSERT_EQ(report.starts.size(), 3U);
  ASSERT_EQ(report.ends.size(), 3U);
  EXPECT_TRUE(dues.empty());
  EXPECT_EQ(report.ends[2].ref, ref(7, 2));
  EXPECT_EQ(report.ends[2].outcome.state, PodState::kSucceeded);
  EXPECT_EQ(report.ends[2].outcome.exit_code, 0);
  EXPECT_EQ(report.ends[2].outcome.started_at, 1'000);
  EXPECT_EQ(report.ends[2].outcome.ended_at, 1'000);
  EXPECT_EQ(node.running(), 0U);
}

TEST_F(HollowNodeTest, AnEndIsKeptAndRepeatedUntilTheServerForgetsIt) {
  start(start_of(7, {0, 1, 2}), 1'000, 0);
  EXPECT_EQ(node.unacknowledged().ends.size(), 3U);
  ASSERT_EQ(node.known_pods().size(), 3U);
  EXPECT_FALSE(node.known_pods()[0].running);
  node.on_forget({{ref(7, 0), ref(7, 2), ref(99, 0)}}, totals);
  ASSERT_EQ(node.unacknowledged().ends.size(), 1U);
  EXPECT_EQ(node.unacknowledged().ends[0].ref, ref(7, 1));
  EXPECT_EQ(totals.forgotten, 2U);
}

TEST_F(HollowNodeTest, AnAttemptIsStartedOnceHoweverOftenItIsOrdered) {
  start(start_of(7, {0}), 1'000, 0);
  const AgentStatus again = start(start_of(7, {0}), 2'000, 0);
  EXPECT_TRUE(again.starts.empty());
  EXPECT_TRUE(again.ends.empty());
  EXPECT_EQ(totals.started, 1U);
  EXPECT_EQ(totals.repeated, 1U);
}

TEST_F(HollowNodeTest, AnotherAttemptOfThePodIsAnotherStart) {
  start(start_of(7, {0}), 1'000, 0);
  StartPods second = start_of(7, {0});
  second.orders[0].pods[0].attempt = 2;
  EXPECT_EQ(start(second, 2'000, 0).starts.size(), 1U);
  EXPECT_EQ(totals.started, 2U);
}

TEST_F(HollowNodeTest, APodWithATimeRunsUntilItIsDue) {
  const AgentStatus report = start(start_of(7, {0}), 1'000, 5'000);
  EXPECT_EQ(report.starts.size(), 1U);
  EXPECT_TRUE(report.ends.empty());
  ASSERT_EQ(dues.size(), 1U);
  EXPECT_EQ(dues[0].due_at, 6'000);
  EXPECT_TRUE(node.is_running(ref(7, 0)));
  EXPECT_TRUE(node.is_running(ref(7, 0, 0)));  // attempt 0: whichever
  EXPECT_TRUE(node.known_pods()[0].running);

  AgentStatus end;
  node.on_due(dues[0].ref, 6'000, end, totals);
  ASSERT_EQ(end.ends.size(), 1U);
  EXPECT_EQ(end.ends[0].outcome.state, PodState::kSucceeded);
  EXPECT_EQ(end.ends[0].outcome.started_at, 1'000);
  EXPECT_EQ(end.ends[0].outcome.ended_at, 6'000);
  EXPECT_EQ(node.running(), 0U);
  node.on_due(dues[0].ref, 7'000, end, totals);
  EXPECT_EQ(end.ends.size(), 1U) << "it ends once";
}

TEST_F(HollowNodeTest, AStopEndsARunningPodForTheReasonItWasGiven) {
  start(start_of(7, {0}), 1'000, 5'000);
  AgentStatus report;
  node.on_stop({{{ref(7, 0), PodState::kCancelled}}}, 2'000, report, totals);
  ASSERT_EQ(report.ends.size(), 1U);
  EXPECT_EQ(report.ends[0].outcome.state, PodState::kCancelled);
  EXPECT_EQ(report.ends[0].outcome.signal, SIGTERM);
  AgentStatus late;
  node.on_due(ref(7, 0), 6'000, late, totals);
  EXPECT_TRUE(late.ends.empty()) << "a stopped pod does not end again when its time is over";
}

TEST_F(HollowNodeTest, AStopOfAPodThatIsNotThereIsReportedEndedAtOnceAndKept) {
  AgentStatus report;
  node.on_stop({{{ref(8, 3), PodState::kCancelled}}}, 2'000, report, totals);
  ASSERT_EQ(report.ends.size(), 1U);
  EXPECT_EQ(report.ends[0].outcome.exit_code, -1);
  EXPECT_EQ(report.ends[0].outcome.started_at, 0);
  EXPECT_EQ(node.unacknowledged().ends.size(), 1U);
  EXPECT_EQ(node.running(), 0U);
}

TEST_F(HollowNodeTest, AStopOfAPodThatHasEndedChangesNothing) {
  start(start_of(7, {0}), 1'000, 0);
  AgentStatus report;
  node.on_stop({{{ref(7, 0), PodState::kCancelled}}}, 2'000, report, totals);
  EXPECT_TRUE(report.ends.empty());
  EXPECT_EQ(node.unacknowledged().ends[0].outcome.state, PodState::kSucceeded);
}

TEST_F(HollowNodeTest, ATimeLimitShorterThanThePodTimesItOut) {
  start(start_of(7, {0}, /*time_limit_ms=*/2), 1'000, 5'000);
  ASSERT_EQ(dues.size(), 1U);
  EXPECT_EQ(dues[0].due_at, 3'000);
  AgentStatus end;
  node.on_due(dues[0].ref, 3'000, end, totals);
  EXPECT_EQ(end.ends.at(0).outcome.state, PodState::kTimedOut);
  EXPECT_EQ(totals.timed_out, 1U);
}

TEST_F(HollowNodeTest, ARunningPodThatTheServerForgetsIsGone) {
  start(start_of(7, {0}), 1'000, 5'000);
  node.on_forget({{ref(7, 0)}}, totals);
  EXPECT_EQ(node.running(), 0U);
  EXPECT_EQ(node.known(), 0U);
}

TEST(TimerWheel, GivesWhatIsDueAndNothingEarly) {
  TimerWheel<int> wheel(10);
  EXPECT_FALSE(wheel.next());
  wheel.add(101, 1);
  wheel.add(110, 2);
  wheel.add(95, 3);
  EXPECT_EQ(wheel.next(), 100);
  EXPECT_TRUE(wheel.take(99).empty());
  EXPECT_EQ(wheel.take(100), (std::vector<int>{3}));
  EXPECT_TRUE(wheel.take(109).empty());
  EXPECT_EQ(wheel.take(110), (std::vector<int>{1, 2}));
  EXPECT_TRUE(wheel.empty());
}

TEST(TimerWheel, TakesSeveralSlotsInTheirOrder) {
  TimerWheel<int> wheel(10);
  for (int i = 9; i >= 0; --i) wheel.add(i * 10 + 5, i);
  EXPECT_EQ(wheel.take(1'000), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

}  // namespace
}  // namespace berth::tools
