// squeue: jobs that wait and run.
#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include "state/units.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/columns.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/options.h"
#include "tools/slurm/squeue_fields.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

using QueueField = Field<Record>;

constexpr const char* kDefault = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R";
constexpr const char* kLong = "%.18i %.9P %.8j %.8u %.8T %.10M %.9l %.6D %R";
constexpr const char* kStart = "%.18i %.9P %.8j %.8u %.2t %.19S %.6D %20Y %R";

const char* environment(const char* name) { return std::getenv(name); }

bool one_of(const std::string& list, const std::string& word) {
  const std::vector<std::string> words = split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string sort_key(const Record& r, char letter) {
  switch (letter) {
    case 'i':
    case 'A':
    case 'F':
      return fmt::format("{:020}{:012}", r.job.id.value, r.index.value_or(0));
    case 't':
    case 'T':
      return fmt::format("{:03}", static_cast<int>(r.state));
    case 'p':
    case 'Q':
      return fmt::format("{:020}", r.priority() + (std::int64_t{1} << 60));
    case 'S':
      return fmt::format("{:020}", r.waits() ? std::max(r.job.begin_at, r.expected_start) : r.started_at);
    case 'V':
      return fmt::format("{:020}", r.job.submitted_at);
    case 'M':
      return fmt::format("{:020}", r.elapsed_s(listing_time()));
    case 'l':
      return fmt::format("{:020}", r.job.time_limit_ms);
    default:
      return squeue_letter(letter)->value(r);  // letters that are none were refused
  }
}

// "P,t,-p": the keys in turn, '-' reverses.
void sort_records(std::vector<Record>& records, const std::string& keys) {
  const std::vector<std::string> list = split(keys, ',');
  for (auto key = list.rbegin(); key != list.rend(); ++key) {
    const bool down = key->starts_with('-');
    const std::size_t at = down || key->starts_with('+') ? 1 : 0;
    if (at >= key->size()) continue;
    const char letter = (*key)[at];
    std::vector<std::pair<std::string, std::size_t>> order;  // keys once each, not at every comparison
    order.reserve(records.size());
    for (std::size_t i = 0; i < records.size(); ++i) order.emplace_back(sort_key(records[i], letter), i);
    std::stable_sort(order.begin(), order.end(),
                     [&](const auto& a, const auto& b) { return down ? a.first > b.first : a.first < b.first; });
    std::vector<Record> sorted;
    sorted.reserve(records.size());
    for (const auto& [text, i] : order) sorted.push_back(std::move(records[i]));
    records = std::move(sorted);
  }
}

void tell_unknown(const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    fmt::print(stderr, "squeue: error: Invalid job format specification: {}\n", word);
  }
}

std::vector<Column<Record>> columns_of(const Given& given) {
  std::vector<Column<Record>> columns;
  std::vector<std::string> unknown;
  const std::string format = given.text("format", given.has("start") ? kStart : given.has("long") ? kLong : kDefault);
  if (given.has("Format")) {
    columns = parse_names<Record>(given.text("Format"), squeue_fields(), 20, unknown);
  } else if (format == "%all") {
    for (const char first : {'a', 'A'}) {
      for (char letter = first; letter <= first + ('z' - 'a'); ++letter) {
        columns.push_back({squeue_letter(letter), 0, false, "|"});
      }
    }
    columns.back().text.clear();
  } else {
    columns = parse_letters<Record>(format, squeue_fields(), unknown);
  }
  tell_unknown(unknown);
  return columns;
}

struct Filters {
  Want want;
  std::string users, names, queues, accounts, qos;
  bool places = false;   // priorities as sprio has them
  bool details = false;  // of each job
  bool counts = false;   // of the nodes of jobs that wait
  std::vector<std::string> nodes;
};

bool kept(const Filters& filters, const Record& r) {
  if (!filters.users.empty() && !one_of(filters.users, user_name(r.job.uid, r.job.user)) &&
      !one_of(filters.users, std::to_string(r.job.uid))) {
    return false;
  }
  if (!filters.names.empty() && !one_of(filters.names, r.job.name)) return false;
  if (!filters.queues.empty() && !one_of(filters.queues, r.job.queue)) return false;
  if (!filters.accounts.empty() && !one_of(filters.accounts, r.job.account)) return false;
  if (!filters.qos.empty() && !one_of(filters.qos, r.qos())) return false;
  return filters.nodes.empty() || std::any_of(r.nodes.begin(), r.nodes.end(), [&](const std::string& node) {
           return std::find(filters.nodes.begin(), filters.nodes.end(), node) != filters.nodes.end();
         });
}

