// The two clocks of the agent.
#pragma once

#include <chrono>
#include <cstdint>

#include "state/ids.h"

namespace berth::agent {

inline state::TimeUs now_us() {  // since 1970
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}
inline std::int64_t steady_ms() {  // since some moment; never set back
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace berth::agent
