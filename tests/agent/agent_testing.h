// What the tests of the agent share: temporary directories, and a shim to run by hand.
#pragma once

#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <optional>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "agent/io/cgroup.h"
#include "agent/io/files.h"
#include "agent/io/pod_file.h"
#include "agent/io/pod_input.h"
#include "agent/io/shim_launcher.h"

namespace berth::agent::testing_support {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char name[] = "/tmp/berth-agent-test-XXXXXX";
    path_ = mkdtemp(name);
    chmod(path_.c_str(), 0755);
  }
  ~TemporaryDirectory() { remove_tree(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

// Looks again and again until it holds, or fails after a time that only a hang reaches.
inline bool eventually(const std::function<bool()>& holds, int timeout_ms = 20'000) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

inline std::string contents(const std::string& path) {
  auto text = read_file(path, 1U << 20);
  return text ? *text : "";
}

inline bool is_root() { return geteuid() == 0; }

// One shim in a directory of its own, started as the agent would, but without a loop.
class ShimRun {
 public:
  ShimRun() {
    program_ = directory_ / "shim";
    EXPECT_TRUE(write_file(program_, shim_program(), 0755));
    EXPECT_EQ(pipe2(notify_, O_CLOEXEC), 0);
  }
  ~ShimRun() {
    if (pid_ > 0) {
      kill(pid_, shim::kKillSignal);
      waitpid(pid_, nullptr, 0);
    }
    close(notify_[0]);
    close(notify_[1]);
  }
  ShimRun(const ShimRun&) = delete;
  ShimRun& operator=(const ShimRun&) = delete;

  std::string pod() const { return directory_ / "pod"; }
  std::string output() const { return directory_ / "out"; }
  const TemporaryDirectory& directory() const { return directory_; }
  InputBuilder& input() { return input_; }
  void command(const std::vector<std::string>& words) {
    for (const std::string& word : words) input_.add(shim::kArg, word);
    input_.add(shim::kEnv, "PATH=/usr/bin:/bin");
  }
  void shell(const std::string& script) { command({"sh", "-c", script}); }

  void start(bool with_output = true) {
    if (with_output) input_.add(shim::kOutputOwn, output());
    input_.add(shim::kLaunchId, 77);
    const auto file = create_pod_file(pod(), input_.bytes(), "");
    ASSERT_TRUE(file) << file.error().message;
    const Fd lock(fcntl(file->get(), F_DUPFD_CLOEXEC, 105));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, notify_[1], 104);
    posix_spawn_file_actions_adddup2(&actions, lock.get(), shim::kPodFd);
    posix_spawn_file_actions_adddup2(&actions, 104, shim::kNotifyFd);
    char* argv[] = {program_.data(), nullptr};
    char* env[] = {nullptr};
    ASSERT_EQ(posix_spawn(&pid_, program_.c_str(), &actions, nullptr, argv, env), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  // Waits for the notice that the pod runs.
  bool wait_started() {
    shim::StartNotice notice;
    pollfd waiting{notify_[0], POLLIN, 0};
    return poll(&waiting, 1, 20'000) == 1 && read(notify_[0], &notice, sizeof notice) == sizeof notice &&
           notice.launch_id == 77 && notice.started_us > 0;
  }
  // Waits for the shim itself to end; its record.
  std::optional<ShimEnded> wait() {
    int status = 0;
    if (waitpid(pid_, &status, 0) != pid_) return std::nullopt;
    pid_ = -1;
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the shim itself ended badly: " << status;
    const auto facts = read_pod_facts(pod());
    return facts ? facts->end : std::nullopt;
  }
  pid_t pid() const { return pid_; }

 private:
  TemporaryDirectory directory_;
  std::string program_;
  int notify_[2] = {-1, -1};
  pid_t pid_ = -1;
  InputBuilder input_;
};

// A pid that a pod's script wrote to its output.
inline pid_t pid_in(const std::string& path) {
  pid_t pid = 0;
  eventually([&] {
    pid = static_cast<pid_t>(std::atoi(contents(path).c_str()));
    return pid > 0 && contents(path).ends_with("\n");
  });
  return pid;
}
// Not gone, and not merely waiting to be reaped.
inline bool is_alive(pid_t pid) {
  const std::string stat = contents("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t at = stat.rfind(')');
  return at != std::string::npos && at + 2 < stat.size() && stat[at + 2] != 'Z' && stat[at + 2] != 'X';
}

}  // namespace berth::agent::testing_support