int print(ServerLink& link, const Filters& filters, const std::vector<Column<Record>>& columns, const Given& given,
          const std::string& sort, Output& out) {
  set_listing_time(wall_clock_us());
  auto records = fetch_records(link, filters.want);
  if (!records) return fail("slurm_load_jobs", slurm_error(records.error()));
  if (filters.want.filter.jobs.size() == 1 && records->empty()) {
    // A job that is not known is an error, as is one that ended long ago where states were not asked for: who looks
    // whether it lives knows it by that. One that is in no state that was asked for is just absent.
    JobFilter any;
    any.jobs = filters.want.filter.jobs;
    auto rows = fetch_rows(link, any);
    const bool gone = rows && std::all_of(rows->begin(), rows->end(), [&](const JobRow& row) {
                        return !given.has("states") && is_forgotten(row, listing_time());
                      });
    if (gone) return fail("slurm_load_jobs", "Invalid job id specified");
  }
  std::erase_if(*records, [&](const Record& r) { return !kept(filters, r); });
  if (given.has("start")) {
    constexpr std::size_t kAskedMax = 200;  // each is a question of its own
    for (std::size_t i = 0; i < std::min(records->size(), kAskedMax); ++i) {
      auto why = link.call_for<Explanation>(ExplainRequest{(*records)[i].job.id, std::nullopt});
      if (why) (*records)[i].expected_start = why->expected_start;
    }
  }
  if (filters.details || filters.counts) {
    const Status good = add_details(link, *records, filters.details);
    if (!good) return fail("slurm_load_jobs", slurm_error(good.error()));
  }
  if (filters.places) {
    if (Status good = add_places(link, *records); !good) return fail("slurm_load_jobs", slurm_error(good.error()));
  }
  sort_records(*records, sort);
  if (given.has("long") && !given.has("noheader")) {
    const std::time_t now = listing_time() / 1'000'000;
    std::string date = std::ctime(&now);
    out.write(date);
  }
  if (!given.has("noheader")) out.write(line_of<Record>(columns, nullptr));
  for (const Record& record : *records) out.write(line_of(columns, &record));
  out.flush();
  return 0;
}

// Steps that run, of the jobs that match.
int print_steps(ServerLink& link, const Filters& filters, const Given& given, Output& out) {
  set_listing_time(wall_clock_us());
  auto records = fetch_records(link, filters.want);
  if (!records) return fail("slurm_load_jobs", slurm_error(records.error()));
  std::erase_if(*records, [&](const Record& r) { return !kept(filters, r); });
  const auto line = [&](const std::string& id, const std::string& name, const std::string& queue,
                        const std::string& user, const std::string& time, const std::string& nodes) {
    out.write(fitted(id, 15, true) + " " + fitted(name, 8, true) + " " + fitted(queue, 9, true) + " " +
              fitted(user, 8, true) + " " + fitted(time, 9, true) + " " + nodes + "\n");
  };
  if (!given.has("noheader")) line("STEPID", "NAME", "PARTITION", "USER", "TIME", "NODELIST");
  for (const Record& record : *records) {
    if (record.state != PodState::kRunning) continue;
    const JobRow& job = record.job;
    line(record.id() + ".batch", "batch", job.queue, job.user, length_text(record.elapsed_s(listing_time())),
         record.node_list());
    if (job.kind != JobKind::kGang) continue;
    Want of;
    of.filter.steps_of = job.id;
    of.filter.ended = false;
    auto steps = fetch_records(link, of);
    if (!steps) return fail("slurm_load_jobs", slurm_error(steps.error()));
    for (const Record& step : *steps) {
      line(record.id() + "." + std::to_string(step.job.step), step.job.name, job.queue, job.user,
           length_text(step.elapsed_s(listing_time())), step.node_list());
    }
  }
  out.flush();
  return 0;
}

}  // namespace

