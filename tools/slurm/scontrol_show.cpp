// scontrol show config, step and aliases; errnumstr.
#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/job_details.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/scontrol.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

std::string step_text(const Record& job, const std::string& name, const Record& step, bool batch, bool one_line) {
  RecordText out(one_line);
  out.line(fmt::format("StepId={}.{} UserId={} StartTime={} TimeLimit={}", job.id(), name, job.job.uid,
                       time_text(step.started_at, "Unknown"), limit_text(step.job.time_limit_ms, true)));
  out.line(
      fmt::format("State={} Partition={} NodeList={}", state_name(step.state).name, job.job.queue, step.node_list()));
  out.line(fmt::format("Nodes={} CPUs={} Tasks={} Name={} Network=(null)", step.node_count(), batch ? 0 : step.cpus(),
                       batch ? 1 : step.pods(), batch ? "batch" : step.job.name));
  out.line("TRES=" + (batch ? "(null)" : tres_text(step)));
  out.line("ResvPorts=(null)");
  out.line("CPUFreqReq=Default");
  out.line("SrunHost:Pid=(null):0");
  out.line("");
  return out.text();
}

}  // namespace

std::string host_name() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  const std::string name = host;
  return name.substr(0, name.find('.'));
}

int show_config(ServerLink& link, Output& out) {
  auto info = link.call_for<ServerInfo>(ServerInfoRequest{});
  if (!info) return fail("slurm_load_ctl_conf", slurm_error(info.error()));
  auto licences = link.call_for<LicencePage>(ListLicencesRequest{});
  if (!licences) return fail("slurm_load_ctl_conf", slurm_error(licences.error()));
  std::vector<Countable> totals;
  for (const LicenceRow& row : licences->licences) totals.push_back({row.licence.name, row.licence.total});
  out.write("Configuration data as of " + time_text(wall_clock_us()) + "\n");
  const auto line = [&](const char* name, const std::string& value) {
    out.write(fmt::format("{:<24}= {}\n", name, value));
  };
  // Slurm's names, of what is so here and programs look for.
  line("AccountingStorageType", "accounting_storage/" + (info->accounting.empty() ? std::string("none") : "slurmdbd"));
  line("AcctGatherNodeFreq", "0 sec");
  line("BOOT_TIME", time_text(info->started_at, "Unknown"));
  line("ClusterName", info->cluster.empty() ? "berth" : info->cluster);
  line("DefMemPerNode", "0");
  line("EnforcePartLimits", "ALL");
  line("InactiveLimit", "0 sec");
  line("JobFileAppend", "0");
  line("JobRequeue", "1");
  line("KillOnBadExit", "0");
  line("KillWait", "30 sec");
  line("Licenses", licences_text(totals));
  line("MaxArraySize", "10000001");
  line("MaxMemPerNode", "UNLIMITED");
  line("MinJobAge", fmt::format("{} sec", kMinJobAgeS));
  line("MpiDefault", "none");
  line("PriorityType", "priority/multifactor");
  line("SchedulerTimeSlice", "30 sec");
  line("SchedulerType", "sched/backfill");
  line("SelectType", "select/cons_tres");
  line("SelectTypeParameters", "CR_CPU_MEMORY");
  line("SlurmctldHost[0]", host_name());
  line("SLURM_VERSION", "22.05.8");
  line("WaitTime", "0 sec");
  line("BerthVersion", info->version);
  out.write("\nSlurmctld(primary) at " + host_name() + " is UP\n");
  return 0;
}

int show_steps(ServerLink& link, const Words& words, bool one_line, Output& out) {
  const auto jobs = parse_job_words(words);
  if (!jobs) return fail("slurm_get_job_steps", "Invalid job id specified");
  Want want;
  want.filter.ended = false;
  want.states = {PodState::kRunning};
  want_only(want, *jobs);
  const auto records = fetch_records(link, want);
  if (!records) return fail("slurm_get_job_steps", slurm_error(records.error()));
  bool any = false;
  const auto wanted = [&](const Record& job, const std::string& step) {
    return jobs->empty() || std::any_of(jobs->begin(), jobs->end(), [&](const JobWord& word) {
             return word.job == job.job.id && (word.step.empty() || word.step == step);
           });
  };
  for (const Record& job : *records) {
    if (wanted(job, "batch")) {
      out.write(step_text(job, "batch", job, true, one_line));
      any = true;
    }
    if (job.job.kind != JobKind::kGang) continue;
    Want of;
    of.filter.steps_of = job.job.id;
    of.filter.ended = false;
    const auto steps = fetch_records(link, of);
    if (!steps) return fail("slurm_get_job_steps", slurm_error(steps.error()));
    for (const Record& step : *steps) {
      const std::string name = std::to_string(step.job.step);
      if (!wanted(job, name)) continue;
      out.write(step_text(job, name, step, false, one_line));
      any = true;
    }
  }
  if (any) return 0;
  out.write(words.empty() ? "No job steps in the system\n" : "Job step " + words[0] + " not found\n");
  return words.empty() ? 0 : 1;
}

int show_aliases(ServerLink& link, Output& out) {
  const auto nodes = fetch_nodes(link);
  if (!nodes) return fail("slurm_load_node", slurm_error(nodes.error()));
  std::vector<std::string> names;
  for (const NodeRow& node : *nodes) names.push_back(node.info.name);
  out.write(join(names, " ") + "\n");
  return 0;
}

int error_text(const Words& words, Output& out) {
  constexpr std::array<std::pair<int, const char*>, 12> kTexts{{
      {1, "Operation not permitted"},
      {2, "No such file or directory"},
      {2000, "Invalid partition name specified"},
      {2002, "Access/permission denied"},
      {2014, "Requested node configuration is not available"},
      {2015, "Requested partition configuration not available now"},
      {2017, "Invalid job id specified"},
      {2021, "Job/step already completing or completed"},
      {2029, "Invalid feature specification"},
      {2045, "Invalid account or account/partition combination specified"},
      {2048, "Invalid license specification"},
      {5004, "Socket timed out on send/recv operation"},
  }};
  if (words.empty()) {
    fmt::print(stderr, "too few arguments for keyword:errnumstr\n");
    return 1;
  }
  const auto number = parse_integer(words[0], "error", 0, 100'000);
  if (!number) return fail("scontrol", "Invalid error number: " + words[0]);
  const auto known = std::find_if(kTexts.begin(), kTexts.end(), [&](const auto& one) { return one.first == *number; });
  out.write(known != kTexts.end() ? std::string(known->second) + "\n" : fmt::format("Unknown error {}\n", *number));
  return 0;
}

}  // namespace berth::tools::slurm
