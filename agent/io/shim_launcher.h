// ShimLauncher: starts shims and hears from them. The shim's program is carried inside this binary and written to the
// data directory under the hash of its bytes, so that an upgrade leaves running shims alone. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include "agent/io/files.h"
#include "api/wire/loop.h"

namespace berth::agent {

std::string_view shim_program();  // the embedded executable

// A process this agent watches: descriptor and watch go together.
struct WatchedProcess {
  pid_t pid = -1;
  bool is_child = false;  // ours to reap; not so after an agent's restart
  Fd pidfd;
  std::shared_ptr<wire::Loop::Watch> watch;
};

class ShimLauncher {
 public:
  using StartedHandler = std::function<void(std::uint64_t launch_id, std::int64_t started_us)>;
  using ExitHandler = std::function<void()>;

  explicit ShimLauncher(wire::Loop& loop);
  ~ShimLauncher();
  // Writes the program out and opens the pipe that shims report on.
  state::Status prepare(const std::string& data_directory);
  const std::string& program_path() const { return program_; }
  void on_started(StartedHandler handler) { on_started_ = std::move(handler); }

  // Starts a shim on a pod's file, fresh from create_pod_file(). `on_exit` is called once, when it is gone.
  state::Result<std::unique_ptr<WatchedProcess>> spawn(Fd pod_file, ExitHandler on_exit);
  // Takes up a shim that another agent started on this file: nullptr if none lives.
  std::unique_ptr<WatchedProcess> adopt(const std::string& path, ExitHandler on_exit);
  static void send_signal(const WatchedProcess& process, int signal);
  static void send_warning(const WatchedProcess& process, int signal);  // that signal, to the pod's processes
  // The shim's program in another of its modes, with these descriptors as its 0, 1, 2 and so on, and no others.
  state::Result<std::unique_ptr<WatchedProcess>> spawn_mode(const char* mode, std::span<const int> descriptors,
                                                            ExitHandler on_exit);
  struct Tool {
    std::vector<std::string> argv;
    std::string output, error;  // files; no `error`: errors go to the output
    int keep_fd = -1;           // of ours, which it has as kToolFd
  };
  static constexpr int kToolFd = 3;
  // Starts another program; `on_exit` gets its wait status.
  state::Result<std::unique_ptr<WatchedProcess>> run(const Tool& tool, std::function<void(int status)> on_exit);

 private:
  state::Status watch(WatchedProcess& process, ExitHandler on_exit);
  void read_notices();

  wire::Loop& loop_;
  std::string program_;
  Fd notify_read_, notify_write_;
  std::shared_ptr<wire::Loop::Watch> notify_watch_;
  StartedHandler on_started_;
};

}  // namespace berth::agent
