#include "tools/cli/rows.h"

#include <chrono>
#include <csignal>
#include <cstring>

#include "state/units.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

std::string span_text(TimeUs from, TimeUs to) {
  return from == 0 || to < from ? "-" : format_duration_ms((to - from) / 1000);
}

// How long it ran, or has run; for what waits, how long it has waited.
Cell time_of(const JobRow& row, TimeUs now) {
  const TimeUs from = row.started_at != 0 ? row.started_at : row.submitted_at;
  return {span_text(from, row.ended_at != 0 ? row.ended_at : now)};
}

std::uint64_t total(const JobCounts& counts) {
  std::uint64_t sum = 0;
  for (const std::uint32_t count : counts.by_state) sum += count;
  return sum;
}

Cell pods_of(const JobRow& row) {
  const std::uint64_t all = total(row.counts);
  if (row.kind == JobKind::kSingle) return {std::to_string(all)};
  return {std::to_string(all - row.counts.active()) + "/" + std::to_string(all)};
}

Cell share(const std::string& used, const std::string& all) { return {used + "/" + all}; }

// "0.5/4 GiB" reads badly with two units; the unit of the whole is enough for both.
Cell memory_share(std::uint64_t used_mib, std::uint64_t all_mib) {
  const std::string all = format_mem_mib(all_mib);
  const std::string used = format_mem_mib(used_mib);
  const std::string unit = all.substr(all.find(' '));
  return {(used.ends_with(unit) ? used.substr(0, used.size() - unit.size()) : used_mib == 0 ? "0" : used) + "/" + all};
}

Cell exit_of(const PodRow& row) {
  if (!is_final(row.state)) return {"-"};
  if (row.signal != 0) return {signal_name(row.signal)};
  return {row.exit_code < 0 ? "-" : std::to_string(row.exit_code)};
}

Cell node_state(const NodeRow& row) {
  if (row.state == NodeState::kLost) return {"lost", Colour::kRed};
  if (!row.connected) return {std::string(name_of(row.state)) + ", away", Colour::kYellow};
  return {std::string(name_of(row.state)), row.state == NodeState::kUp ? Colour::kGreen : Colour::kYellow};
}

Cell when(TimeUs at) { return {format_time(at)}; }

}  // namespace

void add_format_option(CLI::App* command, std::string& text, bool wide) {
  const std::vector<std::string> choices =
      wide ? std::vector<std::string>{"table", "wide", "json"} : std::vector<std::string>{"table", "json"};
  command->add_option("-o,--output", text, "how to write it: " + join(choices, ", ") + " (default: table)")
      ->type_name("FORMAT")
      ->check(CLI::IsMember(choices));
}

Format format_of(const std::string& text) {
  return text == "json" ? Format::kJson : text == "wide" ? Format::kWide : Format::kTable;
}

TimeUs clock_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::size_t listing_width() { return stdout_is_terminal() ? terminal_width() : 0; }

Cell state_cell(PodState state) {
  Colour colour = Colour::kRed;
  if (state == PodState::kSucceeded) colour = Colour::kGreen;
  if (state == PodState::kPending || state == PodState::kCancelled) colour = Colour::kYellow;
  if (state == PodState::kBound || state == PodState::kRunning) colour = Colour::kNone;
  return {std::string(name_of(state)), colour};
}

std::string signal_name(int number) {
  const char* name = sigabbrev_np(number);
  return name == nullptr ? "signal " + std::to_string(number) : std::string("SIG") + name;
}

std::string kind_name(JobKind kind) {
  switch (kind) {
    case JobKind::kSingle:
      return "single";
    case JobKind::kArray:
      return "array";
    case JobKind::kGang:
      return "gang";
  }
  return "unknown";
}

