// The store on a disk that fails in every way, thousands of times; and that the checker would find it if the store made
// a mistake. A run that fails names its seed: `./dev torture --seed N` plays it again.
#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "state/event_codec.h"
#include "state/store/store.h"
#include "tests/state/random_batches.h"
#include "tests/torture/core_run.h"

namespace berth::store::testing {
namespace {

std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

TEST(StoreTorture, NothingAcknowledgedIsLostAndNothingRefusedIsThere) {
  constexpr std::uint64_t kRuns = 2500;
  Happened happened;
  for (std::uint64_t seed = 1; seed <= kRuns; ++seed) {
    const RunResult result = run_store(seed);
    ASSERT_EQ(result.wrong, "") << "seed " << seed;
    happened.add(result.happened);
  }
  fmt::print("{} runs: {}\n", kRuns, happened.text());
  for (const std::uint64_t count : {happened.power_failures, happened.torn, happened.snapshots, happened.full,
                                    happened.failed, happened.flips_refused, happened.flips_passed_over}) {
    EXPECT_GT(count, 100U) << happened.text();
  }
}

TEST(CoreTorture, AServerThatComesBackKnowsAllThatItSaid) {
  constexpr std::uint64_t kRuns = 1000;
  Happened happened;
  for (std::uint64_t seed = 1; seed <= kRuns; ++seed) {
    const RunResult result = run_core(seed);
    ASSERT_EQ(result.wrong, "") << "seed " << seed;
    happened.add(result.happened);
  }
  fmt::print("{} runs: {}\n", kRuns, happened.text());
  for (const std::uint64_t count : {happened.power_failures, happened.snapshots, happened.full, happened.failed})
    EXPECT_GT(count, 20U) << happened.text();
}

TEST(StoreTorture, ASeedPlaysTheSameRunAgain) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const RunResult once = run_store(seed);
    const RunResult again = run_store(seed);
    ASSERT_EQ(once.digest, again.digest) << "seed " << seed;
    ASSERT_NE(once.digest, run_store(seed + 1000).digest) << "seed " << seed;
    ASSERT_EQ(run_core(seed).digest, run_core(seed).digest) << "seed " << seed;
  }
}

TEST(StoreTorture, ADamagedSnapshotThatWasPutAsideDoesNotComeBackWithThePower) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Disk disk(seed);
    const StoreOptions options{"/data", 4096, 4096};
    {
      auto opened = open_store(options);
      ASSERT_TRUE(opened) << opened.error().message;
      state::testing::RandomBatches random(seed);
      state::Cluster model;
      while (opened->store->snapshot_index() == 0) {
        const std::vector<std::string> record{state::encode_batch(random.next(model))};
        ASSERT_TRUE(opened->store->append(model.applied_index(), record));
        disk.let_workers_run(100);
      }
    }
    disk.restart(false);
    const std::string path = disk.files("/data/snapshot").back();
    disk.flip(path, disk.inode(path)->live.size() / 2, 1);
    for (const std::size_t warnings : {1U, 0U}) {
      auto opened = open_store(options);
      ASSERT_TRUE(opened) << opened.error().message;
      EXPECT_EQ(opened->recovered.warnings.size(), warnings) << "seed " << seed;
      disk.kill();
      opened->store.reset();
      disk.restart(true);
    }
  }
}

// A store with a mistake in it, as the disk beneath makes it look: within so many runs the checker has found it.
class PlantedMistake : public ::testing::TestWithParam<std::pair<const char*, Mistake>> {};

TEST_P(PlantedMistake, IsFound) {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    const RunResult result = run_store(seed, GetParam().second);
    if (result.wrong.empty()) continue;
    fmt::print("seed {}: {}\n", seed, result.wrong);
    return;
  }
  FAIL() << "400 runs, and nothing was found";
}

// The same through a whole server: what its clients and agents were told does not hold.
TEST(PlantedMistakeUnderACore, IsFound) {
  for (const Mistake mistake : {Mistake::kNoSync, Mistake::kNoDirectorySync}) {
    std::string found;
    for (std::uint64_t seed = 1; seed <= 200 && found.empty(); ++seed) found = run_core(seed, mistake).wrong;
    EXPECT_NE(found, "");
    fmt::print("{}\n", found);
  }
}

INSTANTIATE_TEST_SUITE_P(All, PlantedMistake,
                         ::testing::Values(std::pair{"AcknowledgesBeforeTheSync", Mistake::kNoSync},
                                           std::pair{"TriesAFailedSyncAgain", Mistake::kSyncTriedAgain},
                                           std::pair{"ForgetsToSyncNames", Mistake::kNoDirectorySync},
                                           std::pair{"TakesThePageCacheForTheDisk", Mistake::kNoRewrite},
                                           std::pair{"LeavesHalfOfARefusedGroup", Mistake::kNoUndo},
                                           std::pair{"TakesAnyChecksum", Mistake::kNoChecksum}),
                         [](const auto& planted) { return std::string(planted.param.first); });

// For ./dev torture: as long as one wants, or one seed.
TEST(StoreTorture, DISABLED_ForAsLongAsItIsTold) {
  const std::uint64_t only = number_of("BERTH_TORTURE_SEED", 0);
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(number_of("BERTH_TORTURE_MINUTES", 1));
  std::uint64_t seed =
      only != 0 ? only : static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  std::uint64_t runs = 0;
  Happened happened;
  do {
    // Most of them of the store alone, which are the quicker ones.
    const bool whole_server = number_of("BERTH_TORTURE_CORE", 0) != 0 || (only == 0 && runs % 6 == 5);
    const RunResult result = whole_server ? run_core(seed) : run_store(seed);
    ASSERT_EQ(result.wrong, "") << "play it again: ./dev torture " << (whole_server ? "--core " : "") << "--seed "
                                << seed;
    happened.add(result.happened);
    ++seed;
    ++runs;
  } while (only == 0 && std::chrono::steady_clock::now() < end);
  fmt::print("{} runs: {}\n", runs, happened.text());
}

}  // namespace
}  // namespace berth::store::testing
