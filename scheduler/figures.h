// Figures: what the core knows of itself, for whoever watches it. Plain numbers, copied out between two turns.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "scheduler/latency.h"
#include "state/requests.h"

namespace berth::scheduler {

// How a request came out: 0 as it was wanted, else as its ErrorCode says.
inline constexpr std::size_t kOutcomes = static_cast<std::size_t>(state::ErrorCode::kInternal) + 1;
inline constexpr std::size_t kRequestKinds = std::variant_size_v<state::ClientRequest>;
using RequestCounts = std::array<std::array<std::uint64_t, kOutcomes>, kRequestKinds>;  // by place in ClientRequest

struct Figures {
  // ---- since the core began ----
  RequestCounts requests{};
  Spread submit_to_bind, bind_to_start, submit_to_start;  // of each pod
  // ---- as it is now ----
  std::uint64_t journal_index = 0;
  std::uint64_t jobs = 0, jobs_ended = 0;  // of `jobs`
  std::uint64_t pods_pending = 0, pods_bound = 0, pods_running = 0;
  std::vector<std::pair<std::string, std::uint64_t>> queues;     // with their waiting pods
  std::array<std::uint64_t, 3> nodes_connected{}, nodes_away{};  // by NodeState
  std::uint64_t services = 0, replicas_wanted = 0, replicas_running = 0, replicas_ready = 0;
};

}  // namespace berth::scheduler
