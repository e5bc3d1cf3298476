// sacct: what became of jobs. It asks the server, which remembers the last ones (keep_ended_jobs, keep_ended_pods), and
// its accounting's database for those that it has forgotten.
#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <unistd.h>

#include "state/units.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/columns.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/options.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

TimeUs now_us = 0;

struct Row {
  const Record* record;
  bool step = false;  // one of the job's steps
  std::string id;     // the job's
  std::string name;   // the step's: "batch" for the script, "0", "1", …
};

std::string state_text(const Row& row) {
  const Record& r = *row.record;
  if (r.state != PodState::kCancelled) return state_name(r.state).name;
  return row.step ? "CANCELLED" : "CANCELLED by " + std::to_string(r.job.uid);
}

using F = Field<Row>;
// In sacct every column has a width of its own.
struct Width {
  const char* name;
  int width;  // below 0: to the left
};

const std::vector<F>& fields() {
  static const std::vector<F> all = [] {
    const auto constant = [](const char* text) { return [text](const Row&) { return std::string(text); }; };
    const auto job_only = [](std::string (*of)(const Record&)) {
      return [of](const Row& row) { return row.step ? std::string() : of(*row.record); };
    };
    const auto of_record = [](std::string (*of)(const Record&)) {
      return [of](const Row& row) { return of(*row.record); };
    };
    const auto memory = [](const Record& r) -> std::string {
      return r.job.resources.mem_mib == 0 ? "0" : fmt::format("{}M", r.job.resources.mem_mib);
    };
    const auto tres = [](const Record& r) -> std::string {
      std::string text = fmt::format("billing={0},cpu={0}", r.cpus());
      if (r.job.resources.gpus != 0) text += fmt::format(",gres/gpu={}", r.job.resources.gpus * r.pods());
      if (r.job.resources.mem_mib != 0) text += fmt::format(",mem={}M", r.job.resources.mem_mib * r.pods());
      return text + fmt::format(",node={}", r.node_count());
    };
    const auto cpus = [](const Record& r) { return std::to_string(r.cpus()); };
    const auto id = [](const Row& row) { return row.id + (row.step ? "." + row.name : ""); };
    const auto raw = [](const Row& row) {
      const Record& r = *row.record;
      // Elements of an array have no numbers of their own.
      return (r.array() ? r.id() : row.id) + (row.step ? "." + row.name : "");
    };
    return std::vector<F>{
        {"account", 0, "Account", of_record([](const Record& r) { return r.job.account; })},
        {"alloccpus", 0, "AllocCPUS",
         of_record([](const Record& r) { return r.started_at == 0 ? std::string("0") : std::to_string(r.cpus()); })},
        {"allocnodes", 0, "AllocNodes", of_record([](const Record& r) {
           return r.started_at == 0 ? std::string("0") : std::to_string(r.node_count());
         })},
        {"alloctres", 0, "AllocTRES",
         [tres](const Row& row) { return row.record->started_at == 0 ? "" : tres(*row.record); }},
        {"cluster", 0, "Cluster", constant("berth")},
        {"comment", 0, "Comment", job_only([](const Record& r) { return r.job.comment; })},
        {"cputime", 0, "CPUTime",
         of_record([](const Record& r) { return length_text(r.elapsed_s(now_us) * r.cpus(), true); })},
        {"cputimeraw", 0, "CPUTimeRAW",
         of_record([](const Record& r) { return std::to_string(r.elapsed_s(now_us) * r.cpus()); })},
        {"elapsed", 0, "Elapsed", of_record([](const Record& r) { return length_text(r.elapsed_s(now_us), true); })},
        {"elapsedraw", 0, "ElapsedRaw", of_record([](const Record& r) { return std::to_string(r.elapsed_s(now_us)); })},
        {"eligible", 0, "Eligible",
         job_only([](const Record& r) { return time_text(std::max(r.job.begin_at, r.job.submitted_at), "Unknown"); })},
        {"end", 0, "End", of_record([](const Record& r) { return time_text(r.ended_at, "Unknown"); })},
        {"exitcode", 0, "ExitCode", of_record([](const Record& r) { return r.exit_text(); })},
        {"gid", 0, "GID", job_only([](const Record& r) { return std::to_string(r.job.gid); })},
        {"group", 0, "Group", job_only([](const Record& r) { return std::to_string(r.job.gid); })},
        {"jobid", 0, "JobID", id},
        {"jobidraw", 0, "JobIDRaw", raw},
        {"jobname", 0, "JobName",
         [](const Row& row) { return row.step && row.name == "batch" ? std::string("batch") : row.record->job.name; }},
        {"maxrss", 0, "MaxRSS",
         [](const Row& row) {
           return row.step && row.record->mem_peak_mib != 0 ? fmt::format("{}K", row.record->mem_peak_mib * 1024ULL)
                                                            : std::string();
         }},
        {"ncpus", 0, "NCPUS", of_record(cpus)},
        {"nnodes", 0, "NNodes", of_record([](const Record& r) { return std::to_string(r.node_count()); })},
        {"nodelist", 0, "NodeList",
         of_record([](const Record& r) { return r.nodes.empty() ? std::string("None assigned") : r.node_list(); })},
        {"ntasks", 0, "NTasks",
         [](const Row& row) {
           return !row.step ? std::string() : row.name == "batch" ? "1" : std::to_string(row.record->job.pods);
         }},
        {"partition", 0, "Partition", job_only([](const Record& r) { return r.job.queue; })},
        {"priority", 0, "Priority", job_only([](const Record& r) { return std::to_string(r.priority()); })},
        {"qos", 0, "QOS", job_only([](const Record& r) { return r.qos(); })},
        {"reason", 0, "Reason", job_only([](const Record& r) { return r.reason(); })},
        {"reqcpus", 0, "ReqCPUS", of_record(cpus)},
        {"reqmem", 0, "ReqMem", job_only(memory)},
        {"reqnodes", 0, "ReqNodes", job_only([](const Record& r) { return std::to_string(r.node_count()); })},
        {"reqtres", 0, "ReqTRES", job_only(tres)},
        {"start", 0, "Start", of_record([](const Record& r) { return time_text(r.started_at, "Unknown"); })},
        {"state", 0, "State", state_text},
        {"submit", 0, "Submit", of_record([](const Record& r) { return time_text(r.job.submitted_at, "Unknown"); })},
        {"timelimit", 0, "Timelimit", job_only([](const Record& r) { return limit_text(r.job.time_limit_ms, true); })},
        {"timelimitraw", 0, "TimelimitRaw",
         job_only([](const Record& r) { return std::to_string(r.job.time_limit_ms / 60'000); })},
        {"totalcpu", 0, "TotalCPU", constant("")},  // not measured
        {"uid", 0, "UID", job_only([](const Record& r) { return std::to_string(r.job.uid); })},
        {"user", 0, "User", job_only([](const Record& r) { return r.job.user; })},
    };
  }();
  return all;
}

constexpr Width kWidths[] = {{"jobid", -12}, {"jobidraw", -12}, {"exitcode", 8},  {"user", 9},      {"start", 19},
                             {"end", 19},    {"submit", 19},    {"eligible", 19}, {"nodelist", 15}, {"nnodes", 8},
                             {"reason", 22}, {"uid", 6},        {"gid", 6},       {"group", 9},     {"comment", 14}};

int width_of(const std::string& name) {
  for (const Width& width : kWidths) {
    if (name == width.name) return width.width;
  }
  return 10;
}

constexpr const char* kDefault = "jobid,jobname,partition,account,alloccpus,state,exitcode";
constexpr const char* kBrief = "jobid,state,exitcode";
constexpr const char* kLong =
    "jobid,jobidraw,jobname,partition,account,user,nodelist,alloccpus,reqmem,maxrss,submit,start,end,elapsed,timelimit,"
    "state,exitcode,reason,comment";

struct Shown {
  const F* field;
  int width;
};

// "JobID%20,State%-30"
Result<std::vector<Shown>> shown_fields(const std::string& format) {
  std::vector<Shown> shown;
  for (const std::string& part : split(format, ',')) {
    if (part.empty()) continue;
    const std::size_t percent = part.find('%');
    const std::string name = lower(part.substr(0, percent));
    const auto exact = std::find_if(fields().begin(), fields().end(), [&](const F& f) { return name == f.name; });
    const auto found =
        exact != fields().end() ? exact : std::find_if(fields().begin(), fields().end(), [&](const F& f) {
          return name.size() >= 3 && std::string_view(f.name).starts_with(name);
        });
    if (found == fields().end()) {
      return Error{ErrorCode::kInvalid, "", "Invalid field requested: \"" + part.substr(0, percent) + "\"", 0};
    }
    int width = width_of(found->name);
    if (percent != std::string::npos) {
      const auto number = parse_integer(part.substr(percent + 1), "format", -10'000, 10'000);
      if (!number) return Error{ErrorCode::kInvalid, "", "Invalid width in \"" + part + "\"", 0};
      width = static_cast<int>(*number);
    }
    shown.push_back({&*found, width});
  }
  return shown;
}

struct Style {
  std::string delimiter;  // "": columns
  bool trailing = false;
};

void write_line(Output& out, const std::vector<Shown>& shown, const Style& style,
                const std::function<std::string(const Shown&)>& text) {
  std::string line;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    if (!style.delimiter.empty()) {
      line += text(shown[i]) + (i + 1 < shown.size() || style.trailing ? style.delimiter : "");
      continue;
    }
    const auto width = static_cast<std::size_t>(std::abs(shown[i].width));
    std::string value = text(shown[i]);
    if (value.size() > width && width != 0) value = value.substr(0, width - 1) + "+";
    line += fitted(value, width, shown[i].width >= 0) + " ";
  }
  out.write(line + "\n");
}

// The most memory that one of its pods took; of a job over nodes its script's, which runs in the first of them.
std::uint32_t peak_of(ServerLink& link, const Record& record, bool step) {
  std::uint32_t peak = record.mem_peak_mib;
  ListPodsRequest request{record.job.id, {}, 0, step ? 10'000U : 1U};
  while (!record.past && !record.array() && record.started_at != 0) {
    const auto page = link.call_for<PodPage>(request);
    if (!page) break;  // forgotten meanwhile
    for (const PodRow& row : page->rows) peak = std::max(peak, row.mem_peak_mib);
    if (!step || !page->more) break;
    request.from_element = page->next_element;
  }
  return peak;
}

// Adds what has ended since `from` and is known to the accounting's database alone.
Status add_past(ServerLink& link, const Want& want, TimeUs from, std::vector<Record>& records) {
  std::set<JobId> live;
  bool reaches_back = false;  // what ended before is still known, so all that ended since is
  for (const Record& record : records) {
    live.insert(record.job.id);
    reaches_back |= record.ended_at != 0 && record.ended_at < from;
  }
  HistoryFilter filter;
  filter.since = from;
  for (const JobId job : want.filter.jobs) {
    if (!live.contains(job)) filter.jobs.push_back(job);
  }
  if (want.filter.jobs.empty() ? reaches_back : filter.jobs.empty()) return Unit{};
  auto past = fetch_past(link, filter, want);
  if (!past) return past.error();
  for (Record& record : *past) {
    if (!live.contains(record.job.id)) records.push_back(std::move(record));
  }
  std::stable_sort(records.begin(), records.end(), [](const Record& a, const Record& b) {
    return std::pair(a.job.id, a.index.value_or(0)) < std::pair(b.job.id, b.index.value_or(0));
  });
  return Unit{};
}

// The steps of a job over nodes, by number.
Result<std::vector<Record>> steps_of(ServerLink& link, const Record& record) {
  Want want;
  want.filter.steps_of = record.job.id;
  if (!record.past) return fetch_records(link, want);
  HistoryFilter filter;
  filter.steps_of = record.job.id;
  auto steps = fetch_past(link, filter, Want{});
  if (steps) {
    std::sort(steps->begin(), steps->end(), [](const Record& a, const Record& b) { return a.job.step < b.job.step; });
  }
  return steps;
}

}  // namespace

int sacct(const Context& context, const Words& words) {
  const CommandTable& table = table_of("sacct");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  Output out;
  if (given.has("helpformat")) {
    std::string line;
    for (const F& field : fields()) line += fmt::format("{:<20}", field.title);
    out.write(line + "\n");
    return out.finish();
  }
  if (!given.words.empty()) return fail("sacct", "Unrecognized option: " + given.words.front());
  if (given.has("verbose")) tell_ignored(table, given);
  std::string format = given.has("long") ? kLong : given.has("brief") ? kBrief : kDefault;
  if (const char* own = std::getenv("SACCT_FORMAT"); own != nullptr) format = own;
  if (given.has("format")) format = join(given.all("format"), ",");
  auto shown = shown_fields(format);
  if (!shown) return fail("sacct", shown.error().message);

  now_us = wall_clock_us();
  Want want;
  auto jobs = parse_job_words(given.all("jobs"));
  if (!jobs) return fail("sacct", jobs.error().message);
  want_only(want, *jobs);
  if (given.has("state")) {
    auto states = parse_states(given.text("state"));
    if (!states) return fail("sacct", "Invalid job state: " + given.text("state"));
    if (states->empty()) want.filter.name = "\x01";  // no job is ever in such a state
    want.states = std::move(*states);
  }
  // All of what is named; otherwise what was active since midnight.
  TimeUs from = 0, to = 0;
  if (jobs->empty()) from = given.has("state") ? now_us : *parse_begin("today", "", now_us);
  for (const auto& [option, at] : {std::pair{"starttime", &from}, std::pair{"endtime", &to}}) {
    if (!given.has(option)) continue;
    auto when = parse_when(given.text(option), now_us);
    if (!when) return fail("sacct", when.error().message);
    *at = *when;
  }
  ServerLink link(context);
  auto records = fetch_records(link, want);
  if (!records) return fail("sacct", slurm_error(records.error()));
  if (Status good = add_past(link, want, from, *records); !good) return fail("sacct", slurm_error(good.error()));

  const auto in = [&](const char* option, const std::string& value) {
    if (!given.has(option)) return true;
    const std::vector<std::string> list = split(given.text(option), ',');
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  std::vector<std::string> nodes;
  if (given.has("nodelist")) {
    auto names = expand_hostlist(given.text("nodelist"));
    if (!names) return fail("sacct", "Invalid node name " + given.text("nodelist"));
    nodes = std::move(*names);
  }
  // An administrator sees his own jobs too unless he asks for others', as everybody does.
  const bool mine = !given.has("allusers") && !given.has("user") && !given.has("uid") && geteuid() != 0;
  Style style;
  if (given.has("parsable") || given.has("parsable2")) style.delimiter = given.text("delimiter", "|");
  style.trailing = given.has("parsable") && !given.has("parsable2");
  if (!given.has("noheader")) {
    write_line(out, *shown, style, [](const Shown& s) { return std::string(s.field->title); });
    if (style.delimiter.empty()) {
      write_line(out, *shown, style,
                 [](const Shown& s) { return std::string(static_cast<std::size_t>(std::abs(s.width)), '-'); });
    }
  }
  const bool peaks = !given.has("allocations") && std::any_of(shown->begin(), shown->end(), [](const Shown& s) {
    return std::string_view(s.field->name) == "maxrss";
  });
  const bool counts = std::any_of(shown->begin(), shown->end(), [](const Shown& s) {
    const std::string_view name = s.field->name;
    return name == "nnodes" || name == "reqnodes" || name == "reqtres";
  });
  if (counts) {
    if (Status good = add_details(link, *records, false); !good) return fail("sacct", slurm_error(good.error()));
  }
  for (Record& record : *records) {
    const JobRow& job = record.job;
    const TimeUs end = record.ended_at != 0 ? record.ended_at : now_us;
    if (end < from || (to != 0 && job.submitted_at > to)) continue;
    if (!in("name", job.name) || !in("partition", job.queue) || !in("accounts", job.account) ||
        !in("qos", record.qos())) {
      continue;
    }
    if (!(in("user", job.user) || in("user", std::to_string(job.uid)))) continue;
    if (!(in("uid", job.user) || in("uid", std::to_string(job.uid)))) continue;
    if (mine && job.uid != geteuid()) continue;
    if (!nodes.empty() && std::none_of(record.nodes.begin(), record.nodes.end(), [&](const std::string& node) {
          return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
        })) {
      continue;
    }
    if (peaks) record.mem_peak_mib = peak_of(link, record, false);
    const Row row{&record, false, record.id(), ""}, step{&record, true, record.id(), "batch"};
    write_line(out, *shown, style, [&](const Shown& s) { return s.field->value(row); });
    if (!given.has("allocations") && record.started_at != 0) {
      write_line(out, *shown, style, [&](const Shown& s) { return s.field->value(step); });
    }
    if (given.has("allocations") || job.kind != JobKind::kGang) continue;
    auto steps = steps_of(link, record);
    if (!steps) return fail("sacct", slurm_error(steps.error()));
    for (Record& one : *steps) {
      if (peaks) one.mem_peak_mib = peak_of(link, one, true);
      const Row line{&one, true, record.id(), std::to_string(one.job.step)};
      write_line(out, *shown, style, [&](const Shown& s) { return s.field->value(line); });
    }
  }
  return out.finish();
}

}  // namespace berth::tools::slurm
