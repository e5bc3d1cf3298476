// Members against a real etcd: who leads, what a deposed leader can do (nothing), what is found again.
#include "state/etcd/etcd_member.h"

#include <condition_variable>
#include <mutex>

#include "state/etcd/etcd_store.h"
#include "state/event_codec.h"
#include "tests/etcd/etcd_fixture.h"
#include "tests/state/random_batches.h"

namespace berth::etcd::testing {
namespace {

using state::ErrorCode;

// A server, as the shell would hold it.
struct Server {
  Server(std::shared_ptr<EtcdClient> with, const EtcdUrl& url, const std::string& id, MemberOptions options,
         const std::string& authority = "aa")
      : client(std::make_shared<LossyClient>(std::move(with))), member(client, url, options) {
    member.start({id, id + "-host", id + ":1", "test", authority}, {[this](store::Opened state) {
                                                                      const std::lock_guard lock(mutex);
                                                                      opened.emplace(std::move(state));
                                                                      changed.notify_all();
                                                                    },
                                                                    [this](state::Error error) {
                                                                      const std::lock_guard lock(mutex);
                                                                      ended = error;
                                                                      changed.notify_all();
                                                                    },
                                                                    {}});
  }
  bool leads() {
    const std::lock_guard lock(mutex);
    return opened.has_value();
  }
  state::Error wait_end() {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(30), [this] { return ended.has_value(); }));
    return ended.value_or(state::Error{});
  }

  std::shared_ptr<LossyClient> client;
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<state::Error> ended;
  EtcdMember member;
  std::optional<store::Opened> opened;  // the store goes before the member
};

class EtcdMemberTest : public EtcdTest {
 protected:
  std::unique_ptr<Server> server(const std::string& id) {
    return std::make_unique<Server>(connect(), url(), id, options_);
  }
  std::unique_ptr<Server> leader(const std::string& id) {
    auto one = server(id);
    EXPECT_TRUE(eventually([&] { return one->leads(); })) << "nobody was elected";
    return one;
  }
  std::vector<std::string> next(int count) {
    std::vector<std::string> records;
    for (int i = 0; i < count; ++i) records.push_back(state::encode_batch(random_.next(model_)));
    return records;
  }
  static state::Status append(Server& server, const std::vector<std::string>& records) {
    store::Store& store = *server.opened->store;
    return store.append(store.last_index() + 1, records);
  }
  void expect_model(const state::Cluster& cluster) {
    EXPECT_EQ(cluster.applied_index(), model_.applied_index());
    EXPECT_EQ(cluster.hash(), model_.hash());
  }

  MemberOptions options_{600, 1ULL << 40};
  state::testing::RandomBatches random_{7};
  state::Cluster model_;
};

TEST_F(EtcdMemberTest, WhatWasAppendedIsFoundAgain) {
  auto first = leader("one");
  EXPECT_EQ(first->opened->store->last_index(), 0U);
  for (int i = 1; i <= 20; ++i) ASSERT_TRUE(append(*first, next(i)).ok());
  EXPECT_TRUE(first->opened->store->in_charge().ok());
  first->opened.reset();
  first.reset();
  auto second = leader("two");
  expect_model(second->opened->recovered.cluster);
  EXPECT_EQ(second->opened->recovered.batches_replayed, model_.applied_index());
}

