#include "placement/node_cores.h"

#include <algorithm>

namespace berth::placement {

using state::CoreFit;
using state::Pinning;
using state::Request;

NodeCores::NodeCores(const state::Topology& topology, std::uint32_t gpus) : machine_(topology), gpus_offered_(gpus) {
  for (std::uint32_t i = 0; i < topology.devices.size(); ++i) {
    if (topology.devices[i].is_gpu) gpus_.push_back(i);
  }
  if (gpus_.size() != gpus) gpus_.clear();
  for (const auto& core : topology.cores) {
    threads_per_core_ = std::max(threads_per_core_, static_cast<std::uint32_t>(core.size()));
    uneven_ |= core.size() != topology.cores[0].size();
  }
}

void NodeCores::take_over(const NodeCores& before) {
  TopologyPlan claimed;
  for (const auto& core : before.topology().cores) {
    for (const std::uint32_t thread : core) {
      for (std::uint32_t i = 0; i < before.machine_.claims_of(thread); ++i) claimed.claimed.push_back(thread);
    }
  }
  const auto& memories = before.topology().memories;
  for (std::size_t i = 0; i < memories.size(); ++i) {
    if (const std::uint64_t taken = before.machine_.taken_mem_mib(i); taken != 0)
      claimed.mem_mib.emplace_back(memories[i].numa, taken);
  }
  machine_.claim(claimed);
}

void NodeCores::set_free_gpus(TopologyNode& machine, const std::vector<std::uint32_t>& gpus, std::uint64_t free) {
  for (std::size_t bit = 0; bit < gpus.size(); ++bit) machine.set_device_free(gpus[bit], (free >> bit & 1U) != 0);
}

// nullopt: a pod that gets no cores of its own.
std::optional<TopologyRequest> NodeCores::request_of(const Request& request) const {
  const std::uint32_t milli = request.resources.cpu_milli;
  if (milli == 0 || milli % 1000 != 0) return std::nullopt;
  TopologyRequest out;
  const std::uint32_t cpus = milli / 1000, of_each = request.cores.threads_per_core;
  if (of_each != 0) {
    out.cores = (cpus + of_each - 1) / of_each;
    out.threads_per_core = of_each;
  } else if (!uneven_ && cpus % threads_per_core_ == 0) {
    out.cores = cpus / threads_per_core_;
  } else {
    out.threads = cpus;
  }
  switch (request.cores.level) {
    case CoreFit::Level::kNone:
      break;
    case CoreFit::Level::kL3:
      out.level = TopologyRequest::Level::kL3;
      break;
    case CoreFit::Level::kNuma:
      out.level = TopologyRequest::Level::kNuma;
      break;
    case CoreFit::Level::kPackage:
      out.level = TopologyRequest::Level::kPackage;
      break;
  }
  out.require = request.cores.require && out.level != TopologyRequest::Level::kNone;
  out.mem_mib = request.resources.mem_mib;
  out.gpus = gpus_.empty() || request.gpu_share_milli != 0 ? 0 : request.resources.gpus;
  return out;
}

bool NodeCores::holds(const Request& request, std::uint64_t free_gpus) {
  const auto wanted = request_of(request);
  if (!wanted) return false;
  set_free_gpus(machine_, gpus_, free_gpus);
  return machine_.can_place(*wanted);
}

bool NodeCores::could_hold(const Request& request) const {
  const auto wanted = request_of(request);
  return wanted && machine_.could_place(*wanted);
}

std::uint32_t NodeCores::cpu_milli_of(const Request& request) const {
  const auto wanted = request_of(request);
  if (!wanted || wanted->threads_per_core == 0) return request.resources.cpu_milli;
  return wanted->cores * std::max(threads_per_core_, wanted->threads_per_core) * 1000;
}

std::uint32_t NodeCores::room(const Request& request, std::uint64_t free_gpus, std::uint32_t most) const {
  const auto wanted = request_of(request);
  if (!wanted) return 0;
  TopologyNode machine = machine_;
  set_free_gpus(machine, gpus_, free_gpus);
  std::uint32_t room = 0;
  while (room < most && machine.place(*wanted)) ++room;
  return room;
}

std::optional<NodeCores::Choice> NodeCores::take(const Request& request, std::uint64_t free_gpus) {
  auto wanted = request_of(request);
  if (!wanted) return std::nullopt;
  set_free_gpus(machine_, gpus_, free_gpus);
  if (!wanted->require) {
    // Memory is counted by node; who has no cores of his own may have any of it.
    std::uint64_t free = 0;
    for (std::size_t i = 0; i < topology().memories.size(); ++i) free += machine_.free_mem_mib(i);
    wanted->mem_mib = std::min(wanted->mem_mib, free);
  }
  auto plan = machine_.place(*wanted);
  if (!plan && wanted->threads == 0 && wanted->threads_per_core == 0 && !wanted->require) {
    // Enough threads, but not of whole cores.
    wanted->threads = wanted->cores * threads_per_core_;
    wanted->cores = 0;
    plan = machine_.place(*wanted);
  }
  if (!plan) return std::nullopt;
  Choice choice;
  choice.pinning.cpus = state::format_cpus(plan->threads);
  choice.pinning.idle = static_cast<std::uint32_t>(plan->claimed.size() - plan->threads.size());
  choice.pinning.near = wanted->require;
  for (const auto& [numa, mem_mib] : plan->mem_mib) choice.pinning.memories.push_back({numa, mem_mib});
  for (std::size_t bit = 0; bit < gpus_.size(); ++bit) {
    if (std::binary_search(plan->gpus.begin(), plan->gpus.end(), gpus_[bit])) choice.gpu_mask |= 1ULL << bit;
  }
  return choice;
}

TopologyPlan NodeCores::plan_of(const Pinning& pinning) const {
  TopologyPlan plan;
  state::parse_cpus(pinning.cpus, plan.threads);
  plan.claimed = plan.threads;
  if (pinning.idle != 0) {
    // With the rest of those cores.
    for (const auto& core : topology().cores) {
      const bool used = std::any_of(core.begin(), core.end(), [&](std::uint32_t thread) {
        return std::binary_search(plan.threads.begin(), plan.threads.end(), thread);
      });
      for (const std::uint32_t thread : core) {
        if (used && !std::binary_search(plan.threads.begin(), plan.threads.end(), thread)) {
          plan.claimed.push_back(thread);
        }
      }
    }
  }
  for (const Pinning::Memory& memory : pinning.memories) plan.mem_mib.emplace_back(memory.numa, memory.mem_mib);
  return plan;
}

}  // namespace berth::placement
