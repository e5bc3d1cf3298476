// The shim: the one process that stands beside every pod. It starts the pod's program, outlives the agent, is the
// reaper of the pod's orphans, and writes down how the pod ended. Static, without exceptions or a C++ library; see
// record.h.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/shim/child.h"
#include "agent/shim/exec.h"
#include "agent/shim/group.h"
#include "agent/shim/input.h"
#include "agent/shim/mounts.h"
#include "agent/shim/os.h"
#include "agent/shim/record.h"

namespace berth::shim {

namespace {

struct End {
  std::int64_t ended_us = 0;
  int status = 0;  // as wait() gives it
  bool ran = false;
  Text failure;
};

std::int64_t us_of(const timeval& time) { return std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec; }

// All processes of the pod were children of the shim's at last, or were waited for by one that was. `before`: what was
// none of theirs.
void write_use(const Input& input, PodRecord& record, const rusage& before) {
  rusage used{};
  if (getrusage(RUSAGE_CHILDREN, &used) != 0) return;
  record.cpu_user_us = us_of(used.ru_utime);
  record.cpu_system_us = us_of(used.ru_stime);
  cpu_used(input, record.cpu_user_us, record.cpu_system_us);
  const auto less = [](std::int64_t all, std::int64_t part) { return all > part ? all - part : 0; };
  record.cpu_user_us = less(record.cpu_user_us, us_of(before.ru_utime));
  record.cpu_system_us = less(record.cpu_system_us, us_of(before.ru_stime));
  record.read_bytes = less(used.ru_inblock, before.ru_inblock) * 512;
  record.written_bytes = less(used.ru_oublock, before.ru_oublock) * 512;
}

// In place, and the mark that it is whole last.
void write_end(const Input& input, const End& end, const rusage& before) {
  PodRecord* record = input.record();
  if (record == nullptr) return;
  write_use(input, *record, before);
  record->peak_bytes = memory_peak_bytes(input);
  if (record->peak_bytes == 0) {
    rusage used{};
    if (getrusage(RUSAGE_CHILDREN, &used) == 0) record->peak_bytes = std::int64_t{used.ru_maxrss} * 1024;
  }
  record->oom_kills = oom_kills(input);
  record->ended_us = end.ended_us;
  record->exit_code = end.ran && WIFEXITED(end.status) ? WEXITSTATUS(end.status) : -1;
  record->signal = end.ran && WIFSIGNALED(end.status) ? WTERMSIG(end.status) : 0;
  std::size_t size = 0;
  for (const char* at = end.failure.c_str(); *at != 0 && size + 1 < sizeof record->failure; ++at) {
    // A file's name may hold anything; what people read is one line.
    const bool plain = static_cast<unsigned char>(*at) >= ' ' && *at != 127;
    record->failure[size++] = plain ? *at : '?';
  }
  __atomic_store_n(&record->ended, 1, __ATOMIC_RELEASE);
}

void tell_started(const Input& input, std::int64_t started_us) {
  __atomic_store_n(&input.record()->started_us, started_us, __ATOMIC_RELEASE);
  StartNotice notice;
  notice.launch_id = static_cast<std::uint64_t>(input.number(kLaunchId, 0));
  notice.started_us = started_us;
  [[maybe_unused]] const ssize_t told = write(kNotifyFd, &notice, sizeof notice);  // EPIPE: the agent is gone
  close(kNotifyFd);
}

class Shim {
 public:
  int run();

 private:
  bool prepare(End& end);
  void start(End& end);
  void wait_for_exec(End& end, int failure_fd);
  void wait_for_runtime(End& end);
  void wait_for_end(End& end);
  void handle_signals(bool block);
  void kill_the_rest();
  void clean_up();
  bool reap();

  Input input_;
  int signal_fd_ = -1;
  int main_ = -1;
  int main_status_ = 0;
  bool main_ended_ = false;
  rusage before_{};  // what the container's runtime used
};

bool Shim::prepare(End& end) {
  const bool whole = input_.load() && input_.has(kArg);
  // Before anything is started: from here on this pod has been tried.
  if (input_.record() != nullptr) __atomic_store_n(&input_.record()->shim_pid, getpid(), __ATOMIC_RELEASE);
  if (!whole) {
    end.failure.add("the pod's orders cannot be read");
    return false;
  }
  if (const char* bundle = input_.first(kBundle); bundle != nullptr && chdir(bundle) != 0) {
    end.failure.add("cannot enter directory '").add(bundle).add("'").add_error(errno);
    return false;
  }
  return make_groups(input_, end.failure) && set_up_mounts(input_, end.failure);
}

// Collects what has ended; true if the main process was among it.
bool Shim::reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return main_ended_;
    if (pid != main_) continue;
    main_status_ = status;
    main_ended_ = true;
  }
}

void Shim::handle_signals(bool block) {
  pollfd waiting{signal_fd_, POLLIN, 0};
  if (poll(&waiting, 1, block ? -1 : 0) <= 0) return;
  signalfd_siginfo info{};
  if (read(signal_fd_, &info, sizeof info) != sizeof info) return;
  if (static_cast<int>(info.ssi_signo) == kStopSignal) signal_all(input_, SIGTERM);
  if (static_cast<int>(info.ssi_signo) == kKillSignal) signal_all(input_, SIGKILL);
  if (static_cast<int>(info.ssi_signo) == kWarnSignal && info.ssi_int > 0) signal_all(input_, info.ssi_int);
}

