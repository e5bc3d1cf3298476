// ExecDesk: runs commands in pods while somebody watches, and carries their streams. A command lives as long as its
// stream does: when the watcher, the connection to the server or the agent goes, its shim (shim --exec) kills it. Loop
// thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/core/node_core.h"
#include "agent/io/layout.h"
#include "agent/io/pod_runner.h"
#include "agent/io/shim_launcher.h"
#include "api/wire/exec_window.h"
#include "api/wire/loop.h"
#include "state/exec.h"

namespace berth::agent {

class ExecDesk {
 public:
  struct Parts {
    wire::Loop& loop;
    const Layout& layout;
    const NodeCore& core;
    const PodRunner& runner;
    ShimLauncher& launcher;
  };
  struct Handlers {
    std::function<void(state::ExecPart)> send;
    std::function<std::size_t()> queued_bytes;  // that were sent and are not out yet
  };
  ExecDesk(Parts parts, Handlers handlers);
  ~ExecDesk();

  void on_start(const state::ExecStart& start);
  void on_part(state::ExecPart part);
  void on_pod_over(const state::PodRef& ref);
  void on_drained();  // what was sent is out
  void clear();       // the connection is gone, and with it everybody who watched

 private:
  struct Run;
  struct Output;
  using Fds = std::vector<int>;

  std::string start(Run& run, const state::ExecStart& start, std::uint32_t& exit_code);
  std::string prepare(Run& run, const state::ExecStart& start, std::string& input, Fd& mounts);
  std::string open_streams(Run& run, const state::ExecRequest& request, bool raw, Fd (&theirs)[3]);
  void read_output(std::uint64_t token, Output& output);
  void read_outputs(std::uint64_t token);
  void write_input(std::uint64_t token);
  void read_notice(std::uint64_t token);
  void finish_if_done(std::uint64_t token);
  void finish(std::uint64_t token, std::string why, std::uint32_t exit_code);
  void send(std::uint64_t token, state::ExecPart::Kind kind, std::string bytes, std::uint32_t count = 0);

  const Parts parts_;
  const Handlers handlers_;
  std::map<std::uint64_t, std::unique_ptr<Run>> runs_;  // by token
  // The shims, until they have ended; they may outlast their runs.
  std::map<std::uint64_t, std::unique_ptr<WatchedProcess>> shims_;
  std::uint64_t last_shim_ = 0;
};

}  // namespace berth::agent