TEST_F(EtcdMemberTest, AGroupLargerThanARequestBecomesVisibleAtOnce) {
  auto first = leader("one");
  std::vector<std::string> records;
  std::size_t bytes = 0;
  while (bytes < 5U << 20) {
    state::Batch batch;
    state::JobSubmitted event;
    event.id = state::JobId{model_.last_job_id().value + 1};
    event.spec.request.resources = {1000, 0, 0};
    event.spec.launch = std::string(600'000, 'x');
    batch.index = model_.applied_index() + 1;
    batch.at = static_cast<state::TimeUs>(batch.index);
    batch.events.emplace_back(std::move(event));
    ASSERT_TRUE(model_.apply(batch).ok());
    records.push_back(state::encode_batch(batch));
    bytes += records.back().size();
  }
  auto standby = server("two");
  ASSERT_TRUE(append(*first, records).ok());
  const auto chunks = client_->range(all_below(Keys("test").batches), 5000);
  ASSERT_TRUE(chunks.ok());
  EXPECT_GE(chunks->kvs.size(), 5U) << "or it was not cut";
  first->opened.reset();
  first.reset();
  ASSERT_TRUE(eventually([&] { return standby->leads(); }));
  expect_model(standby->opened->recovered.cluster);
}

TEST_F(EtcdMemberTest, AStandbyIsWarmAndTakesOverFromASilentLeader) {
  auto first = leader("one");
  auto second = server("two");
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*first, next(3)).ok());
  const auto lag = [&] {
    state::StoreInfo info;
    second->member.tell(info);
    return info.servers.size() == 2 && info.standby && info.leader == "one:1" && info.durable_index == 30;
  };
  EXPECT_TRUE(eventually(lag));
  EXPECT_FALSE(second->leads());
  first->client->silent = true;  // as if it had been stopped, or cut off
  ASSERT_TRUE(eventually([&] { return second->leads(); }));
  EXPECT_EQ(second->opened->recovered.batches_replayed, 30U);
  expect_model(second->opened->recovered.cluster);
  EXPECT_FALSE(first->opened->store->in_charge().ok()) << "it had given up before";

  first->client->silent = false;  // it comes back and knows of nothing
  const auto refused = append(*first, next(1));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kConflict) << refused.error().message;
  EXPECT_EQ(first->wait_end().code, ErrorCode::kConflict);
  EXPECT_TRUE(first->member.deposed());
  EXPECT_EQ(second->opened->store->last_index(), 30U);
}

TEST_F(EtcdMemberTest, AGroupWhoseAnswerWasLostIsThereOnce) {
  auto first = leader("one");
  ASSERT_TRUE(append(*first, next(2)).ok());
  first->client->answers_to_lose = 1;
  ASSERT_TRUE(append(*first, next(4)).ok()) << "tried again, and found that it was carried out";
  EXPECT_EQ(first->opened->store->last_index(), 6U);
  ASSERT_TRUE(append(*first, next(1)).ok());
  first->opened.reset();
  first.reset();
  auto second = leader("two");
  expect_model(second->opened->recovered.cluster);
}

TEST_F(EtcdMemberTest, WithoutEtcdNothingIsAppendedAndAfterwardsTheSameGroupIs) {
  auto first = leader("one");
  ASSERT_TRUE(append(*first, next(2)).ok());
  stop_etcd();
  const std::vector<std::string> records = next(3);
  const auto refused = append(*first, records);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable) << refused.error().message;
  EXPECT_TRUE(eventually([&] { return !first->opened->store->in_charge().ok(); }));
  start_etcd();
  state::Status done = refused;
  ASSERT_TRUE(eventually([&] { return (done = append(*first, records)).ok(); })) << done.error().message;
  EXPECT_TRUE(eventually([&] { return first->opened->store->in_charge().ok(); }));
  EXPECT_FALSE(first->member.deposed()) << "it goes on without a restart";
  first->opened.reset();
  first.reset();
  auto second = leader("two");
  expect_model(second->opened->recovered.cluster);
}

