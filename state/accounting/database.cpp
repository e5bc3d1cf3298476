#include "state/accounting/database.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_set.hpp>
#include <map>
#include <tuple>

namespace berth::accounting {

using namespace state;

namespace {

// Any bytes as UTF-8 without zeros, which is all that every database takes.
std::string clean(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = byte < 0x80                   ? 1
                               : byte >= 0xC2 && byte < 0xE0 ? 2
                               : byte >= 0xE0 && byte < 0xF0 ? 3
                               : byte >= 0xF0 && byte < 0xF5 ? 4
                                                             : 0;
    bool good = byte != 0 && length != 0 && i + length <= text.size();
    for (std::size_t k = 1; good && k < length; ++k) good = (static_cast<unsigned char>(text[i + k]) & 0xC0) == 0x80;
    if (good && length > 2) {  // no forms that are longer than need be, no halves of pairs, nothing past the last
      const auto second = static_cast<unsigned char>(text[i + 1]);
      good = !(byte == 0xE0 && second < 0xA0) && !(byte == 0xED && second > 0x9F) && !(byte == 0xF0 && second < 0x90) &&
             !(byte == 0xF4 && second > 0x8F);
    }
    out.append(good ? text.substr(i, length) : std::string_view("?"));
    i += good ? length : 1;
  }
  return out;
}

void put_text(Binder& to, const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c > 0; });
  plain ? to.text(text) : to.text(clean(text));
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ",") + name;
  return text;
}

std::vector<std::string> parted(const std::string& text) {
  std::vector<std::string> names;
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t comma = std::min(text.find(',', from), text.size());
    names.push_back(text.substr(from, comma - from));
    from = comma + 1;
  }
  return names;
}

// "succeeded=10,failed=2"; one pod is told by the job's state.
std::string counts_text(const JobRow& job) {
  std::string text;
  for (std::size_t i = 0; i < kPodStates && job.pods != 1; ++i) {
    if (job.counts.by_state[i] == 0) continue;
    text += (text.empty() ? "" : ",") + std::string(name_of(static_cast<PodState>(i))) + "=" +
            std::to_string(job.counts.by_state[i]);
  }
  return text;
}

void read_counts(const std::string& text, JobRow& job) {
  if (job.pods == 1) job.counts.by_state[static_cast<std::size_t>(job.summary)] = 1;
  for (const std::string& part : parted(text)) {
    const std::size_t equals = part.find('=');
    PodState state{};
    if (equals == std::string::npos || !parse_pod_state(part.substr(0, equals), state)) continue;
    job.counts.by_state[static_cast<std::size_t>(state)] =
        static_cast<std::uint32_t>(std::strtoul(part.c_str() + equals + 1, nullptr, 10));
  }
}

constexpr const char* kKinds[] = {"single", "array", "gang"};

JobKind kind_of(const std::string& text) {
  for (const JobKind kind : {JobKind::kArray, JobKind::kGang}) {
    if (text == kKinds[static_cast<std::size_t>(kind)]) return kind;
  }
  return JobKind::kSingle;
}

PodState state_of(const std::string& text) {
  PodState state = PodState::kFailed;
  (void)parse_pod_state(text, state);
  return state;
}

// In one order: what is written, and what is read.
constexpr const char* kJobColumns =
    "id, name, user_name, uid, gid, account, qos, queue, kind, comment, state, reason, exit_code, signal, pods, "
    "counts, "
    "cpu_milli, mem_mib, gpus, priority, time_limit_ms, nodes, submitted_at, started_at, ended_at, cpu_ms, gpu_ms, "
    "mem_peak_mib, attempts, step_of, step";
constexpr int kJobColumnsCount = 31;
constexpr const char* kPodColumns =
    "element, number, node, state, attempt, exit_code, signal, mem_peak_mib, started_at, ended_at, message";
constexpr int kPodColumnsCount = 11;

std::string places(int count) {
  std::string text;
  for (int i = 1; i <= count; ++i) text += (i == 1 ? "$" : ",$") + std::to_string(i);
  return text;
}

