// scontrol: records of jobs, nodes and queues, and what can be done with them.
#include "tools/slurm/scontrol.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <grp.h>
#include <iostream>
#include <pwd.h>
#include <set>
#include <unistd.h>

#include "state/launch.h"
#include "state/units.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/job_details.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/nodes.h"
#include "tools/slurm/options.h"
#include "tools/slurm/script.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

// What Slurm says without its name before it.
int complain(const std::string& message) {
  std::fflush(stdout);
  fmt::print(stderr, "{}\n", message);
  return 1;
}

struct Manner {
  bool one_line = false, details = false, quiet = false;
};

std::string group_name(std::uint32_t gid) {
  const group* entry = getgrgid(gid);
  return fmt::format("{}({})", entry != nullptr ? entry->gr_name : std::to_string(gid), gid);
}

std::string job_text(const Record& r, const Manner& style) {
  const JobDetail& detail = *r.detail;
  const JobSpec& spec = detail.spec;
  const JobRow& job = r.job;
  const Launch launch = launch_of(r);
  const Tasks tasks = tasks_of(r, launch);
  RecordText out(style.one_line);
  std::string head = fmt::format("JobId={}", job.id.value);
  if (r.array()) {
    const std::string throttle = r.folded && job.throttle != 0 ? "%" + std::to_string(job.throttle) : "";
    head += fmt::format(" ArrayJobId={} ArrayTaskId={}{}", job.id.value,
                        r.folded ? job.waiting : std::to_string(r.index.value_or(0)), throttle);
    if (job.throttle != 0) head += fmt::format(" ArrayTaskThrottle={}", job.throttle);
  }
  out.line(head + " JobName=" + job.name);
  out.line(fmt::format("UserId={}({}) GroupId={} MCS_label=N/A", job.user, job.uid, group_name(job.gid)));
  out.line(
      fmt::format("Priority={} Nice={} Account={} QOS={}", r.priority(), -job.priority, or_null(job.account), r.qos()));
  out.line(fmt::format("JobState={} Reason={} Dependency={}", state_name(r.state).name, r.reason(),
                       or_null(dependency_text(r))));
  out.line(fmt::format("Requeue={} Restarts={} BatchFlag={} Reboot=0 ExitCode={}", spec.requeues_max != 0 ? 1 : 0,
                       r.restarts, launch.script.empty() ? 0 : 1, r.exit_text()));
  if (style.details) out.line("DerivedExitCode=0:0");
  const TimeUs now = wall_clock_us();
  out.line(fmt::format("RunTime={} TimeLimit={} TimeMin={}", length_text(r.elapsed_s(now), true),
                       limit_text(job.time_limit_ms, true),
                       spec.time_min_ms == 0 ? "N/A" : limit_text(spec.time_min_ms, true)));
  const bool waits_for_others =
      r.waits() && (job.wait_reason == WaitReason::kHeldUser || job.wait_reason == WaitReason::kHeldAdmin ||
                    job.wait_reason == WaitReason::kDependency);
  const TimeUs eligible = waits_for_others ? 0 : std::max(job.begin_at, job.submitted_at);
  out.line(fmt::format("SubmitTime={} EligibleTime={}", time_text(job.submitted_at), time_text(eligible, "Unknown")));
  out.line("AccrueTime=" + time_text(eligible > now ? 0 : eligible, "Unknown"));
  const TimeUs end = r.ended_at != 0                               ? r.ended_at
                     : r.started_at != 0 && job.time_limit_ms != 0 ? r.started_at + job.time_limit_ms * 1000
                                                                   : 0;
  out.line(fmt::format("StartTime={} EndTime={} Deadline={}",
                       time_text(r.started_at != 0 ? r.started_at
                                 : r.waits()       ? job.begin_at
                                                   : 0,
                                 "Unknown"),
                       time_text(end, "Unknown"), time_text(spec.deadline)));
  out.line("SuspendTime=None SecsPreSuspend=0 LastSchedEval=N/A Scheduler=Main");
  out.line(fmt::format("Partition={} AllocNode:Sid={}:0", job.queue, or_null(text_in(launch, "SLURM_SUBMIT_HOST"))));
  const Where where = split_where(spec.request.where);
  out.line("ReqNodeList=" + or_null(where.nodes) + " ExcNodeList=" + or_null(where.without));
  out.line("NodeList=" + (r.waits() ? "" : r.node_list()));
  if (!r.waits() && !r.nodes.empty()) out.line("BatchHost=" + r.nodes[0]);
  const GangShape& shape = spec.gang;
  const std::string nodes = r.waits() && spec.kind == JobKind::kGang && number_in(launch, "SLURM_JOB_NUM_NODES") == 0
                                ? fmt::format("{}-{}", r.node_count(), std::max(r.node_count(), shape.nodes_max))
                                : std::to_string(r.node_count());
  out.line(fmt::format("NumNodes={} NumCPUs={} NumTasks={} CPUs/Task={} ReqB:S:C:T=0:0:*:*", nodes, r.cpus(),
                       tasks.tasks, tasks.cpus_per_task));
  out.line("TRES=" + tres_text(r));
  out.line(fmt::format("Socks/Node=* NtasksPerN:B:S:C={}:0:*:* CoreSpec=*", tasks.per_node));
  const std::uint64_t memory = job.resources.mem_mib;
  out.line(fmt::format("MinCPUsNode={} {}={} MinTmpDiskNode=0", tasks.cpus_per_task * std::max(tasks.per_node, 1U),
                       tasks.memory_per_cpu ? "MinMemoryCPU" : "MinMemoryNode",
                       memory_text(tasks.memory_per_cpu ? memory / std::max(cpus_of(job.resources), 1U) : memory)));
  out.line(fmt::format("Features={} DelayBoot=00:00:00", or_null(where.features)));
  out.line(fmt::format("OverSubscribe={} Contiguous={} Licenses={} Network=(null)",
                       spec.request.exclusive ? "NO" : "OK", spec.gang.contiguous ? 1 : 0,
                       licences_text(spec.request.licences)));
  out.line("Command=" + command_text(launch));
  out.line("WorkDir=" + launch.cwd);
  if (!job.comment.empty()) out.line("Comment=" + job.comment);
  out.line("StdErr=" + output_file(r, launch, true));
  out.line("StdIn=/dev/null");
  out.line("StdOut=" + output_file(r, launch, false));
  out.line("Power=");
  if (job.resources.gpus != 0) out.line(fmt::format("TresPerNode=gres:gpu:{}", job.resources.gpus));
  out.line("");
  return out.text();
}

