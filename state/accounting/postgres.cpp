// The only file that knows PostgreSQL. Its library brings a dozen others along, some milliseconds for each start of
// every command and some MiB for every agent, and a second OpenSSL beside ours: so it is loaded by whoever connects,
// into a namespace of its own.
#include <charconv>
#include <cstdlib>
#include <dlfcn.h>
#include <libpq-fe.h>
#include <map>
#include <vector>

#include "state/accounting/sql.h"

namespace berth::accounting {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

constexpr int kUnfinishedMax = 1000;  // statements sent ahead of their answers

struct Library {
  void* handle = nullptr;
  std::string missing;  // why it cannot be used, "" if it can
#define BERTH_PQ(name) decltype(&PQ##name) name = nullptr
  BERTH_PQ(connectdbParams);
  BERTH_PQ(status);
  BERTH_PQ(errorMessage);
  BERTH_PQ(finish);
  BERTH_PQ(exec);
  BERTH_PQ(execParams);
  BERTH_PQ(resultStatus);
  BERTH_PQ(resultErrorMessage);
  BERTH_PQ(clear);
  BERTH_PQ(ntuples);
  BERTH_PQ(getvalue);
  BERTH_PQ(getlength);
  BERTH_PQ(prepare);
  BERTH_PQ(sendQueryPrepared);
  BERTH_PQ(getResult);
  BERTH_PQ(enterPipelineMode);
  BERTH_PQ(exitPipelineMode);
  BERTH_PQ(pipelineSync);
#undef BERTH_PQ
};

Library load() {
  Library pq;
  int flags = RTLD_NOW | RTLD_LOCAL;
#ifndef __SANITIZE_ADDRESS__  // which forbids it
  flags |= RTLD_DEEPBIND;
#endif
  pq.handle = ::dlopen("libpq.so.5", flags);
  if (pq.handle == nullptr) {
    pq.missing = "the library libpq.so.5 is missing (package libpq5)";
    return pq;
  }
  const auto find = [&pq]<class F>(F& function, const char* name) {
    function = reinterpret_cast<F>(::dlsym(pq.handle, name));
    if (function == nullptr) pq.missing = std::string("libpq.so.5 has no ") + name + "; version 14 or later is needed";
  };
#define BERTH_PQ(name) find(pq.name, "PQ" #name)
  BERTH_PQ(connectdbParams);
  BERTH_PQ(status);
  BERTH_PQ(errorMessage);
  BERTH_PQ(finish);
  BERTH_PQ(exec);
  BERTH_PQ(execParams);
  BERTH_PQ(resultStatus);
  BERTH_PQ(resultErrorMessage);
  BERTH_PQ(clear);
  BERTH_PQ(ntuples);
  BERTH_PQ(getvalue);
  BERTH_PQ(getlength);
  BERTH_PQ(prepare);
  BERTH_PQ(sendQueryPrepared);
  BERTH_PQ(getResult);
  BERTH_PQ(enterPipelineMode);
  BERTH_PQ(exitPipelineMode);
  BERTH_PQ(pipelineSync);
#undef BERTH_PQ
  return pq;
}

const Library& library() {
  static const Library kLibrary = load();
  return kLibrary;
}

std::string one_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (char& c : text) c = c == '\n' || c == '\t' ? ' ' : c;
  return text;
}

class PostgresRow : public Row {
 public:
  PostgresRow(const PGresult* result, int row) : result_(result), row_(row) {}
  std::int64_t number(int column) const override {
    const char* text = library().getvalue(result_, row_, column);
    std::int64_t value = 0;
    std::from_chars(text, text + library().getlength(result_, row_, column), value);
    return value;
  }
  std::string text(int column) const override {
    return {library().getvalue(result_, row_, column),
            static_cast<std::size_t>(library().getlength(result_, row_, column))};
  }

 private:
  const PGresult* result_;
  int row_;
};

// Parameters as text, which both ends understand whatever the type.
class PostgresBinder : public Binder {
 public:
  void number(std::int64_t value) override { texts_.push_back(std::to_string(value)); }
  void text(std::string_view value) override { texts_.emplace_back(value); }
  int size() const { return static_cast<int>(texts_.size()); }
  const char* const* values() {
    pointers_.clear();
    for (const std::string& text : texts_) pointers_.push_back(text.c_str());
    return pointers_.data();
  }
  void clear() { texts_.clear(); }

 private:
  std::vector<std::string> texts_;
  std::vector<const char*> pointers_;
};

class Postgres : public Sql {
 public:
  explicit Postgres(PGconn* connection) : connection_(connection) {}
  ~Postgres() override { library().finish(connection_); }
  Postgres(const Postgres&) = delete;
  Postgres& operator=(const Postgres&) = delete;

  Make make() const override { return Make::kPostgres; }

  Status run(const std::string& script) override { return good(library().exec(connection_, script.c_str())); }

  Status ask(const std::string& query, std::span<const Value> parameters,
             const std::function<void(const Row&)>& use) override {
    PostgresBinder binder;
    for (const Value& value : parameters) {
      if (const auto* number = std::get_if<std::int64_t>(&value)) {
        binder.number(*number);
      } else {
        binder.text(std::get<std::string>(value));
      }
    }
    const Library& pq = library();
    PGresult* result =
        pq.execParams(connection_, query.c_str(), binder.size(), nullptr, binder.values(), nullptr, nullptr, 0);
    if (pq.resultStatus(result) == PGRES_TUPLES_OK) {
      for (int row = 0; row < pq.ntuples(result); ++row) use(PostgresRow(result, row));
    }
    return good(result);
  }

