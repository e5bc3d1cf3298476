#include "agent/io/topology_reader.h"

#include <algorithm>
#include <cstdio>
#include <hwloc.h>
#include <map>
#include <memory>
#include <unistd.h>

#include "agent/io/discovery.h"

namespace berth::agent {

using namespace state;

namespace {

struct Destroy {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};
using Handle = std::unique_ptr<hwloc_topology, Destroy>;

Error not_readable(const std::string& path, const std::string& why) {
  return Error{ErrorCode::kInvalid, "topology",
               path + ": " + why + "; accepted: XML of hwloc 1.x or 2.x, as lstopo writes it", 0};
}

class Reader {
 public:
  explicit Reader(hwloc_topology_t topology) : topology_(topology) {}

  Topology read() {
    read_cores();
    const CoreRange all{0, static_cast<std::uint32_t>(out_.cores.size())};
    out_.domains.push_back({Topology::Part::kMachine, 0, all});
    for (hwloc_obj_t at = nullptr; (at = next(HWLOC_OBJ_PACKAGE, at)) != nullptr;)
      add(Topology::Part::kPackage, at->logical_index, at);
    for (hwloc_obj_t at = nullptr; (at = next(HWLOC_OBJ_NUMANODE, at)) != nullptr;) add_numa(at, all);
    for (hwloc_obj_t at = nullptr; (at = next(HWLOC_OBJ_L3CACHE, at)) != nullptr;)
      add(Topology::Part::kL3, at->logical_index, at);
    read_devices();
    return std::move(out_);
  }

 private:
  hwloc_obj_t next(hwloc_obj_type_t type, hwloc_obj_t at) { return hwloc_get_next_obj_by_type(topology_, type, at); }

  // A machine of which hwloc knows no cores has one for each hardware thread.
  void read_cores() {
    const bool has_cores = hwloc_get_nbobjs_by_type(topology_, HWLOC_OBJ_CORE) > 0;
    for (hwloc_obj_t core = nullptr; (core = next(has_cores ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU, core)) != nullptr;) {
      std::vector<std::uint32_t> threads;
      unsigned thread = 0;
      hwloc_bitmap_foreach_begin(thread, core->cpuset) threads.push_back(thread);
      hwloc_bitmap_foreach_end();
      if (threads.empty()) continue;
      for (const std::uint32_t number : threads) core_of_[number] = static_cast<std::uint32_t>(out_.cores.size());
      out_.cores.push_back(std::move(threads));
    }
  }

  // The cores of a set of threads; hwloc numbers them so that they are in a row.
  CoreRange range_of(hwloc_const_cpuset_t set) const {
    CoreRange range{~0U, 0};
    for (const auto& [thread, core] : core_of_) {
      if (!hwloc_bitmap_isset(set, thread)) continue;
      range.first = std::min(range.first, core);
      range.end = std::max(range.end, core + 1);
    }
    return range.end == 0 ? CoreRange{} : range;
  }

  void add(Topology::Part part, std::uint32_t number, hwloc_obj_t object) {
    const CoreRange range = range_of(object->cpuset);
    if (range.size() != 0) out_.domains.push_back({part, number, range});
  }

  // Several NUMA nodes may have the same cores near (fast and large memory): one part of the machine, with two
  // memories.
  void add_numa(hwloc_obj_t object, const CoreRange& all) {
    CoreRange range = range_of(object->cpuset);
    if (range.size() == 0) {
      range = all;  // memory without cores of its own
    } else if (std::none_of(out_.domains.begin(), out_.domains.end(), [&](const Topology::Domain& known) {
                 return known.part == Topology::Part::kNuma && known.cores == range;
               })) {
      out_.domains.push_back({Topology::Part::kNuma, object->os_index, range});
    }
    out_.memories.push_back({object->os_index, object->attr->numanode.local_memory >> 20, range});
  }

  static std::string bus_of(const hwloc_obj_attr_u::hwloc_pcidev_attr_s& pci) {
    char text[32];
    std::snprintf(text, sizeof(text), "%04x:%02x:%02x.%x", pci.domain, pci.bus, pci.dev, pci.func);
    return text;
  }
  // Controllers that draw the console of a server: no compute devices.
  static bool draws_consoles(unsigned vendor) {
    constexpr unsigned kAspeed = 0x1a03, kMatrox = 0x102b, kXgi = 0x18ca, kHuawei = 0x19e5;
    return vendor == kAspeed || vendor == kMatrox || vendor == kXgi || vendor == kHuawei;
  }
  static bool is_gpu(unsigned pci_class, unsigned vendor) {
    constexpr unsigned kDisplay = 0x03, kAccelerator = 0x12;
    return (pci_class >> 8 == kDisplay || pci_class >> 8 == kAccelerator) && !draws_consoles(vendor);
  }

