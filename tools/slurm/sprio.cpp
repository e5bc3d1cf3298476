// sprio: what the places of waiting jobs are made of.
#include <algorithm>
#include <fmt/format.h>
#include <pwd.h>

#include "state/units.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/slurm/columns.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/options.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

struct PriorityPrinted {
  const PriorityRow* job;  // nullptr: the weights
  Place place;
  std::int64_t head_start_s;  // what a whole share is worth
};

std::string whole(std::int64_t number) { return std::to_string(number); }

// A factor without its weight.
std::string part(std::int64_t number, std::int64_t weight) {
  return fmt::format("{:.7f}", weight == 0 ? 0 : static_cast<double>(number) / static_cast<double>(weight));
}

using PriorityField = Field<PriorityPrinted>;
const std::vector<PriorityField>& priority_fields() {
  static const std::vector<PriorityField> all = [] {
    // What is of a job alone has no weight.
    const auto of_job = [](std::string (*text)(const PriorityRow&)) {
      return [text](const PriorityPrinted& row) { return row.job == nullptr ? std::string() : text(*row.job); };
    };
    constexpr std::int64_t kPoint = Place::kPoint;
    return std::vector<PriorityField>{
        {"", 'i', "JOBID",
         [](const PriorityPrinted& row) {
           return row.job == nullptr ? "Weights" : std::to_string(row.job->job.value);
         }},
        {"", 'r', "PARTITION", of_job([](const PriorityRow& job) { return job.queue; })},
        {"", 'u', "USER", of_job([](const PriorityRow& job) { return job.user; })},
        {"", 'c', "CLUSTER", of_job([](const PriorityRow&) { return std::string("berth"); })},
        {"", 'Y', "PRIORITY",
         [](const PriorityPrinted& row) { return row.job == nullptr ? "" : whole(row.place.sum()); }},
        {"", 'y', "PRIORITY",
         [](const PriorityPrinted& row) { return row.job == nullptr ? "" : part(row.place.sum(), kPoint); }},
        {"", 'S', "SITE", [](const PriorityPrinted& row) { return whole(row.job == nullptr ? 1 : Place::kSite); }},
        {"", 'A', "AGE", [](const PriorityPrinted& row) { return row.job == nullptr ? "1" : whole(row.place.age); }},
        {"", 'a', "AGE", [](const PriorityPrinted& row) { return row.job == nullptr ? "1" : part(row.place.age, 1); }},
        {"", 'B', "ASSOC", [](const PriorityPrinted&) { return std::string("0"); }},
        {"", 'b', "ASSOC",
         [](const PriorityPrinted& row) { return std::string(row.job == nullptr ? "0" : "0.0000000"); }},
        {"", 'F', "FAIRSHARE",
         [](const PriorityPrinted& row) {
           return whole(row.job == nullptr ? row.head_start_s : row.place.fair_share);
         }},
        {"", 'f', "FAIRSHARE",
         [](const PriorityPrinted& row) {
           return row.job == nullptr ? whole(row.head_start_s) : part(row.place.fair_share, row.head_start_s);
         }},
        {"", 'J', "JOBSIZE",
         [](const PriorityPrinted& row) { return row.job == nullptr ? "1" : whole(row.place.size); }},
        {"", 'j', "JOBSIZE",
         [](const PriorityPrinted& row) { return row.job == nullptr ? "1" : part(row.place.size, 1); }},
        {"", 'P', "PARTITION",
         [](const PriorityPrinted& row) { return whole(row.job == nullptr ? kPoint : row.place.queue); }},
        {"", 'p', "PARTITION",
         [](const PriorityPrinted& row) { return row.job == nullptr ? whole(kPoint) : part(row.place.queue, kPoint); }},
        {"", 'Q', "QOS", [](const PriorityPrinted& row) { return whole(row.job == nullptr ? kPoint : row.place.qos); }},
        {"", 'q', "QOS",
         [](const PriorityPrinted& row) { return row.job == nullptr ? whole(kPoint) : part(row.place.qos, kPoint); }},
        {"", 'N', "NICE",
         [](const PriorityPrinted& row) { return whole(row.job == nullptr ? kPoint : -row.place.own); }},
        {"", 'T', "TRES", [](const PriorityPrinted&) { return std::string(); }},
        {"", 't', "TRES", [](const PriorityPrinted&) { return std::string(); }},
    };
  }();
  return all;
}

// As columns.h has it, but that no number is cut.
std::string line(const std::vector<Column<PriorityPrinted>>& columns, const PriorityPrinted* row) {
  std::string text;
  for (const Column<PriorityPrinted>& column : columns) {
    if (column.field != nullptr) {
      const std::string value = row == nullptr ? column.field->title : column.field->value(*row);
      const char letter = column.field->letter;
      const bool number = row != nullptr && letter != 'r' && letter != 'u' && letter != 'c';
      text += number && value.size() > column.width ? value : fitted(value, column.width, column.right);
    }
    text += column.text;
  }
  return text + "\n";
}

