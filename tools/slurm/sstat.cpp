// sstat: what the steps of jobs that run have used until now, as their nodes tell.
#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <optional>

#include "tools/cli/node_asking.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/options.h"
#include "tools/slurm/print_table.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

struct StepTask {
  std::string node;
  std::uint32_t task = 0;
  PodTop top;
};

struct StepUse {
  std::string id;  // "12.batch", "12_3.batch", "12.0"
  std::vector<StepTask> tasks;
  bool exact = false;  // bytes, instead of MiB
};

using Measure = std::uint64_t (*)(const StepTask& task);
std::uint64_t cpu_us(const StepTask& t) { return t.top.use.cpu_user_us + t.top.use.cpu_system_us; }
std::uint64_t memory_now(const StepTask& t) { return t.top.mem_bytes; }
std::uint64_t memory_peak(const StepTask& t) { return std::max(t.top.mem_peak_bytes, t.top.mem_bytes); }
std::uint64_t bytes_read(const StepTask& t) { return t.top.use.read_bytes; }
std::uint64_t bytes_written(const StepTask& t) { return t.top.use.written_bytes; }

const StepTask& most(const StepUse& step, Measure of) {
  return *std::max_element(step.tasks.begin(), step.tasks.end(),
                           [&](const StepTask& a, const StepTask& b) { return of(a) < of(b); });
}
const StepTask& least(const StepUse& step, Measure of) {
  return *std::min_element(step.tasks.begin(), step.tasks.end(),
                           [&](const StepTask& a, const StepTask& b) { return of(a) < of(b); });
}
std::uint64_t sum(const StepUse& step, Measure of) {
  std::uint64_t all = 0;
  for (const StepTask& task : step.tasks) all += of(task);
  return all;
}
std::uint64_t mean(const StepUse& step, Measure of) { return sum(step, of) / step.tasks.size(); }

// "00:02.517", with hours "01:00:02", with days "1-01:00:02"
std::string cpu_text(std::uint64_t us) {
  const std::uint64_t seconds = us / 1'000'000;
  if (seconds >= 3600) return length_text(static_cast<std::int64_t>(seconds), true);
  return fmt::format("{:02}:{:02}.{:03}", seconds / 60, seconds % 60, us / 1000 % 1000);
}
std::string memory_text_of(const StepUse&, std::uint64_t bytes) { return fmt::format("{}K", bytes / 1024); }
std::string disk_text(const StepUse& step, std::uint64_t bytes) {
  return step.exact ? std::to_string(bytes) : fmt::format("{:.2f}M", static_cast<double>(bytes) / (1 << 20));
}

using StatField = TableField<StepUse>;
using StatText = std::string (*)(const StepUse&, std::uint64_t);

// MaxX, MaxXNode and MaxXTask.
void add_most(std::vector<StatField>& fields, const std::vector<const char*>& names, const std::vector<int>& widths,
              Measure of, StatText text) {
  fields.push_back(
      {names[0], 4, widths[0], names[0], [of, text](const StepUse& s) { return text(s, of(most(s, of))); }});
  fields.push_back({names[1], 4, widths[1], names[1], [of](const StepUse& s) { return most(s, of).node; }});
  fields.push_back(
      {names[2], 4, widths[2], names[2], [of](const StepUse& s) { return std::to_string(most(s, of).task); }});
}

// What of a step's tasks is told together, by the names of what is counted.
struct StatTres {
  const char* name;
  Measure of;
  std::string (*text)(std::uint64_t value);
};
const std::vector<StatTres>& tres_of(bool in) {
  static const auto number = [](std::uint64_t value) { return std::to_string(value); };
  static const std::vector<StatTres> read{
      {"cpu", cpu_us, [](std::uint64_t us) { return length_text(static_cast<std::int64_t>(us / 1'000'000), true); }},
      {"fs/disk", bytes_read, number},
      {"mem", memory_peak, [](std::uint64_t bytes) { return fmt::format("{}K", bytes / 1024); }}};
  static const std::vector<StatTres> written{{"fs/disk", bytes_written, number}};
  return in ? read : written;
}

