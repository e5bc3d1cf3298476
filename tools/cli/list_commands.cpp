// berth ls, show, explain, nodes: what there is.
#include "tools/cli/list_commands.h"

#include <charconv>
#include <optional>
#include <pwd.h>
#include <span>

#include "state/launch.h"
#include "state/units.h"
#include "tools/cli/job_name.h"
#include "tools/cli/node_asking.h"
#include "tools/cli/rows.h"
#include "tools/cli/server_link.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::uint32_t kListPageRows = 1000;
constexpr std::int64_t kWatchMs = 2000;

struct LsOptions {
  std::vector<std::string> jobs;
  std::string user, state, name, queue, format, watch;
  bool all = false, pods = false;
};

Result<std::uint32_t> uid_of(const std::string& user) {
  if (const passwd* entry = getpwnam(user.c_str())) return std::uint32_t{entry->pw_uid};
  std::uint32_t uid = 0;
  const auto [end, error] = std::from_chars(user.data(), user.data() + user.size(), uid);
  if (error != std::errc{} || end != user.data() + user.size())
    return invalid("--user", "there is no user '" + printable(user) + "' here");
  return uid;
}

}  // namespace

Result<std::vector<PodState>> parse_states(const std::string& text) {
  std::vector<PodState> states;
  for (const std::string& word : split(text, ',')) {
    PodState state{};
    if (!parse_pod_state(word, state)) {
      std::vector<std::string> known;
      for (std::size_t i = 0; i < kPodStates; ++i) known.emplace_back(name_of(static_cast<PodState>(i)));
      return invalid("--state", "'" + printable(word) + "' is not a state; accepted: " + join(known, ", "));
    }
    states.push_back(state);
  }
  return states;
}

