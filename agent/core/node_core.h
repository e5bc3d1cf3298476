// NodeCore: the life of pods on one node, decided without touching anything: time, and what the outside reports, are
// arguments; what to do comes back as actions. agent/io carries them out. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "state/launch.h"
#include "state/requests.h"

namespace berth::agent {

// What the outside says of a pod's process (the shim's records, see agent/shim/record.h).
struct ShimStarted {
  state::PodRef ref;
  state::TimeUs started_at = 0;
};
struct ShimEnded {  // the shim's exit record
  state::PodRef ref;
  state::TimeUs started_at = 0, ended_at = 0;
  int exit_code = -1;
  int signal = 0;
  bool oom_killed = false;
  std::uint32_t mem_peak_mib = 0;
  std::string failure;  // not empty: it never ran, and why
};
struct ShimVanished {  // the shim is gone and left no exit record
  state::PodRef ref;
  bool rebooted = false;
};

// ---- actions --------------------------------------------------------------------------------------------------------
struct LaunchPod {  // make its directory, cgroup and shim; must be idempotent by ref
  state::PodRef ref;
  std::shared_ptr<const state::StartOrder> order;  // shared by its pods
  state::PodToStart pod;
};
struct SignalPod {  // to every process of the pod
  state::PodRef ref;
  int signal = 0;
};
struct DiscardPod {  // remove its directory and cgroup (not its output)
  state::PodRef ref;
};
struct SendStatus {
  state::AgentStatus status;
};
using Action = std::variant<LaunchPod, SignalPod, DiscardPod, SendStatus>;

class NodeCore {
 public:
  // At start: a pod found on disk, running or ended but not yet forgotten by the server.
  void adopt(const state::StartOrder& order, const state::PodToStart& pod, state::TimeUs started_at);

  void on_start(const state::StartPods& request, state::TimeUs now, std::vector<Action>& out);
  void on_stop(const state::StopPods& request, state::TimeUs now, std::vector<Action>& out);
  void on_forget(const state::ForgetPods& request, std::vector<Action>& out);
  void on_shim(const ShimStarted& report, state::TimeUs now, std::vector<Action>& out);
  void on_shim(const ShimEnded& report, state::TimeUs now, std::vector<Action>& out);
  void on_shim(const ShimVanished& report, state::TimeUs now, std::vector<Action>& out);
  void on_tick(state::TimeUs now, std::vector<Action>& out);           // deadlines: time limits, SIGKILL after grace
  std::optional<state::TimeUs> next_deadline() const;

  // For AgentHello, and the ends to repeat after a reconnection.
  std::vector<state::AgentPod> known_pods() const;
  state::AgentStatus unacknowledged() const;
  std::size_t running() const;

 private:
  struct Entry;
  // (filled in with the implementation)
};

}  // namespace berth::agent
