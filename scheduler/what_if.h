// WhatIf: the dispatcher run ahead of time, on a copy of what is true now: when would a waiting job start if everything
// that runs, and will run, took its whole time limit, and nothing else were submitted? Pure.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <unordered_map>
#include <vector>

#include "scheduler/dispatcher.h"

namespace berth::scheduler {

class WhatIf : private Starter {
 public:
  WhatIf(const placement::Policy& placement, const QueuePolicy& policy, state::TimeUs now)
      : dispatcher_(placement, policy), now_(now) {}

  struct Node {
    state::NodeId id;
    placement::Offered offered;
    bool open = false;  // takes pods
  };
  void add(Node node);
  void set_switches(placement::SwitchTree tree) { dispatcher_.engine().set_switches(std::move(tree)); }
  Licences& licences() { return dispatcher_.licences(); }
  // A pod that runs, until `end` at most (0: nobody knows, and it runs for ever).
  // The first pod of a gang that is added takes the gang's licences.
  void add_running(state::JobId job, bool gang, const placement::Placed& place, const state::Request& request,
                   const state::Pinning* pinning, state::TimeUs end);
  // A job that waits, where it stands in the queue; `pods` of it may start at once (an array's throttle aside).
  void add_waiting(const WaitKey& key, ClassKey in, std::uint32_t pods);

  // When the first pod of the job starts; nullopt: never, as far as limits tell, or too far ahead to look.
  std::optional<state::TimeUs> start_of(state::JobId job);

 private:
  struct Job {
    ClassKey in;
    std::uint32_t pods = 0;  // that wait
    std::optional<state::TimeUs> start;
  };
  struct End {
    state::TimeUs at;
    std::uint64_t order;
    placement::Placed place;
    const state::Request* request;
    state::Pinning pinning;
    state::JobId gang;  // none: of no gang
    bool operator>(const End& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  static constexpr std::uint32_t kEndsMax = 50'000;  // looked at: bounds the work

  std::uint32_t startable(state::JobId job) const override;
  bool overdue(state::JobId) const override { return false; }
  void start(state::JobId job, const std::vector<placement::Placed>& places, state::TimeUs limit_us) override;
  void run_until(state::TimeUs at, const state::Request& request, const placement::Placed& place,
                 const state::Pinning* pinning, state::JobId gang);

  Dispatcher dispatcher_;
  state::TimeUs now_;
  std::unordered_map<state::JobId, Job> jobs_;
  std::vector<std::unique_ptr<state::Request>> requests_;  // of what runs already
  std::unordered_map<state::JobId, std::uint32_t> gangs_;  // pods of each that run
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  std::uint64_t order_ = 0;
};

}  // namespace berth::scheduler
