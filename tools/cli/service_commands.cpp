#include "tools/cli/service_commands.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>

#include "state/launch.h"
#include "state/units.h"
#include "tools/cli/field_options.h"
#include "tools/cli/follow.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/service_draft.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr const char* kServiceGroup = "Services";
using Action = ServiceActionRequest::Action;

struct ServiceOptions {
  std::shared_ptr<GivenFields> job = std::make_shared<GivenFields>();
  std::shared_ptr<GivenFields> fields = std::make_shared<GivenFields>();
  std::string name, space, format, timeout, slot;
  std::vector<std::string> names;
  std::uint32_t replicas = 0, revision = 0;
  bool detach = false, dry_run = false, follow = false, error = false, all = false;
};

std::string called(const Service& service) {
  return service.space == kDefaultSpace ? service.name : service.space + "/" + service.name;
}

Status fill(ServiceDraft& draft, const ServiceOptions& options) {
  if (Status set = fill_fields(draft.job, job_fields(), *options.job); !set) return set;
  return fill_fields(draft, service_fields(), *options.fields);
}

// How far a service is: "web: 3 of 3 replicas are ready", with what is the matter behind it.
std::string progress_line(const ServiceDetail& detail) {
  const ServiceRow& row = detail.row;
  const ServiceStatus& status = row.service.status;
  std::string line = called(row.service) + ": ";
  if (status.removing) return line + counted(row.there, "replica") + " left";
  line += std::to_string(row.ready) + " of " + counted(row.wanted, "replica") + (row.wanted == 1 ? " is" : " are") +
          " ready";
  if (status.rollout != Rollout::kNone) {
    line += ", " + std::to_string(row.updated) + " of revision " + std::to_string(status.revision);
  }
  if (!status.message.empty()) return line + " (" + status.message + ")";
  for (const ReplicaRow& r : detail.replicas) {
    if (r.message.empty() || r.ready || (r.job.value != 0 && r.ended_at != 0)) continue;
    return line + " (" + row.service.name + "." + std::to_string(r.slot) + ": " + printable(r.message) + ")";
  }
  return line;
}

bool is_there(const ServiceDetail& detail) {
  const ServiceRow& row = detail.row;
  const Rollout rollout = row.service.status.rollout;
  const bool rolling = rollout == Rollout::kRolling || rollout == Rollout::kRollingBack;
  return !rolling && row.ready >= row.wanted && row.there == row.wanted;
}

