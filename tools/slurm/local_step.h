// A step of a job on one node: srun starts its tasks itself, where it runs, and stays with them to their end.
#pragma once

#include <cstdint>
#include <string>

#include "tools/slurm/options.h"

namespace berth::tools::slurm {

inline constexpr std::int64_t kKillWaitMs = 30'000;  // from SIGTERM to SIGKILL

// Returns the step's exit code: the highest of its tasks'. Meanwhile signals are theirs: it passes them on.
int run_local_step(const Given& given, std::uint32_t tasks, std::int64_t kill_wait_ms = kKillWaitMs);
// The name of the node that this runs on.
std::string node_here();

}  // namespace berth::tools::slurm
