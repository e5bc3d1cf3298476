// Jobs, arrays, gangs, queue order, cancellation, refusals.
#include <gtest/gtest.h>
#include <set>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

TEST(Core, AJobRunsOnTheNodeItWasPlacedOnAndItsEndIsKept) {
  Harness h;
  FakeAgent& node = h.join("n1");
  EXPECT_TRUE(node.welcomed);
  const JobId id = h.submit(single());
  EXPECT_EQ(h.state_of(id), PodState::kBound);
  h.start_all(node);
  EXPECT_EQ(h.state_of(id), PodState::kRunning);
  h.end(node, {{id, 0}, 1}, PodState::kFailed, 3);
  EXPECT_EQ(h.state_of(id), PodState::kFailed);
  EXPECT_EQ(h.job(id).outcomes.find(0)->exit_code, 3);
  EXPECT_EQ(node.forgotten, (std::vector<PodRef>{{{id, 0}, 1}}));
  h.end(node, {{id, 0}, 1}, PodState::kSucceeded, 0);  // told again: acknowledged again, and nothing changes
  EXPECT_EQ(h.state_of(id), PodState::kFailed);
  EXPECT_EQ(node.forgotten.size(), 2U);
}

// As when a stop comes for a pod that has just ended: the agent has the end to tell, and tells it again.
TEST(Core, WhatStandsTwiceInOneReportHappensOnce) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single());
  h.start_all(node, 2);
  EXPECT_EQ(h.state_of(id), PodState::kRunning);
  h.end(node, {{id, 0}, 1}, PodState::kFailed, 3, 2);
  EXPECT_EQ(h.state_of(id), PodState::kFailed);
  EXPECT_EQ(node.forgotten.size(), 2U);
  EXPECT_EQ(h.state_of(h.submit(single())), PodState::kBound);
}

TEST(Core, JobsWaitForANodeAndStartWhenItJoins) {
  Harness h;
  const JobId id = h.submit(single());
  EXPECT_EQ(h.state_of(id), PodState::kPending);
  EXPECT_EQ(h.ask_for<JobPage>(ListJobsRequest{}).rows[0].reason, "no node has joined yet");
  h.join("n1");
  EXPECT_EQ(h.state_of(id), PodState::kBound);
}

TEST(Core, ThePolicyDecidesWhichNodeAJobGets) {
  for (const auto& [policy, nodes] : {std::pair{"binpack", 1U}, std::pair{"first-fit", 1U}, std::pair{"spread", 3U}}) {
    CoreOptions options;
    options.placement = placement::find_policy(policy);
    ASSERT_NE(options.placement, nullptr);
    Harness h(options);
    for (const char* name : {"n1", "n2", "n3"}) h.join(name);
    for (int i = 0; i < 3; ++i) h.submit(single());
    std::set<NodeId> used;
    for (const auto& [ref, pod] : h.cluster().live_pods()) used.insert(pod.node);
    EXPECT_EQ(used.size(), nodes) << policy;
  }
}

TEST(Core, HigherPriorityRunsFirstThenTheOlderJob) {
  Harness h;
  FakeAgent& node = h.join("n1", {1000, 8192, 0});
  const JobId running = h.submit(single());
  const JobId low = h.submit(single());
  JobSpec urgent = single();
  urgent.priority = 10;
  const JobId high = h.submit(urgent);
  const JobId later = h.submit(single());
  std::vector<JobId> order;
  JobId current = running;
  for (int i = 0; i < 3; ++i) {
    h.start_all(node);
    h.end(node, {{current, 0}, 1});
    for (const JobId id : {low, high, later}) {
      if (h.state_of(id) == PodState::kBound) current = id;
    }
    order.push_back(current);
  }
  EXPECT_EQ(order, (std::vector<JobId>{high, low, later}));
}

