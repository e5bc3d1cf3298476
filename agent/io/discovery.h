// What this machine has, found once at start with hwloc; the topology is given back before this returns.
#pragma once

#include <cstdint>
#include <string>

#include "state/resources.h"

namespace berth::agent {

struct NodeFacts {
  std::uint32_t cpus = 0;  // hardware threads this process may use
  std::uint32_t cores = 0, sockets = 0, numa_nodes = 0;
  std::uint64_t mem_mib = 0;
  std::uint32_t gpus = 0;
  std::string gpu_names;  // for people
  state::Resources resources() const { return {cpus * 1000, mem_mib, gpus}; }
};
NodeFacts discover_node();

// hwloc finds what machines have, PCI devices from the kernel's own files, without the plugins that load whole GPU
// runtimes into the process to ask them for names.
// To be called before hwloc is used; a list of the user's own stands.
void keep_gpu_runtimes_out();

}  // namespace berth::agent
