// Metrics: what the server's threads count as they go. Each number is written by one thread alone, so that counting is
// a load and a store, and read by whoever makes a page of them (metrics_page.h). What only the core knows is in
// scheduler/figures.h.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <variant>

#include "scheduler/figures.h"

namespace berth::server {

class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.store(get() + n, std::memory_order_relaxed); }
  void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// How long things take, by powers of two.
class Timing {
 public:
  void add(std::int64_t us) {
    const std::uint64_t length = us < 0 ? 0 : static_cast<std::uint64_t>(us);
    counts_[scheduler::Spread::power_of(length)].add();
    sum_us_.add(length);
  }
  scheduler::Spread spread() const {
    scheduler::Spread out;
    out.sum_us = sum_us_.get();
    for (std::size_t i = 0; i < counts_.size(); ++i) out.counts[i] = counts_[i].get();
    return out;
  }

 private:
  std::array<Counter, scheduler::Spread::kPowers> counts_;
  Counter sum_us_;
};

// What is asked beside ClientRequest: ArchiveRequest and NodeRequest, in their order.
inline constexpr std::size_t kArchiveKinds = std::variant_size_v<state::ArchiveRequest>;
inline constexpr std::size_t kNodeKinds = std::variant_size_v<state::NodeRequest>;
inline constexpr std::size_t kAllKinds = scheduler::kRequestKinds + kArchiveKinds + kNodeKinds;

struct Metrics {
  enum Peer : std::uint8_t { kClients = 0, kAgents = 1, kUnproven = 2, kPeers = 3 };
  struct Traffic {
    Counter frames_in, bytes_in, frames_out, bytes_out;
  };
  struct alignas(64) {
    std::array<Counter, kPeers> sessions;  // now
    std::array<Traffic, kPeers> traffic;
    // Answered without the core.
    std::array<std::array<Counter, scheduler::kOutcomes>, kAllKinds> requests;
    Counter queue_full, slow_readers, silent_peers, rate_limited, agents_paused;
    Counter backlog;  // commands, now
  } loop;
  struct alignas(64) {
    Counter commands, reports;
    Timing turn;
    Counter turn_began_us;  // by the steady clock; 0: it waits
  } core;
  struct alignas(64) {
    Counter batches, events, bytes, appends, failures;
    Timing append, sync;
    Counter append_began_us;  // by the steady clock; 0: it waits
    Counter jobs_submitted, pods_submitted, pods_bound, pods_started, pods_requeued, pods_adopted;
    std::array<Counter, state::kPodStates> pods_ended;
    Timing run;  // of pods, from start to end
  } journal;
  alignas(64) std::atomic<std::uint64_t> commands_waiting{0};  // for the core; several threads
};

}  // namespace berth::server
