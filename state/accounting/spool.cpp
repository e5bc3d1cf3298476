#include "state/accounting/spool.h"

namespace berth::accounting {

using state::Result;
using state::Status;

Result<std::unique_ptr<Spool>> Spool::open(const std::string& path) {
  auto sql = open_sqlite(path, Access::kWrite);
  if (!sql) return sql.error();
  std::unique_ptr<Spool> spool(new Spool(std::move(*sql)));
  if (Status prepared = spool->prepare(); !prepared) return prepared.error();
  return spool;
}

Status Spool::prepare() {
  Status done = sql_->run(
      "CREATE TABLE IF NOT EXISTS reach (one INTEGER PRIMARY KEY, complete_index INTEGER, complete_at INTEGER);"
      "INSERT OR IGNORE INTO reach VALUES (1, 0, 0);"
      "CREATE TABLE IF NOT EXISTS units (number INTEGER PRIMARY KEY AUTOINCREMENT, jobs INTEGER, unit BLOB)");
  if (done) {
    done = sql_->ask("SELECT complete_index, complete_at FROM reach", {}, [&](const Row& row) {
      reach_ = {static_cast<std::uint64_t>(row.number(0)), row.number(1)};
    });
  }
  if (done) {
    done = sql_->ask("SELECT count(*), coalesce(sum(jobs), 0) FROM units", {}, [&](const Row& row) {
      units_ = static_cast<std::uint64_t>(row.number(0));
      jobs_ = static_cast<std::uint64_t>(row.number(1));
    });
  }
  return done;
}

Status Spool::add(std::span<const Ended> units) {
  const std::lock_guard lock(mutex_);
  Reach reach = reach_;
  std::uint64_t jobs = 0;
  for (const Ended& unit : units) {
    if (unit.index > reach.index) reach = {unit.index, unit.at};
    jobs += unit.jobs.size();
  }
  Status done = sql_->run("BEGIN IMMEDIATE");
  if (!done) return done;
  done = sql_->put("INSERT INTO units (jobs, unit) VALUES ($1, $2)", units.size(), [&](std::size_t i, Binder& to) {
    to.unsigned_number(units[i].jobs.size());
    to.text(encode_ended(units[i]));
  });
  if (done) {
    done = sql_->put("UPDATE reach SET complete_index = $1, complete_at = $2", 1, [&](std::size_t, Binder& to) {
      to.unsigned_number(reach.index);
      to.number(reach.at);
    });
  }
  if (done) done = sql_->run("COMMIT");
  if (!done) {
    (void)sql_->run("ROLLBACK");
    return done;
  }
  reach_ = reach;
  jobs_ += jobs;
  units_ += units.size();
  return done;
}

Result<Spool::Front> Spool::front(std::size_t jobs_max) {
  Front front;
  std::vector<std::string> encoded;
  {
    const std::lock_guard lock(mutex_);
    // Which ones, before any is read: one may be large.
    std::int64_t jobs = 0;
    bool enough = false;
    Status asked = sql_->ask("SELECT number, jobs FROM units ORDER BY number LIMIT 4096", {}, [&](const Row& row) {
      enough = enough || (front.last != 0 && jobs + row.number(1) > static_cast<std::int64_t>(jobs_max));
      if (enough) return;
      jobs += row.number(1);
      front.last = row.number(0);
    });
    const Value last = front.last;
    if (asked && front.last != 0) {
      asked = sql_->ask("SELECT unit FROM units WHERE number <= $1 ORDER BY number", std::span(&last, 1),
                        [&](const Row& row) { encoded.push_back(row.text(0)); });
    }
    if (!asked) return asked.error();
  }
  for (const std::string& bytes : encoded) {
    auto unit = decode_ended(bytes);
    if (!unit) return unit.error();
    front.units.push_back(std::move(*unit));
  }
  return front;
}

Status Spool::drop(const Front& front) {
  const std::lock_guard lock(mutex_);
  Status done =
      sql_->put("DELETE FROM units WHERE number <= $1", 1, [&](std::size_t, Binder& to) { to.number(front.last); });
  if (!done) return done;
  for (const Ended& unit : front.units) jobs_ -= unit.jobs.size();
  units_ -= front.units.size();
  return units_ == 0 ? shrink() : done;
}

// After a long outage the empty file would stay as large as it was.
Status Spool::shrink() {
  constexpr std::int64_t kPagesMax = 16'384;
  std::int64_t pages = 0;
  Status done = sql_->ask("PRAGMA page_count", {}, [&](const Row& row) { pages = row.number(0); });
  return done && pages > kPagesMax ? sql_->run("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)") : done;
}

Reach Spool::reach() const {
  const std::lock_guard lock(mutex_);
  return reach_;
}

}  // namespace berth::accounting