int show_jobs(ServerLink& link, const Words& words, const Manner& style, Output& out) {
  Want want;
  auto jobs = parse_job_words(words);
  if (!jobs) return complain("scontrol_print_job error: Invalid job id specified");
  want_only(want, *jobs);
  auto records = fetch_records(link, want);
  if (!records) return fail("slurm_load_jobs", slurm_error(records.error()));
  if (records->empty()) {
    if (!words.empty()) return style.quiet ? 1 : fail("slurm_load_jobs", "Invalid job id specified");
    out.write("No jobs in the system\n");
    return 0;
  }
  if (Status good = add_places(link, *records); !good) return fail("slurm_load_jobs", slurm_error(good.error()));
  if (Status good = add_details(link, *records, true); !good) {
    return fail("slurm_load_jobs", slurm_error(good.error()));
  }
  for (Record& record : *records) {
    if (!record.detail) continue;  // forgotten meanwhile
    if (!record.array()) {
      auto pods = link.call_for<PodPage>(ListPodsRequest{record.job.id, {}, 0, 1});
      if (pods && !pods->rows.empty()) record.restarts = pods->rows[0].attempt - std::min(pods->rows[0].attempt, 1U);
    }
    out.write(job_text(record, style));
  }
  return 0;
}

std::string node_text(const NodeRow& node, const std::vector<Queue>& queues, const Manner& style) {
  const NodeInfo& info = node.info;
  const std::uint64_t cpus = info.capacity.cpu_milli / 1000, mem = info.capacity.mem_mib;
  const std::string features = info.features.empty() ? "(null)" : join(info.features, ",");
  const std::string all = gres_text(info.capacity.gpus, info.counts),
                    used = gres_text(node.used.gpus, node.counts_used);
  const std::string gres = all.empty() ? "(null)" : all;
  RecordText out(style.one_line);
  out.line(fmt::format("NodeName={} Arch=N/A CoresPerSocket={}", info.name, cpus));
  out.line(fmt::format("CPUAlloc={} CPUEfctv={} CPUTot={} CPULoad=N/A", node_cpus_used(node), cpus, cpus));
  out.line("AvailableFeatures=" + features);
  out.line("ActiveFeatures=" + features);
  out.line("Gres=" + gres);
  if (style.details) out.line(fmt::format("GresDrain=N/A\n   GresUsed={}", used.empty() ? "gpu:0" : used));
  out.line(fmt::format("NodeAddr={} NodeHostName={} Version=berth-{}", info.name, info.name, info.version));
  out.line(fmt::format("RealMemory={} AllocMem={} FreeMem={} Sockets=1 Boards=1", mem, node.used.mem_mib,
                       mem - std::min<std::uint64_t>(mem, node.used.mem_mib)));
  std::string state = upper(node_state_text(node, false));
  if (state == "DRAINED") state = "IDLE+DRAIN";
  if (state == "DRAINING") state = "MIXED+DRAIN";
  out.line(fmt::format("State={} ThreadsPerCore=1 TmpDisk={} Weight=1 Owner=N/A MCS_label=N/A", state,
                       count_of(info.counts, kDisk)));
  std::vector<std::string> names;
  for (const Queue& queue : queues) {
    if (queue_has(queue, node)) names.push_back(queue.name);
  }
  out.line("Partitions=" + join(names, ","));
  out.line("BootTime=Unknown SlurmdStartTime=Unknown");
  out.line("LastBusyTime=Unknown");
  out.line("CfgTRES=" + fmt::format("cpu={},mem={},billing={}", cpus, memory_text(mem), cpus));
  out.line("AllocTRES=" +
           (node.pods == 0 ? "" : fmt::format("cpu={},mem={}", node_cpus_used(node), memory_text(node.used.mem_mib))));
  out.line("CapWatts=n/a");
  out.line("CurrentWatts=0 AveWatts=0");
  out.line("ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s");
  if (!node.reason.empty()) out.line("Reason=" + node.reason);
  return out.text();
}

