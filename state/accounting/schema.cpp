// The tables, step by step: step N brings schema N - 1 to schema N. A step that was ever released is never changed.
#include <array>

#include "state/accounting/database.h"

namespace berth::accounting {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

// {key}: a whole number that is the primary key. {by_key}: the table lies in the order of its primary key.
constexpr std::array<const char*, kSchema> kSteps = {
    // Times are microseconds since 1970, UTC; hours are counted from there.
    "CREATE TABLE progress (cluster TEXT NOT NULL, complete_index BIGINT NOT NULL, complete_at BIGINT NOT NULL,"
    "  forgotten_before BIGINT NOT NULL);"
    "CREATE TABLE jobs ("
    "  id {key}, name TEXT NOT NULL, user_name TEXT NOT NULL, uid BIGINT NOT NULL, gid BIGINT NOT NULL,"
    "  account TEXT NOT NULL, qos TEXT NOT NULL, queue TEXT NOT NULL, kind TEXT NOT NULL, comment TEXT NOT NULL,"
    "  state TEXT NOT NULL, reason TEXT NOT NULL, exit_code BIGINT NOT NULL, signal BIGINT NOT NULL,"
    "  pods BIGINT NOT NULL, counts TEXT NOT NULL, cpu_milli BIGINT NOT NULL, mem_mib BIGINT NOT NULL,"
    "  gpus BIGINT NOT NULL, priority BIGINT NOT NULL, time_limit_ms BIGINT NOT NULL, nodes TEXT NOT NULL,"
    "  submitted_at BIGINT NOT NULL, started_at BIGINT NOT NULL, ended_at BIGINT NOT NULL, cpu_ms BIGINT NOT NULL,"
    "  gpu_ms BIGINT NOT NULL, mem_peak_mib BIGINT NOT NULL, attempts BIGINT NOT NULL, step_of BIGINT NOT NULL,"
    "  step BIGINT NOT NULL);"
    "CREATE TABLE pods ("
    "  job BIGINT NOT NULL, element BIGINT NOT NULL, number BIGINT NOT NULL, node TEXT NOT NULL, state TEXT NOT NULL,"
    "  attempt BIGINT NOT NULL, exit_code BIGINT NOT NULL, signal BIGINT NOT NULL, mem_peak_mib BIGINT NOT NULL,"
    "  started_at BIGINT NOT NULL, ended_at BIGINT NOT NULL, message TEXT NOT NULL, PRIMARY KEY (job, "
    "element)){by_key};"
    "CREATE TABLE used ("
    "  hour BIGINT NOT NULL, account TEXT NOT NULL, user_name TEXT NOT NULL, cpu_ms BIGINT NOT NULL,"
    "  gpu_ms BIGINT NOT NULL, jobs BIGINT NOT NULL, PRIMARY KEY (hour, account, user_name)){by_key};",
    // One index for each filter; in it each state is a list by itself, in the order of the listing (database.cpp merges
    // them), so that the three that failed are found among a million that did not.
    "CREATE INDEX jobs_by_end ON jobs (ended_at, id, step_of);"
    "CREATE INDEX jobs_by_user ON jobs (user_name, state, ended_at, id) WHERE step_of = 0;"
    "CREATE INDEX jobs_by_account ON jobs (account, state, ended_at, id) WHERE step_of = 0;"
    "CREATE INDEX jobs_by_queue ON jobs (queue, state, ended_at, id) WHERE step_of = 0;"
    "CREATE INDEX jobs_by_name ON jobs (name, state, ended_at, id) WHERE step_of = 0;"
    "CREATE INDEX jobs_by_state ON jobs (state, ended_at, id) WHERE step_of = 0;"
    "CREATE INDEX jobs_by_step_of ON jobs (step_of, ended_at, id) WHERE step_of <> 0;",
    // The same by the day, UTC: a year by the hour is too much to add up while somebody waits.
    "CREATE TABLE used_days ("
    "  day BIGINT NOT NULL, account TEXT NOT NULL, user_name TEXT NOT NULL, cpu_ms BIGINT NOT NULL,"
    "  gpu_ms BIGINT NOT NULL, jobs BIGINT NOT NULL, PRIMARY KEY (day, account, user_name)){by_key};"
    "INSERT INTO used_days (day, account, user_name, cpu_ms, gpu_ms, jobs)"
    "  SELECT hour / 24, account, user_name, CAST(sum(cpu_ms) AS BIGINT), CAST(sum(gpu_ms) AS BIGINT),"
    "  CAST(sum(jobs) AS BIGINT) FROM used GROUP BY hour / 24, account, user_name;",
};

std::string for_make(std::string text, Sql::Make make) {
  const bool sqlite = make == Sql::Make::kSqlite;
  for (const auto& [word, meaning] :
       {std::pair<std::string_view, const char*>{"{key}", sqlite ? "INTEGER PRIMARY KEY" : "BIGINT PRIMARY KEY"},
        {"{by_key}", sqlite ? " WITHOUT ROWID" : ""}}) {
    for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at)) {
      text.replace(at, word.size(), meaning);
    }
  }
  return text;
}

}  // namespace

Result<int> schema_of(Sql& sql) {
  const char* there =
      sql.make() == Sql::Make::kSqlite
          ? "SELECT count(*) FROM sqlite_master WHERE name = 'schema_version'"
          : "SELECT count(*) FROM pg_tables WHERE schemaname = 'berth' AND tablename = 'schema_version'";
  std::int64_t tables = 0, version = 0;
  Status asked = sql.ask(there, {}, [&](const Row& row) { tables = row.number(0); });
  if (asked && tables != 0) {
    asked = sql.ask("SELECT version FROM schema_version", {}, [&](const Row& row) { version = row.number(0); });
  }
  if (!asked) return asked.error();
  return static_cast<int>(version);
}

Status migrate(Sql& sql, int to) {
  auto from = schema_of(sql);
  if (!from) return from.error();
  if (*from > kSchema) {
    return Error{ErrorCode::kConflict, "",
                 "the accounting database has schema " + std::to_string(*from) + ", this berth knows up to " +
                     std::to_string(kSchema) + ": it was written by a newer one",
                 0};
  }
  // Each step is whole or not there.
  for (int step = *from; step < to; ++step) {
    std::string script = "BEGIN;";
    if (step == 0)
      script += "CREATE TABLE schema_version (version BIGINT NOT NULL);INSERT INTO schema_version VALUES (0);";
    script += for_make(kSteps[static_cast<std::size_t>(step)], sql.make());
    if (step == 0) script += "INSERT INTO progress VALUES ('', 0, 0, 0);";
    script += "UPDATE schema_version SET version = " + std::to_string(step + 1) + ";COMMIT;";
    if (Status done = sql.run(script); !done) {
      (void)sql.run("ROLLBACK");
      return done;
    }
  }
  return Unit{};
}

}  // namespace berth::accounting
