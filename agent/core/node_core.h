// NodeCore: the life of pods on one node, decided without touching anything: time, and what the outside reports, are
// arguments; what to do comes back as actions. agent/io carries them out. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "state/launch.h"
#include "state/requests.h"

namespace berth::agent {

// What the outside says of a pod's process (the shim's record, see agent/shim/record.h).
struct ShimStarted {
  state::PodRef ref;
  state::TimeUs started_at = 0;
};
struct ShimEnded {  // the shim's record of its end
  state::PodRef ref;
  state::TimeUs started_at = 0, ended_at = 0;
  int exit_code = -1;
  int signal = 0;
  bool oom_killed = false;
  std::uint32_t mem_peak_mib = 0;
  state::PodUse use;
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
struct StopMark {  // that a pod is being stopped: what it will count as, and since when
  state::PodState state = state::PodState::kCancelled;
  state::TimeUs at = 0;
};
struct SignalPod {  // to every process of the pod
  state::PodRef ref;
  int signal = 0;
  StopMark mark;  // to be written down before the signal, so that adopt() can have it back
};
struct WarnPod {  // a signal before its time limit, to every process of the pod; it is not stopped by it
  state::PodRef ref;
  int signal = 0;
};
struct DiscardPod {  // remove its directory and cgroup (not its output)
  state::PodRef ref;
};
struct SendStatus {
  state::AgentStatus status;
};
using Action = std::variant<LaunchPod, SignalPod, WarnPod, DiscardPod, SendStatus>;

// A pod is launching, running or ended. Ended pods are kept, and their ends told again after each reconnection, until
// the server says that they are durable (on_forget). An attempt that is known in any state is never launched again.
class NodeCore {
 public:
  // At start: a pod found on disk, running or ended but not yet forgotten by the server. started_at 0: not known to run
  // yet. If it has ended, on_shim follows.
  void adopt(const state::StartOrder& order, const state::PodToStart& pod, state::TimeUs started_at,
             std::optional<StopMark> stop = std::nullopt);

  void on_start(const state::StartPods& request, state::TimeUs now, std::vector<Action>& out);
  void on_stop(const state::StopPods& request, state::TimeUs now, std::vector<Action>& out);
  void on_forget(const state::ForgetPods& request, std::vector<Action>& out);
  void on_shim(const ShimStarted& report, state::TimeUs now, std::vector<Action>& out);
  void on_shim(const ShimEnded& report, state::TimeUs now, std::vector<Action>& out);
  void on_shim(const ShimVanished& report, state::TimeUs now, std::vector<Action>& out);
  void on_tick(state::TimeUs now, std::vector<Action>& out);  // deadlines: time limits, SIGKILL after grace
  std::optional<state::TimeUs> next_deadline() const;
  // A probe says that the pod is no good: it is stopped, and has failed for that reason.
  void on_unhealthy(const state::PodRef& ref, const std::string& why, state::TimeUs now, std::vector<Action>& out);

  // For AgentHello, and the ends to repeat after a reconnection.
  std::vector<state::AgentPod> known_pods() const;
  state::AgentStatus unacknowledged() const;
  std::size_t running() const { return live_; }  // launching or running
  enum class Phase : std::uint8_t { kUnknown, kLaunching, kRunning, kEnded };
  Phase phase(state::PodRef ref) const;
  // The latest attempt known of a pod; nullopt if there is none.
  std::optional<state::PodRef> latest_attempt(state::PodId pod) const;
  // What the pod was started with; nullptr if it is not known (or was stopped before it arrived).
  const state::StartOrder* order_of(state::PodRef ref) const;
  std::uint32_t index_of(state::PodRef ref) const;  // array index or rank; 0 if it is not known
  state::TimeUs started_at(state::PodRef ref) const;

 private:
  struct Entry {
    std::shared_ptr<const state::StartOrder> order;  // nullptr: stopped before it arrived
    state::PodToStart pod;
    Phase phase = Phase::kLaunching;
    std::int64_t grace_ms = 0;
    std::int64_t warn_ms = 0;
    int warn_signal = 0;  // 0: none, or sent
    state::TimeUs started_at = 0;
    state::TimeUs deadline = 0;  // 0: none. Of SIGKILL if `stop` is set, else of the warning or the time limit
    std::optional<StopMark> stop;
    std::string unhealthy;  // why it is stopped, if a probe said so
    state::PodEnd end;
  };
  using Pods = std::map<state::PodRef, Entry>;

  void set_deadline(const state::PodRef& ref, Entry& entry, state::TimeUs at);
  static void read_launch(const state::StartOrder& order, Entry& entry);
  void set_time_limit(const state::PodRef& ref, Entry& entry);
  void stop(const state::PodRef& ref, Entry& entry, state::PodState as, state::TimeUs now, std::vector<Action>& out);
  void finish(const state::PodRef& ref, Entry& entry, state::PodEnd end, std::vector<Action>& out);

  Pods pods_;
  std::set<std::pair<state::TimeUs, state::PodRef>> deadlines_;
  std::size_t live_ = 0;
};

}  // namespace berth::agent
