#include "tools/roots/agent_child.h"

#include <cerrno>
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
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (pid_ > 0) ::kill(pid_, SIGTERM);
  }
  wake_.notify_all();
  if (keeper_.joinable()) keeper_.join();
}

// Waits for its end, and takes it from the kernel only when nobody can signal it any more.
void AgentChild::reap(int pid, int& status) {
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
  }
  const std::lock_guard lock(mutex_);
  pid_ = 0;
  ::waitpid(pid, &status, 0);
}

void AgentChild::keep_running() {
  std::vector<char*> argv;
  for (std::string& argument : arguments_) argv.push_back(argument.data());
  argv.push_back(nullptr);
  int short_lives = 0;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto born = std::chrono::steady_clock::now();
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) {
      // Goes down with this thread, which lives as long as the process: no agent is left behind by kill -9.
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != parent) ::_exit(1);
      // The server ignores it and keeps connections: neither is an agent's, nor its pods'.
      ::signal(SIGPIPE, SIG_DFL);
      ::close_range(3, ~0U, 0);
      ::execv("/proc/self/exe", argv.data());
      ::_exit(127);
    }
    if (pid < 0) return;
    pid_ = pid;
    lock.unlock();
    int status = 0;
    reap(pid, status);
    lock.lock();
    if (stopping_) return;
    short_lives = std::chrono::steady_clock::now() - born < kTooShort ? short_lives + 1 : 0;
    if (short_lives == kShortLivesMax) {
      gave_up_ = WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
      ::kill(::getpid(), SIGTERM);
      return;
    }
    wake_.wait_for(lock, kRestartDelay, [this] { return stopping_; });
  }
}

}  // namespace berth::tools
