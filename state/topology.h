// What a machine is made of, as placement needs it. Cores are numbered in the machine's order, so that every part of it
// (a package, a NUMA node, a shared cache) is a range of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace berth::state {

struct CoreRange {
  std::uint32_t first = 0, end = 0;
  std::uint32_t size() const { return end - first; }
  bool within(const CoreRange& other) const { return first >= other.first && end <= other.end; }
  bool meets(const CoreRange& other) const { return first < other.end && other.first < end; }
  bool operator==(const CoreRange&) const = default;
};

struct Topology {
  enum class Part : std::uint8_t { kMachine, kPackage, kNuma, kL3 };
  struct Domain {
    Part part = Part::kMachine;
    std::uint32_t number = 0;  // among its kind: the operating system's for NUMA nodes, in order for the others
    CoreRange cores;
  };
  struct Memory {            // a NUMA node's
    std::uint32_t numa = 0;  // the operating system's number
    std::uint64_t mem_mib = 0;
    CoreRange cores;  // that are near
  };
  struct Device {
    bool is_gpu = true;     // else a network card
    std::string name, bus;  // "cuda0", "0000:3b:00.0"
    CoreRange cores;        // that are near
  };
  std::vector<std::vector<std::uint32_t>> cores;  // their hardware threads, by the operating system's numbers
  std::vector<Domain> domains;                    // the whole machine first
  std::vector<Memory> memories;
  std::vector<Device> devices;
};

}  // namespace berth::state