int show_nodes(ServerLink& link, const Words& words, const Manner& style, Output& out) {
  auto nodes = fetch_nodes(link);
  if (!nodes) return fail("slurm_load_node", slurm_error(nodes.error()));
  auto queues = fetch_queues(link);
  if (!queues) return fail("slurm_load_partitions", slurm_error(queues.error()));
  std::vector<std::string> names;
  for (const std::string& word : words) {
    auto list = expand_hostlist(word);
    if (!list) return fail("scontrol", "Invalid node name " + word);
    names.insert(names.end(), list->begin(), list->end());
  }
  int code = 0;
  for (const std::string& name : names) {
    const bool known = std::any_of(nodes->begin(), nodes->end(), [&](const NodeRow& n) { return n.info.name == name; });
    if (!known) {
      out.write("Node " + name + " not found\n");
      code = 1;
    }
  }
  for (const NodeRow& node : *nodes) {
    if (!names.empty() && std::find(names.begin(), names.end(), node.info.name) == names.end()) continue;
    out.write(node_text(node, *queues, style));
  }
  if (nodes->empty() && names.empty()) out.write("No nodes in the system\n");
  return code;
}

int show_partitions(ServerLink& link, const Words& words, const Manner& style, Output& out) {
  auto nodes = fetch_nodes(link);
  if (!nodes) return fail("slurm_load_node", slurm_error(nodes.error()));
  auto queues = fetch_queues(link);
  if (!queues) return fail("slurm_load_partitions", slurm_error(queues.error()));
  bool any = false;
  for (const Queue& queue : *queues) {
    if (!words.empty() && std::find(words.begin(), words.end(), queue.name) == words.end()) continue;
    any = true;
    std::vector<std::string> names;
    std::uint64_t cpus = 0, mem = 0;
    for (const NodeRow& node : *nodes) {
      if (!queue_has(queue, node)) continue;
      names.push_back(node.info.name);
      cpus += node.info.capacity.cpu_milli / 1000;
      mem += node.info.capacity.mem_mib;
    }
    const std::string most = limit_text(queue.time_limit_ms, true);
    const std::int64_t usual_ms = queue.time_default_ms != 0 ? queue.time_default_ms : queue.time_limit_ms;
    const std::string usual = usual_ms == 0 ? "NONE" : limit_text(usual_ms, true);
    const std::string nodes_max = queue.nodes_max == 0 ? "UNLIMITED" : std::to_string(queue.nodes_max);
    const std::string accounts = queue.accounts.empty() ? "ALL" : join(queue.accounts, ",");
    RecordText record(style.one_line);
    record.line("PartitionName=" + queue.name);
    record.line("AllowGroups=ALL AllowAccounts=" + accounts + " AllowQos=ALL");
    if (!queue.users.empty()) record.line("AllowUsers=" + join(queue.users, ","));
    record.line(fmt::format("AllocNodes=ALL Default={} QoS=N/A", queue.name == "default" ? "YES" : "NO"));
    record.line(fmt::format("DefaultTime={} DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO", usual));
    record.line(fmt::format("MaxNodes={} MaxTime={} MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED", nodes_max, most));
    record.line("Nodes=" + hostlist(names));
    record.line(fmt::format("PriorityJobFactor={} PriorityTier={} RootOnly=NO ReqResv=NO OverSubscribe=NO",
                            queue.priority, queue.tier));
    record.line("OverTimeLimit=NONE PreemptMode=" + upper(name_of(queue.preempt)));
    record.line(fmt::format("State={} TotalCPUs={} TotalNodes={} SelectTypeParameters=NONE",
                            upper(name_of(queue.state)), cpus, names.size()));
    record.line("JobDefaults=(null)");
    record.line("DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED");
    record.line(fmt::format("TRES=cpu={},mem={},node={},billing={}", cpus, memory_text(mem), names.size(), cpus));
    out.write(record.text());
  }
  if (any) return 0;
  if (words.empty()) {
    out.write("No partitions in the system\n");
    return 0;
  }
  out.write("Partition " + words[0] + " not found\n");
  return 1;
}

