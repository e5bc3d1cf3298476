// scancel: ends jobs.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/options.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

bool agreed(const Record& record) {
  fmt::print("Cancel job_id={} name={} partition={} [y/n]? ", record.id(), record.job.name, record.job.queue);
  std::fflush(stdout);
  const int answer = std::getchar();
  for (int c = answer; c != '\n' && c != EOF;) c = std::getchar();
  return answer == 'y' || answer == 'Y';
}

struct Target {
  JobId job;
  std::optional<IndexSet> indexes;
  std::string text;
};

}  // namespace

int scancel(const Context& context, const Words& words) {
  const CommandTable& table = table_of("scancel");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  const Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (given.has("verbose")) tell_ignored(table, given);
  if (given.has("signal")) {
    const int signal = signal_number(given.text("signal"));
    if (signal == 0) {
      fmt::print(stderr, "Unknown job signal: {}\n", given.text("signal"));
      return 1;
    }
    if (signal != SIGTERM && signal != SIGKILL && signal != SIGINT) {
      return fail("scancel", "--signal=" + given.text("signal") +
                                 " is not supported by Berth: only TERM, INT and KILL, which end the job");
    }
  }
  std::optional<std::vector<PodState>> states;
  if (given.has("state")) {
    states = parse_states(given.text("state"));
    if (!states) {
      fmt::print(stderr, "Invalid job state specified: {}\nValid job states are PENDING, RUNNING, and SUSPENDED\n",
                 given.text("state"));
      return 1;
    }
    if (states->empty()) return 0;  // no job is ever in such a state
  }
  const bool filtered = given.has("user") || given.has("me") || given.has("name") || given.has("jobname") ||
                        given.has("partition") || given.has("account") || given.has("qos") || given.has("nodelist") ||
                        states;
  if (given.has("user")) {
    const std::string user = given.text("user");
    const bool number = !user.empty() && user.find_first_not_of("0123456789") == std::string::npos;
    if (!number && getpwnam(user.c_str()) == nullptr) return fail("scancel", "Invalid user name: " + user);
  }
  if (given.words.empty() && !filtered) return fail("scancel", "No job identification provided");

  auto jobs = parse_job_words(given.words);
  if (!jobs) return fail("scancel", jobs.error().message);
  const bool chosen = filtered || given.has("interactive");
  const auto step = std::find_if(jobs->begin(), jobs->end(),
                                 [](const JobWord& word) { return !word.step.empty() && word.step != "batch"; });
  if (chosen && step != jobs->end()) {
    return fail("scancel", fmt::format("A step ({}.{}) together with what chooses jobs is not supported by Berth",
                                       step->job.value, step->step));
  }
  ServerLink link(context);
  std::vector<Target> targets;
  if (!chosen) {
    for (JobWord& word : *jobs) {
      std::string text = std::to_string(word.job.value);
      if (!word.step.empty() && word.step != "batch") {
        auto step = find_step(link, word.job, word.step);
        if (!step) return fail("scancel", slurm_error(step.error()));
        text += "." + word.step;
        if (*step == JobId{}) {
          return fail("scancel", "Kill job error on job step id " + text + ": Invalid job id specified");
        }
        targets.push_back({*step, std::nullopt, std::move(text)});
        continue;
      }
      if (word.indexes) text += "_" + word.indexes->to_string();
      targets.push_back({word.job, std::move(word.indexes), std::move(text)});
    }
  } else {
    Want want;
    want.filter.ended = false;
    want.states = {PodState::kPending, PodState::kBound, PodState::kRunning};
    if (states) want.states = *states;
    want_only(want, *jobs);
    auto records = fetch_records(link, want);
    if (!records) return fail("scancel", slurm_error(records.error()));
    std::vector<std::string> nodes;
    if (given.has("nodelist")) {
      auto names = expand_hostlist(given.text("nodelist"));
      if (!names) return fail("scancel", "Invalid node name " + given.text("nodelist"));
      nodes = std::move(*names);
    }
    const std::string user = given.has("me") ? std::to_string(geteuid()) : given.text("user");
    const std::string name = given.text("name", given.text("jobname"));
    for (const Record& record : *records) {
      const JobRow& job = record.job;
      const bool kept = (user.empty() || user == job.user || user == std::to_string(job.uid)) &&
                        (name.empty() || name == job.name) &&
                        (!given.has("partition") || given.text("partition") == job.queue) &&
                        (!given.has("account") || given.text("account") == job.account) &&
                        (!given.has("qos") || given.text("qos") == record.qos()) &&
                        (nodes.empty() || std::any_of(record.nodes.begin(), record.nodes.end(), [&](const auto& node) {
                           return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
                         }));
      if (!kept || (given.has("interactive") && !agreed(record))) continue;
      Target target{job.id, std::nullopt, record.id()};
      if (record.array()) {
        // What waits of it goes by its indexes, so that what runs is spared where only that was meant.
        auto set =
            record.folded ? IndexSet::parse(job.waiting, "job") : IndexSet::parse(std::to_string(*record.index), "job");
        if (record.folded && !set) {  // too many ranges to name: all that waits, element by element
          Want each = want;
          each.filter.jobs = {job.id};
          each.each_element = true;
          each.states = {PodState::kPending};
          auto elements = fetch_records(link, each);
          if (!elements) return fail("scancel", slurm_error(elements.error()));
          for (const Record& one : *elements) {
            targets.push_back({job.id, *IndexSet::parse(std::to_string(*one.index), "job"), one.id()});
          }
          continue;
        }
        if (set) target.indexes = std::move(*set);
      }
      targets.push_back(std::move(target));
    }
  }
  int code = 0;
  for (Target& target : targets) {
    if (given.has("verbose")) fmt::print(stderr, "scancel: Terminating job {}\n", target.text);
    auto done = link.call_for<Ok>(CancelRequest{target.job, std::move(target.indexes)});
    if (done) continue;
    const Error& error = done.error();
    if (ServerLink::is_lost(error)) return fail("scancel", slurm_error(error));
    // As with Slurm, scripts may cancel what has ended, or is forgotten: that is told to who listens, and no failure.
    const bool ended = error.code == ErrorCode::kConflict;
    const bool gone = error.code == ErrorCode::kNotFound;
    if (given.has("quiet") || (ended && !given.has("verbose"))) {
      if (!ended && !gone) code = 1;
      continue;
    }
    fmt::print(stderr, "scancel: error: Kill job error on job id {}: {}\n", target.text, slurm_error(error));
    if (!ended && !gone) code = 1;
  }
  return code;
}

}  // namespace berth::tools::slurm
