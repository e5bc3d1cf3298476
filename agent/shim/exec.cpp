#include "agent/shim/exec.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/shim/child.h"
#include "agent/shim/group.h"
#include "agent/shim/input.h"
#include "agent/shim/os.h"
#include "agent/shim/record.h"

namespace berth::shim {

namespace {

void tell(char kind, const char* bytes, std::size_t size) {
  Text packet;
  packet.add(&kind, 1).add(bytes, size);
  [[maybe_unused]] const ssize_t told = send(kExecFd, packet.data(), packet.size(), MSG_NOSIGNAL);
}

// Everything below us. What a killed process leaves comes to us, and is found in the next round.
void kill_everything() {
  constexpr int kRounds = 6'000;  // a minute; what the kernel holds for longer is left to it
  for (int round = 0; round < kRounds; ++round) {
    const int found = signal_descendants(SIGKILL);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (found == 0) return;
    usleep(round < 10 ? 500 : 10'000);
  }
}

// True once the command has ended, whose status is then in `status`.
bool reap(int command, int& status) {
  for (;;) {
    int one = 0;
    const pid_t pid = waitpid(-1, &one, WNOHANG);
    if (pid <= 0) return false;
    if (pid != command) continue;
    status = one;
    return true;
  }
}

// The streams are the command's alone: who reads them is to find their end when the command has ended.
void let_go_of_streams() {
  const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd) {
    if (nothing < 0 || dup2(nothing, fd) < 0) close(fd);
  }
}

int watch_over(const Input& input, int command, int failure_fd, int signal_fd) {
  char bytes[1024];
  bool started = false;
  for (;;) {
    pollfd waiting[3] = {
        {kExecFd, POLLIN, 0}, {started ? -1 : failure_fd, POLLIN, 0}, {started ? signal_fd : -1, POLLIN, 0}};
    if (poll(waiting, 3, -1) < 0) continue;
    if (waiting[0].revents != 0) {
      kill_everything();
      return 0;
    }
    if (waiting[1].revents != 0) {
      const ssize_t got = read(failure_fd, bytes, sizeof bytes);
      if (got < 0 && errno == EINTR) continue;
      tell(got > 0 ? kExecFailed : kExecStarted, bytes, got > 0 ? static_cast<std::size_t>(got) : 0);
      if (got > 0) return 0;
      started = true;
    }
    if (waiting[2].revents == 0) continue;
    signalfd_siginfo info{};
    [[maybe_unused]] const ssize_t taken = read(signal_fd, &info, sizeof info);
    int status = 0;
    if (!reap(command, status)) continue;
    // What it leaves in the background is the pod's from now on, and without groups nobody would find it again.
    if (!input.has(kKillGroup)) kill_everything();
    tell(kExecEnded, reinterpret_cast<const char*>(&status), sizeof status);
    return 0;
  }
}

}  // namespace

int run_exec() {
  setsid();
  prctl(PR_SET_NAME, "berth-exec");
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  syscall(SYS_close_range, kMountsFd + 1, ~0U, 0);
  for (int fd = kPodFd; fd <= kMountsFd; ++fd) fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (chdir("/") != 0) return 2;
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGCHLD);
  sigprocmask(SIG_BLOCK, &watched, nullptr);
  const int signal_fd = signalfd(-1, &watched, SFD_CLOEXEC);
  Input input;
  ChildPlan plan;
  int pipe_fds[2];
  const bool ready = input.load() && input.has(kArg) && (plan.argv = input.vector(kArg)) != nullptr &&
                     (plan.env = input.vector(kEnv)) != nullptr && signal_fd >= 0 && pipe2(pipe_fds, O_CLOEXEC) == 0;
  int command = -EINVAL;
  if (ready) {
    plan.failure_fd = pipe_fds[1];
    command = start_command(input, plan);
    close(pipe_fds[1]);
  }
  if (command < 0) {
    Text why;
    why.add("cannot start the command").add_error(-command);
    tell(kExecFailed, why.data(), why.size());
    return 0;
  }
  let_go_of_streams();
  return watch_over(input, command, pipe_fds[0], signal_fd);
}

}  // namespace berth::shim