// What a job writes behind a replica that failed, for people who look for the cause.
void show_last_words(ServerLink& link, const ServiceDetail& detail) {
  constexpr std::size_t kLines = 10;
  const ReplicaRow* last = nullptr;
  for (const ReplicaRow& r : detail.replicas) {
    const bool failed = is_final(r.state) && r.state != PodState::kSucceeded && r.state != PodState::kCancelled;
    if (r.job.value != 0 && failed && (last == nullptr || r.ended_at > last->ended_at)) last = &r;
  }
  if (last == nullptr) return;
  ReadLogRequest request;
  request.job = last->job;
  auto chunk = link.call_for<LogChunk>(request);
  if (!chunk || chunk->bytes.empty()) return;
  auto lines = split(chunk->bytes, '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  const std::size_t from = lines.size() > kLines ? lines.size() - kLines : 0;
  note("the last output of job " + std::to_string(last->job.value) + ":");
  for (std::size_t i = from; i < lines.size(); ++i) std::fprintf(stderr, "  %s\n", printable(lines[i]).c_str());
}

int put(const Context& context, ServicePutRequest request, const ServiceOptions& options) {
  ServerLink link(context);
  request.dry_run = options.dry_run;
  const std::string space = request.service.space, name = request.service.name;
  auto detail = link.call_for<ServiceDetail>(std::move(request));
  if (!detail) return fail(detail.error());
  if (options.dry_run) {
    Output out;
    out.write(detail->changed ? "the service would be accepted\n" : "nothing would change\n");
    return out.finish();
  }
  if (options.detach) return 0;
  std::int64_t patience_ms = 0;
  if (!options.timeout.empty()) {
    const auto parsed = parse_duration_ms(options.timeout, "timeout");
    if (!parsed) return report(parsed.error(), true);
    patience_ms = *parsed;
  }
  return wait_for_service(link, space, name, false, patience_ms);
}

int create(const Context& context, const ServiceOptions& options) {
  ServiceDraft draft;
  draft.job.clear_environment = true;
  if (Status filled = fill(draft, options); !filled) return report(filled.error(), true);
  draft.service.name = options.name;
  draft.job.name = options.name;
  draft.job.argv = context.command;
  auto request = build_service(draft, this_process());
  if (!request) return report(request.error(), true);
  request->mode = ServicePutRequest::Mode::kCreate;
  return put(context, std::move(*request), options);
}

int update(const Context& context, const ServiceOptions& options) {
  ServerLink link(context);
  auto detail = link.call_for<ServiceDetail>(ShowServiceRequest{options.name, options.space});
  if (!detail) return fail(detail.error());
  auto draft = draft_of(*detail);
  if (!draft) return report(draft.error());
  if (Status filled = fill(*draft, options); !filled) return report(filled.error(), true);
  if (!context.command.empty()) draft->job.argv = context.command;
  draft->service.space = detail->row.service.space;
  auto request = build_service(*draft, this_process());
  if (!request) return report(request.error(), true);
  request->mode = ServicePutRequest::Mode::kUpdate;
  request->version = detail->row.service.status.version;
  return put(context, std::move(*request), options);
}

int act_on(const Context& context, const ServiceOptions& options, Action action, std::uint32_t replicas = 0,
           std::uint32_t revision = 0) {
  ServerLink link(context);
  auto detail =
      link.call_for<ServiceDetail>(ServiceActionRequest{action, options.name, options.space, replicas, revision});
  if (!detail) return fail(detail.error());
  if (options.detach) return 0;
  return wait_for_service(link, options.space, options.name, false, 0);
}

int remove(const Context& context, const ServiceOptions& options) {
  ServerLink link(context);
  for (const std::string& name : options.names) {
    auto detail = link.call_for<ServiceDetail>(ServiceActionRequest{Action::kRemove, name, options.space, 0, 0});
    if (!detail) return fail(detail.error());
    if (options.detach) continue;
    if (const int code = wait_for_service(link, options.space, name, false, 0); code != 0) return code;
  }
  return 0;
}

int list(const Context& context, const ServiceOptions& options) {
  ServerLink link(context);
  ListServicesRequest request;
  request.space = options.space;
  Output out;
  std::optional<Listing<ServiceRow>> listing;
  do {
    auto page = link.call_for<ServicePage>(request);
    if (!page) return fail(page.error());
    if (!listing) listing.emplace(out, format_of(options.format), clock_us(), listing_width());
    for (const ServiceRow& row : page->rows) listing->add(row);
    request.after = page->next;
  } while (request.after);
  listing->finish();
  return out.finish();
}

int ps(const Context& context, const ServiceOptions& options) {
  ServerLink link(context);
  auto detail = link.call_for<ServiceDetail>(ShowServiceRequest{options.name, options.space});
  if (!detail) return fail(detail.error());
  Output out;
  Listing<ReplicaOfService> listing(out, format_of(options.format), clock_us(), listing_width());
  for (ReplicaRow& row : detail->replicas) {
    if (!options.all && row.ended_at != 0) continue;
    listing.add({detail->row.service.name, std::move(row)});
  }
  listing.finish();
  return out.finish();
}

std::string policy_text(const UpdatePolicy& policy) {
  std::string text = policy.parallelism == 0 ? "all" : std::to_string(policy.parallelism);
  text += std::string(" at a time, ") + (policy.start_first ? "start-first" : "stop-first");
  if (policy.delay_ms != 0) text += ", every " + format_duration_ms(policy.delay_ms);
  text += ", watched for " + format_duration_ms(policy.monitor_ms);
  text += ", on failure " + std::string(name_of(policy.on_failure));
  if (policy.failures_max != 0) text += " after more than " + std::to_string(policy.failures_max);
  return text;
}

std::string probe_text(const Probe& probe) {
  std::string text = probe.kind == Probe::Kind::kHttp  ? "GET port " + std::to_string(probe.port) + " " + probe.path
                     : probe.kind == Probe::Kind::kTcp ? "connect to port " + std::to_string(probe.port)
                                                       : join(probe.argv, " ");
  return printable(text) + ", every " + format_duration_ms(probe.period_ms) + ", " + counted(probe.failures, "failure");
}

int show(const Context& context, const ServiceOptions& options) {
  ServerLink link(context);
  auto detail = link.call_for<ServiceDetail>(ShowServiceRequest{options.name, options.space});
  if (!detail) return fail(detail.error());
  Output out;
  const Service& service = detail->row.service;
  if (format_of(options.format) == Format::kJson) {
    JsonWriter json(out);
    json.begin_object();
    write_fields(json, detail->row);
    json.key("tasks");
    json.begin_array();
    for (const ReplicaRow& row : detail->replicas) {
      json.begin_object();
      write_fields(json, ReplicaOfService{service.name, row});
      json.end_object();
    }
    json.end_array();
    json.end_object();
    json.end_document();
    return out.finish();
  }
  const auto line = [&](const std::string& title, const std::string& text) {
    if (!text.empty()) out.write(title + std::string(14 - std::min<std::size_t>(13, title.size()), ' ') + text + "\n");
  };
  line("service", called(service));
  line("owner", service.owner.user);
  line("state", progress_line(*detail).substr(called(service).size() + 2));
  if (service.status.paused) line("paused", "nothing is rolled out until 'berth service resume'");
  if (const auto launch = decode_launch(std::as_bytes(std::span(detail->spec.launch))); launch) {
    line("image", launch->image);
    line("command", printable(join(launch->argv, " ")));
    line("network", launch->network == NetworkMode::kPods ? "pods" : "host");
    if (launch->probe_start) line("started when", probe_text(*launch->probe_start));
    if (launch->probe_ready) line("ready while", probe_text(*launch->probe_ready));
    if (launch->probe_live) line("live while", probe_text(*launch->probe_live));
  }
  line("address", service.address);
  line("ports", ports_text(service.ports));
  line("queue", detail->spec.queue);
  line("updates", policy_text(service.update));
  std::string revisions;
  for (const auto& r : detail->revisions) {
    revisions += (revisions.empty() ? "" : ", ") + std::to_string(r.number);
    if (r.number == service.status.revision) revisions += " (now, since " + format_time(r.made_at) + ")";
  }
  line("revisions", revisions);
  out.write("\n");
  Listing<ReplicaOfService> listing(out, Format::kTable, clock_us(), listing_width());
  for (ReplicaRow& row : detail->replicas) listing.add({service.name, std::move(row)});
  listing.finish();
  return out.finish();
}

// The output of a service's replicas, one behind the other, or of all of them as it comes.
int logs(const Context& context, const ServiceOptions& options) {
  ServerLink link(context);
  std::string name = options.name;
  std::optional<std::uint32_t> slot;
  if (const std::size_t dot = name.rfind('.'); dot != std::string::npos) {
    const auto number = parse_integer(name.substr(dot + 1), "name", 1, UINT32_MAX);
    if (!number) return report(number.error(), true);
    slot = static_cast<std::uint32_t>(*number);
    name = name.substr(0, dot);
  }
  auto detail = link.call_for<ServiceDetail>(ShowServiceRequest{name, options.space});
  if (!detail) return fail(detail.error());
  std::vector<ReplicaRow> rows;
  for (const ReplicaRow& row : detail->replicas) {
    if (row.job.value == 0 || row.state == PodState::kPending || (slot && row.slot != *slot)) continue;
    if (options.follow && row.ended_at != 0) continue;
    rows.push_back(row);
  }
  if (rows.empty()) {
    return report(
        Error{ErrorCode::kNotFound, "name", "no replica of service '" + printable(options.name) + "' has run yet", 0});
  }
  Output out;
  if (options.follow) {
    if (rows.size() != 1) {
      return report(invalid("name", "service '" + name + "' has " + counted(rows.size(), "replica") +
                                        "; name one, as " + name + "." + std::to_string(rows.front().slot)));
    }
    PodOutput output;
    Follower follower(link, rows.front().job, {output}, {}, out);
    auto ended = follower.run();
    const int written = out.finish();
    return ended ? written : report(ended.error());
  }
  const bool prefix = rows.size() > 1;
  for (const ReplicaRow& row : rows) {
    ReadLogRequest request;
    request.job = row.job;
    bool line_begins = true;
    const std::string who = name + "." + std::to_string(row.slot) + "@" + row.node + ": ";
    while (true) {
      auto chunk = link.call_for<LogChunk>(request);
      if (!chunk) {
        note(who + chunk.error().message);
        break;
      }
      if (chunk->bytes.empty() || out.failed()) break;
      request.offset = chunk->offset + chunk->bytes.size();
      if (!prefix) {
        out.write(chunk->bytes);
        continue;
      }
      std::string text;
      for (const char c : chunk->bytes) {
        if (line_begins) text += who;
        line_begins = c == '\n';
        text += c;
      }
      out.write(text);
    }
    if (prefix && !line_begins) out.write("\n");
  }
  return out.finish();
}

void add_name(CLI::App* command, ServiceOptions& options, bool with_space = true) {
  command->add_option("name", options.name, "the service's name")->type_name("NAME")->required();
  if (with_space) {
    command->add_option("--namespace", options.space, "where its name is looked for (default: default)")
        ->type_name("NAME");
  }
}

void add_wait_options(CLI::App* command, ServiceOptions& options) {
  command->add_flag("-d,--detach", options.detach, "do not wait until it is so");
}

void add_fields(CLI::App* command, ServiceOptions& options, bool update) {
  add_field_options(command, job_fields(), options.job, is_service_job_field);
  // Whose namespace it is, and of which kind, a service keeps.
  add_field_options(command, service_fields(), options.fields, [update](const ServiceField& field) {
    return !update || (std::string_view(field.name) != "namespace" && std::string_view(field.name) != "every-node");
  });
  add_wait_options(command, options);
  command->add_option("--timeout", options.timeout, "wait for so long at most (default: until it is decided)")
      ->type_name("TIME");
  command->add_flag("--dry-run", options.dry_run, "check everything and change nothing");
}

}  // namespace

