#include "tools/slurm/job_details.h"

#include <algorithm>
#include <fmt/format.h>
#include <span>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"

namespace berth::tools::slurm {

using namespace state;

Launch launch_of(const Record& record) {
  if (!record.detail) return {};
  auto launch = decode_launch(std::as_bytes(std::span(record.detail->spec.launch)));
  return launch ? std::move(*launch) : Launch{};
}

std::string output_file(const Record& record, const Launch& launch, bool error) {
  constexpr std::uint32_t kNoIndex = 4'294'967'294;  // of what waits of an array, as Slurm has it
  const std::string& pattern = error && !launch.error_path.empty() ? launch.error_path : launch.output_path;
  if (pattern.empty()) return "";
  const std::string path =
      expand_path(pattern, {record.job.id.value, record.index.value_or(record.array() ? kNoIndex : 0),
                            record.nodes.empty() ? "%N" : record.nodes[0], record.job.user, record.job.name});
  return path.starts_with('/') ? path : launch.cwd + "/" + path;
}

std::string command_text(const Launch& launch) {
  if (launch.argv.empty()) return "(null)";
  if (launch.script.empty()) return join(launch.argv, " ");
  std::string command = launch.argv[0];
  if (command == "wrap" && launch.argv.size() == 1) return "(null)";
  if (!command.starts_with('/')) command = launch.cwd + "/" + command;
  for (std::size_t i = 1; i < launch.argv.size(); ++i) command += " " + launch.argv[i];
  return command;
}

std::string dependency_text(const Record& record) {
  if (!record.detail) return "";
  const JobSpec& spec = record.detail->spec;
  std::string text = depends_text(spec);
  // What is known to be of an array Slurm writes so.
  constexpr std::string_view kCorr = "aftercorr:";
  for (std::size_t at = text.find(kCorr); at != std::string::npos; at = text.find(kCorr, at)) {
    at = std::min(text.find_first_not_of("0123456789", at + kCorr.size()), text.size());
    text.insert(at, "_*");
  }
  if (spec.depends.size() != 1 || !record.waits()) return text;  // of several some may be fulfilled
  if (record.job.wait_reason == WaitReason::kDependency) text += "(unfulfilled)";
  if (record.reason() == "DependencyNeverSatisfied") text += "(failed)";
  return text;
}

std::string text_in(const Launch& launch, std::string_view variable) {
  for (const std::string& line : launch.env) {
    if (line.starts_with(variable) && line.size() > variable.size() && line[variable.size()] == '=') {
      return line.substr(variable.size() + 1);
    }
  }
  return "";
}

std::uint32_t number_in(const Launch& launch, std::string_view variable) {
  const auto value = parse_integer(text_in(launch, variable), "variable", 1, 1'000'000);
  return value ? static_cast<std::uint32_t>(*value) : 0;
}

Tasks tasks_of(const Record& record, const Launch& launch) {
  Tasks out;
  const std::uint32_t asked = number_in(launch, "SLURM_NTASKS"), each = number_in(launch, "SLURM_CPUS_PER_TASK");
  // A batch job without -n has one task, whatever its cpus; of others every pod is one.
  out.tasks = asked != 0 ? asked : record.pods();
  out.cpus_per_task = each != 0 ? each : std::max(record.cpus() / std::max(out.tasks, 1U), 1U);
  out.per_node = number_in(launch, "SLURM_NTASKS_PER_NODE");
  out.memory_per_cpu = number_in(launch, "SLURM_MEM_PER_CPU") != 0;
  return out;
}

std::string memory_text(std::uint64_t mib) {
  return mib == 0 ? "0" : mib % 1024 == 0 ? fmt::format("{}G", mib / 1024) : fmt::format("{}M", mib);
}

std::string tres_text(const Record& record) {
  const Resources& each = record.job.resources;
  std::string text = fmt::format("cpu={}", record.cpus());
  if (each.mem_mib != 0) text += ",mem=" + memory_text(each.mem_mib * record.pods());
  text += fmt::format(",node={},billing={}", record.node_count(), record.cpus());
  if (each.gpus != 0) text += fmt::format(",gres/gpu={}", each.gpus * record.pods());
  return text;
}

std::string licences_text(const std::vector<Countable>& licences) {
  std::string text;
  for (const Countable& one : licences) text += fmt::format("{}{}:{}", text.empty() ? "" : ",", one.name, one.count);
  return or_null(text);
}

}  // namespace berth::tools::slurm
