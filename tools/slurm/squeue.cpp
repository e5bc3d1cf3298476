// squeue: jobs that wait and run.
#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <span>
#include <unistd.h>

#include "state/launch.h"
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

TimeUs now_us = 0;  // one for all lines of a listing

std::string user_name(std::uint32_t uid, const std::string& known) {
  if (!known.empty()) return known;
  const passwd* entry = getpwuid(uid);
  return entry != nullptr ? entry->pw_name : std::to_string(uid);
}

TimeUs expected_end(const Record& r) {
  if (r.ended_at != 0) return r.ended_at;
  return r.started_at != 0 && r.job.time_limit_ms != 0 ? r.started_at + r.job.time_limit_ms * 1000 : 0;
}

std::string time_left(const Record& r) {
  if (r.job.time_limit_ms == 0) return "UNLIMITED";
  const std::int64_t left = r.job.time_limit_ms / 1000 - r.elapsed_s(now_us);
  return left < 0 ? "INVALID" : length_text(left);
}

std::string nodes_or_reason(const Record& r) {
  if (r.waits()) return "(" + r.reason() + ")";
  if (is_final(r.state) && r.state != PodState::kSucceeded && r.nodes.empty()) return "(" + r.reason() + ")";
  return r.node_list();
}

std::string memory(const Record& r) {
  const std::uint64_t mib = r.job.resources.mem_mib;
  return mib == 0 ? "0" : mib % 1024 == 0 ? std::to_string(mib / 1024) + "G" : std::to_string(mib) + "M";
}

Where where_of(const Record& r) { return r.detail ? split_where(r.detail->spec.request.where) : Where{}; }

Launch launch_of(const Record& r) {
  if (!r.detail) return {};
  auto launch = decode_launch(std::as_bytes(std::span(r.detail->spec.launch)));
  return launch ? std::move(*launch) : Launch{};
}

std::string command(const Record& r) {
  const Launch launch = launch_of(r);
  if (launch.argv.empty()) return "(null)";
  if (launch.script.empty()) return join(launch.argv, " ");
  const std::string& name = launch.argv[0];
  return name.starts_with('/') ? name : name == "wrap" ? "(null)" : launch.cwd + "/" + name;
}

std::string licences(const Record& r) {
  std::string text;
  for (const Countable& one : r.detail ? r.detail->spec.request.licences : std::vector<Countable>{}) {
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", one.name, one.count);
  }
  return text.empty() ? "(null)" : text;
}

std::string group(const Record& r) {
  const struct group* entry = getgrgid(r.job.gid);
  return entry != nullptr ? entry->gr_name : std::to_string(r.job.gid);
}

// What is known of a job's details alone: these are asked for where one of them is shown or sorted by.
constexpr std::string_view kOfDetails = "EfhnoOWxZ";

