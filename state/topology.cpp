#include "state/topology.h"

#include <algorithm>
#include <charconv>

namespace berth::state {

std::uint32_t Topology::threads() const {
  std::uint32_t sum = 0;
  for (const auto& core : cores) sum += static_cast<std::uint32_t>(core.size());
  return sum;
}

std::string check_topology(const Topology& topology) {
  if (topology.empty()) return "";
  const auto cores = static_cast<std::uint32_t>(topology.cores.size());
  std::vector<std::uint32_t> threads;
  for (const auto& core : topology.cores) {
    if (core.empty()) return "a core without hardware threads";
    threads.insert(threads.end(), core.begin(), core.end());
  }
  if (threads.size() > kTopologyThreadsMax) return "too many hardware threads";
  std::sort(threads.begin(), threads.end());
  if (std::adjacent_find(threads.begin(), threads.end()) != threads.end()) return "a hardware thread of two cores";
  if (threads.back() >= kTopologyThreadsMax) return "the number of a hardware thread is too large";
  if (topology.domains.size() > kTopologyPartsMax || topology.memories.size() > kTopologyPartsMax ||
      topology.devices.size() > kTopologyPartsMax) {
    return "too many parts";
  }
  const auto lies_in = [&](const CoreRange& range) { return range.first <= range.end && range.end <= cores; };
  if (topology.domains.empty() || topology.domains[0].cores != CoreRange{0, cores})
    return "no machine around its parts";
  for (const auto& domain : topology.domains) {
    if (!lies_in(domain.cores)) return "a part outside of the machine";
  }
  for (const auto& memory : topology.memories) {
    if (!lies_in(memory.cores)) return "memory outside of the machine";
  }
  for (const auto& device : topology.devices) {
    if (!lies_in(device.cores)) return "a device outside of the machine";
  }
  return "";
}

std::string format_cpus(const std::vector<std::uint32_t>& cpus) {
  std::string text;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    if (!text.empty()) text += ',';
    text += std::to_string(cpus[i]);
    if (end - i > 1) text += '-' + std::to_string(cpus[end - 1]);
    i = end;
  }
  return text;
}

bool parse_cpus(std::string_view text, std::vector<std::uint32_t>& out) {
  out.clear();
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    if (comma != std::string_view::npos && text.empty()) return false;
    std::uint32_t first = 0, last = 0;
    const char* end = part.data() + part.size();
    auto [at, bad] = std::from_chars(part.data(), end, first);
    if (bad != std::errc()) return false;
    last = first;
    if (at != end) {
      if (*at != '-') return false;
      const auto rest = std::from_chars(at + 1, end, last);
      if (rest.ec != std::errc() || rest.ptr != end) return false;
    }
    if (last < first || last >= kTopologyThreadsMax || (!out.empty() && first <= out.back())) return false;
    for (std::uint32_t cpu = first; cpu <= last; ++cpu) out.push_back(cpu);
  }
  return true;
}

}  // namespace berth::state
