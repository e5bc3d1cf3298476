#include "tools/cli/events_command.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/format.h>
#include <memory>

#include "state/text.h"
#include "tools/cli/json.h"
#include "tools/cli/output.h"
#include "tools/cli/rows.h"
#include "tools/cli/server_link.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

using EventKind = EventRow::Kind;

constexpr std::array<const char*, 7> kEventKinds{"job", "pod", "node", "service", "queue", "licence", "account"};
constexpr std::int64_t kLookAgainMs = 250;

struct EventsOptions {
  std::string about, format;
  std::uint32_t number = 100;
  bool follow = false, warnings = false;
};

const char* event_kind_name(EventKind kind) { return kEventKinds[static_cast<std::size_t>(kind)]; }

// "job/12", "node/n1", "node"
Status parse_about(const std::string& text, ListEventsRequest& request) {
  if (text.empty()) return Unit{};
  const std::size_t slash = text.find('/');
  const std::string kind = text.substr(0, slash);
  for (std::size_t i = 0; i < kEventKinds.size(); ++i) {
    if (kind != kEventKinds[i]) continue;
    request.kind = static_cast<EventKind>(i);
    if (slash == std::string::npos) return Unit{};
    request.object = text.substr(slash + 1);
    if (!request.object.empty()) return Unit{};
  }
  return invalid("ABOUT",
                 "'" + printable(clip(text, 64)) +
                     "' is not accepted; accepted: job, pod, node, service, queue, licence or account, and one of them "
                     "as in job/12 or node/n1");
}

std::string event_time(TimeUs at) {
  const auto seconds = static_cast<std::time_t>(at / 1'000'000);
  std::tm when{};
  localtime_r(&seconds, &when);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}", when.tm_year + 1900, when.tm_mon + 1, when.tm_mday,
                     when.tm_hour, when.tm_min, when.tm_sec, at / 1000 % 1000);
}

void write_event_line(Output& out, const EventRow& row) {
  const std::string object = row.object.empty() ? "" : " " + row.object;
  out.write(fmt::format("{} {} {}{} {}\n", event_time(row.at), row.warning ? "!" : " ", event_kind_name(row.kind),
                        object, printable(row.text)));
}

void write_event_object(JsonWriter& json, const EventRow& row) {
  json.begin_object().field("number", row.number).time("at_us", row.at).field("kind", event_kind_name(row.kind));
  json.field("object", std::string_view(row.object)).field("text", std::string_view(row.text));
  json.field("warning", row.warning).end_object();
}

int events(const Context& context, const EventsOptions& options) {
  ListEventsRequest request;
  if (Status good = parse_about(options.about, request); !good) return report(good.error(), true);
  request.warnings = options.warnings;
  request.limit = options.number;
  const bool as_json = format_of(options.format) == Format::kJson;
  ServerLink link(context);
  Output out;
  auto page = link.call_for<EventPage>(request);
  if (!page) return report(page.error());
  if (!options.follow) {
    JsonWriter json(out);
    if (as_json) json.begin_array();
    for (const EventRow& row : page->rows) {
      if (as_json) {
        write_event_object(json, row);
      } else {
        write_event_line(out, row);
      }
    }
    if (as_json) {
      json.end_array();
      json.end_document();
    }
    return out.finish();
  }
  // A line each, as they come: a program reads them one by one.
  const auto line_of = [](const EventRow& row) {
    return fmt::format(R"({{"number": {}, "at_us": {}, "kind": "{}", "object": {}, "text": {}, "warning": {}}})",
                       row.number, row.at, event_kind_name(row.kind), json_string(row.object), json_string(row.text),
                       row.warning) +
           "\n";
  };
  request.limit = 1000;
  while (true) {
    for (const EventRow& row : page->rows) {
      if (as_json) {
        out.write(line_of(row));
      } else {
        write_event_line(out, row);
      }
    }
    out.flush();
    if (out.failed()) return out.finish();
    const bool more = request.after != 0 && page->rows.size() == request.limit;
    request.after = std::max<std::uint64_t>(page->last, 1);
    if (!more) sleep_ms(kLookAgainMs);
    page = link.call_patiently_for<EventPage>(request);
    if (!page) return report(page.error());
    if (page->lost) note("some events came and went between two looks");
  }
}

}  // namespace

void add_events_command(CLI::App& app, Context& context) {
  auto options = std::make_shared<EventsOptions>();
  CLI::App* command = add_command(
      app, "events", "Tell what happened lately",
      "Nodes that came and went, jobs from submission to end, pods that did not end well, services that change. The "
      "server keeps the last 20,000 in memory; it begins anew when it is started again. For what ended long ago there "
      "is 'berth history'. You see what is yours and what is nobody's; an administrator sees all.",
      "berth events -f                           as they come\n"
      "berth events node                         of nodes\n"
      "berth events service/web --warnings\n"
      "berth events job/12 -o json");
  command->add_option("about", options->about, "only of this kind, as in node, or of this one, as in job/12")
      ->type_name("ABOUT");
  command->add_flag("-f,--follow", options->follow, "go on as they come; as JSON, an object on each line");
  command->add_option("-n,--number", options->number, "how many of the latest to begin with")
      ->type_name("N")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command->add_flag("--warnings", options->warnings, "only what did not go well");
  add_format_option(command, options->format, false);
  on_run(command, context, [options, &context] { return events(context, *options); });
}

}  // namespace berth::tools
