#include "tools/slurm/job_options.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <sys/stat.h>
#include <unistd.h>

#include "state/condition.h"
#include "state/units.h"
#include "tools/cli/job_draft.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

Error bad(std::string message) { return Error{ErrorCode::kInvalid, "", std::move(message), 0}; }

Status number(const Given& given, const char* name, std::int64_t least, std::int64_t most, std::uint32_t& to) {
  if (!given.has(name)) return Unit{};
  const auto value = parse_integer(given.text(name), name, least, most);
  if (!value) return bad(fmt::format("Invalid numeric value \"{}\" for --{}.", given.text(name), name));
  to = static_cast<std::uint32_t>(*value);
  return Unit{};
}

// gpu[:model][:N], none
Result<std::uint32_t> gres_gpus(const std::string& text) {
  std::uint32_t gpus = 0;
  for (std::string part : split(text, ',')) {
    if (part == "none" || part.empty()) continue;
    if (part.starts_with("gres:")) part = part.substr(5);
    const std::vector<std::string> words = split(part, ':');
    if (words[0] != "gpu" || words.size() > 3) return bad("Invalid generic resource (gres) specification");
    const std::string& last = words.back();
    const bool counted = words.size() > 1 && last.find_first_not_of("0123456789") == std::string::npos;
    if (words.size() == 3 && !counted) return bad("Invalid generic resource (gres) specification");
    if (words.size() == 3 || (words.size() == 2 && !counted)) {
      return bad("Invalid generic resource (gres) specification: GPUs of a model are asked for by --constraint");
    }
    gpus += counted ? static_cast<std::uint32_t>(std::min(std::stoul("0" + last), 1000UL)) : 1;
  }
  return gpus;
}

Status set_nodes(const Given& given) {
  if (!given.has("nodes")) return Unit{};
  const std::string text = given.text("nodes");
  const std::vector<std::string> ends = split(text, '-');
  const auto least = parse_integer(ends[0], "nodes", 1, 1'000'000);
  if (!least || ends.size() > 2 || (ends.size() == 2 && !parse_integer(ends[1], "nodes", *least, 1'000'000))) {
    return bad(fmt::format("invalid node count `{}'", text));
  }
  if (*least > 1) {
    return bad(
        fmt::format("--nodes={}: Berth's Slurm commands run a job on one node; for pods on many nodes see "
                    "berth submit --nodes",
                    text));
  }
  return Unit{};
}

Status set_shape(const Given& given, TaskShape& shape) {
  if (Status good = set_nodes(given); !good) return good;
  std::uint32_t per_node = 0;
  const char* per = given.has("ntasks-per-node") ? "ntasks-per-node" : "tasks-per-node";
  if (Status good = number(given, per, 1, 1'000'000, per_node); !good) return good;
  if (per_node != 0) shape.tasks = per_node;
  if (Status good = number(given, "ntasks", 1, 1'000'000, shape.tasks); !good) return good;
  if (Status good = number(given, "cpus-per-task", 1, 1'000'000, shape.cpus_per_task); !good) return good;
  shape.tasks_given = given.has("ntasks") || per_node != 0;
  shape.cpus_given = given.has("cpus-per-task");
  return Unit{};
}

Status set_resources(const Given& given, const TaskShape& shape, Resources& resources) {
  std::uint32_t gpus = 0, per_task = 0, per_node = 0, cpus_per_gpu = 0, least = 0;
  for (const auto& [name, to] : {std::pair{"gpus", &gpus}, std::pair{"gpus-per-node", &per_node}}) {
    // [model:]N
    const std::string text = given.text(name);
    if (text.empty()) continue;
    const auto counted = gres_gpus("gpu:" + text);
    if (!counted) return counted.error();
    *to = *counted;
  }
  if (Status good = number(given, "gpus-per-task", 0, kMaxGpus, per_task); !good) return good;
  if (Status good = number(given, "cpus-per-gpu", 1, 1'000'000, cpus_per_gpu); !good) return good;
  if (Status good = number(given, "mincpus", 1, 1'000'000, least); !good) return good;
  gpus = std::max({gpus, per_node, per_task * shape.tasks});
  if (given.has("gres")) {
    const auto counted = gres_gpus(given.text("gres"));
    if (!counted) return counted.error();
    gpus = std::max(gpus, *counted);
  }
  if (gpus > kMaxGpus) return bad("Requested node configuration is not available");
  const std::uint64_t cpus = std::max<std::uint64_t>(
      {std::uint64_t{shape.tasks} * shape.cpus_per_task, std::uint64_t{cpus_per_gpu} * gpus, least});
  if (cpus > 1'000'000) return bad("More processors requested than permitted");
  resources.cpu_milli = static_cast<std::uint32_t>(cpus * 1000);
  resources.gpus = gpus;
  for (const auto& [name, times] : {std::pair{"mem", std::uint64_t{1}}, std::pair{"mem-per-cpu", cpus},
                                    std::pair{"mem-per-gpu", std::uint64_t{gpus}}}) {
    if (!given.has(name)) continue;
    const auto mib = parse_mem_mib(given.text(name));
    if (!mib) return bad(fmt::format("Invalid --{} specification", name));
    resources.mem_mib = *mib * times;
  }
  return Unit{};
}

