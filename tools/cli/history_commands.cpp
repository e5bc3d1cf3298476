// berth history, berth usage: what has ended, and what was used.
#include "tools/cli/history_commands.h"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <optional>

#include "state/units.h"
#include "tools/cli/job_name.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/rows.h"
#include "tools/cli/server_link.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::uint32_t kPageRows = 1000;
constexpr std::uint64_t kMsPerHour = 3'600'000;

// ---- times ----------------------------------------------------------------------------------------------------------

constexpr const char* kSinceForms =
    "how long ago (2h, 7d), 18:30 (the last such), today, yesterday, 2026-11-25 or 2026-11-25T18:30";

// A point in the past; "" is 0, no bound.
Result<TimeUs> parse_past(const std::string& text, const std::string& field, TimeUs now) {
  constexpr TimeUs kDay = 86'400'000'000LL;
  if (text.empty()) return TimeUs{0};
  if (text == "now") return now;
  if (text == "yesterday") {
    const auto today = parse_begin("today", field, now);
    if (!today) return today.error();
    return parse_begin("today", field, *today - kDay / 2);  // its midnight, also where a day has 23 or 25 hours
  }
  if (text.find_first_of(":/-") == std::string::npos && text != "today") {
    const auto ago = parse_duration_ms(text, field);
    if (ago) return std::max<TimeUs>(now - *ago * 1000, 1);
  } else if (text.front() != '+') {
    const auto at = parse_begin(text, field, now);
    const bool time_of_day = text.find_first_of("/-") == std::string::npos;
    if (at) return *at > now && time_of_day ? *at - kDay : *at;
  }
  return invalid(field, "'" + printable(clip(text, 64)) + "' is not a time; accepted: " + kSinceForms);
}

// ---- rows, as a table, as JSON and as CSV ---------------------------------------------------------------------------

using FieldValue =
    std::variant<std::monostate, std::int64_t, std::uint64_t, double, std::string, std::vector<std::string>, JobCounts>;

template <class Row>
struct Field {  // of JSON and of CSV
  const char* name;
  FieldValue (*value)(const Row& row);
};

FieldValue time_value(TimeUs at) { return at == 0 ? FieldValue() : FieldValue(at); }
FieldValue exit_value(std::int16_t code) { return code < 0 ? FieldValue() : FieldValue(std::int64_t{code}); }
double seconds(std::uint64_t ms) { return static_cast<double>(ms) / 1000; }