int show_licences(ServerLink& link, const Words& words, const Manner& style, Output& out) {
  auto page = link.call_for<LicencePage>(ListLicencesRequest{});
  if (!page) return fail("slurm_load_licenses", slurm_error(page.error()));
  bool any = false;
  for (const LicenceRow& row : page->licences) {
    if (!words.empty() && words[0] != row.licence.name) continue;
    any = true;
    const std::uint64_t total = row.licence.total, free = total - std::min(total, row.used);
    RecordText record(style.one_line);
    record.line("LicenseName=" + row.licence.name);
    record.line(fmt::format("Total={} Used={} Free={} Reserved=0 Remote=no", total, row.used, free));
    out.write(record.text());
  }
  if (any) return 0;
  if (!words.empty()) return fail("scontrol", "License " + words[0] + " not found");
  out.write("No licenses configured in Slurm.\n");
  return 0;
}

int show(ServerLink& link, Words words, const Manner& style, Output& out) {
  if (words.empty()) return complain("too few arguments for keyword:show");
  // "show job=12", "show node=n1"
  const std::string first = words[0];
  const std::size_t equals = first.find('=');
  const std::string what = lower(first.substr(0, equals));
  words.erase(words.begin());
  if (equals != std::string::npos) words.insert(words.begin(), first.substr(equals + 1));
  const auto is = [&](std::string_view name, std::size_t least) {
    return what.size() >= least && (name.starts_with(what) || what == std::string(name) + "s");
  };
  if (is("jobid", 1) || what == "jobs") return show_jobs(link, words, style, out);
  if (is("node", 1)) return show_nodes(link, words, style, out);
  if (is("partition", 1)) return show_partitions(link, words, style, out);
  if (is("config", 2)) return show_config(link, out);
  if (is("hostname", 5) || is("hostlistsorted", 5) || is("hostlist", 5)) {
    const bool compress = what.starts_with("hostl");
    std::string text = join(words, ",");
    if (text.empty()) {
      const char* mine = std::getenv("SLURM_JOB_NODELIST");
      if (mine == nullptr) mine = std::getenv("SLURM_NODELIST");
      if (mine == nullptr || compress) return complain("invalid encode argument");
      text = mine;
    }
    auto names = expand_hostlist(text);
    if (!names) return fail("scontrol", "Invalid hostlist: " + text);
    if (what == "hostlistsorted") std::sort(names->begin(), names->end());
    if (compress) {
      out.write(hostlist(std::move(*names)) + "\n");
    } else {
      for (const std::string& name : *names) out.write(name + "\n");
    }
    return 0;
  }
  if (is("reservation", 3)) {
    out.write(words.empty() ? "No reservations in the system\n" : "Reservation " + words[0] + " not found\n");
    return words.empty() ? 0 : 1;
  }
  if (is("step", 3)) return show_steps(link, words, style.one_line, out);
  if (is("topology", 1)) {  // the server tells of none
    fail("scontrol", "No topology information available");
    return 0;
  }
  if (is("federation", 3)) return 0;
  if (is("aliases", 1)) return show_aliases(link, out);
  if (is("licenses", 3)) {
    return show_licences(link, words, style, out);
  }
  return complain("invalid entity:" + what + " for keyword:show ");
}

