// The simulator: job logs are read or refused with a line, the dispatcher's schedules are those of a plain simulation
// written for this test alone, promises are kept, and published schedules are met.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <zlib.h>

#include "tools/sim/report.h"
#include "tools/sim/simulator.h"

namespace berth::tools {
namespace {

using scheduler::find_queue_policy;

// ---- logs -----------------------------------------------------------------------------------------------------------

TEST(JobLog, ReadsWhatTheFormatSays) {
  const auto log = parse_job_log(
      "; MaxNodes: 12\n; MaxProcs: 100\n;a comment\n\n"
      "2 50 3 20 4 -1 -1 8 60 -1 1 7 -1 -1 -1 -1 -1 -1\n"
      "1 10 0 30 16 -1 -1 -1 -1 -1 1 3 -1 -1 -1 -1 -1 -1\r\n"
      "3 50 0 100.5 1 -1 -1 1 60 -1 1 7 -1 -1 -1 -1 -1 -1\n"
      "4 60 -1 -1 1 -1 -1 1 60 -1 5 7 -1 -1 -1 -1 -1 -1",
      "log");
  ASSERT_TRUE(log.ok()) << log.error().message;
  EXPECT_EQ(log->processors, 100U);
  EXPECT_EQ(log->left_out, 1U);
  EXPECT_EQ(log->raised, 1U);
  ASSERT_EQ(log->jobs.size(), 3U);
  EXPECT_EQ(log->jobs[0].id, 1);
  EXPECT_EQ(log->jobs[0].procs, 16U);    // allocated, where nothing was asked for
  EXPECT_EQ(log->jobs[0].limit_s, 30U);  // what it ran, where no limit is known
  EXPECT_EQ(log->jobs[1].procs, 8U);
  EXPECT_EQ(log->jobs[1].limit_s, 60U);
  EXPECT_EQ(log->jobs[1].wait_s, 3);
  EXPECT_EQ(log->jobs[1].user, 7U);
  EXPECT_EQ(log->jobs[1].group, 0U);  // not known
  EXPECT_EQ(log->jobs[2].limit_s, 100U);
}

TEST(JobLog, RefusesWithTheLine) {
  const auto message = [](std::string_view text) {
    const auto log = parse_job_log(text, "x.swf");
    return log.ok() ? std::string("read") : log.error().message;
  };
  EXPECT_EQ(message("1 2 3\n"), "x.swf:1: has 3 of 18 numbers");
  EXPECT_EQ(message("\n1 2 three 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n"), "x.swf:2: field 3 is not a number");
  EXPECT_EQ(message("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19\n"), "x.swf:1: has more than 18 fields");
  EXPECT_EQ(message("1 2 3 4 5 6 7 9999999 9 10 11 12 13 14 15 16 17 18\n"),
            "x.swf:1: field 8, the processors, is over 1,000,000");
  EXPECT_EQ(message("1 -2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n"),
            "x.swf:1: field 2, the time of submission, is not from 0 to 2^31");
  EXPECT_EQ(message("1 2 3 nan 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n"), "x.swf:1: field 4 is not a number");
}

TEST(JobLog, ReadsGzipAndTellsWhenItIsCutOff) {
  const std::string path = testing::TempDir() + "/berth-sim-" + std::to_string(::getpid()) + ".swf.gz";
  std::string text = "; MaxProcs: 4\n";
  for (int i = 1; i <= 5000; ++i) {
    text += std::to_string(i) + " " + std::to_string(i * 7) + " 0 5 1 -1 -1 1 10 -1 1 " + std::to_string(i * 31 % 97) +
            " -1 -1 -1 -1 -1 -1\n";
  }
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
  gzclose(file);
  const auto log = read_job_log(path);
  ASSERT_TRUE(log.ok()) << log.error().message;
  EXPECT_EQ(log->jobs.size(), 5000U);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_FALSE(read_job_log(path).ok());
  std::filesystem::remove(path);
  EXPECT_FALSE(read_job_log(path).ok());
}

// ---- the plain simulation -------------------------------------------------------------------------------------------

struct Plain {
  const JobLog& log;
  const scheduler::QueuePolicy& policy;
  std::int64_t procs;
  scheduler::Predictor predictor;
  std::vector<std::int64_t> starts;
  std::vector<std::size_t> running, waiting;
  std::vector<std::int64_t> ranks;
  std::int64_t free, now = 0;