const std::vector<Field<HistoryRow>>& fields_of(const HistoryRow*) {
  using Row = HistoryRow;
  static const std::vector<Field<Row>> fields = {
      {"id", [](const Row& r) -> FieldValue { return r.job.id.value; }},
      {"name", [](const Row& r) -> FieldValue { return r.job.name; }},
      {"user", [](const Row& r) -> FieldValue { return r.job.user; }},
      {"uid", [](const Row& r) -> FieldValue { return std::uint64_t{r.job.uid}; }},
      {"account", [](const Row& r) -> FieldValue { return r.job.account; }},
      {"qos", [](const Row& r) -> FieldValue { return r.job.qos; }},
      {"queue", [](const Row& r) -> FieldValue { return r.job.queue; }},
      {"kind", [](const Row& r) -> FieldValue { return kind_name(r.job.kind); }},
      {"state", [](const Row& r) -> FieldValue { return std::string(name_of(r.job.summary)); }},
      {"reason", [](const Row& r) -> FieldValue { return r.job.reason; }},
      {"exit_code", [](const Row& r) -> FieldValue { return exit_value(r.job.exit_code); }},
      {"signal", [](const Row& r) -> FieldValue { return std::uint64_t{r.job.signal}; }},
      {"pod_count", [](const Row& r) -> FieldValue { return std::uint64_t{r.job.pods}; }},
      {"counts", [](const Row& r) -> FieldValue { return r.job.counts; }},
      {"cpu_milli", [](const Row& r) -> FieldValue { return std::uint64_t{r.job.resources.cpu_milli}; }},
      {"mem_mib", [](const Row& r) -> FieldValue { return r.job.resources.mem_mib; }},
      {"gpus", [](const Row& r) -> FieldValue { return std::uint64_t{r.job.resources.gpus}; }},
      {"nodes", [](const Row& r) -> FieldValue { return r.job.nodes; }},
      {"submitted_at_us", [](const Row& r) -> FieldValue { return time_value(r.job.submitted_at); }},
      {"started_at_us", [](const Row& r) -> FieldValue { return time_value(r.job.started_at); }},
      {"ended_at_us", [](const Row& r) -> FieldValue { return time_value(r.job.ended_at); }},
      {"time_limit_ms", [](const Row& r) -> FieldValue { return r.job.time_limit_ms; }},
      {"priority", [](const Row& r) -> FieldValue { return std::int64_t{r.job.priority}; }},
      {"cpu_seconds", [](const Row& r) -> FieldValue { return seconds(r.cpu_ms); }},
      {"gpu_seconds", [](const Row& r) -> FieldValue { return seconds(r.gpu_ms); }},
      {"mem_peak_mib", [](const Row& r) -> FieldValue { return std::uint64_t{r.mem_peak_mib}; }},
      {"attempts", [](const Row& r) -> FieldValue { return std::uint64_t{r.attempts}; }},
      {"step_of",
       [](const Row& r) -> FieldValue {
         return r.job.step_of == JobId{} ? FieldValue() : FieldValue(r.job.step_of.value);
       }},
      {"step",
       [](const Row& r) -> FieldValue {
         return r.job.step_of == JobId{} ? FieldValue() : FieldValue(std::uint64_t{r.job.step});
       }},
      {"comment", [](const Row& r) -> FieldValue { return r.job.comment; }},
  };
  return fields;
}

const std::vector<Field<PodOfJob>>& fields_of(const PodOfJob*) {
  using Row = PodOfJob;
  static const std::vector<Field<Row>> fields = {
      {"job", [](const Row& r) -> FieldValue { return r.job.value; }},
      {"element", [](const Row& r) -> FieldValue { return std::uint64_t{r.row.element}; }},
      {"index", [](const Row& r) -> FieldValue { return std::uint64_t{r.row.index}; }},
      {"state", [](const Row& r) -> FieldValue { return std::string(name_of(r.row.state)); }},
      {"attempt", [](const Row& r) -> FieldValue { return std::uint64_t{r.row.attempt}; }},
      {"node", [](const Row& r) -> FieldValue { return r.row.node; }},
      {"exit_code", [](const Row& r) -> FieldValue { return exit_value(r.row.exit_code); }},
      {"signal", [](const Row& r) -> FieldValue { return std::uint64_t{r.row.signal}; }},
      {"mem_peak_mib", [](const Row& r) -> FieldValue { return std::uint64_t{r.row.mem_peak_mib}; }},
      {"started_at_us", [](const Row& r) -> FieldValue { return time_value(r.row.started_at); }},
      {"ended_at_us", [](const Row& r) -> FieldValue { return time_value(r.row.ended_at); }},
      {"message", [](const Row& r) -> FieldValue { return r.row.message; }},
  };
  return fields;
}

const std::vector<Field<UsageRow>>& fields_of(const UsageRow*) {
  using Row = UsageRow;
  static const std::vector<Field<Row>> fields = {
      {"account", [](const Row& r) -> FieldValue { return r.account; }},
      {"user", [](const Row& r) -> FieldValue { return r.user; }},
      {"jobs", [](const Row& r) -> FieldValue { return r.jobs; }},
      {"cpu_seconds", [](const Row& r) -> FieldValue { return seconds(r.cpu_ms); }},
      {"gpu_seconds", [](const Row& r) -> FieldValue { return seconds(r.gpu_ms); }},
  };
  return fields;
}

