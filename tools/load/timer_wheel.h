// TimerWheel: things that fall due, in slots of one tick, so that thousands of pods that end about the same time share
// one timer and one report. An entry never falls due early, and at most one tick late. Adding costs O(log of the slots
// in use).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "state/ids.h"

namespace berth::tools {

template <class T>
class TimerWheel {
 public:
  explicit TimerWheel(std::int64_t tick_us) : tick_us_(tick_us < 1 ? 1 : tick_us) {}

  void add(state::TimeUs due_at, T item) {
    const std::int64_t slot = (due_at + tick_us_ - 1) / tick_us_;
    // What is added last is mostly due last.
    auto at = slots_.empty() || slots_.rbegin()->first < slot ? slots_.try_emplace(slots_.end(), slot)
                                                              : slots_.try_emplace(slot).first;
    at->second.push_back(std::move(item));
  }
  // When the next slot falls due.
  std::optional<state::TimeUs> next() const {
    if (slots_.empty()) return std::nullopt;
    return slots_.begin()->first * tick_us_;
  }
  // Takes all that is due at `now` out, earliest slot first.
  std::vector<T> take(state::TimeUs now) {
    std::vector<T> due;
    while (!slots_.empty() && slots_.begin()->first * tick_us_ <= now) {
      std::vector<T>& slot = slots_.begin()->second;
      if (due.empty()) {
        due = std::move(slot);
      } else {
        due.insert(due.end(), std::make_move_iterator(slot.begin()), std::make_move_iterator(slot.end()));
      }
      slots_.erase(slots_.begin());
    }
    return due;
  }
  bool empty() const { return slots_.empty(); }

 private:
  std::int64_t tick_us_;
  std::map<std::int64_t, std::vector<T>> slots_;
};

}  // namespace berth::tools