Status set_placement(const Given& given, Request& request) {
  const auto also = [&](const std::string& condition) -> Status {
    std::string& where = request.where;
    where = where.empty() ? condition : "(" + where + ")&(" + condition + ")";
    if (!Condition::parse(where, "constraint")) return bad("Invalid feature specification");
    return Unit{};
  };
  if (given.has("constraint")) {
    if (Status good = also(given.text("constraint")); !good) return good;
  }
  if (given.has("prefer")) {
    if (!Condition::parse(given.text("prefer"), "prefer")) return bad("Invalid feature specification");
    request.prefers.push_back(given.text("prefer"));
  }
  for (const auto& [name, op] : {std::pair{"nodelist", "in"}, std::pair{"exclude", "notin"}}) {
    if (!given.has(name)) continue;
    if (!parse_name_list(given.text(name), name)) return bad("Invalid node name specified");
    if (Status good = also(std::string("node ") + op + " (" + given.text(name) + ")"); !good) return good;
  }
  request.exclusive = given.has("exclusive");
  return Unit{};
}

// [{R|B}:]SIGNAL[@SECONDS]
Status set_signal(const Given& given, Launch& launch) {
  if (!given.has("signal")) return Unit{};
  std::string_view text = given.text("signal");
  const std::string copy(text);
  text = copy;
  while (text.starts_with("B:") || text.starts_with("R:")) text.remove_prefix(2);
  const std::size_t at = text.find('@');
  std::int64_t seconds = 60;
  if (at != std::string_view::npos) {
    const auto value = parse_integer(text.substr(at + 1), "signal", 0, 65'535);
    if (!value) return bad("Invalid --signal specification");
    seconds = *value;
  }
  const int signal = signal_number(text.substr(0, at));
  if (signal == 0) return bad("Invalid --signal specification");
  launch.warn_signal = static_cast<std::uint8_t>(signal);
  launch.warn_ms = seconds * 1000;
  return Unit{};
}

// ALL, NONE, NIL, or a list of NAME and NAME=VALUE, with ALL in it or not
std::vector<std::string> exported(const Given& given, const std::vector<std::string>& mine) {
  const std::string text = given.text("export", "ALL");
  if (text == "ALL") return mine;
  std::map<std::string, std::string> variables;
  const auto name_of = [](const std::string& variable) { return variable.substr(0, variable.find('=')); };
  const bool none = text == "NONE" || text == "NIL";
  const std::vector<std::string> words = none ? std::vector<std::string>{} : split(text, ',');
  const bool all = std::find(words.begin(), words.end(), "ALL") != words.end();
  for (const std::string& variable : mine) {
    const std::string name = name_of(variable);
    // Without the rest, what a session needs to be one.
    const bool basic = name == "HOME" || name == "USER" || name == "SHELL" || name == "PATH" || name == "LOGNAME";
    const bool wanted = all || (none && basic) || name.starts_with("SLURM_") ||
                        std::find(words.begin(), words.end(), name) != words.end();
    if (wanted) variables[name] = variable;
  }
  for (const std::string& word : words) {
    if (word.find('=') != std::string::npos) variables[name_of(word)] = word;
  }
  std::vector<std::string> out;
  for (auto& [name, variable] : variables) out.push_back(std::move(variable));
  return out;
}

void set_variable(std::vector<std::string>& environment, const std::string& name, const std::string& value) {
  std::erase_if(environment, [&](const std::string& v) { return v.starts_with(name + "="); });
  environment.push_back(name + "=" + value);
}

// What a batch job finds in its environment that does not depend on where it runs.
void add_variables(const Given& given, const MadeJob& made, std::vector<std::string>& environment) {
  const auto set = [&](const char* name, const std::string& value) { set_variable(environment, name, value); };
  const TaskShape& shape = made.shape;
  const Resources& r = made.spec.request.resources;
  const std::string cpus = std::to_string(r.cpu_milli / 1000);
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  for (const char* gone : {"SLURM_STEP_ID", "SLURM_STEPID", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_JOB_ID", "SLURM_NTASKS",
                           "SLURM_NPROCS", "SLURM_CPUS_PER_TASK", "SLURM_NTASKS_PER_NODE", "SLURM_MEM_PER_NODE",
                           "SLURM_MEM_PER_CPU", "SLURM_JOB_DEPENDENCY", "SLURM_JOB_ACCOUNT", "SLURM_GPUS_ON_NODE"}) {
    std::erase_if(environment, [&](const std::string& v) { return v.starts_with(std::string(gone) + "="); });
  }
  set("SLURM_SUBMIT_DIR", this_process().directory);
  set("SLURM_SUBMIT_HOST", host);
  set("SLURM_CLUSTER_NAME", "berth");
  set("SLURM_JOB_NAME", made.spec.name);
  set("SLURM_JOB_PARTITION", made.spec.queue);
  set("SLURM_JOB_QOS", "normal");
  set("SLURM_EXPORT_ENV", given.text("export", "ALL"));
  if (!made.spec.account.empty()) set("SLURM_JOB_ACCOUNT", made.spec.account);
  set("SLURM_NNODES", "1");
  set("SLURM_JOB_NUM_NODES", "1");
  set("SLURM_JOB_CPUS_PER_NODE", cpus);
  set("SLURM_CPUS_ON_NODE", cpus);
  set("SLURM_TASKS_PER_NODE", std::to_string(shape.tasks));
  if (shape.tasks_given) {
    set("SLURM_NTASKS", std::to_string(shape.tasks));
    set("SLURM_NPROCS", std::to_string(shape.tasks));
  }
  if (given.has("ntasks-per-node")) set("SLURM_NTASKS_PER_NODE", given.text("ntasks-per-node"));
  if (shape.cpus_given) set("SLURM_CPUS_PER_TASK", std::to_string(shape.cpus_per_task));
  if (given.has("mem")) set("SLURM_MEM_PER_NODE", std::to_string(r.mem_mib));
  if (given.has("mem-per-cpu")) set("SLURM_MEM_PER_CPU", std::to_string(r.mem_mib / std::max(1U, r.cpu_milli / 1000)));
  if (r.gpus != 0) set("SLURM_GPUS_ON_NODE", std::to_string(r.gpus));
  if (given.has("gpus")) set("SLURM_GPUS", given.text("gpus"));
  if (!made.spec.depends.empty()) set("SLURM_JOB_DEPENDENCY", given.text("dependency"));
  set("SLURM_NODEID", "0");
  set("SLURM_PROCID", "0");
  set("SLURM_LOCALID", "0");
  set("SLURM_GTIDS", "0");
  set("ENVIRONMENT", "BATCH");
  if (const IndexSet& e = made.spec.elements; made.spec.kind == JobKind::kArray) {
    const std::uint32_t size = e.size();
    set("SLURM_ARRAY_TASK_COUNT", std::to_string(size));
    set("SLURM_ARRAY_TASK_MIN", std::to_string(e.at(0)));
    set("SLURM_ARRAY_TASK_MAX", std::to_string(e.at(size - 1)));
    set("SLURM_ARRAY_TASK_STEP", std::to_string(e.ranges()[0].step));
  }
}

Status set_queueing(const Given& given, JobSpec& spec) {
  spec.queue = given.text("partition", "default");
  spec.account = given.text("account");
  spec.comment = given.text("comment");
  spec.hold = given.has("hold") ? Hold::kUser : Hold::kNone;
  if (given.has("time")) {
    const auto limit = parse_limit_ms(given.text("time"));
    if (!limit) return limit.error();
    spec.time_limit_ms = *limit;
  }
  if (given.has("begin")) {
    const auto begin = parse_begin(given.text("begin"), "begin", wall_clock_us());
    if (!begin) return bad("Invalid --begin specification");
    spec.begin_at = *begin;
  }
  if (given.has("dependency") && !given.text("dependency").empty()) {
    const auto depends = parse_depends(given.text("dependency"), "dependency");
    if (!depends) return bad("Job dependency problem: " + depends.error().message);
    spec.depends = depends->all;
    spec.any_dependency = depends->any;
  }
  if (given.has("nice")) {
    const std::string text = given.text("nice");
    const auto nice =
        text.empty() ? Result<std::int64_t>(100) : parse_integer(text, "nice", -2'147'483'645, 2'147'483'645);
    if (!nice) return bad("Invalid --nice specification");
    spec.priority = static_cast<std::int32_t>(std::clamp<std::int64_t>(-*nice, -1000, 1000));
  }
  if (given.has("priority")) {
    const auto priority = parse_integer(given.text("priority"), "priority", -1000, 1000);
    if (!priority) return bad("Invalid --priority specification: from -1000 to 1000 here");
    spec.priority = static_cast<std::int32_t>(*priority);
  }
  return Unit{};
}

Status set_array(const Given& given, JobSpec& spec) {
  if (!given.has("array")) return Unit{};
  const std::string text = given.text("array");
  const std::size_t percent = text.find('%');
  auto indexes = IndexSet::parse(text.substr(0, percent), "array");
  if (!indexes) return bad("Invalid job array specification");
  spec.kind = JobKind::kArray;
  spec.elements = std::move(*indexes);
  if (percent == std::string::npos) return Unit{};
  const auto throttle = parse_integer(text.substr(percent + 1), "array", 1, IndexSet::kMaxSize);
  if (!throttle) return bad("Invalid job array specification");
  spec.throttle = static_cast<std::uint32_t>(*throttle);
  return Unit{};
}

}  // namespace