void put_job(Binder& to, const HistoryRow& row) {
  const JobRow& job = row.job;
  to.unsigned_number(job.id.value);
  for (const std::string* text : {&job.name, &job.user}) put_text(to, *text);
  to.number(job.uid), to.number(job.gid);
  for (const std::string* text : {&job.account, &job.qos, &job.queue}) put_text(to, *text);
  to.text(kKinds[static_cast<std::size_t>(job.kind)]);
  put_text(to, job.comment);
  to.text(name_of(job.summary));
  put_text(to, job.reason);
  to.number(job.exit_code), to.number(job.signal), to.number(job.pods);
  to.text(counts_text(job));
  to.number(job.resources.cpu_milli), to.unsigned_number(job.resources.mem_mib), to.number(job.resources.gpus);
  to.number(job.priority), to.number(job.time_limit_ms);
  to.text(joined(job.nodes));
  to.number(job.submitted_at), to.number(job.started_at), to.number(job.ended_at);
  to.unsigned_number(row.cpu_ms), to.unsigned_number(row.gpu_ms), to.number(row.mem_peak_mib), to.number(row.attempts);
  to.unsigned_number(job.step_of.value), to.number(job.step);
}

// What was used in an hour or a day, by account and user.
struct Sum {
  std::uint64_t cpu_ms = 0, gpu_ms = 0, jobs = 0;
};
using Sums = std::map<std::tuple<std::int64_t, std::string, std::string>, Sum>;

Status add_sums(Sql& sql, const std::string& table, const std::string& time, const Sums& sums) {
  std::string text = "INSERT INTO " + table + " (" + time + ", account, user_name, cpu_ms, gpu_ms, jobs) VALUES (" +
                     places(6) + ") ON CONFLICT (" + time + ", account, user_name) DO UPDATE SET ";
  for (const char* column : {"cpu_ms", "gpu_ms", "jobs"}) {
    text += (text.ends_with("SET ") ? "" : ", ") + std::string(column) + " = " + table + "." + column + " + excluded." +
            column;
  }
  auto at = sums.begin();
  return sql.put(text, sums.size(), [&](std::size_t, Binder& to) {
    const auto& [when, account, user] = at->first;
    to.number(when);
    to.text(account), to.text(user);
    to.unsigned_number(at->second.cpu_ms), to.unsigned_number(at->second.gpu_ms), to.unsigned_number(at->second.jobs);
    ++at;
  });
}

class Columns {  // of a row, one after the other
 public:
  explicit Columns(const Row& row) : row_(row) {}
  std::string text() { return row_.text(at_++); }
  template <class T>
  void number(T& out) {
    out = static_cast<T>(row_.number(at_++));
  }

 private:
  const Row& row_;
  int at_ = 0;
};

HistoryRow job_of(const Row& from) {
  Columns in(from);
  HistoryRow row;
  JobRow& job = row.job;
  in.number(job.id.value);
  job.name = in.text(), job.user = in.text();
  in.number(job.uid), in.number(job.gid);
  job.account = in.text(), job.qos = in.text(), job.queue = in.text();
  job.kind = kind_of(in.text());
  job.comment = in.text();
  job.summary = state_of(in.text());
  job.reason = in.text();
  in.number(job.exit_code), in.number(job.signal), in.number(job.pods);
  const std::string counts = in.text();
  in.number(job.resources.cpu_milli), in.number(job.resources.mem_mib), in.number(job.resources.gpus);
  in.number(job.priority), in.number(job.time_limit_ms);
  job.nodes = parted(in.text());
  in.number(job.submitted_at), in.number(job.started_at), in.number(job.ended_at);
  in.number(row.cpu_ms), in.number(row.gpu_ms), in.number(row.mem_peak_mib), in.number(row.attempts);
  in.number(job.step_of.value), in.number(job.step);
  read_counts(counts, job);
  return row;
}

PodRow pod_of(const Row& from) {
  Columns in(from);
  PodRow pod;
  in.number(pod.element), in.number(pod.index);
  pod.node = in.text();
  pod.state = state_of(in.text());
  in.number(pod.attempt), in.number(pod.exit_code), in.number(pod.signal), in.number(pod.mem_peak_mib);
  in.number(pod.started_at), in.number(pod.ended_at);
  pod.message = in.text();
  return pod;
}

// ---- queries --------------------------------------------------------------------------------------------------------

struct Query {
  std::string where;
  std::vector<Value> values;
  void add(const std::string& term, Value value) {  // `?` in the term becomes the value's place
    const std::size_t at = term.find('?');
    values.push_back(std::move(value));
    and_(term.substr(0, at) + "$" + std::to_string(values.size()) + term.substr(at + 1));
  }
  void and_(const std::string& term) { where += (where.empty() ? " WHERE " : " AND ") + term; }
};

