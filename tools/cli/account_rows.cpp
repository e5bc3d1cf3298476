#include "tools/cli/account_rows.h"

#include <fmt/format.h>
#include <map>

#include "state/units.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

std::string amount_text(Limit limit, std::int64_t amount) {
  switch (limit) {
    case Limit::kCpus:
    case Limit::kJobCpus:
      return amount % 1000 == 0 ? std::to_string(amount / 1000) : format_cpu_milli(static_cast<std::uint32_t>(amount));
    case Limit::kMemory:
    case Limit::kJobMemory:
      return format_mem_mib(static_cast<std::uint64_t>(amount));
    case Limit::kJobTime:
      return format_duration_ms(amount);
    default:
      return std::to_string(amount);
  }
}

void write_limits(JsonWriter& json, const char* key, const Limits& limits) {
  json.key(key).begin_object();
  for (std::size_t i = 0; i < kLimits; ++i) {
    if (limits.most[i] != Limits::kNone)
      json.field(std::string(name_of(static_cast<Limit>(i))).c_str(), limits.most[i]);
  }
  json.end_object();
}

void write_taken(JsonWriter& json, const Taken& taken) {
  json.key("taken").begin_object();
  for (std::size_t i = 0; i < kSharedLimits; ++i) {
    json.field(std::string(name_of(static_cast<Limit>(i))).c_str(), taken[i]);
  }
  json.end_object();
}

std::string taken_of(const Taken& taken, Limit limit) {
  return amount_text(limit, taken[static_cast<std::size_t>(limit)]);
}

std::string percent(double part) { return fmt::format("{:.1f}%", part * 100); }

// "+2d04h", "-8h00m"; "0" is neither.
std::string signed_time(std::int64_t ms) {
  if (ms / 1000 == 0) return "0";
  return (ms < 0 ? "-" : "+") + format_duration_ms(ms < 0 ? -ms : ms);
}

std::int64_t stands_for(const PriorityRow& row) { return row.waited_ms + row.head_start_ms - row.delay_ms; }

}  // namespace

std::string limits_text(const Limits& limits) {
  std::string text;
  for (std::size_t i = 0; i < kLimits; ++i) {
    if (limits.most[i] == Limits::kNone) continue;
    const auto limit = static_cast<Limit>(i);
    text += (text.empty() ? "" : ", ") + std::string(name_of(limit)) + " " + amount_text(limit, limits.most[i]);
  }
  return text;
}

std::vector<ShareLine> share_lines(const AccountPage& page) {
  std::vector<ShareLine> lines;
  std::map<std::string, std::size_t> depths{{"", 0}};
  for (const ShareRow& row : page.rows) {
    const bool member = !row.user.empty();
    const std::size_t depth = member ? depths[row.account.name] : depths[row.account.parent];
    if (!member) depths[row.account.name] = depth + 1;
    lines.push_back({row, depth});
  }
  return lines;
}