namespace {

Result<JobFilter> filter_of(const LsOptions& options) {
  JobFilter filter;
  auto jobs = parse_job_ids(options.jobs);
  if (!jobs) return jobs.error();
  filter.jobs = std::move(*jobs);
  filter.name = options.name;
  filter.queue = options.queue;
  if (!options.user.empty()) {
    const auto uid = uid_of(options.user);
    if (!uid) return uid.error();
    filter.uid = *uid;
  }
  filter.ended = options.all || !filter.jobs.empty();
  if (!options.state.empty()) {
    auto states = parse_states(options.state);
    if (!states) return states.error();
    filter.states = std::move(*states);
    for (const PodState state : filter.states) filter.ended = filter.ended || is_final(state);
  }
  return filter;
}

Status list_jobs(ServerLink& link, const JobFilter& filter, Format format, Output& out) {
  std::optional<Listing<JobRow>>
      listing;  // begun when there is an answer, so that an error leaves no half of a listing
  ListJobsRequest request{filter, JobId{}, kListPageRows};
  do {
    auto page = link.call_for<JobPage>(request);
    if (!page) return page.error();
    const bool none = !listing && page->rows.empty() && !page->next;
    if (none && !filter.jobs.empty() && filter.states.empty())
      return Error{ErrorCode::kNotFound, "", "there is no such job", 0};
    if (!listing) listing.emplace(out, format, clock_us(), listing_width());
    for (const JobRow& row : page->rows) listing->add(row);
    request.after = page->next;
  } while (request.after);
  listing->finish();
  return Unit{};
}

template <class Add>
Status each_pod(ServerLink& link, JobId job, const std::vector<PodState>& states, bool single, Add&& add) {
  ListPodsRequest request{job, states, 0, kListPageRows};
  while (true) {
    auto page = link.call_for<PodPage>(request);
    if (!page) return page.error();
    for (PodRow& row : page->rows) add(PodOfJob{job, single, std::move(row)});
    if (!page->more) return Unit{};
    request.from_element = page->next_element;
  }
}

Status list_pods(ServerLink& link, const JobFilter& filter, Format format, Output& out) {
  std::optional<Listing<PodOfJob>> listing;
  for (const JobId job : filter.jobs) {
    auto detail = link.call_for<JobDetail>(ShowJobRequest{job});
    if (!detail) return detail.error();
    if (!listing) listing.emplace(out, format, clock_us(), listing_width());
    const bool single = detail->row.kind == JobKind::kSingle;
    if (Status done = each_pod(link, job, filter.states, single, [&](const PodOfJob& pod) { listing->add(pod); });
        !done)
      return done;
  }
  listing->finish();
  return Unit{};
}

// Again and again until the program is ended; a server that restarts is waited for.
int watch(ServerLink& link, std::int64_t every_ms, Output& out, const std::function<Status()>& list) {
  while (true) {
    if (stdout_is_terminal()) out.write("\x1b[H\x1b[2J");
    Status done = list();
    if (!done && ServerLink::is_lost(done.error())) done = link.reconnect(ServerLink::kPatienceMs);
    if (!done) return fail(done.error());
    if (out.failed()) return out.finish();
    if (!stdout_is_terminal()) out.write("\n");
    out.flush();
    sleep_ms(every_ms);
  }
}

Result<std::int64_t> watch_period(const std::string& text) {
  return text == "true" ? Result<std::int64_t>(kWatchMs) : parse_duration_ms(text, "--watch");
}

int ls(const Context& context, const LsOptions& options) {
  const auto filter = filter_of(options);
  if (!filter) return report(filter.error(), true);
  if (options.pods && filter->jobs.empty()) return report(invalid("--pods", "needs a job: berth ls --pods JOB"), true);
  Result<std::int64_t> every = std::int64_t{0};
  if (!options.watch.empty()) every = watch_period(options.watch);
  if (!every) return report(every.error(), true);
  ServerLink link(context);
  Output out;
  const Format format = format_of(options.format);
  const auto list = [&] {
    return options.pods ? list_pods(link, *filter, format, out) : list_jobs(link, *filter, format, out);
  };
  if (*every != 0) return watch(link, *every, out, list);
  const Status done = list();
  return done ? out.finish() : fail(done.error());
}

// ---- show -----------------------------------------------------------------------------------------------------------
std::string shell_words(const std::vector<std::string>& argv) {
  std::string line;
  for (const std::string& word : argv) {
    constexpr std::string_view kSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
    if (!line.empty()) line += ' ';
    if (!word.empty() && word.find_first_not_of(kSafe) == std::string::npos) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

std::string counts_text(const JobCounts& counts) {
  std::string text;
  for (std::size_t i = 0; i < kPodStates; ++i) {
    if (counts.by_state[i] == 0) continue;
    text += (text.empty() ? "" : ", ") + std::to_string(counts.by_state[i]) + " " +
            std::string(name_of(static_cast<PodState>(i)));
  }
  return text;
}

std::string asks_text(const Request& request) {
  std::string text = format_cpu_milli(request.resources.cpu_milli) + " cpus";
  if (request.resources.mem_mib != 0) text += ", " + format_mem_mib(request.resources.mem_mib);
  if (request.resources.gpus != 0) text += ", " + counted(request.resources.gpus, "GPU");
  for (const std::string& constraint : constraint_texts(request)) text += ", " + constraint;
  return text;
}

std::string shape_text(const GangShape& shape) {
  std::string text;
  for (const std::string& one : shape_texts(shape)) text += ", " + one;
  return text;
}

std::string shape_text(const JobSpec& spec) {
  switch (spec.kind) {
    case JobKind::kSingle:
      return "single";
    case JobKind::kArray:
      return "array " + spec.elements.to_string() +
             (spec.throttle == 0 ? "" : ", at most " + std::to_string(spec.throttle) + " at once");
    case JobKind::kGang:
      return "gang of " + counted(spec.elements.size(), "pod") +
             (spec.distinct_nodes ? ", each on a node of its own" : "") + shape_text(spec.gang);
  }
  return "";
}

// What its pods that ended used; "" if none did.
std::string use_text(const PodUse& use) {
  if (use == PodUse{}) return "";
  const auto time = [](std::uint64_t us) { return format_duration_ms(static_cast<std::int64_t>(us / 1000)); };
  return "cpu " + time(use.cpu_user_us + use.cpu_system_us) + " (user " + time(use.cpu_user_us) + ", system " +
         time(use.cpu_system_us) + "), read " + format_bytes(use.read_bytes) + ", written " +
         format_bytes(use.written_bytes);
}

void show_text(const JobDetail& detail, const Launch* launch, Output& out) {
  const auto line = [&](const char* name, const std::string& text) {
    if (text.empty()) return;
    std::string head = std::string(name) + ":";
    head.append(14 - head.size(), ' ');
    out.write(head + printable(text) + "\n");
  };
  const JobRow& row = detail.row;
  line("job", std::to_string(row.id.value));
  line("name", row.name);
  line("user",
       row.user + " (uid " + std::to_string(detail.owner.uid) + ", gid " + std::to_string(detail.owner.gid) + ")");
  line("queue", row.queue + ", priority " + std::to_string(row.priority));
  line("kind", shape_text(detail.spec));
  line("state", std::string(name_of(row.summary)));
  line("pods", counts_text(row.counts));
  line("reason", row.reason);
  line("each asks", asks_text(detail.spec.request));
  line("time limit", detail.spec.time_limit_ms == 0 ? "none" : format_duration_ms(detail.spec.time_limit_ms));
  const bool cut = row.time_limit_ms != detail.spec.time_limit_ms;
  line("time given", cut ? format_duration_ms(row.time_limit_ms) : "");
  line("time at least", detail.spec.time_min_ms == 0 ? "" : format_duration_ms(detail.spec.time_min_ms));
  line("deadline", format_time(detail.spec.deadline));
  line("requeues", detail.spec.requeues_max == 0 ? "none" : "up to " + std::to_string(detail.spec.requeues_max));
  line("after", depends_text(detail.spec));
  line("account", row.account);
  line("qos", row.qos);
  line("comment", row.comment);
  line("nodes", join(row.nodes, ","));
  line("submitted", format_time(row.submitted_at));
  line("started", format_time(row.started_at));
  line("ended", format_time(row.ended_at));
  line("used", use_text(row.use));
  if (launch == nullptr) return;
  line("image", launch->image);
  line("command", launch->argv.empty() ? "the image's" : shell_words(launch->argv));
  line("directory", launch->cwd);
  line("output", launch->output_path.empty() ? "kept by the node; see it with 'berth logs'" : launch->output_path);
  line("errors", launch->error_path);
  line("environment", counted(launch->env.size(), "variable") + " (berth show -o json lists them)");
}

void show_json(const JobDetail& detail, const Launch* launch, JsonWriter& json) {
  write_fields(json, detail.row);
  json.key("owner").begin_object().field("uid", detail.owner.uid).field("gid", detail.owner.gid).end_object();
  json.field("elements", detail.spec.elements.to_string()).field("throttle", detail.spec.throttle);
  json.field("distinct_nodes", detail.spec.distinct_nodes).strings("features", detail.spec.request.features);
  json.field("where", detail.spec.request.where).strings("prefer", detail.spec.request.prefers);
  json.strings("tolerate", detail.spec.request.tolerates).strings("labels", detail.spec.request.labels);
  write_countables(json, "resources", detail.spec.request.counts);
  write_countables(json, "licences", detail.spec.request.licences);
  json.field("gpu_share_milli", detail.spec.request.gpu_share_milli).strings("shape", shape_texts(detail.spec.gang));
  json.strings("constraints", constraint_texts(detail.spec.request)).field("exclusive", detail.spec.request.exclusive);
  json.field("time_limit_ms", detail.spec.time_limit_ms).field("requeues_max", detail.spec.requeues_max);
  json.field("held", detail.spec.hold != Hold::kNone).time("begin_at", detail.spec.begin_at);
  json.field("time_min_ms", detail.spec.time_min_ms).time("deadline", detail.spec.deadline);
  json.field("time_given_ms", detail.row.time_limit_ms).field("after", depends_text(detail.spec));
  if (launch != nullptr) {
    json.strings("command", launch->argv)
        .strings("env", launch->env)
        .field("cwd", launch->cwd)
        .field("image", launch->image);
    json.field("output", launch->output_path).field("error", launch->error_path).field("append", launch->append);
    json.field("umask", launch->umask).field("grace_ms", launch->grace_ms);
  }
}

int show(const Context& context, const std::string& text, bool with_pods, Format format) {
  const auto id = parse_job_id(text);
  if (!id) return report(id.error(), true);
  ServerLink link(context);
  const auto detail = link.call_for<JobDetail>(ShowJobRequest{*id});
  if (!detail) return fail(detail.error());
  const auto launch = decode_launch(std::as_bytes(std::span(detail->spec.launch.data(), detail->spec.launch.size())));
  const bool single = detail->row.kind == JobKind::kSingle;
  Output out;
  Status done = Unit{};
  if (format == Format::kJson) {
    JsonWriter json(out);
    json.begin_object();
    show_json(*detail, launch ? &*launch : nullptr, json);
    if (with_pods) {
      json.key("pods").begin_array();
      done = each_pod(link, *id, {}, single, [&](const PodOfJob& pod) {
        json.begin_object();
        write_fields(json, pod);
        json.end_object();
      });
      json.end_array();
    }
    json.end_object().end_document();
  } else {
    show_text(*detail, launch ? &*launch : nullptr, out);
    if (with_pods) {
      out.write("\n");
      Listing<PodOfJob> listing(out, format, clock_us(), listing_width());
      done = each_pod(link, *id, {}, single, [&](const PodOfJob& pod) { listing.add(pod); });
      listing.finish();
    }
  }
  return done ? out.finish() : fail(done.error());
}

int explain(const Context& context, const std::string& text, Format format) {
  const auto name = parse_pod_name(text);
  if (!name) return report(name.error(), true);
  ServerLink link(context);
  const auto answer = link.call_for<Explanation>(ExplainRequest{name->job, name->index});
  if (!answer) return fail(answer.error());
  Output out;
  if (format == Format::kJson) {
    JsonWriter json(out);
    json.begin_object()
        .field("job", name->job.value)
        .field("state", name_of(answer->state))
        .field("summary", answer->summary);
    json.strings("facts", answer->lines).end_object().end_document();
    return out.finish();
  }
  const std::string state(name_of(answer->state));
  const bool repeats = answer->summary.starts_with(state);
  out.write(printable(repeats || answer->summary.empty() ? (repeats ? answer->summary : state)
                                                         : state + ": " + answer->summary) +
            "\n");
  for (const std::string& line : answer->lines) out.write("  " + printable(line) + "\n");
  return out.finish();
}

int nodes(const Context& context, Format format, const std::string& watch_text) {
  Result<std::int64_t> every = std::int64_t{0};
  if (!watch_text.empty()) every = watch_period(watch_text);
  if (!every) return report(every.error(), true);
  ServerLink link(context);
  Output out;
  const auto list = [&]() -> Status {
    std::optional<Listing<NodeRow>> listing;
    ListNodesRequest request{NodeId{}, kListPageRows};
    do {
      auto page = link.call_for<NodePage>(request);
      if (!page) return page.error();
      if (!listing) listing.emplace(out, format, clock_us(), listing_width());
      for (const NodeRow& row : page->rows) listing->add(row);
      request.after = page->next;
    } while (request.after);
    listing->finish();
    return Unit{};
  };
  if (*every != 0) return watch(link, *every, out, list);
  const Status done = list();
  return done ? out.finish() : fail(done.error());
}

}  // namespace

int act(const Context& context, ClientRequest request) {
  ServerLink link(context);
  const auto done = link.call_for<Ok>(std::move(request));
  return done ? 0 : fail(done.error());
}

int fail(const Error& error) { return report(error, error.code == ErrorCode::kInvalid && error.field == "server"); }

void add_ls_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, "ls", "List jobs, or the pods of a job",
                                  "Without further words it lists the jobs that wait or run: yours, or everybody's if "
                                  "you administer the cluster. Jobs that "
                                  "have ended are listed with --all, with a --state they ended in, or by their ids.\n\n"
                                  "Long listings are read from the server page by page and written as they come.",
                                  "berth ls                                  what waits and what runs\n"
                                  "berth ls --all --state failed,timed-out   jobs with pods that failed\n"
                                  "berth ls --pods 12                        the pods of job 12\n"
                                  "berth ls -o json | jq '.[].id'            for programs\n"
                                  "berth ls --watch                          every two seconds");
  auto options = std::make_shared<LsOptions>();
  command->group("Jobs");
  command->add_option("jobs", options->jobs, "only these jobs, ended or not")->type_name("JOB")->allow_extra_args();
  command->add_flag("-a,--all", options->all, "jobs that have ended, too");
  command->add_flag("-p,--pods", options->pods, "the pods of the jobs named");
  command->add_option("-u,--user", options->user, "only this user's jobs")->type_name("USER");
  command->add_option("-s,--state", options->state, "only jobs with pods in one of these states, as in pending,running")
      ->type_name("STATE");
  command->add_option("-n,--name", options->name, "only jobs of this name")->type_name("NAME");
  command->add_option("-q,--queue", options->queue, "only jobs in this queue")->type_name("QUEUE");
  add_format_option(command, options->format);
  command->add_flag("-w,--watch", options->watch, "again and again, every 2 s or as often as TIME says")
      ->type_name("TIME");
  on_run(command, context, [options, &context] { return ls(context, *options); });
}

