// Random histories: after every batch the invariants hold, the batch survives its encoding, and a replica that only
// sees bytes is the same cluster.
#include <gtest/gtest.h>

#include "state/cluster.h"
#include "state/event_codec.h"
#include "state/snapshot_codec.h"
#include "tests/state/dice.h"
#include "tests/state/random_batches.h"

namespace berth::state {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(RandomHistories, ReplayOfEncodedBatchesGivesTheSameCluster) {
  std::array<int, std::variant_size_v<Event>> seen{};
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    testing::RandomBatches random(seed);
    Cluster cluster;
    Cluster replica;
    for (int step = 0; step < 150; ++step) {
      const Batch batch = random.next(cluster);
      for (const Event& event : batch.events) ++seen[event.index()];
      if (step % 5 == 0) {
        ASSERT_EQ(check_invariants(cluster), "") << "seed " << seed << " step " << step;
      }
      const std::string bytes = encode_batch(batch);
      ASSERT_EQ(bytes, encode_batch(batch));
      const auto decoded = decode_batch(bytes_of(bytes));
      ASSERT_TRUE(decoded) << decoded.error().message;
      ASSERT_EQ(encode_batch(*decoded), bytes) << "seed " << seed << " step " << step;
      const Status applied = replica.apply(*decoded);
      ASSERT_TRUE(applied) << applied.error().message;
    }
    ASSERT_EQ(check_invariants(cluster), "") << "seed " << seed;
    EXPECT_EQ(replica.hash(), cluster.hash()) << "seed " << seed;
  }
  for (std::size_t kind = 0; kind < seen.size(); ++kind) EXPECT_GT(seen[kind], 0) << "no event of kind " << kind;
}

TEST(RandomHistories, AClusterFromASnapshotGoesOnLikeTheOriginal) {
  for (std::uint64_t seed = 100; seed < 108; ++seed) {
    testing::RandomBatches random(seed);
    Cluster cluster;
    for (int step = 0; step < 100; ++step) random.next(cluster);
    const std::string bytes = SnapshotCodec::encode(cluster);
    auto loaded = SnapshotCodec::decode(bytes_of(bytes));
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_EQ(SnapshotCodec::encode(*loaded), bytes);
    EXPECT_EQ(loaded->hash(), cluster.hash());
    EXPECT_EQ(loaded->ended_pods(), cluster.ended_pods());
    for (int step = 0; step < 60; ++step) {
      const Batch batch = random.next(cluster);
      const Status applied = loaded->apply(batch);
      ASSERT_TRUE(applied) << applied.error().message;
    }
    EXPECT_EQ(loaded->hash(), cluster.hash()) << "seed " << seed;
    for (const auto& [id, job] : cluster.jobs()) {
      EXPECT_EQ(loaded->job_by_submit_key(job->submit_key) == nullptr,
                cluster.job_by_submit_key(job->submit_key) == nullptr);
    }
  }
}

TEST(RandomHistories, EveryChangeChangesTheHash) {
  testing::RandomBatches random(7);
  Cluster cluster;
  std::uint64_t last = cluster.hash();
  for (int step = 0; step < 100; ++step) {
    random.next(cluster);
    ASSERT_NE(cluster.hash(), last);
    last = cluster.hash();
  }
}

TEST(RandomHistories, DamagedBatchesAndSnapshotsAreRefusedOrMeanSomethingNeverACrash) {
  testing::RandomBatches random(3);
  Cluster cluster;
  testing::Dice dice(1);
  for (int step = 0; step < 60; ++step) {
    std::string bytes = encode_batch(random.next(cluster));
    for (int i = 0; i < 40; ++i) {
      std::string bad = bytes.substr(0, i % 4 == 0 ? dice() % (bytes.size() + 1) : bytes.size());
      for (int flips = 0; flips < 1 + i % 3 && !bad.empty(); ++flips)
        bad[dice() % bad.size()] ^= static_cast<char>(1 << dice() % 8);
      const auto decoded = decode_batch(bytes_of(bad));
      if (decoded) encode_batch(*decoded);
    }
  }
  const std::string good = SnapshotCodec::encode(cluster);
  for (int i = 0; i < 200; ++i) {
    std::string bad = good;
    bad[dice() % bad.size()] ^= static_cast<char>(1 << dice() % 8);
    const auto decoded = SnapshotCodec::decode(bytes_of(bad));
    if (decoded) {
      EXPECT_EQ(check_invariants(*decoded), "");
    }
  }
  for (std::size_t length = 0; length < good.size(); length += 1 + good.size() / 300) {
    EXPECT_FALSE(SnapshotCodec::decode(bytes_of(good).first(length))) << length;
  }
}

TEST(Batches, WithEmptyListsBesideOddTextsDecode) {
  for (std::size_t length = 0; length < 16; ++length) {
    const Batch batch{
        1,
        2,
        {QueueRemoved{std::string(length, 'q')}, PodsEnded{}, PodsBound{}, JobsForgotten{}, ElementsCancelled{},
         PodsStarted{{{{{JobId{1}, 2}, 3}, 4}}}, PodsEnded{{PodEnd{}}}, PodsAdopted{}}};
    const std::string bytes = encode_batch(batch);
    const auto decoded = decode_batch(bytes_of(bytes));
    ASSERT_TRUE(decoded) << length;
    EXPECT_EQ(encode_batch(*decoded), bytes);
  }
}

TEST(RandomHistories, BytesAtAnOddAddressDecodeToo) {
  testing::RandomBatches random(9);
  Cluster cluster;
  for (int step = 0; step < 30; ++step) random.next(cluster);
  const std::string bytes = "x" + encode_batch(random.next(cluster));
  EXPECT_TRUE(decode_batch(bytes_of(bytes).subspan(1)));
}

}  // namespace
}  // namespace berth::state
