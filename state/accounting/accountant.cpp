#include "state/accounting/accountant.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace berth::accounting {

using state::Error;
using state::ErrorCode;
using state::Status;
using state::TimeUs;

namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr std::int64_t kCollectMs = 20;     // what ends meanwhile shares an fsync
constexpr std::size_t kJobsAtOnce = 4'000;  // in one transaction of the database
constexpr std::uint64_t kFewJobs = 20'000;  // so many are soon written
constexpr std::int64_t kForgetEveryMs = 600'000;
constexpr std::uint32_t kForgetAtOnce = 1'000;
constexpr std::int64_t kMomentMs = 100;
constexpr std::uint64_t kManyRows = 1'000;  // in a moment: jobs and pods
constexpr std::int64_t kPatienceMs = 30'000;
constexpr int kNice = 10;  // of the database thread: scheduling comes first

std::int64_t since_1970_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::int64_t steady_ms() {
  return std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Error another_journal(const std::string& what, std::uint64_t index, std::uint64_t journal) {
  return {ErrorCode::kConflict, "",
          what + " is complete up to batch " + std::to_string(index) + ", but the journal ends with batch " +
              std::to_string(journal) + ": they do not belong together",
          0};
}

}  // namespace

Accountant::Accountant(AccountantOptions options) : options_(std::move(options)) {}
Accountant::~Accountant() { stop(); }

Status Accountant::open() {
  const std::string path = options_.directory + "/accounting-spool.db";
  auto opened = Spool::open(path);
  if (!opened && opened.error().code == ErrorCode::kInternal) {
    // Damaged. What the state still has comes again; another file than this has the rest.
    const std::string aside = path + ".damaged";
    options_.say(true, opened.error().message + "; it is put aside as " + aside);
    if (std::rename(path.c_str(), aside.c_str()) != 0) return opened.error();
    for (const char* beside : {"-wal", "-shm"}) std::remove((path + beside).c_str());
    opened = Spool::open(path);
  }
  Status done = state::Unit{};
  if (!opened) {
    done = opened.error();
  } else if ((*opened)->reach().index > options_.journal_index) {
    done = another_journal(path, (*opened)->reach().index, options_.journal_index);
  }
  if (!done) {
    trouble(&Accountant::spool_error_, done.error().message);
    return done;
  }
  spool_ = std::move(*opened);
  complete_at_ = spool_->reach().at;
  units_ahead_ = spool_->units();
  return done;
}

void Accountant::start() {
  spool_thread_ = std::thread([this] { run_spool(); });
  database_thread_ = std::thread([this] { run_database(); });
  pthread_setname_np(spool_thread_.native_handle(), "berth-spool");
  pthread_setname_np(database_thread_.native_handle(), "berth-account");
}

void Accountant::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  for (std::condition_variable* all : {&queued_, &spooled_, &written_}) all->notify_all();
  if (spool_thread_.joinable()) spool_thread_.join();
  if (database_thread_.joinable()) database_thread_.join();
}

bool Accountant::offer(Ended&& unit) {
  const std::size_t bytes = bytes_of(unit);
  std::size_t rows = unit.jobs.size();
  for (const JobRecord& job : unit.jobs) rows += job.pods.size();
  const std::lock_guard lock(mutex_);
  // One that is larger than all the room gets in when it is alone.
  if (stopping_ || (queue_bytes_ != 0 && queue_bytes_ + bytes > options_.queue_bytes_max)) return false;
  if (const std::int64_t moment = steady_ms() / kMomentMs; moment != moment_) {
    rows_before_ = moment == moment_ + 1 ? rows_now_ : 0;
    rows_now_ = 0;
    moment_ = moment;
  }
  rows_now_ += rows;
  queue_bytes_ += bytes;
  queue_jobs_ += unit.jobs.size();
  ++units_ahead_;
  queue_.push_back(std::move(unit));
  if (queue_.size() == 1) queued_.notify_one();
  return true;
}

bool Accountant::has_room() const {
  const std::lock_guard lock(mutex_);
  return queue_bytes_ <= options_.queue_bytes_max / 2;
}

void Accountant::settle(std::int64_t ms) {
  std::unique_lock lock(mutex_);
  const std::uint64_t all = units_ahead_;
  const bool soon = spool_error_.empty() && database_error_.empty() && units_ahead_ - units_written_ < kFewJobs;
  if (!soon) return;
  written_.wait_for(lock, Milliseconds(ms), [&] {
    return units_written_ >= all || stopping_ || !spool_error_.empty() || !database_error_.empty();
  });
}

Accountant::Standing Accountant::standing() const {
  Standing standing;
  standing.where = is_postgres(options_.where) ? without_password(options_.where) : "SQLite";
  standing.waiting = spool_ == nullptr ? 0 : spool_->jobs();
  const std::lock_guard lock(mutex_);
  standing.waiting += queue_jobs_ + taken_jobs_;
  standing.index = index_;
  standing.error = spool_error_.empty() ? database_error_ : spool_error_;
  return standing;
}

bool Accountant::pause(std::int64_t ms) {
  std::unique_lock lock(mutex_);
  written_.wait_for(lock, Milliseconds(ms), [this] { return stopping_; });
  return !stopping_;
}

void Accountant::trouble(std::string Accountant::*error, const std::string& line) {
  bool fresh = false;
  {
    const std::lock_guard lock(mutex_);
    fresh = this->*error != line;
    this->*error = line;
  }
  written_.notify_all();
  if (fresh) options_.say(true, line);
}