void add_show_command(CLI::App& app, Context& context) {
  struct Options {
    std::string job, format;
    bool pods = false;
  };
  CLI::App* command = add_command(
      app, "show", "Show everything about a job", "",
      "berth show 12\nberth show 12 --pods          with a line for each of its pods\nberth show 12 -o json");
  auto options = std::make_shared<Options>();
  command->group("Jobs");
  command->add_option("job", options->job, "the job's id")->type_name("JOB")->required();
  command->add_flag("-p,--pods", options->pods, "its pods, too");
  add_format_option(command, options->format);
  on_run(command, context,
         [options, &context] { return show(context, options->job, options->pods, format_of(options->format)); });
}

void add_explain_command(CLI::App& app, Context& context) {
  struct Options {
    std::string pod, format;
  };
  CLI::App* command = add_command(app, "explain", "Say why a job waits, or why it ended as it did",
                                  "For a job that waits: how many nodes each of its wishes rules out, what is missing "
                                  "on the nearest one, and who is in front "
                                  "of it. The reasons come from the very checks that refused it.",
                                  "berth explain 12\nberth explain 12.7       one pod of an array");
  auto options = std::make_shared<Options>();
  command->group("Jobs");
  command->add_option("pod", options->pod, "a job's id, or one of its pods as in 12.7 or 12[7]")
      ->type_name("JOB[.INDEX]")
      ->required();
  add_format_option(command, options->format, false);
  on_run(command, context, [options, &context] { return explain(context, options->pod, format_of(options->format)); });
}

void add_nodes_command(CLI::App& app, Context& context) {
  struct Options {
    std::string format, watch;
  };
  CLI::App* command = add_command(
      app, "nodes", "List the nodes: their state, what they offer and what is used", "",
      "berth nodes\nberth nodes -o wide\nberth nodes -o json | jq '.[] | select(.connected | not) | .name'");
  auto options = std::make_shared<Options>();
  command->group("Cluster");
  add_format_option(command, options->format);
  command->add_flag("-w,--watch", options->watch, "again and again, every 2 s or as often as TIME says")
      ->type_name("TIME");
  on_run(command, context, [options, &context] { return nodes(context, format_of(options->format), options->watch); });
}

}  // namespace berth::tools
