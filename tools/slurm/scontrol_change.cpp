// scontrol's changes: hold, release, requeue, update.
#include <fmt/format.h>
#include <map>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/scontrol.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

// `verb` is what is asked for; hold and release add a line to each failure, as Slurm's do.
int change(ServerLink& link, const Words& words, const JobUpdateRequest& request, const std::string& verb) {
  auto jobs = parse_job_words(words);
  if (!jobs) return fail("scontrol", jobs.error().message);
  if (jobs->empty()) {
    fmt::print(stderr, "too few arguments for keyword:{}\n", verb);
    return 1;
  }
  int code = 0;
  for (const JobWord& word : *jobs) {
    JobUpdateRequest one = request;
    one.job = word.job;
    if (word.indexes) {
      code = fail("slurm_update", "elements of an array cannot be changed by themselves");
      continue;
    }
    auto done = link.call_for<Ok>(one);
    if (done) continue;
    code = 1;
    const Error& error = done.error();
    const auto active = [&] {
      const auto detail = link.call_for<JobDetail>(ShowJobRequest{word.job});
      return detail && detail->row.counts.active() != 0;
    };
    const std::string why = error.code != ErrorCode::kConflict ? slurm_error(error)
                            : active()                         ? "Job runs, and only what waits can be changed"
                                                               : "Job has already finished";
    fmt::print(stderr, "{} for job {}\n", why, word.job.value);
    if (verb != "update") fmt::print(stderr, "slurm_suspend error: {}\n", why);
  }
  return code;
}

using Changes = std::map<std::string, std::string>;

int update_nodes(ServerLink& link, const Changes& fields) {
  const auto text = [&](const char* name) { return fields.contains(name) ? fields.at(name) : std::string(); };
  for (const auto& [name, value] : fields) {
    if (name != "nodename" && name != "state" && name != "reason") {
      return fail("scontrol", "Update of this parameter of a node is not supported by Berth: " + name);
    }
  }
  auto names = expand_hostlist(text("nodename"));
  if (!names) return fail("scontrol", "Invalid node name " + text("nodename"));
  const std::string state = lower(text("state"));
  NodeActionRequest request;
  request.reason = text("reason");
  if (state == "down" || state == "fail") {
    return fail("scontrol", "State=" + state +
                                " is not supported by Berth, which ends no jobs for it: drain the node, and cancel "
                                "what runs there (scancel -w)");
  }
  if (state == "drain") {
    if (request.reason.empty()) return fail("scontrol", "You must specify a reason when DOWNING or DRAINING a node");
  } else if (state == "resume" || state == "idle" || state == "undrain") {
    request.action = NodeActionRequest::Action::kResume;
  } else {
    return fail("scontrol", "Invalid input for State: accepted are drain, resume, undrain and idle");
  }
  for (const std::string& name : *names) {
    request.node = name;
    auto done = link.call_for<Ok>(request);
    if (done) continue;
    const bool unknown = done.error().code == ErrorCode::kNotFound;
    return fail("slurm_update", unknown ? "Invalid node name specified" : slurm_error(done.error()));
  }
  return 0;
}

}  // namespace

int hold_jobs(ServerLink& link, const Words& words, bool held) {
  JobUpdateRequest request;
  request.held = held;
  return change(link, words, request, held ? "hold" : "release");
}

int requeue_jobs(ServerLink& link, const Words& words, bool hold, bool quiet) {
  if (words.empty()) return fail("scontrol", "too few arguments for keyword:requeue");
  const auto state_word = [](const std::string& word) { return lower(word).starts_with("state="); };
  if (state_word(words.front())) return fail("scontrol", words.front() + " is not supported by Berth");
  auto jobs = parse_job_words(words);
  if (!jobs) return fail("scontrol", jobs.error().message);
  int code = 0;
  const auto failed = [&](const std::string& why, const JobWord& word) {
    code = 1;
    const std::string element = word.indexes ? "_" + word.indexes->to_string() : "";
    if (!quiet) fmt::print(stderr, "{} for job {}{}\n", why, word.job.value, element);
  };
  for (const JobWord& word : *jobs) {
    if (word.indexes || !word.step.empty()) {
      failed("Requeueing elements of an array or steps by themselves is not supported by Berth", word);
      continue;
    }
    const auto done = link.call_for<Ok>(JobRequeueRequest{word.job, hold});
    if (done) continue;
    const bool waits = done.error().code == ErrorCode::kConflict && done.error().message.ends_with("waits already");
    failed(waits ? "Job is pending execution" : slurm_error(done.error()), word);
  }
  return code;
}

// update JobId=12 TimeLimit=… Priority=… Nice=… StartTime=… JobName=… Comment=… Account=… QOS=…; update NodeName=n1
// State=drain Reason=…
int update_things(ServerLink& link, const Words& words) {
  if (words.empty()) {
    fmt::print(stderr, "too few arguments for update keyword\n");
    return 1;
  }
  Changes fields, written;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) return fail("scontrol", "Invalid update specification: " + word);
    const std::string name = word.substr(0, equals);
    fields[lower(name)] = word.substr(equals + 1);
    written[lower(name)] = name;
  }
  if (fields.contains("nodename")) return update_nodes(link, fields);
  const auto job = fields.find("jobid");
  if (job == fields.end()) {
    fmt::print(stderr, "No valid entity in update command\nInput line must include \"JobId\" or \"NodeName\"\n");
    return 1;
  }
  const std::string id = job->second;
  fields.erase(job);
  JobUpdateRequest request;
  for (const auto& [name, value] : fields) {
    if (name == "timelimit") {
      auto limit = parse_limit_ms(value);
      if (!limit) return fail("scontrol", "Invalid TimeLimit value");
      request.time_limit_ms = *limit;
    } else if (name == "priority" || name == "nice") {
      auto number = parse_integer(value, name, -1000, 1000);
      if (!number) return fail("scontrol", "Invalid " + name + " value: from -1000 to 1000 here");
      request.priority = static_cast<std::int32_t>(name == "nice" ? -*number : *number);
    } else if (name == "starttime" || name == "eligibletime") {
      auto begin = parse_begin(value, name, wall_clock_us());
      if (!begin) return fail("scontrol", "Invalid StartTime value");
      request.begin_at = *begin;
    } else if (name == "name" || name == "jobname") {
      request.name = value;
    } else if (name == "comment") {
      request.comment = value;
    } else if (name == "account") {
      request.account = value;
    } else if (name == "qos") {
      request.qos = value;
    } else {
      fmt::print(stderr, "Update of this parameter is not supported: {}={}\nRequest aborted\n", written[name], value);
      return 1;
    }
  }
  return change(link, {id}, request, "update");
}

}  // namespace berth::tools::slurm
