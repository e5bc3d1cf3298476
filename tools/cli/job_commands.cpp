// `berth logs`, `berth wait`, `berth cancel`, and the table of all job commands.
#include <memory>

#include "state/launch.h"
#include "state/units.h"
#include "tools/cli/exec_command.h"
#include "tools/cli/follow.h"
#include "tools/cli/job_name.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/submit_commands.h"

namespace berth::tools {

using namespace state;

namespace {

struct LogsOptions {
  std::string pod;
  bool follow = false, error = false;
};

// Reads what is there, once.
int print_log(ServerLink& link, ReadLogRequest request) {
  Output out;
  while (true) {
    auto chunk = link.call_patiently_for<LogChunk>(request);
    if (!chunk) return report(chunk.error());
    out.write(chunk->bytes);
    request.offset = chunk->offset + chunk->bytes.size();
    if (chunk->bytes.empty() || out.failed()) return out.finish();
  }
}

int logs(const Context& context, const LogsOptions& options) {
  const auto pod = parse_pod_name(options.pod);
  if (!pod) return report(pod.error(), true);
  ServerLink link(context);
  auto detail = link.call_for<JobDetail>(ShowJobRequest{pod->job});
  if (!detail) return fail(detail.error());
  ReadLogRequest request;
  request.job = pod->job;
  request.index = pod->index;
  request.error_stream = options.error;
  if (!options.follow) return print_log(link, request);
  const IndexSet& elements = detail->spec.elements;
  PodOutput output;
  output.index = pod->index;
  output.error_stream = options.error;
  if (pod->index && !elements.find(*pod->index, output.element)) {
    return report(Error{ErrorCode::kNotFound, "pod",
                        "job " + std::to_string(pod->job.value) + " has no element " + std::to_string(*pod->index), 0});
  }
  if (!pod->index && elements.size() != 1) {
    return report(invalid("pod", "job " + std::to_string(pod->job.value) + " has " + std::to_string(elements.size()) +
                                     " pods; name one, as " + options.pod + "." + std::to_string(elements.at(0))));
  }
  Output out;
  Follower::Options follow;
  follow.requeues = detail->spec.requeues_max != 0;
  Follower follower(link, pod->job, {output}, std::move(follow), out);
  auto ended = follower.run();
  const int written = out.finish();
  return ended ? written : report(ended.error());
}

void add_logs_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(
      app, "logs", "Print the output of a pod",
      "Standard output and error, as the pod wrote them; they are read from the node that ran it. Works "
      "while it runs and after.",
      "berth logs 12\nberth logs -f 12          until it ends\nberth logs 13.7           one pod of an array");
  auto options = std::make_shared<LogsOptions>();
  command->group("Jobs");
  command->add_option("pod", options->pod, "a job's id, or one of its pods as in 12.7 or 12[7]")
      ->type_name("JOB[.INDEX]")
      ->required();
  command->add_flag("-f,--follow", options->follow, "go on until the pod has ended");
  command->add_flag("-e,--error", options->error, "the error file, of a job submitted with --error");
  on_run(command, context, [options, &context] { return logs(context, *options); });
}

void add_wait_command(CLI::App& app, Context& context) {
  struct Options {
    std::vector<std::string> jobs;
    std::string timeout;
  };
  CLI::App* command =
      add_command(app, "wait", "Wait until jobs have ended",
                  "Shows a progress bar on a terminal. The exit code is 0 if every pod succeeded, else 1.",
                  "berth wait 12 13\nberth wait --timeout 1h 12");
  auto options = std::make_shared<Options>();
  command->group("Jobs");
  command->add_option("jobs", options->jobs, "the jobs' ids")->type_name("JOB")->required()->allow_extra_args();
  command->add_option("-t,--timeout", options->timeout, "give up after so long")->type_name("TIME");
  on_run(command, context, [options, &context] {
    const auto ids = parse_job_ids(options->jobs);
    if (!ids) return report(ids.error(), true);
    WaitOptions wait;
    if (!options->timeout.empty()) {
      const auto ms = parse_duration_ms(options->timeout, "timeout");
      if (!ms) return report(ms.error(), true);
      wait.timeout_ms = *ms;
    }
    ServerLink link(context);
    if (Status reached = link.connect(); !reached) return fail(reached.error());
    return wait_for_jobs(link, *ids, wait);
  });
}

void add_cancel_command(CLI::App& app, Context& context) {
  struct Options {
    std::vector<std::string> jobs;
  };
  CLI::App* command =
      add_command(app, "cancel", "Cancel jobs, or elements of arrays",
                  "What waits is cancelled at once. What runs gets SIGTERM, and SIGKILL after the job's grace time. A "
                  "gang is cancelled as a whole.",
                  "berth cancel 12\nberth cancel 13.5-9,20     these elements of an array");
  auto options = std::make_shared<Options>();
  command->group("Jobs");
  command->add_option("jobs", options->jobs, "jobs, or elements of arrays as in 13.5-9,20")
      ->type_name("JOB[.INDEXES]")
      ->required()
      ->allow_extra_args();
  on_run(command, context, [options, &context] {
    std::vector<JobName> names;
    for (const std::string& text : options->jobs) {
      auto name = parse_job_name(text);
      if (!name) return report(name.error(), true);
      names.push_back(std::move(*name));
    }
    ServerLink link(context);
    int code = 0;
    for (JobName& name : names) {
      auto done = link.call_for<Ok>(CancelRequest{name.job, std::move(name.indexes)});
      if (!done) code = fail(done.error());
      if (!done && ServerLink::is_lost(done.error())) break;
    }
    return code;
  });
}

}  // namespace

void add_job_commands(CLI::App& app, Context& context) {
  add_submit_command(app, context);
  add_run_command(app, context);
  add_ls_command(app, context);
  add_show_command(app, context);
  add_logs_command(app, context);
  add_exec_command(app, context);
  add_wait_command(app, context);
  add_cancel_command(app, context);
  add_hold_commands(app, context);
  add_update_command(app, context);
  add_requeue_command(app, context);
  add_explain_command(app, context);
  add_priority_command(app, context);
}

}  // namespace berth::tools
