// sreport: what was used, from the accounting's sums of whole hours (berth usage).
#include <algorithm>
#include <ctime>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <pwd.h>

#include "state/units.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/options.h"
#include "tools/slurm/print_table.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

// How amounts are written: -t.
struct TimeUnit {
  const char* title = "CPU Minutes";
  std::uint64_t ms = 60'000;
  bool percent = false;
};

std::optional<TimeUnit> parse_unit(const std::string& text) {
  const std::string word = lower(text);
  if (word.empty() || word == "minutes" || word == "min") return TimeUnit{};
  if (word == "hours" || word == "hour") return TimeUnit{"CPU Hours", 3'600'000, false};
  if (word == "seconds" || word == "sec") return TimeUnit{"CPU Seconds", 1'000, false};
  if (word == "percent") return TimeUnit{"Percentage of Total", 1, true};
  return std::nullopt;
}

// What is asked for: yesterday, unless told otherwise.
struct Period {
  TimeUs start = 0, end = 0;
  std::vector<std::string> users, accounts;
  std::size_t top = 10;
  std::string format;
  TimeUnit unit;
  std::int64_t seconds() const { return (end - start) / 1'000'000; }
};

TimeUs midnight(TimeUs now, int days_ago) {
  const std::time_t seconds = now / 1'000'000;
  std::tm local{};
  localtime_r(&seconds, &local);
  local.tm_hour = local.tm_min = local.tm_sec = 0;
  local.tm_mday -= days_ago;
  local.tm_isdst = -1;
  return std::mktime(&local) * 1'000'000;
}

Result<Period> parse_asked(const Words& words, const Given& given) {
  const auto bad = [](std::string message) { return Error{ErrorCode::kInvalid, "", std::move(message), 0}; };
  const TimeUs now = wall_clock_us();
  Period out;
  out.start = midnight(now, 1);
  out.end = midnight(now, 0);
  const auto unit = parse_unit(given.text("t"));
  if (!unit) return bad("unknown time format " + given.text("t") + ": Seconds, Minutes, Hours or Percent");
  out.unit = *unit;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    const std::string name = lower(word.substr(0, equals)),
                      value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (name == "start" || name == "end") {
      const auto at = parse_when(value, now);
      if (!at) return bad(at.error().message);
      (name == "start" ? out.start : out.end) = *at;
    } else if (name == "users" || name == "user") {
      out.users = split(value, ',');
    } else if (name == "accounts" || name == "account") {
      out.accounts = split(value, ',');
    } else if (name == "topcount") {
      const auto count = parse_integer(value, "topcount", 1, 1'000'000);
      if (!count) return bad("TopCount is a number from 1 to 1000000");
      out.top = static_cast<std::size_t>(*count);
    } else if (name == "format") {
      out.format = value;
    } else if (name != "cluster" && name != "clusters" && name != "group") {
      return bad(" Unknown condition: " + word);
    }
  }
  constexpr TimeUs kHour = 3'600'000'000;
  out.start = out.start / kHour * kHour;  // use is kept by whole hours
  out.end = (out.end + kHour - 1) / kHour * kHour;
  if (out.end <= out.start) return bad("the end is not behind the start");
  return out;
}

struct ReportRow {
  std::string account, user;
  std::uint64_t cpu_ms = 0;
  std::uint64_t idle_ms = 0, whole_ms = 0;  // of the cluster
  const TimeUnit* unit = nullptr;
  std::string amount(std::uint64_t ms) const {
    if (!unit->percent) return fmt::format("{}", ms / unit->ms);
    return fmt::format("{:.2f}%",
                       whole_ms == 0 ? 0.0 : 100.0 * static_cast<double>(ms) / static_cast<double>(whole_ms));
  }
};

using ReportField = TableField<ReportRow>;

std::string full_name(const std::string& user) {
  const passwd* entry = getpwnam(user.c_str());
  const std::string text = entry != nullptr ? entry->pw_gecos : "";
  return text.substr(0, text.find(','));
}

const std::vector<ReportField>& report_fields() {
  static const std::vector<ReportField> all{
      {"Account", 1, 15, "Account", [](const ReportRow& r) { return r.account; }},
      {"Allocated", 2, 12, "Allocated", [](const ReportRow& r) { return r.amount(r.cpu_ms); }},
      {"Cluster", 1, 9, "Cluster", [](const ReportRow&) { return std::string("berth"); }},
      {"Idle", 1, 12, "Idle", [](const ReportRow& r) { return r.amount(r.idle_ms); }},
      {"Login", 1, 9, "Login", [](const ReportRow& r) { return r.user; }},
      {"Proper", 1, 15, "Proper Name", [](const ReportRow& r) { return full_name(r.user); }},
      {"Reported", 1, 12, "Reported", [](const ReportRow& r) { return r.amount(r.whole_ms); }},
      {"Used", 1, 10, "Used", [](const ReportRow& r) { return r.amount(r.cpu_ms); }},
  };
  return all;
}

Result<std::vector<UsageRow>> fetch_usage(ServerLink& link, const Period& asked, UsageRequest::By by) {
  auto page = link.call_for<UsagePage>(UsageRequest{by, asked.start, asked.end});
  if (!page) return page.error();
  return page->rows;
}

// All cpu time that the nodes which are there now had to give.
Result<std::uint64_t> capacity_ms(ServerLink& link, const Period& asked) {
  const auto nodes = fetch_nodes(link);
  if (!nodes) return nodes.error();
  std::uint64_t cpus = 0;
  for (const NodeRow& node : *nodes) cpus += node.info.capacity.cpu_milli / 1000;
  return cpus * static_cast<std::uint64_t>(asked.seconds()) * 1000;
}

