// What each event does to the cluster, and what it refuses.
#include "state/cluster.h"

#include <cstring>
#include <gtest/gtest.h>

#include "state/snapshot_codec.h"

namespace berth::state {
namespace {

class ClusterTest : public ::testing::Test {
 protected:
  Status apply(Event event) {
    Status done = cluster_.apply({cluster_.applied_index() + 1, now_ += 1000, {std::move(event)}});
    return done;
  }
  void must(Event event) {
    const Status done = apply(std::move(event));
    ASSERT_TRUE(done) << done.error().message;
    ASSERT_EQ(check_invariants(cluster_), "");
  }
  // The event must be refused; the cluster is thrown away for a copy from before.
  void refused(Event event) {
    const std::string before = SnapshotCodec::encode(cluster_);
    const Status done = apply(std::move(event));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kInternal);
    EXPECT_EQ(done.error().message.find('\n'), std::string::npos);
    auto copy = SnapshotCodec::decode(std::as_bytes(std::span(before)));
    ASSERT_TRUE(copy) << copy.error().message;
    cluster_ = std::move(*copy);
  }
  JobId submit(std::uint32_t elements, std::uint64_t key = 0) {
    JobSubmitted event;
    event.id = JobId{cluster_.last_job_id().value + 1};
    event.submit_key = key;
    event.spec.kind = elements == 1 ? JobKind::kSingle : JobKind::kArray;
    event.spec.elements = IndexSet::dense(elements);
    must(event);
    return event.id;
  }
  NodeId join(const std::string& name) {
    const NodeId id{cluster_.last_node_id().value + 1};
    must(NodeJoined{id, {name, "i", "", "", "none", {4000, 1024, 0}, {}}});
    return id;
  }
  PodRef ref(JobId job, std::uint32_t element, std::uint32_t attempt = 1) { return {{job, element}, attempt}; }
  PodEnd end(PodRef pod, PodState state, bool requeue = false, std::string message = "") {
    PodEnd e;
    e.ref = pod;
    e.outcome.state = state;
    e.outcome.ended_at = now_;
    e.message = std::move(message);
    e.requeue = requeue;
    return e;
  }
  PodState state_of(JobId job, std::uint32_t element) { return cluster_.pod_state(*cluster_.job(job), element); }