void write_json(JsonWriter& json, const FieldValue& value) {
  std::visit(
      [&]<class T>(const T& of) {
        if constexpr (std::is_same_v<T, std::monostate>) {
          json.null();
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          json.begin_array();
          for (const std::string& item : of) json.value(std::string_view(item));
          json.end_array();
        } else if constexpr (std::is_same_v<T, JobCounts>) {
          json.begin_object();
          for (std::size_t i = 0; i < kPodStates; ++i) {
            if (of.by_state[i] != 0) json.field(name_of(static_cast<PodState>(i)), of.by_state[i]);
          }
          json.end_object();
        } else if constexpr (std::is_same_v<T, std::string>) {
          json.value(std::string_view(of));
        } else {
          json.value(of);
        }
      },
      value);
}

std::string csv_text(const FieldValue& value) {
  return std::visit(
      []<class T>(const T& of) -> std::string {
        if constexpr (std::is_same_v<T, std::monostate>) {
          return {};
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          return join(of, " ");
        } else if constexpr (std::is_same_v<T, JobCounts>) {
          std::string text;
          for (std::size_t i = 0; i < kPodStates; ++i) {
            if (of.by_state[i] == 0) continue;
            text += (text.empty() ? "" : " ") + std::string(name_of(static_cast<PodState>(i))) + "=" +
                    std::to_string(of.by_state[i]);
          }
          return text;
        } else if constexpr (std::is_same_v<T, std::string>) {
          return of;
        } else if constexpr (std::is_same_v<T, double>) {
          return fmt::format("{:.3f}", of);
        } else {
          return std::to_string(of);
        }
      },
      value);
}

// As RFC 4180 has it.
std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

// ---- tables ---------------------------------------------------------------------------------------------------------

std::string ran_text(const JobRow& job) {
  return job.started_at == 0 || job.ended_at < job.started_at
             ? "-"
             : format_duration_ms((job.ended_at - job.started_at) / 1000);
}

std::string exit_text(std::int16_t code, std::uint8_t signal) {
  if (signal != 0) return signal_name(signal);
  return code < 0 ? "-" : std::to_string(code);
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }
std::string hours_text(std::uint64_t ms) { return fmt::format("{:.2f}", static_cast<double>(ms) / kMsPerHour); }

const std::vector<Column<HistoryRow>>& history_columns() {
  using Row = HistoryRow;
  static const std::vector<Column<Row>> columns = {
      {"JOB", true, false, [](const Row& r, TimeUs) { return Cell{std::to_string(r.job.id.value)}; }},
      {"NAME", false, false, [](const Row& r, TimeUs) { return Cell{clip(or_dash(r.job.name), 40)}; }},
      {"USER", false, false, [](const Row& r, TimeUs) { return Cell{r.job.user}; }},
      {"ACCOUNT", false, false, [](const Row& r, TimeUs) { return Cell{or_dash(r.job.account)}; }},
      {"QUEUE", false, true, [](const Row& r, TimeUs) { return Cell{r.job.queue}; }},
      {"STATE", false, false, [](const Row& r, TimeUs) { return state_cell(r.job.summary); }},
      {"EXIT", true, false, [](const Row& r, TimeUs) { return Cell{exit_text(r.job.exit_code, r.job.signal)}; }},
      {"PODS", true, false, [](const Row& r, TimeUs) { return Cell{std::to_string(r.job.pods)}; }},
      {"CPUS", true, true, [](const Row& r, TimeUs) { return Cell{format_cpu_milli(r.job.resources.cpu_milli)}; }},
      {"GPUS", true, true, [](const Row& r, TimeUs) { return Cell{std::to_string(r.job.resources.gpus)}; }},
      {"NODES", false, true, [](const Row& r, TimeUs) { return Cell{clip(or_dash(join(r.job.nodes, ",")), 40)}; }},
      {"SUBMITTED", false, true, [](const Row& r, TimeUs) { return Cell{format_time(r.job.submitted_at)}; }},
      {"STARTED", false, true, [](const Row& r, TimeUs) { return Cell{format_time(r.job.started_at)}; }},
      {"ENDED", false, false, [](const Row& r, TimeUs) { return Cell{format_time(r.job.ended_at)}; }},
      {"TIME", true, false, [](const Row& r, TimeUs) { return Cell{ran_text(r.job)}; }},
      {"CPU TIME", true, false,
       [](const Row& r, TimeUs) { return Cell{format_duration_ms(static_cast<std::int64_t>(r.cpu_ms))}; }},
      {"PEAK", true, true,
       [](const Row& r, TimeUs) { return Cell{r.mem_peak_mib == 0 ? "-" : format_mem_mib(r.mem_peak_mib)}; }},
      {"REASON", false, true,
       [](const Row& r, TimeUs) {
         return Cell{r.job.reason, Colour::kDim};
       }},
  };
  return columns;
}

