// What the kernel tells of this process. Any thread; some ten microseconds, and more with many open descriptors.
#pragma once

#include <cstdint>

namespace berth::server {

struct ProcessFigures {
  std::uint64_t resident_bytes = 0, open_fds = 0, max_fds = 0;
  std::int64_t cpu_us = 0;  // user and system
};
ProcessFigures process_figures();

}  // namespace berth::server