using F = Field<Record>;
const std::vector<F>& fields() {
  static const std::vector<F> all = [] {
    const auto constant = [](const char* text) { return [text](const Record&) { return std::string(text); }; };
    const auto number = [](const Record& r) { return std::to_string(r.job.id.value); };
    const auto state = [](const Record& r) { return std::string(state_name(r.state).name); };
    const auto compact = [](const Record& r) { return std::string(state_name(r.state).compact); };
    const auto nodes = [](const Record& r) { return r.node_list(); };
    const auto index = [](const Record& r) {
      return r.folded ? r.job.waiting : r.index && r.array() ? std::to_string(*r.index) : std::string("N/A");
    };
    const auto account = [](const Record& r) { return r.job.account.empty() ? std::string("(null)") : r.job.account; };
    const auto comment = [](const Record& r) { return r.job.comment.empty() ? std::string("(null)") : r.job.comment; };
    const auto gpus = [](const Record& r) {
      return r.job.resources.gpus == 0 ? std::string("N/A") : "gres:gpu:" + std::to_string(r.job.resources.gpus);
    };
    const auto user = [](const Record& r) { return user_name(r.job.uid, r.job.user); };
    const auto priority = [](const Record& r) { return std::to_string(r.priority()); };
    const auto first_node = [](const Record& r) { return r.nodes.empty() ? std::string("n/a") : r.nodes.front(); };
    return std::vector<F>{
        {"account", 'a', "ACCOUNT", account},
        {"jobid", 'A', "JOBID", number},
        {"gres", 'b', "TRES_PER_NODE", gpus},
        {"batchhost", 'B', "EXEC_HOST", first_node},
        {"mincpus", 'c', "MIN_CPUS", [](const Record& r) { return std::to_string(cpus_of(r.job.resources)); }},
        {"numcpus", 'C', "CPUS", [](const Record& r) { return std::to_string(r.cpus()); }},
        {"mintmpdisk", 'd', "MIN_TMP_DISK", constant("0")},
        {"numnodes", 'D', "NODES", [](const Record& r) { return std::to_string(r.node_count()); }},
        {"nodes", 0, "NODES", [](const Record& r) { return std::to_string(r.node_count()); }},
        {"endtime", 'e', "END_TIME", [](const Record& r) { return time_text(expected_end(r)); }},
        {"arrayjobid", 'F', "ARRAY_JOB_ID", number},
        {"groupid", 'G', "GROUP", [](const Record& r) { return std::to_string(r.job.gid); }},
        {"groupname", 'g', "GROUP", group},
        {"oversubscribe", 'h', "OVER_SUBSCRIBE",
         [](const Record& r) { return std::string(r.detail && r.detail->spec.request.exclusive ? "NO" : "OK"); }},
        {"dependency", 'E', "DEPENDENCY",
         [](const Record& r) {
           const std::string text = r.detail ? depends_text(r.detail->spec) : "";
           return text.empty() ? std::string("(null)") : text;
         }},
        {"feature", 'f', "FEATURES",
         [](const Record& r) {
           const std::string text = where_of(r).features;
           return text.empty() ? std::string("(null)") : text;
         }},
        {"socketspernode", 'H', "SOCKETS_PER_NODE", constant("*")},
        {"corespersocket", 'I', "CORES_PER_SOCKET", constant("*")},
        {"threadspercore", 'J', "THREADS_PER_CORE", constant("*")},
        {"sct", 'z', "S:C:T", constant("*:*:*")},
        {"reqnodes", 'n', "REQ_NODES", [](const Record& r) { return where_of(r).nodes; }},
        {"excnodes", 'x', "EXC_NODES", [](const Record& r) { return where_of(r).without; }},
        {"command", 'o', "COMMAND", command},
        {"contiguous", 'O', "CONTIGUOUS",
         [](const Record& r) { return std::string(r.detail && r.detail->spec.gang.contiguous ? "1" : "0"); }},
        {"selectjobinfo", 's', "SELECT_JOBINFO", constant("")},
        {"workdir", 'Z', "WORK_DIR", [](const Record& r) { return launch_of(r).cwd; }},
        {"jobarrayid", 'i', "JOBID", [](const Record& r) { return r.id(); }},
        {"name", 'j', "NAME", [](const Record& r) { return r.job.name; }},
        {"comment", 'k', "COMMENT", comment},
        {"arraytaskid", 'K', "ARRAY_TASK_ID", index},
        {"timelimit", 'l', "TIME_LIMIT", [](const Record& r) { return limit_text(r.job.time_limit_ms); }},
        {"timeleft", 'L', "TIME_LEFT", time_left},
        {"minmemory", 'm', "MIN_MEMORY", memory},
        {"timeused", 'M', "TIME", [](const Record& r) { return length_text(r.elapsed_s(now_us)); }},
        {"nodelist", 'N', "NODELIST", nodes},
        {"partition", 'P', "PARTITION", [](const Record& r) { return r.job.queue; }},
        {"priority", 'p', "PRIORITY",
         [](const Record& r) { return fmt::format("{:.14f}", static_cast<double>(r.priority()) / 4294967295.0); }},
        {"prioritylong", 'Q', "PRIORITY", priority},
        {"qos", 'q', "QOS", [](const Record& r) { return r.qos(); }},
        {"reason", 'r', "REASON", [](const Record& r) { return r.reason(); }},
        {"reasonlist", 'R', "NODELIST(REASON)", nodes_or_reason},
        {"starttime", 'S', "START_TIME",
         [](const Record& r) {
           return time_text(r.waits() ? std::max(r.job.begin_at, r.expected_start) : r.started_at);
         }},
        {"statecompact", 't', "ST", compact},
        {"state", 'T', "STATE", state},
        {"username", 'u', "USER", user},
        {"userid", 'U', "UID", [](const Record& r) { return std::to_string(r.job.uid); }},
        {"submittime", 'V', "SUBMIT_TIME", [](const Record& r) { return time_text(r.job.submitted_at); }},
        {"reservation", 'v', "RESERVATION", constant("(null)")},
        {"licenses", 'W', "LICENSES", licences},
        {"wckey", 'w', "WCKEY", constant("(null)")},
        {"corespec", 'X', "CORE_SPEC", constant("N/A")},
        {"schednodes", 'Y', "SCHEDNODES", constant("(null)")},
        {"nice", 'y', "NICE", [](const Record& r) { return std::to_string(-r.job.priority); }},
        {"numtasks", 0, "TASKS", [](const Record& r) { return std::to_string(r.cpus()); }},
        {"exit_code", 0, "EXIT_CODE", [](const Record& r) { return std::to_string(std::max(r.exit_code, 0)); }},
        {"eligibletime", 0, "ELIGIBLE_TIME",
         [](const Record& r) { return time_text(std::max(r.job.begin_at, r.job.submitted_at)); }},
        {"tres-per-node", 0, "TRES_PER_NODE", gpus},
        {"cluster", 0, "CLUSTER", constant("berth")},
    };
  }();
  return all;
}

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
      return fmt::format("{:020}", r.elapsed_s(now_us));
    case 'l':
      return fmt::format("{:020}", r.job.time_limit_ms);
    default:
      for (const F& field : fields()) {
        if (field.letter == letter) return field.value(r);
      }
      return "";
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
  now_us = wall_clock_us();
  auto records = fetch_records(link, filters.want);
  if (!records) return fail("slurm_load_jobs", slurm_error(records.error()));
  if (filters.want.filter.jobs.size() == 1 && records->empty()) {
    // A job that is not known is an error, as is one that ended long ago where states were not asked for: who looks
    // whether it lives knows it by that. One that is in no state that was asked for is just absent.
    JobFilter any;
    any.jobs = filters.want.filter.jobs;
    auto rows = fetch_rows(link, any);
    const bool gone = rows && std::all_of(rows->begin(), rows->end(), [&](const JobRow& row) {
                        return !given.has("states") && is_forgotten(row, now_us);
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
    const std::time_t now = now_us / 1'000'000;
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
  now_us = wall_clock_us();
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
    line(record.id() + ".batch", "batch", job.queue, job.user, length_text(record.elapsed_s(now_us)),
         record.node_list());
    if (job.kind != JobKind::kGang) continue;
    Want of;
    of.filter.steps_of = job.id;
    of.filter.ended = false;
    auto steps = fetch_records(link, of);
    if (!steps) return fail("slurm_load_jobs", slurm_error(steps.error()));
    for (const Record& step : *steps) {
      line(record.id() + "." + std::to_string(step.job.step), step.job.name, job.queue, job.user,
           length_text(step.elapsed_s(now_us)), step.node_list());
    }
  }
  out.flush();
  return 0;
}

}  // namespace

