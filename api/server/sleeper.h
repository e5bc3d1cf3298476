// Sleeper: lets the one consumer of a lock-free queue sleep until a producer wakes it or a time has come. A wake costs
// a system call only if the consumer sleeps.
#pragma once

#include <atomic>
#include <cstdint>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace berth::server {

class Sleeper {
 public:
  Sleeper() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Sleeper() { ::close(fd_); }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

  // Producers, after they made something ready. Both sides exchange: whichever comes second has seen what the other did
  // before, so either the sleeper finds it ready or it is woken. (A load here could be answered before what was made
  // ready is visible.)
  void wake() {
    if (!asleep_.exchange(false, std::memory_order_acq_rel)) return;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof(one));
  }

  // The consumer: sleeps up to timeout_ms (-1: for ever) unless `ready()` says that there is something.
  template <class Ready>
  void sleep(std::int64_t timeout_ms, Ready&& ready) {
    asleep_.exchange(true, std::memory_order_acq_rel);
    bool written = false;
    if (!ready()) {
      pollfd wait{fd_, POLLIN, 0};
      constexpr std::int64_t kLongest = 60'000;
      written = ::poll(&wait, 1, static_cast<int>(timeout_ms < 0 || timeout_ms > kLongest ? kLongest : timeout_ms)) > 0;
    }
    // Whoever took the flag down writes, now or in a moment; that moment's byte ends the next sleep at once.
    if (asleep_.exchange(false, std::memory_order_acq_rel) && !written) return;
    std::uint64_t count = 0;
    [[maybe_unused]] const auto cleared = ::read(fd_, &count, sizeof(count));
  }

 private:
  int fd_;
  std::atomic<bool> asleep_{false};
};

}  // namespace berth::server