TEST(Core, AQueuesPriorityCountsAndItsTimeLimitBinds) {
  Harness h;
  h.ask_for<Ok>(QueueActionRequest{false, {"fast", 100, 60'000, {}, {}, 0, 0, {}, {}}});
  FakeAgent& node = h.join("n1", {1000, 8192, 0});
  const JobId running = h.submit(single());
  const JobId normal = h.submit(single());
  JobSpec spec = single();
  spec.queue = "fast";
  const JobId fast = h.submit(spec);
  EXPECT_EQ(h.job(fast).spec.time_limit_ms, 60'000);
  h.start_all(node);
  h.end(node, {{running, 0}, 1});
  EXPECT_EQ(h.state_of(fast), PodState::kBound);
  EXPECT_EQ(h.state_of(normal), PodState::kPending);
  spec.time_limit_ms = 61'000;
  EXPECT_EQ(h.ask_refused(SubmitRequest{{spec}, 0, false}).field, "time");
}

TEST(Core, AnArrayRunsAtMostItsThrottleAtOnce) {
  Harness h;
  FakeAgent& node = h.join("n1", {8000, 8192, 0});
  const JobId id = h.submit(array(10, 3));
  EXPECT_EQ(h.job(id).counts.live(), 3U);
  EXPECT_EQ(h.ask_for<JobPage>(ListJobsRequest{}).rows[0].reason, "the array runs at most 3 pods at once");
  std::uint32_t done = 0;
  while (h.job(id).active()) {
    h.start_all(node);
    ASSERT_LE(h.job(id).counts.live(), 3U);
    h.end(node, node.running.begin()->first);
    ++done;
  }
  EXPECT_EQ(done, 10U);
  EXPECT_EQ(h.job(id).counts.of(PodState::kSucceeded), 10U);
}

TEST(Core, AGangStartsAsAWholeOrNotAtAll) {
  Harness h;
  FakeAgent& a = h.join("a", {2000, 8192, 0});
  const JobId filler = h.submit(single());
  EXPECT_EQ(h.ask_refused(SubmitRequest{{gang(4)}, 0, false}).field, "gang") << "2 cores in all can never hold it";
  h.join("b", {2000, 8192, 0});
  const JobId second = h.submit(gang(4));
  EXPECT_EQ(h.job(second).counts.of(PodState::kPending), 4U);
  h.start_all(a);
  h.end(a, {{filler, 0}, 1});
  EXPECT_EQ(h.job(second).counts.of(PodState::kBound), 4U);
}

TEST(Core, AGangMemberThatFailsTakesTheOthersDown) {
  Harness h;
  FakeAgent& a = h.join("a");
  FakeAgent& b = h.join("b");
  const JobId id = h.submit(gang(2, true));
  h.start_all(a);
  h.start_all(b);
  ASSERT_EQ(a.running.size(), 1U);
  ASSERT_EQ(b.running.size(), 1U);
  const PodRef first = a.running.begin()->first;
  const PodRef other = b.running.begin()->first;
  h.end(a, first, PodState::kFailed, 1);
  EXPECT_EQ(b.stopped, (std::vector<PodRef>{other}));
  h.end(b, other, PodState::kCancelled, -1);
  EXPECT_FALSE(h.job(id).active());
  EXPECT_EQ(h.job(id).counts.of(PodState::kFailed), 1U);
  EXPECT_EQ(h.job(id).counts.of(PodState::kCancelled), 1U);
}

TEST(Core, ASmallJobOvertakesAGangThatFindsNoRoomButNotForEver) {
  CoreOptions options;
  options.overtaking_ends_after_ms = 1000;
  Harness h(options);
  FakeAgent& node = h.join("n1", {2000, 8192, 0});
  const JobId running = h.submit(single());
  const JobId wide = h.submit(gang(2));
  const JobId small = h.submit(single());
  EXPECT_EQ(h.state_of(small), PodState::kBound);
  h.start_all(node);
  h.advance_ms(2000);
  const JobId late = h.submit(single(500));
  h.end(node, {{small, 0}, 1});
  EXPECT_EQ(h.state_of(late), PodState::kPending) << "the gang has waited long enough to keep its nodes";
  h.end(node, {{running, 0}, 1});
  EXPECT_EQ(h.job(wide).counts.of(PodState::kBound), 2U);
  h.start_all(node);
  h.end(node, {{wide, 0}, 1});
  EXPECT_EQ(h.state_of(late), PodState::kBound);
}

TEST(Core, CancellingTakesWaitingElementsAtOnceAndStopsLiveOnes) {
  Harness h;
  FakeAgent& node = h.join("n1", {2000, 8192, 0});
  const JobId id = h.submit(array(5));
  h.start_all(node);
  h.ask_for<Ok>(CancelRequest{id, *IndexSet::parse("1-3", "job")});
  EXPECT_EQ(h.state_of(id, 2), PodState::kCancelled);
  EXPECT_EQ(h.state_of(id, 3), PodState::kCancelled);
  EXPECT_EQ(h.state_of(id, 4), PodState::kPending);
  EXPECT_EQ(node.stopped, (std::vector<PodRef>{{{id, 1}, 1}}));
  h.end(node, {{id, 1}, 1}, PodState::kCancelled, -1);
  EXPECT_EQ(h.state_of(id, 1), PodState::kCancelled);
  EXPECT_EQ(h.ask_refused(CancelRequest{id, *IndexSet::parse("2", "job")}).code, ErrorCode::kConflict);
  EXPECT_EQ(h.ask_refused(CancelRequest{id, *IndexSet::parse("77", "job")}).code, ErrorCode::kNotFound);
  h.ask_for<Ok>(CancelRequest{id, std::nullopt});
  h.start_all(node);
  h.end(node, {{id, 0}, 1}, PodState::kCancelled, -1);
  EXPECT_FALSE(h.job(id).active() && h.job(id).counts.live() == 0);
}

TEST(Core, CancellingAHugeArrayIsImmediate) {
  Harness h;
  const JobId id = h.submit(array(10'000'000));
  h.ask_for<Ok>(CancelRequest{id, std::nullopt});
  EXPECT_EQ(h.job(id).counts.of(PodState::kCancelled), 10'000'000U);
  EXPECT_FALSE(h.job(id).active());
}

TEST(Core, AUserSeesAndCancelsOnlyHisOwn) {
  Harness h;
  const JobId mine = h.submit(single(), Harness::user(1000));
  const JobId other = h.submit(single(), Harness::user(1001));
  const auto page = h.ask_for<JobPage>(ListJobsRequest{}, Harness::user(1000));
  ASSERT_EQ(page.rows.size(), 1U);
  EXPECT_EQ(page.rows[0].id, mine);
  EXPECT_EQ(h.ask_refused(CancelRequest{other, std::nullopt}, Harness::user(1000)).code, ErrorCode::kDenied);
  EXPECT_EQ(h.ask_refused(ShowJobRequest{other}, Harness::user(1000)).code, ErrorCode::kDenied);
  EXPECT_EQ(h.ask_refused(ExplainRequest{other, {}}, Harness::user(1000)).code, ErrorCode::kDenied);
  EXPECT_EQ(h.ask_refused(ReadLogRequest{other, {}, false, 0, 1, 0}, Harness::user(1000)).code, ErrorCode::kDenied);
  EXPECT_EQ(h.ask_refused(WatchJobsRequest{{other}}, Harness::user(1000)).code, ErrorCode::kDenied);
  EXPECT_EQ(h.ask_refused(NodeActionRequest{NodeActionRequest::Action::kDrain, "n", ""}, Harness::user(1000)).code,
            ErrorCode::kDenied);
  EXPECT_EQ(h.ask_for<JobPage>(ListJobsRequest{}).rows.size(), 2U);
  h.ask_for<Ok>(CancelRequest{other, std::nullopt});
}

struct BadSpec {
  const char* name;
  void (*spoil)(JobSpec&);
  const char* field;
};

class Refused : public testing::TestWithParam<BadSpec> {};

TEST_P(Refused, WithOneLineThatNamesTheFieldAndNothingChanged) {
  Harness h;
  h.join("n1");
  JobSpec spec = single();
  GetParam().spoil(spec);
  const std::uint64_t before = h.cluster().hash();
  const Error error = h.ask_refused(SubmitRequest{{single(), spec}, 0, false}, Harness::user(1000));
  EXPECT_EQ(error.field, GetParam().field) << error.message;
  EXPECT_FALSE(error.message.empty());
  EXPECT_EQ(error.message.find('\n'), std::string::npos);
  EXPECT_EQ(h.cluster().hash(), before);
  EXPECT_EQ(h.ask_refused(SubmitRequest{{spec}, 0, true}, Harness::user(1000)).field, GetParam().field)
      << "the dry run as well";
}

INSTANTIATE_TEST_SUITE_P(
    Specs, Refused,
    testing::Values(BadSpec{"queue", [](JobSpec& s) { s.queue = "nowhere"; }, "queue"},
                    BadSpec{"cpu", [](JobSpec& s) { s.request.resources.cpu_milli = 0; }, "cpus"},
                    BadSpec{"too_big", [](JobSpec& s) { s.request.resources.cpu_milli = 64'000; }, "resources"},
                    BadSpec{"feature", [](JobSpec& s) { s.request.features = {"moon"}; }, "resources"},
                    BadSpec{"gpus", [](JobSpec& s) { s.request.resources.gpus = 65; }, "gpus"},
                    BadSpec{"priority", [](JobSpec& s) { s.priority = 5; }, "priority"},
                    BadSpec{"gang", [](JobSpec& s) { s = gang(5); }, "gang"},
                    BadSpec{"nodes", [](JobSpec& s) { s = gang(2, true); }, "nodes"},
                    BadSpec{"array",
                            [](JobSpec& s) {
                              s = array(10'000'000);
                              s.elements = IndexSet::dense(10'000'000);
                              s.kind = JobKind::kGang;
                            },
                            "gang"},
                    BadSpec{"throttle", [](JobSpec& s) { s.throttle = 3; }, "array"},
                    BadSpec{"name", [](JobSpec& s) { s.name = "a\nb"; }, "name"},
                    BadSpec{"time", [](JobSpec& s) { s.time_limit_ms = -1; }, "time"},
                    BadSpec{"command", [](JobSpec& s) { s.launch.clear(); }, "command"}),
    [](const auto& chosen) { return std::string(chosen.param.name); });

TEST(Core, ARepeatedSubmissionFindsTheFirst) {
  Harness h;
  const auto first = h.ask_for<SubmitReply>(SubmitRequest{{single(), single()}, 77, false});
  const auto again = h.ask_for<SubmitReply>(SubmitRequest{{single(), single()}, 77, false});
  EXPECT_EQ(first.jobs, again.jobs);
  h.restart();
  EXPECT_EQ(h.ask_for<SubmitReply>(SubmitRequest{{single(), single()}, 77, false}).jobs, first.jobs);
  EXPECT_EQ(h.cluster().jobs().size(), 2U);
}

TEST(Core, ADryRunChangesNothing) {
  Harness h;
  h.join("n1");
  const std::uint64_t before = h.cluster().hash();
  EXPECT_TRUE(h.ask_for<SubmitReply>(SubmitRequest{{single()}, 5, true}).jobs.empty());
  EXPECT_EQ(h.cluster().hash(), before);
}

TEST(Core, TooManyWaitingPodsAreRefusedWithATimeToRetry) {
  CoreOptions options;
  options.waiting_pods_max = 10;
  Harness h(options);
  h.submit(array(8));
  const Error error = h.ask_refused(SubmitRequest{{array(3)}, 0, false});
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_GT(error.retry_after_ms, 0U);
}

TEST(Core, WatchersHearOfEveryChangeUntilTheEnd) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(array(2));
  h.turn({ClientCommand{{9, 1}, Harness::admin(), WatchJobsRequest{{id}}}});
  auto progress = [&] {
    auto replies = h.take_replies();
    EXPECT_EQ(replies.size(), 1U);
    EXPECT_EQ(replies.at(0).to, (ReplyTo{9, 1}));
    return std::get<JobProgress>(replies.at(0).body);
  };
  EXPECT_EQ(progress().counts.of(PodState::kBound), 2U);
  h.start_all(node);
  EXPECT_EQ(progress().counts.of(PodState::kRunning), 2U);
  h.end(node, {{id, 0}, 1});
  EXPECT_FALSE(progress().ended);
  h.end(node, {{id, 1}, 1});
  EXPECT_TRUE(progress().ended);
  h.advance_ms(1);
  EXPECT_TRUE(h.take_replies().empty());
}

TEST(Core, AWatcherThatLeftIsForgotten) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single());
  h.turn({ClientCommand{{9, 1}, Harness::admin(), WatchJobsRequest{{id}}}});
  h.take_replies();
  h.turn({ClientGone{9}});
  h.start_all(node);
  EXPECT_TRUE(h.take_replies().empty());
}

TEST(Core, EndedJobsAreForgottenOldestFirstAndTheirNodesHearOfIt) {
  CoreOptions options;
  options.ended_pods_kept = 2;
  options.ended_jobs_kept_min = 1;
  Harness h(options);
  FakeAgent& node = h.join("n1");
  std::vector<JobId> ids;
  for (int i = 0; i < 4; ++i) {
    ids.push_back(h.submit(single()));
    h.start_all(node);
    h.end(node, {{ids.back(), 0}, 1});
  }
  EXPECT_NE(h.cluster().job(ids[3]), nullptr);  // never in the turn in which it ended
  EXPECT_NE(h.cluster().job(ids[1]), nullptr);
  h.turn({Tick{}});
  EXPECT_EQ(h.cluster().job(ids[0]), nullptr);
  EXPECT_EQ(h.cluster().job(ids[1]), nullptr);
  EXPECT_NE(h.cluster().job(ids[2]), nullptr);
  EXPECT_EQ(h.forgotten_jobs, (std::vector<JobId>{ids[0], ids[1]}));
}

TEST(Core, ListingsPageWithACursor) {
  Harness h;
  for (int i = 0; i < 25; ++i) h.submit(single());
  ListJobsRequest request;
  request.limit = 10;
  std::vector<std::uint64_t> seen;
  for (int pages = 0; pages < 3; ++pages) {
    const auto page = h.ask_for<JobPage>(request);
    for (const JobRow& row : page.rows) seen.push_back(row.id.value);
    request.after = page.next;
  }
  EXPECT_FALSE(request.after);
  EXPECT_EQ(seen.size(), 25U);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(Core, ExplainCountsTheNodesThatEachConstraintRuledOut) {
  Harness h;
  h.join("n1", {2000, 8192, 0});
  h.submit(single(2000));
  const JobId id = h.submit(single(2000));
  const auto why = h.ask_for<Explanation>(ExplainRequest{id, {}});
  EXPECT_EQ(why.state, PodState::kPending);
  EXPECT_EQ(why.summary, "no room on 1 node: 1 by free cpu");
  EXPECT_NE(
      std::find(why.lines.begin(), why.lines.end(), "1 node has the memory but at most 0 free cores of the 2 wanted"),
      why.lines.end());
}

TEST(Core, TokensAreRotatedListedAndRevoked) {
  Harness h;
  TokenCreateRequest make;
  make.ttl_ms = 1000;
  make.id = "a";
  make.secret_hash = "h";
  h.ask_for<TokenCreated>(make);
  make.id = "b";
  make.replace = true;
  h.ask_for<TokenCreated>(make);
  const auto page = h.ask_for<TokenPage>(TokenListRequest{});
  ASSERT_EQ(page.tokens.size(), 1U);
  EXPECT_EQ(page.tokens[0].id, "b");
  EXPECT_EQ(page.tokens[0].secret_hash, "");
  h.ask_for<Ok>(TokenRevokeRequest{"b"});
  EXPECT_EQ(h.ask_refused(TokenRevokeRequest{"b"}).code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace berth::scheduler