const std::vector<Column<JobRow>>& columns_for(const JobRow*) {
  static const std::vector<Column<JobRow>> columns = {
      {"JOB", true, false, [](const JobRow& r, TimeUs) { return Cell{std::to_string(r.id.value)}; }},
      {"NAME", false, false, [](const JobRow& r, TimeUs) { return Cell{clip(r.name.empty() ? "-" : r.name, 40)}; }},
      {"USER", false, false, [](const JobRow& r, TimeUs) { return Cell{r.user}; }},
      {"QUEUE", false, true, [](const JobRow& r, TimeUs) { return Cell{r.queue}; }},
      {"KIND", false, true, [](const JobRow& r, TimeUs) { return Cell{kind_name(r.kind)}; }},
      {"PRIORITY", true, true, [](const JobRow& r, TimeUs) { return Cell{std::to_string(r.priority)}; }},
      {"STATE", false, false, [](const JobRow& r, TimeUs) { return state_cell(r.summary); }},
      {"PODS", true, false, [](const JobRow& r, TimeUs) { return pods_of(r); }},
      {"CPUS", true, true, [](const JobRow& r, TimeUs) { return Cell{format_cpu_milli(r.resources.cpu_milli)}; }},
      {"MEMORY", true, true,
       [](const JobRow& r, TimeUs) {
         return Cell{r.resources.mem_mib == 0 ? "-" : format_mem_mib(r.resources.mem_mib)};
       }},
      {"GPUS", true, true, [](const JobRow& r, TimeUs) { return Cell{std::to_string(r.resources.gpus)}; }},
      {"SUBMITTED", false, true, [](const JobRow& r, TimeUs) { return when(r.submitted_at); }},
      {"STARTED", false, true, [](const JobRow& r, TimeUs) { return when(r.started_at); }},
      {"ENDED", false, true, [](const JobRow& r, TimeUs) { return when(r.ended_at); }},
      {"TIME", true, false, time_of},
      {"REASON", false, false,
       [](const JobRow& r, TimeUs) {
         return Cell{r.reason, Colour::kDim};
       }},
  };
  return columns;
}

const std::vector<Column<PodOfJob>>& columns_for(const PodOfJob*) {
  static const std::vector<Column<PodOfJob>> columns = {
      {"POD", true, false,
       [](const PodOfJob& p, TimeUs) {
         return Cell{std::to_string(p.job.value) + (p.single ? "" : "." + std::to_string(p.row.index))};
       }},
      {"STATE", false, false, [](const PodOfJob& p, TimeUs) { return state_cell(p.row.state); }},
      {"EXIT", true, false, [](const PodOfJob& p, TimeUs) { return exit_of(p.row); }},
      {"NODE", false, false, [](const PodOfJob& p, TimeUs) { return Cell{p.row.node.empty() ? "-" : p.row.node}; }},
      {"ATTEMPT", true, true, [](const PodOfJob& p, TimeUs) { return Cell{std::to_string(p.row.attempt)}; }},
      {"STARTED", false, true, [](const PodOfJob& p, TimeUs) { return when(p.row.started_at); }},
      {"ENDED", false, true, [](const PodOfJob& p, TimeUs) { return when(p.row.ended_at); }},
      {"TIME", true, false,
       [](const PodOfJob& p, TimeUs now) {
         return Cell{span_text(p.row.started_at, p.row.ended_at != 0 ? p.row.ended_at : now)};
       }},
      {"PEAK MEMORY", true, false,
       [](const PodOfJob& p, TimeUs) {
         return Cell{p.row.mem_peak_mib == 0 ? "-" : format_mem_mib(p.row.mem_peak_mib)};
       }},
      {"MESSAGE", false, false,
       [](const PodOfJob& p, TimeUs) {
         return Cell{p.row.message, Colour::kDim};
       }},
  };
  return columns;
}