int wait_job(ServerLink& link, const Words& words) {
  if (words.empty()) return complain("too few arguments for keyword:wait_job");
  auto jobs = parse_job_words(words);
  if (!jobs || jobs->empty()) return complain("scontrol: Invalid job_id " + words[0]);
  const auto gone = [&] { return complain(fmt::format("scontrol: Problem running job {}", (*jobs)[0].job.value)); };
  while (true) {
    auto detail = link.call_patiently_for<JobDetail>(ShowJobRequest{(*jobs)[0].job});
    if (!detail && detail.error().code == ErrorCode::kNotFound) return gone();
    if (!detail) return fail("scontrol", slurm_error(detail.error()));
    if (detail->row.counts.live() != 0) return 0;
    if (!detail->row.counts.active()) return gone();
    sleep_ms(200);
  }
}

int write_script(ServerLink& link, Words words, Output& out) {
  if (words.empty() || words[0] != "batch_script") return fail("scontrol", "write takes batch_script");
  words.erase(words.begin());
  auto jobs = parse_job_words(words.empty() ? Words{} : Words{words[0]});
  if (!jobs || jobs->empty()) return fail("scontrol", "Invalid job id");
  auto detail = link.call_for<JobDetail>(ShowJobRequest{(*jobs)[0].job});
  if (!detail) return complain("job script retrieval failed: " + slurm_error(detail.error()));
  const auto launch = decode_launch(std::as_bytes(std::span(detail->spec.launch)));
  if (!launch || launch->script.empty()) return complain("job script retrieval failed: Invalid job id specified");
  const std::string path = words.size() > 1 ? words[1] : fmt::format("slurm-{}.sh", (*jobs)[0].job.value);
  if (path == "-") {
    out.write(launch->script);
    return 0;
  }
  FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return fail("scontrol", "failed to open file `" + path + "`");
  const bool good = std::fwrite(launch->script.data(), 1, launch->script.size(), file) == launch->script.size();
  if (std::fclose(file) != 0 || !good) return fail("scontrol", "failed to write file `" + path + "`");
  out.write(fmt::format("batch script for job {} written to {}\n", (*jobs)[0].job.value, path));
  return 0;
}

