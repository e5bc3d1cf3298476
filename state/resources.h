// What a pod asks for and what a node has. Integers only: cpu in thousandths of a core, memory in MiB, whole GPUs as
// bits of a mask (bit i is the node's i-th GPU).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace berth::state {

struct Resources {
  std::uint32_t cpu_milli = 0;
  std::uint64_t mem_mib = 0;
  std::uint32_t gpus = 0;  // whole devices, at most kMaxGpus
  bool operator==(const Resources&) const = default;
};

inline constexpr std::uint32_t kMaxGpus = 64;

// One pod's request. Every pod of a job has the same.
struct Request {
  Resources resources;
  std::vector<std::string> features;  // the node must have all of them; sorted, unique
  bool operator==(const Request&) const = default;
};

}  // namespace berth::state
