#include "tools/slurm/nodes.h"

#include <algorithm>

namespace berth::tools::slurm {

using namespace state;

bool node_is_open(const NodeRow& node) { return node.state == NodeState::kUp && node.connected; }

std::uint64_t node_cpus_used(const NodeRow& node) {
  return std::min<std::uint64_t>((node.used.cpu_milli + 999) / 1000, node.info.capacity.cpu_milli / 1000);
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