int signal_number(std::string_view text) {
  if (const auto number = parse_integer(text, "signal", 1, 64)) return static_cast<int>(*number);
  std::string name = upper(text);
  if (name.starts_with("SIG")) name = name.substr(3);
  for (int signal = 1; signal < 32; ++signal) {
    const char* known = sigabbrev_np(signal);
    if (known != nullptr && name == known) return signal;
  }
  return 0;
}

std::string output_pattern(std::string pattern, bool array) {
  if (pattern == "none") return "/dev/null";
  const bool literal = pattern.starts_with("\\");
  std::string out;
  for (std::size_t i = literal ? 1 : 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || literal) {
      out += pattern[i];
      if (pattern[i] == '%') out += '%';
      continue;
    }
    std::size_t at = i + 1;
    while (at < pattern.size() && pattern[at] >= '0' && pattern[at] <= '9') ++at;
    const std::string width = pattern.substr(i + 1, at - i - 1);
    const char letter = at < pattern.size() ? pattern[at] : 0;
    i = at;
    switch (letter) {
      case 'A':
      case 'j':
      case 'J':
        out += "%" + width + "j";
        break;
      case 'a':
        out += array ? "%" + width + "a" : "4294967294";  // as Slurm has it where there is no array
        break;
      case 'N':
        out += "%n";
        break;
      case 'n':
      case 't':
        out += "0";
        break;
      case 's':
        out += "batch";
        break;
      case 'u':
      case 'x':
        out += std::string("%") + letter;
        break;
      case '%':
        out += "%%";
        break;
      default:
        out += "%%" + width;
        if (letter != 0) out += letter;
        break;
    }
  }
  return out;
}

