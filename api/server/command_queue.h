// CommandQueue: a bounded queue from many producers to one consumer, without locks (D. Vyukov's bounded ring: every
// cell carries the number of the turn in which it may be written or read). Capacity is a power of two.
//   push: any thread; false if it is full, and the value is untouched.
//   pop: the one consumer; false if it is empty.
// Each value pushed is popped exactly once, and the values of one producer in their order.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace berth::server {

template <class T>
class CommandQueue {
 public:
  explicit CommandQueue(std::size_t capacity)
      : mask_(std::bit_ceil(capacity < 2 ? std::size_t{2} : capacity) - 1),
        cells_(std::make_unique<Cell[]>(mask_ + 1)) {
    for (std::size_t i = 0; i <= mask_; ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
  }

  bool push(T&& value) {
    std::uint64_t at = tail_.load(std::memory_order_relaxed);
    while (true) {
      Cell& cell = cells_[at & mask_];
      const std::uint64_t turn = cell.turn.load(std::memory_order_acquire);
      const auto ahead = static_cast<std::int64_t>(turn - at);
      if (ahead == 0) {
        if (!tail_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) continue;
        cell.value = std::move(value);
        cell.turn.store(at + 1, std::memory_order_release);
        return true;
      }
      if (ahead < 0) return false;  // the consumer has not freed it yet: full
      at = tail_.load(std::memory_order_relaxed);
    }
  }

  bool pop(T& out) {
    Cell& cell = cells_[head_ & mask_];
    if (cell.turn.load(std::memory_order_acquire) != head_ + 1) return false;
    out = std::move(cell.value);
    cell.value = T{};  // what it held goes now, not a whole round later
    cell.turn.store(head_ + mask_ + 1, std::memory_order_release);
    ++head_;
    return true;
  }

  // For the consumer: whether pop would succeed.
  bool ready() const { return cells_[head_ & mask_].turn.load(std::memory_order_acquire) == head_ + 1; }
  std::size_t capacity() const { return mask_ + 1; }

 private:
  struct Cell {
    std::atomic<std::uint64_t> turn{0};
    T value{};
  };
  const std::size_t mask_;
  std::unique_ptr<Cell[]> cells_;
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  alignas(64) std::uint64_t head_ = 0;
};

}  // namespace berth::server