  Plain(const JobLog& of, const scheduler::QueuePolicy& by, std::int64_t size)
      : log(of), policy(by), procs(size), starts(of.jobs.size(), -1), ranks(of.jobs.size()), free(size) {}

  scheduler::JobShape shape(std::size_t i) const {
    const LogJob& job = log.jobs[i];
    return {job.user, job.procs * 1000ULL, std::max<std::int64_t>(1, job.limit_s * 1'000'000LL),
            job.submit_s * 1'000'000};
  }
  void start(std::size_t i) {
    starts[i] = now;
    free -= log.jobs[i].procs;
    running.push_back(i);
    std::erase(waiting, i);
  }
  void end(std::size_t i) {
    free += log.jobs[i].procs;
    std::erase(running, i);
    predictor.ended(shape(i), log.jobs[i].run_s * 1'000'000LL);
  }
  // EASY, as its paper has it: in order until one does not fit; the rest where the first is not delayed.
  void schedule() {
    std::sort(waiting.begin(), waiting.end(),
              [&](std::size_t a, std::size_t b) { return ranks[a] != ranks[b] ? ranks[a] < ranks[b] : a < b; });
    while (!waiting.empty() && log.jobs[waiting[0]].procs <= free) start(waiting[0]);
    if (waiting.size() < 2 || !policy.backfill) return;
    std::vector<std::pair<std::int64_t, std::int64_t>> ends;
    for (const std::size_t i : running) ends.emplace_back(starts[i] + log.jobs[i].limit_s, log.jobs[i].procs);
    std::sort(ends.begin(), ends.end());
    const std::int64_t wanted = log.jobs[waiting[0]].procs;
    std::int64_t then = free, shadow = now;
    std::size_t k = 0;
    for (; then < wanted; ++k) {
      then += ends[k].second;
      shadow = ends[k].first;
    }
    for (; k < ends.size() && ends[k].first <= shadow; ++k) then += ends[k].second;
    std::int64_t extra = then - wanted;
    std::vector<std::size_t> rest(waiting.begin() + 1, waiting.end());
    if (policy.shortest_overtakes_first) {
      std::stable_sort(rest.begin(), rest.end(),
                       [&](std::size_t a, std::size_t b) { return log.jobs[a].limit_s < log.jobs[b].limit_s; });
    }
    for (const std::size_t i : rest) {
      const LogJob& job = log.jobs[i];
      if (job.procs > free) continue;
      if (now + job.limit_s > shadow) {
        if (job.procs > extra) continue;
        extra -= job.procs;
      }
      start(i);
    }
  }
  std::vector<std::int64_t> run() {
    for (std::size_t next = 0; next < log.jobs.size() || !running.empty();) {
      now = next < log.jobs.size() ? log.jobs[next].submit_s : std::numeric_limits<std::int64_t>::max();
      for (const std::size_t i : running) now = std::min<std::int64_t>(now, starts[i] + log.jobs[i].run_s);
      std::vector<std::size_t> early;
      bool ended = false;
      for (const std::size_t i : std::vector<std::size_t>(running)) {
        if (starts[i] + log.jobs[i].run_s != now) continue;
        if (log.jobs[i].run_s < log.jobs[i].limit_s) {
          early.push_back(i);
        } else {
          end(i);
          ended = true;
        }
      }
      const bool more = !early.empty() || (next < log.jobs.size() && log.jobs[next].submit_s == now);
      if (ended && !more) schedule();
      for (; next < log.jobs.size() && log.jobs[next].submit_s == now; ++next) {
        ranks[next] = scheduler::rank(policy, shape(next), predictor);
        waiting.push_back(next);
        schedule();
      }
      for (const std::size_t i : early) {
        end(i);
        schedule();
      }
    }
    return starts;
  }
};

JobLog random_log(unsigned seed, std::uint32_t procs, std::size_t jobs) {
  std::mt19937 random(seed);
  const auto below = [&](std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random); };
  JobLog log;
  std::int64_t at = 0;
  for (std::size_t i = 0; i < jobs; ++i) {
    at += below(40);
    LogJob job;
    job.id = static_cast<std::int64_t>(i + 1);
    job.submit_s = at;
    job.limit_s = 1 + below(4) * 30 + below(60);
    job.run_s = below(3) == 0 ? job.limit_s : below(job.limit_s) + 1;
    job.procs = 1 + (below(4) == 0 ? below(procs) : below(procs / 4 + 1));
    job.user = below(4);
    log.jobs.push_back(job);
  }
  return log;
}

class AgainstPlain : public testing::TestWithParam<const char*> {};

TEST_P(AgainstPlain, StartsEveryJobInTheSameSecond) {
  const auto* policy = find_queue_policy(GetParam());
  ASSERT_NE(policy, nullptr);
  for (unsigned seed = 1; seed <= 150; ++seed) {
    const std::uint32_t procs = 2 + seed % 31;
    const JobLog log = random_log(seed, procs, 150);
    const auto result = simulate(log, {policy, {1, procs}, false, seed % 10 == 0});
    ASSERT_TRUE(result.ok()) << result.error().message;
    ASSERT_EQ(result->starts_s, Plain(log, *policy, procs).run()) << "seed " << seed;
  }
}
INSTANTIATE_TEST_SUITE_P(Policies, AgainstPlain, testing::Values("easy", "easy-sjbf", "fcfs", "default"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// And keeps its promises: `check` has the simulator look.
TEST(Simulator, NeverUsesMoreThanThereIsOnNodes) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    const SimCluster cluster{1 + seed % 7, 1 + seed % 5};
    const auto total = static_cast<std::uint32_t>(cluster.total());
    const JobLog log = random_log(seed, total, 120);
    for (const auto& policy : scheduler::queue_policies()) {
      const auto result = simulate(log, {&policy, cluster, false, true});
      ASSERT_TRUE(result.ok()) << policy.name << ", seed " << seed << ": " << result.error().message;
      std::map<std::int64_t, std::int64_t> changes;
      for (std::size_t i = 0; i < log.jobs.size(); ++i) {
        ASSERT_GE(result->starts_s[i], log.jobs[i].submit_s);
        changes[result->starts_s[i]] += log.jobs[i].procs;
        changes[result->starts_s[i] + log.jobs[i].run_s] -= log.jobs[i].procs;
      }
      std::int64_t used = 0;
      for (const auto& [at, change] : changes) ASSERT_LE(used += change, std::int64_t{total});
    }
  }
}

// Two groups with shares 3:1 and endless work, whatever one of them used before: what they use comes to 3:1.
TEST(Simulator, SharesOfGroupsConverge) {
  constexpr std::int64_t kDay = 86'400, kFrom = 10 * kDay, kUntil = 20 * kDay;
  for (const char* policy : {"easy", "default"}) {
    for (const std::int64_t alone : {std::int64_t{0}, kDay / 4, 3 * kDay}) {
      std::mt19937 random(11);
      const auto below = [&](std::uint32_t n) {
        return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random);
      };
      JobLog log;
      double work[2] = {0, 0};
      // Each group brings more than the whole machine can do, the second from the start, the first later.
      for (std::int64_t at = 0; at < kUntil; at += 60) {
        for (const std::uint32_t group : {1U, 2U}) {
          const std::int64_t begin = group == 1 ? alone : 0;
          while (at >= begin && work[group - 1] < 70.0 * static_cast<double>(at - begin + 7'200)) {
            LogJob job;
            job.id = static_cast<std::int64_t>(log.jobs.size() + 1);
            job.submit_s = at;
            job.procs = 1 + below(8);
            job.run_s = 300 + below(3'300);
            job.limit_s = 3'600;
            job.group = group;
            job.user = group * 10 + below(3);
            work[group - 1] += static_cast<double>(job.procs) * job.run_s;
            log.jobs.push_back(job);
          }
        }
      }
      SimOptions options;
      options.policy = find_queue_policy(policy);
      options.cluster = {1, 64};
      options.shares.head_start = 100 * kDay * 1'000'000;  // no wait in these days outweighs a share
      options.shares.half_life = kDay * 1'000'000;
      options.group_shares = {{1, 3}};
      const auto result = simulate(log, options);
      ASSERT_TRUE(result.ok()) << result.error().message;
      double used[2] = {0, 0};
      std::map<std::uint32_t, double> by_user;
      for (std::size_t i = 0; i < log.jobs.size(); ++i) {
        const LogJob& job = log.jobs[i];
        const std::int64_t from = std::max(kFrom, result->starts_s[i]);
        const std::int64_t until = std::min(kUntil, result->starts_s[i] + job.run_s);
        if (from >= until) continue;
        used[job.group - 1] += static_cast<double>(job.procs) * static_cast<double>(until - from);
        by_user[job.user] += static_cast<double>(job.procs) * static_cast<double>(until - from);
      }
      const double all = used[0] + used[1];
      EXPECT_GT(all, 0.95 * 64 * static_cast<double>(kUntil - kFrom));
      EXPECT_NEAR(used[0] / all, 0.75, 0.015) << policy << " after " << alone << " s alone";  // 2 % of it
      for (const auto& [user, of] : by_user) {                                                // in a group equally
        EXPECT_NEAR(of / used[user / 10 - 1], 1.0 / 3, 0.02) << policy << " user " << user;
      }
    }
  }
}

TEST(Simulator, RefusesAJobThatIsTooBig) {
  JobLog log = random_log(1, 8, 5);
  log.jobs[3].procs = 9;
  const auto result = simulate(log, {find_queue_policy("easy"), {1, 8}, false, false});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message, "job 4 wants 9 processors and the cluster has 8");
}

// ---- published schedules --------------------------------------------------------------------------------------------

std::string data_folder() {
  const char* named = std::getenv("BERTH_DATA");
  return named != nullptr ? named : std::string(BERTH_SOURCE_DIR) + "/../shared/data";
}

struct Published {
  const char* file;
  bool exact;
  const char* policy;
  double mean_wait_s, mean_slowdown;
};

class PublishedSchedule : public testing::TestWithParam<Published> {};

TEST_P(PublishedSchedule, IsMetWithinOnePercent) {
  const std::string path = data_folder() + "/swf/" + GetParam().file;
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << "there is no " << path << " (set BERTH_DATA to a folder with swf/)";
  const auto log = read_job_log(path);
  ASSERT_TRUE(log.ok()) << log.error().message;
  const SimCluster cluster{1, static_cast<std::uint32_t>(log->processors)};
  const auto result = simulate(*log, {find_queue_policy(GetParam().policy), cluster, GetParam().exact, false});
  ASSERT_TRUE(result.ok()) << result.error().message;
  const SimFigures figures = figures_of(*log, cluster, *result);
  EXPECT_NEAR(figures.wait_s.mean, GetParam().mean_wait_s, GetParam().mean_wait_s / 100);
  EXPECT_NEAR(figures.slowdown.mean, GetParam().mean_slowdown, GetParam().mean_slowdown / 100);
  EXPECT_GT(figures.as_in_log, figures.in_log * 9 / 10);
}
// Schedules of an independent simulator; Gaussier et al., SC'15.
INSTANTIATE_TEST_SUITE_P(
    Logs, PublishedSchedule,
    testing::Values(Published{"KTH-SP2.easy_backfill.user_estimates.swf.gz", false, "easy", 6836.9, 92.58},
                    Published{"KTH-SP2.easy_backfill.clairvoyant.swf.gz", true, "easy", 6327.7, 71.72},
                    Published{"KTH-SP2.easy_sjbf.clairvoyant.swf.gz", true, "easy-sjbf", 5436.0, 49.85},
                    Published{"CTC-SP2.easy_backfill.user_estimates.swf.gz", false, "easy", 14272.6, 49.57},
                    Published{"CTC-SP2.easy_backfill.clairvoyant.swf.gz", true, "easy", 13581.7, 37.17},
                    Published{"SDSC-BLUE.easy_backfill.user_estimates.swf.gz", false, "easy", 7690.8, 36.52}));

}  // namespace
}  // namespace berth::tools
