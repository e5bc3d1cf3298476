// Pipeline: the core on a thread of its own and the journal on another. Commands go in from any thread; what comes out
// has been made durable. While one write is on its way to the disk the core goes on, up to a bound of turns and bytes;
// then it waits, the command queue fills, and push() refuses.
//
//   push (any thread) -> CommandQueue -> core thread -> turns -> journal thread: append, then `deliver`
//
// A store that takes nothing just now (a full disk, an etcd without its majority) is waited out: the turns that could
// not be written wait, what changes the state is held back, and requests that only read are answered (read_only.h)
// while this server may speak for the cluster, but for those that were in line already: these come again. Any other
// error of the store ends it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "api/server/clock.h"
#include "api/server/command_queue.h"
#include "api/server/metrics.h"
#include "api/server/sleeper.h"
#include "api/server/trace.h"
#include "scheduler/core.h"
#include "state/accounting/record.h"
#include "state/store/store.h"

namespace berth::server {

// What became durable together, in order.
struct Delivery {
  std::vector<std::vector<scheduler::Effect>> turns;
  std::vector<state::Event> token_events;  // TokenAdded and TokenRemoved, for whoever checks tokens
  std::uint64_t last_batch = 0;            // of them; 0: none
};

// Who counts and who watches; both may be none.
struct Watch {
  Metrics* metrics = nullptr;
  Trace* trace = nullptr;
};

struct PipelineLimits {
  std::size_t queue_commands = 4096;     // waiting for the core; rounded up to a power of two
  std::size_t queue_bytes = 256U << 20;  // … as they came off the wire
  std::size_t turn_commands = 512;       // in one turn, which is one record of the journal
  std::size_t turn_bytes = 16U << 20;
  std::size_t turns_ahead = 64;  // waiting for the journal
  std::size_t bytes_ahead = 128U << 20;
};

class Pipeline {
 public:
  struct Handlers {
    // In order, on the journal thread; while suspended also answers to what only reads, on either thread.
    std::function<void(Delivery)> deliver;
    // Once, on the journal thread: nothing will be delivered any more. The process has to end.
    std::function<void(state::Error)> failed;
    // Once, on the journal thread, after stop(): everything that was pushed is durable and delivered.
    std::function<void()> stopped;
    // For the accounting, both or none: on the core thread after each turn, the jobs that ended in it; and on the
    // journal thread, once they are durable, before `deliver`.
    std::function<std::optional<accounting::Ended>(const state::Cluster&, const state::Batch&)> collect = {};
    std::function<void(accounting::Ended)> ended = {};
  };

  Pipeline(std::unique_ptr<scheduler::Core> core, store::Store& store, PipelineLimits limits, Handlers handlers,
           Watch watch = {});
  ~Pipeline();  // stops without waiting for what is queued if stop() was not called

  void start();
  // Any thread; `bytes` is the size of the command's frame. False: full, the command is untouched, try again later.
  // `number`: what a trace calls it.
  bool push(scheduler::Command&& command, std::size_t bytes = 0, std::uint64_t number = 0);
  // Any thread; finish what is queued, then `stopped`. While suspended there is no finishing: `failed`.
  void stop();
  // The store takes nothing: nothing that changes the state can be acknowledged now.
  bool suspended() const { return suspended_.load(std::memory_order_relaxed); }
  state::Error suspended_error() const;  // any thread
  // Any thread: the core's figures, at most a second old if the core comes to it within so long, else what it told
  // last; none if it never did.
  struct Told {
    std::shared_ptr<const scheduler::Figures> figures;
    std::int64_t at_us = 0;  // by the steady clock
  };
  Told figures(std::int64_t wait_ms);
  std::size_t turns_waiting();  // for the journal; any thread

 private:
  struct Item {
    scheduler::Command command;
    std::size_t bytes = 0;
    std::uint64_t number = 0;
    std::int64_t pushed_ns = 0;  // where there is a trace
  };
  struct Pending {
    state::Batch batch;  // index 0: a turn without events
    std::vector<scheduler::Effect> effects;
    std::size_t bytes = 0;
    state::JobId last_job;
    std::optional<accounting::Ended> ended;
  };

  void run_core();
  std::size_t take_turn();
  void note_taken(const Item& item);
  scheduler::Turn step(state::TimeUs time);
  void tell_figures();
  void serve_reads();
  void answer_reads(std::vector<scheduler::Effect>& effects);
  void hand_over(scheduler::Turn turn, std::size_t bytes);
  void deliver_now(std::vector<scheduler::Effect> effects);
  state::TimeUs now() { return clock_.advance(wall_clock_us(), steady_clock_us()); }

  void run_journal();
  state::Status append(std::uint64_t first, std::span<const std::string> records, std::size_t events);
  void count(const std::vector<Pending>& turns);
  bool make_durable(std::vector<Pending>& turns);
  void release(std::vector<Pending>& turns);
  void suspend(std::vector<Pending>& turns);
  void resume();

  std::unique_ptr<scheduler::Core> core_;
  store::Store& store_;
  const PipelineLimits limits_;
  CommandQueue<Item> commands_;
  std::atomic<std::size_t> queued_bytes_{0};  // in commands_ and held_
  Handlers handlers_;
  Sleeper sleeper_;
  std::atomic<bool> stopping_{false}, abandon_{false}, suspended_{false};
  std::atomic<std::uint64_t> last_durable_job_;

  std::unique_ptr<Metrics> own_metrics_;  // where nobody else wants them
  Metrics& metrics_;
  Trace* const trace_;

  // Core thread.
  Clock clock_;
  std::vector<scheduler::Command> turn_;
  std::uint64_t turn_first_ = 0, turn_last_ = 0;  // numbers of commands in turn_
  std::deque<Item> held_;                         // came off the queue while suspended; first in line afterwards

  std::mutex mutex_;  // guards what follows, and stopping_ and abandon_ for those who wait
  std::condition_variable turns_ready_, room_ready_;
  std::vector<Pending> turns_;
  std::size_t bytes_ahead_ = 0;
  bool core_done_ = false;

  std::atomic<bool> figures_wanted_{false};
  std::mutex figures_mutex_;  // guards what follows
  std::condition_variable figures_told_;
  Told told_;

  std::thread core_thread_, journal_thread_;
};

}  // namespace berth::server