int squeue(const Context& context, const Words& words) {
  const CommandTable& table = table_of("squeue");
  auto parsed = parse(table, words);
  if (!parsed) return fail("squeue", parsed.error().message);
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
    if (!states) return fail("squeue", "Invalid job state specified: " + given.text("states"));
    want.states = std::move(*states);
    if (want.states.empty()) filters.names = "\x01";  // states nothing is in
  }
  want.filter.ended = want.states.empty() || std::any_of(want.states.begin(), want.states.end(), is_final);
  if (given.has("jobs")) {
    auto jobs = parse_job_words(given.all("jobs"));
    if (!jobs) return fail("squeue", jobs.error().message);
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

  std::vector<Column<Record>> columns;
  if (given.has("Format")) {
    std::vector<std::string> unknown;
    columns = parse_names<Record>(given.text("Format"), fields(), 20, unknown);
    for (const std::string& name : unknown) fmt::print(stderr, "Invalid job format specification: {}\n", name);
  } else {
    const std::string format = given.text("format", given.has("start") ? kStart : given.has("long") ? kLong : kDefault);
    columns = parse_letters<Record>(format, fields());
  }
  // What sprio tells of is asked for where it is shown or sorted by; the usual order does with jobs' own priorities.
  filters.places = given.text("sort").find_first_of("pQ") != std::string::npos ||
                   std::any_of(columns.begin(), columns.end(), [](const Column<Record>& column) {
                     return column.field != nullptr && (column.field->letter == 'p' || column.field->letter == 'Q');
                   });
  filters.details = given.text("sort").find_first_of(kOfDetails) != std::string::npos ||
                    std::any_of(columns.begin(), columns.end(), [](const Column<Record>& column) {
                      return column.field != nullptr && column.field->letter != 0 &&
                             kOfDetails.find(column.field->letter) != std::string_view::npos;
                    });
  filters.counts = std::any_of(columns.begin(), columns.end(), [](const Column<Record>& column) {
    return column.field != nullptr && std::string_view(column.field->title) == "NODES";
  });
  ServerLink link(context);
  Output out;
  const std::string sort = given.text("sort", given.has("start") ? "S" : "P,t,-p");
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
