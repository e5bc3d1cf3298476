#include "tools/slurm/job_options.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <sys/stat.h>
#include <unistd.h>

#include "state/condition.h"
#include "state/text.h"
#include "state/units.h"
#include "tools/cli/job_draft.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

// An option's value is none.
Error bad_option(std::string message) { return Error{ErrorCode::kInvalid, kBadOption, std::move(message), 0}; }
// What Slurm's controller would say of the job.
Error bad_job(std::string message) { return Error{ErrorCode::kInvalid, kBadJob, std::move(message), 0}; }

Status number(const Given& given, const char* name, std::int64_t least, std::int64_t most, std::uint32_t& to) {
  if (!given.has(name)) return Unit{};
  const auto value = parse_integer(given.text(name), name, least, most);
  if (!value) return bad(fmt::format("Invalid numeric value \"{}\" for --{}.", given.text(name), name));
  to = static_cast<std::uint32_t>(*value);
  return Unit{};
}

struct Gres {
  std::uint32_t gpus = 0;
  std::vector<std::string> models;  // features that the node must have
  std::vector<Countable> others;
};

// A number with k, m or g behind it, in thousands of 1024.
std::optional<std::uint64_t> gres_number(std::string_view text) {
  std::uint64_t scale = 1;
  for (const auto& [letters, times] : {std::pair{"kK", 1ULL << 10}, {"mM", 1ULL << 20}, {"gG", 1ULL << 30}}) {
    if (!text.empty() && std::string_view(letters).find(text.back()) != std::string_view::npos) {
      scale = times;
      text.remove_suffix(1);
      break;
    }
  }
  const auto value = parse_integer(text, "gres", 0, 1'000'000);
  return value ? std::optional(static_cast<std::uint64_t>(*value) * scale) : std::nullopt;
}

// gpu[:model][:N], name[:type][:N], none; by commas
Result<Gres> parse_gres(const std::string& text) {
  Gres out;
  for (std::string part : split(text, ',')) {
    if (part == "none" || part.empty()) continue;
    for (const char* prefix : {"gres:", "gres/"}) {
      if (part.starts_with(prefix)) part = part.substr(5);
    }
    std::vector<std::string> words = split(part, part.find('=') != std::string::npos ? '=' : ':');
    std::uint64_t count = 1;
    if (words.size() > 1) {
      if (const auto number = gres_number(words.back()); number) {
        count = *number;
        words.pop_back();
      }
    }
    if (words.size() > 2 || words[0].empty()) return bad("Invalid generic resource (gres) specification");
    if (words[0] == "gpu") {
      out.gpus += static_cast<std::uint32_t>(std::min<std::uint64_t>(count, 1000));
      if (words.size() == 2 && count != 0) out.models.push_back(words[1]);
      continue;
    }
    const std::string name = words.size() == 2 ? words[0] + ":" + words[1] : words[0];
    if (!is_countable_name(name)) return bad("Invalid generic resource (gres) specification");
    if (count != 0) out.others.push_back({name, count});
  }
  return out;
}

Status set_nodes(const Given& given, TaskShape& shape) {
  if (!given.has("nodes")) return Unit{};
  const std::string text = given.text("nodes");
  const std::vector<std::string> ends = split(text, '-');
  if (text == "0") return bad_job("Node count specification invalid");
  const auto least = parse_integer(ends[0], "nodes", 1, kMaxGangSize);
  const auto most = ends.size() == 2 ? parse_integer(ends[1], "nodes", least ? *least : 1, kMaxGangSize) : least;
  if (!least || ends.size() > 2 || !most) return bad_option(fmt::format("\"{}\" is not a valid node count", text));
  shape.nodes_min = static_cast<std::uint32_t>(*least);
  shape.nodes_max = static_cast<std::uint32_t>(*most);
  return Unit{};
}

// All nodes that are listed, and no others.
Status set_listed_nodes(const Given& given, TaskShape& shape) {
  if (!given.has("nodelist")) return Unit{};
  auto names = parse_name_list(given.text("nodelist"), "nodelist");
  if (!names) return bad_job("Invalid node name specified");
  std::sort(names->begin(), names->end());
  names->erase(std::unique(names->begin(), names->end()), names->end());
  const auto count = static_cast<std::uint32_t>(names->size());
  const auto tasks = parse_integer(given.text("ntasks"), "ntasks", 1, kMaxGangSize);
  const bool other_nodes = shape.nodes_min != 0 && (count < shape.nodes_min || count > shape.nodes_max);
  if (other_nodes || (tasks && *tasks < count)) {
    return bad(
        fmt::format("--nodelist of {} nodes with another number of them, or with fewer tasks, is not supported by "
                    "Berth: a job has all nodes that are listed, and no others",
                    count));
  }
  if (count > 1 || shape.nodes_min != 0) shape.nodes_min = shape.nodes_max = count;
  return Unit{};
}

