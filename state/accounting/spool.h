// Spool: what has ended and is not in the database yet, in a file of the server's own (SQLite), so that it survives the
// server as well as the database being away for long. First in, first out. Two threads may use it: one adds, one takes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "state/accounting/database.h"

namespace berth::accounting {

class Spool {
 public:
  static state::Result<std::unique_ptr<Spool>> open(const std::string& path);

  // On the disk when it returns.
  state::Status add(std::span<const Ended> units);
  struct Front {
    std::vector<Ended> units;
    std::int64_t last = 0;  // for drop()
  };
  state::Result<Front> front(std::size_t jobs_max);  // at least one unit, if there is any
  state::Status drop(const Front& front);

  Reach reach() const;  // up to where everything was added, ever
  // Without waiting for what is being written.
  std::uint64_t jobs() const { return jobs_; }
  std::uint64_t units() const { return units_; }

 private:
  explicit Spool(std::unique_ptr<Sql> sql) : sql_(std::move(sql)) {}
  state::Status prepare();
  state::Status shrink();

  mutable std::mutex mutex_;
  std::unique_ptr<Sql> sql_;
  Reach reach_;
  std::atomic<std::uint64_t> jobs_{0}, units_{0};
};

}  // namespace berth::accounting
