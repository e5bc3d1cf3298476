// Where a cluster's bytes are in memory, by kind of record. Counted from sizes and capacities with what the allocator
// adds to each block, so that it needs no allocator of its own; tests hold it against what was really allocated.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "state/cluster.h"

namespace berth::state {

struct MemoryUse {
  struct Kind {
    std::string name;
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
  };
  // jobs (without the next two), "waiting elements", "outcomes", "running pods", "nodes", "strings" (of all of them),
  // "other".
  std::vector<Kind> kinds;
  std::uint64_t total() const;
  std::uint64_t bytes_of(const std::string& name) const;
  std::uint64_t count_of(const std::string& name) const;
};

MemoryUse memory_use(const Cluster& cluster);

}  // namespace berth::state