void tell_of_fewer_nodes(std::uint32_t tasks, std::uint32_t nodes) {
  fmt::print(stderr, "{}: Warning: can't run {} processes on {} nodes, setting nnodes to {}\n",
             program_invocation_short_name, tasks, nodes, tasks);
}

Status set_shape(const Given& given, bool step, TaskShape& shape) {
  if (Status good = set_nodes(given, shape); !good) return good;
  if (Status good = step ? Status(Unit{}) : set_listed_nodes(given, shape); !good) return good;
  const char* per = per_node_option(given);
  if (Status good = number(given, per, 1, kMaxGangSize, shape.per_node); !good) return good;
  if (shape.nodes_min != 0 || shape.per_node != 0) {
    shape.tasks = std::max(shape.nodes_min, 1U) * std::max(shape.per_node, 1U);
  }
  if (Status good = number(given, "ntasks", 1, kMaxGangSize, shape.tasks); !good) return good;
  if (Status good = number(given, "cpus-per-task", 1, 1'000'000, shape.cpus_per_task); !good) return good;
  shape.tasks_given = given.has("ntasks") || shape.per_node != 0;
  shape.cpus_given = given.has("cpus-per-task");
  if (shape.nodes_min > shape.tasks) {  // as Slurm has it, with a word of warning
    if (given.has("ntasks")) tell_of_fewer_nodes(shape.tasks, shape.nodes_min);
    shape.nodes_min = shape.nodes_max = shape.tasks;
  }
  const bool fixed = shape.nodes_min != 0 && shape.nodes_min == shape.nodes_max;
  if (shape.nodes_max == 1 || (shape.tasks == 1 && shape.nodes_min <= 1)) {
    shape.unit = TaskShape::Unit::kJob;
  } else {
    const bool even = fixed && shape.tasks % shape.nodes_min == 0 &&
                      (shape.per_node == 0 || shape.tasks / shape.nodes_min <= shape.per_node);
    shape.unit = even ? TaskShape::Unit::kNode : TaskShape::Unit::kTask;
  }
  return Unit{};
}

// What is asked for, before it is known for how many pods.
struct Amounts {
  std::uint32_t gpus_per_task = 0, gpus_per_node = 0, gpus = 0, cpus_per_gpu = 0, cpus_least = 0;
  std::vector<std::string> models;
  std::vector<Countable> counts;  // of a node
};

Result<Amounts> parse_amounts(const Given& given) {
  Amounts out;
  for (const auto& [name, to] : {std::pair{"gpus", &out.gpus}, std::pair{"gpus-per-node", &out.gpus_per_node}}) {
    // [model:]N
    const std::string text = given.text(name);
    if (text.empty()) continue;
    const auto counted = parse_gres("gpu:" + text);
    if (!counted) return counted.error();
    *to = counted->gpus;
    out.models.insert(out.models.end(), counted->models.begin(), counted->models.end());
  }
  if (Status good = number(given, "gpus-per-task", 0, kMaxGpus, out.gpus_per_task); !good) return good.error();
  if (Status good = number(given, "cpus-per-gpu", 1, 1'000'000, out.cpus_per_gpu); !good) return good.error();
  if (Status good = number(given, "mincpus", 1, 1'000'000, out.cpus_least); !good) return good.error();
  if (given.has("gres")) {
    auto counted = parse_gres(given.text("gres"));
    if (!counted) return counted.error();
    out.counts = std::move(counted->others);
    out.gpus_per_node = std::max(out.gpus_per_node, counted->gpus);
    out.models.insert(out.models.end(), counted->models.begin(), counted->models.end());
  }
  if (given.has("tmp")) {
    const auto mib = parse_mem_mib(given.text("tmp"));
    if (!mib) return bad_option("Invalid --tmp specification");
    if (*mib != 0) out.counts.push_back({std::string(kDisk), *mib});
  }
  return out;
}