std::string ports_text(const std::vector<ServicePort>& ports) {
  std::string text;
  for (const ServicePort& p : ports) {
    text += text.empty() ? "" : ", ";
    if (p.published != 0) text += "*:" + std::to_string(p.published) + "->";
    text += std::to_string(p.published != 0 ? p.target : p.port);
    if (p.published == 0 && p.port != p.target) text += "->" + std::to_string(p.target);
    text += "/" + std::string(name_of(p.protocol));
  }
  return text;
}

int wait_for_service(ServerLink& link, const std::string& space, const std::string& name, bool quiet,
                     std::int64_t patience_ms) {
  constexpr std::int64_t kPollMs = 100;
  // Without an end of its own: as long as something moves, and for a while longer.
  constexpr std::int64_t kStandstillMs = 120'000;
  Interrupts interrupts;
  const bool terminal = !quiet && stderr_is_terminal();
  std::string shown;
  std::int64_t moved_ms = now_ms();
  const std::int64_t until_ms = now_ms() + patience_ms;
  while (true) {
    auto detail = link.call_patiently_for<ServiceDetail>(ShowServiceRequest{name, space});
    if (!detail && detail.error().code == ErrorCode::kNotFound) return 0;  // removed
    if (!detail) return fail(detail.error());
    const std::string line = progress_line(*detail);
    if (line != shown) {
      if (terminal) {
        std::fprintf(stderr, "\r\033[K%s", clip(line, terminal_width() - 1).c_str());
      } else if (!quiet) {
        note(line);
      }
      shown = line;
      moved_ms = now_ms();
    }
    const ServiceStatus& status = detail->row.service.status;
    const bool stuck = status.rollout == Rollout::kPaused;
    const bool back = status.rollout == Rollout::kRolledBack && is_there(*detail) &&
                      !status.message.ends_with("asked for by " + detail->row.service.owner.user) &&
                      status.message.find("asked for by") == std::string::npos;
    const bool done = is_there(*detail) && !status.removing;
    const bool late = patience_ms != 0 ? now_ms() >= until_ms : now_ms() - moved_ms > kStandstillMs;
    if (done || stuck || back || late || interrupts.take()) {
      if (terminal) std::fprintf(stderr, "\n");
      if (done && !stuck && !back) return 0;
      if (late && !stuck && !back) note("it goes on in the background; see 'berth service ps " + name + "'");
      show_last_words(link, *detail);
      return kExitRefused;
    }
    sleep_ms(kPollMs, &interrupts);
  }
}

