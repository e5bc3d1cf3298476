// The store as its users see it: what was appended is there again, one holder at a time, snapshots, bounded disk use.
#include "state/store/store.h"

#include <chrono>
#include <cstring>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <thread>

#include "state/store/crc32c.h"
#include "tests/state/store_fixture.h"

namespace berth::store {
namespace {

class StoreTest : public testing::StoreTest {
 protected:
  // Waits for the background thread; a minute is far more than a loaded machine needs.
  template <class F>
  ::testing::AssertionResult eventually(F&& condition) {
    for (int i = 0; i < 6000; ++i) {
      if (condition()) return ::testing::AssertionSuccess();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return ::testing::AssertionFailure() << "did not happen; " << store_->snapshot_error();
  }
};

TEST_F(StoreTest, ANewDirectoryIsMadeWithItsParentsForItsOwnerAlone) {
  options_.directory = root_ + "/a/b/data";
  open();
  EXPECT_EQ(store_->last_index(), 0U);
  EXPECT_EQ(recovered_.batches_replayed, 0U);
  struct stat info {};
  ASSERT_EQ(::stat(options_.directory.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700U);
  for (const std::string& file : files("journal")) {
    ASSERT_EQ(::stat(file.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600U);
  }
}

TEST_F(StoreTest, WhatWasAppendedIsThereAfterOpeningAgain) {
  open();
  append(20, 1);
  append(5, 7);
  close();
  open();
  EXPECT_EQ(recovered_.batches_replayed, 55U);
  EXPECT_EQ(recovered_.torn_bytes, 0U);
  EXPECT_TRUE(recovered_.warnings.empty());
  expect_model();
  append(3, 2);
  close();
  open();
  expect_model();
}

TEST_F(StoreTest, WhatWasAppendedIsThereWhenTheHolderDiesWithoutClosing) {
  open();
  append(10, 3);
  const std::string copy = root_ + "/copy";  // the directory as kill -9 leaves it
  std::filesystem::copy(options_.directory, copy, std::filesystem::copy_options::recursive);
  close();
  options_.directory = copy;
  open();
  EXPECT_EQ(recovered_.torn_bytes, 0U);
  expect_model();
}

TEST_F(StoreTest, ASecondOpenerIsRefusedWithTheHoldersProcess) {
  open();
  append(1, 1);
  const std::string line = refusal();
  EXPECT_NE(line.find("in use by process " + std::to_string(::getpid())), std::string::npos) << line;
  append(1, 1);
  close();
  EXPECT_EQ(refusal(), "");
}

TEST_F(StoreTest, AnIndexOutOfOrderIsRefusedAndNothingIsWritten) {
  open();
  append(2, 1);
  const std::vector<std::string> record{"x"};
  EXPECT_FALSE(store_->append(2, record));
  EXPECT_FALSE(store_->append(4, record));
  EXPECT_FALSE(store_->append(3, std::vector<std::string>{""}));
  append(1, 1);
  close();
  open();
  expect_model();
}

TEST_F(StoreTest, AGroupLargerThanASegmentGetsOneOfItsSize) {
  options_.segment_bytes = 4096;
  open();
  append(1, 1);
  append(1, 200);
  append(30, 1);
  EXPECT_GT(files("journal").size(), 3U);
  close();
  open();
  expect_model();
}

TEST_F(StoreTest, SnapshotsAreMadeBesideTheJournalAndOldSegmentsGo) {
  options_.segment_bytes = 64 << 10;
  options_.snapshot_after_bytes = 128 << 10;
  open();
  std::vector<std::uint64_t> snapshots;
  while (snapshots.size() < 4) {
    const std::uint64_t before = store_->snapshot_index();
    ASSERT_TRUE(eventually([&] {
      append(5, 4);
      return store_->snapshot_index() > before;
    }));
    snapshots.push_back(store_->snapshot_index());
  }
  EXPECT_EQ(store_->snapshot_error(), "");
  ASSERT_TRUE(eventually([&] { return files("snapshot").size() <= 2; }));
  ASSERT_TRUE(
      eventually([&] { return files("journal").front().find("00000000000000000001.log") == std::string::npos; }));
  close();
  const std::uint64_t newest = std::stoull(std::filesystem::path(files("snapshot").back()).stem().string());
  open();
  EXPECT_EQ(recovered_.batches_replayed, model_.applied_index() - newest);
  EXPECT_EQ(store_->snapshot_index(), newest);
  expect_model();
  append(5, 5);
  close();
  open();
  expect_model();
}

TEST_F(StoreTest, ADamagedSnapshotIsPassedOverForTheOneBeforeItAndReported) {
  options_.segment_bytes = 64 << 10;
  options_.snapshot_after_bytes = 128 << 10;
  open();
  for (int made = 0; made < 3; ++made) {
    const std::uint64_t before = store_->snapshot_index();
    ASSERT_TRUE(eventually([&] {
      append(5, 4);
      return store_->snapshot_index() > before;
    }));
  }
  close();
  const auto snapshots = files("snapshot");
  ASSERT_EQ(snapshots.size(), 2U);
  std::string bytes = read(snapshots[1]);
  bytes[bytes.size() / 2] ^= 0x10;
  write(snapshots[1], bytes);
  options_.snapshot_after_bytes = 1 << 30;  // no third one that takes the place of these
  open();
  ASSERT_EQ(recovered_.warnings.size(), 1U);
  EXPECT_NE(recovered_.warnings[0].find(snapshots[1] + " is damaged at offset"), std::string::npos)
      << recovered_.warnings[0];
  expect_model();
  close();
  open();
  EXPECT_TRUE(recovered_.warnings.empty());  // it lies aside
  close();
  // With the older one damaged too, the segments that would replace it are gone: nothing may be made up.
  bytes = read(snapshots[0]);
  bytes[bytes.size() / 2] ^= 0x10;
  write(snapshots[0], bytes);
  EXPECT_NE(refusal().find(snapshots[0] + " is damaged at offset"), std::string::npos) << refusal();
}

TEST_F(StoreTest, ASnapshotOfAnotherFormatIsRefusedAndLeftWhereItIs) {
  options_.segment_bytes = 64 << 10;
  options_.snapshot_after_bytes = 128 << 10;
  open();
  ASSERT_TRUE(eventually([&] {
    append(5, 4);
    return store_->snapshot_index() != 0;
  }));
  close();
  // As a later release may have written it; whole, and nothing to be put aside as damaged.
  const std::vector<std::string> snapshots = files("snapshot");  // one, or with the one before it
  const std::string path = snapshots.back();
  std::string bytes = read(path);
  bytes[8] = 77;
  const std::size_t length = bytes.size() - 16;
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(bytes)).first(length));
  std::memcpy(bytes.data() + length + 8, &crc, sizeof(crc));
  write(path, bytes);
  EXPECT_EQ(refusal(), path + " has format 77, this release reads format 1");
  EXPECT_EQ(files("snapshot"), snapshots);
}

TEST_F(StoreTest, MissingFilesAreRefusedByName) {
  options_.segment_bytes = 16 << 10;
  open();
  while (files("journal").size() < 4) append(5, 4);
  close();
  const auto segments = files("journal");
  const std::string aside = root_ + "/aside";
  for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
    std::filesystem::rename(segments[i], aside);
    EXPECT_NE(refusal(), "") << "without segment " << i;
    std::filesystem::rename(aside, segments[i]);
  }
  EXPECT_EQ(refusal(), "");
}

TEST_F(StoreTest, UnfinishedFilesAreRemovedAndStrangersLeftAlone) {
  open();
  append(3, 1);
  close();
  const std::string unfinished = options_.directory + "/journal/00000000000000000009.log.tmp";
  const std::string unfinished_too = options_.directory + "/snapshot/00000000000000000003.snap.tmp";
  const std::string stranger = options_.directory + "/journal/notes.txt";
  for (const std::string& path : {unfinished, unfinished_too, stranger}) write(path, "x");
  open();
  expect_model();
  EXPECT_FALSE(std::filesystem::exists(unfinished));
  EXPECT_FALSE(std::filesystem::exists(unfinished_too));
  EXPECT_TRUE(std::filesystem::exists(stranger));
}

TEST_F(StoreTest, AFileInPlaceOfTheDirectoryIsRefused) {
  write(options_.directory, "x");
  EXPECT_NE(refusal().find(options_.directory), std::string::npos) << refusal();
}

}  // namespace
}  // namespace berth::store
