// Clock: the core's time. It follows the wall clock, never goes back, and never stands still: where the wall clock is
// set back it runs a little slower until that has caught up, so that deadlines still come. One thread.
#pragma once

#include <algorithm>

#include "state/ids.h"

namespace berth::server {

class Clock {
 public:
  // `wall` is the time now, or that of the last batch if it is later; `steady` is of a clock that is never set.
  Clock(state::TimeUs wall, std::int64_t steady) : now_(wall), steady_(steady) {}

  state::TimeUs advance(state::TimeUs wall, std::int64_t steady) {
    const std::int64_t elapsed = std::max<std::int64_t>(steady - steady_, 0);
    steady_ += elapsed;
    now_ = std::max(wall, now_ + elapsed - elapsed / 10);
    return now_;
  }

 private:
  state::TimeUs now_;
  std::int64_t steady_;
};

state::TimeUs wall_clock_us();
std::int64_t steady_clock_us();

}  // namespace berth::server
