// The store against the real thing: a process killed in the middle of its work, and a file system with no room left.
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <optional>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "tests/state/dice.h"
#include "tests/state/store_fixture.h"

namespace berth::store {
namespace {

// ---- kill -9 --------------------------------------------------------------------------------------------------------

class StoreKillTest : public testing::StoreTest {
 protected:
  static constexpr std::uint64_t kSeed = 4711;

  void SetUp() override {
    testing::StoreTest::SetUp();
    options_.segment_bytes = 16 << 10;  // so that kills also hit new segments and snapshots
    options_.snapshot_after_bytes = 32 << 10;
  }

  // Moves the model, which makes the same batches in every process, on to the batch `index`.
  static void advance(state::testing::RandomBatches& random, state::Cluster& cluster, std::uint64_t index) {
    while (cluster.applied_index() < index) random.next(cluster);
  }

  // The child: opens, appends groups without end, and reports each index that append() returned Ok for.
  [[noreturn]] void append_until_killed(int report, std::uint32_t seed) {
    auto opened = open_store(options_);
    if (!opened) ::_exit(2);
    state::testing::RandomBatches random(kSeed);
    state::Cluster cluster;
    advance(random, cluster, opened->store->last_index());
    state::testing::Dice dice(seed);
    while (true) {
      std::vector<std::string> records;
      for (std::uint32_t left = 1 + dice() % 6; left != 0; --left)
        records.push_back(state::encode_batch(random.next(cluster)));
      if (!opened->store->append(opened->store->last_index() + 1, records)) ::_exit(3);
      const std::uint64_t durable = opened->store->last_index();
      if (::write(report, &durable, sizeof(durable)) != sizeof(durable)) ::_exit(4);
    }
  }

  // Lets a child report `reports` times, waits a little more, and kills it. The last index that it reported.
  std::uint64_t kill_a_child(std::uint32_t seed, std::uint32_t reports, std::uint32_t then_us) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(ends[0]);
      append_until_killed(ends[1], seed);
    }
    EXPECT_GT(child, 0);
    ::close(ends[1]);
    std::uint64_t reported = 0;
    std::uint64_t index = 0;
    for (; reports != 0 && ::read(ends[0], &index, sizeof(index)) == sizeof(index); --reports) reported = index;
    EXPECT_EQ(reports, 0U) << "the child ended by itself";
    std::this_thread::sleep_for(std::chrono::microseconds(then_us));
    ::kill(child, SIGKILL);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << "exit code " << WEXITSTATUS(status);
    // What it reported between the last look and its death counts as well.
    while (::read(ends[0], &index, sizeof(index)) == sizeof(index)) reported = index;
    ::close(ends[0]);
    return reported;
  }
};

TEST_F(StoreKillTest, EverythingThatWasReportedIsThereAfterAKillAtAnyMoment) {
  state::testing::Dice dice(8);
  state::testing::RandomBatches random(kSeed);
  std::uint64_t before = 0;
  bool made_snapshots = false;
  for (std::uint32_t round = 0; round < 12; ++round) {
    const std::uint64_t reported = kill_a_child(round, 1 + dice() % 25, dice() % 3000);
    ASSERT_FALSE(HasFailure()) << "round " << round;
    ASSERT_GT(reported, before);
    open();
    ASSERT_FALSE(HasFatalFailure()) << "round " << round;
    ASSERT_GE(store_->last_index(), reported) << "round " << round;
    ASSERT_LE(store_->last_index(), reported + 6) << "more than the group under way, round " << round;
    EXPECT_TRUE(recovered_.warnings.empty()) << recovered_.warnings.front();
    advance(random, model_, store_->last_index());
    expect_model();
    made_snapshots = made_snapshots || store_->snapshot_index() != 0;
    before = store_->last_index();
    close();
  }
  EXPECT_TRUE(made_snapshots);
}

// ---- a full disk ----------------------------------------------------------------------------------------------------

