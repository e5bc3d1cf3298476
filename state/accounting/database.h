// Database: ended jobs, their pods, and what was used by the hour, in SQLite or PostgreSQL. Opening it brings an older
// schema up to this one; a newer one is refused. One thread at a time; whoever reads opens another.
//
// Each job is written once. A transaction writes jobs, adds what they used, and notes the batch of the journal up to
// which all is there; what is given again is known by the job's id and left out.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "state/accounting/record.h"
#include "state/accounting/sql.h"

namespace berth::accounting {

inline constexpr int kSchema = 3;
inline constexpr std::uint32_t kHistoryRowsMax = 10'000;

struct Reach {  // how far a database is complete
  std::uint64_t index = 0;
  state::TimeUs at = 0;
};

// Whose rows may be seen; empty: everybody's.
struct Whose {
  std::uint32_t uid = 0;
  std::string user;
};

class Database {
 public:
  // `where`: the path of a SQLite file, or postgresql://…; `cluster`: who may write, the same each time.
  static state::Result<std::unique_ptr<Database>> open(const std::string& where, Access access,
                                                       const std::string& cluster);
  ~Database();

  Reach reach() const { return reach_; }
  state::Status write(std::span<const Ended> units);
  // Jobs that ended before are deleted, with their pods, at most so many at once; how many were.
  state::Result<std::uint64_t> forget(state::TimeUs before, std::uint32_t limit);

  state::Result<state::HistoryPage> history(const state::HistoryRequest& request, const std::optional<Whose>& whose);
  state::Result<state::PodPage> pods(const state::HistoryPodsRequest& request, const std::optional<Whose>& whose);
  state::Result<state::UsagePage> usage(const state::UsageRequest& request, const std::optional<Whose>& whose);

 private:
  explicit Database(std::unique_ptr<Sql> sql) : sql_(std::move(sql)) {}
  state::Status prepare(const std::string& cluster);
  state::Status write_in_transaction(std::span<const Ended> units, Reach reach);
  state::Status read_reach(bool lock);
  state::Status put_jobs(const std::vector<const JobRecord*>& jobs);
  state::Status put_pods(const std::vector<const JobRecord*>& jobs);
  state::Status put_usage(const std::vector<const JobRecord*>& jobs);
  state::Result<std::vector<const JobRecord*>> unknown(std::span<const Ended> units);

  std::unique_ptr<Sql> sql_;
  Reach reach_;
  state::TimeUs forgotten_before_ = 0;
};

bool is_postgres(const std::string& where);
state::Result<std::unique_ptr<Sql>> open_sql(const std::string& where, Access access);
// ---- schema.cpp
// Brings the schema from what it is to `to`; tests stop earlier than kSchema.
state::Status migrate(Sql& sql, int to = kSchema);
state::Result<int> schema_of(Sql& sql);  // 0: there is none

}  // namespace berth::accounting
