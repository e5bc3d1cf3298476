// Faults of the disk, planted under the store: this program's own write, reserve and sync calls stand in for the C
// library's and fail on demand for files of the journal.
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/state/store_fixture.h"

namespace {

struct Faults {
  std::atomic<int> write_error{0};
  std::atomic<int> write_after{0};        // so many bytes of a failing write still get through
  std::atomic<bool> short_writes{false};  // every write does one seventh of the work
  std::atomic<int> reserve_error{0};
  std::atomic<int> sync_error{0};
  std::atomic<int> cut_error{0};
  std::atomic<int> directory_sync_error{0};  // of the journal's directory
  std::atomic<int> syncs{0};
  std::atomic<int> writes{0};
};
Faults faults;

std::string path_of(int fd) {
  std::array<char, 512> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : std::string();
}
bool in_journal(int fd) { return path_of(fd).find("/journal/") != std::string::npos; }
bool is_journal_directory(int fd) { return path_of(fd).ends_with("/journal"); }

int fail(int error) {
  errno = error;
  return -1;
}

ssize_t real_pwrite(int fd, const void* bytes, std::size_t count, off_t offset) {
  return ::syscall(SYS_pwrite64, fd, bytes, count, offset);
}

}  // namespace

extern "C" {

ssize_t pwrite(int fd, const void* bytes, std::size_t count, off_t offset) {
  if (!in_journal(fd)) return real_pwrite(fd, bytes, count, offset);
  ++faults.writes;
  if (faults.short_writes) return real_pwrite(fd, bytes, count / 7 + 1, offset);
  if (faults.write_error != 0) {
    const auto through = std::min(count, static_cast<std::size_t>(faults.write_after.exchange(0)));
    return through != 0 ? real_pwrite(fd, bytes, through, offset) : fail(faults.write_error);
  }
  return real_pwrite(fd, bytes, count, offset);
}
ssize_t pwrite64(int fd, const void* bytes, std::size_t count, off_t offset) {
  return pwrite(fd, bytes, count, offset);
}

int fdatasync(int fd) {
  if (in_journal(fd)) {
    ++faults.syncs;
    if (faults.sync_error != 0) return fail(faults.sync_error);
  }
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

int fsync(int fd) {
  if (faults.directory_sync_error != 0 && is_journal_directory(fd)) return fail(faults.directory_sync_error);
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
  if (faults.reserve_error != 0 && in_journal(fd)) return fail(faults.reserve_error);
  return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, length));
}
int fallocate64(int fd, int mode, off_t offset, off_t length) { return fallocate(fd, mode, offset, length); }

int ftruncate(int fd, off_t length) noexcept {
  if (faults.cut_error != 0 && in_journal(fd)) return fail(faults.cut_error);
  return static_cast<int>(::syscall(SYS_ftruncate, fd, length));
}
int ftruncate64(int fd, off_t length) noexcept { return ftruncate(fd, length); }

}  // extern "C"

namespace berth::store {
namespace {

class StoreFaultsTest : public testing::StoreTest {
 protected:
  void SetUp() override {
    testing::StoreTest::SetUp();
    options_.segment_bytes = 16 << 10;
    heal();
  }
  void TearDown() override {
    heal();
    testing::StoreTest::TearDown();
  }
  static void heal() {
    faults.write_error = faults.write_after = faults.reserve_error = faults.sync_error = faults.cut_error = 0;
    faults.directory_sync_error = 0;
    faults.short_writes = false;
  }
  state::Status try_append(const std::string& record) {
    return store_->append(store_->last_index() + 1, std::vector<std::string>{record});
  }
  // The directory as it is now, opened by somebody else: what a crash at this moment would leave.
  std::uint64_t index_after_crash() {
    const StoreOptions kept = options_;
    options_.directory = root_ + "/crashed";
    std::filesystem::remove_all(options_.directory);
    std::filesystem::copy(kept.directory, options_.directory, std::filesystem::copy_options::recursive);
    auto opened = open_store(options_);
    options_ = kept;
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? opened->store->last_index() : 0;
  }
};

TEST_F(StoreFaultsTest, OneGroupIsOneWriteAndOneSync) {
  options_.segment_bytes = 1 << 20;
  open();
  append(1, 1);
  faults.syncs = faults.writes = 0;
  append(1, 20);
  EXPECT_EQ(faults.writes, 1);
  EXPECT_EQ(faults.syncs, 1);
}

TEST_F(StoreFaultsTest, ShortWritesAreFinished) {
  faults.short_writes = true;
  open();
  append(5, 3);
  heal();
  close();
  open();
  expect_model();
}

TEST_F(StoreFaultsTest, AFullDiskLeavesNothingBehindAndTheStoreGoesOnWhenThereIsRoom) {
  open();
  append(3, 2);
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    const std::string record = next();
    for (const int through : {0, 1, 10, 24, 40}) {
      faults.write_error = error;
      faults.reserve_error = error;
      faults.write_after = through;
      const auto done = try_append(record);
      ASSERT_FALSE(done);
      EXPECT_EQ(done.error().code, state::ErrorCode::kUnavailable);
      EXPECT_NE(done.error().retry_after_ms, 0U);
      EXPECT_NE(done.error().message.find("/journal/"), std::string::npos) << done.error().message;
      EXPECT_EQ(index_after_crash(), store_->last_index());
    }
    heal();
    ASSERT_TRUE(try_append(record));
    append(2, 2);
  }
  close();
  open();
  EXPECT_EQ(recovered_.torn_bytes, 0U);
  expect_model();
}

TEST_F(StoreFaultsTest, AWholeRecordThatWasWrittenBeforeTheDiskWasFullIsTakenBack) {
  open();
  append(1, 1);
  const std::vector<std::string> records{next(), next()};
  faults.write_error = ENOSPC;
  faults.write_after =
      static_cast<int>(24 + (records[0].size() + 7) / 8 * 8);  // all of the first, nothing of the second
  ASSERT_FALSE(store_->append(2, records));
  EXPECT_EQ(index_after_crash(), 1U);
  heal();
  ASSERT_TRUE(store_->append(2, records));
  close();
  open();
  expect_model();
}

TEST_F(StoreFaultsTest, NoRoomForANewSegmentIsATemporaryError) {
  open();
  while (files("journal").size() < 2) append(1, 2);
  faults.reserve_error = ENOSPC;
  state::Status done = state::Unit{};
  std::string record;
  for (int i = 0; i < 1000 && done; ++i) {
    record = next();
    done = try_append(record);
  }
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, state::ErrorCode::kUnavailable);
  for (const std::string& file : files("journal")) EXPECT_TRUE(file.ends_with(".log")) << file;
  heal();
  ASSERT_TRUE(try_append(record));
  append(10, 2);
  close();
  open();
  expect_model();
}