const std::vector<Column<UsageRow>>& usage_columns() {
  using Row = UsageRow;
  static const std::vector<Column<Row>> columns = {
      {"ACCOUNT", false, false, [](const Row& r, TimeUs) { return Cell{or_dash(r.account)}; }},
      {"USER", false, false, [](const Row& r, TimeUs) { return Cell{or_dash(r.user)}; }},
      {"JOBS", true, false, [](const Row& r, TimeUs) { return Cell{std::to_string(r.jobs)}; }},
      {"CPU HOURS", true, false, [](const Row& r, TimeUs) { return Cell{hours_text(r.cpu_ms)}; }},
      {"GPU HOURS", true, false, [](const Row& r, TimeUs) { return Cell{hours_text(r.gpu_ms)}; }},
  };
  return columns;
}

// Writes rows as they come.
template <class Row>
class Lister {
 public:
  using Chosen = std::vector<Column<Row>>;
  Lister(Output& out, const std::string& format, Chosen columns)
      : out_(out), json_(out), as_(format.empty() ? "table" : format), columns_(std::move(columns)) {
    if (as_ == "json") {
      json_.begin_array();
    } else if (as_ == "csv") {
      std::string line;
      for (const auto& field : fields()) line += (line.empty() ? "" : ",") + std::string(field.name);
      out_.write(line + "\n");
    } else {
      std::vector<TableColumn> titles;
      if (as_ != "wide") std::erase_if(columns_, [](const auto& column) { return column.wide; });
      for (const auto& column : columns_) titles.push_back({column.title, column.right});
      table_.emplace(out, std::move(titles), as_ == "table" ? listing_width() : 0);
    }
  }
  void add(const Row& row) {
    if (as_ == "json") {
      json_.begin_object();
      for (const auto& field : fields()) write_json(json_.key(field.name), field.value(row));
      json_.end_object();
    } else if (as_ == "csv") {
      std::string line;
      for (const auto& field : fields()) line += (line.empty() ? "" : ",") + csv_cell(csv_text(field.value(row)));
      out_.write(line + "\n");
    } else {
      std::vector<Cell> cells;
      for (const auto& column : columns_) cells.push_back(column.cell(row, 0));
      table_->add(std::move(cells));
    }
  }
  void finish() {
    if (as_ == "json") {
      json_.end_array();
      json_.end_document();
    }
    if (table_) table_->finish();
  }

 private:
  static const std::vector<Field<Row>>& fields() { return fields_of(static_cast<const Row*>(nullptr)); }
  Output& out_;
  JsonWriter json_;
  std::string as_;
  Chosen columns_;
  std::optional<Table> table_;
};

void add_formats(CLI::App* command, std::string& text, bool wide) {
  std::vector<std::string> choices = {"table", "wide", "json", "csv"};
  if (!wide) choices.erase(choices.begin() + 1);
  command->add_option("-o,--output", text, "how to write it: " + join(choices, ", ") + " (default: table)")
      ->type_name("FORMAT")
      ->check(CLI::IsMember(choices));
}

// ---- berth history --------------------------------------------------------------------------------------------------

struct HistoryOptions {
  HistoryFilter filter;
  std::vector<std::string> jobs;
  std::string states, since, until, steps_of, limit = "100", format;
  bool pods = false;
};

