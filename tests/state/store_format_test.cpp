// Data that an older release wrote opens. tests/data/store-N holds a small directory as the release with that format
// wrote it: a snapshot, the journal behind it, nearly every kind of event. It is never made again: a change that cannot
// read it fails here. A new format adds a directory: BERTH_MAKE_STORE=DIR state_tests --gtest_also_run_disabled_tests
// --gtest_filter=*MakesADirectory*.
#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>

#include "state/store/segment.h"
#include "state/store/snapshot_file.h"
#include "tests/state/store_fixture.h"

#ifndef BERTH_SOURCE_DIR
#error "BERTH_SOURCE_DIR is set by tests/CMakeLists.txt"
#endif

namespace berth::store {
namespace {

using namespace state;

constexpr TimeUs kAt = 1'764'400'000'000'000;

// What is in the directories: told once, for who writes and for who reads.
class StoreFormatTest : public testing::StoreTest {
 protected:
  void put(std::vector<Event> events) {
    const Batch batch{model_.applied_index() + 1, kAt + static_cast<TimeUs>(model_.applied_index()) * 1'000'000,
                      std::move(events)};
    const Status applied = model_.apply(batch);
    ASSERT_TRUE(applied) << applied.error().message;
    records_.push_back(encode_batch(batch));
  }
  // A closed segment of what was put since the last one.
  void write_segment() {
    const std::uint64_t first = model_.applied_index() + 1 - records_.size();
    auto writer = SegmentWriter::create(options_.directory + "/journal", first, 64 << 10);
    ASSERT_TRUE(writer) << writer.error().message;
    ASSERT_TRUE(writer->append(first, records_));
    writer->close();
    records_.clear();
  }
  static NodeJoined node(std::uint32_t number) {
    NodeInfo info;
    info.name = "node-" + std::to_string(number);
    info.instance = "instance";
    info.limits = "cgroup-v2";
    info.capacity = {64'000, 262'144, 8};
    info.features = {"ssd", "zone=b"};
    info.taints = {"quiet"};
    info.counts = {{"fpga", 2}};
    info.pods_max = 500;
    return {NodeId{number}, std::move(info)};
  }
  static JobSubmitted job(std::uint64_t id, JobKind kind, std::uint32_t elements) {
    JobSubmitted e;
    e.id = JobId{id};
    e.owner = {1000, 1000, "alice", {27, 1000}};
    e.submit_key = 7'000 + id;
    e.spec.name = "job-" + std::to_string(id);
    e.spec.kind = kind;
    e.spec.elements = IndexSet::dense(elements);
    e.spec.request.resources = {2'000, 4'096, 1};
    e.spec.request.features = {"ssd"};
    e.spec.request.where = "zone=b";
    e.spec.request.licences = {{"matlab", 1}};
    e.spec.priority = -5;
    e.spec.time_limit_ms = 3'600'000;
    e.spec.requeues_max = 2;
    e.spec.launch = "how to launch";
    e.spec.account = "physics";
    e.spec.comment = "a comment";
    return e;
  }
  static PodEnd end(std::uint64_t job, std::uint32_t element, PodState state, int code) {
    PodEnd e;
    e.ref = {{JobId{job}, element}, 1};
    e.outcome.state = state;
    e.outcome.exit_code = static_cast<std::int16_t>(code);
    e.outcome.attempt = 1;
    e.outcome.node = NodeId{1};
    e.outcome.mem_peak_mib = 17;
    e.outcome.started_at = kAt;
    e.outcome.ended_at = kAt + 5'000'000;
    if (code != 0) e.message = "it failed";
    return e;
  }
  void first_half() {
    Queue night;
    night.name = "night";
    night.priority = 3;
    night.where = "zone=b";
    put({node(1), node(2), QueueSet{night}, LicenceSet{{"matlab", 5}}});
    put({TokenAdded{{"t1", "hash of a secret", TokenRole{}, "", kAt, kAt + 1}}});
    Account account;
    account.name = "physics";
    account.shares = 4;
    Qos qos;
    qos.name = "urgent";
    qos.priority = 9;
    put({AccountSet{account}, MemberSet{{"physics", "alice", 2, true, {}}}, QosSet{qos},
         UsageNoted{{{"physics", "alice", 12.5}}}});
    put({job(1, JobKind::kArray, 1'000), job(2, JobKind::kGang, 2), job(3, JobKind::kSingle, 1)});
    PodsBound bound;
    for (std::uint32_t e = 0; e < 10; ++e) bound.binds.push_back({{{JobId{1}, e}, 1}, NodeId{1 + e % 2}, 1ULL << e});
    bound.pins.push_back({3, {"0-3,8", {{0, 4'096}}, true, 1}});
    put({bound});
    PodsStarted started;
    for (std::uint32_t e = 0; e < 8; ++e) started.starts.push_back({{{JobId{1}, e}, 1}, kAt});
    put({started});
    PodEnd again = end(1, 2, PodState::kNodeLost, -1);
    again.requeue = true;
    put({PodsEnded{{end(1, 0, PodState::kSucceeded, 0), end(1, 1, PodState::kFailed, 3), again}}});
  }
  void second_half() {
    put({ElementsCancelled{JobId{1}, {{500, 600}}}});
    put({PodsStopping{{{{{JobId{1}, 4}, 1}, PodState::kTimedOut}}}});
    JobChanged changed;
    changed.job = JobId{3};
    changed.hold = Hold::kUser;
    changed.priority = -7;
    put({changed, NodeStateChanged{NodeId{2}, NodeState::kDrained, "a new fan"}});
    put({PodsAdopted{{{{{JobId{1}, 2}, 1}, NodeId{1}, 4, kAt}}}});
    put({ElementsCancelled{JobId{2}, {{0, 2}}}});
  }

  std::vector<std::string> records_;
};

TEST_F(StoreFormatTest, WhatOlderReleasesWroteOpens) {
  int opened = 0;
  for (const auto& entry : std::filesystem::directory_iterator(BERTH_SOURCE_DIR "/tests/data")) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("store-")) continue;
    SCOPED_TRACE(name);
    options_.directory = root_ + "/" + name;
    std::filesystem::copy(entry.path(), options_.directory, std::filesystem::copy_options::recursive);
    open();
    ASSERT_FALSE(HasFatalFailure());
    ++opened;
    EXPECT_TRUE(recovered_.warnings.empty());
    EXPECT_EQ(recovered_.torn_bytes, 0U);
    EXPECT_EQ(store_->snapshot_index(), 7U);
    EXPECT_EQ(recovered_.batches_replayed, 5U);
    const Cluster& cluster = recovered_.cluster;
    EXPECT_EQ(check_invariants(cluster), "");
    ASSERT_EQ(cluster.jobs().size(), 3U);
    ASSERT_EQ(cluster.nodes().size(), 2U);
    EXPECT_EQ(cluster.node(NodeId{2})->state, NodeState::kDrained);
    EXPECT_EQ(cluster.node(NodeId{2})->reason, "a new fan");
    EXPECT_EQ(cluster.node(NodeId{1})->info, node(1).info);
    const Job& array = *cluster.job(JobId{1});
    EXPECT_EQ(array.spec, job(1, JobKind::kArray, 1'000).spec);
    EXPECT_EQ(array.owner, job(1, JobKind::kArray, 1'000).owner);
    EXPECT_EQ(cluster.job_by_submit_key(7'001), &array);
    EXPECT_EQ(array.counts.of(PodState::kSucceeded), 1U);
    EXPECT_EQ(array.counts.of(PodState::kFailed), 1U);
    EXPECT_EQ(array.counts.of(PodState::kCancelled), 100U);
    EXPECT_EQ(array.counts.of(PodState::kPending), 1'000U - 10 - 100);
    ASSERT_NE(array.outcomes.find(1), nullptr);
    EXPECT_EQ(array.outcomes.find(1)->exit_code, 3);
    EXPECT_EQ(array.messages[array.outcomes.find(1)->message], "it failed");
    EXPECT_EQ(cluster.live_pods().size(), 8U);
    ASSERT_NE(cluster.pinning({JobId{1}, 3}), nullptr);
    EXPECT_EQ(cluster.pinning({JobId{1}, 3})->cpus, "0-3,8");
    EXPECT_TRUE(cluster.pod({JobId{1}, 4})->stopping);
    EXPECT_EQ(cluster.pod({JobId{1}, 2})->state, PodState::kRunning);
    EXPECT_FALSE(cluster.job(JobId{2})->active());
    EXPECT_EQ(cluster.job(JobId{3})->spec.hold, Hold::kUser);
    EXPECT_EQ(cluster.job(JobId{3})->spec.priority, -7);
    EXPECT_EQ(cluster.queues().count("night"), 1U);
    EXPECT_EQ(cluster.licences().at("matlab").total, 5U);
    EXPECT_EQ(cluster.accounts().at("physics").shares, 4U);
    EXPECT_EQ(cluster.qos().at("urgent").priority, 9);
    EXPECT_EQ(cluster.tokens().at("t1").secret_hash, "hash of a secret");
    EXPECT_DOUBLE_EQ(cluster.usage().begin()->second.cpu_seconds, 12.5);
    close();
  }
  EXPECT_GE(opened, 1);
}

TEST_F(StoreFormatTest, DISABLED_MakesADirectoryWhenItIsTold) {
  const char* where = std::getenv("BERTH_MAKE_STORE");
  ASSERT_NE(where, nullptr) << "BERTH_MAKE_STORE names the directory";
  options_.directory = where;
  std::filesystem::create_directories(options_.directory + "/journal");
  std::filesystem::create_directories(options_.directory + "/snapshot");
  first_half();
  write_segment();
  const std::atomic<bool> stop{false};
  ASSERT_TRUE(write_snapshot(options_.directory + "/snapshot", model_, stop));
  second_half();
  write_segment();
}

}  // namespace
}  // namespace berth::store