std::string ids_text(const std::vector<JobId>& jobs) {
  std::string text;
  for (const JobId job : jobs) text += (text.empty() ? "" : ",") + std::to_string(job.value);
  return "id IN (" + text + ")";
}

// The one index whose order the listing is in and whose filter sifts the most.
const char* index_for(const HistoryFilter& filter, bool of_user) {
  if (!filter.jobs.empty()) return nullptr;
  if (filter.steps_of != JobId{}) return "jobs_by_step_of";
  if (!filter.name.empty()) return "jobs_by_name";
  if (of_user) return "jobs_by_user";
  if (!filter.account.empty()) return "jobs_by_account";
  if (!filter.queue.empty()) return "jobs_by_queue";
  return filter.states.empty() ? "jobs_by_end" : "jobs_by_state";
}

bool has_state(std::string_view index) { return index != "jobs_by_end" && index != "jobs_by_step_of"; }

// All but the states.
Query query_for(const HistoryRequest& request, const std::optional<Whose>& whose) {
  const HistoryFilter& filter = request.filter;
  Query query;
  if (!filter.jobs.empty()) {
    query.and_(ids_text(filter.jobs));
  } else if (filter.steps_of != JobId{}) {
    query.add("step_of = ?", static_cast<std::int64_t>(filter.steps_of.value));
    query.and_("step_of <> 0");
  } else {
    query.and_("step_of = 0");
  }
  if (whose) {
    query.add("user_name = ?", clean(whose->user));
    query.add("uid = ?", std::int64_t{whose->uid});
  } else if (!filter.user.empty()) {
    query.add("user_name = ?", clean(filter.user));
  }
  if (!filter.account.empty()) query.add("account = ?", clean(filter.account));
  if (!filter.queue.empty()) query.add("queue = ?", clean(filter.queue));
  if (!filter.name.empty()) query.add("name = ?", clean(filter.name));
  if (filter.since != 0) query.add("ended_at >= ?", filter.since);
  if (filter.until != 0) query.add("ended_at < ?", filter.until);
  if (request.after.job != JobId{}) {
    query.add("(ended_at, id) < (?, " + std::to_string(request.after.job.value) + ")", request.after.ended_at);
  }
  return query;
}

}  // namespace

bool is_postgres(const std::string& where) {
  return where.starts_with("postgresql://") || where.starts_with("postgres://");
}

Result<std::unique_ptr<Sql>> open_sql(const std::string& where, Access access) {
  return is_postgres(where) ? open_postgres(where, access) : open_sqlite(where, access);
}

Database::~Database() = default;

Result<std::unique_ptr<Database>> Database::open(const std::string& where, Access access, const std::string& cluster) {
  auto sql = open_sql(where, access);
  if (!sql) return sql.error();
  if (access == Access::kWrite) {
    if (Status migrated = migrate(**sql); !migrated) return migrated.error();
  } else {
    const auto schema = schema_of(**sql);
    if (!schema) return schema.error();
    if (*schema != kSchema) {
      return Error{ErrorCode::kUnavailable, "",
                   "the accounting database is not ready: it has schema " + std::to_string(*schema) + " of " +
                       std::to_string(kSchema),
                   1000};
    }
  }
  std::unique_ptr<Database> database(new Database(std::move(*sql)));
  if (access == Access::kWrite) {
    if (Status prepared = database->prepare(cluster); !prepared) return prepared.error();
  }
  return database;
}

// Whose it is, and how far it goes.
Status Database::prepare(const std::string& cluster) {
  std::string owner;
  Status done = sql_->ask("SELECT cluster FROM progress", {}, [&](const Row& row) { owner = row.text(0); });
  if (done && owner.empty()) {
    const Value value = cluster;
    done = sql_->ask("UPDATE progress SET cluster = $1", std::span(&value, 1), [](const Row&) {});
  } else if (done && owner != cluster) {
    return Error{ErrorCode::kConflict, "",
                 "the accounting database is another cluster's: its authority begins with " + owner.substr(0, 12) +
                     ", ours with " + cluster.substr(0, 12),
                 0};
  }
  return done ? read_reach(false) : done;
}