int run(ServerLink& link, Words words, const Manner& style, bool verbose, Output& out) {
  const std::string verb = lower(words[0]);
  words.erase(words.begin());
  const auto is = [&](std::string_view name, std::size_t least) {
    return verb.size() >= least && name.starts_with(verb);
  };
  if (is("show", 2)) return show(link, words, style, out);
  if (is("hold", 2) || is("uhold", 2)) return hold_jobs(link, words, true);
  if (is("release", 3)) return hold_jobs(link, words, false);
  if (is("requeue", 3)) return requeue_jobs(link, words, false, style.quiet);
  if (is("requeuehold", 8)) return requeue_jobs(link, words, true, style.quiet);
  if (is("update", 1)) return update_things(link, words);
  if (is("wait_job", 1)) return wait_job(link, words);
  if (is("write", 2)) return write_script(link, words, out);
  if (is("ping", 1)) {
    auto info = link.call_for<ServerInfo>(ServerInfoRequest{});
    out.write(fmt::format("Slurmctld(primary) at {} is {}\n", host_name(), info ? "UP" : "DOWN"));
    return info ? 0 : 1;
  }
  if (is("version", 4)) {
    out.flush();
    return print_version(verbose), 0;
  }
  if (is("reconfigure", 5)) {
    // The server's file is read at its start; what can change meanwhile, changes at once, by berth queue and its like.
    auto info = link.call_for<ServerInfo>(ServerInfoRequest{});
    return info ? 0 : fail("slurm_reconfigure", slurm_error(info.error()));
  }
  if (is("errnumstr", 2)) return error_text(words, out);
  if (is("completing", 4)) return 0;  // no job completes for longer than it takes to tell
  static const std::set<std::string> kSlurms{
      "abort",    "cancel_reboot", "cluster", "create",        "delete",   "fsdampeningfactor", "listpids", "notify",
      "pidinfo",  "reboot",        "resume",  "schedloglevel", "setdebug", "setdebugflags",     "shutdown", "suspend",
      "takeover", "token",         "top"};
  if (kSlurms.contains(verb)) return fail("scontrol", verb + " is not supported by Berth (docs/slurm.md)");
  return complain("invalid keyword: " + verb);
}

// Commands by the line, as long as there are any.
int converse(ServerLink& link, Manner style, bool verbose, Output& out) {
  std::string line, last;
  int code = 0;
  while (true) {
    out.write("scontrol: ");
    out.flush();
    if (!std::getline(std::cin, line)) {
      out.write("\n");
      return code;
    }
    if (line == "!!") line = last;
    last = line;
    const auto words = split_words(line);
    if (!words) {
      code = complain(words.error().message);
      continue;
    }
    const std::string verb = words->empty() ? "" : lower(words->front());
    if (verb.empty() || verb == "all" || verb == "hide") continue;
    if (verb == "exit" || verb == "quit" || verb == "q") return code;
    if (verb == "oneliner") {
      style.one_line = true;
    } else if (verb == "details") {
      style.details = true;
    } else if (verb == "quiet") {
      style.quiet = true;
    } else if (verb == "verbose") {
      verbose = true;
    } else {
      code = run(link, *words, style, verbose, out);
    }
  }
}

}  // namespace

int scontrol(const Context& context, const Words& words) {
  const CommandTable& table = table_of("scontrol");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  const Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  Output out;
  if (given.has("verbose")) tell_ignored(table, given);
  ServerLink link(context);
  const Manner style{given.has("oneliner"), given.has("details"), given.has("quiet")};
  const int code = given.words.empty() ? converse(link, style, given.has("verbose"), out)
                                       : run(link, given.words, style, given.has("verbose"), out);
  const int written = out.finish();
  return code != 0 ? code : written;
}

}  // namespace berth::tools::slurm
