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

  // Producers, after they made something ready.
  void wake() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!asleep_.load(std::memory_order_relaxed) || !asleep_.exchange(false)) return;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof(one));
  }

  // The consumer: sleeps up to timeout_ms (-1: for ever) unless `ready()` says that there is something.
  template <class Ready>
  void sleep(std::int64_t timeout_ms, Ready&& ready) {
    asleep_.store(true);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!ready()) {
      pollfd wait{fd_, POLLIN, 0};
      constexpr std::int64_t kLongest = 60'000;
      ::poll(&wait, 1, static_cast<int>(timeout_ms < 0 || timeout_ms > kLongest ? kLongest : timeout_ms));
    }
    asleep_.store(false);
    std::uint64_t count = 0;
    [[maybe_unused]] const auto cleared = ::read(fd_, &count, sizeof(count));
  }

 private:
  int fd_;
  std::atomic<bool> asleep_{false};
};

}  // namespace berth::server