Status read_filter(const HistoryOptions& options, HistoryFilter& filter) {
  filter = options.filter;
  std::vector<std::string> names;
  for (const std::string& text : options.jobs) {
    for (std::string& name : split(text, ',')) names.push_back(std::move(name));
  }
  auto jobs = parse_job_ids(names);
  if (!jobs) return jobs.error();
  filter.jobs = std::move(*jobs);
  if (!options.steps_of.empty()) {
    const auto job = parse_job_id(options.steps_of);
    if (!job) return job.error();
    filter.steps_of = *job;
  }
  if (!options.states.empty()) {
    auto states = parse_states(options.states);
    if (!states) return states.error();
    for (const PodState state : *states) {
      if (!is_final(state)) {
        return invalid("--state",
                       "'" + std::string(name_of(state)) + "' is no state that a job ends in; see 'berth ls'");
      }
    }
    filter.states = std::move(*states);
  }
  const TimeUs now = clock_us();
  for (const auto& [text, field, at] :
       {std::tuple{&options.since, "--since", &filter.since}, std::tuple{&options.until, "--until", &filter.until}}) {
    const auto parsed = parse_past(*text, field, now);
    if (!parsed) return parsed.error();
    *at = *parsed;
  }
  return Unit{};
}

Status list_history(ServerLink& link, const HistoryFilter& filter, std::uint64_t limit, const std::string& format,
                    Output& out) {
  std::optional<Lister<HistoryRow>> lister;  // begun when there is an answer
  HistoryRequest request{filter, {}, 0};
  std::uint64_t left = limit == 0 ? UINT64_MAX : limit;
  do {
    request.limit = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, kPageRows));
    const auto page = link.call_for<HistoryPage>(request);
    if (!page) return page.error();
    if (!lister && page->rows.empty() && !filter.jobs.empty()) {
      return Error{ErrorCode::kNotFound, "", "no such job has ended", 0};
    }
    if (!lister) lister.emplace(out, format, history_columns());
    for (const HistoryRow& row : page->rows) lister->add(row);
    left -= std::min<std::uint64_t>(left, page->rows.size());
    request.after = page->next;
  } while (left != 0 && request.after.job);
  lister->finish();
  return Unit{};
}

Status list_history_pods(ServerLink& link, JobId job, const std::string& format, Output& out) {
  std::optional<Lister<PodOfJob>> lister;
  HistoryPodsRequest request{job, 0, kPageRows};
  while (true) {
    auto page = link.call_for<PodPage>(request);
    if (!page) return page.error();
    if (!lister) lister.emplace(out, format, columns_for(static_cast<const PodOfJob*>(nullptr)));
    for (PodRow& row : page->rows) lister->add({job, false, std::move(row)});
    if (!page->more) break;
    request.from_element = page->next_element;
  }
  lister->finish();
  return Unit{};
}