class StoreFullDiskTest : public testing::StoreTest {
 protected:
  // Runs `body` with a file system of 256 KiB mounted over root_, in a thread with mounts of its own: they go with the
  // thread, however the test ends. Why it could not; nothing if it ran.
  template <class F>
  std::optional<std::string> on_a_small_disk(F&& body) {
    std::optional<std::string> why_not;
    std::thread thread([&] {
      const auto failed = [&](const char* what) { why_not = std::string(what) + ": " + std::strerror(errno); };
      if (::unshare(CLONE_NEWNS) != 0) return failed("no mounts of its own");
      if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return failed("no private mounts");
      if (::mount("berth-test", root_.c_str(), "tmpfs", 0, "size=512k") != 0) return failed("no tmpfs");
      body();
      close();
    });
    thread.join();
    return why_not;
  }
  // Waits for the background thread; a minute is far more than a loaded machine needs.
  template <class F>
  static bool eventually(F&& condition) {
    for (int i = 0; i < 6000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return condition();
  }
  // Takes all the room there is.
  void fill(const std::string& path) {
    std::ofstream out(path, std::ios::binary);
    const std::string block(4096, 'x');
    while (out.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
};

TEST_F(StoreFullDiskTest, IsATemporaryErrorAndNothingIsLostWhenThereIsRoomAgain) {
  const auto why_not = on_a_small_disk([this] {
    options_.segment_bytes = 16 << 10;
    open();
    ASSERT_FALSE(HasFatalFailure());
    append(5, 2);
    fill(root_ + "/ballast");
    std::string record;
    state::Status done = state::Unit{};
    for (int i = 0; i < 1000 && done; ++i) {
      record = next();
      done = store_->append(store_->last_index() + 1, std::vector<std::string>{record});
    }
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, state::ErrorCode::kUnavailable) << done.error().message;
    EXPECT_NE(done.error().message.find("/journal/"), std::string::npos) << done.error().message;
    EXPECT_EQ(store_->last_index() + 1, model_.applied_index());  // all but the refused one
    for (const std::string& file : files("journal")) EXPECT_TRUE(file.ends_with(".log")) << file;
    EXPECT_FALSE(store_->append(store_->last_index() + 1, std::vector<std::string>{record}));  // still full

    // A restart on the full disk: what was acknowledged is there, and what was refused is not.
    const std::uint64_t durable = store_->last_index();
    close();
    open();
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_EQ(store_->last_index(), durable);
    EXPECT_EQ(recovered_.torn_bytes, 0U);

    std::filesystem::remove(root_ + "/ballast");
    ASSERT_TRUE(store_->append(durable + 1, std::vector<std::string>{record}));
    append(3, 2);
    close();
    open();
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_EQ(recovered_.torn_bytes, 0U);
    expect_model();
  });
  if (why_not) GTEST_SKIP() << "needs root, to mount a small tmpfs: " << *why_not;
}

TEST_F(StoreFullDiskTest, ASnapshotThatFindsNoRoomIsReportedAndMadeWhenThereIsRoomAgain) {
  const auto why_not = on_a_small_disk([this] {
    options_.segment_bytes = 16 << 10;
    open();
    ASSERT_FALSE(HasFatalFailure());
    while (files("journal").size() < 4) append(1, 2);
    close();
    fill(root_ + "/ballast");
    options_.snapshot_after_bytes = 16 << 10;  // due at once
    open();
    ASSERT_FALSE(HasFatalFailure());
    expect_model();
    ASSERT_TRUE(eventually([this] { return !store_->snapshot_error().empty(); }));
    EXPECT_NE(store_->snapshot_error().find("/snapshot/"), std::string::npos) << store_->snapshot_error();
    EXPECT_EQ(store_->snapshot_index(), 0U);
    EXPECT_TRUE(files("snapshot").empty());

    std::filesystem::remove(root_ + "/ballast");
    const std::size_t segments = files("journal").size();
    while (files("journal").size() < segments + 2 && store_->snapshot_index() == 0) append(1, 2);
    EXPECT_TRUE(eventually([this] { return store_->snapshot_index() != 0; })) << store_->snapshot_error();
    EXPECT_EQ(store_->snapshot_error(), "");
    close();
    open();
    ASSERT_FALSE(HasFatalFailure());
    expect_model();
  });
  if (why_not) GTEST_SKIP() << "needs root, to mount a small tmpfs: " << *why_not;
}

}  // namespace
}  // namespace berth::store
