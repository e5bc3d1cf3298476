// An agent against a fake server: on a thread, or in a process of its own that may be killed.
#pragma once

#include <filesystem>

#include "agent/io/agent.h"
#include "fake_server.h"

namespace berth::agent::testing_support {

inline AgentOptions options_for(const std::string& socket, const std::string& data) {
  AgentOptions options;
  options.server = socket;
  options.data_directory = data;
  options.node_name = "testnode";
  return options;
}

// An agent on a thread of this process.
class AgentThread {
 public:
  explicit AgentThread(AgentOptions options)
      : agent_(std::move(options)), thread_([this] {
          const auto ended = agent_.run();
          EXPECT_TRUE(ended) << ended.error().message;
        }) {}
  ~AgentThread() {
    agent_.request_stop();
    thread_.join();
  }
  AgentThread(const AgentThread&) = delete;
  AgentThread& operator=(const AgentThread&) = delete;

 private:
  Agent agent_;
  std::thread thread_;
};

// An agent in a process of its own, to be killed.
class AgentProcess {
 public:
  AgentProcess(const std::string& socket, const std::string& data) {
    std::string server = "BERTH_TEST_AGENT_SERVER=" + socket;
    std::string directory = "BERTH_TEST_AGENT_DATA=" + data;
    std::string path = "PATH=" + std::string(std::getenv("PATH"));
    char* env[] = {server.data(), directory.data(), path.data(), nullptr};
    char* argv[] = {
        const_cast<char*>("agent"), const_cast<char*>("--gtest_filter=AgentProcess.DISABLED_IsRunByOtherTests"),
        const_cast<char*>("--gtest_also_run_disabled_tests"), const_cast<char*>("--gtest_brief=1"), nullptr};
    EXPECT_EQ(posix_spawn(&pid_, "/proc/self/exe", nullptr, nullptr, argv, env), 0);
  }
  ~AgentProcess() { kill_it(); }
  AgentProcess(const AgentProcess&) = delete;
  AgentProcess& operator=(const AgentProcess&) = delete;
  pid_t pid() const { return pid_; }
  void kill_it() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

class AgentTest : public testing::Test {
 protected:
  // Whatever a test leaves running ends with it.
  ~AgentTest() override {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(data() + "/pods", error)) {
      const auto facts = read_pod_facts(entry.path());
      const pid_t shim = facts ? facts->shim_pid : 0;
      if (shim > 0 && contents("/proc/" + std::to_string(shim) + "/comm") == "berth-shim\n")
        kill(shim, shim::kKillSignal);
    }
    const std::string instance = contents(data() + "/instance").substr(0, 8);
    if (instance.empty()) return;
    const Cgroups cgroups = Cgroups::detect({.instance = instance});
    eventually([&] { return cgroups.names().empty(); }, 5000);
    cgroups.remove_parents();
  }
  std::string data() const { return directory_ / "data"; }
  std::string pod_file(const state::PodRef& ref) const { return data() + "/pods/" + Layout::pod_name(ref); }
  AgentOptions options() const { return options_for(server_.socket(), data()); }
  std::string output(std::uint64_t job, std::uint32_t index = 0) const {
    return contents(data() + "/jobs/" + std::to_string(job) + "/" + std::to_string(index) + ".out");
  }

  TemporaryDirectory directory_;
  FakeServer server_{directory_ / "server.sock"};
};

}  // namespace berth::agent::testing_support