// TRESUsageInAve, TRESUsageInMax, TRESUsageInMaxNode, …
void add_tres(std::vector<StatField>& fields, bool in, const std::vector<std::pair<const char*, int>>& names) {
  using Value = std::string (*)(const StepUse&, const StatTres&);
  const std::vector<Value> values{
      [](const StepUse& s, const StatTres& t) { return t.text(mean(s, t.of)); },
      [](const StepUse& s, const StatTres& t) { return t.text(t.of(most(s, t.of))); },
      [](const StepUse& s, const StatTres& t) { return most(s, t.of).node; },
      [](const StepUse& s, const StatTres& t) { return std::to_string(most(s, t.of).task); },
      [](const StepUse& s, const StatTres& t) { return t.text(t.of(least(s, t.of))); },
      [](const StepUse& s, const StatTres& t) { return least(s, t.of).node; },
      [](const StepUse& s, const StatTres& t) { return std::to_string(least(s, t.of).task); },
      [](const StepUse& s, const StatTres& t) { return t.text(sum(s, t.of)); }};
  for (std::size_t i = 0; i < names.size(); ++i) {
    fields.push_back({names[i].first, 4, names[i].second, names[i].first, [in, value = values[i]](const StepUse& s) {
                        std::string text;
                        for (const StatTres& one : tres_of(in)) {
                          text += fmt::format("{}{}={}", text.empty() ? "" : ",", one.name, value(s, one));
                        }
                        return text;
                      }});
  }
}

const std::vector<StatField>& stat_fields() {
  static const std::vector<StatField> all = [] {
    const auto nothing = [](const StepUse&) { return std::string(); };  // not measured
    std::vector<StatField> fields;
    const auto average = [&](const char* name, int width, Measure of, StatText text) {
      fields.push_back({name, 4, width, name, [of, text](const StepUse& s) { return text(s, mean(s, of)); }});
    };
    const auto without = [&](const std::vector<std::pair<const char*, int>>& names) {
      for (const auto& [name, width] : names) fields.push_back({name, 4, width, name, nothing});
    };
    fields.push_back({"AveCPU", 4, 10, "AveCPU", [](const StepUse& s) { return cpu_text(mean(s, cpu_us)); }});
    without({{"AveCPUFreq", 10}});
    average("AveDiskRead", 12, bytes_read, disk_text);
    average("AveDiskWrite", 12, bytes_written, disk_text);
    without({{"AvePages", 10}});
    average("AveRSS", 10, memory_now, memory_text_of);
    without({{"AveVMSize", 10}, {"ConsumedEnergy", 14}, {"ConsumedEnergyRaw", 17}});
    fields.push_back({"JobID", 1, -12, "JobID", [](const StepUse& s) { return s.id; }});
    add_most(fields, {"MaxDiskRead", "MaxDiskReadNode", "MaxDiskReadTask"}, {12, 15, 15}, bytes_read, disk_text);
    add_most(fields, {"MaxDiskWrite", "MaxDiskWriteNode", "MaxDiskWriteTask"}, {12, 16, 16}, bytes_written, disk_text);
    without({{"MaxPages", 8}, {"MaxPagesNode", 12}, {"MaxPagesTask", 14}});
    add_most(fields, {"MaxRSS", "MaxRSSNode", "MaxRSSTask"}, {10, 10, 10}, memory_peak, memory_text_of);
    without({{"MaxVMSize", 10}, {"MaxVMSizeNode", 14}, {"MaxVMSizeTask", 14}});
    fields.push_back({"MinCPU", 4, 10, "MinCPU", [](const StepUse& s) { return cpu_text(cpu_us(least(s, cpu_us))); }});
    fields.push_back({"MinCPUNode", 4, 10, "MinCPUNode", [](const StepUse& s) { return least(s, cpu_us).node; }});
    fields.push_back(
        {"MinCPUTask", 4, 10, "MinCPUTask", [](const StepUse& s) { return std::to_string(least(s, cpu_us).task); }});
    fields.push_back({"Nodelist", 4, 20, "Nodelist", [](const StepUse& s) {
                        std::vector<std::string> nodes;
                        for (const StepTask& task : s.tasks) nodes.push_back(task.node);
                        std::sort(nodes.begin(), nodes.end());
                        nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
                        return hostlist(nodes);
                      }});
    fields.push_back({"NTasks", 2, 8, "NTasks", [](const StepUse& s) { return std::to_string(s.tasks.size()); }});
    without({{"ReqCPUFreq", 10}, {"ReqCPUFreqMin", 13}, {"ReqCPUFreqMax", 13}, {"ReqCPUFreqGov", 13}});
    add_tres(fields, true,
             {{"TRESUsageInAve", 14},
              {"TRESUsageInMax", 14},
              {"TRESUsageInMaxNode", 18},
              {"TRESUsageInMaxTask", 18},
              {"TRESUsageInMin", 14},
              {"TRESUsageInMinNode", 18},
              {"TRESUsageInMinTask", 18},
              {"TRESUsageInTot", 14}});
    add_tres(fields, false,
             {{"TRESUsageOutAve", 15},
              {"TRESUsageOutMax", 15},
              {"TRESUsageOutMaxNode", 19},
              {"TRESUsageOutMaxTask", 19},
              {"TRESUsageOutMin", 15},
              {"TRESUsageOutMinNode", 19},
              {"TRESUsageOutMinTask", 19},
              {"TRESUsageOutTot", 15}});
    return fields;
  }();
  return all;
}