// A pod for each task divides what is asked of a node only where it is known how many of them a node has. So such a job
// is one of nodes: of as many as -N and --ntasks-per-node make necessary, mostly one.
Status settle_unit(const Given& given, const Amounts& amounts, TaskShape& shape) {
  using Unit = TaskShape::Unit;
  if (given.has("array")) {  // an element of an array runs on one node
    if (shape.nodes_min > 1) {
      return bad("--array with more than one node for each element is not supported by Berth");
    }
    shape.unit = Unit::kJob;
  }
  const bool of_nodes = given.has("mem") || given.has("exclusive") || amounts.gpus_per_node != 0 ||
                        amounts.cpus_least > shape.cpus_per_task || !amounts.counts.empty() ||
                        amounts.gpus % shape.tasks != 0;
  if (shape.unit != Unit::kTask || !of_nodes) return state::Unit{};
  if (shape.nodes_min == 0 && shape.per_node != 0) {
    shape.nodes_min = (shape.tasks + shape.per_node - 1) / shape.per_node;
  }
  shape.nodes_min = shape.nodes_max = std::max(shape.nodes_min, 1U);
  if (shape.tasks % shape.nodes_min != 0 || (shape.per_node != 0 && shape.tasks / shape.nodes_min > shape.per_node)) {
    return bad(
        "what is asked of a node (--mem, --gres, --gpus, --exclusive and the like) cannot be divided among tasks here: "
        "give --nodes with as many tasks on each");
  }
  shape.unit = shape.nodes_min == 1 ? Unit::kJob : Unit::kNode;
  return state::Unit{};
}

// What one pod of the job asks for: all of it, a node's part, or a task's.
Status set_resources(const Given& given, const TaskShape& shape, Amounts amounts, Request& request) {
  using Unit = TaskShape::Unit;
  Resources& resources = request.resources;
  // Tasks on the node of one unit, and units on a node, as far as that is known.
  const std::uint32_t tasks = shape.unit == Unit::kJob    ? shape.tasks
                              : shape.unit == Unit::kNode ? shape.tasks / shape.nodes_min
                                                          : 1;
  const std::uint32_t on_node = shape.unit != Unit::kTask ? 1 : shape.per_node != 0 ? shape.per_node : shape.tasks;
  const auto part = [&](std::uint64_t whole, std::uint64_t parts, const char* what, std::uint64_t& to) -> Status {
    if (whole % parts != 0) {
      return bad(fmt::format("{} cannot be divided evenly here: give --nodes with as many tasks on each", what));
    }
    to = whole / parts;
    return state::Unit{};
  };
  std::uint64_t gpus = 0, gpus_of_all = 0;
  if (Status good = part(amounts.gpus_per_node, on_node, "GPUs of a node", gpus); !good) return good;
  if (Status good = part(amounts.gpus, shape.units(), "The job's GPUs", gpus_of_all); !good) return good;
  gpus = std::max({gpus, gpus_of_all, std::uint64_t{amounts.gpus_per_task} * tasks});
  if (gpus > kMaxGpus) return bad_job("Requested node configuration is not available");
  for (Countable& item : amounts.counts) {
    if (item.name == kDisk) {
      item.count = (item.count + on_node - 1) / on_node;
    } else if (Status good = part(item.count, on_node, item.name.c_str(), item.count); !good) {
      return good;
    }
  }
  request.counts = std::move(amounts.counts);
  for (const std::string& model : amounts.models) request.features.push_back(model);
  const std::uint64_t cpus =
      std::max<std::uint64_t>({std::uint64_t{tasks} * shape.cpus_per_task, std::uint64_t{amounts.cpus_per_gpu} * gpus,
                               (std::uint64_t{amounts.cpus_least} + on_node - 1) / on_node});
  if (cpus > 1'000'000) return bad_job("More processors requested than permitted");
  resources.cpu_milli = static_cast<std::uint32_t>(cpus * 1000);
  resources.gpus = static_cast<std::uint32_t>(gpus);
  for (const auto& [name, times] :
       {std::pair{"mem", std::uint64_t{0}}, std::pair{"mem-per-cpu", cpus}, std::pair{"mem-per-gpu", gpus}}) {
    if (!given.has(name)) continue;
    const auto mib = parse_mem_mib(given.text(name));
    if (!mib) return bad_option(fmt::format("Invalid --{} specification", name));
    if (*mib == 0 && times == 0 && !given.has("exclusive")) {
      return bad("--mem=0, all memory of a node, is not supported by Berth but with --exclusive");
    }
    resources.mem_mib = times == 0 ? (*mib + on_node - 1) / on_node : *mib * times;
  }
  if (given.has("licenses")) {
    for (const std::string& word : split(given.text("licenses"), ',')) {
      auto licence = parse_countable(word, "licenses");
      if (!licence || word.find('=') != std::string::npos) return bad_job("Invalid license specification");
      request.licences.push_back(std::move(*licence));
    }
  }
  std::uint32_t threads = 0;
  if (Status good = number(given, "threads-per-core", 1, 8, threads); !good) return good;
  const std::string hint = given.text("hint");
  if (hint == "nomultithread") threads = 1;
  if (!hint.empty() && hint != "nomultithread" && hint != "multithread" && hint != "compute_bound" &&
      hint != "memory_bound") {
    return bad("unrecognized --hint argument \"" + hint + "\", see --hint=help");
  }
  request.cores.threads_per_core = static_cast<std::uint8_t>(threads);
  return state::Unit{};
}

