// `berth submit` and `berth run`.
#include "tools/cli/submit_commands.h"

#include <cstdio>
#include <memory>
#include <sys/random.h>

#include "tools/cli/field_options.h"
#include "tools/cli/follow.h"
#include "tools/cli/image_check.h"
#include "tools/cli/job_draft.h"
#include "tools/cli/job_file.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/rows.h"
#include "tools/cli/server_link.h"
#include "tools/cli/terminal.h"

namespace berth::tools {

using namespace state;

namespace {

void add_job_options(CLI::App* command, const std::shared_ptr<GivenFields>& given) {
  add_field_options(command, job_fields(), given, [](const JobField&) { return true; });
}

Status fill(JobDraft& draft, const GivenFields& given) { return fill_fields(draft, job_fields(), given); }

// The job of a draft, its image looked at if it is here.
Result<JobSpec> job_of(const JobDraft& draft, const Surroundings& surroundings) {
  auto job = build_job(draft, surroundings);
  if (!job || draft.image.empty()) return job;
  std::string warning;
  if (Status good = check_image(absolute_image(draft.image, surroundings.directory), warning); !good) {
    return good.error();
  }
  if (!warning.empty()) std::fprintf(stderr, "berth: warning: image: %s\n", warning.c_str());
  return job;
}

std::uint64_t random_key() {
  std::uint64_t key = 0;
  while (getrandom(&key, sizeof key, 0) != sizeof key) {
  }
  // A request of many jobs counts up from it.
  return (key >> 1) | 1;
}

struct SubmitOptions {
  std::shared_ptr<GivenFields> fields = std::make_shared<GivenFields>();
  std::string file;
  bool dry_run = false, wait = false;
};

// The jobs of the command line or of the file.
Result<std::vector<JobSpec>> jobs_of(const SubmitOptions& options, const Context& context) {
  std::vector<JobSpec> jobs;
  const Surroundings surroundings = this_process();
  if (options.file.empty()) {
    JobDraft draft;
    if (Status filled = fill(draft, *options.fields); !filled) return filled.error();
    draft.argv = context.command;
    auto job = job_of(draft, surroundings);
    if (!job) return job.error();
    jobs.push_back(std::move(*job));
    return jobs;
  }
  if (!context.command.empty()) {
    return invalid("file", "a job file names its own command; give either the file or a command");
  }
  auto drafts = read_job_file(options.file);
  if (!drafts) return drafts.error();
  for (JobInFile& entry : *drafts) {
    // Options come on top of what the file says.
    if (Status filled = fill(entry.draft, *options.fields); !filled) return filled.error();
    auto job = job_of(entry.draft, surroundings);
    if (!job) {
      Error error = job.error();
      error.message = entry.at + ": " + (error.field.empty() ? "" : "field '" + error.field + "': ") + error.message;
      error.field.clear();
      return error;
    }
    jobs.push_back(std::move(*job));
  }
  return jobs;
}

int submit(const Context& context, const SubmitOptions& options) {
  auto jobs = jobs_of(options, context);
  if (!jobs) return report(jobs.error(), true);
  const std::size_t count = jobs->size();
  ServerLink link(context);
  SubmitRequest request{std::move(*jobs), random_key(), options.dry_run};
  // The key makes a repetition find the first: a lost answer loses nothing and doubles nothing.
  constexpr std::int64_t kPatienceMs = 10'000;
  if (Status reached = link.connect(); !reached) return fail(reached.error());
  auto reply = link.call_patiently_for<SubmitReply>(request, kPatienceMs);
  if (!reply) return report(reply.error());
  Output out;
  if (options.dry_run) {
    out.write(count == 1 ? "the job would be accepted\n"
                         : "the " + std::to_string(count) + " jobs would be accepted\n");
    return out.finish();
  }
  for (const JobId id : reply->jobs) out.write(std::to_string(id.value) + "\n");
  if (const int written = out.finish(); written != 0) return written;
  return options.wait ? wait_for_jobs(link, reply->jobs, {}) : 0;
}

// ---- run ------------------------------------------------------------------------------------------------------------

// The exit code of a shell for what became of the job, and a line for what a code alone does not tell.
int exit_code_of(ServerLink& link, JobId id) {
  ListPodsRequest request;
  request.job = id;
  request.limit = 10'000;
  int code = 0;
  while (true) {
    auto page = link.call_patiently_for<PodPage>(request);
    if (!page) return report(page.error());
    for (const PodRow& row : page->rows) {
      if (row.state == PodState::kSucceeded) continue;
      const int own = row.exit_code > 0 ? row.exit_code : row.signal != 0 ? 128 + row.signal : kExitRefused;
      const bool told_by_code = row.state == PodState::kFailed && row.exit_code > 0;
      if (code == 0 && !told_by_code) {
        note("job " + std::to_string(id.value) + " " + std::string(name_of(row.state)) +
             (row.message.empty() ? "" : ": " + row.message));
      }
      // A gang's other members are cancelled because of one: that one's code counts.
      if (code == 0 || (own > 0 && row.state != PodState::kCancelled && code == kExitRefused)) code = own;
    }
    if (!page->more) return code;
    request.from_element = page->next_element;
  }
}

std::vector<PodOutput> outputs_of(const JobSpec& spec) {
  std::vector<PodOutput> outputs;
  const auto launch = decode_launch(std::as_bytes(std::span(spec.launch)));
  const bool own_error = launch.ok() && !launch->error_path.empty();
  for (std::uint32_t element = 0; element < spec.elements.size(); ++element) {
    PodOutput output;
    output.element = element;
    if (spec.kind != JobKind::kSingle) {
      output.index = spec.elements.at(element);
      output.prefix = std::to_string(*output.index) + ": ";
    }
    outputs.push_back(output);
    if (own_error) {
      output.error_stream = true;
      outputs.push_back(output);
    }
  }
  return outputs;
}

int run(const Context& context, const std::shared_ptr<GivenFields>& given) {
  constexpr std::uint32_t kFollowedMax = 1000;
  SubmitOptions options;
  options.fields = given;
  auto jobs = jobs_of(options, context);
  if (!jobs) return report(jobs.error(), true);
  const JobSpec spec = jobs->front();
  if (spec.elements.size() > kFollowedMax) {
    return report(invalid("array", "the output of more than " + std::to_string(kFollowedMax) +
                                       " pods at once cannot be followed; 'berth submit --wait' takes any number"),
                  true);
  }
  ServerLink link(context);
  if (Status reached = link.connect(); !reached) return fail(reached.error());
  Interrupts interrupts;
  constexpr std::int64_t kPatienceMs = 10'000;
  auto reply = link.call_patiently_for<SubmitReply>(SubmitRequest{std::move(*jobs), random_key(), false}, kPatienceMs);
  if (!reply) return report(reply.error());
  if (reply->jobs.empty()) return report(Error{ErrorCode::kProtocol, "", "the server named no job", 0});
  const JobId id = reply->jobs.front();

  Output out;
  int interrupted = 0;
  Follower* following = nullptr;
  Follower::Options follow;
  follow.watch_job = true;
  follow.requeues = spec.requeues_max != 0;
  follow.interrupts = &interrupts;
  follow.on_interrupt = [&] {
    if (++interrupted > 1) return false;
    note("cancelling job " + std::to_string(id.value) + "; once more gives up waiting for its end");
    following->cancel_job();
    return true;
  };
  Follower follower(link, id, outputs_of(spec), std::move(follow), out);
  following = &follower;
  auto ended = follower.run();
  const int written = out.finish();
  if (!ended) return report(ended.error());
  if (!*ended) return 130;
  const int code = exit_code_of(link, id);
  if (interrupted != 0) return 130;
  return code != 0 ? code : written;
}

}  // namespace

void add_submit_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(
      app, "submit", "Submit a job and print its id",
      "A job runs a command, as one pod, as an array of independent pods (--array) or as a gang of pods that start "
      "together (--gang, --nodes). It runs as you, in this directory and with this environment; with --image in a "
      "container. When the id is printed the job is on the server's disk: nothing loses it any more.",
      "berth submit ./simulate --steps 1000\n"
      "berth submit --array 1-1000%50 --cpus 2 --mem 4G ./task.sh\n"
      "berth submit --nodes 4 --time 2h -- ./mpi-like-program\n"
      "berth submit --image ./images/busybox:latest -- sh -c 'echo hello'\n"
      "berth submit --file jobs.yaml                  (docs/job-file.md)\n"
      "berth submit --dry-run --gpus 2 ./train.py     would it be accepted?");
  command->group("Jobs");
  auto options = std::make_shared<SubmitOptions>();
  add_job_options(command, options->fields);
  command->add_option("-f,--file", options->file, "read the jobs from a YAML file, - for standard input")
      ->type_name("FILE");
  command->add_flag("--dry-run", options->dry_run, "check everything and change nothing");
  command->add_flag("--wait", options->wait, "wait until it has ended; exit 0 if every pod succeeded");
  takes_command(command, "what to run, with its arguments");
  on_run(command, context, [options, &context] { return submit(context, *options); });
}

void add_run_command(CLI::App& app, Context& context) {
  CLI::App* command =
      add_command(app, "run", "Run a command as a job: submit it, show its output, exit with its code",
                  "Takes the options of 'berth submit'. The output comes here as it is written; an interrupt (Ctrl-C) "
                  "cancels the job. The exit code is the command's own, 128 and the signal's number if a signal ended "
                  "it, and 1 with a line that says why if it never ran.",
                  "berth run -- hostname\n"
                  "berth run --cpus 4 --mem 8G make -j4\n"
                  "berth run --array 1-4 -- sh -c 'echo $BERTH_ARRAY_INDEX'");
  command->group("Jobs");
  auto given = std::make_shared<GivenFields>();
  add_job_options(command, given);
  takes_command(command, "what to run, with its arguments");
  on_run(command, context, [given, &context] { return run(context, given); });
}

}  // namespace berth::tools
