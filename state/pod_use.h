// PodUse: what a pod has used of its node so far, or in all.
#pragma once

#include <cstdint>

namespace berth::state {

struct PodUse {
  std::uint64_t cpu_user_us = 0, cpu_system_us = 0;
  std::uint64_t read_bytes = 0, written_bytes = 0;  // from and to disks
  bool operator==(const PodUse&) const = default;
  PodUse& operator+=(const PodUse& more) {
    cpu_user_us += more.cpu_user_us;
    cpu_system_us += more.cpu_system_us;
    read_bytes += more.read_bytes;
    written_bytes += more.written_bytes;
    return *this;
  }
};

}  // namespace berth::state
