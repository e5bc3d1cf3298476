// Nodes as Slurm names their states.
#pragma once

#include <string>
#include <vector>

#include "state/requests.h"

namespace berth::tools::slurm {

bool node_is_open(const state::NodeRow& node);  // takes pods
std::uint64_t node_cpus_used(const state::NodeRow& node);
bool queue_has(const state::Queue& queue, const state::NodeRow& node);  // its jobs may run there
// "gpu:2,fpga:1" without the disk; "" if it has nothing.
std::string gres_text(std::uint32_t gpus, const std::vector<state::Countable>& counts);
// "up", "down", "drain", "inact"
std::string queue_state_text(const state::Queue& queue);
// "idle", "mixed", "allocated", "drained", "draining", "down", with '*' where it does not respond; or in short.
std::string node_state_text(const state::NodeRow& node, bool compact);

}  // namespace berth::tools::slurm