  Cluster cluster_;
  TimeUs now_ = 1'000'000;
};

TEST_F(ClusterTest, APodGoesFromWaitingToItsEnd) {
  const NodeId node = join("a");
  const JobId job = submit(1);
  EXPECT_EQ(state_of(job, 0), PodState::kPending);
  must(PodsBound{{{ref(job, 0), node, 5}}, {}});
  EXPECT_EQ(state_of(job, 0), PodState::kBound);
  EXPECT_EQ(cluster_.pod({job, 0})->gpu_mask, 5U);
  EXPECT_EQ(cluster_.pods_of(node).size(), 1U);
  must(PodsStarted{{{ref(job, 0), 777}}});
  EXPECT_EQ(state_of(job, 0), PodState::kRunning);
  EXPECT_EQ(cluster_.job(job)->first_started_at, 777);
  must(PodsStarted{{{ref(job, 0), 888}}});  // told twice: harmless
  EXPECT_EQ(cluster_.pod({job, 0})->started_at, 777);
  must(PodsEnded{{end(ref(job, 0), PodState::kFailed, false, "exit code 3")}});
  EXPECT_EQ(state_of(job, 0), PodState::kFailed);
  const Job& ended = *cluster_.job(job);
  EXPECT_EQ(ended.messages[ended.outcomes.find(0)->message], "exit code 3");
  EXPECT_EQ(ended.ended_at, now_);
  EXPECT_TRUE(cluster_.pods_of(node).empty());
  EXPECT_EQ(cluster_.ended_pods(), 1U);
  EXPECT_TRUE(cluster_.ended_jobs().contains({now_, job}));
  must(JobsForgotten{{job}});
  EXPECT_EQ(cluster_.job(job), nullptr);
  EXPECT_EQ(cluster_.ended_pods(), 0U);
}

TEST_F(ClusterTest, ARequeuedPodGetsTheNextAttemptAndTheOldOneIsDead) {
  const NodeId node = join("a");
  const JobId job = submit(3);
  must(PodsBound{{{ref(job, 1), node, 0}}, {}});
  must(PodsEnded{{end(ref(job, 1), PodState::kNodeLost, true)}});
  EXPECT_EQ(state_of(job, 1), PodState::kPending);
  EXPECT_EQ(Cluster::next_attempt(*cluster_.job(job), 1), 2U);
  EXPECT_EQ(Cluster::next_attempt(*cluster_.job(job), 0), 1U);
  refused(PodsBound{{{ref(job, 1, 1), node, 0}}, {}});
  must(PodsBound{{{ref(job, 1, 2), node, 0}}, {}});
  refused(PodsStarted{{{ref(job, 1, 1), 1}}});
  refused(PodsEnded{{end(ref(job, 1, 1), PodState::kSucceeded)}});
  must(PodsEnded{{end(ref(job, 1, 2), PodState::kSucceeded)}});
}

TEST_F(ClusterTest, APodFoundRunningAfterALossIsAdoptedWithTheAttemptThatRuns) {
  const NodeId node = join("a");
  const JobId job = submit(1);
  must(PodsBound{{{ref(job, 0), node, 0}}, {}});
  must(PodsStarted{{{ref(job, 0), 500}}});
  must(PodsEnded{{end(ref(job, 0), PodState::kNodeLost, true)}});
  refused(PodsAdopted{{{ref(job, 0, 2), node, 0, 500}}});  // an attempt that never was
  must(PodsAdopted{{{ref(job, 0, 1), node, 3, 500}}});
  EXPECT_EQ(state_of(job, 0), PodState::kRunning);
  EXPECT_EQ(cluster_.pod({job, 0})->ref.attempt, 1U);
  EXPECT_TRUE(cluster_.job(job)->attempts.empty());
  must(PodsEnded{{end(ref(job, 0), PodState::kSucceeded)}});
}

TEST_F(ClusterTest, AHugeArrayIsCancelledWithoutAnOutcomePerElement) {
  const JobId job = submit(10'000'000);
  const NodeId node = join("a");
  must(PodsBound{{{ref(job, 5'000'000), node, 0}}, {}});
  must(ElementsCancelled{job, {{0, 5'000'000}, {5'000'001, 10'000'000}}});
  const Job& cancelled = *cluster_.job(job);
  EXPECT_EQ(cancelled.counts.of(PodState::kCancelled), 9'999'999U);
  EXPECT_EQ(cancelled.cancelled.intervals().size(), 2U);
  EXPECT_EQ(cancelled.outcomes.find(7), nullptr);
  EXPECT_EQ(state_of(job, 7), PodState::kCancelled);
  EXPECT_EQ(state_of(job, 5'000'000), PodState::kBound);
  EXPECT_TRUE(cancelled.active());
  must(PodsEnded{{end(ref(job, 5'000'000), PodState::kSucceeded)}});
  EXPECT_FALSE(cancelled.active());
  EXPECT_EQ(cluster_.ended_pods(), 10'000'000U);
  EXPECT_LT(SnapshotCodec::encode(cluster_).size(), 2000U);
}

TEST_F(ClusterTest, CancellingWhatDoesNotWaitIsRefused) {
  const JobId job = submit(10);
  const NodeId node = join("a");
  must(PodsBound{{{ref(job, 4), node, 0}}, {}});
  refused(ElementsCancelled{job, {{0, 10}}});
  refused(ElementsCancelled{job, {{8, 11}}});
  refused(ElementsCancelled{job, {{3, 3}}});
  refused(ElementsCancelled{JobId{99}, {{0, 1}}});
  must(ElementsCancelled{job, {{0, 4}, {5, 10}}});
}

TEST_F(ClusterTest, StoppingMarksThePodAndItsEndStillDecides) {
  const JobId job = submit(1);
  const NodeId node = join("a");
  must(PodsBound{{{ref(job, 0), node, 0}}, {}});
  refused(PodsStopping{{{ref(job, 0), PodState::kRunning}}});
  must(PodsStopping{{{ref(job, 0), PodState::kTimedOut}}});
  EXPECT_TRUE(cluster_.pod({job, 0})->stopping);
  EXPECT_EQ(cluster_.pod({job, 0})->stop_state, PodState::kTimedOut);
  EXPECT_EQ(state_of(job, 0), PodState::kBound);
  must(PodsEnded{{end(ref(job, 0), PodState::kSucceeded)}});
  EXPECT_EQ(state_of(job, 0), PodState::kSucceeded);
}

TEST_F(ClusterTest, MessagesAreKeptOnceAndAtMost65535) {
  const NodeId node = join("a");
  const std::uint32_t size = 66'000;
  const JobId job = submit(size);
  PodsBound bound;
  PodsEnded ended;
  for (std::uint32_t i = 0; i < size; ++i) {
    bound.binds.push_back({ref(job, i), node, 0});
    ended.ends.push_back(end(ref(job, i), PodState::kFailed, false, "message " + std::to_string(i)));
  }
  ended.ends[100].message = "message 7";
  must(bound);
  must(ended);
  const Job& done = *cluster_.job(job);
  EXPECT_EQ(done.outcomes.find(100)->message, done.outcomes.find(7)->message);
  EXPECT_EQ(done.messages[done.outcomes.find(60'000)->message], "message 60000");
  EXPECT_EQ(done.outcomes.find(size - 1)->message, 0U);
  EXPECT_EQ(done.messages.size(), 65'536U);
  EXPECT_EQ(done.messages[0], "");
}

TEST_F(ClusterTest, ASubmitKeyFindsTheFirstJobThatUsedIt) {
  const JobId first = submit(1, 77);
  const JobId second = submit(1, 77);
  EXPECT_EQ(cluster_.job_by_submit_key(77)->id, first);
  EXPECT_EQ(cluster_.job_by_submit_key(0), nullptr);
  must(ElementsCancelled{second, {{0, 1}}});
  must(JobsForgotten{{second}});
  EXPECT_EQ(cluster_.job_by_submit_key(77)->id, first);
  must(ElementsCancelled{first, {{0, 1}}});
  must(JobsForgotten{{first}});
  EXPECT_EQ(cluster_.job_by_submit_key(77), nullptr);
}

TEST_F(ClusterTest, NodesJoinComeBackStayDrainedAndLeave) {
  const NodeId a = join("a");
  refused(NodeJoined{NodeId{9}, {"a", "", "", "", "", {}, {}}});  // the name is taken
  refused(NodeJoined{a, {"b", "", "", "", "", {}, {}}});          // a node keeps its name
  must(NodeStateChanged{a, NodeState::kLost, "silent"});
  must(NodeJoined{a, {"a", "again", "", "", "", {8000, 1, 0}, {}}});
  EXPECT_EQ(cluster_.node(a)->state, NodeState::kUp);
  EXPECT_EQ(cluster_.node(a)->reason, "");
  EXPECT_EQ(cluster_.node(a)->info.capacity.cpu_milli, 8000U);
  must(NodeStateChanged{a, NodeState::kDrained, "disk"});
  must(NodeJoined{a, {"a", "third", "", "", "", {}, {}}});
  EXPECT_EQ(cluster_.node(a)->state, NodeState::kDrained);
  EXPECT_EQ(cluster_.node(a)->reason, "disk");
  const JobId job = submit(1);
  must(PodsBound{{{ref(job, 0), a, 0}}, {}});
  refused(NodeRemoved{a});
  must(PodsEnded{{end(ref(job, 0), PodState::kSucceeded)}});
  must(NodeRemoved{a});
  EXPECT_EQ(cluster_.node_by_name("a"), nullptr);
  refused(NodeRemoved{a});
  refused(NodeJoined{a, {"a", "", "", "", "", {}, {}}});  // ids are never used again
  EXPECT_EQ(cluster_.node_by_name("a"), nullptr);
  join("a");
}

TEST_F(ClusterTest, WhatDoesNotFollowIsRefused) {
  const NodeId node = join("a");
  const JobId job = submit(2);
  JobSubmitted skipped;
  skipped.id = JobId{job.value + 2};
  refused(skipped);
  refused(PodsBound{{{ref(job, 0), NodeId{44}, 0}}, {}});
  refused(PodsBound{{{ref(job, 2), node, 0}}, {}});
  refused(PodsBound{{{ref(JobId{44}, 0), node, 0}}, {}});
  refused(PodsBound{{{ref(job, 0), node, 0}, {ref(job, 0), node, 0}}, {}});
  refused(PodsStarted{{{ref(job, 0), 1}}});
  refused(PodsEnded{{end(ref(job, 0), PodState::kSucceeded)}});
  refused(JobsForgotten{{job}});
  refused(JobsForgotten{{JobId{44}}});
  refused(QueueRemoved{"nowhere"});
  refused(QueueRemoved{"default"});
  refused(TokenRemoved{"none"});
  refused(NodeStateChanged{NodeId{44}, NodeState::kUp, ""});
  must(PodsBound{{{ref(job, 0), node, 0}}, {}});
  refused(PodsEnded{{end(ref(job, 0), PodState::kRunning)}});
  refused(PodsAdopted{{{ref(job, 0), node, 0, 1}}});
  EXPECT_FALSE(cluster_.apply({cluster_.applied_index() + 2, now_, {}}));
  EXPECT_FALSE(cluster_.apply({cluster_.applied_index(), now_, {}}));
}

TEST_F(ClusterTest, TheInvariantCheckerSeesWhatIsWrong) {
  // A snapshot with a running pod of an element that also waits: put together from two that are right.
  const NodeId node = join("a");
  const JobId job = submit(2);
  const std::string waiting = SnapshotCodec::encode(cluster_);
  must(PodsBound{{{ref(job, 0), node, 0}}, {}});
  const std::string bound = SnapshotCodec::encode(cluster_);
  // The last part holds the pods; it goes before the mark that ends the other snapshot.
  std::size_t last = 0;
  for (std::size_t at = 0;;) {
    std::uint64_t length = 0;
    std::memcpy(&length, bound.data() + at, 8);
    if (length == 0) break;
    last = at;
    at += 16 + length;
  }
  const std::string mixed = waiting.substr(0, waiting.size() - 16) + bound.substr(last);
  const auto refused = SnapshotCodec::decode(std::as_bytes(std::span(mixed)));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("job 1: an element is live and waits"), std::string::npos)
      << refused.error().message;
}

}  // namespace
}  // namespace berth::state
