// Commands: other programs, run beside the loop and listened to until they end or take too long. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

#include "agent/io/files.h"
#include "api/wire/loop.h"

namespace berth::agent {

struct Command {
  std::vector<std::string> argv;  // argv[0] with its path, or searched in PATH and the places of system programs
  std::vector<std::string> env;   // "NAME=value"; empty: the agent's own
  std::string input;
  std::int64_t timeout_ms = 30'000;
  std::size_t output_bytes_max = 1U << 20;  // kept of each stream; the rest is read and dropped
};
struct CommandEnd {
  std::string failure;  // not empty: it could not be started, and why
  int status = 0;       // as wait() gives it
  bool timed_out = false;
  std::string output, errors;
  bool good() const { return failure.empty() && !timed_out && status == 0; }
  std::string why() const;  // one line on what went wrong: its own last words, or how it ended
};

class Commands {
 public:
  using Handler = std::function<void(CommandEnd)>;
  explicit Commands(wire::Loop& loop) : loop_(loop) {}
  ~Commands();  // kills what still runs
  Commands(const Commands&) = delete;
  Commands& operator=(const Commands&) = delete;

  void run(Command command, Handler handler);  // never calls back at once
  // `body` runs in a child that may do nothing but system calls; its result is the exit code.
  void run_in_child(const std::function<int()>& body, Handler handler);
  std::size_t running() const { return running_.size(); }

 private:
  struct Running {
    pid_t pid = -1;
    Fd pidfd, output, errors;
    std::shared_ptr<wire::Loop::Watch> exit_watch, output_watch, errors_watch;
    std::shared_ptr<wire::Loop::Timer> timer;
    std::size_t bytes_max = 0;
    CommandEnd end;
    Handler handler;
  };
  void watch(std::uint64_t id, Running& running, std::int64_t timeout_ms);
  void finish(std::uint64_t id);
  void refuse(std::string failure, Handler handler);

  wire::Loop& loop_;
  std::map<std::uint64_t, std::unique_ptr<Running>> running_;
  std::uint64_t next_id_ = 1;
};

// The whole path, "" if there is none: in PATH, and where PATH of a plain user or a service does not look.
std::string find_system_program(const std::string& name);
// SIGKILL to a process and all its descendants.
void kill_tree(pid_t pid, int depth = 0);

}  // namespace berth::agent