  // What of a PCI device counts as compute devices: those that one programming interface sees there, the first of
  // these. A GPU in several partitions is several devices to it; the other names mean the same ones.
  static std::vector<std::string> best_names(const std::vector<std::string>& names) {
    for (const char* interface : {"cuda", "rsmi", "ze", "nvml", "opencl", "card"}) {
      std::vector<std::string> chosen;
      for (const std::string& name : names) {
        if (name.starts_with(interface)) chosen.push_back(name);
      }
      if (!chosen.empty()) return chosen;
    }
    return names.empty() ? names : std::vector<std::string>{names.front()};
  }

  void add_device(hwloc_obj_t on, bool gpu, const std::string& name, const std::string& bus) {
    const CoreRange all{0, static_cast<std::uint32_t>(out_.cores.size())};
    hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(topology_, on);
    CoreRange range = near == nullptr ? all : range_of(near->cpuset);
    if (range.size() == 0) range = all;
    out_.devices.push_back({gpu, name, bus, range});
  }

  void read_devices() {
    struct Found {
      hwloc_obj_t on = nullptr;
      std::vector<std::string> compute;
      std::string network;
    };
    std::vector<Found> found;
    const auto on = [&](hwloc_obj_t object) -> Found& {
      for (Found& one : found) {
        if (one.on == object) return one;
      }
      found.push_back({object, {}, ""});
      return found.back();
    };
    for (hwloc_obj_t at = nullptr; (at = hwloc_get_next_pcidev(topology_, at)) != nullptr;) {
      if (is_gpu(at->attr->pcidev.class_id, at->attr->pcidev.vendor_id)) on(at).compute.push_back("");
    }
    for (hwloc_obj_t at = nullptr; (at = hwloc_get_next_osdev(topology_, at)) != nullptr;) {
      const auto type = at->attr->osdev.type;
      const bool on_pci = at->parent != nullptr && at->parent->type == HWLOC_OBJ_PCI_DEVICE;
      const std::string name = at->name == nullptr ? "" : at->name;
      if (type == HWLOC_OBJ_OSDEV_NETWORK || type == HWLOC_OBJ_OSDEV_OPENFABRICS) {
        Found& one = on(on_pci ? at->parent : at);
        if (one.network.empty() || type == HWLOC_OBJ_OSDEV_NETWORK) one.network = name;
      } else if (type == HWLOC_OBJ_OSDEV_COPROC || (type == HWLOC_OBJ_OSDEV_GPU && on_pci)) {
        if (on_pci && draws_consoles(at->parent->attr->pcidev.vendor_id)) continue;
        on(on_pci ? at->parent : at).compute.push_back(name);
      }
    }
    for (Found& one : found) {
      const std::string bus = one.on->type == HWLOC_OBJ_PCI_DEVICE ? bus_of(one.on->attr->pcidev) : "";
      if (!one.network.empty()) add_device(one.on, false, one.network, bus);
      std::erase(one.compute, "");
      for (const std::string& name : best_names(one.compute)) add_device(one.on, true, name, bus);
      if (one.compute.empty() && one.network.empty()) add_device(one.on, true, bus, bus);  // no driver: by its address
    }
  }

  hwloc_topology_t topology_;
  std::map<std::uint32_t, std::uint32_t> core_of_;  // thread -> core
  Topology out_;
};

}  // namespace

Result<Topology> read_topology(const std::string& xml_path) {
  keep_gpu_runtimes_out();
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return Error{ErrorCode::kInternal, "", "hwloc does not start", 0};
  const Handle handle(raw);
  if (!xml_path.empty()) {
    if (access(xml_path.c_str(), R_OK) != 0) return not_readable(xml_path, "cannot be read");
    if (hwloc_topology_set_xml(raw, xml_path.c_str()) != 0) return not_readable(xml_path, "is not such a file");
  }
  hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  if (hwloc_topology_load(raw) != 0)
    return not_readable(xml_path.empty() ? "this machine" : xml_path, "hwloc does not understand it");
  Topology topology = Reader(raw).read();
  if (topology.cores.empty()) return not_readable(xml_path, "it has no cores");
  return topology;
}

}  // namespace berth::agent