TEST_F(StoreFaultsTest, AFailedSyncIsFinal) {
  open();
  append(2, 2);
  const std::uint64_t durable = store_->last_index();
  faults.sync_error = EIO;
  const std::string record = next();
  auto done = try_append(record);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, state::ErrorCode::kInternal);
  heal();
  // The kernel may have dropped the pages and would report success now: nothing may be acknowledged any more.
  done = try_append(record);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, state::ErrorCode::kInternal);
  close();
  open();
  EXPECT_GE(store_->last_index(), durable);
}

TEST_F(StoreFaultsTest, AFullDiskAndAFailedUndoIsFinal) {
  open();
  append(2, 2);
  faults.write_error = ENOSPC;
  faults.write_after = 10;
  faults.cut_error = EIO;
  const auto done = try_append(next());
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, state::ErrorCode::kInternal);
  heal();
  EXPECT_FALSE(try_append("x"));
}

TEST_F(StoreFaultsTest, AFailedWriteIsFinal) {
  open();
  append(2, 2);
  faults.write_error = EIO;
  const std::string record = next();
  auto done = try_append(record);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, state::ErrorCode::kInternal);
  heal();
  EXPECT_FALSE(try_append(record));
}

TEST_F(StoreFaultsTest, AFileSystemWithoutReservationWorks) {
  faults.reserve_error = EOPNOTSUPP;
  open();
  append(30, 3);
  EXPECT_GT(files("journal").size(), 1U);
  close();
  open();
  expect_model();
}

TEST_F(StoreFaultsTest, OpeningOnAFullDiskIsRefusedOrWorksButLosesNothing) {
  open();
  append(3, 2);
  close();
  faults.reserve_error = ENOSPC;
  open();  // the directory is readable: the state is there
  expect_model();
  const std::string record = next();
  const auto done = try_append(record);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, state::ErrorCode::kUnavailable);
  heal();
  ASSERT_TRUE(try_append(record));
  close();
  open();
  expect_model();
}

TEST_F(StoreFaultsTest, WhatRecoveryReadsIsDurableBeforeAnybodyBuildsOnIt) {
  open();
  append(3, 2);
  // Killed between write and sync: the next process finds the group in the page cache, though not on the disk.
  const std::string copy = root_ + "/copy";
  std::filesystem::copy(options_.directory, copy, std::filesystem::copy_options::recursive);
  close();
  options_.directory = copy;
  faults.syncs = faults.writes = 0;
  open();
  expect_model();
  EXPECT_GE(faults.syncs, 1);
  // Written again, since after a failed sync the kernel takes the pages for clean and would not write them.
  EXPECT_GE(faults.writes, 1);
}

TEST_F(StoreFaultsTest, ARecoveryThatCannotMakeItsTailDurableIsRefused) {
  open();
  append(3, 2);
  close();
  faults.sync_error = EIO;
  EXPECT_NE(refusal().find("cannot make durable " + files("journal").back()), std::string::npos) << refusal();
  heal();
  open();
  expect_model();
}

TEST_F(StoreFaultsTest, ANewSegmentWhoseNameMayNotBeDurableIsFinalEvenOnAFullDisk) {
  for (const bool empty : {true, false}) {  // the first segment holds nothing, or too much for what comes
    options_.directory = root_ + (empty ? "/empty" : "/full");
    model_ = state::Cluster();
    open();
    if (!empty) append(1, 1);
    faults.directory_sync_error = ENOSPC;
    std::vector<std::string> records;
    while (records.size() < 200) records.push_back(next());
    const std::uint64_t first = store_->last_index() + 1;
    const auto done = store_->append(first, records);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, state::ErrorCode::kInternal) << done.error().message;
    heal();
    // The old segment may have lost its name to the new one: whatever it took would be gone.
    EXPECT_FALSE(store_->append(first, std::span(records).first(1)));
    close();
    open();
    EXPECT_EQ(store_->last_index() + 1, first);
    close();
  }
}

}  // namespace
}  // namespace berth::store
