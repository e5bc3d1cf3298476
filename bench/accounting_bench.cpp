// The accounting's database, filled with the jobs of a year and then asked what people ask; and what a record costs the
// core's thread.
//   accounting_bench WHERE JOBS ROUNDS   WHERE: a directory (SQLite) or postgresql://…; prints one flat JSON object.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "state/accounting/database.h"
#include "state/accounting/spool.h"

namespace {

using namespace berth;
using namespace berth::state;
using namespace berth::accounting;
using Clock = std::chrono::steady_clock;

constexpr TimeUs kHour = kHourUs, kDay = 24 * kHour;
constexpr TimeUs kFrom = 1'767'225'600'000'000;  // 2026-01-01
constexpr TimeUs kTo = kFrom + 365 * kDay;
constexpr std::size_t kUsers = 400, kAccounts = 40, kQueues = 8, kNames = 3'000, kNodes = 2'000;
constexpr std::size_t kJobsInUnit = 64, kJobsAtOnce = 4'000;  // as the accountant writes

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "accounting_bench: {}\n", what);
  std::exit(1);
}

template <class T>
T must(Result<T> result) {
  if (!result) fail(result.error().message);
  return std::move(*result);
}

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double percentile(std::vector<double>& values, double part) {
  std::sort(values.begin(), values.end());
  const auto at = static_cast<std::size_t>(std::ceil(part * static_cast<double>(values.size())));
  return values[std::min(values.size() - 1, at == 0 ? 0 : at - 1)];
}

// A year of a busy cluster: few users with most of the jobs, most of them short, one in twelve gone wrong, one in
// twenty an array.
class Year {
 public:
  explicit Year(std::uint64_t jobs) : jobs_(jobs) {}
  std::size_t skewed(std::size_t count) {  // the first are the busiest
    const double u = std::uniform_real_distribution<>(0, 1)(rng_);
    return static_cast<std::size_t>(u * u * u * static_cast<double>(count));
  }
  std::uint64_t random(std::uint64_t below) { return rng_() % below; }
  static std::string user(std::size_t n) { return fmt::format("user{:03}", n); }
  static std::string account(std::size_t n) { return fmt::format("account{:02}", n); }
  static std::string queue(std::size_t n) { return fmt::format("queue{}", n); }
  static std::string name(std::size_t n) { return fmt::format("simulation-{}", n); }

