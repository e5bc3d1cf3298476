// A step of a job on one node: srun starts its tasks itself, where it runs, and stays with them to their end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/slurm/options.h"
#include "tools/slurm/step_signal.h"

namespace berth::tools::slurm {

inline constexpr std::int64_t kKillWaitMs = 30'000;  // from SIGTERM to SIGKILL

// Returns the step's exit code: the highest of its tasks'. Meanwhile signals are theirs: it passes them on, and the
// warning when its time has come.
int run_local_step(const Given& given, std::uint32_t tasks, const std::optional<StepWarning>& warning = std::nullopt,
                   std::int64_t kill_wait_ms = kKillWaitMs);
// "task 3", "tasks 0-1,4"
std::string task_numbers(const std::vector<std::uint32_t>& tasks);
// The name of the node that this runs on.
std::string node_here();

}  // namespace berth::tools::slurm
