// What a job finds in its environment that does not depend on where it runs.
#include <algorithm>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include "state/text.h"
#include "tools/cli/job_draft.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

const char* per_node_option(const Given& given) {
  return given.has("ntasks-per-node") ? "ntasks-per-node" : "tasks-per-node";
}

namespace {

// From each index to the next; 1 where they differ.
std::uint32_t step_of(const IndexSet& indexes) {
  if (indexes.size() < 2) return 1;
  const std::uint32_t step = indexes.at(1) - indexes.at(0);
  if (indexes.ranges().size() == 1) return step;
  for (std::uint32_t i = 2; i < indexes.size(); ++i) {
    if (indexes.at(i) - indexes.at(i - 1) != step) return 1;
  }
  return step;
}

}  // namespace

void add_step_variables(const Given& given, std::uint32_t tasks, std::uint32_t nodes,
                        std::vector<std::string>& environment) {
  const auto set = [&](const char* name, const std::string& value) { set_variable(environment, name, value); };
  set("SLURM_PRIO_PROCESS", std::to_string(getpriority(PRIO_PROCESS, 0)));
  set("SRUN_DEBUG", given.has("quiet") ? "2" : given.has("verbose") ? "4" : "3");
  set("SLURM_UMASK", fmt::format("{:04o}", this_process().umask));
  if (given.has("ntasks")) set("SLURM_DISTRIBUTION", tasks <= nodes ? "cyclic" : "block");
}