TEST_F(EtcdMemberTest, SnapshotsReplaceOldBatchesAndAreLoaded) {
  options_.snapshot_after_bytes = 20'000;
  auto first = leader("one");
  std::uint64_t snapshots = 0;
  for (std::uint64_t before = 0; snapshots < 3;) {
    ASSERT_TRUE(append(*first, next(5)).ok());
    const std::uint64_t index = first->opened->store->snapshot_index();
    if (index != before) ++snapshots;
    before = index;
    ASSERT_LT(model_.applied_index(), 100'000U) << first->opened->store->snapshot_error();
  }
  const Keys keys("test");
  const auto oldest = [&] {
    auto page = client_->range(all_below(keys.batches), 5000);
    return page.ok() && !page->kvs.empty() && page->kvs.front().key > keys.batch(1, 0);
  };
  EXPECT_TRUE(eventually(oldest)) << "the first batches are still there";
  first->opened.reset();
  first.reset();
  const std::atomic<bool> stop{false};
  JournalReader reader(*client_, keys, stop);
  const auto listed = reader.list_snapshots();
  ASSERT_TRUE(listed.ok());
  EXPECT_EQ(listed->size(), 2U);

  auto second = leader("two");
  expect_model(second->opened->recovered.cluster);
  EXPECT_LT(second->opened->recovered.batches_replayed, model_.applied_index());
  EXPECT_GT(second->opened->store->snapshot_index(), 0U);
  second->opened.reset();
  second.reset();

  // The newest is damaged: the one before it serves, with the batches behind it. (The second may have written one
  // more.)
  const auto now = reader.list_snapshots();
  ASSERT_TRUE(now.ok());
  const std::string key = keys.snapshot_chunk(now->back().index, 0);
  ASSERT_TRUE(client_->commit({{}, {put(key, "nonsense")}, {}}, 5000).ok());
  auto third = leader("three");
  expect_model(third->opened->recovered.cluster);
  EXPECT_EQ(third->opened->recovered.warnings.size(), 1U);
}

TEST_F(EtcdMemberTest, AHoleInTheJournalIsAnErrorAndNoSmallerCluster) {
  auto first = leader("one");
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(append(*first, next(1)).ok());
  first->opened.reset();
  first.reset();
  const Keys keys("test");
  ASSERT_TRUE(client_->commit({{}, {remove({keys.batch(3, 0), "", 0, 0, false})}, {}}, 5000).ok());
  auto second = server("two");
  const state::Error why = second->wait_end();
  EXPECT_NE(why.message.find("batch 3"), std::string::npos) << why.message;
  EXPECT_FALSE(second->leads());
}

TEST_F(EtcdMemberTest, AServerOfAnotherClusterIsRefused) {
  auto first = leader("one");
  EXPECT_EQ(*first->member.authority(), "aa");
  Server other(connect(), url(), "two", options_, "bb");
  const state::Error why = other.wait_end();
  EXPECT_NE(why.message.find("another certificate authority"), std::string::npos) << why.message;
}

TEST_F(EtcdMemberTest, OfManyServersOneLeads) {
  std::vector<std::unique_ptr<Server>> servers;
  for (const char* id : {"a", "b", "c", "d", "e"}) servers.push_back(server(id));
  const auto leaders = [&] {
    int count = 0;
    for (auto& one : servers) count += one->leads() ? 1 : 0;
    return count;
  };
  ASSERT_TRUE(eventually([&] { return leaders() == 1; }));
  for (int round = 0; round < 4; ++round) {
    std::erase_if(servers, [](auto& one) {
      if (!one->leads()) return false;
      one->opened.reset();
      return true;
    });
    ASSERT_TRUE(eventually([&] { return leaders() == 1; })) << "after round " << round;
  }
}

TEST(EtcdClientTest, WhoeverIsNotThereIsNamed) {
  const int port = free_port();
  auto client = make_client(*parse_etcd_url("etcd://127.0.0.1:" + std::to_string(port), ""));
  ASSERT_TRUE(client.ok());
  const auto reply = (*client)->range({"x", "", 0, 0, false}, 300);
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(reply.error().message.find(std::to_string(port)), std::string::npos) << reply.error().message;
  EXPECT_FALSE(make_client(*parse_etcd_url("etcd://a:1?ca=/no/such/file", "")).ok());
}

}  // namespace
}  // namespace berth::etcd::testing
