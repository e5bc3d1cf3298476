#include "tools/slurm/squeue_fields.h"

#include <algorithm>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <string_view>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/job_details.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

TimeUs now_us = 0;

TimeUs expected_end(const Record& r) {
  if (r.ended_at != 0) return r.ended_at;
  return r.started_at != 0 && r.job.time_limit_ms != 0 ? r.started_at + r.job.time_limit_ms * 1000 : 0;
}

std::string end_text(const Record& r) {
  return time_text(expected_end(r), r.started_at != 0 && r.job.time_limit_ms == 0 ? "NONE" : "N/A");
}

std::string time_left(const Record& r) {
  if (r.job.time_limit_ms == 0) return "UNLIMITED";
  const std::int64_t left = r.job.time_limit_ms / 1000 - r.elapsed_s(now_us);
  return left < 0 ? "INVALID" : length_text(left);
}

std::string nodes_or_reason(const Record& r) {
  if (r.waits()) return "(" + r.reason() + ")";
  if (is_final(r.state) && r.state != PodState::kSucceeded && r.nodes.empty()) return "(" + r.reason() + ")";
  return r.node_list();
}

Where where_of(const Record& r) { return r.detail ? split_where(r.detail->spec.request.where) : Where{}; }

Tasks tasks_of(const Record& r) { return slurm::tasks_of(r, launch_of(r)); }

std::string group(const Record& r) {
  const struct group* entry = getgrgid(r.job.gid);
  return entry != nullptr ? entry->gr_name : std::to_string(r.job.gid);
}

bool is_held(const Record& r) {
  return r.waits() && (r.job.wait_reason == WaitReason::kHeldUser || r.job.wait_reason == WaitReason::kHeldAdmin);
}

std::string eligible(const Record& r) {
  return time_text(is_held(r) ? 0 : std::max(r.job.begin_at, r.job.submitted_at));
}

std::string seconds_waited(const Record& r) {
  const TimeUs until = r.started_at != 0 ? r.started_at : now_us;
  return std::to_string(std::max<std::int64_t>(0, (until - r.job.submitted_at) / 1'000'000));
}

using QueueField = Field<Record>;

auto constant(const char* text) {
  return [text](const Record&) { return std::string(text); };
}

// What jobs of Berth's have nothing of, and Slurm says so.
const std::vector<QueueField>& fields_without_values() {
  static const std::vector<QueueField> all{
      {"admin_comment", 0, "ADMIN_COMMENT", constant("(null)")},
      {"associd", 0, "ASSOC_ID", constant("0")},
      {"boardspernode", 0, "BOARDS_PER_NODE", constant("0")},
      {"burstbuffer", 0, "BURST_BUFFER", constant("(null)")},
      {"burstbufferstate", 0, "BURST_BUFFER_STATE", constant("(null)")},
      {"clusterfeature", 0, "CLUSTER_FEATURES", constant("(null)")},
      {"container", 0, "CONTAINER", constant("(null)")},
      {"cpus-per-tres", 0, "CPUS_PER_TRES", constant("N/A")},
      {"delayboot", 0, "DELAY_BOOT", constant("0:00")},
      {"derivedec", 0, "DERIVED_EC", constant("0")},
      {"hetjobid", 0, "HET_JOB_ID", constant("N/A")},
      {"hetjobidset", 0, "HET_JOB_ID_SET", constant("N/A")},
      {"hetjoboffset", 0, "HET_JOB_OFFSET", constant("N/A")},
      {"mcslabel", 0, "MCSLABEL", constant("(null)")},
      {"mem-per-tres", 0, "MEM_PER_TRES", constant("N/A")},
      {"network", 0, "NETWORK", constant("(null)")},
      {"ntperboard", 0, "NTASKS_PER_BOARD", constant("0")},
      {"ntpercore", 0, "NTASKS_PER_CORE", constant("N/A")},
      {"ntpersocket", 0, "NTASKS_PER_SOCKET", constant("N/A")},
      {"origin", 0, "ORIGIN", constant("NA")},
      {"originraw", 0, "ORIGIN_RAW", constant("NA")},
      {"preempttime", 0, "PREEMPT_TIME", constant("N/A")},
      {"profile", 0, "PROFILE", constant("NotSet")},
      {"reboot", 0, "REBOOT", constant("0")},
      {"resizetime", 0, "RESIZE_TIME", constant("N/A")},
      {"siblingsactive", 0, "ACTIVE_SIBLINGS", constant("NA")},
      {"siblingsactiveraw", 0, "ACTIVE_SIBLINGS_RAW", constant("NA")},
      {"siblingsviable", 0, "VIABLE_SIBLINGS", constant("NA")},
      {"siblingsviableraw", 0, "VIALBLE_SIBLINGS_RAW", constant("NA")},
      {"sperboard", 0, "SOCKETS_PER_BOARD", constant("0")},
      {"system_comment", 0, "SYSTEM_COMMENT", constant("(null)")},
      {"tres-bind", 0, "TRES_BIND", constant("N/A")},
      {"tres-freq", 0, "TRES_FREQ", constant("N/A")},
      {"tres-per-job", 0, "TRES_PER_JOB", constant("N/A")},
      {"tres-per-socket", 0, "TRES_PER_SOCKET", constant("N/A")},
      {"tres-per-task", 0, "TRES_PER_TASK", constant("N/A")},
      {"wait4switch", 0, "WAIT4SWITCH", constant("0:00")},
  };
  return all;
}

