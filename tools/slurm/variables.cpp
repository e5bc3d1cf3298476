#include "tools/slurm/variables.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

namespace berth::tools::slurm {

using namespace state;

namespace {

constexpr unsigned B = static_cast<unsigned>(Reader::kSbatch), A = static_cast<unsigned>(Reader::kSalloc),
                   R = static_cast<unsigned>(Reader::kSrun), S = static_cast<unsigned>(Reader::kStep);

struct Variable {
  const char* name;  // behind SBATCH_, SALLOC_ or SLURM_; whole where it has one of these or SRUN_ itself
  const char* option;
  unsigned readers;
};
constexpr Variable kVariables[] = {
    {"ACCOUNT", "account", B | A | R},
    {"ACCTG_FREQ", "acctg-freq", B | A | R | S},
    {"ARRAY_INX", "array", B},
    {"BATCH", "batch", B},
    {"BCAST", "bcast", R | S},
    {"BELL", "bell", A},
    {"BURST_BUFFER", "bb", A | R},
    {"CLUSTERS", "clusters", B | A | R},
    {"SLURM_CLUSTERS", "clusters", B | A},
    {"COMPRESS", "compress", R | S},
    {"CONSTRAINT", "constraint", B | A | R},
    {"CONTAINER", "container", B | A},
    {"SRUN_CONTAINER", "container", R | S},
    {"CORE_SPEC", "core-spec", B | A | R},
    {"CPU_BIND", "cpu-bind", R | S},
    {"CPU_FREQ_REQ", "cpu-freq", R | S},
    {"CPUS_PER_GPU", "cpus-per-gpu", B | A | R},
    {"SRUN_CPUS_PER_TASK", "cpus-per-task", R | S},
    {"DEBUG", "verbose", B | A | R | S},
    {"DELAY_BOOT", "delay-boot", B | A | R},
    {"DEPENDENCY", "dependency", R},
    {"DISABLE_STATUS", "disable-status", R | S},
    {"DISTRIBUTION", "distribution", B | R | S},
    {"EPILOG", "epilog", R | S},
    {"ERROR", "error", B},
    {"EXACT", "exact", R | S},
    {"EXCLUSIVE", "exclusive", B | A | R | S},
    {"EXPORT", "export", B},
    {"SRUN_EXPORT_ENV", "export", R | S},
    {"EXPORT_ENV", "export", R | S},
    {"GET_USER_ENV", "get-user-env", B},
    {"GPU_BIND", "gpu-bind", B | A | R | S},
    {"GPU_FREQ", "gpu-freq", B | A | R | S},
    {"GPUS", "gpus", B | A | R},
    {"GPUS_PER_NODE", "gpus-per-node", B | A | R},
    {"GPUS_PER_TASK", "gpus-per-task", B | A | R},
    {"GRES", "gres", B | A | R},
    {"STEP_GRES", "gres", S},
    {"GRES_FLAGS", "gres-flags", B | A | R | S},
    {"HINT", "hint", B | A | R},
    {"SLURM_HINT", "hint", B | A},
    {"IGNORE_PBS", "ignore-pbs", B},
    {"IMMEDIATE", "immediate", A | R},
    {"INPUT", "input", B},
    {"JOB_NAME", "job-name", B | R},
    {"KILL_BAD_EXIT", "kill-on-bad-exit", R | S},
    {"KILL_CMD", "kill-command", A},
    {"LABELIO", "label", R | S},
    {"MEM_BIND", "mem-bind", B | A | R | S},
    {"MEM_PER_CPU", "mem-per-cpu", B | A | R},
    {"MEM_PER_GPU", "mem-per-gpu", B | A | R},
    {"MEM_PER_NODE", "mem", B | A | R},
    {"MPI_TYPE", "mpi", R | S},
    {"NETWORK", "network", B | A | R | S},
    {"NNODES", "nodes", R},
    {"JOB_NUM_NODES", "nodes", R},
    {"NO_BELL", "no-bell", A},
    {"NO_KILL", "no-kill", B | A | R},
    {"NO_REQUEUE", "no-requeue", B},
    {"NTASKS", "ntasks", R},
    {"NPROCS", "ntasks", R},
    {"NTASKS_PER_CORE", "ntasks-per-core", R},
    {"NTASKS_PER_GPU", "ntasks-per-gpu", R},
    {"NTASKS_PER_NODE", "ntasks-per-node", R},
    {"NTASKS_PER_SOCKET", "ntasks-per-socket", R},
    {"OPEN_MODE", "open-mode", B | R | S},
    {"OUTPUT", "output", B},
    {"OVERCOMMIT", "overcommit", B | A | R},
    {"OVERLAP", "overlap", R | S},
    {"PARTITION", "partition", B | A | R},
    {"POWER", "power", B | A | R},
    {"PROFILE", "profile", B | A | R},
    {"PROLOG", "prolog", R | S},
    {"QOS", "qos", B | A | R},
    {"REQ_SWITCH", "switches", B | A | R},
    {"REQUEUE", "requeue", B},
    {"RESERVATION", "reservation", B | A | R},
    {"RESV_PORTS", "resv-ports", R | S},
    {"SIGNAL", "signal", B | A | R | S},
    {"SPREAD_JOB", "spread-job", B | A | R},
    {"STDERRMODE", "error", R | S},
    {"STDINMODE", "input", R | S},
    {"STDOUTMODE", "output", R | S},
    {"TASK_EPILOG", "task-epilog", R | S},
    {"TASK_PROLOG", "task-prolog", R | S},
    {"THREAD_SPEC", "thread-spec", B | A | R},
    {"THREADS", "threads", R | S},
    {"THREADS_PER_CORE", "threads-per-core", B | A | R},
    {"TIMELIMIT", "time", B | A | R | S},
    {"UNBUFFEREDIO", "unbuffered", R | S},
    {"USE_MIN_NODES", "use-min-nodes", B | A | R},
    {"WAIT", "wait", B | R | S},
    {"WAIT_ALL_NODES", "wait-all-nodes", B | A},
    {"WCKEY", "wckey", B | A | R},
    {"WORKING_DIR", "chdir", R | S},
    {"REMOTE_CWD", "chdir", R | S},
};

}  // namespace

std::vector<std::pair<std::string, const char*>> variables_of(Reader reader) {
  const char* prefix = reader == Reader::kSbatch ? "SBATCH_" : reader == Reader::kSalloc ? "SALLOC_" : "SLURM_";
  std::vector<std::pair<std::string, const char*>> out;
  for (const Variable& variable : kVariables) {
    if ((variable.readers & static_cast<unsigned>(reader)) == 0) continue;
    const std::string name = variable.name;
    const bool whole = name.starts_with("SLURM_") || name.starts_with("SRUN_");
    out.emplace_back(whole ? name : prefix + name, variable.option);
  }
  return out;
}

Status fill_from_environment(const CommandTable& table, Reader reader, Given& given) {
  Given found;
  for (const auto& [name, option] : variables_of(reader)) {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr || given.says(option) || found.says(option)) continue;
    const auto known = std::find_if(table.options.begin(), table.options.end(),
                                    [name = option](const Option& o) { return std::string_view(o.name) == name; });
    std::string word = std::string("--") + option;
    if (known->takes == Takes::kNothing) {
      if (std::string_view(value) == "0") continue;
    } else {
      if (known->takes == Takes::kValue && *value == 0) continue;
      word += std::string("=") + value;
    }
    const auto parsed = parse(table, {word});
    if (!parsed) return Error{ErrorCode::kInvalid, "", name + ": " + parsed.error().message, 0};
    found.fill_from(*parsed);
  }
  given.fill_from(found);
  return Unit{};
}

}  // namespace berth::tools::slurm
