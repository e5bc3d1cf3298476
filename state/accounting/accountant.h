// Accountant: brings what has ended from the journal to the database, on threads of its own, so that nobody waits:
//
//   offer (any thread) -> queue, bounded -> spool thread: one fsync for all that waits -> spool, a file of the server
//                                        -> database thread: one transaction -> SQLite or PostgreSQL
//
// While more ends than a database is quick with, the database thread stands back, for half a minute at most: the spool
// takes more than the core can make, and the cores are the scheduler's.
//
// What is in the spool is safe, however long the database is away: it is tried again, ever less often. What offer()
// refused, or what the machine's death took from the queue, is read from the state again by whoever offers
// (api/server), from complete_at() on; the database knows what it has.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "state/accounting/spool.h"

namespace berth::accounting {

struct AccountantOptions {
  std::string directory;            // the server's: has the spool, and the database if that is SQLite
  std::string where = "sqlite";     // or postgresql://…
  std::string cluster;              // what tells it from all others
  std::uint64_t journal_index = 0;  // where the journal ends as the server starts
  std::int64_t keep_ms = 0;         // jobs that ended longer ago are deleted; 0: never
  // On either thread: something went wrong, or is well again. One line.
  std::function<void(bool trouble, const std::string& line)> say = [](bool, const std::string&) {};
  std::function<void()> idle = [] {};  // on the spool thread: the queue is empty
  std::size_t queue_bytes_max = 64U << 20;
  std::int64_t pause_ms_min = 250, pause_ms_max = 10'000;  // between tries
};

class Accountant {
 public:
  explicit Accountant(AccountantOptions options);
  ~Accountant();

  // Opens the spool. An error: nothing can be kept, and the threads are not to be started.
  state::Status open();
  state::TimeUs complete_at() const { return complete_at_; }  // as it was opened: all that ended before is there
  void start();
  void stop();  // what was offered is in the spool then, unless that is out of order

  bool offer(Ended&& unit);  // any thread; false: there is no room, the unit is untouched
  bool has_room() const;     // any thread
  // Any thread: waits until what was offered before is in the database, for at most so long.
  void settle(std::int64_t ms);

  struct Standing {
    std::string where;  // for people: without a password
    std::string error;  // "" if all is well
    std::uint64_t index = 0, waiting = 0;
  };
  Standing standing() const;  // any thread

 private:
  void run_spool();
  void run_database();
  bool take(std::vector<Ended>& units);
  bool spool(const std::vector<Ended>& units);
  bool open_database();
  bool forward();
  bool stand_back();
  void forget_old();
  void trouble(std::string Accountant::*error, const std::string& line);
  void well(std::string Accountant::*error, const char* line);
  bool pause(std::int64_t ms);  // false: it is to stop

  AccountantOptions options_;
  std::unique_ptr<Spool> spool_;
  state::TimeUs complete_at_ = 0;
  std::unique_ptr<Database> database_;  // database thread
  bool known_ = false;                  // database thread: it was open before
  std::int64_t next_forget_ms_ = 0;     // database thread
  std::int64_t patience_ms_ = 0;        // database thread: how long it will stand back yet

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable queued_, spooled_, written_;
  std::vector<Ended> queue_;
  std::size_t queue_bytes_ = 0, queue_jobs_ = 0, taken_jobs_ = 0;
  std::uint64_t units_ahead_ = 0;  // what was in the spool at first, and what was offered since
  std::uint64_t units_written_ = 0;
  std::uint64_t index_ = 0;
  std::int64_t moment_ = 0;                       // the one in which there came
  std::uint64_t rows_now_ = 0, rows_before_ = 0;  // … so many rows, and in the one before
  std::string spool_error_, database_error_;
  bool more_ = false, stopping_ = false;

  std::thread spool_thread_, database_thread_;
};

}  // namespace berth::accounting