Status Database::read_reach(bool lock) {
  // Whoever is still at it, of an earlier server, is waited for.
  const bool for_update = lock && sql_->make() == Sql::Make::kPostgres;
  return sql_->ask(std::string("SELECT complete_index, complete_at, forgotten_before FROM progress") +
                       (for_update ? " FOR UPDATE" : ""),
                   {}, [&](const Row& row) {
                     reach_ = {static_cast<std::uint64_t>(row.number(0)), row.number(1)};
                     forgotten_before_ = row.number(2);
                   });
}

// ---- writing --------------------------------------------------------------------------------------------------------

Status Database::write(std::span<const Ended> units) {
  if (Status begun = sql_->run(sql_->make() == Sql::Make::kSqlite ? "BEGIN IMMEDIATE" : "BEGIN"); !begun) return begun;
  Status done = read_reach(true);
  Reach reach = reach_;
  for (const Ended& unit : units) {
    if (unit.index > reach.index) reach = {unit.index, unit.at};
  }
  if (done) done = write_in_transaction(units, reach);
  if (done) done = sql_->run("COMMIT");
  if (!done) {
    (void)sql_->run("ROLLBACK");
    return done;
  }
  reach_ = reach;
  return state::Unit{};
}

Status Database::write_in_transaction(std::span<const Ended> units, Reach reach) {
  const auto jobs = unknown(units);
  if (!jobs) return jobs.error();
  if (Status done = put_jobs(*jobs); !done) return done;
  if (Status done = put_pods(*jobs); !done) return done;
  if (Status done = put_usage(*jobs); !done) return done;
  return sql_->put("UPDATE progress SET complete_index = $1, complete_at = $2", 1, [&](std::size_t, Binder& to) {
    to.unsigned_number(reach.index);
    to.number(reach.at);
  });
}

// What is not there yet, each once.
Result<std::vector<const JobRecord*>> Database::unknown(std::span<const Ended> units) {
  constexpr std::size_t kAtOnce = 1000;
  boost::unordered_flat_set<std::uint64_t> known;
  std::vector<const JobRecord*> jobs;
  for (const Ended& unit : units) {
    for (const JobRecord& job : unit.jobs) {
      const bool old = job.row.job.ended_at < forgotten_before_;
      if (!old && known.insert(job.row.job.id.value).second) jobs.push_back(&job);
    }
  }
  known.clear();
  for (std::size_t from = 0; from < jobs.size(); from += kAtOnce) {
    std::vector<JobId> ids;
    for (std::size_t i = from; i < std::min(jobs.size(), from + kAtOnce); ++i) ids.push_back(jobs[i]->row.job.id);
    Status asked = sql_->ask("SELECT id FROM jobs WHERE " + ids_text(ids), {},
                             [&](const Row& row) { known.insert(static_cast<std::uint64_t>(row.number(0))); });
    if (!asked) return asked.error();
  }
  if (!known.empty()) std::erase_if(jobs, [&](const JobRecord* job) { return known.contains(job->row.job.id.value); });
  return jobs;
}

Status Database::put_jobs(const std::vector<const JobRecord*>& jobs) {
  static const std::string kInsert =
      std::string("INSERT INTO jobs (") + kJobColumns + ") VALUES (" + places(kJobColumnsCount) + ")";
  return sql_->put(kInsert, jobs.size(), [&](std::size_t i, Binder& to) { put_job(to, jobs[i]->row); });
}

Status Database::put_pods(const std::vector<const JobRecord*>& jobs) {
  static const std::string kInsert =
      std::string("INSERT INTO pods (") + kPodColumns + ", job) VALUES (" + places(kPodColumnsCount + 1) + ")";
  std::vector<std::pair<JobId, const PodRow*>> pods;
  for (const JobRecord* job : jobs) {
    for (const PodRow& pod : job->pods) pods.emplace_back(job->row.job.id, &pod);
  }
  return sql_->put(kInsert, pods.size(), [&](std::size_t i, Binder& to) {
    const PodRow& pod = *pods[i].second;
    to.number(pod.element), to.number(pod.index);
    put_text(to, pod.node);
    to.text(name_of(pod.state));
    to.number(pod.attempt), to.number(pod.exit_code), to.number(pod.signal), to.number(pod.mem_peak_mib);
    to.number(pod.started_at), to.number(pod.ended_at);
    put_text(to, pod.message);
    to.unsigned_number(pods[i].first.value);
  });
}

