// HollowNode: a node whose pods only exist on paper. It keeps an agent's side of the protocol (an attempt starts at
// most once; an end is kept and repeated until the server forgets it) and runs nothing. Pure: time is an argument, what
// is to be reported comes back in an AgentStatus. The cost of a pod is one insertion into a flat map and one removal.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "state/requests.h"

namespace berth::tools {

struct HollowTotals {
  std::uint64_t started = 0;
  std::uint64_t ended = 0;      // by themselves
  std::uint64_t stopped = 0;    // on the server's word
  std::uint64_t timed_out = 0;  // over their job's time limit
  std::uint64_t forgotten = 0;  // their end is durable, the server said
  std::uint64_t repeated = 0;   // start orders for an attempt that was already known: ignored, as an agent must
};

class HollowNode {
 public:
  // A pod that runs until `due_at`.
  struct Due {
    state::PodRef ref;
    state::TimeUs due_at = 0;
  };

  // Starts the ordered pods. With pod_time_us 0 each ends at once, in the same report; else `dues` gets when it will.
  void on_start(const state::StartPods& request, state::TimeUs now, std::int64_t pod_time_us,
                state::AgentStatus& report, std::vector<Due>& dues, HollowTotals& totals);
  // A pod that runs ends as cancelled; one that is not there is reported ended at once; one that has ended is left
  // alone.
  void on_stop(const state::StopPods& request, state::TimeUs now, state::AgentStatus& report, HollowTotals& totals);
  void on_forget(const state::ForgetPods& request, HollowTotals& totals);
  // The pod's time is over, unless it was stopped before.
  void on_due(const state::PodRef& ref, state::TimeUs now, state::AgentStatus& report, HollowTotals& totals);

  // For AgentHello, in the order of their refs, and the ends and the readiness to repeat after a reconnection.
  std::vector<state::AgentPod> known_pods() const;
  state::AgentStatus unacknowledged() const;
  bool is_running(const state::PodRef& ref) const;
  std::size_t running() const { return running_; }
  std::size_t known() const { return pods_.size(); }

 private:
  struct Entry {
    state::PodState state = state::PodState::kRunning;  // what it ended as, once it has
    std::uint8_t signal = 0;
    std::int16_t exit_code = 0;
    bool limited = false;  // its end will be the job's time limit
    bool replica = false;  // of a service
    std::uint64_t gpu_mask = 0;
    state::TimeUs started_at = 0;
    state::TimeUs ended_at = 0;
  };
  struct RefHash {
    std::size_t operator()(const state::PodRef& ref) const {
      return state::PodIdHash{}(ref.pod) ^ (ref.attempt * std::size_t{0x9E3779B97F4A7C15ULL});
    }
  };
  static state::PodEnd end_of(const state::PodRef& ref, const Entry& entry);

  boost::unordered_flat_map<state::PodRef, Entry, RefHash> pods_;
  std::size_t running_ = 0;
};

}  // namespace berth::tools
