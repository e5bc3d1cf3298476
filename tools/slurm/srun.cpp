// srun: inside of a job, tasks of it; elsewhere, a job of its own whose output comes here.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <set>

#include "state/units.h"
#include "tools/cli/follow.h"
#include "tools/cli/job_draft.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/local_step.h"
#include "tools/slurm/multi_prog.h"
#include "tools/slurm/options.h"
#include "tools/slurm/step_signal.h"
#include "tools/slurm/submit.h"
#include "tools/slurm/text.h"
#include "tools/slurm/variables.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

constexpr std::int64_t kStepPatienceMs = 30'000;  // for a job whose start the server has not heard of yet

std::optional<std::uint32_t> number_of(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  const auto value = parse_integer(text, variable, 1, 100'000);
  return value ? std::optional(static_cast<std::uint32_t>(*value)) : std::nullopt;
}

std::optional<std::uint32_t> tasks_of_job() {
  const auto tasks = number_of("SLURM_NTASKS");
  return tasks ? tasks : number_of("SLURM_NPROCS");
}

// What is a job's, and says nothing of its steps.
constexpr const char* kOfJobs =
    "account begin comment contiguous cpus-per-gpu dependency gpus-per-node gres hint hold licenses mem mem-per-cpu "
    "mem-per-gpu mincpus nice partition prefer priority qos switches threads-per-core tmp";
constexpr const char* kOfOneNode = " distribution exact exclusive gpus gpus-per-task job-name overlap";

Status check_step_options(const Given& given, bool one_node) {
  const auto refused = [](const std::string& name, const char* why) {
    return Error{ErrorCode::kInvalid, "", "--" + name + " is not supported by Berth " + why, 0};
  };
  for (const char* name : {"signal", "test-only", "constraint"}) {
    if (given.has(name)) return refused(name, "inside of a job");
  }
  if (!one_node) {
    for (const char* name : {"gpus", "gpus-per-task"}) {
      if (given.has(name)) return refused(name, "for steps over nodes: a task sees all GPUs that the job has there");
    }
  }
  if (!given.has("verbose")) return Unit{};
  for (const std::string& name : split(std::string(kOfJobs) + (one_node ? kOfOneNode : ""), ' ')) {
    if (!given.has(name.c_str())) continue;
    fmt::print(stderr, "srun: --{} has no effect inside of a job, which has it all\n", name);
  }
  return Unit{};
}

// Whether the job's only node will do.
bool node_will_do(const Given& given) {
  const std::string node = node_here();
  if (given.has("nodelist")) {
    const auto names = expand_hostlist(given.text("nodelist"));
    if (!names || *names != std::vector<std::string>{node}) return false;
  }
  if (given.has("exclude")) {
    const auto names = expand_hostlist(given.text("exclude"));
    if (!names || std::find(names->begin(), names->end(), node) != names->end()) return false;
  }
  const auto first = parse_integer(given.text("relative", "0"), "relative", 0, kMaxGangSize);
  return first && *first == 0;
}

// Tasks of the job that this runs in, on its only node.
int run_inside(const Context& context, const Given& given) {
  if (Status good = check_step_options(given, true); !good) return fail("srun", good.error().message);
  const auto shape = local_shape(given);
  if (!shape) return fail_job("srun", shape.error(), "");
  const std::string failure = fmt::format("Unable to create step for job {}: ", std::getenv("SLURM_JOB_ID"));
  if (shape->nodes_min > 1) return fail("srun", failure + "Requested node count exceeds the job's 1");
  if (!node_will_do(given)) {
    return fail("srun",
                failure + "Requested node configuration is not available (the job has only " + node_here() + ")");
  }
  std::uint32_t tasks = shape->tasks;
  if (!shape->tasks_given) tasks = tasks_of_job().value_or(1);
  const std::uint32_t cpus = number_of("SLURM_CPUS_ON_NODE").value_or(1);
  const bool asked = shape->tasks_given || shape->cpus_given;
  if (asked && std::uint64_t{tasks} * shape->cpus_per_task > cpus) {
    return fail("srun", failure + "More processors requested than permitted");
  }
  if (tasks > 4096) return fail("srun", "at most 4096 tasks run on a node");
  ServerLink link(context);
  const auto warning = step_warning(link);
  if (!given.has("multi-prog")) return run_local_step(given, tasks, warning);
  auto words = multi_prog_words(given.words.front(), tasks);
  if (!words) return fail("srun", words.error().message);
  Given each = given;
  each.words = std::move(*words);
  return run_local_step(each, tasks, warning);
}

// ---- a job of its own -----------------------------------------------------------------------------------------------

// What could not be started exits with the number of the error that says why, as in Slurm.
int error_number_in(const std::string& message) {
  for (const int number : {ENOENT, EACCES, ENOEXEC, ENOTDIR, E2BIG}) {
    if (message.ends_with(std::strerror(number))) return number;
  }
  return 1;
}

int exit_code_of(ServerLink& link, JobId id, bool array) {
  int code = 0;
  std::uint32_t cancelled = 0;
  std::map<std::pair<std::string, std::string>, std::vector<std::uint32_t>> ends;  // of tasks, by node and kind
  ListPodsRequest request{id, {}, 0, 10'000};
  while (true) {
    auto page = link.call_patiently_for<PodPage>(request);
    if (!page) return fail("srun", slurm_error(page.error()));
    for (const PodRow& row : page->rows) {
      if (row.state == PodState::kSucceeded) continue;
      const int own = row.state == PodState::kOutOfMemory ? 253
                      : row.exit_code > 0                 ? row.exit_code
                                                          : error_number_in(row.message);
      if (row.state == PodState::kCancelled && array) {  // with another one that failed, or all of them
        ++cancelled;
        continue;
      }
      std::string how = row.message.empty() ? std::string(name_of(row.state)) : row.message;
      if (row.state == PodState::kFailed && row.signal != 0) {
        how = strsignal(row.signal);
      } else if (row.state == PodState::kFailed && row.exit_code > 0) {
        how = fmt::format("Exited with exit code {}", own);
      }
      ends[{row.node, how}].push_back(row.index);
      code = std::max(code, own);
    }
    if (!page->more) {
      for (const auto& [end, tasks] : ends) {
        fmt::print(stderr, "srun: error: {}: {}: {}\n", end.first, task_numbers(tasks), end.second);
      }
      if (code != 0 || cancelled == 0) return code;
      fmt::print(stderr, "srun: error: {} tasks were cancelled\n", cancelled);
      return 128 + SIGTERM;
    }
    request.from_element = page->next_element;
  }
}

// Submits it and stays with it to its end.
int run_job(const Context& context, const Given& given, const JobSpec& spec, const Launch& launch,
            const std::string& failure) {
  if (given.has("wait") && given.text("wait") != "0") {
    return fail("srun", "--wait is not supported by Berth for tasks that agents start, but for 0");
  }
  const std::uint32_t tasks = spec.elements.size();
  ServerLink link(context);
  if (Status reached = link.connect(); !reached) return fail("srun", failure + slurm_error(reached.error()));
  Interrupts interrupts;
  const bool dry = given.has("test-only");
  const auto done = submit(link, spec, dry, spec.is_step() ? kStepPatienceMs : 10'000);
  if (!done) return fail("srun", failure + done.error().message);
  if (dry) {
    fmt::print(stderr, "srun: Job could be run in partition {} (it was not submitted)\n", spec.queue);
    return 0;
  }
  const JobId id = *done;
  const bool many = spec.kind == JobKind::kGang;
  std::vector<PodOutput> outputs;
  for (std::uint32_t e = 0; e < tasks && launch.output_path.empty(); ++e) {
    PodOutput output;
    output.element = e;
    if (many) output.index = e;
    if (given.has("label")) output.prefix = std::to_string(e) + ": ";
    outputs.push_back(output);
  }
  Output out;
  int interrupted = 0;
  Follower* following = nullptr;
  Follower::Options follow;
  follow.watch_job = true;
  follow.interrupts = &interrupts;
  follow.on_interrupt = [&] {
    if (++interrupted > 1) return false;
    fmt::print(stderr, "srun: interrupt (one more to give up waiting)\n");
    following->cancel_job();
    return true;
  };
  Follower follower(link, id, std::move(outputs), std::move(follow), out);
  following = &follower;
  auto ended = follower.run();
  const int written = out.finish();
  if (!ended) return fail("srun", slurm_error(ended.error()));
  if (!*ended || interrupted != 0) return 130;
  const int code = exit_code_of(link, id, many);
  return code != 0 ? code : written;
}

bool ends_all(const Given& given) { return given.has("kill-on-bad-exit") && given.text("kill-on-bad-exit") != "0"; }

// Where the tasks' output goes, if it is not here.
Status set_files(const Given& given, const StepNames& names, Launch& launch) {
  for (const auto& [option, to] : {std::pair{"output", &launch.output_path}, std::pair{"error", &launch.error_path}}) {
    auto pattern = step_pattern(given.text(option), names);
    if (!pattern) return pattern.error();
    *to = std::move(*pattern);
  }
  return Unit{};
}

Status set_program(const Given& given, const JobSpec& spec, Launch& launch) {
  launch.argv = given.words;
  if (!given.has("multi-prog")) return Unit{};
  auto words = multi_prog_words(given.words.front(), std::max(spec.elements.size(), 1U));
  if (!words) return words.error();
  launch.argv = std::move(*words);
  return Unit{};
}

// ---- a step of a job over several nodes -----------------------------------------------------------------------------

// How many nodes a job has whose environment is not ours.
Result<std::uint32_t> count_nodes(const Context& context, JobId job) {
  ServerLink link(context);
  std::set<std::string> nodes;
  ListPodsRequest request{job, {}, 0, 10'000};
  while (true) {
    auto page = link.call_patiently_for<PodPage>(request, kStepPatienceMs);
    if (!page) return page.error();
    for (const PodRow& row : page->rows) {
      if (!row.node.empty()) nodes.insert(row.node);
    }
    if (!page->more) return static_cast<std::uint32_t>(std::max<std::size_t>(nodes.size(), 1));
    request.from_element = page->next_element;
  }
}

int run_step(const Context& context, const Given& given, JobId job) {
  if (Status good = check_step_options(given, false); !good) return fail("srun", good.error().message);
  const std::string failure = fmt::format("Unable to create step for job {}: ", job.value);
  JobSpec spec;
  spec.step_of = job;
  const std::string& program = given.words.front();
  spec.name = given.text("job-name", program.substr(program.find_last_of('/') + 1)).substr(0, kMaxNameBytes);
  // What the environment says is of the job that it is of.
  const char* here_is = std::getenv("SLURM_JOB_ID");
  const bool own = here_is != nullptr && here_is == std::to_string(job.value);
  std::optional<std::uint32_t> nodes;
  if (own) nodes = number_of("SLURM_JOB_NUM_NODES");
  if (!nodes && !given.has("ntasks")) {
    const auto counted = count_nodes(context, job);
    if (!counted) return fail("srun", failure + slurm_error(counted.error()));
    nodes = *counted;
  }
  const auto tasks = own || here_is == nullptr ? tasks_of_job() : std::nullopt;
  if (Status good = set_step(given, nodes.value_or(1), tasks, spec); !good)
    return fail_job("srun", good.error(), failure);
  spec.keep_going = !ends_all(given);
  if (given.has("time")) {
    const auto limit = parse_limit_ms(given.text("time"));
    if (!limit) return fail_job("srun", Error{ErrorCode::kInvalid, kBadOption, limit.error().message, 0}, "");
    spec.time_limit_ms = *limit;
  }
  if (given.has("input") && given.text("input") != "none" && given.text("input") != "/dev/null") {
    return fail("srun", "--input is not supported by Berth for steps over several nodes but for none and /dev/null");
  }
  const Surroundings here = this_process();
  Launch launch;
  const char* job_name = own ? std::getenv("SLURM_JOB_NAME") : nullptr;
  const StepNames names{std::nullopt, job_name != nullptr ? job_name : "", false};
  if (Status good = set_files(given, names, launch); !good) return fail("srun", good.error().message);
  if (Status good = set_program(given, spec, launch); !good) return fail("srun", good.error().message);
  launch.cwd = given.text("chdir", here.directory);
  if (launch.cwd.empty() || launch.cwd[0] != '/') launch.cwd = here.directory + "/" + launch.cwd;
  launch.umask = here.umask;
  launch.grace_ms = kKillWaitMs;
  launch.slurm_variables = true;
  launch.append = given.text("open-mode").starts_with("a");
  launch.env = exported(given, here.environment);
  std::erase_if(launch.env, [](const std::string& v) { return v.starts_with("BERTH_CPUS="); });
  if (given.has("cpus-per-task")) set_variable(launch.env, "SLURM_CPUS_PER_TASK", given.text("cpus-per-task"));
  add_step_variables(given, spec.elements.size(), nodes.value_or(1), launch.env);
  std::sort(launch.env.begin(), launch.env.end());
  ServerLink link(context);
  if (const auto warning = own ? step_warning(link) : std::nullopt) {
    // It ends with its job; as a limit of its own, that is what the warning comes before.
    const std::int64_t left_ms = std::max<std::int64_t>(1'000, (warning->end_us - wall_clock_us()) / 1'000);
    const std::int64_t until_warning_ms = (warning->at_us - wall_clock_us()) / 1'000;
    if (spec.time_limit_ms == 0 || spec.time_limit_ms > left_ms) {
      spec.time_limit_ms = left_ms;
      launch.warn_signal = static_cast<std::uint8_t>(warning->signal);
      launch.warn_ms = left_ms - std::clamp<std::int64_t>(until_warning_ms, 0, left_ms);
    }
  }
  spec.launch = encode_launch(launch);
  return run_job(context, given, spec, launch, failure);
}

int run_outside(const Context& context, const Given& given) {
  if (given.has("relative")) {
    fmt::print(stderr, "srun: fatal: --relative option invalid for job allocation request\n");
    return 1;
  }
  const std::string& program = given.words.front();
  auto made = make_job(given, program.substr(program.find_last_of('/') + 1), JobUse::kTasks);
  if (!made) return fail_job("srun", made.error(), "Unable to allocate resources: ");
  JobSpec& spec = made->spec;
  Launch& launch = made->launch;
  if (Status good = set_program(given, spec, launch); !good) return fail("srun", good.error().message);
  spec.keep_going = spec.kind == JobKind::kGang && !ends_all(given);
  const StepNames names{std::nullopt, "", spec.kind != JobKind::kGang};
  if (Status good = set_files(given, names, launch); !good) return fail("srun", good.error().message);
  ServerLink link(context);
  add_default_account(link, spec, launch.env);
  spec.launch = encode_launch(launch);
  return run_job(context, given, spec, launch, "Unable to allocate resources: ");
}

}  // namespace

int srun(const Context& context, const Words& words) {
  const CommandTable& table = table_of("srun");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  // In a job on one node its tasks are started here; those of a job on several, or of an allocation that is elsewhere,
  // by the agents.
  const char* id = std::getenv("SLURM_JOB_ID");
  const Reader reader = id == nullptr && !given.has("jobid") ? Reader::kSrun : Reader::kStep;
  if (Status good = fill_from_environment(table, reader, given); !good) return fail("srun", good.error().message);
  if (given.has("verbose")) tell_ignored(table, given);
  if (given.words.empty()) {
    fmt::print(stderr, "srun: fatal: No command given to execute.\n");
    return 1;
  }
  if (given.has("mpi") && given.text("mpi") != "none") {
    return fail("srun", "--mpi=" + given.text("mpi") + " is not supported by Berth: only none");
  }
  if (reader == Reader::kSrun) return run_outside(context, given);
  const std::string named = given.text("jobid", id == nullptr ? "" : id);
  const auto job = parse_integer(named, "jobid", 1, std::int64_t{1} << 62);
  if (!job) return fail("srun", "Invalid numeric value \"" + named + "\" for --jobid.");
  const bool here = id != nullptr && named == id && std::getenv("BERTH_JOB_ID") != nullptr;
  if (here && number_of("SLURM_JOB_NUM_NODES").value_or(1) == 1) return run_inside(context, given);
  return run_step(context, given, JobId{static_cast<std::uint64_t>(*job)});
}

}  // namespace berth::tools::slurm
