// Nodes that leave, return, are lost, drain; servers that restart: nothing lost, nothing twice.
#include <gtest/gtest.h>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

constexpr std::int64_t kLostMs = 30'000;

TEST(Agents, ANodeThatReturnsInTimeKeepsItsPods) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single());
  h.start_all(node);
  h.leave(node);
  h.advance_ms(kLostMs - 1000);
  FakeAgent& back = h.rejoin(node);
  h.advance_ms(kLostMs * 2);
  EXPECT_EQ(h.state_of(id), PodState::kRunning);
  h.end(back, {{id, 0}, 1});
  EXPECT_EQ(h.state_of(id), PodState::kSucceeded);
}

TEST(Agents, NothingIsPlacedOnANodeThatIsAway) {
  Harness h;
  FakeAgent& node = h.join("n1");
  h.leave(node);
  const JobId id = h.submit(single());
  EXPECT_EQ(h.state_of(id), PodState::kPending);
  EXPECT_EQ(h.ask_for<JobPage>(ListJobsRequest{}).rows[0].reason, "no room on 1 node: 1 by node not connected");
  h.rejoin(node);
  EXPECT_EQ(h.state_of(id), PodState::kBound);
}

TEST(Agents, ALostNodesPodsFailUnlessTheirJobSaysRequeue) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId plain = h.submit(single());
  JobSpec again = single();
  again.requeues_max = 1;
  const JobId requeued = h.submit(again);
  h.start_all(node);
  h.leave(node);
  h.advance_ms(kLostMs);
  EXPECT_EQ(h.state_of(plain), PodState::kNodeLost);
  EXPECT_EQ(h.state_of(requeued), PodState::kPending);
  EXPECT_EQ(h.ask_for<NodePage>(ListNodesRequest{}).rows[0].state, NodeState::kLost);
  FakeAgent& other = h.join("n2");
  h.start_all(other);
  EXPECT_TRUE(other.running.contains({{requeued, 0}, 2})) << "the next attempt";
  h.leave(other);
  h.advance_ms(kLostMs);
  EXPECT_EQ(h.state_of(requeued), PodState::kNodeLost) << "it may be requeued once only";
}

TEST(Agents, ALostNodeThatReturnsWithAWaitingPodStillRunningIsThatPod) {
  Harness h;
  FakeAgent& node = h.join("n1");
  JobSpec spec = single();
  spec.requeues_max = 3;
  const JobId id = h.submit(spec);
  h.start_all(node);
  const TimeUs started = node.running.begin()->second;
  h.leave(node);
  h.advance_ms(kLostMs);
  ASSERT_EQ(h.state_of(id), PodState::kPending);
  FakeAgent& back = h.rejoin(node);
  EXPECT_EQ(h.state_of(id), PodState::kRunning);
  EXPECT_EQ(h.cluster().pod({id, 0})->started_at, started);
  EXPECT_TRUE(back.stopped.empty());
  h.end(back, {{id, 0}, 1});
  EXPECT_EQ(h.state_of(id), PodState::kSucceeded);
}

TEST(Agents, ALostNodeThatReturnsAfterThePodWentElsewhereIsToldToStopItsCopy) {
  Harness h;
  FakeAgent& node = h.join("n1");
  JobSpec spec = single();
  spec.requeues_max = 3;
  const JobId id = h.submit(spec);
  h.start_all(node);
  h.leave(node);
  FakeAgent& other = h.join("n2");
  h.advance_ms(kLostMs);
  ASSERT_EQ(h.state_of(id), PodState::kBound);
  h.start_all(other);
  FakeAgent& back = h.rejoin(node);
  EXPECT_EQ(back.stopped, (std::vector<PodRef>{{{id, 0}, 1}}));
  EXPECT_EQ(h.cluster().pod({id, 0})->ref.attempt, 2U);
  h.end(back, {{id, 0}, 1}, PodState::kCancelled, -1);  // acknowledged, and of no other effect
  EXPECT_EQ(back.forgotten, (std::vector<PodRef>{{{id, 0}, 1}}));
  EXPECT_EQ(h.state_of(id), PodState::kRunning);
  h.end(other, {{id, 0}, 2});
  EXPECT_EQ(h.state_of(id), PodState::kSucceeded);
}

TEST(Agents, AnOrderThatNeverArrivedIsSentAgain) {
  Harness h;
  h.resend_allowed = true;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single());
  h.leave(node);  // before it wrote anything down
  FakeAgent& back = h.rejoin(node);
  h.start_all(back);
  EXPECT_EQ(h.state_of(id), PodState::kRunning);
}

TEST(Agents, APodThatRanAndThatItsAgentNoLongerKnowsIsNotStartedAgainUnasked) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single());
  h.start_all(node);
  h.leave(node);
  FakeAgent forgetful = node;
  forgetful.running.clear();
  FakeAgent& back = h.rejoin(forgetful);
  EXPECT_EQ(h.state_of(id), PodState::kNodeLost);
  EXPECT_TRUE(h.orders_of(back).empty());
}

