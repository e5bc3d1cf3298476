// Load generator, hollow agents and a real server: what users measure a cluster with. The counts that the server gives
// and those that the nodes keep are made apart, and must be the same.
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <mutex>
#include <thread>

#include "api/client/client.h"
#include "api/server/server.h"
#include "tools/load/fleet.h"
#include "tools/load/load_run.h"

namespace berth::tools {
namespace {

using namespace state;

class ServerThread {
 public:
  explicit ServerThread(const std::string& directory) {
    server::ServerOptions options;
    options.data_directory = directory + "/data";
    options.unix_socket = directory + "/s";
    options.version = "test";
    options.store.directory = directory + "/data";
    options.on_ready = [this](const std::vector<std::string>&) {
      const std::lock_guard lock(mutex_);
      ready_ = true;
      changed_.notify_all();
    };
    server_ = std::make_unique<server::Server>(std::move(options));
    thread_ = std::thread([this] {
      const Status ended = server_->run();
      const std::lock_guard lock(mutex_);
      if (!ended) failure_ = ended.error().message;
      ready_ = true;
      changed_.notify_all();
    });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ready_; });
    EXPECT_EQ(failure_, "");
  }
  ~ServerThread() {
    server_->request_stop();
    thread_.join();
    EXPECT_EQ(failure_, "");
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ready_ = false;
  std::string failure_;
  std::unique_ptr<server::Server> server_;
  std::thread thread_;
};

class FleetThread {
 public:
  FleetThread(const std::string& directory, std::uint32_t count, std::int64_t pod_time_us = 0) {
    FleetOptions options;
    options.server.path = directory + "/s";
    options.count = count;
    options.capacity = {16'000, 65'536, 0};
    options.pod_time_us = pod_time_us;
    Fleet::Events events;
    events.on_all_connected = [this] {
      const std::lock_guard lock(mutex_);
      ++times_complete_;
      changed_.notify_all();
    };
    events.on_trouble = [](const Error&) {};
    events.on_refused = [this](const Error& error) {
      const std::lock_guard lock(mutex_);
      refused_ = error.message;
      changed_.notify_all();
    };
    fleet_ = std::make_unique<Fleet>(loop_, std::move(options), std::move(events));
    for (std::uint32_t i = 0; i < count; ++i) fleet_->admit(i, nullptr);
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~FleetThread() { stop(); }
  void wait_complete(int times) {
    std::unique_lock lock(mutex_);
    const bool in_time = changed_.wait_for(lock, std::chrono::seconds(30),
                                           [&] { return times_complete_ >= times || !refused_.empty(); });
    EXPECT_TRUE(in_time);
    EXPECT_EQ(refused_, "");
  }
  FleetTotals stop() {
    if (thread_.joinable()) {
      loop_.stop();
      thread_.join();
    }
    return fleet_->totals();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int times_complete_ = 0;
  std::string refused_;
  wire::Loop loop_;
  std::unique_ptr<Fleet> fleet_;
  std::thread thread_;
};

class LoadCluster : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / "berth-cluster-XXXXXX";
    ASSERT_NE(mkdtemp(directory_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  LoadResult run(LoadOptions::Mode mode, std::uint64_t pods) {
    auto client = client::Client::connect({directory_ + "/s", "", 5'000});
    EXPECT_TRUE(client) << client.error().message;
    if (!client) return {};
    LoadOptions options;
    options.mode = mode;
    options.pods = pods;
    options.array_size = 250;
    options.batch = mode == LoadOptions::Mode::kArrays ? 2 : 50;
    options.window = 4;
    options.resources = {1'000, 512, 0};
    LoadRun load(**client, options);
    auto result = load.run();
    EXPECT_TRUE(result) << result.error().message;
    return result ? *result : LoadResult{};
  }

  std::string directory_;
};

TEST_F(LoadCluster, EveryAcknowledgedPodIsStartedAndEndedOnce) {
  ServerThread server(directory_);
  FleetThread fleet(directory_, 20);
  fleet.wait_complete(1);
  const LoadResult arrays = run(LoadOptions::Mode::kArrays, 5'000);
  const LoadResult singles = run(LoadOptions::Mode::kSingles, 1'000);
  EXPECT_TRUE(arrays.exact()) << arrays.first_wrong;
  EXPECT_TRUE(singles.exact()) << singles.first_wrong;
  EXPECT_EQ(arrays.pods_succeeded, 5'000U);
  EXPECT_EQ(singles.pods_succeeded, 1'000U);
  const FleetTotals totals = fleet.stop();
  EXPECT_EQ(totals.pods.started, 6'000U);
  EXPECT_EQ(totals.pods.ended, 6'000U);
  EXPECT_EQ(totals.pods.repeated, 0U);
}

TEST_F(LoadCluster, PodsThatTakeTimeFillTheNodesAndTheRestWaits) {
  ServerThread server(directory_);
  FleetThread fleet(directory_, 2, 5'000);  // 32 pods at once
  fleet.wait_complete(1);
  const LoadResult arrays = run(LoadOptions::Mode::kArrays, 500);
  EXPECT_TRUE(arrays.exact()) << arrays.first_wrong;
  EXPECT_EQ(arrays.pods_succeeded, 500U);
  EXPECT_EQ(fleet.stop().pods.ended, 500U);
}

TEST_F(LoadCluster, AgentsComeBackToARestartedServer) {
  auto server = std::make_unique<ServerThread>(directory_);
  FleetThread fleet(directory_, 20);
  fleet.wait_complete(1);
  run(LoadOptions::Mode::kArrays, 1'000);
  server.reset();
  server = std::make_unique<ServerThread>(directory_);
  fleet.wait_complete(2);
  const LoadResult after = run(LoadOptions::Mode::kSingles, 500);
  EXPECT_TRUE(after.exact()) << after.first_wrong;
  const FleetTotals totals = fleet.stop();
  EXPECT_EQ(totals.connections, 40U);
  EXPECT_EQ(totals.pods.started, 1'500U) << "nothing of before is started again";
}

}  // namespace
}  // namespace berth::tools