  // Sent one after the other without waiting for the answers, which come in the same order.
  Status put(const std::string& text, std::size_t count,
             const std::function<void(std::size_t, Binder&)>& fill) override {
    const Library& pq = library();
    if (count == 0) return Unit{};
    auto [prepared, fresh] = prepared_.try_emplace(text, "s" + std::to_string(prepared_.size()));
    if (fresh) {
      Status made = good(pq.prepare(connection_, prepared->second.c_str(), text.c_str(), 0, nullptr));
      if (!made) return made;
    }
    Status done = Unit{};
    for (std::size_t from = 0; done && from < count; from += kUnfinishedMax) {
      done = put_some(prepared->second, from, std::min<std::size_t>(count, from + kUnfinishedMax), fill);
    }
    return done;
  }

 private:
  Status put_some(const std::string& name, std::size_t from, std::size_t to,
                  const std::function<void(std::size_t, Binder&)>& fill) {
    const Library& pq = library();
    if (pq.enterPipelineMode(connection_) == 0) return error();
    PostgresBinder binder;
    Status done = Unit{};
    std::size_t sent = 0;
    for (std::size_t i = from; i < to; ++i) {
      binder.clear();
      fill(i, binder);
      if (pq.sendQueryPrepared(connection_, name.c_str(), binder.size(), binder.values(), nullptr, nullptr, 0) == 0) {
        return error();
      }
      ++sent;
    }
    if (pq.pipelineSync(connection_) == 0) return error();
    for (std::size_t i = 0; i < sent; ++i) {
      Status one = good(pq.getResult(connection_));
      if (!one && done) done = one;
      if (PGresult* end = pq.getResult(connection_)) pq.clear(end);  // none: the end of this one's answers
    }
    Status synced = good(pq.getResult(connection_));
    if (!synced && done) done = synced;
    if (done && pq.exitPipelineMode(connection_) == 0) done = error();
    return done;
  }

  Error error() const {
    return {ErrorCode::kUnavailable, "", "PostgreSQL: " + one_line(library().errorMessage(connection_)), 0};
  }

  // Takes the result.
  Status good(PGresult* result) const {
    const Library& pq = library();
    if (result == nullptr) return error();
    const ExecStatusType status = pq.resultStatus(result);
    Status done = Unit{};
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY &&
        status != PGRES_PIPELINE_SYNC) {
      const std::string said = one_line(pq.resultErrorMessage(result));
      done = said.empty() ? error() : Error{ErrorCode::kUnavailable, "", "PostgreSQL: " + said, 0};
    }
    pq.clear(result);
    return done;
  }

  PGconn* connection_;
  std::map<std::string, std::string> prepared_;
};

}  // namespace

std::string without_password(const std::string& uri) {
  const std::size_t scheme = uri.find("://");
  if (scheme == std::string::npos) return uri;
  const std::size_t host = uri.find_first_of("/?", scheme + 3);
  const std::size_t at = uri.rfind('@', host);
  const std::size_t colon = uri.find(':', scheme + 3);
  std::string shown = uri;
  if (at != std::string::npos && at > scheme && colon < at) shown.erase(colon, at - colon);
  const std::size_t query = shown.find('?');
  return shown.substr(0, query);
}

Result<std::unique_ptr<Sql>> open_postgres(const std::string& uri, Access access) {
  const Library& pq = library();
  if (!pq.missing.empty()) return Error{ErrorCode::kInternal, "", "PostgreSQL: " + pq.missing, 0};
  // Where the other end does not answer any more, that is found out within seconds.
  const char* const keys[] = {"dbname",          "application_name",    "connect_timeout",  "client_encoding",
                              "keepalives_idle", "keepalives_interval", "tcp_user_timeout", nullptr};
  const char* const values[] = {uri.c_str(), "berth", "5", "UTF8", "10", "5", "20000", nullptr};
  PGconn* connection = pq.connectdbParams(keys, values, 1);
  if (connection == nullptr) return Error{ErrorCode::kUnavailable, "", "PostgreSQL: out of memory", 0};
  auto sql = std::make_unique<Postgres>(connection);
  if (pq.status(connection) != CONNECTION_OK) {
    return Error{ErrorCode::kUnavailable, "", "PostgreSQL: " + one_line(pq.errorMessage(connection)), 0};
  }
  Status set = sql->run("SET client_min_messages TO warning; SET search_path TO berth");
  std::int64_t schemas = 0;
  if (set && access == Access::kWrite) {
    set = sql->ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'berth'", {},
                   [&](const Row& row) { schemas = row.number(0); });
    if (set && schemas == 0) set = sql->run("CREATE SCHEMA berth");
  } else if (set) {
    set = sql->run("SET default_transaction_read_only TO on; SET statement_timeout TO '30s'");
  }
  if (!set) return set.error();
  return std::unique_ptr<Sql>(std::move(sql));
}

}  // namespace berth::accounting