// How the pods of the job lie over nodes.
Status set_layout(const Given& given, const TaskShape& shape, JobUse use, JobSpec& spec) {
  using Unit = TaskShape::Unit;
  GangShape layout;
  if (given.has("switches")) {
    // N[@TIME]
    const std::string text = given.text("switches");
    const auto most = parse_integer(text.substr(0, text.find('@')), "switches", 1, kMaxGangSize);
    if (!most) return bad_option("Invalid --switches specification");
    layout.switches = static_cast<std::uint32_t>(*most);
  }
  layout.contiguous = given.has("contiguous");
  if (shape.unit == Unit::kJob && use != JobUse::kPlace && (use != JobUse::kTasks || shape.tasks == 1)) {
    return state::Unit{};
  }
  spec.kind = JobKind::kGang;
  spec.lead_only = use != JobUse::kTasks;
  if (use == JobUse::kTasks) {
    // A pod for each task.
    spec.elements = IndexSet::dense(shape.tasks);
    layout.per_node = shape.unit == Unit::kNode ? shape.tasks / shape.nodes_min : shape.per_node;
    layout.nodes_min = shape.nodes_min;
    layout.nodes_max = shape.nodes_max;
    layout.compact = shape.nodes_min == 0;
  } else if (shape.unit == Unit::kTask) {
    spec.elements = IndexSet::dense(shape.tasks);
    layout.per_node = shape.per_node;
    layout.nodes_min = shape.nodes_min;
    layout.nodes_max = shape.nodes_max;
    layout.compact = true;
  } else {
    spec.elements = IndexSet::dense(shape.units());
    layout.per_node = 1;
  }
  spec.gang = layout;
  return state::Unit{};
}

Status set_placement(const Given& given, Request& request) {
  const auto also = [&](const std::string& condition) -> Status {
    std::string& where = request.where;
    where = where.empty() ? condition : "(" + where + ")&(" + condition + ")";
    if (!Condition::parse(where, "constraint")) return bad_job("Invalid feature specification");
    return Unit{};
  };
  if (given.has("constraint")) {
    if (Status good = also(given.text("constraint")); !good) return good;
  }
  if (given.has("prefer")) {
    if (!Condition::parse(given.text("prefer"), "prefer")) return bad_job("Invalid feature specification");
    request.prefers.push_back(given.text("prefer"));
  }
  for (const auto& [name, op] : {std::pair{"nodelist", "in"}, std::pair{"exclude", "notin"}}) {
    if (!given.has(name)) continue;
    if (!parse_name_list(given.text(name), name)) return bad_job("Invalid node name specified");
    if (Status good = also(std::string("node ") + op + " (" + given.text(name) + ")"); !good) return good;
  }
  request.exclusive = given.has("exclusive");
  return Unit{};
}

// A batch script and an allocation's own process hear of it with B: alone; else it is for their steps.
Status set_signal(const Given& given, JobUse use, Launch& launch) {
  if (!given.has("signal")) return Unit{};
  const auto warning = parse_signal(given.text("signal"));
  if (!warning) return warning.error();
  if (use != JobUse::kTasks && !warning->batch) return Unit{};
  launch.warn_signal = static_cast<std::uint8_t>(warning->signal);
  launch.warn_ms = warning->before_ms;
  return Unit{};
}