const std::vector<Column<ShareLine>>& columns_for(const ShareLine*) {
  static const std::vector<Column<ShareLine>> columns = {
      {"ACCOUNT", false, false,
       [](const ShareLine& l, TimeUs) {
         return Cell{std::string(2 * l.depth, ' ') + (l.row.user.empty() ? l.row.account.name : "· " + l.row.user),
                     l.row.user.empty() ? Colour::kNone : Colour::kDim};
       }},
      {"SHARES", true, false, [](const ShareLine& l, TimeUs) { return Cell{std::to_string(l.row.shares)}; }},
      {"SHARE", true, false, [](const ShareLine& l, TimeUs) { return Cell{percent(l.row.share)}; }},
      {"USED", true, false, [](const ShareLine& l, TimeUs) { return Cell{percent(l.row.used)}; }},
      {"CPU HOURS", true, false,
       [](const ShareLine& l, TimeUs) { return Cell{fmt::format("{:.1f}", l.row.cpu_seconds / 3600)}; }},
      {"FACTOR", true, false,
       [](const ShareLine& l, TimeUs) { return Cell{l.row.user.empty() ? "" : fmt::format("{:.3f}", l.row.factor)}; }},
      {"JOBS", true, false, [](const ShareLine& l, TimeUs) { return Cell{taken_of(l.row.taken, Limit::kJobs)}; }},
      {"RUN", true, false, [](const ShareLine& l, TimeUs) { return Cell{taken_of(l.row.taken, Limit::kRunning)}; }},
      {"CPUS", true, false, [](const ShareLine& l, TimeUs) { return Cell{taken_of(l.row.taken, Limit::kCpus)}; }},
      {"MEMORY", true, true, [](const ShareLine& l, TimeUs) { return Cell{taken_of(l.row.taken, Limit::kMemory)}; }},
      {"GPUS", true, true, [](const ShareLine& l, TimeUs) { return Cell{taken_of(l.row.taken, Limit::kGpus)}; }},
      {"LIMITS", false, false,
       [](const ShareLine& l, TimeUs) {
         const std::string text = limits_text(l.row.limits);
         return Cell{text.empty() ? "-" : text + (l.row.limits.wait ? " (or wait)" : "")};
       }},
      {"DEFAULT", false, true, [](const ShareLine& l, TimeUs) { return Cell{l.row.is_default ? "yes" : ""}; }},
      {"DESCRIPTION", false, true, [](const ShareLine& l, TimeUs) { return Cell{l.row.account.description}; }},
  };
  return columns;
}

const std::vector<Column<QosRow>>& columns_for(const QosRow*) {
  static const std::vector<Column<QosRow>> columns = {
      {"QOS", false, false, [](const QosRow& r, TimeUs) { return Cell{r.qos.name}; }},
      {"PRIORITY", true, false, [](const QosRow& r, TimeUs) { return Cell{std::to_string(r.qos.priority)}; }},
      {"TIER", true, false, [](const QosRow& r, TimeUs) { return Cell{std::to_string(r.qos.tier)}; }},
      {"PREEMPT", false, false, [](const QosRow& r, TimeUs) { return Cell{std::string(name_of(r.qos.preempt))}; }},
      {"USE COUNTS", true, false,
       [](const QosRow& r, TimeUs) { return Cell{format_cpu_milli(r.qos.usage_milli) + "x"}; }},
      {"JOBS", true, false, [](const QosRow& r, TimeUs) { return Cell{taken_of(r.taken, Limit::kJobs)}; }},
      {"RUN", true, false, [](const QosRow& r, TimeUs) { return Cell{taken_of(r.taken, Limit::kRunning)}; }},
      {"CPUS", true, false, [](const QosRow& r, TimeUs) { return Cell{taken_of(r.taken, Limit::kCpus)}; }},
      {"LIMITS", false, false,
       [](const QosRow& r, TimeUs) {
         const std::string text = limits_text(r.qos.limits);
         return Cell{text.empty() ? "-" : text};
       }},
      {"OF A USER", false, false,
       [](const QosRow& r, TimeUs) {
         const std::string text = limits_text(r.qos.user_limits);
         return Cell{text.empty() ? "-" : text};
       }},
      {"USERS", false, false,
       [](const QosRow& r, TimeUs) { return Cell{r.qos.users.empty() ? "all" : join(r.qos.users, ",")}; }},
      {"ACCOUNTS", false, false,
       [](const QosRow& r, TimeUs) { return Cell{r.qos.accounts.empty() ? "all" : join(r.qos.accounts, ",")}; }},
  };
  return columns;
}

