#include "placement/topology_node.h"

#include <algorithm>
#include <tuple>

#include "state/units.h"

namespace berth::placement {

using namespace state;

namespace {

using Level = TopologyRequest::Level;

Topology::Part part_of(Level level) {
  return level == Level::kL3     ? Topology::Part::kL3
         : level == Level::kNuma ? Topology::Part::kNuma
                                 : Topology::Part::kPackage;
}

std::string name_of(Topology::Part part) {
  switch (part) {
    case Topology::Part::kPackage:
      return "package";
    case Topology::Part::kNuma:
      return "NUMA node";
    case Topology::Part::kL3:
      return "L3 cache";
    case Topology::Part::kMachine:
      break;
  }
  return "machine";
}

}  // namespace

TopologyNode::TopologyNode(Topology topology) : topology_(std::move(topology)) {
  // Parts lie within each other: larger ones first, a part after those around it.
  std::vector<Topology::Domain> domains = topology_.domains;
  std::stable_sort(domains.begin(), domains.end(), [](const Topology::Domain& a, const Topology::Domain& b) {
    return a.cores.size() != b.cores.size() ? a.cores.size() > b.cores.size() : a.part < b.part;
  });
  for (const Topology::Domain& domain : domains) {
    const std::size_t number = parts_.size();
    for (std::size_t around = number; around-- > 0;) {
      if (!domain.cores.within(parts_[around].domain.cores)) continue;
      parts_[around].children.push_back(number);
      break;
    }
    parts_.push_back({domain, {}});
  }
  for (Part& part : parts_) {
    std::sort(part.children.begin(), part.children.end(), [&](std::size_t a, std::size_t b) {
      return parts_[a].domain.cores.first < parts_[b].domain.cores.first;
    });
  }
  for (std::uint32_t core = 0; core < topology_.cores.size(); ++core) {
    for (const std::uint32_t thread : topology_.cores[core]) {
      if (core_of_.size() <= thread) core_of_.resize(thread + 1, ~0U);
      core_of_[thread] = core;
    }
  }
  claims_.resize(core_of_.size());
  busy_in_core_.resize(topology_.cores.size());
  busy_device_.resize(topology_.devices.size());
  for (const Topology::Memory& memory : topology_.memories) {
    free_mem_.push_back(static_cast<std::int64_t>(memory.mem_mib));
  }
}

bool TopologyNode::thread_is_free(std::uint32_t thread) const {
  return thread < core_of_.size() && core_of_[thread] != ~0U && claims_[thread] == 0;
}

// ---- how much room there is -----------------------------------------------------------------------------------------

std::uint32_t TopologyNode::room_in(const CoreRange& range, const Need& need) const {
  std::uint32_t room = 0;
  for (std::uint32_t core = range.first; core < range.end; ++core) {
    const auto threads = static_cast<std::uint32_t>(topology_.cores[core].size());
    const std::uint32_t busy = need.empty ? 0 : busy_in_core_[core];
    if (!need.whole_cores) {
      room += threads - busy;
    } else if (busy == 0 && threads >= need.request.threads_per_core) {
      ++room;
    }
  }
  return room;
}

std::uint32_t TopologyNode::gpus_in(const CoreRange& range, const Need& need) const {
  std::uint32_t count = 0;
  for (std::size_t i = 0; i < topology_.devices.size(); ++i) {
    const Topology::Device& device = topology_.devices[i];
    count += device.is_gpu && (need.empty || !busy_device_[i]) && device.cores.meets(range) ? 1 : 0;
  }
  return count;
}

std::uint64_t TopologyNode::mem_in(const CoreRange& range, const Need& need) const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < free_mem_.size(); ++i) {
    if (!topology_.memories[i].cores.meets(range)) continue;
    sum += need.empty ? topology_.memories[i].mem_mib : free_mem_mib(i);
  }
  return sum;
}

bool TopologyNode::has_room(const CoreRange& range, const Need& need) const {
  return room_in(range, need) >= need.units && mem_in(range, need) >= need.request.mem_mib &&
         gpus_in(range, need) >= need.request.gpus;
}