Status set_queueing(const Given& given, JobSpec& spec) {
  spec.queue = given.text("partition", "default");
  spec.account = given.text("account");
  spec.qos = given.text("qos");
  spec.comment = given.text("comment");
  spec.hold = given.has("hold") ? Hold::kUser : Hold::kNone;
  if (given.has("time")) {
    const auto limit = parse_limit_ms(given.text("time"));
    if (!limit) return bad_option("Invalid --time specification");
    spec.time_limit_ms = *limit;
  }
  if (given.has("time-min")) {
    const auto least = parse_limit_ms(given.text("time-min"));
    if (!least) return bad_option("Invalid --time-min specification");
    spec.time_min_ms = *least;
  }
  if (given.has("begin")) {
    const auto begin = parse_begin(given.text("begin"), "begin", wall_clock_us());
    if (!begin) {
      fmt::print(stderr, "Invalid time specification (pos=0): {}\n", given.text("begin"));
      return bad_option("Invalid --begin specification");
    }
    spec.begin_at = *begin;
  }
  if (given.has("deadline")) {
    const auto deadline = parse_deadline(given.text("deadline"), "deadline", wall_clock_us());
    if (!deadline) {
      fmt::print(stderr, "Invalid time specification (pos=0): {}\n", given.text("deadline"));
      return bad_option("Invalid --deadline specification");
    }
    if (*deadline < spec.begin_at) return bad("Incompatible begin and deadline time specification");
    spec.deadline = *deadline;
  }
  if (given.has("dependency") && !given.text("dependency").empty()) {
    const auto depends = parse_depends(given.text("dependency"), "dependency");
    if (!depends) return bad_job(depends.error().message + "\nJob dependency problem");
    spec.depends = depends->all;
    spec.any_dependency = depends->any;
  }
  if (given.has("nice")) {
    const std::string text = given.text("nice");
    const auto nice =
        text.empty() ? Result<std::int64_t>(100) : parse_integer(text, "nice", -2'147'483'645, 2'147'483'645);
    if (!nice) return bad_option("Invalid --nice specification");
    spec.priority = static_cast<std::int32_t>(std::clamp<std::int64_t>(-*nice, -1000, 1000));
  }
  if (given.has("priority")) {
    const auto priority = parse_integer(given.text("priority"), "priority", -1000, 1000);
    if (!priority) return bad_option("Invalid --priority specification: from -1000 to 1000 here");
    spec.priority = static_cast<std::int32_t>(*priority);
  }
  return Unit{};
}

Status set_array(const Given& given, JobSpec& spec) {
  if (!given.has("array")) return Unit{};
  const std::string text = given.text("array");
  const std::size_t percent = text.find('%');
  auto indexes = IndexSet::parse(text.substr(0, percent), "array");
  if (!indexes) return bad_job("Invalid job array specification");
  spec.kind = JobKind::kArray;
  spec.elements = std::move(*indexes);
  if (percent == std::string::npos) return Unit{};
  const auto throttle = parse_integer(text.substr(percent + 1), "array", 1, IndexSet::kMaxSize);
  if (!throttle) return bad_job("Invalid job array specification");
  spec.throttle = static_cast<std::uint32_t>(*throttle);
  return Unit{};
}

Status check_files(const Given& given) {
  if (given.has("input") && given.text("input") != "none" && given.text("input") != "/dev/null") {
    return bad("--input is not supported by Berth but for none and /dev/null");
  }
  const std::string mode = given.text("open-mode");
  if (!mode.empty() && mode != "append" && mode != "a" && mode != "truncate" && mode != "t") {
    return bad_option("Invalid --open-mode specification");
  }
  return Unit{};
}

}  // namespace