int squeue(const Context& context, const Words& words) {
  const CommandTable& table = table_of("squeue");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  Given& given = *parsed;
  if (!given.words.empty()) return fail("squeue", "Unrecognized option: " + given.words.front());
  for (const auto& [variable, option] :
       {std::pair{"SQUEUE_FORMAT", "format"}, std::pair{"SQUEUE_FORMAT2", "Format"},
        std::pair{"SQUEUE_STATES", "states"}, std::pair{"SQUEUE_USERS", "user"},
        std::pair{"SQUEUE_PARTITION", "partition"}, std::pair{"SQUEUE_SORT", "sort"}, std::pair{"SQUEUE_NAMES", "name"},
        std::pair{"SQUEUE_ACCOUNT", "account"}, std::pair{"SQUEUE_QOS", "qos"}, std::pair{"SQUEUE_ARRAY", "array"}}) {
    const bool other = (std::string_view(option) == "format" && given.has("Format")) ||
                       (std::string_view(option) == "Format" && given.has("format"));
    if (const char* value = environment(variable); value != nullptr && !given.has(option) && !other) {
      given.set(option, value);
    }
  }
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (given.has("verbose")) tell_ignored(table, given);

  Filters filters;
  filters.users = given.text("user");
  if (given.has("me")) filters.users = std::to_string(geteuid());
  for (const std::string& user : split(filters.users, ',')) {
    const bool number = !user.empty() && user.find_first_not_of("0123456789") == std::string::npos;
    if (!user.empty() && !number && getpwnam(user.c_str()) == nullptr) fail("squeue", "Invalid user: " + user);
  }
  filters.names = given.text("name");
  filters.queues = given.text("partition");
  filters.accounts = given.text("account");
  filters.qos = given.text("qos");
  if (given.has("nodelist")) {
    auto nodes = expand_hostlist(given.text("nodelist"));
    if (!nodes) return fail("squeue", "Invalid node name " + given.text("nodelist"));
    filters.nodes = std::move(*nodes);
  }
  Want& want = filters.want;
  want.each_element = given.has("array") || given.has("array-unique");
  want.states = {PodState::kPending, PodState::kBound, PodState::kRunning};
  if (given.has("start")) want.states = {PodState::kPending};
  if (given.has("states")) {
    auto states = parse_states(given.text("states"));
    if (!states) {
      fail("squeue", "Invalid job state specified: " + given.text("states"));
      return fail("squeue", std::string("Valid job states include: ") + known_states());
    }
    want.states = std::move(*states);
    if (want.states.empty()) filters.names = "\x01";  // states nothing is in
  }
  want.filter.ended = want.states.empty() || std::any_of(want.states.begin(), want.states.end(), is_final);
  if (given.has("jobs")) {
    auto jobs = parse_job_words(given.all("jobs"));
    if (!jobs) return fail("squeue", "Invalid job id: " + given.text("jobs"));
    want_only(want, *jobs);
  }

  // What the server can leave out need not come here.
  const auto single = [](const std::string& text) { return !text.empty() && text.find(',') == std::string::npos; };
  if (single(filters.names)) want.filter.name = filters.names;
  if (single(filters.queues)) want.filter.queue = filters.queues;
  if (single(filters.users)) {
    const passwd* entry = getpwnam(filters.users.c_str());
    const auto number = parse_integer(filters.users, "user", 0, std::int64_t{1} << 31);
    if (entry != nullptr) want.filter.uid = entry->pw_uid;
    if (entry == nullptr && number) want.filter.uid = static_cast<std::uint32_t>(*number);
    // Others' jobs are not shown to everybody; that is no error here.
    if (geteuid() != 0 && want.filter.uid && *want.filter.uid != geteuid()) want.filter.uid.reset();
  }

  const std::vector<Column<Record>> columns = columns_of(given);
  const std::string sort = given.text("sort", given.has("start") ? "S" : "P,t,-p");
  for (const std::string& key : split(sort, ',')) {
    const std::size_t at = key.starts_with('-') || key.starts_with('+') ? 1 : 0;
    if (at < key.size() && squeue_letter(key[at]) == nullptr) {
      return fail("squeue", fmt::format("Invalid sort specification: {}", key[at]));
    }
  }
  // What sprio tells of is asked for where it is shown or sorted by; the usual order does with jobs' own priorities.
  const auto some = [&](bool (*is)(const QueueField&)) {
    return std::any_of(columns.begin(), columns.end(),
                       [&](const Column<Record>& column) { return column.field != nullptr && is(*column.field); }) ||
           (given.has("sort") && std::any_of(sort.begin(), sort.end(), [&](char letter) {
              const QueueField* field = squeue_letter(letter);
              return field != nullptr && is(*field);
            }));
  };
  filters.places = some(of_places);
  filters.details = some(of_details);
  filters.counts = std::any_of(columns.begin(), columns.end(), [](const Column<Record>& column) {
    return column.field != nullptr && std::string_view(column.field->title) == "NODES";
  });
  ServerLink link(context);
  Output out;
  std::int64_t every_s = 0;
  if (given.has("iterate")) {
    auto seconds = parse_integer(given.text("iterate"), "iterate", 1, 1'000'000);
    if (!seconds) return fail("squeue", "--iterate needs a number of seconds");
    every_s = *seconds;
  }
  if (given.has("steps") && (given.has("format") || given.has("Format"))) {
    return fail("squeue", "--steps with a format is not supported by Berth");
  }
  while (true) {
    const int code =
        given.has("steps") ? print_steps(link, filters, given, out) : print(link, filters, columns, given, sort, out);
    if (code != 0 || every_s == 0 || out.failed()) return code != 0 ? code : out.finish();
    sleep_ms(every_s * 1000);
  }
}

}  // namespace berth::tools::slurm