const std::vector<Column<PriorityRow>>& columns_for(const PriorityRow*) {
  static const std::vector<Column<PriorityRow>> columns = {
      {"JOB", true, false, [](const PriorityRow& r, TimeUs) { return Cell{std::to_string(r.job.value)}; }},
      {"USER", false, false, [](const PriorityRow& r, TimeUs) { return Cell{r.user}; }},
      {"ACCOUNT", false, false, [](const PriorityRow& r, TimeUs) { return Cell{r.account.empty() ? "-" : r.account}; }},
      {"TIER", true, false, [](const PriorityRow& r, TimeUs) { return Cell{std::to_string(r.tier)}; }},
      {"PRIORITY", true, false,
       [](const PriorityRow& r, TimeUs) { return Cell{std::to_string(std::int64_t{r.own} + r.of_queue + r.of_qos)}; }},
      {"OWN", true, false, [](const PriorityRow& r, TimeUs) { return Cell{std::to_string(r.own)}; }},
      {"QUEUE", true, false, [](const PriorityRow& r, TimeUs) { return Cell{std::to_string(r.of_queue)}; }},
      {"QOS", true, false, [](const PriorityRow& r, TimeUs) { return Cell{std::to_string(r.of_qos)}; }},
      {"STANDS FOR", true, false, [](const PriorityRow& r, TimeUs) { return Cell{signed_time(stands_for(r))}; }},
      {"WAITED", true, false, [](const PriorityRow& r, TimeUs) { return Cell{signed_time(r.waited_ms)}; }},
      {"SHARE", true, false, [](const PriorityRow& r, TimeUs) { return Cell{signed_time(r.head_start_ms)}; }},
      {"SIZE", true, false, [](const PriorityRow& r, TimeUs) { return Cell{signed_time(-r.delay_ms)}; }},
      {"", false, false,
       [](const PriorityRow& r, TimeUs) {
         return Cell{r.waits ? "" : "kept back", Colour::kYellow};
       }},
  };
  return columns;
}

void write_fields(JsonWriter& json, const ShareLine& line) {
  const ShareRow& row = line.row;
  json.field("account", std::string_view(row.account.name)).key("user");
  row.user.empty() ? json.null() : json.value(std::string_view(row.user));
  if (row.user.empty()) {
    json.field("parent", std::string_view(row.account.parent));
    json.field("description", std::string_view(row.account.description));
  } else {
    json.field("default", row.is_default).field("factor", row.factor);
  }
  json.field("shares", row.shares).field("share", row.share).field("used", row.used);
  json.field("cpu_seconds", row.cpu_seconds).key("level");
  row.level < 0 ? json.null() : json.value(row.level);
  write_taken(json, row.taken);
  write_limits(json, "limits", row.limits);
  json.field("over_limit", std::string_view(row.limits.wait ? "wait" : "refuse"));
}

void write_fields(JsonWriter& json, const QosRow& row) {
  json.field("name", std::string_view(row.qos.name)).field("priority", row.qos.priority);
  json.field("usage_milli", row.qos.usage_milli);
  json.field("tier", row.qos.tier).field("preempt", name_of(row.qos.preempt));
  write_taken(json, row.taken);
  write_limits(json, "limits", row.qos.limits);
  write_limits(json, "user_limits", row.qos.user_limits);
  json.field("over_limit", std::string_view(row.qos.limits.wait ? "wait" : "refuse"));
  json.strings("users", row.qos.users).strings("accounts", row.qos.accounts);
}

void write_fields(JsonWriter& json, const PriorityRow& row) {
  json.field("job", row.job.value).field("user", std::string_view(row.user));
  json.field("account", std::string_view(row.account)).field("queue", std::string_view(row.queue));
  json.field("qos", std::string_view(row.qos)).field("waits", row.waits);
  json.field("tier", row.tier);
  json.field("priority", std::int64_t{row.own} + row.of_queue + row.of_qos);
  json.field("priority_own", row.own).field("priority_queue", row.of_queue).field("priority_qos", row.of_qos);
  json.field("stands_for_ms", stands_for(row)).field("waited_ms", row.waited_ms);
  json.field("share_ms", row.head_start_ms).field("size_ms", -row.delay_ms).field("factor", row.factor);
}

}  // namespace berth::tools