  JobRecord next() {
    JobRecord record;
    HistoryRow& row = record.row;
    JobRow& job = row.job;
    job.id = JobId{++last_};
    const std::size_t user_number = skewed(kUsers);
    job.user = user(user_number);
    job.uid = job.gid = static_cast<std::uint32_t>(10'000 + user_number);
    job.account = account(user_number % kAccounts);
    job.qos = "normal";
    job.queue = queue(skewed(kQueues));
    job.name = name(skewed(kNames));
    const std::uint64_t fate = random(100);
    job.summary = fate < 92   ? PodState::kSucceeded
                  : fate < 96 ? PodState::kFailed
                  : fate < 98 ? PodState::kCancelled
                              : PodState::kTimedOut;
    job.exit_code = static_cast<std::int16_t>(job.summary == PodState::kSucceeded ? 0 : 1);
    job.pods = random(20) == 0 ? 10 : 1;
    job.kind = job.pods == 1 ? JobKind::kSingle : JobKind::kArray;
    job.counts.by_state[static_cast<std::size_t>(job.summary)] = job.pods;
    job.resources = {static_cast<std::uint32_t>(1000 * (1 + random(16))), 4096, 0};
    job.ended_at = kFrom + static_cast<TimeUs>(static_cast<double>(last_) / static_cast<double>(jobs_) * (kTo - kFrom));
    const auto ran = static_cast<TimeUs>(std::lognormal_distribution<>(5.5, 1.5)(rng_) * 1e6);
    job.started_at = job.ended_at - std::min<TimeUs>(ran, 3 * kDay);
    job.submitted_at = job.started_at - static_cast<TimeUs>(random(kHour));
    job.nodes.push_back(fmt::format("node{:04}", random(kNodes)));
    row.mem_peak_mib = static_cast<std::uint32_t>(random(4096));
    row.attempts = 1;
    for (TimeUs at = job.started_at; at < job.ended_at;) {
      const TimeUs until = std::min((at / kHour + 1) * kHour, job.ended_at);
      const std::uint64_t ms =
          static_cast<std::uint64_t>(until - at) / 1000 * job.resources.cpu_milli / 1000 * job.pods;
      record.hours.push_back({at / kHour, ms, 0});
      row.cpu_ms += ms;
      at = until;
    }
    for (std::uint32_t e = 0; job.pods > 1 && e < job.pods; ++e) {
      record.pods.push_back(
          {e, e, job.summary, 1, job.nodes[0], job.exit_code, 0, 100, job.started_at, job.ended_at, ""});
    }
    return record;
  }

 private:
  std::mt19937_64 rng_{20261129};
  std::uint64_t jobs_, last_ = 0;
};

void print(bool& first, const std::string& name, double value) {
  fmt::print("{}\n  \"{}\": {:.3f}", first ? "{" : ",", name, value);
  first = false;
}

// What the core's thread does for each job that ends, and what the spool's does.
void measure_records(const std::string& directory, bool& first) {
  constexpr std::uint32_t kJobs = 20'000, kPods = 1'000'000;
  Cluster cluster;
  NodeInfo info;
  info.name = "node1";
  Batch batch{1, kFrom, {NodeJoined{NodeId{1}, info}}};
  for (std::uint32_t n = 1; n <= kJobs + 1; ++n) {
    JobSubmitted submitted{JobId{n}, Owner{1000, 1000, "somebody", {}}, {}};
    submitted.spec.name = "simulation-17";
    submitted.spec.account = "physics";
    submitted.spec.request.resources.cpu_milli = 1000;
    if (n > kJobs) submitted.spec.elements = IndexSet::dense(kPods);
    PodsBound bound;
    PodsEnded ended;
    for (std::uint32_t e = 0; e < submitted.spec.elements.size(); ++e) {
      const PodRef ref{{JobId{n}, e}, 1};
      bound.binds.push_back({ref, NodeId{1}, 0});
      PodOutcome outcome{PodState::kSucceeded, 0, 0, 0, 1, NodeId{1}, 50, kFrom - 90'000'000 - e, kFrom - e};
      ended.ends.push_back({ref, outcome, ""});
    }
    batch.events.emplace_back(std::move(submitted));
    batch.events.emplace_back(std::move(bound));
    batch.events.emplace_back(std::move(ended));
  }
  must(cluster.apply(batch));
  Ended unit{1, kFrom, {}};
  unit.jobs.reserve(kJobs);
  auto start = Clock::now();
  for (std::uint32_t n = 1; n <= kJobs; ++n) unit.jobs.push_back(record_of(cluster, *cluster.job(JobId{n})));
  print(first, "record_of_a_job_ns", us_since(start) * 1000 / kJobs);
  start = Clock::now();
  const JobRecord large = record_of(cluster, *cluster.job(JobId{kJobs + 1}));
  print(first, "record_of_a_million_pods_ms", us_since(start) / 1000);
  if (large.row.cpu_ms == 0) fail("a million pods used nothing");
  if (is_postgres(directory)) return;
  auto spool = must(Spool::open(directory + "/spool.db"));
  std::vector<Ended> parts;
  for (std::size_t from = 0; from < kJobs; from += kJobsInUnit) {
    const auto at = unit.jobs.begin() + static_cast<std::ptrdiff_t>(from);
    const auto to = at + static_cast<std::ptrdiff_t>(std::min<std::size_t>(kJobsInUnit, kJobs - from));
    parts.push_back({from + 1, kFrom, {at, to}});
  }
  start = Clock::now();
  must(spool->add(parts));
  print(first, "spool_jobs_per_s", kJobs / us_since(start) * 1e6);
}

double fill(Database& database, Year& year, std::uint64_t jobs) {
  double us = 0;
  std::uint64_t done = 0, index = 0;
  while (done < jobs) {
    std::vector<Ended> units;
    for (std::size_t n = 0; n < kJobsAtOnce && done < jobs; n += kJobsInUnit) {
      Ended unit{++index, 0, {}};
      for (std::size_t k = 0; k < kJobsInUnit && done < jobs; ++k, ++done) unit.jobs.push_back(year.next());
      unit.at = unit.jobs.back().row.job.ended_at;
      units.push_back(std::move(unit));
    }
    const auto start = Clock::now();
    must(database.write(units));
    us += us_since(start);
  }
  return us;
}

struct Question {
  const char* name;
  std::function<HistoryRequest(Year&)> make;
};

std::vector<Question> questions(std::uint64_t jobs) {
  const auto filtered = [](auto change) {
    return [change](Year& year) {
      HistoryRequest request;
      request.limit = 100;
      change(request.filter, year);
      return request;
    };
  };
  const auto user = [](HistoryFilter& f, Year& y) { f.user = Year::user(y.skewed(kUsers)); };
  const auto week = [](HistoryFilter& f, Year& y) {
    f.since = kFrom + static_cast<TimeUs>(y.random(358)) * kDay;
    f.until = f.since + 7 * kDay;
  };
  return {
      {"newest", filtered([](HistoryFilter&, Year&) {})},
      {"a_week", filtered(week)},
      {"user", filtered(user)},
      {"user_in_a_week", filtered([=](HistoryFilter& f, Year& y) { user(f, y), week(f, y); })},
      {"user_failed", filtered([=](HistoryFilter& f, Year& y) {
         user(f, y);
         f.states = {PodState::kFailed, PodState::kTimedOut};
       })},
      {"account", filtered([](HistoryFilter& f, Year& y) { f.account = Year::account(y.random(kAccounts)); })},
      {"account_in_a_week",
       filtered([=](HistoryFilter& f, Year& y) { f.account = Year::account(y.random(kAccounts)), week(f, y); })},
      {"queue", filtered([](HistoryFilter& f, Year& y) { f.queue = Year::queue(y.random(kQueues)); })},
      {"name", filtered([](HistoryFilter& f, Year& y) { f.name = Year::name(y.skewed(kNames)); })},
      {"failed", filtered([](HistoryFilter& f, Year&) { f.states = {PodState::kFailed}; })},
      {"not_succeeded", filtered([](HistoryFilter& f, Year&) {
         f.states = {PodState::kFailed, PodState::kCancelled, PodState::kTimedOut};
       })},
      {"user_and_queue", filtered([=](HistoryFilter& f, Year& y) {
         user(f, y);
         f.queue = Year::queue(y.random(kQueues));
       })},
      // The worst: nothing is found, after all that the user ever had was looked at.
      {"user_without_any", filtered([](HistoryFilter& f, Year&) {
         f.user = Year::user(0);
         f.states = {PodState::kNodeLost};
       })},
      {"job", filtered([jobs](HistoryFilter& f, Year& y) { f.jobs = {JobId{1 + y.random(jobs)}}; })},
  };
}

void measure(Database& database, Year& year, std::uint64_t jobs, int rounds, bool& first) {
  std::vector<double> all;
  for (const Question& question : questions(jobs)) {
    std::vector<double> us;
    std::size_t rows = 0;
    for (int round = 0; round < rounds; ++round) {
      const HistoryRequest request = question.make(year);
      const auto start = Clock::now();
      rows += must(database.history(request, {})).rows.size();
      us.push_back(us_since(start));
    }
    all.insert(all.end(), us.begin(), us.end());
    if (rows == 0 && jobs >= 100'000 && std::string(question.name) != "user_without_any")
      fail(std::string(question.name) + " found nothing");
    print(first, fmt::format("{}_p50_ms", question.name), percentile(us, 0.5) / 1000);
    print(first, fmt::format("{}_p99_ms", question.name), percentile(us, 0.99) / 1000);
  }
  print(first, "all_queries_p50_ms", percentile(all, 0.5) / 1000);
  print(first, "all_queries_p99_ms", percentile(all, 0.99) / 1000);
  for (const auto& [name, days] : {std::pair{"usage_of_a_month", 30}, std::pair{"usage_of_the_year", 365}}) {
    std::vector<double> us;
    for (int round = 0; round < std::max(1, rounds / 20); ++round) {
      const TimeUs since = kTo - days * kDay;
      const auto start = Clock::now();
      if (must(database.usage({UsageRequest::By::kAccount, since, kTo + kDay}, {})).rows.empty()) fail("no usage");
      us.push_back(us_since(start));
    }
    print(first, fmt::format("{}_p50_ms", name), percentile(us, 0.5) / 1000);
    print(first, fmt::format("{}_p99_ms", name), percentile(us, 0.99) / 1000);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) fail("usage: accounting_bench DIRECTORY|postgresql://… JOBS ROUNDS");
  const std::string where = argv[1];
  const std::uint64_t jobs = std::strtoull(argv[2], nullptr, 10);
  const int rounds = std::atoi(argv[3]);
  const std::string path = is_postgres(where) ? where : where + "/accounting.db";
  bool first = true;
  measure_records(where, first);
  Year year(jobs);
  {
    auto database = must(Database::open(path, Access::kWrite, "bench"));
    const double us = fill(*database, year, jobs);
    print(first, "jobs", static_cast<double>(jobs));
    print(first, "jobs_written_per_s", static_cast<double>(jobs) / us * 1e6);
  }
  if (!is_postgres(where)) {
    print(first, "bytes_per_job", static_cast<double>(std::filesystem::file_size(path)) / static_cast<double>(jobs));
  }
  if (is_postgres(where)) {  // what PostgreSQL does by itself within a minute
    const auto sql = must(open_sql(path, Access::kWrite));
    must(sql->run("ANALYZE"));
  }
  auto database = must(Database::open(path, Access::kRead, "bench"));
  measure(*database, year, jobs, rounds, first);
  std::uint64_t counted = 0;
  const UsagePage usage = must(database->usage({}, {}));
  for (const UsageRow& row : usage.rows) counted += row.jobs;
  if (counted != jobs) fail(fmt::format("{} jobs were written, {} are counted", jobs, counted));
  print(first, "jobs_counted", static_cast<double>(counted));
  fmt::print("\n}}\n");
  return 0;
}