std::vector<QueueField> fields_of_details() {
  const auto text_of = [](auto&& get) { return [get](const Record& r) { return or_null(get(r)); }; };
  const auto launch = [](auto&& get) { return [get](const Record& r) { return std::string(get(r, launch_of(r))); }; };
  const auto batch = [](const Record&, const Launch& l) { return l.script.empty() ? "0" : "1"; };
  return {
      {"allocnodes", 0, "ALLOC_NODES",
       launch([](const Record&, const Launch& l) { return or_null(text_in(l, "SLURM_SUBMIT_HOST")); })},
      {"batchflag", 0, "BATCH_FLAG", launch(batch)},
      {"command", 'o', "COMMAND", launch([](const Record&, const Launch& l) { return command_text(l); })},
      {"contiguous", 'O', "CONTIGUOUS",
       [](const Record& r) { return std::string(r.detail && r.detail->spec.gang.contiguous ? "1" : "0"); }},
      {"cpus-per-task", 0, "CPUS_PER_TASK", [](const Record& r) { return std::to_string(tasks_of(r).cpus_per_task); }},
      {"deadline", 0, "DEADLINE", [](const Record& r) { return time_text(r.detail ? r.detail->spec.deadline : 0); }},
      {"dependency", 'E', "DEPENDENCY", text_of([](const Record& r) { return dependency_text(r); })},
      {"excnodes", 'x', "EXC_NODES", [](const Record& r) { return where_of(r).without; }},
      {"feature", 'f', "FEATURES", text_of([](const Record& r) { return where_of(r).features; })},
      {"licenses", 'W', "LICENSES",
       [](const Record& r) {
         return licences_text(r.detail ? r.detail->spec.request.licences : std::vector<Countable>{});
       }},
      {"mintime", 0, "TIME_MIN",
       [](const Record& r) { return length_text(r.detail ? r.detail->spec.time_min_ms / 1000 : 0); }},
      {"ntpernode", 0, "NTASKS_PER_NODE", [](const Record& r) { return std::to_string(tasks_of(r).per_node); }},
      {"numtasks", 0, "TASKS", [](const Record& r) { return std::to_string(tasks_of(r).tasks); }},
      {"oversubscribe", 'h', "OVER_SUBSCRIBE",
       [](const Record& r) { return std::string(r.detail && r.detail->spec.request.exclusive ? "NO" : "OK"); }},
      {"prefer", 0, "PREFER",
       text_of([](const Record& r) { return r.detail ? join(r.detail->spec.request.prefers, "&") : std::string(); })},
      {"reqnodes", 'n', "REQ_NODES", [](const Record& r) { return where_of(r).nodes; }},
      {"reqswitch", 0, "REQ_SWITCH",
       [](const Record& r) { return std::to_string(r.detail ? r.detail->spec.gang.switches : 0); }},
      {"requeue", 0, "REQUEUE",
       [](const Record& r) { return std::string(r.detail && r.detail->spec.requeues_max != 0 ? "1" : "0"); }},
      {"stderr", 0, "STDERR", launch([](const Record& r, const Launch& l) { return output_file(r, l, true); })},
      {"stdin", 0, "STDIN", constant("/dev/null")},
      {"stdout", 0, "STDOUT", launch([](const Record& r, const Launch& l) { return output_file(r, l, false); })},
      {"tres-alloc", 0, "TRES_ALLOC", [](const Record& r) { return tres_text(r); }},
      {"workdir", 'Z', "WORK_DIR", launch([](const Record&, const Launch& l) { return l.cwd; })},
  };
}

