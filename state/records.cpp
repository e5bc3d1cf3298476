#include "state/records.h"

namespace berth::state {

namespace {
constexpr std::array<std::string_view, kPodStates> kPodStateNames = {
    "pending",       "bound",     "running",   "succeeded", "failed",
    "out-of-memory", "timed-out", "cancelled", "node-lost", "deadline"};
}  // namespace

std::string_view name_of(PodState state) { return kPodStateNames[static_cast<std::size_t>(state)]; }

bool parse_pod_state(std::string_view text, PodState& out) {
  for (std::size_t i = 0; i < kPodStateNames.size(); ++i) {
    if (kPodStateNames[i] == text) {
      out = static_cast<PodState>(i);
      return true;
    }
  }
  return false;
}

std::string_view name_of(NodeState state) {
  switch (state) {
    case NodeState::kUp:
      return "up";
    case NodeState::kDrained:
      return "drained";
    case NodeState::kLost:
      return "lost";
  }
  return "unknown";
}

std::string_view name_of(Dependency::Kind kind) {
  constexpr std::array<std::string_view, 6> kNames = {"after",      "afterany",  "afterok",
                                                      "afternotok", "singleton", "aftercorr"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string_view name_of(WaitReason reason) {
  constexpr std::array<std::string_view, kWaitReasons> kNames = {"None",
                                                                 "Priority",
                                                                 "Resources",
                                                                 "Dependency",
                                                                 "DependencyNeverSatisfied",
                                                                 "JobHeldUser",
                                                                 "JobHeldAdmin",
                                                                 "BeginTime",
                                                                 "JobArrayTaskLimit",
                                                                 "Cleaning",
                                                                 "Licenses",
                                                                 "PartitionDown",
                                                                 "PartitionNodeLimit",
                                                                 "AssociationJobLimit",
                                                                 "AssociationResourceLimit",
                                                                 "AssociationTimeLimit",
                                                                 "QOSJobLimit",
                                                                 "QOSResourceLimit",
                                                                 "QOSTimeLimit"};
  return kNames[static_cast<std::size_t>(reason)];
}

std::string_view name_of(Queue::State state) {
  constexpr std::array<std::string_view, 4> kNames = {"up", "down", "draining", "inactive"};
  return kNames[static_cast<std::size_t>(state)];
}

PodState summary_of(const JobCounts& counts) {
  using enum PodState;
  for (const PodState state :
       {kRunning, kBound, kPending, kFailed, kOutOfMemory, kTimedOut, kNodeLost, kDeadline, kCancelled}) {
    if (counts.of(state) != 0) return state;
  }
  return kSucceeded;
}

}  // namespace berth::state