void Shim::wait_for_exec(End& end, int failure_fd) {
  char bytes[1024];
  for (;;) {
    pollfd waiting[2] = {{failure_fd, POLLIN, 0}, {signal_fd_, POLLIN, 0}};
    if (poll(waiting, 2, -1) < 0) continue;
    if (waiting[1].revents != 0) handle_signals(false);
    if (waiting[0].revents == 0) continue;
    const ssize_t got = read(failure_fd, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got > 0) end.failure.add(bytes, static_cast<std::size_t>(got));
    return;
  }
}

// The runtime's command ends when the container runs; the container's first process is then our child.
void Shim::wait_for_runtime(End& end) {
  // Only the runtime: the container may have ended already, and its status must not be lost.
  while (waitpid(main_, &main_status_, WNOHANG) == 0) handle_signals(true);
  getrusage(RUSAGE_CHILDREN, &before_);
  char bytes[1024];
  if (WIFEXITED(main_status_) && WEXITSTATUS(main_status_) == 0 &&
      read_file(input_.first(kPidFile), bytes, sizeof bytes) > 0) {
    main_ = static_cast<int>(parse_number(bytes));
    return;
  }
  const char* log = input_.first(kRuntimeLog);
  const long size = log == nullptr ? 0 : read_file(log, bytes, sizeof bytes);
  end.failure.add("cannot start the container: ");
  if (size > 0) {
    for (long i = 0; i < size; ++i) bytes[i] = bytes[i] == '\n' ? ' ' : bytes[i];
    end.failure.add(bytes);
  } else if (WIFSIGNALED(main_status_)) {
    end.failure.add("the runtime was killed by signal ").add(std::int64_t{WTERMSIG(main_status_)});
  } else {
    end.failure.add("the runtime ended with exit code ").add(std::int64_t{WEXITSTATUS(main_status_)});
  }
}

void Shim::wait_for_end(End& end) {
  while (!reap()) handle_signals(true);
  end.ran = true;
  end.status = main_status_;
}

void Shim::kill_the_rest() {
  // Each round finds what was forked meanwhile. A process that the kernel holds (a dead file server) is waited for a
  // minute, and then left to the kernel.
  std::int64_t pause_us = 500;
  for (std::int64_t waited_us = 0; waited_us < 60'000'000; waited_us += pause_us) {
    const int found = signal_all(input_, SIGKILL);
    reap();
    if (found == 0) return;
    usleep(static_cast<useconds_t>(pause_us));
    if (pause_us < 20'000) pause_us *= 2;
  }
}

void Shim::start(End& end) {
  int pipe_fds[2];
  ChildPlan plan;
  plan.argv = input_.vector(kArg);
  plan.env = input_.vector(kEnv);
  if (plan.argv == nullptr || plan.env == nullptr || pipe2(pipe_fds, O_CLOEXEC) != 0) {
    end.failure.add("cannot start the pod's first process").add_error(errno);
    return;
  }
  plan.failure_fd = pipe_fds[1];
  main_ = start_child(input_, plan);
  close(pipe_fds[1]);
  if (main_ < 0) {
    end.failure.add("cannot start the pod's first process").add_error(-main_);
  } else {
    wait_for_exec(end, pipe_fds[0]);
    if (end.failure.empty() && input_.has(kPidFile)) wait_for_runtime(end);
  }
  close(pipe_fds[0]);
  if (!end.failure.empty()) return;
  tell_started(input_, now_us());
}

// After the exit record, because nobody needs to wait for it.
void Shim::clean_up() {
  if (input_.has(kCleanup)) {
    char** argv = input_.vector(kCleanup);
    char** env = input_.vector(kEnv);
    const pid_t pid = argv == nullptr || env == nullptr ? -1 : fork();
    if (pid == 0) {
      const int nothing = open("/dev/null", O_RDWR);
      for (int fd = 0; fd < 3; ++fd) dup2(nothing, fd);
      execve(argv[0], argv, env);
      _exit(127);
    }
    int status = 0;
    if (pid > 0) waitpid(pid, &status, 0);
  }
  remove_mounts(input_);
  remove_groups(input_);
}

int Shim::run() {
  setsid();
  prctl(PR_SET_NAME, "berth-shim");
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  syscall(SYS_close_range, kNotifyFd + 1, ~0U, 0);
  fcntl(kPodFd, F_SETFD, FD_CLOEXEC);
  fcntl(kNotifyFd, F_SETFD, FD_CLOEXEC);
  signal(SIGPIPE, SIG_IGN);
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGCHLD);
  sigaddset(&watched, kStopSignal);
  sigaddset(&watched, kKillSignal);
  sigaddset(&watched, kWarnSignal);
  sigprocmask(SIG_BLOCK, &watched, nullptr);
  signal_fd_ = signalfd(-1, &watched, SFD_CLOEXEC);

  End end;
  if (prepare(end)) start(end);
  if (end.failure.empty()) wait_for_end(end);
  end.ended_us = now_us();
  kill_the_rest();
  write_end(input_, end, before_);
  clean_up();
  return 0;
}

}  // namespace

}  // namespace berth::shim

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--probe") == 0) return berth::shim::kProbeExitCode;
  if (argc == 2 && std::strcmp(argv[1], "--exec") == 0) return berth::shim::run_exec();
  // Started by the agent with a pod's file; started by anybody else, there is nothing to do.
  if (argc != 1 || fcntl(berth::shim::kPodFd, F_GETFD) < 0 || chdir("/") != 0) return 2;
  berth::shim::Shim shim;
  return shim.run();
}
