#include "agent/io/shim_launcher.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/io/pod_file.h"
#include "agent/shim/record.h"

extern char** environ;

namespace berth::agent {

using state::Result;
using state::Status;
using state::Unit;

namespace {

// FNV-1a: names the program's version, nothing more.
std::string content_name(std::string_view bytes) {
  std::uint64_t hash = 1469598103934665603ULL;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  char text[32];
  std::snprintf(text, sizeof text, "shim-%016llx", static_cast<unsigned long long>(hash));
  return text;
}

// Above the descriptors that a spawned program gets, so that setting those up cannot overwrite it.
Fd out_of_the_way(Fd fd) {
  if (!fd || fd.get() >= 10) return fd;
  return Fd(fcntl(fd.get(), F_DUPFD_CLOEXEC, 10));
}

Fd open_pidfd(pid_t pid) { return Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

struct SpawnSetup {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnSetup() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  ~SpawnSetup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
};

}  // namespace

ShimLauncher::ShimLauncher(wire::Loop& loop) : loop_(loop) {}
ShimLauncher::~ShimLauncher() = default;

Status ShimLauncher::prepare(const std::string& data_directory) {
  program_ = data_directory + "/" + content_name(shim_program());
  struct stat about {};
  if (stat(program_.c_str(), &about) != 0 || about.st_size != static_cast<off_t>(shim_program().size())) {
    if (auto wrote = write_file_aside(program_, shim_program(), 0755); !wrote) return wrote;
  }
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return system_error("make", "a pipe", errno);
  notify_read_ = out_of_the_way(Fd(fds[0]));
  notify_write_ = out_of_the_way(Fd(fds[1]));
  fcntl(notify_read_.get(), F_SETFL, O_NONBLOCK);
  notify_watch_ = loop_.watch_readable(notify_read_.get(), [this] { read_notices(); });
  return Unit{};
}

void ShimLauncher::read_notices() {
  shim::StartNotice notices[64];  // each was written in one piece, so whole ones are read
  for (;;) {
    const ssize_t got = read(notify_read_.get(), notices, sizeof notices);
    if (got <= 0) return;
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof notices[0]; ++i) {
      if (on_started_) on_started_(notices[i].launch_id, notices[i].started_us);
    }
  }
}

Status ShimLauncher::watch(WatchedProcess& process, ExitHandler on_exit) {
  if (!process.pidfd) return system_error("watch", "process " + std::to_string(process.pid), errno);
  WatchedProcess* watched = &process;
  process.watch = loop_.watch_readable(process.pidfd.get(), [this, watched, handler = std::move(on_exit)] {
    if (watched->is_child) {
      siginfo_t info{};
      if (waitid(P_PID, static_cast<id_t>(watched->pid), &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0) return;
    }
    const ExitHandler call = handler;
    // The watch runs this very function: let go of it in the next turn.
    loop_.post([keep = std::move(watched->watch)] {});
    call();
  });
  return Unit{};
}

Result<std::unique_ptr<WatchedProcess>> ShimLauncher::spawn(Fd pod_file, ExitHandler on_exit) {
  const Fd pod = out_of_the_way(std::move(pod_file));
  SpawnSetup setup;
  posix_spawn_file_actions_addopen(&setup.actions, 0, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_adddup2(&setup.actions, 0, 1);
  posix_spawn_file_actions_adddup2(&setup.actions, 0, 2);
  posix_spawn_file_actions_adddup2(&setup.actions, pod.get(), shim::kPodFd);
  posix_spawn_file_actions_adddup2(&setup.actions, notify_write_.get(), shim::kNotifyFd);
  posix_spawn_file_actions_addclosefrom_np(&setup.actions, shim::kNotifyFd + 1);
  char* argv[] = {program_.data(), nullptr};
  char* env[] = {nullptr};
  auto process = std::make_unique<WatchedProcess>();
  const int error = posix_spawn(&process->pid, program_.c_str(), &setup.actions, &setup.attributes, argv, env);
  if (error != 0) return system_error("start", program_, error);
  process->is_child = true;
  process->pidfd = open_pidfd(process->pid);
  if (auto watched = watch(*process, std::move(on_exit)); !watched) return watched.error();
  return process;
}

Result<std::unique_ptr<WatchedProcess>> ShimLauncher::spawn_mode(const char* mode, std::span<const int> descriptors,
                                                                 ExitHandler on_exit) {
  SpawnSetup setup;
  std::vector<Fd> above;
  for (const int fd : descriptors) above.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 10));
  for (std::size_t i = 0; i < above.size(); ++i) {
    if (!above[i]) return system_error("start", program_, EMFILE);
    posix_spawn_file_actions_adddup2(&setup.actions, above[i].get(), static_cast<int>(i));
  }
  posix_spawn_file_actions_addclosefrom_np(&setup.actions, static_cast<int>(above.size()));
  char* argv[] = {program_.data(), const_cast<char*>(mode), nullptr};
  char* env[] = {nullptr};
  auto process = std::make_unique<WatchedProcess>();
  const int error = posix_spawn(&process->pid, program_.c_str(), &setup.actions, &setup.attributes, argv, env);
  if (error != 0) return system_error("start", program_, error);
  process->is_child = true;
  process->pidfd = open_pidfd(process->pid);
  if (auto watched = watch(*process, std::move(on_exit)); !watched) return watched.error();
  return process;
}

namespace {

bool is_locked(int fd) {
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) return true;
  flock(fd, LOCK_UN);
  return false;
}

}  // namespace

