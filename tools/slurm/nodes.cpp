#include "tools/slurm/nodes.h"

#include <algorithm>

#include "state/condition.h"

namespace berth::tools::slurm {

using namespace state;

bool node_is_open(const NodeRow& node) { return node.state == NodeState::kUp && node.connected; }

std::uint64_t node_cpus_used(const NodeRow& node) {
  return std::min<std::uint64_t>((node.used.cpu_milli + 999) / 1000, node.info.capacity.cpu_milli / 1000);
}

bool queue_has(const Queue& queue, const NodeRow& node) {
  if (queue.where.empty()) return true;
  const auto where = Condition::parse(queue.where, "nodes");
  return where && where->holds(node.info.name, node.info.features);
}

std::string gres_text(std::uint32_t gpus, const std::vector<Countable>& counts) {
  std::string text = gpus == 0 ? "" : "gpu:" + std::to_string(gpus);
  for (const Countable& item : counts) {
    if (item.name != kDisk) text += (text.empty() ? "" : ",") + item.name + ":" + std::to_string(item.count);
  }
  return text;
}

std::string queue_state_text(const Queue& queue) {
  switch (queue.state) {
    case Queue::State::kUp:
      return "up";
    case Queue::State::kDown:
      return "down";
    case Queue::State::kDraining:
      return "drain";
    case Queue::State::kInactive:
      return "inact";
  }
  return "up";
}

std::string node_state_text(const NodeRow& node, bool compact) {
  const std::string away = node.connected ? "" : "*";
  if (node.state == NodeState::kLost || !node.connected) return "down" + away;
  if (node.state == NodeState::kDrained) {
    return compact ? (node.pods != 0 ? "drng" : "drain") : node.pods != 0 ? "draining" : "drained";
  }
  if (node.pods == 0) return "idle";
  const bool full = node_cpus_used(node) >= node.info.capacity.cpu_milli / 1000;
  return full ? (compact ? "alloc" : "allocated") : compact ? "mix" : "mixed";
}

}  // namespace berth::tools::slurm
