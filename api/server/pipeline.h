// Pipeline: the core on a thread of its own and the journal on another. Commands go in from any thread; what comes out
// has been made durable. While one write is on its way to the disk the core goes on, up to kTurnsAhead turns; then it
// waits, the command queue fills, and push() refuses.
//
//   push (any thread) -> CommandQueue -> core thread -> turns -> journal thread: append, then `deliver`
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "api/server/command_queue.h"
#include "api/server/sleeper.h"
#include "scheduler/core.h"
#include "state/store/store.h"

namespace berth::server {

// What became durable together, in order.
struct Delivery {
  std::vector<scheduler::Effect> effects;
  std::vector<state::Event> token_events;  // TokenAdded and TokenRemoved, for whoever checks tokens
};

class Pipeline {
 public:
  struct Handlers {
    // On the journal thread, in order.
    std::function<void(Delivery)> deliver;
    // Once, on the journal thread: nothing will be delivered any more. The process has to end.
    std::function<void(state::Error)> failed;
    // Once, on the journal thread, after stop(): everything that was pushed is durable and delivered.
    std::function<void()> stopped;
  };

  Pipeline(std::unique_ptr<scheduler::Core> core, store::Store& store, std::size_t queue_capacity, Handlers handlers);
  ~Pipeline();  // stops without waiting for what is queued if stop() was not called

  void start();
  bool push(scheduler::Command&& command);  // any thread; false: full, try again later
  void stop();                              // any thread; finish what is queued, then `stopped`
  // The disk is full: nothing that changes the state can be acknowledged now.
  bool disk_full() const { return disk_full_.load(std::memory_order_relaxed); }

 private:
  struct Pending {
    std::string record;  // empty: a turn without events
    std::uint64_t index = 0;
    Delivery delivery;
  };
  static constexpr std::size_t kTurnsAhead = 64;
  static constexpr std::size_t kCommandsPerTurn = 512;

  void run_core();
  void run_journal();
  void hand_over(scheduler::Turn turn);
  bool make_durable(std::vector<Pending>& turns);

  std::unique_ptr<scheduler::Core> core_;
  store::Store& store_;
  CommandQueue<scheduler::Command> commands_;
  Handlers handlers_;
  Sleeper sleeper_;
  std::atomic<bool> stopping_{false}, abandon_{false}, disk_full_{false};

  std::mutex mutex_;  // guards turns_ and core_done_
  std::condition_variable turns_ready_, room_ready_;
  std::vector<Pending> turns_;
  bool core_done_ = false;

  std::thread core_thread_, journal_thread_;
};

// Wall-clock time in microseconds; the core makes sure that it never goes back.
state::TimeUs wall_clock_us();

}  // namespace berth::server