std::vector<QueueField> fields_of_rows() {
  const auto number = [](const Record& r) { return std::to_string(r.job.id.value); };
  const auto cpus = [](const Record& r) { return std::to_string(r.cpus()); };
  const auto nodes = [](const Record& r) { return std::to_string(r.node_count()); };
  const auto index = [](const Record& r) {
    if (!r.folded) return r.index && r.array() ? std::to_string(*r.index) : std::string("N/A");
    return r.job.waiting + (r.job.throttle != 0 ? "%" + std::to_string(r.job.throttle) : "");
  };
  const auto gpus = [](const Record& r) {
    return r.job.resources.gpus == 0 ? std::string("N/A") : "gres:gpu:" + std::to_string(r.job.resources.gpus);
  };
  const auto start = [](const Record& r) {
    return time_text(r.waits() ? std::max(r.job.begin_at, r.expected_start) : r.started_at);
  };
  return {
      {"account", 'a', "ACCOUNT", [](const Record& r) { return or_null(r.job.account); }},
      {"accruetime", 0, "ACCRUE_TIME", eligible},
      {"arrayjobid", 'F', "ARRAY_JOB_ID", number},
      {"arraytaskid", 'K', "ARRAY_TASK_ID", index},
      {"batchhost", 'B', "EXEC_HOST", [](const Record& r) { return r.nodes.empty() ? "n/a" : r.nodes.front(); }},
      {"allocsid", 0, "ALLOC_SID", constant("0")},  // not kept
      {"cluster", 0, "CLUSTER", constant("berth")},
      {"lastschedeval", 0, "LAST_SCHED_EVAL", constant("N/A")},  // not kept
      {"comment", 'k', "COMMENT", [](const Record& r) { return or_null(r.job.comment); }},
      {"cores", 'I', "CORES_PER_SOCKET", constant("*")},
      {"corespec", 'X', "CORE_SPEC", constant("N/A")},
      {"eligibletime", 0, "ELIGIBLE_TIME", eligible},
      {"endtime", 'e', "END_TIME", end_text},
      {"exit_code", 0, "EXIT_CODE", [](const Record& r) { return std::to_string(std::max(r.exit_code, 0)); }},
      {"gres", 'b', "TRES_PER_NODE", gpus},
      {"groupid", 'G', "GROUP", [](const Record& r) { return std::to_string(r.job.gid); }},
      {"groupname", 'g', "GROUP", group},
      {"jobarrayid", 'i', "JOBID", [](const Record& r) { return r.id(); }},
      {"jobid", 'A', "JOBID", number},
      {"maxcpus", 0, "MAX_CPUS", cpus},
      {"maxnodes", 0, "MAX_NODES", nodes},
      {"mincpus", 'c', "MIN_CPUS", [](const Record& r) { return std::to_string(cpus_of(r.job.resources)); }},
      {"minmemory", 'm', "MIN_MEMORY", [](const Record& r) { return memory_text(r.job.resources.mem_mib); }},
      {"mintmpdisk", 'd', "MIN_TMP_DISK", constant("0")},
      {"name", 'j', "NAME", [](const Record& r) { return r.job.name; }},
      {"nice", 'y', "NICE", [](const Record& r) { return std::to_string(-r.job.priority); }},
      {"nodelist", 'N', "NODELIST", [](const Record& r) { return r.node_list(); }},
      {"numcpus", 'C', "CPUS", cpus},
      {"numnodes", 'D', "NODES", nodes},
      {"partition", 'P', "PARTITION", [](const Record& r) { return r.job.queue; }},
      {"pendingtime", 0, "PENDING_TIME", seconds_waited},
      {"priority", 'p', "PRIORITY",
       [](const Record& r) { return fmt::format("{:.14f}", static_cast<double>(r.priority()) / 4294967295.0); }},
      {"prioritylong", 'Q', "PRIORITY", [](const Record& r) { return std::to_string(r.priority()); }},
      {"qos", 'q', "QOS", [](const Record& r) { return r.qos(); }},
      {"reason", 'r', "REASON", [](const Record& r) { return r.reason(); }},
      {"reasonlist", 'R', "NODELIST(REASON)", nodes_or_reason},
      {"reservation", 'v', "RESERVATION", constant("(null)")},
      {"restartcnt", 0, "RESTART_COUNT", [](const Record& r) { return std::to_string(r.restarts); }},
      {"schednodes", 'Y', "SCHEDNODES", constant("(null)")},
      {"sct", 'z', "S:C:T", constant("*:*:*")},
      {"selectjobinfo", 's', "", constant("")},
      {"sockets", 'H', "SOCKETS_PER_NODE", constant("*")},
      {"starttime", 'S', "START_TIME", start},
      {"state", 'T', "STATE", [](const Record& r) { return std::string(state_name(r.state).name); }},
      {"statecompact", 't', "ST", [](const Record& r) { return std::string(state_name(r.state).compact); }},
      {"submittime", 'V', "SUBMIT_TIME", [](const Record& r) { return time_text(r.job.submitted_at); }},
      {"threads", 'J', "THREADS_PER_CORE", constant("*")},
      {"timeleft", 'L', "TIME_LEFT", time_left},
      {"timelimit", 'l', "TIME_LIMIT", [](const Record& r) { return limit_text(r.job.time_limit_ms); }},
      {"timeused", 'M', "TIME", [](const Record& r) { return length_text(r.elapsed_s(now_us)); }},
      {"tres-per-node", 0, "TRES_PER_NODE", gpus},
      {"userid", 'U', "UID", [](const Record& r) { return std::to_string(r.job.uid); }},
      {"username", 'u', "USER", [](const Record& r) { return user_name(r.job.uid, r.job.user); }},
      {"wckey", 'w', "WCKEY", constant("(null)")},
  };
}

struct AllFields {
  std::vector<QueueField> fields = fields_of_details();
  std::size_t of_details = fields.size();  // the first so many

  AllFields() {
    for (std::vector<QueueField> more : {fields_of_rows(), fields_without_values()}) {
      fields.insert(fields.end(), more.begin(), more.end());
    }
  }
};

const AllFields& all_fields() {
  static const AllFields all;
  return all;
}

}  // namespace

const std::vector<QueueField>& squeue_fields() { return all_fields().fields; }

bool of_details(const QueueField& field) {
  const AllFields& all = all_fields();
  return &field < all.fields.data() + all.of_details;
}

bool of_places(const QueueField& field) { return std::string_view(field.title) == "PRIORITY"; }

const QueueField* squeue_letter(char letter) {
  for (const QueueField& field : squeue_fields()) {
    if (field.letter == letter) return &field;
  }
  return nullptr;
}

void set_listing_time(TimeUs now) { now_us = now; }
TimeUs listing_time() { return now_us; }

std::string user_name(std::uint32_t uid, const std::string& known) {
  if (!known.empty()) return known;
  const passwd* entry = getpwuid(uid);
  return entry != nullptr ? entry->pw_name : std::to_string(uid);
}

}  // namespace berth::tools::slurm