bool TopologyNode::allowed(const Part& part, const TopologyRequest& request) const {
  if (request.level == Level::kNone) return true;
  return std::any_of(parts_.begin(), parts_.end(), [&](const Part& around) {
    return around.domain.part == part_of(request.level) && part.domain.cores.within(around.domain.cores);
  });
}

const TopologyNode::Part* TopologyNode::best_part(const Need& need, bool within_level) const {
  const Part* best = nullptr;
  std::uint32_t least = 0;
  for (const Part& part : parts_) {
    if (within_level && !allowed(part, need.request)) continue;
    if (!has_room(part.domain.cores, need)) continue;
    const std::uint32_t room = room_in(part.domain.cores, need);
    if (best != nullptr) {
      const CoreRange &mine = part.domain.cores, &its = best->domain.cores;
      if (mine.size() > its.size() || (mine.size() == its.size() && room > least)) continue;
      if (mine.size() == its.size() && room == least && mine.first >= its.first) continue;
    }
    best = &part;
    least = room;
  }
  return best;
}

// ---- what to take ---------------------------------------------------------------------------------------------------

const TopologyNode::Part* TopologyNode::part_for(const Need& need) const {
  const TopologyRequest& request = need.request;
  // Without a level the whole machine is the part: what is left over anywhere will do.
  const bool anywhere = request.level == Level::kNone && request.gpus == 0;
  const Part* part = anywhere ? &parts_[0] : best_part(need, request.level != Level::kNone);
  if (part == nullptr && !request.require) part = best_part(need, false);
  return part == nullptr || !has_room(part->domain.cores, need) ? nullptr : part;
}

bool TopologyNode::could_place(const TopologyRequest& request) const {
  Need need = need_of(request);
  need.empty = true;
  return part_for(need) != nullptr;
}

Result<TopologyPlan> TopologyNode::place(const TopologyRequest& request) {
  const Need need = need_of(request);
  const Part* part = part_for(need);
  if (part == nullptr) return Error{ErrorCode::kUnavailable, "", refusal(need), 0};
  TopologyPlan plan;
  std::vector<bool> chosen(topology_.cores.size());
  choose_gpus(part->domain.cores, request.gpus, plan);
  choose_cores(*part, need.units, need, plan, chosen);
  choose_memory(part->domain.cores, need, chosen, plan);
  std::sort(plan.threads.begin(), plan.threads.end());
  std::sort(plan.claimed.begin(), plan.claimed.end());
  claim(plan);
  return plan;
}

void TopologyNode::change(const TopologyPlan& plan, int sign) {
  for (const std::uint32_t thread : plan.claimed) {
    if (thread >= core_of_.size() || core_of_[thread] == ~0U || (sign < 0 && claims_[thread] == 0)) continue;
    const bool was_busy = claims_[thread] != 0;
    claims_[thread] += static_cast<std::uint32_t>(sign);
    const bool busy = claims_[thread] != 0;
    if (busy != was_busy) busy_in_core_[core_of_[thread]] += busy ? 1U : ~0U;
  }
  for (const std::uint32_t gpu : plan.gpus) busy_device_[gpu] = sign > 0;
  for (const auto& [numa, mem_mib] : plan.mem_mib) {
    for (std::size_t i = 0; i < free_mem_.size(); ++i) {
      if (topology_.memories[i].numa != numa) continue;
      const auto all = static_cast<std::int64_t>(topology_.memories[i].mem_mib);
      free_mem_[i] = std::min(free_mem_[i] - sign * static_cast<std::int64_t>(mem_mib), all);
    }
  }
}