Status Database::put_usage(const std::vector<const JobRecord*>& jobs) {
  constexpr std::int64_t kHoursADay = 24;
  Sums hours, days;
  for (const JobRecord* record : jobs) {
    const JobRow& job = record->row.job;
    if (job.step_of != JobId{}) continue;
    const std::string account = clean(job.account), user = clean(job.user);
    ++hours[{job.ended_at / kHourUs, account, user}].jobs;
    for (const HourUse& use : record->hours) {
      Sum& sum = hours[{use.hour, account, user}];
      sum.cpu_ms += use.cpu_ms;
      sum.gpu_ms += use.gpu_ms;
    }
  }
  for (const auto& [key, sum] : hours) {
    Sum& day = days[{std::get<0>(key) / kHoursADay, std::get<1>(key), std::get<2>(key)}];
    day.cpu_ms += sum.cpu_ms;
    day.gpu_ms += sum.gpu_ms;
    day.jobs += sum.jobs;
  }
  Status done = add_sums(*sql_, "used", "hour", hours);
  return done ? add_sums(*sql_, "used_days", "day", days) : done;
}

Result<std::uint64_t> Database::forget(TimeUs before, std::uint32_t limit) {
  if (Status begun = sql_->run(sql_->make() == Sql::Make::kSqlite ? "BEGIN IMMEDIATE" : "BEGIN"); !begun) {
    return begun.error();
  }
  Status done = read_reach(true);
  std::vector<JobId> ids;
  const Value bound = before;
  if (done) {
    done = sql_->ask("SELECT id FROM jobs WHERE ended_at < $1 ORDER BY ended_at LIMIT " + std::to_string(limit),
                     std::span(&bound, 1),
                     [&](const Row& row) { ids.push_back(JobId{static_cast<std::uint64_t>(row.number(0))}); });
  }
  if (done && !ids.empty()) {
    const std::string in = ids_text(ids).substr(2);
    done = sql_->run("DELETE FROM pods WHERE job" + in + ";DELETE FROM jobs WHERE id" + in);
  }
  if (done) {
    done = sql_->put("UPDATE progress SET forgotten_before = $1", 1,
                     [&](std::size_t, Binder& to) { to.number(std::max(before, forgotten_before_)); });
  }
  if (done) done = sql_->run("COMMIT");
  if (!done) {
    (void)sql_->run("ROLLBACK");
    return done.error();
  }
  return std::uint64_t{ids.size()};
}

// ---- reading --------------------------------------------------------------------------------------------------------

Result<HistoryPage> Database::history(const HistoryRequest& request, const std::optional<Whose>& whose) {
  const HistoryFilter& filter = request.filter;
  constexpr std::size_t kJobsMax = 1000;
  if (filter.jobs.size() > kJobsMax) {
    return invalid("job", std::to_string(filter.jobs.size()) + " jobs; accepted: at most 1000 at once");
  }
  const std::uint32_t limit = std::clamp<std::uint32_t>(request.limit, 1, kHistoryRowsMax);
  const char* index = index_for(filter, whose.has_value() || !filter.user.empty());
  const Query query = query_for(request, whose);
  std::vector<PodState> states = filter.states;
  std::sort(states.begin(), states.end());
  states.erase(std::unique(states.begin(), states.end()), states.end());
  std::string select = std::string("SELECT ") + kJobColumns + " FROM jobs";
  if (index != nullptr && sql_->make() == Sql::Make::kSqlite) select += std::string(" INDEXED BY ") + index;
  select += query.where;
  std::string text;
  if (index != nullptr && has_state(index)) {
    // Each state is a list by itself there; the database merges them as they are read.
    if (states.empty()) {
      states = {PodState::kSucceeded, PodState::kFailed,   PodState::kOutOfMemory, PodState::kTimedOut,
                PodState::kCancelled, PodState::kNodeLost, PodState::kDeadline};
    }
    for (const PodState state : states) {
      text += (text.empty() ? "" : " UNION ALL ") + select + " AND state = '" + std::string(name_of(state)) + "'";
    }
  } else {
    std::string names;
    for (const PodState state : states) names += (names.empty() ? "'" : ",'") + std::string(name_of(state)) + "'";
    text = select + (names.empty() ? "" : " AND state IN (" + names + ")");
  }
  text += " ORDER BY ended_at DESC, id DESC LIMIT " + std::to_string(limit + 1);
  HistoryPage page;
  Status asked = sql_->ask(text, query.values, [&](const Row& row) { page.rows.push_back(job_of(row)); });
  if (!asked) return asked.error();
  if (page.rows.size() > limit) {
    page.rows.resize(limit);
    page.next = {page.rows.back().job.ended_at, page.rows.back().job.id};
  }
  return page;
}

