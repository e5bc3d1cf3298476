// `berth hold`, `berth release` and `berth update`: what can be changed of a job that waits.
#include <memory>

#include "state/units.h"
#include "tools/cli/job_name.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/server_link.h"
#include "tools/cli/submit_commands.h"
#include "tools/cli/waiting.h"

namespace berth::tools {

using namespace state;

namespace {

int fail(const Error& error) { return report(error); }

// The same change of each of the jobs; goes on where one is refused.
int update(const Context& context, const std::vector<std::string>& texts, JobUpdateRequest request) {
  auto jobs = parse_job_ids(texts);
  if (!jobs) return report(jobs.error(), true);
  ServerLink link(context);
  int code = 0;
  for (const JobId job : *jobs) {
    request.job = job;
    auto done = link.call_for<Ok>(request);
    if (!done) code = fail(done.error());
    if (!done && ServerLink::is_lost(done.error())) break;
  }
  return code;
}

CLI::App* with_jobs(CLI::App* command, std::vector<std::string>& jobs) {
  command->group("Jobs");
  command->add_option("jobs", jobs, "jobs")->type_name("JOB")->required()->allow_extra_args();
  return command;
}

void add_hold(CLI::App& app, Context& context, bool held) {
  auto jobs = std::make_shared<std::vector<std::string>>();
  CLI::App* command =
      held ? add_command(app, "hold", "Keep waiting jobs from starting",
                         "What waits stays, until it is released; what runs goes on. What an administrator holds of "
                         "another user's only an administrator releases.",
                         "berth hold 12")
           : add_command(app, "release", "Let held jobs start", "The opposite of 'berth hold'.", "berth release 12");
  with_jobs(command, *jobs);
  on_run(command, context, [jobs, held, &context] {
    JobUpdateRequest request;
    request.held = held;
    return update(context, *jobs, std::move(request));
  });
}

}  // namespace

void add_hold_commands(CLI::App& app, Context& context) {
  add_hold(app, context, true);
  add_hold(app, context, false);
}

void add_requeue_command(CLI::App& app, Context& context) {
  struct Options {
    std::vector<std::string> jobs;
    bool hold = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, "requeue", "Stop what runs of jobs and send it back to the queue",
                  "What waits stays as it is; a gang goes back as a whole. The pods' next attempt starts "
                  "when it is their turn.",
                  "berth requeue 12\nberth requeue 12 --hold");
  with_jobs(command, options->jobs);
  command->add_flag("--hold", options->hold, "and keep it there, until 'berth release'");
  on_run(command, context, [options, &context] {
    auto jobs = parse_job_ids(options->jobs);
    if (!jobs) return report(jobs.error(), true);
    ServerLink link(context);
    int code = 0;
    for (const JobId job : *jobs) {
      auto done = link.call_for<Ok>(JobRequeueRequest{job, options->hold});
      if (!done) code = berth::tools::fail(done.error());
      if (!done && ServerLink::is_lost(done.error())) break;
    }
    return code;
  });
}

void add_update_command(CLI::App& app, Context& context) {
  struct Options {
    std::vector<std::string> jobs;
    std::string time, begin, name, comment, account, qos;
    std::int32_t priority = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "update", "Change jobs that wait",
                                  "What is not named stays. A time limit can be changed as long as nothing of the job "
                                  "runs.",
                                  "berth update 12 --time 2h\nberth update 12 13 --priority -5 --begin tomorrow");
  with_jobs(command, options->jobs);
  auto* priority = command
                       ->add_option("--priority", options->priority,
                                    "from -1000 to 1000; only an administrator may go above what it was")
                       ->type_name("N")
                       ->check(CLI::Range(-1000, 1000));
  auto* time = command->add_option("-t,--time", options->time, "the time limit of a pod")->type_name("TIME");
  auto* begin =
      command->add_option("--begin", options->begin, "not before: +1h, 18:30, tomorrow, or now")->type_name("TIME");
  auto* name = command->add_option("-n,--name", options->name, "the job's name")->type_name("NAME");
  auto* comment = command->add_option("--comment", options->comment, "the job's note")->type_name("TEXT");
  auto* account = command->add_option("--account", options->account, "who is charged")->type_name("NAME");
  auto* qos = command->add_option("--qos", options->qos, "its quality of service; normal for none")->type_name("NAME");
  on_run(command, context, [=, &context] {
    JobUpdateRequest request;
    if (account->count() != 0) request.account = options->account;
    if (qos->count() != 0) request.qos = options->qos;
    if (priority->count() != 0) request.priority = options->priority;
    if (time->count() != 0) {
      auto limit = parse_duration_ms(options->time, "--time");
      if (!limit) return report(limit.error(), true);
      request.time_limit_ms = *limit;
    }
    if (begin->count() != 0) {
      auto at = parse_begin(options->begin, "--begin", wall_clock_us());
      if (!at) return report(at.error(), true);
      request.begin_at = *at;
    }
    if (name->count() != 0) request.name = options->name;
    if (comment->count() != 0) request.comment = options->comment;
    const std::size_t given = priority->count() + time->count() + begin->count() + name->count() + comment->count() +
                              account->count() + qos->count();
    if (given == 0) {
      return report({ErrorCode::kInvalid, "", "nothing to change is named; see berth update --help", 0}, true);
    }
    return update(context, options->jobs, std::move(request));
  });
}

}  // namespace berth::tools
