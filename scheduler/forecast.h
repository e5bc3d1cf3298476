// Forecast: until when what runs will run at most, and from that the first time at which a job that finds no room now
// could start. Only pods with a time limit are known to end. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "placement/engine.h"
#include "state/ids.h"
#include "state/resources.h"

namespace berth::scheduler {

// What a job that waits is promised: from `at` on there is room for it.
struct Plan {
  state::TimeUs at = 0;
  placement::Promised promised;
  std::uint32_t candidates = 0;  // nodes that were looked at: what the plan cost
};

class Forecast {
 public:
  // A pod runs on the node until `end` at most; remove() takes what add() was given.
  void add(state::NodeId node, state::TimeUs end, const placement::Amounts& amounts);
  void remove(state::NodeId node, state::TimeUs end, const placement::Amounts& amounts);
  bool empty() const { return size_ == 0; }
  // Changes whenever a pod is gone: a plan may then come true earlier.
  std::uint64_t version() const { return version_; }

  // The first time at which `pods` of the request fit at once, over nodes as the shape says, if nothing else
  // starts and every pod runs until its end; what should have ended by now ends now. False: no end that is known makes
  // the room, or there is room already, and it is something else that keeps the job back (rules about other pods).
  bool earliest(placement::Engine& engine, const state::Request& request, std::uint32_t pods,
                const state::GangShape& shape, state::TimeUs now, Plan& out);
  std::string check_invariants() const;  // "" or what is wrong; for tests

 private:
  struct Running {
    state::TimeUs end;
    placement::Amounts amounts;
  };
  struct Candidate {
    state::NodeId node;
    placement::Amounts free, wanted;
    std::uint32_t room;
    std::size_t rest;        // of the node's running pods, the last of these ends next
    state::TimeUs came = 0;  // when its room last grew
  };
  std::uint32_t advance(Candidate& candidate, state::TimeUs to, std::uint32_t most) const;
  bool choose(placement::Engine& engine, std::uint32_t pods, const state::GangShape& shape);

  std::vector<std::vector<Running>> nodes_;  // by NodeId - 1; who ends first is last
  std::size_t size_ = 0;
  std::uint64_t version_ = 0;
  std::vector<Candidate> candidates_;                             // of the search at hand
  std::vector<placement::GangPart> parts_;                        // … and what a gang with a shape takes of them
  std::vector<std::pair<state::TimeUs, std::size_t>> next_ends_;  // a heap: the next end on each of them
};

}  // namespace berth::scheduler
