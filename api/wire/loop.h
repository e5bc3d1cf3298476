// Loop: one thread's event loop over Boost.Asio, hidden so that few files compile it. Everything but post() and stop()
// may be called only on the loop's thread (or before run()). Callbacks run on the loop's thread.
// What was made on a loop (connections, listeners, timers, watches) has to go before the loop does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace berth::wire {

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void run();                             // until stop()
  void stop();                            // any thread; async-signal-unsafe
  void post(std::function<void()> task);  // any thread

  // One-shot. The handle cancels when destroyed or reset; a cancelled timer never calls.
  class Timer;
  std::shared_ptr<Timer> after_ms(std::int64_t delay_ms, std::function<void()> task);

  // Calls `ready` whenever `fd` is readable (level-triggered) until the handle is destroyed. The fd stays the caller's,
  // and becomes non-blocking. A pidfd is readable once its process has ended.
  class Watch;
  std::shared_ptr<Watch> watch_readable(int fd, std::function<void()> ready);
  // The same for `fd` being writable, or its other end being gone.
  std::shared_ptr<Watch> watch_writable(int fd, std::function<void()> ready);

  // Calls `caught` for SIGINT, SIGTERM and the like.
  class Signals;
  std::shared_ptr<Signals> on_signals(std::initializer_list<int> signals, std::function<void(int)> caught);

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::wire
