// What a machine is made of, as placement needs it. Cores are numbered in the machine's order, so that every part of it
// (a package, a NUMA node, a shared cache) is a range of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace berth::state {

struct CoreRange {
  std::uint32_t first = 0, end = 0;
  std::uint32_t size() const { return end - first; }
  bool within(const CoreRange& other) const { return first >= other.first && end <= other.end; }
  bool meets(const CoreRange& other) const { return first < other.end && other.first < end; }
  bool operator==(const CoreRange&) const = default;
};

// Which hardware threads a pod has for itself, and of which NUMA nodes its memory is counted.
struct Pinning {
  struct Memory {
    std::uint32_t numa = 0;
    std::uint64_t mem_mib = 0;
    bool operator==(const Memory&) const = default;
  };
  std::string cpus;  // "0-3,8-11", by the operating system's numbers; "" is any
  std::vector<Memory> memories;
  bool near = false;       // its memory must come from there
  std::uint32_t idle = 0;  // hardware threads beside it that stay idle for it: they count as its cpu
  bool empty() const { return cpus.empty(); }
  bool operator==(const Pinning&) const = default;
};

struct Topology {
  enum class Part : std::uint8_t { kMachine, kPackage, kNuma, kL3 };
  struct Domain {
    Part part = Part::kMachine;
    std::uint32_t number = 0;  // among its kind: the operating system's for NUMA nodes, in order for the others
    CoreRange cores;
    bool operator==(const Domain&) const = default;
  };
  struct Memory {            // a NUMA node's
    std::uint32_t numa = 0;  // the operating system's number
    std::uint64_t mem_mib = 0;
    CoreRange cores;  // that are near
    bool operator==(const Memory&) const = default;
  };
  struct Device {
    bool is_gpu = true;     // else a network card
    std::string name, bus;  // "cuda0", "0000:3b:00.0"
    CoreRange cores;        // that are near
    bool operator==(const Device&) const = default;
  };
  std::vector<std::vector<std::uint32_t>> cores;  // their hardware threads, by the operating system's numbers
  std::vector<Domain> domains;                    // the whole machine first
  std::vector<Memory> memories;
  std::vector<Device> devices;
  bool empty() const { return cores.empty(); }
  std::uint32_t threads() const;  // hardware threads in all
  bool operator==(const Topology&) const = default;
};

inline constexpr std::uint32_t kTopologyThreadsMax = 8192, kTopologyPartsMax = 8192;
// "" or what makes it unusable: an agent may send anything.
std::string check_topology(const Topology& topology);
// "0-3,8" of 0 1 2 3 8, which are sorted; and back.
std::string format_cpus(const std::vector<std::uint32_t>& cpus);
bool parse_cpus(std::string_view text, std::vector<std::uint32_t>& out);

}  // namespace berth::state