constexpr const char* kStatDefault =
    "JobID,MaxVMSize,MaxVMSizeNode,MaxVMSizeTask,AveVMSize,MaxRSS,MaxRSSNode,MaxRSSTask,AveRSS,MaxPages,MaxPagesNode,"
    "MaxPagesTask,AvePages,MinCPU,MinCPUNode,MinCPUTask,AveCPU,NTasks,AveCPUFreq,ReqCPUFreqMin,ReqCPUFreqMax,"
    "ReqCPUFreqGov,ConsumedEnergy,MaxDiskRead,MaxDiskReadNode,MaxDiskReadTask,AveDiskRead,MaxDiskWrite,"
    "MaxDiskWriteNode,MaxDiskWriteTask,AveDiskWrite,TRESUsageInAve,TRESUsageInMax,TRESUsageInMaxNode,"
    "TRESUsageInMaxTask,"
    "TRESUsageInMin,TRESUsageInMinNode,TRESUsageInMinTask,TRESUsageInTot,TRESUsageOutAve,TRESUsageOutMax,"
    "TRESUsageOutMaxNode,TRESUsageOutMaxTask,TRESUsageOutMin,TRESUsageOutMinNode,TRESUsageOutMinTask,TRESUsageOutTot";

// A step of the job, or of one of its elements: who comes first is shown first.
struct StepKey {
  std::optional<std::uint32_t> index, number;  // no number: the script's
  auto operator<=>(const StepKey&) const = default;
};
using JobSteps = std::map<StepKey, StepUse>;

// What runs of the job now, asked of every node that is connected.
Result<JobSteps> steps_now(ServerLink& link, const std::vector<NodeRow>& nodes, const JobRow& job) {
  JobSteps steps;
  std::optional<Error> refused;
  const auto question = [&](const std::string& node) { return NodeRequest(TopRequest{node, job.id}); };
  const Status asked = ask_nodes(link, nodes, question, [&](const NodeRow& node, Result<ServerReply> reply) {
    auto* page = reply ? std::get_if<TopPage>(&*reply) : nullptr;
    if (page == nullptr) {
      if (!reply) refused = reply.error();
      return;
    }
    for (PodTop& pod : page->pods) {
      StepKey key;
      if (job.kind == JobKind::kArray) key.index = pod.index;
      if (pod.step_of != JobId{}) key.number = pod.step;
      const std::uint32_t task = job.kind == JobKind::kArray && pod.step_of == JobId{} ? 0 : pod.index;
      steps[key].tasks.push_back({node.info.name, task, std::move(pod)});
    }
  });
  if (!asked) return asked.error();
  if (steps.empty() && refused) return *refused;
  for (auto& [key, step] : steps) {
    std::sort(step.tasks.begin(), step.tasks.end(),
              [](const StepTask& a, const StepTask& b) { return a.task < b.task; });
    step.id = std::to_string(job.id.value) + (key.index ? "_" + std::to_string(*key.index) : "") + "." +
              (key.number ? std::to_string(*key.number) : "batch");
  }
  return steps;
}

