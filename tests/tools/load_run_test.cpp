// The load generator against a server that the test plays: that it follows to the end, and that its check can fail.
#include "tools/load/load_run.h"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <thread>

#include "api/wire/connection.h"
#include "api/wire/loop.h"

namespace berth::tools {
namespace {

using namespace state;

enum class Fault { kNone, kPodMissing, kPodDoubled, kJobUnknown, kPodFailed, kFullAtFirst, kTooFewAcknowledged };

// Runs every job in no time, and lies as it is told.
class LyingServer {
 public:
  explicit LyingServer(Fault fault, std::uint64_t nodes = 1) : fault_(fault), nodes_(nodes) {
    directory_ = std::filesystem::temp_directory_path() / "berth-load-XXXXXX";
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
    auto listening = wire::listen_unix(loop_, path(), [this](std::shared_ptr<wire::Connection> connection) {
      connection_ = std::move(connection);
      connection_->start({[this](std::span<const std::byte> bytes) { on_frame(bytes); }, [](const Error&) {}, nullptr});
    });
    EXPECT_TRUE(listening);
    listener_ = std::move(*listening);
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~LyingServer() {
    loop_.stop();
    thread_.join();
    connection_.reset();
    listener_.reset();
    std::filesystem::remove_all(directory_);
  }
  std::string path() const { return directory_ + "/s"; }
  std::uint64_t submissions() const { return submissions_; }
  std::uint64_t distinct_keys() const { return keys_.size(); }

 private:
  void on_frame(std::span<const std::byte> bytes) {
    auto message = wire::decode_message(bytes);
    ASSERT_TRUE(message) << message.error().message;
    if (std::holds_alternative<wire::Hello>(message->body)) return send(0, wire::Welcome{});
    auto* request = std::get_if<ClientRequest>(&message->body);
    ASSERT_NE(request, nullptr);
    std::visit([&](auto& body) { answer(message->request, body); }, *request);
  }
  void send(std::uint64_t request, wire::Body body) {
    connection_->send(wire::encode_frame({request, std::move(body)}));
  }
  void reply(std::uint64_t request, ServerReply body) { send(request, std::move(body)); }

  void answer(std::uint64_t request, ServerInfoRequest&) {
    ServerInfo info;
    info.nodes_connected = nodes_;
    reply(request, info);
  }
  void answer(std::uint64_t request, SubmitRequest& submit) {
    ++submissions_;
    keys_.insert(submit.submit_key);
    if (fault_ == Fault::kFullAtFirst && submissions_ == 1) {
      return reply(request, Error{ErrorCode::kUnavailable, "jobs", "full", 5});
    }
    SubmitReply done;
    for (JobSpec& spec : submit.jobs) {
      done.jobs.push_back(JobId{++last_job_});
      sizes_[JobId{last_job_}] = spec.elements.size();
    }
    if (fault_ == Fault::kTooFewAcknowledged) done.jobs.pop_back();
    reply(request, std::move(done));
  }
  JobCounts counts_of(JobId id) {
    JobCounts counts;
    auto& succeeded = counts.by_state[static_cast<std::size_t>(PodState::kSucceeded)];
    succeeded = sizes_.at(id);
    if (id.value != 2) return counts;  // one job in the middle is wrong
    if (fault_ == Fault::kPodMissing) --succeeded;
    if (fault_ == Fault::kPodDoubled) ++succeeded;
    if (fault_ == Fault::kPodFailed) {
      --succeeded;
      ++counts.by_state[static_cast<std::size_t>(PodState::kFailed)];
    }
    return counts;
  }
  void answer(std::uint64_t request, WatchJobsRequest& watch) {
    for (const JobId id : watch.jobs) {
      JobCounts begun;
      begun.by_state[static_cast<std::size_t>(PodState::kRunning)] = sizes_.at(id);
      reply(request, JobProgress{id, begun, PodState::kRunning, false});
      const JobCounts counts = counts_of(id);
      reply(request, JobProgress{id, counts, summary_of(counts), true});
    }
  }
  void answer(std::uint64_t request, ListJobsRequest& list) {
    JobPage page;
    for (const JobId id : list.filter.jobs) {
      if (fault_ == Fault::kJobUnknown && id.value == 2) continue;
      JobRow row;
      row.id = id;
      row.counts = counts_of(id);
      row.submitted_at = 1'000;
      row.started_at = 3'500;
      page.rows.push_back(row);
    }
    reply(request, std::move(page));
  }
  template <class Other>
  void answer(std::uint64_t, Other&) {
    ADD_FAILURE() << "an unexpected request";
  }

  const Fault fault_;
  const std::uint64_t nodes_;
  std::string directory_;
  wire::Loop loop_;
  std::unique_ptr<wire::Listener> listener_;
  std::shared_ptr<wire::Connection> connection_;
  std::uint64_t last_job_ = 0;
  std::map<JobId, std::uint32_t> sizes_;
  std::atomic<std::uint64_t> submissions_{0};
  std::set<std::uint64_t> keys_;
  std::thread thread_;
};

Result<LoadResult> run_against(LyingServer& server, LoadOptions::Mode mode, std::uint64_t pods) {
  auto client = client::Client::connect({server.path(), "", 5'000});
  if (!client) return client.error();
  LoadOptions options;
  options.mode = mode;
  options.pods = pods;
  options.array_size = 10;
  options.batch = 3;
  options.window = 2;
  options.resources = {1'000, 64, 0};
  LoadRun run(**client, options);
  return run.run();
}

constexpr auto kArrays = LoadOptions::Mode::kArrays;
constexpr auto kSingles = LoadOptions::Mode::kSingles;

TEST(LoadRun, FollowsArraysToTheirEnd) {
  LyingServer server(Fault::kNone);
  const auto result = run_against(server, kArrays, 95);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->jobs_acknowledged, 10U) << "rounded up to whole arrays";
  EXPECT_EQ(result->pods_acknowledged, 100U);
  EXPECT_EQ(result->pods_ended, 100U);
  EXPECT_EQ(result->pods_succeeded, 100U);
  EXPECT_EQ(result->frames, 4U);
  EXPECT_EQ(result->ack_us.size(), 4U);
  EXPECT_TRUE(result->exact());
}

TEST(LoadRun, FollowsSingleJobsToTheirEnd) {
  LyingServer server(Fault::kNone);
  const auto result = run_against(server, kSingles, 100);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->jobs_acknowledged, 100U);
  EXPECT_EQ(result->pods_ended, 100U);
  EXPECT_TRUE(result->exact());
}

TEST(LoadRun, TheSameOutcomeHasTheSameHash) {
  LyingServer one(Fault::kNone), other(Fault::kNone), wrong(Fault::kPodMissing);
  const auto first = run_against(one, kArrays, 100), second = run_against(other, kArrays, 100);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->outcome_hash, second->outcome_hash);
  const auto third = run_against(wrong, kArrays, 100);
  ASSERT_TRUE(third);
  EXPECT_NE(first->outcome_hash, third->outcome_hash);
}

TEST(LoadRun, AFullServerIsAskedAgainWithTheSameKeys) {
  LyingServer server(Fault::kFullAtFirst);
  const auto result = run_against(server, kArrays, 100);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->retries, 1U);
  EXPECT_EQ(result->pods_ended, 100U);
  EXPECT_EQ(server.submissions(), 5U);
  EXPECT_EQ(server.distinct_keys(), 4U);
}

TEST(LoadRun, WithoutANodeItSaysSoInsteadOfWaiting) {
  LyingServer server(Fault::kNone, 0);
  const auto result = run_against(server, kArrays, 100);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message.substr(0, 20), "no node is connected");
}

TEST(LoadRun, AnAcknowledgementOfTooFewJobsIsAnError) {
  LyingServer server(Fault::kTooFewAcknowledged);
  const auto result = run_against(server, kArrays, 100);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "3 jobs were submitted and 2 acknowledged");
}