// [{R|B}:]SIGNAL[@SECONDS]
Result<WarnSignal> parse_signal(const std::string& given) {
  std::string_view text = given;
  WarnSignal out;
  while (text.starts_with("B:") || text.starts_with("R:")) {
    out.batch |= text[0] == 'B';
    text.remove_prefix(2);
  }
  const std::size_t at = text.find('@');
  if (at != std::string_view::npos) {
    const auto value = parse_integer(text.substr(at + 1), "signal", 0, 65'535);
    if (!value) return bad_option("Invalid --signal specification");
    out.before_ms = *value * 1000;
  }
  out.signal = signal_number(text.substr(0, at));
  if (out.signal == 0) return bad_option("Invalid --signal specification");
  return out;
}

Result<TaskShape> local_shape(const Given& given) {
  TaskShape shape;
  if (Status good = set_shape(given, true, shape); !good) return good.error();
  if (Status good = check_files(given); !good) return good.error();
  return shape;
}

Status set_step(const Given& given, std::uint32_t nodes, std::optional<std::uint32_t> job_tasks, JobSpec& spec) {
  TaskShape shape;
  if (Status good = set_nodes(given, shape); !good) return good;
  const char* per = per_node_option(given);
  if (Status good = number(given, per, 1, kMaxGangSize, shape.per_node); !good) return good;
  if (shape.nodes_min != 0) {
    nodes = shape.nodes_min;
  } else if (const auto named = parse_name_list(given.text("nodelist"), "nodelist"); given.has("nodelist") && named) {
    nodes = static_cast<std::uint32_t>(named->size());
  }
  std::uint32_t tasks = nodes * std::max(shape.per_node, 1U);
  if (job_tasks && shape.per_node == 0) tasks = *job_tasks;
  if (Status good = number(given, "ntasks", 1, kMaxGangSize, tasks); !good) return good;
  if (Status good = number(given, "cpus-per-task", 1, 1'000'000, shape.cpus_per_task); !good) return good;
  if (shape.nodes_min > tasks) tell_of_fewer_nodes(tasks, shape.nodes_min);
  spec.kind = JobKind::kGang;
  spec.elements = IndexSet::dense(tasks);
  spec.request.resources.cpu_milli = shape.cpus_per_task * 1000;
  spec.gang.nodes_min = std::min(shape.nodes_min, tasks);
  spec.gang.nodes_max = std::min(shape.nodes_max, tasks);
  spec.gang.per_node = shape.per_node;
  spec.step.overlap = given.has("overlap");
  const bool exact = given.has("exact") || given.has("exclusive") || given.has("cpus-per-task");
  spec.step.whole = !exact && !spec.step.overlap;
  spec.step.cyclic = given.text("distribution").starts_with("cyclic");
  if (Status good = number(given, "relative", 0, kMaxGangSize, spec.step.relative); !good) return good;
  for (const auto& [name, op] : {std::pair{"nodelist", "in"}, std::pair{"exclude", "notin"}}) {
    if (!given.has(name)) continue;
    if (!parse_name_list(given.text(name), name)) return bad_job("Invalid node name specified");
    std::string& where = spec.request.where;
    const std::string condition = std::string("node ") + op + " (" + given.text(name) + ")";
    where = where.empty() ? condition : "(" + where + ")&(" + condition + ")";
  }
  return state::Unit{};
}

Result<MadeJob> make_job(const Given& given, const std::string& name, JobUse use) {
  const bool batch = use == JobUse::kBatch;
  MadeJob made;
  JobSpec& spec = made.spec;
  spec.name = given.text("job-name", name);
  if (Status good = set_shape(given, false, made.shape); !good) return good.error();
  auto amounts = parse_amounts(given);
  if (!amounts) return amounts.error();
  if (Status good = settle_unit(given, *amounts, made.shape); !good) return good.error();
  TaskShape each = made.shape;
  if (use == JobUse::kTasks && each.tasks > 1) {
    // Every pod is a task, whatever the nodes.
    each.unit = TaskShape::Unit::kTask;
    const bool even = made.shape.unit != TaskShape::Unit::kTask;
    if (each.nodes_min != 0 && (even || each.per_node == 0)) {
      each.per_node = (each.tasks + each.nodes_min - 1) / each.nodes_min;
    }
    if (given.has("exclusive") && each.per_node != 1) {
      return bad("--exclusive with several tasks on a node is not supported by Berth outside of a job: use salloc");
    }
  }
  if (Status good = set_resources(given, each, std::move(*amounts), spec.request); !good) return good.error();
  if (Status good = set_placement(given, spec.request); !good) return good.error();
  if (Status good = set_queueing(given, spec); !good) return good.error();
  if (Status good = set_layout(given, made.shape, use, spec); !good) return good.error();
  if (Status good = set_array(given, spec); !good) return good.error();
  if (Status good = set_signal(given, use, made.launch); !good) return good.error();
  if (Status good = check_files(given); !good) return good.error();
  if (Status good = check_words(given); !good) return good.error();
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
  const bool array = spec.kind == JobKind::kArray;
  if (batch) {
    launch.output_path = output_pattern(given.text("output", array ? "slurm-%A_%a.out" : "slurm-%j.out"), array);
    if (given.has("error")) launch.error_path = output_pattern(given.text("error"), array);
  }
  launch.env = exported(given, here.environment);
  add_variables(given, made, use, launch.env);
  std::sort(launch.env.begin(), launch.env.end());
  return made;
}

}  // namespace berth::tools::slurm
