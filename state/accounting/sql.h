// Sql: one connection to a database, of whatever make: what SQLite and PostgreSQL have in common, so that all else is
// written once. Parameters are $1, $2, … in ascending order of their first use. One thread at a time.
//
// An error says in one line what the database said. kUnavailable: the same may go well later (locked, away, full).
// After any error the connection may be broken: drop it and make another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "state/result.h"

namespace berth::accounting {

using Value = std::variant<std::int64_t, std::string>;

class Row {  // of an answer, while it is looked at
 public:
  virtual ~Row() = default;
  virtual std::int64_t number(int column) const = 0;
  virtual std::string text(int column) const = 0;
};

class Binder {  // takes a statement's parameters, one after the other
 public:
  virtual ~Binder() = default;
  virtual void number(std::int64_t value) = 0;
  virtual void text(std::string_view value) = 0;
  void unsigned_number(std::uint64_t value) { number(static_cast<std::int64_t>(value)); }
};

class Sql {
 public:
  enum class Make : std::uint8_t { kSqlite = 0, kPostgres = 1 };
  virtual ~Sql() = default;
  virtual Make make() const = 0;
  // Statements without parameters and answers, separated by semicolons.
  virtual state::Status run(const std::string& script) = 0;
  virtual state::Status ask(const std::string& query, std::span<const Value> parameters,
                            const std::function<void(const Row&)>& use) = 0;
  // A statement without an answer, `count` times; fill(i, binder) gives the parameters of the i-th.
  virtual state::Status put(const std::string& statement, std::size_t count,
                            const std::function<void(std::size_t, Binder&)>& fill) = 0;
};

enum class Access : std::uint8_t { kWrite = 0, kRead = 1 };

// Makes the file if it is to be written and is not there. What a transaction wrote is on the disk when it has ended.
state::Result<std::unique_ptr<Sql>> open_sqlite(const std::string& path, Access access);
// `uri` as libpq takes it: postgresql://USER:PASSWORD@HOST:PORT/DATABASE?…. Tables lie in the schema `berth`. The
// library is loaded by the first call, so that whoever needs none does not pay for it.
state::Result<std::unique_ptr<Sql>> open_postgres(const std::string& uri, Access access);
// The uri without its password, for people.
std::string without_password(const std::string& uri);

}  // namespace berth::accounting