void add_variables(const Given& given, const MadeJob& made, JobUse use, std::vector<std::string>& environment) {
  const auto set = [&](const char* name, const std::string& value) { set_variable(environment, name, value); };
  const TaskShape& shape = made.shape;
  const Resources& r = made.spec.request.resources;
  const bool several = made.spec.kind == JobKind::kGang;  // on nodes that are not known yet: told where it runs
  const std::string cpus = std::to_string(r.cpu_milli / 1000);
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  for (const char* gone : {"SLURM_STEP_ID",        "SLURM_STEPID",
                           "SLURM_ARRAY_TASK_ID",  "SLURM_ARRAY_JOB_ID",
                           "SLURM_NTASKS",         "SLURM_NPROCS",
                           "SLURM_CPUS_PER_TASK",  "SLURM_NTASKS_PER_NODE",
                           "SLURM_MEM_PER_NODE",   "SLURM_MEM_PER_CPU",
                           "SLURM_MEM_PER_GPU",    "SLURM_GPUS",
                           "SLURM_GPUS_PER_NODE",  "SLURM_GPUS_PER_TASK",
                           "SLURM_CPUS_PER_GPU",   "SLURM_JOB_DEPENDENCY",
                           "SLURM_JOB_ACCOUNT",    "SLURM_GPUS_ON_NODE",
                           "SLURM_TASKS_PER_NODE", "SLURM_NNODES",
                           "SLURM_JOB_NUM_NODES",  "SLURM_JOB_NODELIST",
                           "SLURM_NODELIST",       "SLURM_JOB_CPUS_PER_NODE",
                           "SLURM_EXPORT_ENV",     "SLURM_UMASK",
                           "SRUN_DEBUG",           "SLURM_DISTRIBUTION",
                           "ENVIRONMENT",          kStepSignalVariable,
                           "SLURM_STEP_NODELIST",  "SLURM_STEP_NUM_NODES",
                           "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"}) {
    std::erase_if(environment, [&](const std::string& v) { return v.starts_with(std::string(gone) + "="); });
  }
  set("SLURM_SUBMIT_DIR", this_process().directory);
  set("SLURM_SUBMIT_HOST", host);
  set("SLURM_CLUSTER_NAME", "berth");
  set("SLURM_JOB_NAME", made.spec.name);
  set("SLURM_JOB_PARTITION", made.spec.queue);
  set("SLURM_JOB_QOS", made.spec.qos.empty() ? "normal" : made.spec.qos);
  if (given.has("export")) set("SLURM_EXPORT_ENV", given.text("export"));
  set("SLURM_PRIO_PROCESS", std::to_string(getpriority(PRIO_PROCESS, 0)));
  if (use != JobUse::kTasks) set("SLURM_NODE_ALIASES", "(null)");
  if (!made.spec.account.empty()) set("SLURM_JOB_ACCOUNT", made.spec.account);
  if (!several) {
    set("SLURM_NNODES", "1");
    set("SLURM_JOB_NUM_NODES", "1");
    set("SLURM_JOB_CPUS_PER_NODE", cpus);
    set("SLURM_CPUS_ON_NODE", cpus);
    set("SLURM_TASKS_PER_NODE", std::to_string(shape.tasks));
  } else if (shape.unit == TaskShape::Unit::kNode && made.spec.lead_only) {
    set("SLURM_TASKS_PER_NODE",
        per_node_text(std::vector<std::uint32_t>(shape.nodes_min, shape.tasks / shape.nodes_min)));
  }
  if (shape.tasks_given) {
    set("SLURM_NTASKS", std::to_string(shape.tasks));
    set("SLURM_NPROCS", std::to_string(shape.tasks));
  }
  if (shape.per_node != 0) set("SLURM_NTASKS_PER_NODE", given.text(per_node_option(given)));
  if (shape.cpus_given) set("SLURM_CPUS_PER_TASK", std::to_string(shape.cpus_per_task));
  for (const auto& [name, option] :
       {std::pair{"SLURM_MEM_PER_NODE", "mem"}, std::pair{"SLURM_MEM_PER_CPU", "mem-per-cpu"},
        std::pair{"SLURM_MEM_PER_GPU", "mem-per-gpu"}}) {
    const auto mib = parse_mem_mib(given.text(option));
    if (mib && use != JobUse::kTasks) set(name, std::to_string(*mib));
  }
  if (r.gpus != 0) set("SLURM_GPUS_ON_NODE", std::to_string(r.gpus));
  for (const auto& [name, option] :
       {std::pair{"SLURM_GPUS", "gpus"}, std::pair{"SLURM_GPUS_PER_NODE", "gpus-per-node"},
        std::pair{"SLURM_GPUS_PER_TASK", "gpus-per-task"}, std::pair{"SLURM_CPUS_PER_GPU", "cpus-per-gpu"}}) {
    if (given.has(option)) set(name, given.text(option));
  }
  if (!made.spec.depends.empty()) set("SLURM_JOB_DEPENDENCY", given.text("dependency"));
  set("SLURM_NODEID", "0");
  set("SLURM_PROCID", "0");
  set("SLURM_LOCALID", "0");
  set("SLURM_GTIDS", "0");
  if (use == JobUse::kBatch) set("ENVIRONMENT", "BATCH");
  if (use == JobUse::kTasks && !several) {
    for (const char* name : {"SLURM_NTASKS", "SLURM_NPROCS", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES",
                             "SLURM_STEP_TASKS_PER_NODE"}) {
      set(name, "1");
    }
    set("SLURM_STEP_ID", "0");
    set("SLURM_STEPID", "0");
  }
  if (use == JobUse::kTasks) {
    add_step_variables(given, shape.tasks, std::max(shape.nodes_min, 1U), environment);
  } else if (made.launch.warn_signal == 0 && given.has("signal")) {
    set(kStepSignalVariable, given.text("signal"));
  }
  if (const IndexSet& e = made.spec.elements; made.spec.kind == JobKind::kArray) {
    const std::uint32_t size = e.size();
    set("SLURM_ARRAY_TASK_COUNT", std::to_string(size));
    set("SLURM_ARRAY_TASK_MIN", std::to_string(e.at(0)));
    set("SLURM_ARRAY_TASK_MAX", std::to_string(e.at(size - 1)));
    set("SLURM_ARRAY_TASK_STEP", std::to_string(step_of(e)));
  }
}

}  // namespace berth::tools::slurm
