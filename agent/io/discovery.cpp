#include "agent/io/discovery.h"

#include <algorithm>
#include <cstdlib>
#include <hwloc.h>
#include <malloc.h>
#include <sched.h>
#include <unistd.h>

namespace berth::agent {

namespace {

constexpr unsigned kVendorAmd = 0x1002;
constexpr unsigned kClassDisplay = 0x03;

// NVIDIA's driver makes /dev/nvidia0, 1, …, in the order that CUDA_VISIBLE_DEVICES counts.
std::uint32_t count_nvidia() {
  std::uint32_t count = 0;
  while (count < state::kMaxGpus && access(("/dev/nvidia" + std::to_string(count)).c_str(), F_OK) == 0) ++count;
  return count;
}

std::uint32_t count_amd(hwloc_topology_t topology) {
  if (access("/dev/kfd", F_OK) != 0) return 0;  // no compute driver
  std::uint32_t count = 0;
  for (hwloc_obj_t device = nullptr; (device = hwloc_get_next_pcidev(topology, device)) != nullptr;) {
    const auto& pci = device->attr->pcidev;
    if (pci.vendor_id == kVendorAmd && pci.class_id >> 8 == kClassDisplay) ++count;
  }
  return std::min(count, state::kMaxGpus);
}

std::uint32_t count(hwloc_topology_t topology, hwloc_obj_type_t type) {
  return static_cast<std::uint32_t>(std::max(hwloc_get_nbobjs_by_type(topology, type), 0));
}

void read_topology(NodeFacts& facts) {
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) return;
  hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  if (hwloc_topology_load(topology) == 0) {
    facts.cpus = count(topology, HWLOC_OBJ_PU);
    facts.cores = count(topology, HWLOC_OBJ_CORE);
    facts.sockets = count(topology, HWLOC_OBJ_PACKAGE);
    facts.numa_nodes = count(topology, HWLOC_OBJ_NUMANODE);
    facts.mem_mib = hwloc_get_root_obj(topology)->total_memory >> 20;
    facts.gpus = count_amd(topology);
    if (facts.gpus != 0) facts.gpu_names = "AMD";
  }
  hwloc_topology_destroy(topology);
}

}  // namespace

void keep_gpu_runtimes_out() {
  setenv("HWLOC_PLUGINS_BLACKLIST",
         "hwloc_opencl.so,hwloc_cuda.so,hwloc_nvml.so,hwloc_rsmi.so,hwloc_levelzero.so,hwloc_gl.so,hwloc_pci.so", 0);
}

NodeFacts discover_node() {
  keep_gpu_runtimes_out();
  NodeFacts facts;
  read_topology(facts);
  if (const std::uint32_t nvidia = count_nvidia(); nvidia != 0) {
    facts.gpus = nvidia;
    facts.gpu_names = "NVIDIA";
  }
  // What a container or a batch system left us, where hwloc could not tell.
  if (facts.cpus == 0) facts.cpus = static_cast<std::uint32_t>(std::max(sysconf(_SC_NPROCESSORS_ONLN), 1L));
  if (facts.mem_mib == 0) {
    facts.mem_mib =
        static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) >> 20;
  }
  malloc_trim(0);
  return facts;
}

}  // namespace berth::agent