int history(const Context& context, const HistoryOptions& options) {
  HistoryFilter filter;
  if (Status good = read_filter(options, filter); !good) return report(good.error(), true);
  const auto limit = parse_integer(options.limit, "--limit", 0, 1'000'000'000);
  if (!limit) return report(limit.error(), true);
  if (options.pods && filter.jobs.size() != 1) {
    return report(invalid("--pods", "needs one job: berth history --pods --job JOB"), true);
  }
  ServerLink link(context);
  Output out;
  const Status done = options.pods
                          ? list_history_pods(link, filter.jobs.front(), options.format, out)
                          : list_history(link, filter, static_cast<std::uint64_t>(*limit), options.format, out);
  return done ? out.finish() : fail(done.error());
}

void add_history_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(
      app, "history", "List jobs that have ended, however long ago",
      "From the accounting's database, which keeps what the server's memory has long forgotten. Who ended last comes "
      "first. You see your own jobs, or everybody's if you administer the cluster. CPU TIME is the cpus that the pods "
      "had, times how long they ran.",
      "berth history                                        your last hundred\n"
      "berth history --since 7d --state failed,timed-out    what went wrong within a week\n"
      "berth history --account physics --since 2026-11-01 --until 2026-12-01 -n 0 -o csv\n"
      "berth history --job 12 --pods                        its pods, one by one");
  auto options = std::make_shared<HistoryOptions>();
  command->group("Jobs");
  command->add_option("-u,--user", options->filter.user, "only this user's jobs")->type_name("USER");
  command->add_option("-A,--account", options->filter.account, "only jobs charged to this account")
      ->type_name("ACCOUNT");
  command->add_option("-q,--queue", options->filter.queue, "only jobs of this queue")->type_name("QUEUE");
  command->add_option("--name", options->filter.name, "only jobs of this name")->type_name("NAME");
  command
      ->add_option("-s,--state", options->states, "only jobs that ended in one of these states, as in failed,cancelled")
      ->type_name("STATE");
  command->add_option("--since", options->since, std::string("only what ended at this time or later: ") + kSinceForms)
      ->type_name("TIME");
  command->add_option("--until", options->until, "only what ended before this time")->type_name("TIME");
  command->add_option("-j,--job", options->jobs, "only these jobs, as in 12,17; may be repeated")
      ->type_name("JOB")
      ->allow_extra_args(false);
  command->add_option("--steps-of", options->steps_of, "the steps of this job, which are not listed otherwise")
      ->type_name("JOB");
  command->add_flag("-p,--pods", options->pods, "the pods of the job");
  command->add_option("-n,--limit", options->limit, "at most so many jobs; 0 for all (default: 100)")->type_name("N");
  add_formats(command, options->format, true);
  on_run(command, context, [options, &context] { return history(context, *options); });
}

// ---- berth usage ----------------------------------------------------------------------------------------------------

struct UsageOptions {
  std::string by = "account", since, until, format;
};

int usage(const Context& context, const UsageOptions& options) {
  UsageRequest request;
  request.by = options.by == "user"   ? UsageRequest::By::kUser
               : options.by == "both" ? UsageRequest::By::kBoth
                                      : UsageRequest::By::kAccount;
  const TimeUs now = clock_us();
  const auto since = parse_past(options.since, "--since", now);
  if (!since) return report(since.error(), true);
  const auto until = parse_past(options.until, "--until", now);
  if (!until) return report(until.error(), true);
  request.since = *since;
  request.until = *until;
  ServerLink link(context);
  const auto page = link.call_for<UsagePage>(request);
  if (!page) return fail(page.error());
  std::vector<Column<UsageRow>> columns = usage_columns();
  if (request.by == UsageRequest::By::kAccount) columns.erase(columns.begin() + 1);
  if (request.by == UsageRequest::By::kUser) columns.erase(columns.begin());
  Output out;
  Lister<UsageRow> lister(out, options.format, std::move(columns));
  for (const UsageRow& row : page->rows) lister.add(row);
  lister.finish();
  return out.finish();
}

void add_usage_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(
      app, "usage", "Sum up what accounts or users used",
      "Cpus and GPUs that pods had, times how long they ran, and jobs that ended, by the hours in which that was. Jobs "
      "that still run are not in it. Times count from the next full hour.",
      "berth usage --since 30d\nberth usage --by user --since 2026-11-01 --until 2026-12-01 -o csv");
  auto options = std::make_shared<UsageOptions>();
  command->group("Administration");
  command->add_option("--by", options->by, "what a line is of: account, user, or both (default: account)")
      ->type_name("account|user|both")
      ->check(CLI::IsMember(std::vector<std::string>{"account", "user", "both"}));
  command->add_option("--since", options->since, std::string("only hours from this time on: ") + kSinceForms)
      ->type_name("TIME");
  command->add_option("--until", options->until, "only hours that begin before this time")->type_name("TIME");
  add_formats(command, options->format, false);
  on_run(command, context, [options, &context] { return usage(context, *options); });
}

}  // namespace

void add_history_commands(CLI::App& app, Context& context) {
  add_history_command(app, context);
  add_usage_command(app, context);
}

}  // namespace berth::tools