TEST(Agents, AnotherMemoryUnderTheSameNameGivesUpWhatTheFirstRan) {
  Harness h;
  FakeAgent& node = h.join("n1");
  JobSpec spec = single();
  spec.requeues_max = 1;
  const JobId id = h.submit(spec);
  h.start_all(node);
  h.leave(node);
  h.join("n1", {4000, 8192, 0}, {}, "another instance");
  EXPECT_EQ(h.cluster().pod({id, 0})->ref.attempt, 2U);
}

TEST(Agents, ASecondAgentUnderAConnectedNameIsRefusedAndTheSameAgentReplacesItself) {
  Harness h;
  FakeAgent& node = h.join("n1");
  h.join("n1", {4000, 8192, 0}, {}, "an impostor");
  auto refused = h.take_refused_agents();
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_NE(refused[0].first, node.session);
  const std::uint64_t old = node.session;
  FakeAgent& again = h.rejoin(node);
  refused = h.take_refused_agents();
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_EQ(refused[0].first, old);
  h.turn({AgentGone{old}});  // the late death of the old connection
  EXPECT_TRUE(h.ask_for<NodePage>(ListNodesRequest{}).rows[0].connected);
  EXPECT_TRUE(again.welcomed);
}

TEST(Agents, ADrainedNodeTakesNothingNewAndWhatRunsGoesOn) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId running = h.submit(single());
  h.start_all(node);
  h.ask_for<Ok>(NodeActionRequest{NodeActionRequest::Action::kDrain, "n1", "broken fan"});
  const JobId waiting = h.submit(single());
  EXPECT_EQ(h.state_of(running), PodState::kRunning);
  EXPECT_EQ(h.state_of(waiting), PodState::kPending);
  EXPECT_EQ(h.ask_for<Explanation>(ExplainRequest{waiting, {}}).summary, "no room on 1 node: 1 by node drained");
  h.leave(node);
  h.rejoin(node);
  EXPECT_EQ(h.state_of(waiting), PodState::kPending) << "a drain outlasts a reconnection";
  h.ask_for<Ok>(NodeActionRequest{NodeActionRequest::Action::kResume, "n1", ""});
  EXPECT_EQ(h.state_of(waiting), PodState::kBound);
}

TEST(Agents, ANodeIsRemovedOnlyWhenItIsAwayAndEmpty) {
  Harness h;
  const NodeActionRequest remove{NodeActionRequest::Action::kRemove, "n1", ""};
  EXPECT_EQ(h.ask_refused(remove).code, ErrorCode::kNotFound);
  FakeAgent& node = h.join("n1");
  EXPECT_EQ(h.ask_refused(remove).code, ErrorCode::kConflict);
  h.submit(single());
  h.leave(node);
  EXPECT_EQ(h.ask_refused(remove).code, ErrorCode::kConflict);
  h.advance_ms(kLostMs);
  h.ask_for<Ok>(remove);
  EXPECT_TRUE(h.cluster().nodes().empty());
  h.advance_ms(kLostMs);
}

TEST(Agents, AServerRestartLosesNothingAndStartsNothingTwice) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId running = h.submit(single());
  h.start_all(node);
  const JobId ended = h.submit(single());
  h.start_all(node);
  h.end(node, {{ended, 0}, 1}, PodState::kFailed, 9);
  const JobId waiting = h.submit(array(20));
  h.restart();
  EXPECT_EQ(h.state_of(running), PodState::kRunning);
  EXPECT_EQ(h.job(ended).outcomes.find(0)->exit_code, 9);
  EXPECT_EQ(h.job(waiting).counts.active(), 20U);
  h.resend_allowed = true;  // the bound elements of the array had not started
  FakeAgent& back = h.rejoin(node);
  EXPECT_TRUE(back.stopped.empty());
  for (const auto& [ref, order] : h.orders_of(back)) EXPECT_NE(ref.pod.job, running);
  h.end(back, {{running, 0}, 1});
  EXPECT_EQ(h.state_of(running), PodState::kSucceeded);
}

TEST(Agents, NodesThatDoNotReturnAfterARestartAreLostInTime) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single());
  h.start_all(node);
  h.restart();
  h.advance_ms(kLostMs - 1);
  EXPECT_EQ(h.state_of(id), PodState::kRunning);
  h.advance_ms(1000);
  EXPECT_EQ(h.state_of(id), PodState::kNodeLost);
}

TEST(Agents, AStopIsSentAgainToAnAgentThatMissedIt) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single());
  h.start_all(node);
  h.leave(node);
  h.ask_for<Ok>(CancelRequest{id, std::nullopt});
  FakeAgent& back = h.rejoin(node);
  EXPECT_EQ(back.stopped, (std::vector<PodRef>{{{id, 0}, 1}}));
  h.end(back, {{id, 0}, 1}, PodState::kCancelled, -1);
  EXPECT_EQ(h.state_of(id), PodState::kCancelled);
}

