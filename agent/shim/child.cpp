#include "agent/shim/child.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/shim/os.h"

namespace berth::shim {

namespace {

[[noreturn]] void give_up(const ChildPlan& plan, Text& text) {
  [[maybe_unused]] const ssize_t ignored = write(plan.failure_fd, text.data(), text.size());
  _exit(127);
}

[[noreturn]] void give_up(const ChildPlan& plan, const char* what, const char* name, int error) {
  Text text;
  text.add(what);
  if (name != nullptr) text.add(" '").add(name).add("'");
  text.add_error(error);
  give_up(plan, text);
}

// Raw system calls: the C library's wrappers would look for other threads to tell.
void take_user(const Input& input, const ChildPlan& plan, bool for_good) {
  if (!input.has(kUser)) return;
  std::uint32_t groups[256];
  std::size_t count = 0;
  input.each(kMoreGroup, [&](const char* text) {
    if (count < 256) groups[count++] = static_cast<std::uint32_t>(parse_number(text));
  });
  const long uid = static_cast<long>(input.number(kUser, 0));
  const long gid = static_cast<long>(input.number(kGroup, 0));
  if (syscall(SYS_setgroups, count, groups) != 0) give_up(plan, "cannot set the user's groups", nullptr, errno);
  const bool done = for_good ? syscall(SYS_setresgid, gid, gid, gid) == 0 && syscall(SYS_setresuid, uid, uid, uid) == 0
                             : syscall(SYS_setresgid, -1, gid, -1) == 0 && syscall(SYS_setresuid, -1, uid, -1) == 0;
  if (!done) give_up(plan, "cannot become the user", nullptr, errno);
}

void be_root_again() {
  syscall(SYS_setresuid, -1, 0, -1);
  syscall(SYS_setresgid, -1, 0, -1);
  syscall(SYS_setgroups, 0, nullptr);
}

int open_output(const Input& input, const ChildPlan& plan, const char* path, bool own) {
  // O_NONBLOCK: a fifo that nobody reads is an error, not a wait without end. O_APPEND: pods that share a file do not
  // write over each other.
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_CLOEXEC | O_NONBLOCK |
                    (input.has(kAppend) ? 0 : O_TRUNC) | (own ? O_NOFOLLOW : 0);
  const int fd = open(path, flags, own ? 0600 : 0666);
  if (fd < 0) give_up(plan, "cannot open output", path, errno);
  if (own && input.has(kUser) &&
      fchown(fd, static_cast<uid_t>(input.number(kUser, 0)), static_cast<gid_t>(input.number(kGroup, 0))) != 0) {
    give_up(plan, "cannot give the user the output", path, errno);
  }
  fcntl(fd, F_SETFL, O_APPEND);
  return fd;
}

// Standard input is empty; output and error are the user's files.
void open_streams(const Input& input, const ChildPlan& plan) {
  const char* own = input.first(kOutputOwn);
  int out = own != nullptr ? open_output(input, plan, own, true) : -1;
  const bool container = input.has(kPidFile);
  const bool as_user = input.has(kOutput) || input.has(kError);
  // The runtime needs root after this; a process does not.
  if (!container) take_user(input, plan, true);
  if (container && as_user) take_user(input, plan, false);
  if (const char* path = input.first(kOutput)) out = open_output(input, plan, path, false);
  int error = out;
  if (const char* path = input.first(kError)) error = open_output(input, plan, path, false);
  if (container && as_user) be_root_again();
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (out < 0) out = open("/dev/null", O_WRONLY | O_CLOEXEC), error = error < 0 ? out : error;
  if (dup2(nothing, 0) < 0 || dup2(out, 1) < 0 || dup2(error, 2) < 0) {
    give_up(plan, "cannot set up the output", nullptr, errno);
  }
}

const char* path_of(char** env) {
  for (; *env != nullptr; ++env) {
    if (std::strncmp(*env, "PATH=", 5) == 0) return *env + 5;
  }
  return "/usr/local/bin:/usr/bin:/bin";
}

// A script without a first line that names its interpreter is the shell's, as everywhere.
void exec_as_script(const char* path, const ChildPlan& plan) {
  std::size_t count = 0;
  while (plan.argv[count] != nullptr) ++count;
  if (count > 4096) return;
  char* argv[4100];
  argv[0] = const_cast<char*>("/bin/sh");
  argv[1] = const_cast<char*>(path);
  for (std::size_t i = 1; i <= count; ++i) argv[i + 1] = plan.argv[i];
  execve("/bin/sh", argv, plan.env);
}

// Returns with errno set if nothing could be executed.
void exec_path(const char* path, const ChildPlan& plan) {
  execve(path, plan.argv, plan.env);
  if (errno == ENOEXEC) exec_as_script(path, plan);
}

void exec_in_path(const ChildPlan& plan) {
  const char* name = plan.argv[0];
  if (name[0] == 0) {
    errno = ENOENT;
    return;
  }
  if (std::strchr(name, '/') != nullptr) return exec_path(name, plan);
  int error = ENOENT;
  const char* at = path_of(plan.env);
  for (;;) {
    const char* end = std::strchr(at, ':');
    const std::size_t size = end == nullptr ? std::strlen(at) : static_cast<std::size_t>(end - at);
    Text path;
    if (size == 0) path.add(".");
    path.add(at, size).add("/").add(name);
    exec_path(path.c_str(), plan);
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
    if (end == nullptr) break;
    at = end + 1;
  }
  errno = error;
}

void join_groups(const Input& input, const ChildPlan& plan) {
  input.each(kJoin, [&](const char* path) {
    const int error = write_file(path, 0, "0", 1);
    if (error != 0) give_up(plan, "cannot join the cgroup", path, error);
  });
}

// The hardware threads that are the pod's own, and its children's.
void bind_to_cpus(const Input& input, const ChildPlan& plan) {
  const char* text = input.first(kCpus);
  if (text == nullptr) return;
  std::uint64_t mask[128] = {};  // 8192 threads
  for (const char* at = text; *at != 0;) {
    std::uint64_t bounds[2] = {0, 0};
    for (int which = 0; which < 2; ++which) {
      for (; *at >= '0' && *at <= '9'; ++at) bounds[which] = bounds[which] * 10 + static_cast<std::uint64_t>(*at - '0');
      if (which == 0 && *at != '-') bounds[1] = bounds[0];
      if (which == 0 && *at == '-') {
        ++at;
      } else {
        break;
      }
    }
    for (std::uint64_t cpu = bounds[0]; cpu <= bounds[1] && cpu < 8192; ++cpu) mask[cpu / 64] |= 1ULL << (cpu % 64);
    if (*at == 0) break;
    ++at;
  }
  if (syscall(SYS_sched_setaffinity, 0, sizeof mask, mask) != 0) give_up(plan, "cannot run on cpus", text, errno);
}

// RESOURCE SOFT HARD
void set_limit(const ChildPlan& plan, const char* text) {
  const char* soft = std::strchr(text, ' ');
  const char* hard = soft == nullptr ? nullptr : std::strchr(soft + 1, ' ');
  if (hard == nullptr) return;
  const auto value = [](const char* at) {
    return *at == '-' ? ~std::uint64_t{0} : static_cast<std::uint64_t>(parse_number(at));
  };
  const std::uint64_t values[2] = {value(soft + 1), value(hard + 1)};
  if (syscall(SYS_prlimit64, 0, static_cast<int>(parse_number(text)), values, nullptr) != 0) {
    give_up(plan, "cannot set the limit", text, errno);
  }
}

// Also the two that the C library keeps for itself, and that posix_spawn leaves ignored.
void reset_signals() {
  const std::uint64_t default_action[4] = {};  // the kernel's struct sigaction: SIG_DFL, no flags, no mask
  for (int number = 1; number <= 64; ++number) syscall(SYS_rt_sigaction, number, default_action, nullptr, 8);
}

// A network of its own, and files that go with it, which only it sees.
void enter_network(const Input& input, const ChildPlan& plan) {
  const char* netns = input.first(kNetns);
  if (netns != nullptr) {
    const int fd = open(netns, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) give_up(plan, "cannot enter the network namespace", netns, errno);
    close(fd);
  }
  if (!input.has(kBindFile)) return;
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    give_up(plan, "cannot make a private mount namespace", nullptr, errno);
  }
  input.each(kBindFile, [&](const char* item) {
    const char* line_end = std::strchr(item, '\n');
    if (line_end == nullptr) return;
    Text source;
    source.add(item, static_cast<std::size_t>(line_end - item));
    if (mount(source.c_str(), line_end + 1, nullptr, MS_BIND, nullptr) != 0) {
      give_up(plan, "cannot give the pod its own", line_end + 1, errno);
    }
  });
}

void set_limits(const Input& input, const ChildPlan& plan) {
  bind_to_cpus(input, plan);
  umask(static_cast<mode_t>(input.number(kUmask, 022)));
  rlimit files{};
  if (input.has(kFileLimit) && getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = static_cast<rlim_t>(input.number(kFileLimit, 1024));
    setrlimit(RLIMIT_NOFILE, &files);
  }
  input.each(kUlimit, [&](const char* text) { set_limit(plan, text); });
}

[[noreturn]] void run_program(const Input& input, const ChildPlan& plan, bool dies_with_us) {
  if (const char* directory = input.first(kDirectory)) {
    if (chdir(directory) != 0) give_up(plan, "cannot enter directory", directory, errno);
  }
  reset_signals();
  // After the change of user, which clears it.
  if (dies_with_us) prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  exec_in_path(plan);
  give_up(plan, "cannot execute", plan.argv[0], errno);
}

[[noreturn]] void child_main(const Input& input, const ChildPlan& plan) {
  setsid();
  close(kPodFd);  // the lock is the shim's life, not the pod's
  close(kNotifyFd);
  join_groups(input, plan);
  enter_network(input, plan);
  set_limits(input, plan);
  open_streams(input, plan);
  // Without groups nobody could find the pod again if the shim were killed.
  run_program(input, plan, !input.has(kKillGroup));
}

[[noreturn]] void command_main(const Input& input, const ChildPlan& plan) {
  setsid();
  if (input.has(kTerminal)) {
    if (ioctl(0, TIOCSCTTY, 0) != 0) give_up(plan, "cannot have the terminal", nullptr, errno);
    // So that its user can open it by its name.
    if (input.has(kUser) && fchown(0, static_cast<uid_t>(input.number(kUser, 0)), static_cast<gid_t>(-1)) != 0) {
      give_up(plan, "cannot give the user the terminal", nullptr, errno);
    }
  }
  join_groups(input, plan);
  if (const char* group = input.first(kJoinAtBirth)) {
    Text path;
    path.add(group).add("/cgroup.procs");
    const int error = write_file(path.c_str(), 0, "0", 1);
    if (error != 0) give_up(plan, "cannot join the cgroup", group, error);
  }
  if (input.has(kMounts) && setns(kMountsFd, CLONE_NEWNS) != 0) {
    give_up(plan, "cannot enter the pod's mount namespace", nullptr, errno);
  }
  enter_network(input, plan);
  set_limits(input, plan);
  take_user(input, plan, true);
  run_program(input, plan, true);
}

}  // namespace

int start_command(const Input& input, const ChildPlan& plan) {
  const int pid = fork();
  if (pid == 0) command_main(input, plan);
  return pid < 0 ? -errno : pid;
}

int start_child(const Input& input, const ChildPlan& plan) {
  long pid = -1;
  if (const char* group = input.first(kJoinAtBirth)) {
    const int fd = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    clone_args args{};
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = SIGCHLD;
    args.cgroup = static_cast<std::uint64_t>(fd);
    pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid != 0) close(fd);
  } else {
    pid = fork();
  }
  if (pid == 0) child_main(input, plan);
  return pid < 0 ? -errno : static_cast<int>(pid);
}

}  // namespace berth::shim
