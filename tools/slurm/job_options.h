// From the options that sbatch and srun share to a job.
#pragma once

#include <string>
#include <vector>

#include "state/launch.h"
#include "state/records.h"
#include "tools/slurm/options.h"

namespace berth::tools::slurm {

struct TaskShape {
  std::uint32_t tasks = 1;
  std::uint32_t cpus_per_task = 1;
  bool tasks_given = false, cpus_given = false;
};

struct MadeJob {
  state::JobSpec spec;  // without its launch
  state::Launch launch;
  TaskShape shape;
};

// An error's message is what the command prints behind its name.
state::Result<MadeJob> make_job(const Given& given, const std::string& name, bool batch);
// "Slurm's %A, %N and the rest as Berth's own; `none` as /dev/null."
std::string output_pattern(std::string pattern, bool array);
// A signal by name or number, with or without SIG; 0: there is none.
int signal_number(std::string_view text);

}  // namespace berth::tools::slurm