Result<MadeJob> make_job(const Given& given, const std::string& name, bool batch) {
  MadeJob made;
  JobSpec& spec = made.spec;
  spec.name = given.text("job-name", name);
  if (Status good = set_shape(given, made.shape); !good) return good.error();
  if (Status good = set_resources(given, made.shape, spec.request.resources); !good) return good.error();
  if (Status good = set_placement(given, spec.request); !good) return good.error();
  if (Status good = set_queueing(given, spec); !good) return good.error();
  if (Status good = set_array(given, spec); !good) return good.error();
  if (Status good = set_signal(given, made.launch); !good) return good.error();
  if (given.has("input") && given.text("input") != "none" && given.text("input") != "/dev/null") {
    return bad("--input is not supported by Berth but for none and /dev/null");
  }
  // As Slurm does unless it is told otherwise, after the loss of a node.
  if (batch) spec.requeues_max = given.has("no-requeue") ? 0 : 10;

  const Surroundings here = this_process();
  Launch& launch = made.launch;
  launch.cwd = given.text("chdir", here.directory);
  if (launch.cwd.empty() || launch.cwd[0] != '/') launch.cwd = here.directory + "/" + launch.cwd;
  launch.umask = here.umask;
  launch.grace_ms = 30'000;  // Slurm's KillWait
  launch.slurm_variables = true;
  launch.append = given.text("open-mode") == "append" || given.text("open-mode") == "a";
  const std::string mode = given.text("open-mode");
  if (!mode.empty() && mode != "append" && mode != "a" && mode != "truncate" && mode != "t") {
    return bad("Invalid --open-mode specification");
  }
  const bool array = spec.kind == JobKind::kArray;
  if (batch) {
    launch.output_path = output_pattern(given.text("output", array ? "slurm-%A_%a.out" : "slurm-%j.out"), array);
    if (given.has("error")) launch.error_path = output_pattern(given.text("error"), array);
  }
  launch.env = exported(given, here.environment);
  add_variables(given, made, launch.env);
  std::sort(launch.env.begin(), launch.env.end());
  return made;
}

}  // namespace berth::tools::slurm