// As few localities as can be, the tightest last.
void TopologyNode::choose_gpus(const CoreRange& range, std::uint32_t count, TopologyPlan& plan) const {
  std::vector<std::vector<std::uint32_t>> groups;  // of equal locality
  for (std::uint32_t i = 0; i < topology_.devices.size(); ++i) {
    const Topology::Device& device = topology_.devices[i];
    if (!device.is_gpu || busy_device_[i] || !device.cores.meets(range)) continue;
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
      return topology_.devices[group[0]].cores == device.cores;
    });
    same == groups.end() ? groups.push_back({i}) : same->push_back(i);
  }
  while (count > 0) {
    auto best = groups.begin();
    for (auto at = groups.begin(); at != groups.end(); ++at) {
      const bool holds = at->size() >= count, best_holds = best->size() >= count;
      if (holds != best_holds ? holds : holds ? at->size() < best->size() : at->size() > best->size()) best = at;
    }
    const auto here = std::min<std::size_t>(count, best->size());
    plan.gpus.insert(plan.gpus.end(), best->begin(), best->begin() + static_cast<std::ptrdiff_t>(here));
    count -= static_cast<std::uint32_t>(here);
    groups.erase(best);
  }
  std::sort(plan.gpus.begin(), plan.gpus.end());
}

void TopologyNode::choose_cores(const Part& part, std::uint32_t units, const Need& need, TopologyPlan& plan,
                                std::vector<bool>& chosen) const {
  struct Child {
    const Part* part;
    std::uint32_t room;
    bool near_gpu;
  };
  std::vector<Child> children;
  for (const std::size_t number : part.children) {
    const CoreRange& range = parts_[number].domain.cores;
    const bool near = std::any_of(plan.gpus.begin(), plan.gpus.end(),
                                  [&](std::uint32_t gpu) { return topology_.devices[gpu].cores.meets(range); });
    if (const std::uint32_t room = room_in(range, need); room != 0) children.push_back({&parts_[number], room, near});
  }
  const bool leftovers = need.request.level == Level::kNone;
  while (units > 0 && !children.empty()) {
    const auto better = [&](const Child& a, const Child& b) {
      if (a.near_gpu != b.near_gpu) return a.near_gpu;
      if (leftovers) {
        const bool a_used = a.room < a.part->domain.cores.size(), b_used = b.room < b.part->domain.cores.size();
        if (need.whole_cores && a_used != b_used) return a_used;
        return a.room < b.room;
      }
      const bool a_holds = a.room >= units, b_holds = b.room >= units;
      if (a_holds != b_holds) return a_holds;
      return a_holds ? a.room < b.room : a.room > b.room;
    };
    const auto best = std::min_element(children.begin(), children.end(), better);
    const std::uint32_t here = std::min(units, best->room);
    choose_cores(*best->part, here, need, plan, chosen);
    units -= here;
    children.erase(best);
  }
  if (units > 0) choose_here(part.domain.cores, units, need, plan, chosen);
}

// The first cores that will do, of those that no smaller part has. Single threads come from cores in use first.
void TopologyNode::choose_here(const CoreRange& range, std::uint32_t units, const Need& need, TopologyPlan& plan,
                               std::vector<bool>& chosen) const {
  for (const bool in_use : {true, false}) {
    for (std::uint32_t core = range.first; core < range.end && units > 0; ++core) {
      const std::vector<std::uint32_t>& threads = topology_.cores[core];
      if (chosen[core] || (busy_in_core_[core] != 0) != in_use) continue;
      if (need.whole_cores) {
        if (in_use || threads.size() < need.request.threads_per_core) continue;
        const std::size_t used = need.request.threads_per_core == 0 ? threads.size() : need.request.threads_per_core;
        plan.threads.insert(plan.threads.end(), threads.begin(), threads.begin() + static_cast<std::ptrdiff_t>(used));
        plan.claimed.insert(plan.claimed.end(), threads.begin(), threads.end());
        --units;
        chosen[core] = true;
        continue;
      }
      for (const std::uint32_t thread : threads) {
        if (units == 0 || claims_[thread] != 0) continue;
        plan.threads.push_back(thread);
        plan.claimed.push_back(thread);
        --units;
        chosen[core] = true;
      }
    }
  }
}

