// Nodes as Slurm names their states.
#pragma once

#include <string>

#include "state/requests.h"

namespace berth::tools::slurm {

bool node_is_open(const state::NodeRow& node);  // takes pods
std::uint64_t node_cpus_used(const state::NodeRow& node);
// "idle", "mixed", "allocated", "drained", "draining", "down", with '*' where it does not respond; or in short.
std::string node_state_text(const state::NodeRow& node, bool compact);

}  // namespace berth::tools::slurm