TEST(Agents, ACancelledPodOfALostNodeCountsAsCancelled) {
  Harness h;
  FakeAgent& node = h.join("n1");
  JobSpec spec = single();
  spec.requeues_max = 5;
  const JobId id = h.submit(spec);
  h.start_all(node);
  h.leave(node);
  h.ask_for<Ok>(CancelRequest{id, std::nullopt});
  h.advance_ms(kLostMs);
  EXPECT_EQ(h.state_of(id), PodState::kCancelled);
}

TEST(Agents, AGangThatLosesANodeGoesBackToTheQueueAsAWhole) {
  Harness h;
  FakeAgent& a = h.join("a");
  FakeAgent& b = h.join("b");
  JobSpec spec = gang(2, true);
  spec.requeues_max = 1;
  const JobId id = h.submit(spec);
  h.start_all(a);
  h.start_all(b);
  h.leave(a);
  h.advance_ms(kLostMs);
  EXPECT_EQ(b.stopped.size(), 1U);
  EXPECT_EQ(h.job(id).counts.of(PodState::kPending), 1U);
  h.end(b, b.stopped[0], PodState::kCancelled, -1);
  EXPECT_EQ(h.job(id).counts.of(PodState::kPending), 2U);
  FakeAgent& c = h.join("c");
  EXPECT_EQ(h.job(id).counts.of(PodState::kBound), 2U);
  h.start_all(b);
  h.start_all(c);
  EXPECT_EQ(h.orders_of(c).size() + c.running.size(), 1U);
  // The old node returns with its first attempt: it is of no use any more.
  FakeAgent& back = h.rejoin(a);
  EXPECT_EQ(back.stopped.size(), 1U);
  h.end(back, back.stopped[0], PodState::kCancelled, -1);
  h.end(b, b.running.begin()->first);
  h.end(c, c.running.begin()->first);
  EXPECT_EQ(h.job(id).counts.of(PodState::kSucceeded), 2U);
}

TEST(Agents, LogRequestsGoToTheNodeThatRanThePod) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single(), Harness::user(1000));
  h.start_all(node);
  h.turn({ClientCommand{{1, 500}, Harness::user(1000), ReadLogRequest{id, {}, false, 0, 10, 0}}});
  ASSERT_EQ(h.logs.size(), 1U);
  EXPECT_EQ(h.logs[0].session, node.session);
  EXPECT_EQ(h.logs[0].read.uid, 1000U);
  h.leave(node);
  EXPECT_EQ(h.ask_refused(ReadLogRequest{id, {}, false, 0, 10, 0}).code, ErrorCode::kUnavailable);
}

ExecRequest list_files(JobId job) {
  ExecRequest request;
  request.job = job;
  request.argv = {"ls"};
  return request;
}

TEST(Agents, ACommandGoesToTheNodeWhereThePodRunsForItsOwnerAndAdministrators) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single(), Harness::user(1000));
  EXPECT_EQ(h.ask_refused(list_files(id), Harness::user(1000)).code, ErrorCode::kConflict) << "it does not run yet";
  h.start_all(node);
  EXPECT_EQ(h.ask_refused(list_files(id), Harness::user(1001)).code, ErrorCode::kDenied);
  h.turn({ClientCommand{{1, 500}, Harness::user(1000), list_files(id)}});
  h.turn({ClientCommand{{2, 501}, Harness::admin(), list_files(id)}});
  ASSERT_EQ(h.execs.size(), 2U);
  EXPECT_EQ(h.execs[0].session, node.session);
  EXPECT_EQ(h.execs[0].to.request, 500U);
  EXPECT_EQ(h.execs[0].start.ref, node.running.begin()->first);
  EXPECT_EQ(h.execs[0].start.request.argv, std::vector<std::string>{"ls"});
  h.end(node, node.running.begin()->first);
  EXPECT_EQ(h.ask_refused(list_files(id), Harness::user(1000)).code, ErrorCode::kConflict) << "it has ended";
}

TEST(Agents, ACommandForAPodOnANodeThatIsAwayIsRefused) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single(), Harness::user(1000));
  h.start_all(node);
  h.leave(node);
  EXPECT_EQ(h.ask_refused(list_files(id), Harness::user(1000)).code, ErrorCode::kUnavailable);
  EXPECT_TRUE(h.execs.empty());
}

TEST(Agents, AnUnreasonableOfferIsRefused) {
  Harness h;
  h.join("bad name!");
  h.join("none", {0, 0, 0});
  h.join("many", {1000, 1000, 65});
  EXPECT_EQ(h.take_refused_agents().size(), 3U);
  EXPECT_TRUE(h.cluster().nodes().empty());
}

}  // namespace
}  // namespace berth::scheduler