// Below 0 if `a` comes first by the column of that letter.
int compare(const PriorityPrinted& a, const PriorityPrinted& b, char letter) {
  const auto three = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  switch (letter) {
    case 'i':
      return three(a.job->job, b.job->job);
    case 'r':
      return three(a.job->queue, b.job->queue);
    case 'u':
      return three(a.job->user, b.job->user);
    case 'a':
    case 'A':
      return three(a.place.age, b.place.age);
    case 'f':
    case 'F':
      return three(a.place.fair_share, b.place.fair_share);
    case 'j':
    case 'J':
      return three(a.place.size, b.place.size);
    case 'p':
    case 'P':
      return three(a.place.queue, b.place.queue);
    case 'q':
    case 'Q':
      return three(a.place.qos, b.place.qos);
    case 'N':
      return three(b.place.own, a.place.own);
    case 'y':
    case 'Y':
      return three(a.place.sum(), b.place.sum());
    default:
      return 0;  // the same for all of them
  }
}

// "-y,i"; false: there is no such letter.
bool sort_rows(std::vector<PriorityPrinted>& rows, const std::string& keys) {
  const std::vector<std::string> list = split(keys, ',');
  for (auto key = list.rbegin(); key != list.rend(); ++key) {
    const bool down = key->starts_with('-');
    const std::size_t at = down || key->starts_with('+') ? 1 : 0;
    if (key->size() != at + 1) return false;
    const char letter = (*key)[at];
    if (std::none_of(priority_fields().begin(), priority_fields().end(),
                     [&](const PriorityField& field) { return field.letter == letter; })) {
      return false;
    }
    std::stable_sort(rows.begin(), rows.end(), [&](const PriorityPrinted& a, const PriorityPrinted& b) {
      return down ? compare(b, a, letter) < 0 : compare(a, b, letter) < 0;
    });
  }
  return true;
}

std::string format_of(const Given& given, bool shares) {
  if (given.has("format")) return given.text("format");
  if (given.has("long")) {
    return given.has("norm") ? "%.15i %9r %.8u %.10y %.10S %.11a %.10b %.10f %.11j %.11p %.11q %.11N %.20t"
                             : "%.15i %9r %.8u %.10Y %.10S %.10A %.10B %.10F %.10J %.10P %.10Q %.11N %.20T";
  }
  const std::string share = !shares ? "" : given.has("norm") ? " %.10f" : " %.10F";
  return given.has("norm") ? "%.15i %9r %.10y %.10S %.11a" + share + " %.11j %.11p %.11q %.11N"
                           : "%.15i %9r %.10Y %.10S %.10A" + share + " %.10J %.10P %.10Q %.11N";
}

bool listed(const std::string& list, const std::string& word) {
  const std::vector<std::string> words = split(list, ',');
  return list.empty() || std::find(words.begin(), words.end(), word) != words.end();
}

// Users by number as by name.
std::string user_names(const std::string& text) {
  std::vector<std::string> names;
  for (const std::string& word : split(text, ',')) {
    const auto number = parse_integer(word, "user", 0, std::int64_t{1} << 31);
    const passwd* entry = number ? getpwuid(static_cast<uid_t>(*number)) : nullptr;
    names.push_back(entry != nullptr ? entry->pw_name : word);
  }
  return join(names, ",");
}

}  // namespace

int sprio(const Context& context, const Words& words) {
  const CommandTable& table = table_of("sprio");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  const Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (given.has("verbose")) tell_ignored(table, given);
  if (!given.words.empty()) return fail("sprio", "Unrecognized option: " + given.words.front());
  auto named = parse_job_words(given.all("jobs"));
  if (!named) return fail("sprio", named.error().message);

  ServerLink link(context);
  auto accounts = link.call_for<AccountPage>(ListAccountsRequest{});
  if (!accounts) return fail("slurm_load_ctl_conf", slurm_error(accounts.error()));
  const std::int64_t head_start_s = accounts->head_start_ms / 1000;
  std::vector<std::string> unknown;
  const std::vector<Column<PriorityPrinted>> columns =
      parse_letters<PriorityPrinted>(format_of(given, head_start_s != 0), priority_fields(), unknown);
  for (const std::string& letter : unknown) fail("sprio", "Invalid job format specification: " + letter);
  Output out;
  if (given.has("weights")) {
    if (!given.has("noheader")) out.write(line(columns, nullptr));
    const PriorityPrinted weights{nullptr, Place(PriorityRow{}), head_start_s};
    out.write(line(columns, &weights));
    return out.finish();
  }

  std::vector<JobId> jobs;
  for (const JobWord& word : *named) jobs.push_back(word.job);
  auto all = fetch_priorities(link, jobs);
  if (!all) return fail("slurm_load_jobs", slurm_error(all.error()));
  const std::string users = user_names(given.text("user")), queues = given.text("partition");
  std::vector<PriorityPrinted> rows;
  for (const PriorityRow& job : *all) {
    // As in Slurm, what is held, or waits for others, stands nowhere.
    if (job.waits && listed(users, job.user) && listed(queues, job.queue)) {
      rows.push_back({&job, Place(job), head_start_s});
    }
  }
  if (!sort_rows(rows, given.text("sort", "i"))) {
    return fail("sprio", "Invalid sort specification: " + given.text("sort"));
  }
  if (rows.empty() && (given.has("jobs") || given.has("user"))) {
    out.write("Unable to find jobs matching user/id(s) specified\n");
    return out.finish();
  }
  if (!given.has("noheader")) out.write(line(columns, nullptr));
  for (const PriorityPrinted& row : rows) out.write(line(columns, &row));
  return out.finish();
}

}  // namespace berth::tools::slurm