bool listed(const std::vector<std::string>& list, const std::string& name) {
  return list.empty() || std::find(list.begin(), list.end(), name) != list.end();
}

int print(const std::string& title, const char* usual, const Period& asked, const Given& given,
          std::vector<ReportRow> rows, bool seconds) {
  const auto columns = table_columns<ReportRow>(asked.format.empty() ? usual : asked.format, report_fields(),
                                                "Invalid field requested: ");
  if (!columns) return fail("sreport", columns.error().message);
  Output out;
  const TableStyle style = TableStyle::of(given);
  if (style.header && !style.parsable) {
    const std::string line(80, '-');
    const std::string last = time_text(asked.end - 1'000'000);
    out.write(fmt::format("{}\n{} {} - {}{}\nUsage reported in {}\n{}\n", line, title, time_text(asked.start), last,
                          seconds ? fmt::format(" ({} secs)", asked.seconds()) : "", asked.unit.title, line));
  }
  for (ReportRow& row : rows) row.unit = &asked.unit;
  write_table(out, *columns, style, rows);
  return out.finish();
}

int cluster_utilization(ServerLink& link, const Period& asked, const Given& given) {
  const auto rows = fetch_usage(link, asked, UsageRequest::By::kAccount);
  if (!rows) return fail("sreport", slurm_error(rows.error()));
  const auto whole = capacity_ms(link, asked);
  if (!whole) return fail("sreport", slurm_error(whole.error()));
  ReportRow row;
  for (const UsageRow& one : *rows) row.cpu_ms += one.cpu_ms;
  row.whole_ms = std::max(*whole, row.cpu_ms);
  row.idle_ms = row.whole_ms - row.cpu_ms;
  return print("Cluster Utilization", "Cluster,Allocated,Idle,Reported", asked, given, {row}, false);
}

int user_top(ServerLink& link, const Period& asked, const Given& given) {
  const auto rows = fetch_usage(link, asked, UsageRequest::By::kBoth);
  if (!rows) return fail("sreport", slurm_error(rows.error()));
  const auto whole = capacity_ms(link, asked);
  if (!whole) return fail("sreport", slurm_error(whole.error()));
  std::vector<ReportRow> out;
  for (const UsageRow& one : *rows) {
    if (listed(asked.users, one.user) && listed(asked.accounts, one.account)) {
      out.push_back({one.account, one.user, one.cpu_ms, 0, *whole, nullptr});
    }
  }
  std::stable_sort(out.begin(), out.end(), [](const ReportRow& a, const ReportRow& b) { return a.cpu_ms > b.cpu_ms; });
  if (out.size() > asked.top) out.resize(asked.top);
  return print(fmt::format("Top {} Users", asked.top), "Cluster,Login,Proper,Account,Used", asked, given,
               std::move(out), true);
}

// An account's sum, and below it those of its users.
int account_utilization(ServerLink& link, const Period& asked, const Given& given) {
  const auto rows = fetch_usage(link, asked, UsageRequest::By::kBoth);
  if (!rows) return fail("sreport", slurm_error(rows.error()));
  const auto whole = capacity_ms(link, asked);
  if (!whole) return fail("sreport", slurm_error(whole.error()));
  std::map<std::string, std::vector<ReportRow>> accounts;
  for (const UsageRow& one : *rows) {
    if (!listed(asked.users, one.user) || !listed(asked.accounts, one.account)) continue;
    auto& of = accounts[one.account];
    if (of.empty()) of.push_back({one.account, "", 0, 0, *whole, nullptr});
    of[0].cpu_ms += one.cpu_ms;
    of.push_back({one.account, one.user, one.cpu_ms, 0, *whole, nullptr});
  }
  std::vector<ReportRow> out;
  for (auto& [name, of] : accounts) out.insert(out.end(), of.begin(), of.end());
  return print("Cluster/Account/User Utilization", "Cluster,Account,Login,Proper,Used", asked, given, std::move(out),
               true);
}

struct Report {
  const char* type;
  const char* name;
  int (*run)(ServerLink& link, const Period& asked, const Given& given);
};
constexpr Report kReports[] = {{"cluster", "utilization", cluster_utilization},
                               {"cluster", "accountutilizationbyuser", account_utilization},
                               {"user", "topusage", user_top}};

}  // namespace

int sreport(const Context& context, const Words& words) {
  const CommandTable& table = table_of("sreport");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  const Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (given.has("verbose")) tell_ignored(table, given);
  const std::string type = given.words.empty() ? "" : lower(given.words[0]),
                    name = given.words.size() < 2 ? "" : lower(given.words[1]);
  for (const Report& report : kReports) {
    if (type.empty() || name.empty() || !std::string_view(report.type).starts_with(type) ||
        !std::string_view(report.name).starts_with(name)) {
      continue;
    }
    const auto asked = parse_asked({given.words.begin() + 2, given.words.end()}, given);
    if (!asked) return fail("sreport", asked.error().message);
    ServerLink link(context);
    return report.run(link, *asked, given);
  }
  return fail("sreport",
              "Berth's sreport knows cluster Utilization, cluster AccountUtilizationByUser and user TopUsage, as in: "
              "sreport cluster utilization start=2026-11-01 end=2026-12-01");
}

}  // namespace berth::tools::slurm