const std::vector<Column<NodeRow>>& columns_for(const NodeRow*) {
  static const std::vector<Column<NodeRow>> columns = {
      {"NODE", false, false, [](const NodeRow& r, TimeUs) { return Cell{r.info.name}; }},
      {"STATE", false, false, [](const NodeRow& r, TimeUs) { return node_state(r); }},
      {"PODS", true, false, [](const NodeRow& r, TimeUs) { return Cell{std::to_string(r.pods)}; }},
      {"CPUS", true, false,
       [](const NodeRow& r, TimeUs) {
         return share(format_cpu_milli(r.used.cpu_milli), format_cpu_milli(r.info.capacity.cpu_milli));
       }},
      {"MEMORY", true, false,
       [](const NodeRow& r, TimeUs) { return memory_share(r.used.mem_mib, r.info.capacity.mem_mib); }},
      {"GPUS", true, false,
       [](const NodeRow& r, TimeUs) {
         return share(std::to_string(r.used.gpus), std::to_string(r.info.capacity.gpus));
       }},
      {"RESOURCES", false, true,
       [](const NodeRow& r, TimeUs) {
         std::string text;
         for (const Countable& item : r.info.counts) {
           const std::uint64_t used = count_of(r.counts_used, item.name);
           const bool disk = item.name == kDisk;
           text += (text.empty() ? "" : ",") + item.name + "=" +
                   (disk ? memory_share(used, item.count).text
                         : share(std::to_string(used), std::to_string(item.count)).text);
         }
         return Cell{text.empty() ? "-" : text};
       }},
      {"ADDRESS", false, true,
       [](const NodeRow& r, TimeUs) { return Cell{r.info.address.empty() ? "-" : r.info.address}; }},
      {"VERSION", false, true, [](const NodeRow& r, TimeUs) { return Cell{r.info.version}; }},
      {"LIMITS", false, true, [](const NodeRow& r, TimeUs) { return Cell{r.info.limits}; }},
      {"FEATURES", false, false,
       [](const NodeRow& r, TimeUs) { return Cell{r.info.features.empty() ? "-" : join(r.info.features, ",")}; }},
      {"TAINTS", false, true,
       [](const NodeRow& r, TimeUs) { return Cell{r.info.taints.empty() ? "-" : join(r.info.taints, ",")}; }},
      {"REASON", false, false,
       [](const NodeRow& r, TimeUs) {
         return Cell{r.reason, Colour::kDim};
       }},
  };
  return columns;
}

const std::vector<Column<Queue>>& columns_for(const Queue*) {
  static const std::vector<Column<Queue>> columns = {
      {"QUEUE", false, false, [](const Queue& q, TimeUs) { return Cell{q.name}; }},
      {"PRIORITY", true, false, [](const Queue& q, TimeUs) { return Cell{std::to_string(q.priority)}; }},
      {"TIME LIMIT", true, false,
       [](const Queue& q, TimeUs) {
         return Cell{q.time_limit_ms == 0 ? "none" : format_duration_ms(q.time_limit_ms)};
       }},
      {"STATE", false, false,
       [](const Queue& q, TimeUs) {
         return Cell{std::string(name_of(q.state)), q.state == Queue::State::kUp ? Colour::kNone : Colour::kYellow};
       }},
      {"TIER", true, false, [](const Queue& q, TimeUs) { return Cell{std::to_string(q.tier)}; }},
      {"PREEMPT", false, true, [](const Queue& q, TimeUs) { return Cell{std::string(name_of(q.preempt))}; }},
      {"NODES", false, false, [](const Queue& q, TimeUs) { return Cell{q.where.empty() ? "all" : q.where}; }},
      {"MAX NODES", true, true,
       [](const Queue& q, TimeUs) { return Cell{q.nodes_max == 0 ? "none" : std::to_string(q.nodes_max)}; }},
      {"USERS", false, false,
       [](const Queue& q, TimeUs) { return Cell{q.users.empty() ? "all" : join(q.users, ",")}; }},
      {"ACCOUNTS", false, false,
       [](const Queue& q, TimeUs) { return Cell{q.accounts.empty() ? "all" : join(q.accounts, ",")}; }},
  };
  return columns;
}

const std::vector<Column<LicenceRow>>& columns_for(const LicenceRow*) {
  static const std::vector<Column<LicenceRow>> columns = {
      {"LICENCE", false, false, [](const LicenceRow& l, TimeUs) { return Cell{l.licence.name}; }},
      {"TOTAL", true, false, [](const LicenceRow& l, TimeUs) { return Cell{std::to_string(l.licence.total)}; }},
      {"USED", true, false, [](const LicenceRow& l, TimeUs) { return Cell{std::to_string(l.used)}; }},
  };
  return columns;
}

const std::vector<Column<Token>>& columns_for(const Token*) {
  static const std::vector<Column<Token>> columns = {
      {"TOKEN", false, false, [](const Token& t, TimeUs) { return Cell{t.id}; }},
      {"FOR", false, false,
       [](const Token& t, TimeUs) { return Cell{t.role == TokenRole::kNode ? "nodes" : "user " + t.user}; }},
      {"CREATED", false, false, [](const Token& t, TimeUs) { return when(t.created_at); }},
      {"EXPIRES", false, false,
       [](const Token& t, TimeUs now) {
         return t.expires_at <= now ? Cell{"expired", Colour::kRed} : when(t.expires_at);
       }},
  };
  return columns;
}

