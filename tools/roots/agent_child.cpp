#include "tools/roots/agent_child.h"

#include <chrono>
#include <csignal>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace berth::tools {

namespace {

constexpr auto kRestartDelay = std::chrono::milliseconds(500);
constexpr auto kTooShort = std::chrono::seconds(2);
constexpr int kShortLivesMax = 5;

}  // namespace

void AgentChild::start() {
  keeper_ = std::thread([this] { keep_running(); });
}

void AgentChild::stop() {
  stopping_ = true;
  if (const int pid = pid_; pid > 0) ::kill(pid, SIGTERM);
  if (keeper_.joinable()) keeper_.join();
}

void AgentChild::keep_running() {
  std::vector<char*> argv;
  for (std::string& argument : arguments_) argv.push_back(argument.data());
  argv.push_back(nullptr);
  int short_lives = 0;
  while (!stopping_) {
    const auto born = std::chrono::steady_clock::now();
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) {
      // Goes down with this thread, which lives as long as the process: no agent is left behind by kill -9.
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != parent) ::_exit(1);
      ::execv("/proc/self/exe", argv.data());
      ::_exit(127);
    }
    if (pid < 0) return;
    pid_ = pid;
    if (stopping_) ::kill(pid, SIGTERM);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    if (stopping_) return;
    short_lives = std::chrono::steady_clock::now() - born < kTooShort ? short_lives + 1 : 0;
    if (short_lives == kShortLivesMax) {
      gave_up_ = WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
      ::kill(::getpid(), SIGTERM);
      return;
    }
    std::this_thread::sleep_for(kRestartDelay);
  }
}

}  // namespace berth::tools