// The steps that the word names; without -a and a step's name one of each job: the first, or the script if that is all.
std::vector<StepUse> chosen_steps(const JobSteps& steps, const JobWord& word, bool all) {
  std::vector<StepUse> out;
  std::optional<std::uint32_t> done;  // the element that has one
  for (const auto& each : steps) {
    const auto& key = each.first;
    const StepUse& step = each.second;
    if (word.indexes) {
      std::uint32_t position = 0;
      if (!key.index || !word.indexes->find(*key.index, position)) continue;
    }
    if (!word.step.empty()) {
      if (word.step == (key.number ? std::to_string(*key.number) : "batch")) out.push_back(step);
      continue;
    }
    const auto same = [&](const auto& other) { return other.first.index == key.index && other.first.number; };
    const bool has_numbered = std::any_of(steps.begin(), steps.end(), same);
    const bool first = !out.empty() && done == key.index ? false : key.number || !has_numbered;
    if (!all && !first) continue;
    done = key.index;
    out.push_back(step);
  }
  return out;
}

}  // namespace

int sstat(const Context& context, const Words& words) {
  const CommandTable& table = table_of("sstat");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  const Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (given.has("verbose")) tell_ignored(table, given);
  Output out;
  if (given.has("helpformat")) {
    std::string names;
    for (std::size_t i = 0; i < stat_fields().size(); ++i) {
      const bool last = i % 4 == 3 || i + 1 == stat_fields().size();
      names += fmt::format("{:<19}{}", stat_fields()[i].name, last ? "\n" : " ");
    }
    out.write(names);
    return out.finish();
  }
  std::vector<std::string> texts = given.all("jobs");
  texts.insert(texts.end(), given.words.begin(), given.words.end());
  const auto jobs = parse_job_words(texts);
  if (!jobs) {
    fmt::print(stderr, "sstat: fatal: Bad job/step specified: {}\n", join(texts, ","));
    return 1;
  }
  if (jobs->empty()) return fail("sstat", "You didn't give me any jobs to stat.");
  std::vector<std::string> names = given.all("format");
  for (const std::string& more : given.all("fields")) names.push_back(more);
  const std::string format = names.empty() ? kStatDefault : join(names, ",");
  const auto columns = table_columns<StepUse>(format, stat_fields(), "");
  if (!columns) return fail("sstat", "Invalid field requested: \"" + columns.error().message + "\"");

  ServerLink link(context);
  const auto nodes = choose_nodes(link, {});
  if (!nodes) return fail("sstat", slurm_error(nodes.error()));
  std::vector<StepUse> rows;
  std::vector<std::string> missing;
  for (const JobWord& word : *jobs) {
    JobFilter filter;
    filter.jobs = {word.job};
    const auto known = fetch_rows(link, filter);
    if (!known) return fail("sstat", slurm_error(known.error()));
    std::vector<StepUse> found;
    if (!known->empty()) {
      const auto steps = steps_now(link, *nodes, known->front());
      if (!steps) return fail("sstat", slurm_error(steps.error()));
      found = chosen_steps(*steps, word, given.has("allsteps"));
    }
    if (found.empty()) {
      const std::string job = std::to_string(word.job.value);
      missing.push_back(known->empty()      ? "couldn't get steps for job " + job
                        : word.step.empty() ? "No steps running for job " + job
                                            : "StepId=" + job + "." + word.step + " not found running.");
    }
    for (StepUse& step : found) {
      step.exact = given.has("noconvert");
      rows.push_back(std::move(step));
    }
  }
  write_table(out, *columns, TableStyle::of(given), rows);
  const int code = out.finish();
  for (const std::string& line : missing) fail("sstat", line);  // as with Slurm's, this is no failure
  return code;
}

}  // namespace berth::tools::slurm