Result<PodPage> Database::pods(const HistoryPodsRequest& request, const std::optional<Whose>& whose) {
  HistoryRequest of;
  of.filter.jobs = {request.job};
  auto found = history(of, whose);
  if (!found) return found.error();
  const std::string name = "job " + std::to_string(request.job.value);
  if (found->rows.empty()) {
    return Error{ErrorCode::kNotFound, "job", "no " + name + " that has ended is in the history", 0};
  }
  const HistoryRow& job = found->rows.front();
  PodPage page;
  if (job.job.pods == 1) {
    if (request.from_element == 0) page.rows.push_back(only_pod(job));
    return page;
  }
  if (job.job.pods > kHistoryPodsMax) {
    return Error{ErrorCode::kNotFound, "job",
                 name + " had " + std::to_string(job.job.pods) + " pods: of jobs with more than " +
                     std::to_string(kHistoryPodsMax) + " the history does not keep them one by one",
                 0};
  }
  const std::uint32_t limit = std::clamp<std::uint32_t>(request.limit, 1, kHistoryRowsMax);
  const Value values[] = {static_cast<std::int64_t>(request.job.value), std::int64_t{request.from_element}};
  Status asked =
      sql_->ask(std::string("SELECT ") + kPodColumns +
                    " FROM pods WHERE job = $1 AND element >= $2 ORDER BY element LIMIT " + std::to_string(limit + 1),
                values, [&](const Row& row) { page.rows.push_back(pod_of(row)); });
  if (!asked) return asked.error();
  if (page.rows.size() > limit) {
    page.more = true;
    page.next_element = page.rows.back().element;
    page.rows.pop_back();
  }
  return page;
}

Result<UsagePage> Database::usage(const UsageRequest& request, const std::optional<Whose>& whose) {
  const auto hour_from = [](TimeUs at) { return (at + kHourUs - 1) / kHourUs; };
  constexpr std::int64_t kHoursADay = 24, kNever = INT64_MAX / 2;
  const std::int64_t from = request.since > 0 ? hour_from(request.since) : 0;
  const std::int64_t to = request.until > 0 ? hour_from(request.until) : kNever;
  // Whole days by the day, what is left at both ends by the hour.
  const std::int64_t first_day = (from + kHoursADay - 1) / kHoursADay, last_day = to / kHoursADay;
  const bool account = request.by != UsageRequest::By::kUser, user = request.by != UsageRequest::By::kAccount;
  std::string parts;
  std::vector<Value> values;
  if (whose) values.emplace_back(clean(whose->user));
  const auto add = [&](const char* table, const char* time, std::int64_t begin, std::int64_t end) {
    if (begin >= end) return;
    parts += std::string(parts.empty() ? "" : " UNION ALL ") + "SELECT account, user_name, cpu_ms, gpu_ms, jobs FROM " +
             table + " WHERE " + time + " >= " + std::to_string(begin) + " AND " + time + " < " + std::to_string(end) +
             (whose ? " AND user_name = $1" : "");
  };
  if (first_day < last_day) {
    add("used", "hour", from, first_day * kHoursADay);
    add("used_days", "day", first_day, last_day);
    add("used", "hour", last_day * kHoursADay, to);
  } else {
    add("used", "hour", from, to);
  }
  UsagePage page;
  if (parts.empty()) return page;
  const std::string by = account && user ? "account, user_name" : account ? "account" : "user_name";
  std::string text = std::string("SELECT ") + (account ? "account" : "''") + ", " + (user ? "user_name" : "''") +
                     ", CAST(sum(cpu_ms) AS BIGINT) AS cpu, CAST(sum(gpu_ms) AS BIGINT), CAST(sum(jobs) AS BIGINT)"
                     " FROM (" +
                     parts + ") AS parts GROUP BY " + by + " ORDER BY cpu DESC, " + by;
  Status asked = sql_->ask(text, values, [&](const Row& answer) {
    Columns in(answer);
    UsageRow row;
    row.account = in.text(), row.user = in.text();
    in.number(row.cpu_ms), in.number(row.gpu_ms), in.number(row.jobs);
    page.rows.push_back(std::move(row));
  });
  if (!asked) return asked.error();
  return page;
}

}  // namespace berth::accounting
