// The only file that knows SQLite.
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <sqlite3.h>
#include <unistd.h>

#include "state/accounting/sql.h"

namespace berth::accounting {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

constexpr int kBusyMs = 10'000;

struct CloseStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, CloseStatement>;

class SqliteRow : public Row {
 public:
  explicit SqliteRow(sqlite3_stmt* statement) : statement_(statement) {}
  std::int64_t number(int column) const override { return sqlite3_column_int64(statement_, column); }
  std::string text(int column) const override {
    const void* bytes = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), size);
  }

 private:
  sqlite3_stmt* statement_;
};

class SqliteBinder : public Binder {
 public:
  explicit SqliteBinder(sqlite3_stmt* statement) : statement_(statement) {}
  void number(std::int64_t value) override { note(sqlite3_bind_int64(statement_, ++at_, value)); }
  // The text outlives the step: it is the caller's record.
  void text(std::string_view value) override {
    note(sqlite3_bind_text64(statement_, ++at_, value.empty() ? "" : value.data(), value.size(), SQLITE_TRANSIENT,
                             SQLITE_UTF8));
  }
  int result() const { return result_; }

 private:
  void note(int result) { result_ = result_ == SQLITE_OK ? result : result_; }
  sqlite3_stmt* statement_;
  int at_ = 0, result_ = SQLITE_OK;
};

class Sqlite : public Sql {
 public:
  Sqlite(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  ~Sqlite() override {
    kept_.clear();
    sqlite3_close_v2(handle_);
  }
  Sqlite(const Sqlite&) = delete;
  Sqlite& operator=(const Sqlite&) = delete;

  Make make() const override { return Make::kSqlite; }

  Status run(const std::string& script) override {
    return sqlite3_exec(handle_, script.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK ? Status(Unit{})
                                                                                         : Status(error());
  }

  Status ask(const std::string& query, std::span<const Value> parameters,
             const std::function<void(const Row&)>& use) override {
    auto statement = prepare(query);
    if (!statement) return statement.error();
    SqliteBinder binder(statement->get());
    for (const Value& value : parameters) {
      if (const auto* number = std::get_if<std::int64_t>(&value)) {
        binder.number(*number);
      } else {
        binder.text(std::get<std::string>(value));
      }
    }
    if (binder.result() != SQLITE_OK) return error();
    const SqliteRow row(statement->get());
    while (true) {
      const int step = sqlite3_step(statement->get());
      if (step == SQLITE_DONE) return Unit{};
      if (step != SQLITE_ROW) return error();
      use(row);
    }
  }

  Status put(const std::string& text, std::size_t count,
             const std::function<void(std::size_t, Binder&)>& fill) override {
    Statement& kept = kept_[text];
    if (kept == nullptr) {
      auto made = prepare(text);
      if (!made) return made.error();
      kept = std::move(*made);
    }
    for (std::size_t i = 0; i < count; ++i) {
      SqliteBinder binder(kept.get());
      fill(i, binder);
      const int step = binder.result() == SQLITE_OK ? sqlite3_step(kept.get()) : binder.result();
      if (step != SQLITE_DONE) {
        const Error failed = error();
        sqlite3_reset(kept.get());
        return failed;
      }
      sqlite3_reset(kept.get());
    }
    return Unit{};
  }

 private:
  Result<Statement> prepare(const std::string& text) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(handle_, text.c_str(), static_cast<int>(text.size()), &statement, nullptr) != SQLITE_OK) {
      return error();
    }
    return Statement(statement);
  }

  Error error() const {
    const int code = sqlite3_errcode(handle_);
    const bool later = code == SQLITE_BUSY || code == SQLITE_LOCKED || code == SQLITE_FULL || code == SQLITE_IOERR ||
                       code == SQLITE_CANTOPEN || code == SQLITE_READONLY || code == SQLITE_NOMEM;
    return {later ? ErrorCode::kUnavailable : ErrorCode::kInternal, "", path_ + ": " + sqlite3_errmsg(handle_), 0};
  }

  sqlite3* handle_;
  std::string path_;
  std::map<std::string, Statement> kept_;
};

}  // namespace

Result<std::unique_ptr<Sql>> open_sqlite(const std::string& path, Access access) {
  if (access == Access::kWrite) {
    // Nobody else's to read; what SQLite puts beside the file has its mode.
    const int made = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (made < 0) return Error{ErrorCode::kUnavailable, "", path + ": " + std::strerror(errno), 0};
    ::close(made);
  }
  sqlite3* handle = nullptr;
  const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE | (access == Access::kWrite ? SQLITE_OPEN_CREATE : 0);
  const int opened = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  auto sql = std::make_unique<Sqlite>(handle, path);
  if (opened != SQLITE_OK) {
    return Error{ErrorCode::kUnavailable, "", path + ": " + sqlite3_errstr(opened), 0};
  }
  sqlite3_busy_timeout(handle, kBusyMs);
  // A log beside the file, so that who reads does not hold up who writes; and on the disk before a transaction ends.
  Status set = sql->run(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; "
      "PRAGMA cache_size=-65536; PRAGMA mmap_size=1073741824; PRAGMA wal_autocheckpoint=4000;");
  if (set && access == Access::kRead) set = sql->run("PRAGMA query_only=1;");
  if (!set) return set.error();
  return std::unique_ptr<Sql>(std::move(sql));
}

}  // namespace berth::accounting