void write_resources(JsonWriter& json, const Resources& resources) {
  json.field("cpu_milli", resources.cpu_milli).field("mem_mib", resources.mem_mib).field("gpus", resources.gpus);
}

void write_countables(JsonWriter& json, const char* key, const std::vector<Countable>& list) {
  json.key(key).begin_object();
  for (const Countable& item : list) json.field(item.name.c_str(), item.count);
  json.end_object();
}

void write_counts(JsonWriter& json, const JobCounts& counts) {
  json.key("counts").begin_object();
  for (std::size_t i = 0; i < kPodStates; ++i) {
    if (counts.by_state[i] != 0) json.field(name_of(static_cast<PodState>(i)), counts.by_state[i]);
  }
  json.end_object();
}

void write_fields(JsonWriter& json, const JobRow& row) {
  json.field("id", row.id.value).field("name", row.name).field("user", row.user).field("queue", row.queue);
  json.field("kind", kind_name(row.kind)).field("state", name_of(row.summary)).field("pod_count", total(row.counts));
  write_counts(json, row.counts);
  write_resources(json, row.resources);
  json.field("priority", row.priority);
  json.time("submitted_at_us", row.submitted_at)
      .time("started_at_us", row.started_at)
      .time("ended_at_us", row.ended_at);
  json.field("reason", row.reason).field("wait_reason", name_of(row.wait_reason));
  json.field("account", row.account).field("qos", row.qos).field("comment", row.comment).strings("nodes", row.nodes);
  json.key("used").begin_object().field("cpu_user_us", row.use.cpu_user_us);
  json.field("cpu_system_us", row.use.cpu_system_us).field("read_bytes", row.use.read_bytes);
  json.field("written_bytes", row.use.written_bytes).end_object();
}

void write_fields(JsonWriter& json, const PodOfJob& pod) {
  const PodRow& row = pod.row;
  json.field("job", pod.job.value)
      .field("element", row.element)
      .field("index", row.index)
      .field("state", name_of(row.state));
  json.field("attempt", row.attempt).field("node", row.node).key("exit_code");
  if (row.exit_code < 0 || !is_final(row.state)) {
    json.null();
  } else {
    json.value(std::int32_t{row.exit_code});
  }
  json.field("signal", std::uint32_t{row.signal}).field("mem_peak_mib", row.mem_peak_mib);
  json.time("started_at_us", row.started_at).time("ended_at_us", row.ended_at);
  json.field("message", row.message);
}

void write_fields(JsonWriter& json, const NodeRow& row) {
  json.field("name", row.info.name)
      .field("state", name_of(row.state))
      .field("connected", row.connected)
      .field("reason", row.reason);
  json.field("pods", row.pods);
  json.key("capacity").begin_object();
  write_resources(json, row.info.capacity);
  json.end_object().key("used").begin_object();
  write_resources(json, row.used);
  json.end_object();
  write_countables(json, "resources", row.info.counts);
  write_countables(json, "resources_used", row.counts_used);
  json.field("pods_max", row.info.pods_max).field("gpus_shared_milli", row.gpus_shared_milli);
  json.strings("features", row.info.features).strings("taints", row.info.taints);
  json.field("address", row.info.address).field("version", row.info.version).field("limits", row.info.limits);
}

void write_fields(JsonWriter& json, const Queue& row) {
  json.field("name", row.name).field("priority", row.priority).key("time_limit_ms");
  row.time_limit_ms == 0 ? json.null() : json.value(row.time_limit_ms);
  json.key("default_time_ms");
  row.time_default_ms == 0 ? json.null() : json.value(row.time_default_ms);
  json.field("state", name_of(row.state)).field("nodes", std::string_view(row.where));
  json.field("tier", row.tier).field("preempt", name_of(row.preempt));
  json.field("max_nodes", row.nodes_max).strings("users", row.users).strings("accounts", row.accounts);
}

void write_fields(JsonWriter& json, const LicenceRow& row) {
  json.field("name", std::string_view(row.licence.name)).field("total", row.licence.total).field("used", row.used);
}

void write_fields(JsonWriter& json, const Token& row) {
  json.field("id", row.id).field("role", row.role == TokenRole::kNode ? "node" : "user").field("user", row.user);
  json.time("created_at_us", row.created_at).time("expires_at_us", row.expires_at);
}

}  // namespace berth::tools