std::unique_ptr<WatchedProcess> ShimLauncher::adopt(const std::string& path, ExitHandler on_exit) {
  const Fd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return nullptr;
  // A shim that has only just been started writes its process id as the first thing it does.
  for (int round = 0; round < 1000 && is_locked(file.get()); ++round) {
    const auto facts = read_pod_facts(path);
    if (!facts || facts->shim_pid <= 0) {
      usleep(1000);
      continue;
    }
    auto process = std::make_unique<WatchedProcess>();
    process->pid = facts->shim_pid;
    process->pidfd = open_pidfd(process->pid);
    // The lock is still held after the descriptor was opened, so the id was the shim's all the time.
    if (!process->pidfd || !is_locked(file.get())) return nullptr;
    if (!watch(*process, std::move(on_exit))) return nullptr;
    return process;
  }
  return nullptr;
}

void ShimLauncher::send_signal(const WatchedProcess& process, int signal) {
  syscall(SYS_pidfd_send_signal, process.pidfd.get(), signal, nullptr, 0);
}

void ShimLauncher::send_warning(const WatchedProcess& process, int signal) {
  siginfo_t info{};
  info.si_signo = shim::kWarnSignal;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = signal;
  syscall(SYS_pidfd_send_signal, process.pidfd.get(), shim::kWarnSignal, &info, 0);
}

Result<std::unique_ptr<WatchedProcess>> ShimLauncher::run(const Tool& tool, std::function<void(int)> on_exit) {
  SpawnSetup setup;
  posix_spawn_file_actions_addopen(&setup.actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&setup.actions, 1, tool.output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (tool.error.empty()) {
    posix_spawn_file_actions_adddup2(&setup.actions, 1, 2);
  } else {
    posix_spawn_file_actions_addopen(&setup.actions, 2, tool.error.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  }
  const bool keeps = tool.keep_fd >= 0;
  if (keeps) posix_spawn_file_actions_adddup2(&setup.actions, tool.keep_fd, kToolFd);
  posix_spawn_file_actions_addclosefrom_np(&setup.actions, keeps ? kToolFd + 1 : kToolFd);
  std::vector<char*> words;
  for (const std::string& word : tool.argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  auto process = std::make_unique<WatchedProcess>();
  const int error = posix_spawnp(&process->pid, words[0], &setup.actions, &setup.attributes, words.data(), environ);
  if (error != 0) return system_error("run", tool.argv[0], error);
  process->pidfd = open_pidfd(process->pid);
  const pid_t pid = process->pid;
  // Not is_child: the status is wanted here.
  auto watched = watch(*process, [pid, handler = std::move(on_exit)] {
    int status = 0;
    waitpid(pid, &status, 0);
    handler(status);
  });
  if (!watched) return watched.error();
  return process;
}

}  // namespace berth::agent
