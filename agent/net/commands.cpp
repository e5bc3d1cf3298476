#include "agent/net/commands.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace berth::agent {

namespace {

// Above the descriptors that a program is started with.
Fd out_of_the_way(int fd) {
  if (fd < 0 || fd >= 10) return Fd(fd);
  const Fd old(fd);
  return Fd(fcntl(fd, F_DUPFD_CLOEXEC, 10));
}

bool make_pipe(Fd& read_end, Fd& write_end) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return false;
  read_end = out_of_the_way(fds[0]);
  write_end = out_of_the_way(fds[1]);
  return read_end && write_end && fcntl(read_end.get(), F_SETFL, O_NONBLOCK) == 0;
}

Fd input_of(const std::string& bytes) {
  if (bytes.empty()) return out_of_the_way(open("/dev/null", O_RDONLY | O_CLOEXEC));
  Fd file = out_of_the_way(memfd_create("input", MFD_CLOEXEC));
  if (!file || write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return Fd();
  lseek(file.get(), 0, SEEK_SET);
  return file;
}

// False at the end of the stream.
bool read_some(int fd, std::string& into, std::size_t bytes_max) {
  char bytes[16384];
  for (;;) {
    const ssize_t got = read(fd, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN;
    if (got == 0) return false;
    if (into.size() < bytes_max) into.append(bytes, std::min(static_cast<std::size_t>(got), bytes_max - into.size()));
  }
}

std::string one_line(std::string text) {
  // nft says first what is wrong, and then shows where.
  if (const std::size_t at = text.find("Error: "); at != std::string::npos) {
    text = text.substr(at + 7);
    text = text.substr(0, text.find('\n'));
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const std::size_t at = text.rfind('\n');
  if (at != std::string::npos) text.erase(0, at + 1);
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 127; }, ' ');
  if (text.size() > 300) text.resize(300);
  return text;
}

struct Setup {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  Setup() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  }
  ~Setup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;
};

std::vector<char*> pointers_of(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

std::string find_system_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::string all = path == nullptr ? "" : path;
  all += ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = std::min(all.find(':', at), all.size());
    const std::string full = all.substr(at, end - at) + "/" + name;
    if (full[0] == '/' && access(full.c_str(), X_OK) == 0) return full;
    at = end + 1;
  }
  return "";
}

void kill_tree(pid_t pid, int depth) {
  if (depth > 32) return;
  kill(pid, SIGSTOP);  // it can make no more of them
  const std::string process = "/proc/" + std::to_string(pid);
  auto children = read_file(process + "/task/" + std::to_string(pid) + "/children", 1U << 16);
  if (children) {
    for (const char* at = children->c_str(); *at != 0;) {
      char* end = nullptr;
      const long child = std::strtol(at, &end, 10);
      if (end == at) break;
      if (child > 0) kill_tree(static_cast<pid_t>(child), depth + 1);
      at = end;
    }
  }
  kill(pid, SIGKILL);
}

std::string CommandEnd::why() const {
  if (!failure.empty()) return failure;
  if (timed_out) return "it took too long";
  const std::string said = one_line(errors.empty() ? output : errors);
  if (!said.empty()) return said;
  if (WIFSIGNALED(status)) return "killed by signal " + std::to_string(WTERMSIG(status));
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

Commands::~Commands() {
  for (const auto& [id, running] : running_) {
    kill_tree(running->pid);
    waitpid(running->pid, nullptr, 0);
  }
}

void Commands::refuse(std::string failure, Handler handler) {
  CommandEnd end;
  end.failure = std::move(failure);
  loop_.post([end = std::move(end), handler = std::move(handler)]() mutable { handler(std::move(end)); });
}

void Commands::run(Command command, Handler handler) {
  auto running = std::make_unique<Running>();
  Fd output, errors;
  const Fd input = input_of(command.input);
  if (!input || !make_pipe(running->output, output) || !make_pipe(running->errors, errors)) {
    return refuse(system_error("run", command.argv[0], errno).message, std::move(handler));
  }
  const std::string path =
      command.argv[0].find('/') != std::string::npos ? command.argv[0] : find_system_program(command.argv[0]);
  if (path.empty()) return refuse(command.argv[0] + " is not installed", std::move(handler));
  Setup setup;
  posix_spawn_file_actions_adddup2(&setup.actions, input.get(), 0);
  posix_spawn_file_actions_adddup2(&setup.actions, output.get(), 1);
  posix_spawn_file_actions_adddup2(&setup.actions, errors.get(), 2);
  posix_spawn_file_actions_addclosefrom_np(&setup.actions, 3);
  const std::vector<char*> argv = pointers_of(command.argv), env = pointers_of(command.env);
  const int error = posix_spawn(&running->pid, path.c_str(), &setup.actions, &setup.attributes, argv.data(),
                                command.env.empty() ? environ : env.data());
  if (error != 0) return refuse(system_error("run", path, error).message, std::move(handler));
  running->bytes_max = command.output_bytes_max;
  running->handler = std::move(handler);
  const std::uint64_t id = next_id_++;
  Running& started = *running_.emplace(id, std::move(running)).first->second;
  watch(id, started, command.timeout_ms);
}

void Commands::run_in_child(const std::function<int()>& body, Handler handler) {
  const pid_t pid = fork();
  if (pid < 0) return refuse(system_error("start", "a process", errno).message, std::move(handler));
  if (pid == 0) _exit(body());
  auto running = std::make_unique<Running>();
  running->pid = pid;
  running->handler = std::move(handler);
  const std::uint64_t id = next_id_++;
  Running& started = *running_.emplace(id, std::move(running)).first->second;
  watch(id, started, 30'000);
}

void Commands::watch(std::uint64_t id, Running& running, std::int64_t timeout_ms) {
  running.pidfd = Fd(static_cast<int>(syscall(SYS_pidfd_open, running.pid, 0)));
  Running* const one = &running;
  const auto listen = [&](const Fd& fd, std::shared_ptr<wire::Loop::Watch>& watch, std::string& into) {
    if (!fd) return;
    watch = loop_.watch_readable(fd.get(), [this, one, &fd, &watch, &into] {
      if (!read_some(fd.get(), into, one->bytes_max)) loop_.post([keep = std::move(watch)] {});
    });
  };
  listen(running.output, running.output_watch, running.end.output);
  listen(running.errors, running.errors_watch, running.end.errors);
  if (!running.pidfd) {  // no descriptors left: without one it cannot be waited for without standing still
    waitpid(running.pid, &running.end.status, 0);
    loop_.post([this, id] { finish(id); });
    return;
  }
  running.exit_watch = loop_.watch_readable(running.pidfd.get(), [this, id, one] {
    if (waitpid(one->pid, &one->end.status, WNOHANG) != one->pid) return;
    loop_.post([keep = std::move(one->exit_watch)] {});
    finish(id);
  });
  running.timer = loop_.after_ms(timeout_ms, [one] {
    one->end.timed_out = true;
    kill_tree(one->pid);
  });
}

void Commands::finish(std::uint64_t id) {
  const auto at = running_.find(id);
  if (at == running_.end()) return;
  const auto running = std::shared_ptr<Running>(std::move(at->second));
  running_.erase(at);
  running->timer.reset();
  if (running->output) read_some(running->output.get(), running->end.output, running->bytes_max);
  if (running->errors) read_some(running->errors.get(), running->end.errors, running->bytes_max);
  // Its watches may be what calls us.
  loop_.post([running] {});
  running->handler(std::move(running->end));
}

}  // namespace berth::agent