struct WrongCount {
  const char* name;
  Fault fault;
  LoadOptions::Mode mode;
  const char* first_wrong;
};
class LoadRunCheck : public testing::TestWithParam<WrongCount> {};

TEST_P(LoadRunCheck, SeesAWrongCount) {
  LyingServer server(GetParam().fault);
  const auto result = run_against(server, GetParam().mode, 100);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(result->exact());
  EXPECT_EQ(result->jobs_wrong, 1U);
  EXPECT_EQ(result->first_wrong, GetParam().first_wrong);
}

INSTANTIATE_TEST_SUITE_P(
    Faults, LoadRunCheck,
    testing::Values(
        WrongCount{"ArrayPodMissing", Fault::kPodMissing, kArrays, "job 2 has 10 pods: 9 ended, 0 did not"},
        WrongCount{"ArrayPodDoubled", Fault::kPodDoubled, kArrays, "job 2 has 10 pods: 11 ended, 0 did not"},
        WrongCount{"SinglePodMissing", Fault::kPodMissing, kSingles, "job 2 has 1 pods: 0 ended, 0 did not"},
        WrongCount{"SinglePodDoubled", Fault::kPodDoubled, kSingles, "job 2 has 1 pods: 2 ended, 0 did not"},
        WrongCount{"SingleJobUnknown", Fault::kJobUnknown, kSingles, "job 2 was acknowledged and is unknown"}),
    [](const auto& param) { return param.param.name; });

TEST(LoadRun, APodThatFailedHasEndedButNotSucceeded) {
  LyingServer server(Fault::kPodFailed);
  const auto result = run_against(server, kArrays, 100);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->exact());
  EXPECT_EQ(result->pods_succeeded, 99U);
}

TEST(LatencyMode, MeasuresEachJobFromItsSubmission) {
  LyingServer server(Fault::kNone);
  auto client = client::Client::connect({server.path(), "", 5'000});
  ASSERT_TRUE(client);
  LoadOptions options;
  options.mode = LoadOptions::Mode::kLatency;
  options.pods = 5;
  options.resources = {1'000, 64, 0};
  const auto result = measure_latency(**client, options);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->jobs, 5U);
  EXPECT_EQ(result->not_succeeded, 0U);
  EXPECT_EQ(result->row_us, (std::vector<std::int64_t>(5, 2'500)));
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_GT(result->ack_us[i], 0);
    EXPECT_LE(result->ack_us[i], result->running_us[i]);
    EXPECT_LE(result->running_us[i], result->ended_us[i]);
  }
}

}  // namespace
}  // namespace berth::tools