void add_service_commands(CLI::App& app, Context& context) {
  CLI::App* service = add_command(
      app, "service", "Run pods that should always run",
      "A service keeps so many replicas of a command or container running: one that ends is replaced, those of a node "
      "that is lost run elsewhere. It has a name and an address, by which its pods are reached; it is scaled, updated "
      "replica by replica, and rolled back. 'berth deploy' makes services from files.",
      "berth service create web --replicas 3 --image docker://docker.io/library/nginx:1.25 --publish 8080:80 "
      "--health http:80/\n"
      "berth service ls\n"
      "berth service scale web=10\n"
      "berth service update web --image docker://docker.io/library/nginx:1.27 --update-order start-first\n"
      "berth service rollback web\n"
      "berth service rm web");
  service->group(kServiceGroup);
  service->require_subcommand(1);
  auto options = std::make_shared<ServiceOptions>();

  CLI::App* make = add_command(
      *service, "create", "Create a service and wait until its replicas are ready",
      "Its replicas run as you. They take none of your environment but what --env names, and begin in this directory "
      "or, with --image, in the image's.",
      "berth service create web --replicas 3 --publish 8080:8000 -- python3 -m http.server 8000\n"
      "berth service create cache --image ./images/redis:7 --port 6379 --health tcp:6379\n"
      "berth service create watch --every-node -- ./watch-node");
  add_name(make, *options, false);
  add_fields(make, *options, false);
  takes_command(make, "what each replica runs, with its arguments");
  on_run(make, context, [options, &context] { return create(context, *options); });

  auto changes = std::make_shared<ServiceOptions>();
  CLI::App* change = add_command(
      *service, "update", "Change a service; what is not given stays",
      "What its replicas run is changed replica by replica, as --update-parallelism, --update-order and their like "
      "say. "
      "When one of the new ones fails or is not ready in time, the update pauses, or goes back by itself with "
      "--update-failure-action rollback.",
      "berth service update web --env VERSION=2 --update-order start-first\n"
      "berth service update web --replicas 5 --cpus 2\n"
      "berth service update web -- python3 -m http.server 8080");
  add_name(change, *changes);
  add_fields(change, *changes, true);
  takes_command(change, "what each replica runs from now on");
  on_run(change, context, [changes, &context] { return update(context, *changes); });

  CLI::App* ls = add_command(*service, "ls", "List the services", "", "berth service ls\nberth service ls -o json");
  ls->add_option("--namespace", options->space, "only those of this namespace")->type_name("NAME");
  add_format_option(ls, options->format);
  on_run(ls, context, [options, &context] { return list(context, *options); });

  CLI::App* replicas = add_command(*service, "ps", "List a service's replicas", "",
                                   "berth service ps web\nberth service ps --all web     with those that ended");
  add_name(replicas, *options);
  replicas->add_flag("-a,--all", options->all, "with the last that ended in each slot");
  add_format_option(replicas, options->format);
  on_run(replicas, context, [options, &context] { return ps(context, *options); });

  CLI::App* one = add_command(*service, "show", "Show all of a service", "", "berth service show web");
  add_name(one, *options);
  add_format_option(one, options->format, false);
  on_run(one, context, [options, &context] { return show(context, *options); });

  CLI::App* output = add_command(*service, "logs", "Print the output of a service's replicas", "",
                                 "berth service logs web\nberth service logs -f web.2");
  add_name(output, *options);
  output->add_flag("-f,--follow", options->follow, "go on until the replica has ended");
  on_run(output, context, [options, &context] { return logs(context, *options); });

  CLI::App* scale = add_command(*service, "scale", "Change the number of replicas", "",
                                "berth service scale web=10\nberth service scale web=0 cache=2");
  scale->add_option("names", options->names, "services, and how many of each")->type_name("NAME=N")->required();
  scale->add_option("--namespace", options->space, "where they are (default: default)")->type_name("NAME");
  add_wait_options(scale, *options);
  on_run(scale, context, [options, &context] {
    std::vector<std::pair<std::string, std::uint32_t>> wanted;
    for (const std::string& word : options->names) {
      const std::size_t equals = word.rfind('=');
      if (equals == std::string::npos) return report(invalid("names", "'" + printable(word) + "' is not NAME=N"), true);
      const auto number = parse_integer(word.substr(equals + 1), "names", 0, kReplicasMax);
      if (!number) return report(number.error(), true);
      wanted.emplace_back(word.substr(0, equals), static_cast<std::uint32_t>(*number));
    }
    for (const auto& [name, number] : wanted) {
      ServiceOptions each = *options;
      each.name = name;
      if (const int code = act_on(context, each, Action::kScale, number); code != 0) return code;
    }
    return 0;
  });

  CLI::App* back = add_command(*service, "rollback", "Go back to an earlier revision", "",
                               "berth service rollback web\nberth service rollback web --revision 3");
  add_name(back, *options);
  back->add_option("--revision", options->revision, "to this one (default: the one before)")->type_name("N");
  add_wait_options(back, *options);
  on_run(back, context,
         [options, &context] { return act_on(context, *options, Action::kRollback, 0, options->revision); });

  const auto plain = [&](const char* name, const char* text, Action action, bool waits) {
    CLI::App* command = add_command(*service, name, text, "", std::string("berth service ") + name + " web");
    add_name(command, *options);
    if (waits) add_wait_options(command, *options);
    on_run(command, context, [options, action, waits, &context] {
      ServiceOptions one_of = *options;
      one_of.detach = one_of.detach || !waits;
      return act_on(context, one_of, action);
    });
  };
  plain("pause", "Roll nothing out until it is resumed; failed replicas are still replaced", Action::kPause, false);
  plain("resume", "Go on with what was paused", Action::kResume, true);
  plain("restart", "Replace all replicas by new ones, as an update does", Action::kRestart, true);

  CLI::App* gone = add_command(*service, "rm", "Remove services and their replicas", "", "berth service rm web");
  gone->add_option("names", options->names, "the services' names")->type_name("NAME")->required();
  gone->add_option("--namespace", options->space, "where they are (default: default)")->type_name("NAME");
  add_wait_options(gone, *options);
  on_run(gone, context, [options, &context] { return remove(context, *options); });
}

}  // namespace berth::tools