// From the NUMA nodes of the chosen cores, in proportion to these; what they lack from the others of the part, then
// from the rest of the machine.
void TopologyNode::choose_memory(const CoreRange& range, const Need& need, const std::vector<bool>& chosen,
                                 TopologyPlan& plan) const {
  std::vector<std::uint64_t> take(free_mem_.size());
  std::vector<std::uint64_t> cores_near(free_mem_.size());
  std::uint64_t all = 0, left = need.request.mem_mib;
  for (std::size_t i = 0; i < free_mem_.size(); ++i) {
    const CoreRange& near = topology_.memories[i].cores;
    // Of several memories near the same cores the first is the ordinary one.
    const bool again =
        std::any_of(topology_.memories.begin(), topology_.memories.begin() + static_cast<std::ptrdiff_t>(i),
                    [&](const Topology::Memory& other) { return other.cores == near; });
    for (std::uint32_t core = near.first; core < near.end && !again; ++core) cores_near[i] += chosen[core] ? 1 : 0;
    all += cores_near[i];
  }
  for (std::size_t i = 0; i < free_mem_.size() && all != 0; ++i) {
    take[i] = std::min(need.request.mem_mib * cores_near[i] / all, free_mem_mib(i));
    left -= take[i];
  }
  const auto fill = [&](auto&& wanted) {
    for (std::size_t i = 0; i < free_mem_.size() && left > 0; ++i) {
      if (!wanted(i)) continue;
      const std::uint64_t more = std::min(free_mem_mib(i) - take[i], left);
      take[i] += more;
      left -= more;
    }
  };
  fill([&](std::size_t i) { return cores_near[i] != 0; });
  fill([&](std::size_t i) { return topology_.memories[i].cores.meets(range); });
  fill([](std::size_t) { return true; });
  for (std::size_t i = 0; i < take.size(); ++i) {
    if (take[i] != 0) plan.mem_mib.emplace_back(topology_.memories[i].numa, take[i]);
  }
}

// ---- words ----------------------------------------------------------------------------------------------------------

std::string TopologyNode::refusal(const Need& need) const {
  const TopologyRequest& request = need.request;
  const Topology::Part kind =
      request.require && request.level != Level::kNone ? part_of(request.level) : Topology::Part::kMachine;
  const std::string units =
      std::string(need.whole_cores ? "free core" : "free hardware thread") + (need.units == 1 ? "" : "s");
  std::string where = kind == Topology::Part::kMachine ? "the machine has not " : "no " + name_of(kind) + " has ";
  if (kind != Topology::Part::kMachine &&
      std::none_of(parts_.begin(), parts_.end(), [&](const Part& part) { return part.domain.part == kind; })) {
    return "the machine has no " + name_of(kind) + " that hwloc knows of";
  }
  // The part that comes nearest: it has the most cores, then the most GPUs, then the most memory.
  const Part* nearest = nullptr;
  const auto reached = [&](const Part& part) {
    return std::tuple(std::min(room_in(part.domain.cores, need), need.units),
                      std::min(gpus_in(part.domain.cores, need), request.gpus), mem_in(part.domain.cores, need));
  };
  for (const Part& part : parts_) {
    if (part.domain.part == kind && (nearest == nullptr || reached(part) > reached(*nearest))) nearest = &part;
  }
  const CoreRange& range = nearest->domain.cores;
  std::string wanted = std::to_string(need.units) + " " + units, has = std::to_string(room_in(range, need));
  if (room_in(range, need) >= need.units) {
    const bool gpus = gpus_in(range, need) < request.gpus;
    wanted = gpus ? std::to_string(request.gpus) + (request.gpus == 1 ? " free GPU" : " free GPUs")
                  : format_mem_mib(request.mem_mib) + " of free memory";
    has = gpus ? std::to_string(gpus_in(range, need)) : format_mem_mib(mem_in(range, need));
    if (kind != Topology::Part::kMachine) wanted += " beside " + std::to_string(need.units) + " " + units;
  }
  if (kind == Topology::Part::kMachine) return where + wanted + ", but " + has;
  return where + wanted + ": " + name_of(kind) + " " + std::to_string(nearest->domain.number) + " comes nearest with " +
         has;
}

}  // namespace berth::placement
