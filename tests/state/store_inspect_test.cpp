// Looking into a data directory, and repairing it: what is said is what was done to it, and what is kept is true.
#include <algorithm>
#include <gtest/gtest.h>
#include <thread>
#include <unistd.h>

#include "state/store/inspect.h"
#include "state/store/segment.h"
#include "state/store/snapshot_file.h"
#include "tests/state/dice.h"
#include "tests/state/store_fixture.h"

namespace berth::store {
namespace {

class StoreInspectTest : public testing::StoreTest {
 protected:
  void SetUp() override {
    if (::access("/dev/shm", W_OK) == 0) parent_ = "/dev/shm";
    testing::StoreTest::SetUp();
    options_.segment_bytes = 16 << 10;
    options_.snapshot_after_bytes = 1 << 30;
  }
  // `groups` groups of two batches; hashes_ has the state after each batch.
  void fill(int groups) {
    if (hashes_.empty()) hashes_.push_back(model_.hash());
    for (int g = 0; g < groups; ++g) {
      std::vector<std::string> records;
      for (int i = 0; i < 2; ++i) {
        records.push_back(next());
        hashes_.push_back(model_.hash());
      }
      ASSERT_TRUE(store_->append(store_->last_index() + 1, records));
    }
  }
  void snapshots(std::size_t count) {
    options_.snapshot_after_bytes = 16 << 10;
    close();
    while (files("snapshot").size() < count) {
      if (!store_) open();
      const std::uint64_t before = store_->snapshot_index();
      fill(20);
      for (int i = 0; i < 6000 && store_->snapshot_index() == before; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    fill(20);
    close();
  }
  Inspection look() {
    auto found = inspect(options_.directory);
    EXPECT_TRUE(found) << found.error().message;
    return found ? std::move(*found) : Inspection{};
  }

  std::vector<std::uint64_t> hashes_;
};

TEST_F(StoreInspectTest, AWholeDirectoryHasNoFaultAndIsNotTouched) {
  open();
  fill(40);
  snapshots(2);
  std::vector<std::pair<std::string, std::string>> before;
  for (const char* part : {"journal", "snapshot"}) {
    for (const std::string& file : files(part)) before.emplace_back(file, read(file));
  }
  const Inspection found = look();
  EXPECT_TRUE(found.faults.empty()) << found.faults.front();
  EXPECT_TRUE(found.notes.empty()) << found.notes.front();
  EXPECT_EQ(found.last_index, model_.applied_index());
  EXPECT_EQ(found.cluster.hash(), model_.hash());
  EXPECT_EQ(found.snapshots.size(), 2U);
  EXPECT_EQ(found.segments.size(), files("journal").size());
  for (const auto& [file, bytes] : before) EXPECT_EQ(read(file), bytes) << file;
}

TEST_F(StoreInspectTest, ADirectoryInUseIsRefused) {
  open();
  fill(1);
  EXPECT_NE(inspect(options_.directory).error().message.find("in use by process"), std::string::npos);
  EXPECT_FALSE(each_batch(options_.directory, [](std::uint64_t, std::span<const std::byte>) { return true; }));
  close();
  EXPECT_TRUE(inspect(options_.directory));
  EXPECT_FALSE(inspect(root_));
}

TEST_F(StoreInspectTest, ASnapshotOfAnotherStateIsFound) {
  open();
  snapshots(1);
  const std::string path = files("snapshot").front();
  const std::uint64_t index = std::stoull(std::filesystem::path(path).stem().string());
  // One that is whole, and of another history with as many batches, which the rest of the journal follows as well.
  const std::string other = root_ + "/other";
  std::filesystem::create_directories(other);
  auto cluster = read_snapshot(path, index);
  ASSERT_TRUE(cluster.ok());
  state::Queue queue;
  queue.name = "of another history";
  ASSERT_TRUE(cluster->apply_event(state::QueueSet{queue}, cluster->applied_at()).ok());
  const std::atomic<bool> stop{false};
  ASSERT_TRUE(write_snapshot(other, *cluster, stop));
  std::filesystem::copy_file(other + "/" + snapshot_name(index), path,
                             std::filesystem::copy_options::overwrite_existing);
  const Inspection found = look();
  ASSERT_EQ(found.faults.size(), 1U);
  EXPECT_NE(found.faults[0].find(" is not the state that the journal leads to"), std::string::npos) << found.faults[0];
}

TEST_F(StoreInspectTest, WhateverIsDamagedRepairKeepsWhatItSaysAndTheStoreOpens) {
  open();
  fill(60);
  close();
  const std::string whole = root_ + "/whole";
  const std::string damaged = options_.directory;
  std::filesystem::copy(damaged, whole, std::filesystem::copy_options::recursive);
  state::testing::Dice dice(11);
  for (int round = 0; round < 60; ++round) {
    std::filesystem::remove_all(damaged);
    std::filesystem::copy(whole, damaged, std::filesystem::copy_options::recursive);
    const auto segments = files("journal");
    const std::string victim = segments[dice() % segments.size()];
    std::string bytes = read(victim);
    switch (round % 4) {
      case 0:
        bytes[dice() % bytes.size()] ^= 4;
        break;
      case 1:
        bytes.resize(dice() % bytes.size());
        break;
      case 2:
        std::fill_n(bytes.begin() + dice() % (bytes.size() - 600), 600, '\0');
        break;
      default:
        break;
    }
    if (round % 4 == 3) {
      std::filesystem::remove(victim);
    } else {
      write(victim, bytes);
    }
    const Inspection found = look();
    ASSERT_LE(found.last_index, model_.applied_index());
    if (found.faults.empty()) {  // padding, or a tail that is torn
      ASSERT_TRUE(victim == segments.back() || found.last_index == model_.applied_index()) << round;
      continue;
    }
    const auto kept = repair(damaged, found);
    ASSERT_TRUE(kept) << kept.error().message;
    if (round % 4 != 3)
      ASSERT_EQ(read(*kept + victim.substr(damaged.size())), bytes) << "the copy is not what was there";
    const Inspection again = look();
    ASSERT_TRUE(again.faults.empty()) << again.faults.front();
    ASSERT_EQ(again.last_index, found.last_index);
    ASSERT_EQ(again.cluster.hash(), hashes_[found.last_index]) << round;
    open();
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_EQ(recovered_.cluster.hash(), hashes_[found.last_index]);
    state::Cluster model = std::move(recovered_.cluster);
    ASSERT_TRUE(
        store_->append(store_->last_index() + 1, std::vector<std::string>{state::encode_batch(random_.next(model))}));
    close();
    open();
    ASSERT_EQ(recovered_.cluster.hash(), model.hash());
    close();
  }
}

TEST_F(StoreInspectTest, DamageBeforeASnapshotCostsNothing) {
  open();
  snapshots(1);
  const std::string first = files("journal").front();
  std::string bytes = read(first);
  bytes[bytes.size() / 2] ^= 1;
  write(first, bytes);
  const Inspection found = look();
  ASSERT_FALSE(found.faults.empty());
  EXPECT_EQ(found.last_index, model_.applied_index());
  EXPECT_NE(found.base_snapshot, 0U);
  ASSERT_TRUE(repair(options_.directory, found));
  open();
  expect_model();
}

TEST_F(StoreInspectTest, BehindTheDamageIsCounted) {
  options_.segment_bytes = 1 << 20;
  open();
  fill(20);
  close();
  const std::string path = files("journal").front();
  auto reader = SegmentReader::open(path);
  Record record;
  for (int i = 0; i < 11; ++i) ASSERT_TRUE(reader->next(record));
  std::string bytes = read(path);
  bytes[record.offset + 30] ^= 1;  // the eleventh
  write(path, bytes);
  const Inspection found = look();
  EXPECT_EQ(found.last_index, 10U);
  ASSERT_EQ(found.unreadable.size(), 1U);
  EXPECT_EQ(found.unreadable[0].from, record.offset);
  EXPECT_EQ(found.unreadable[0].end, reader->offset());
  EXPECT_EQ(found.unreadable[0].first_index, 11U);
  EXPECT_EQ(found.unreadable[0].end_index, 12U);
  EXPECT_EQ(found.batches_behind, 29U);
  EXPECT_EQ(found.first_behind, 12U);
  EXPECT_EQ(found.last_behind, 40U);
  std::uint64_t batches = 0;
  const auto faults = each_batch(options_.directory, [&](std::uint64_t index, std::span<const std::byte> payload) {
    EXPECT_EQ(state::decode_batch(payload)->index, index);
    ++batches;
    return true;
  });
  ASSERT_TRUE(faults);
  EXPECT_EQ(batches, 39U);
  EXPECT_EQ(faults->size(), 1U);
}

}  // namespace
}  // namespace berth::store