void Accountant::well(std::string Accountant::*error, const char* line) {
  bool fresh = false;
  {
    const std::lock_guard lock(mutex_);
    fresh = !(this->*error).empty();
    (this->*error).clear();
  }
  if (fresh) options_.say(false, line);
}

// ---- spool thread ---------------------------------------------------------------------------------------------------

void Accountant::run_spool() {
  std::vector<Ended> units;
  while (take(units)) {
    std::int64_t pause_ms = options_.pause_ms_min;
    while (!spool(units)) {
      if (!pause(pause_ms)) return;  // the state has them
      pause_ms = std::min(pause_ms * 2, options_.pause_ms_max);
    }
    bool empty = false;
    {
      const std::lock_guard lock(mutex_);
      taken_jobs_ = 0;
      more_ = true;
      empty = queue_.empty();
    }
    spooled_.notify_one();
    if (empty) options_.idle();
  }
}

// What waits; false: that was all.
bool Accountant::take(std::vector<Ended>& units) {
  units.clear();
  std::unique_lock lock(mutex_);
  queued_.wait(lock, [this] { return !queue_.empty() || stopping_; });
  if (queue_.empty()) return false;
  queued_.wait_for(lock, Milliseconds(kCollectMs), [this] { return stopping_; });
  units.swap(queue_);
  queue_bytes_ = 0;
  taken_jobs_ = std::exchange(queue_jobs_, 0);
  return true;
}

bool Accountant::spool(const std::vector<Ended>& units) {
  const Status done = spool_->add(units);
  if (done) {
    well(&Accountant::spool_error_, "ended jobs can be kept again");
  } else {
    trouble(&Accountant::spool_error_, "ended jobs cannot be kept for the accounting: " + done.error().message);
  }
  return done.ok();
}

// ---- database thread ------------------------------------------------------------------------------------------------

void Accountant::run_database() {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
  std::int64_t pause_ms = options_.pause_ms_min;
  while (true) {
    const bool good = (database_ != nullptr || open_database()) && forward();
    if (!good) {
      database_.reset();
      if (!pause(pause_ms)) return;
      pause_ms = std::min(pause_ms * 2, options_.pause_ms_max);
      continue;
    }
    pause_ms = options_.pause_ms_min;
    std::unique_lock lock(mutex_);
    const auto wake = [this] { return more_ || stopping_; };
    const bool woken = spooled_.wait_for(lock, Milliseconds(options_.keep_ms != 0 ? kForgetEveryMs : 3'600'000), wake);
    if (stopping_) return;
    if (woken) more_ = false;
  }
}

bool Accountant::open_database() {
  const bool sqlite = !is_postgres(options_.where);
  const std::string where = sqlite ? options_.directory + "/accounting.db" : options_.where;
  auto opened = Database::open(where, Access::kWrite, options_.cluster);
  if (opened && !known_ && (*opened)->reach().index > options_.journal_index) {
    opened = another_journal("the accounting database", (*opened)->reach().index, options_.journal_index);
  }
  if (!opened) {
    trouble(&Accountant::database_error_, "ended jobs cannot be written: " + opened.error().message);
    return false;
  }
  known_ = true;
  database_ = std::move(*opened);
  const std::lock_guard lock(mutex_);
  index_ = database_->reach().index;
  return true;
}

// Whether so much comes in that it waited a moment instead of writing.
bool Accountant::stand_back() {
  std::unique_lock lock(mutex_);
  const bool recent = steady_ms() / kMomentMs <= moment_ + 1;
  if (stopping_ || patience_ms_ <= 0 || !recent || std::max(rows_now_, rows_before_) < kManyRows) return false;
  patience_ms_ -= kMomentMs;
  written_.wait_for(lock, Milliseconds(kMomentMs), [this] { return stopping_; });
  return true;
}

// All that is in the spool; false: it did not go well.
bool Accountant::forward() {
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return true;
    }
    if (stand_back()) continue;
    auto front = spool_->front(kJobsAtOnce);
    Status done = front ? Status(state::Unit{}) : Status(front.error());
    if (done && !front->units.empty()) done = database_->write(front->units);
    if (done && !front->units.empty()) done = spool_->drop(*front);
    if (!done) {
      trouble(&Accountant::database_error_, "ended jobs cannot be written: " + done.error().message);
      return false;
    }
    well(&Accountant::database_error_, "ended jobs are written again");
    {
      const std::lock_guard lock(mutex_);
      index_ = database_->reach().index;
      units_written_ += front->units.size();
    }
    written_.notify_all();
    if (front->units.empty()) break;
  }
  patience_ms_ = kPatienceMs;
  forget_old();
  return true;
}

void Accountant::forget_old() {
  if (options_.keep_ms == 0 || steady_ms() < next_forget_ms_) return;
  const TimeUs before = since_1970_us() - options_.keep_ms * 1000;
  auto gone = database_->forget(before, kForgetAtOnce);
  if (!gone) return options_.say(true, "old jobs cannot be deleted: " + gone.error().message);
  // Where there is more, soon again: what has ended comes in between.
  next_forget_ms_ = steady_ms() + (*gone == kForgetAtOnce ? 0 : kForgetEveryMs);
  if (*gone != kForgetAtOnce) return;
  const std::lock_guard lock(mutex_);
  more_ = true;
}

}  // namespace berth::accounting
