// The records of the accounting and its database: what is asked of the past is answered as a plain search through all
// of it would.
#include <algorithm>
#include <gtest/gtest.h>
#include <map>

#include "tests/api/accounting_world.h"

namespace berth::accounting {
namespace {

using namespace state;

// ---- records --------------------------------------------------------------------------------------------------------

TEST(AccountingRecord, HoursAreWhatAMicrosecondByMicrosecondCountGives) {
  World world(3);
  world.end_jobs(200);
  for (const auto& each : world.cluster().jobs()) {
    const auto& job = each.second;
    const JobRecord record = record_of(world.cluster(), *job);
    std::map<std::int64_t, double> hours;  // cpu-milliseconds
    double all = 0;
    job->outcomes.each(0, [&](std::uint32_t, const PodOutcome& outcome) {
      for (TimeUs at = outcome.started_at; at < outcome.ended_at;) {
        const TimeUs next = std::min((at / kHourUs + 1) * kHourUs, outcome.ended_at);
        const double cpu_ms = static_cast<double>(next - at) / 1e6 * job->spec.request.resources.cpu_milli;
        hours[at / kHourUs] += cpu_ms;
        all += cpu_ms;
        at = next;
      }
      return true;
    });
    std::uint64_t sum = 0;
    for (const HourUse& use : record.hours) {
      EXPECT_NEAR(static_cast<double>(use.cpu_ms), hours[use.hour], 1.0) << "job " << job->id.value;
      sum += use.cpu_ms;
      hours.erase(use.hour);
    }
    for (const auto& [hour, cpu_ms] : hours) EXPECT_LT(cpu_ms, 1.0) << "an hour is missing";
    EXPECT_EQ(record.row.cpu_ms, sum);
    EXPECT_NEAR(static_cast<double>(sum), all, 8.0);
  }
}

TEST(AccountingRecord, AStepUsesNothingThatItsJobDoesNotAlreadyHave) {
  World world;
  JobSpec spec = world.some_spec();
  spec.step_of = JobId{1};
  spec.step.number = 4;
  world.end_jobs({world.some_spec(), spec});
  const JobRecord record = record_of(world.cluster(), *world.cluster().job(JobId{2}));
  EXPECT_TRUE(record.hours.empty());
  EXPECT_EQ(record.row.job.step_of, JobId{1});
  EXPECT_EQ(record.row.job.step, 4U);
}

TEST(AccountingRecord, ComesBackFromBytesAsItWasAndNoBytesDoHarm) {
  World world(9);
  const Batch batch = world.end_jobs(50);
  const Ended unit = unit_of(world.cluster(), batch);
  const std::string bytes = encode_ended(unit);
  const auto back = decode_ended(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(encode_ended(*back), bytes);
  EXPECT_EQ(back->index, unit.index);
  ASSERT_EQ(back->jobs.size(), 50U);
  for (std::size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(back->jobs[i].row.job.nodes, unit.jobs[i].row.job.nodes);
    EXPECT_EQ(back->jobs[i].row.job.exit_code, unit.jobs[i].row.job.exit_code);
    EXPECT_EQ(back->jobs[i].row.job.priority, unit.jobs[i].row.job.priority);
    EXPECT_EQ(back->jobs[i].hours, unit.jobs[i].hours);
    EXPECT_EQ(back->jobs[i].pods.size(), unit.jobs[i].pods.size());
  }
  for (std::size_t keep = 0; keep < bytes.size(); keep += 7) EXPECT_FALSE(decode_ended(bytes.substr(0, keep)));
  for (int i = 0; i < 2000; ++i) {
    std::string bad = bytes;
    bad[world.random(bad.size())] = static_cast<char>(world.random(256));
    (void)decode_ended(bad);
  }
}

// ---- the database ---------------------------------------------------------------------------------------------------

TEST(AccountingDatabase, WhatIsGivenTwiceIsThereOnceAndUsedOnce) {
  const Directory directory;
  World world(5);
  auto database = open(directory.file("a.db"));
  std::vector<Ended> units;
  for (int i = 0; i < 10; ++i) {
    const Batch batch = world.end_jobs(20);
    units.push_back(unit_of(world.cluster(), batch));
  }
  ASSERT_TRUE(database->write(units));
  ASSERT_TRUE(database->write(units));
  database = open(directory.file("a.db"));
  ASSERT_TRUE(database->write(std::span(units).subspan(3, 4)));
  EXPECT_EQ(database->reach().index, units.back().index);
  const auto rows = all_rows(*database);
  EXPECT_EQ(rows.size(), 200U);
  std::uint64_t cpu_ms = 0, gpu_ms = 0;
  for (const HistoryRow& row : rows) {
    cpu_ms += row.cpu_ms;
    gpu_ms += row.gpu_ms;
    EXPECT_EQ(text_of(row), text_of(record_of(world.cluster(), *world.cluster().job(row.job.id)).row));
  }
  for (const auto by : {UsageRequest::By::kAccount, UsageRequest::By::kUser, UsageRequest::By::kBoth}) {
    const auto usage = database->usage({by, 0, 0}, {});
    ASSERT_TRUE(usage);
    UsageRow sum;
    for (const UsageRow& row : usage->rows) {
      sum.cpu_ms += row.cpu_ms;
      sum.gpu_ms += row.gpu_ms;
      sum.jobs += row.jobs;
    }
    EXPECT_EQ(sum.jobs, 200U);
    EXPECT_EQ(sum.cpu_ms, cpu_ms);
    EXPECT_EQ(sum.gpu_ms, gpu_ms);
  }
}

TEST(AccountingDatabase, FiltersFindWhatLookingAtEachRowFinds) {
  const Directory directory;
  World world(7);
  auto database = open(directory.file("a.db"));
  std::vector<HistoryRow> all;
  for (int i = 0; i < 40; ++i) {
    const Batch batch = world.end_jobs(10);
    Ended unit{batch.index, batch.at, {}};
    for (std::uint64_t id = world.cluster().last_job_id().value - 9; id <= world.cluster().last_job_id().value; ++id) {
      unit.jobs.push_back(record_of(world.cluster(), *world.cluster().job(JobId{id})));
      all.push_back(unit.jobs.back().row);
    }
    ASSERT_TRUE(database->write(std::span(&unit, 1)));
  }
  std::sort(all.begin(), all.end(), [](const HistoryRow& a, const HistoryRow& b) {
    return std::tie(a.job.ended_at, a.job.id) > std::tie(b.job.ended_at, b.job.id);
  });
  std::size_t found = 0;
  for (int round = 0; round < 400; ++round) {
    HistoryRequest request;
    HistoryFilter& filter = request.filter;
    std::optional<Whose> whose;
    request.limit = static_cast<std::uint32_t>(1 + world.random(60));
    const auto often = [&] { return world.random(4) == 0; };
    if (often()) filter.user = "user" + std::to_string(world.random(4));
    if (often()) filter.account = "account" + std::to_string(world.random(4));
    if (often()) filter.queue = world.random(2) == 0 ? "gpu" : "default";
    if (often()) filter.name = "name" + std::to_string(world.random(5));
    if (often()) filter.since = all[world.random(all.size())].job.ended_at;
    if (often()) filter.until = all[world.random(all.size())].job.ended_at;
    if (often()) {
      for (std::uint64_t n = 1 + world.random(3); n != 0; --n) {
        filter.states.push_back(static_cast<PodState>(3 + world.random(6)));
      }
    }
    if (often() && often()) {
      for (int n = 0; n < 30; ++n) filter.jobs.push_back(JobId{1 + world.random(500)});
    }
    if (often()) whose = Whose{1001, "user1"};
    std::vector<std::uint64_t> expected;
    for (const HistoryRow& row : all) {
      const JobRow& job = row.job;
      const auto in = [](const auto& list, const auto& item) {
        return list.empty() || std::find(list.begin(), list.end(), item) != list.end();
      };
      const std::string& user = whose ? whose->user : filter.user;
      const bool matches =
          (user.empty() || job.user == user) && (filter.account.empty() || job.account == filter.account) &&
          (filter.queue.empty() || job.queue == filter.queue) && (filter.name.empty() || job.name == filter.name) &&
          in(filter.states, job.summary) && in(filter.jobs, job.id) &&
          (filter.since == 0 || job.ended_at >= filter.since) && (filter.until == 0 || job.ended_at < filter.until);
      if (matches) expected.push_back(job.id.value);
    }
    EXPECT_EQ(ids_of(all_rows(*database, request, whose)), expected) << "round " << round;
    found += expected.size();
  }
  EXPECT_GT(found, 1000U);  // or it has compared nothing with nothing
}

TEST(AccountingDatabase, UsageIsTheSumOfItsHoursWhereverTheyBeginAndEnd) {
  const Directory directory;
  World world(13);
  auto database = open(directory.file("a.db"));
  struct Use {
    std::int64_t hour = 0;
    std::string account, user;
    std::uint64_t cpu_ms = 0, gpu_ms = 0, jobs = 0;
  };
  std::vector<Use> all;
  for (int i = 0; i < 1500; ++i) {  // some four days and more
    const Batch batch = world.end_jobs(1);
    const JobRecord record = record_of(world.cluster(), *world.cluster().job(world.cluster().last_job_id()));
    const JobRow& job = record.row.job;
    const Ended unit{batch.index, batch.at, {record}};
    ASSERT_TRUE(database->write(std::span(&unit, 1)));
    all.push_back({job.ended_at / kHourUs, job.account, job.user, 0, 0, 1});
    for (const HourUse& use : record.hours) {
      all.push_back({use.hour, job.account, job.user, use.cpu_ms, use.gpu_ms, 0});
    }
  }
  const TimeUs until = world.cluster().applied_at();
  ASSERT_GT(until - kStart, 72 * kHourUs);
  for (int round = 0; round < 200; ++round) {
    UsageRequest request;
    request.by = static_cast<UsageRequest::By>(world.random(3));
    const auto some_time = [&] { return kStart + static_cast<TimeUs>(world.random(until - kStart + kHourUs)); };
    if (world.random(4) != 0) request.since = some_time();
    if (world.random(4) != 0) request.until = some_time();
    const auto whose = world.random(4) == 0 ? std::optional<Whose>({1001, "user1"}) : std::nullopt;
    std::map<std::pair<std::string, std::string>, Use> expected;
    for (const Use& use : all) {
      const TimeUs begins = use.hour * kHourUs;
      if (request.since != 0 && begins < request.since) continue;
      if (request.until != 0 && begins >= request.until) continue;
      if (whose && use.user != whose->user) continue;
      Use& sum = expected[{request.by == UsageRequest::By::kUser ? "" : use.account,
                           request.by == UsageRequest::By::kAccount ? "" : use.user}];
      sum.cpu_ms += use.cpu_ms;
      sum.gpu_ms += use.gpu_ms;
      sum.jobs += use.jobs;
    }
    const auto page = database->usage(request, whose);
    ASSERT_TRUE(page) << page.error().message;
    ASSERT_EQ(page->rows.size(), expected.size()) << "round " << round;
    for (const UsageRow& row : page->rows) {
      const Use& sum = expected[{row.account, row.user}];
      EXPECT_EQ(row.cpu_ms, sum.cpu_ms) << "round " << round;
      EXPECT_EQ(row.gpu_ms, sum.gpu_ms) << "round " << round;
      EXPECT_EQ(row.jobs, sum.jobs) << "round " << round;
    }
  }
}

TEST(AccountingDatabase, PodsComeOneByOneAndPageByPage) {
  const Directory directory;
  World world(2);
  JobSpec many = world.some_spec(), one = many, too_many = many;
  many.kind = too_many.kind = JobKind::kArray;
  one.kind = JobKind::kSingle;
  one.elements = IndexSet::dense(1);
  many.elements = *IndexSet::from_ranges({{10, 10 + 3 * 299, 3}});
  too_many.elements = IndexSet::dense(kHistoryPodsMax + 1);
  const Batch batch = world.end_jobs({many, one, too_many});
  const Ended unit = unit_of(world.cluster(), batch);
  auto database = open(directory.file("a.db"));
  ASSERT_TRUE(database->write(std::span(&unit, 1)));
  std::vector<PodRow> pods;
  HistoryPodsRequest request{JobId{1}, 0, 70};
  while (true) {
    const auto page = database->pods(request, {});
    ASSERT_TRUE(page) << page.error().message;
    pods.insert(pods.end(), page->rows.begin(), page->rows.end());
    if (!page->more) break;
    request.from_element = page->next_element;
  }
  ASSERT_EQ(pods.size(), 300U);
  for (std::uint32_t e = 0; e < 300; ++e) {
    const PodOutcome* outcome = world.cluster().job(JobId{1})->outcomes.find(e);
    EXPECT_EQ(pods[e].element, e);
    EXPECT_EQ(pods[e].index, 10 + 3 * e);
    EXPECT_EQ(pods[e].state, outcome == nullptr ? PodState::kCancelled : outcome->state);
    EXPECT_EQ(pods[e].started_at, outcome == nullptr ? 0 : outcome->started_at);
  }
  const auto single = database->pods({JobId{2}, 0, 10}, {});
  ASSERT_TRUE(single && single->rows.size() == 1);
  EXPECT_EQ(single->rows[0].state, summary_of(world.cluster().job(JobId{2})->counts));
  EXPECT_EQ(database->pods({JobId{3}, 0, 10}, {}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(database->pods({JobId{4}, 0, 10}, {}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(database->pods({JobId{1}, 0, 10}, Whose{7, "nobody"}).error().code, ErrorCode::kNotFound);
}

TEST(AccountingDatabase, StepsAreListedWithTheirJobAlone) {
  const Directory directory;
  World world(2);
  JobSpec step = world.some_spec();
  step.step_of = JobId{1};
  const Batch batch = world.end_jobs({world.some_spec(), step, world.some_spec(), step});
  const Ended unit = unit_of(world.cluster(), batch);
  auto database = open(directory.file("a.db"));
  ASSERT_TRUE(database->write(std::span(&unit, 1)));
  HistoryRequest of;
  of.filter.steps_of = JobId{1};
  EXPECT_EQ(ids_of(all_rows(*database)), (std::vector<std::uint64_t>{3, 1}));
  EXPECT_EQ(ids_of(all_rows(*database, of)), (std::vector<std::uint64_t>{4, 2}));
  EXPECT_EQ(database->usage({}, {})->rows.size(),
            all_rows(*database)[0].job.account == all_rows(*database)[1].job.account ? 1U : 2U);
}

TEST(AccountingDatabase, AnOlderSchemaIsBroughtUpToDateAndANewerOneRefused) {
  const Directory directory;
  const std::string path = directory.file("a.db");
  World world(4);
  const Batch batch = world.end_jobs(30);
  {
    auto sql = open_sqlite(path, Access::kWrite);
    ASSERT_TRUE(sql);
    ASSERT_TRUE(migrate(**sql, 1));
    EXPECT_EQ(*schema_of(**sql), 1);
    ASSERT_TRUE(
        (*sql)->run("INSERT INTO jobs VALUES (7,'old','user1',1001,1001,'','','default','single','',"
                    "'succeeded','',0,0,1,'',1000,0,0,0,0,'n1',1,2,3,4,5,6,1,0,0)"));
    ASSERT_TRUE((*sql)->run("INSERT INTO used VALUES (25,'','user1',4,5,1),(47,'','user1',6,7,1)"));
  }
  EXPECT_FALSE(Database::open(path, Access::kRead, kCluster)) << "whoever reads does not migrate";
  auto database = open(path);
  ASSERT_NE(database, nullptr);
  EXPECT_EQ(ids_of(all_rows(*database)), std::vector<std::uint64_t>{7});
  const auto usage = database->usage({}, {});
  ASSERT_TRUE(usage && usage->rows.size() == 1);
  EXPECT_EQ(usage->rows[0].cpu_ms, 10U);
  EXPECT_EQ(usage->rows[0].jobs, 2U);
  const Ended unit = unit_of(world.cluster(), batch);
  ASSERT_TRUE(database->write(std::span(&unit, 1)));
  EXPECT_EQ(all_rows(*database).size(), 30U);  // one of them has the old one's id, which counts
  {
    auto sql = open_sqlite(path, Access::kWrite);
    ASSERT_TRUE((*sql)->run("UPDATE schema_version SET version = 99"));
  }
  const auto newer = Database::open(path, Access::kWrite, kCluster);
  ASSERT_FALSE(newer);
  EXPECT_NE(newer.error().message.find("schema 99"), std::string::npos) << newer.error().message;
}

TEST(AccountingDatabase, ItsFilesAreNobodyElsesToRead) {
  const Directory directory;
  const auto database = open(directory.file("a.db"));
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    EXPECT_EQ(entry.status().permissions(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_write)
        << entry.path();
    ++files;
  }
  EXPECT_GE(files, 2);  // what is written goes to a file beside it first
}

TEST(AccountingDatabase, AnotherClustersDatabaseIsRefused) {
  const Directory directory;
  ASSERT_NE(open(directory.file("a.db")), nullptr);
  const auto other = Database::open(directory.file("a.db"), Access::kWrite, "fedcba9876543210");
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("another cluster"), std::string::npos) << other.error().message;
}

TEST(AccountingDatabase, WhatIsForgottenForItsAgeDoesNotComeBackAndItsUseStays) {
  const Directory directory;
  World world(6);
  std::vector<Ended> units;
  for (int i = 0; i < 20; ++i) units.push_back(unit_of(world.cluster(), world.end_jobs(5)));
  auto database = open(directory.file("a.db"));
  ASSERT_TRUE(database->write(units));
  const auto before_usage = database->usage({}, {});
  const TimeUs before = units[10].at;
  std::uint64_t gone = 0, now = 0;
  do {
    const auto forgotten = database->forget(before, 7);
    ASSERT_TRUE(forgotten);
    now = *forgotten;
    gone += now;
  } while (now != 0);
  const auto left = all_rows(*database);
  EXPECT_GT(gone, 0U);
  EXPECT_EQ(left.size() + gone, 100U);
  for (const HistoryRow& row : left) EXPECT_GE(row.job.ended_at, before);
  ASSERT_TRUE(database->write(units));
  EXPECT_EQ(all_rows(*database).size(), left.size());
  const auto after_usage = database->usage({}, {});
  ASSERT_EQ(after_usage->rows.size(), before_usage->rows.size());
  EXPECT_EQ(after_usage->rows[0].cpu_ms, before_usage->rows[0].cpu_ms);
}

TEST(AccountingDatabase, NamesOfAnyBytesAreTakenAndNoTextIsTakenForSql) {
  const Directory directory;
  World world(8);
  std::vector<JobSpec> specs(4, world.some_spec());
  specs[0].name = "'; DROP TABLE jobs; --";
  specs[1].name = std::string("zero\0in", 7) + "\xff\xfe";
  specs[2].name = "ünïcode 船";
  specs[3].name = "$1";
  const Batch batch = world.end_jobs(specs);
  const Ended unit = unit_of(world.cluster(), batch);
  auto database = open(directory.file("a.db"));
  ASSERT_TRUE(database->write(std::span(&unit, 1)));
  HistoryRequest request;
  request.filter.name = specs[0].name;
  EXPECT_EQ(ids_of(all_rows(*database, request)), std::vector<std::uint64_t>{1});
  request.filter.name = specs[2].name;
  EXPECT_EQ(ids_of(all_rows(*database, request)), std::vector<std::uint64_t>{3});
  request.filter = {};
  request.filter.jobs = {JobId{2}};
  EXPECT_EQ(all_rows(*database, request)[0].job.name, "zero?in??");
}

}  // namespace
}  // namespace berth::accounting
