// From the options that sbatch and srun share to a job.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "state/launch.h"
#include "state/records.h"
#include "tools/slurm/options.h"

namespace berth::tools::slurm {

struct TaskShape {
  std::uint32_t tasks = 1;
  std::uint32_t cpus_per_task = 1;
  std::uint32_t nodes_min = 0, nodes_max = 0;  // 0: not given
  std::uint32_t per_node = 0;                  // tasks on one node at most; 0: not given
  bool tasks_given = false, cpus_given = false;
  // What a pod of the job stands for: all of a job on one node, a node of a job on several with as many tasks on each,
  // or one task.
  enum class Unit : std::uint8_t { kJob, kNode, kTask } unit = Unit::kJob;
  std::uint32_t units() const { return unit == Unit::kJob ? 1 : unit == Unit::kNode ? nodes_min : tasks; }
};

struct MadeJob {
  state::JobSpec spec;  // without its launch
  state::Launch launch;
  TaskShape shape;
};

// The field of an error of make_job(): an option's value is none, or Slurm's controller would refuse the job.
inline constexpr const char* kBadOption = "option";
inline constexpr const char* kBadJob = "submit";
// Says it as Slurm's commands do, and returns the exit code; `failure` is what they put before a refusal of the job's.
int fail_job(const char* command, const state::Error& error, const std::string& failure);
// Options whose values are looked at, whether they have an effect or not.
state::Status check_words(const Given& given);

// An error's message is what the command prints behind its name.
enum class JobUse : std::uint8_t {
  kBatch,  // a script, on the first of its nodes
  kTasks,  // every task is run
  kPlace,  // an allocation: nothing is run there but steps
};
state::Result<MadeJob> make_job(const Given& given, const std::string& name, JobUse use);
// The shape of a step that is started here, with the checks of its files.
state::Result<TaskShape> local_shape(const Given& given);
// The tasks of a step of a job: what of the options says how many and where. The job has so many nodes; `tasks` are
// those that it was submitted with (SLURM_NTASKS), if it was.
state::Status set_step(const Given& given, std::uint32_t nodes, std::optional<std::uint32_t> tasks,
                       state::JobSpec& spec);
// What a job finds in its environment that does not depend on where it runs.
void add_variables(const Given& given, const MadeJob& made, JobUse use, std::vector<std::string>& environment);
// What srun adds for the tasks of a step.
void add_step_variables(const Given& given, std::uint32_t tasks, std::uint32_t nodes,
                        std::vector<std::string>& environment);
// --signal of a job for its steps alone: srun finds it in their environment, and sees to it (step_signal.h).
inline constexpr const char* kStepSignalVariable = "BERTH_STEP_SIGNAL";
struct WarnSignal {
  int signal = 0;
  std::int64_t before_ms = 60'000;  // the time limit
  bool batch = false;               // B: the batch shell, and no step
};
state::Result<WarnSignal> parse_signal(const std::string& text);
const char* per_node_option(const Given& given);  // which of the two names of --ntasks-per-node was given
void set_variable(std::vector<std::string>& environment, const std::string& name, const std::string& value);
std::vector<std::string> exported(const Given& given, const std::vector<std::string>& mine);
// A batch script's %A, %N and the rest as Berth's own; `none` as /dev/null.
std::string output_pattern(const std::string& pattern, bool array);
// The same of a step's tasks, where %t is the task (Berth's %r) and %s the step; `all` as "", the terminal.
struct StepNames {
  std::optional<std::uint32_t> index;  // of the array's element that it runs in
  std::string job;                     // the job's name where it is another than the step's own
  bool one_node = false;               // node 0: over several, their number is refused, and so is one task's output
};
state::Result<std::string> step_pattern(const std::string& pattern, const StepNames& names);
// -o 3: the output of that task alone.
std::optional<std::uint32_t> one_task(const std::string& pattern);
// A signal by name or number, with or without SIG; 0: there is none.
int signal_number(std::string_view text);

}  // namespace berth::tools::slurm
