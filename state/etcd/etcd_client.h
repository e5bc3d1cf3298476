// EtcdClient: the few calls to etcd (API version 3) that the journal needs, as values. gRPC stays inside
// etcd_client.cpp. A call goes to one member after the other until one answers or the time is over. Any thread.
//
// Errors: kUnavailable: no answer in time, no quorum, or etcd's space is used up; a transaction may have been carried
// out all the same. kDenied: name, password or permission. kTooLarge: more than etcd takes. kInternal: the rest.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "state/etcd/etcd_url.h"
#include "state/result.h"

namespace berth::etcd {

struct KeyValue {
  std::string key, value;
  std::int64_t create_revision = 0;
  std::int64_t mod_revision = 0;
};

// One key, or all from `key` on that are before `end`.
struct Range {
  std::string key;
  std::string end;            // "": the one key
  std::int64_t limit = 0;     // 0: all
  std::int64_t revision = 0;  // as it was then; 0: as it is now, agreed on by a majority
  bool keys_only = false;
};
Range all_below(const std::string& prefix);  // every key that begins with it

struct RangeReply {
  std::vector<KeyValue> kvs;  // in the order of their keys
  bool more = false;          // the limit left some out
  std::int64_t revision = 0;  // of etcd as a whole, now
};

struct Condition {
  std::string key;
  enum class Of { kModRevision, kValue } of = Of::kModRevision;
  std::int64_t mod_revision = 0;  // 0: there is no such key
  std::string value;
};
inline Condition modified_at(std::string key, std::int64_t revision) {
  return {std::move(key), Condition::Of::kModRevision, revision, {}};
}
inline Condition has_value(std::string key, std::string value) {
  return {std::move(key), Condition::Of::kValue, 0, std::move(value)};
}

struct Op {
  enum class Kind { kPut, kDelete, kGet } kind = Kind::kGet;
  Range range;        // kPut: its key
  std::string value;  // kPut
};
inline Op put(std::string key, std::string value) {
  return {Op::Kind::kPut, {std::move(key), {}, 0, 0, false}, std::move(value)};
}
inline Op get(std::string key) { return {Op::Kind::kGet, {std::move(key), {}, 0, 0, false}, {}}; }
inline Op remove(Range range) { return {Op::Kind::kDelete, std::move(range), {}}; }

// All or nothing: `then` if every condition holds, else `otherwise`.
struct Transaction {
  std::vector<Condition> conditions;
  std::vector<Op> then, otherwise;
};
struct TransactionReply {
  bool held = false;  // the conditions did
  std::int64_t revision = 0;
  std::vector<std::vector<KeyValue>> got;  // of each operation that was carried out; empty but for kGet
};

struct Change {
  bool removed = false;
  KeyValue kv;
};
struct Changes {
  std::vector<Change> changes;
  std::int64_t revision = 0;
  bool compacted = false;  // what was asked for is no longer known: read anew
};

class Watch {
 public:
  virtual ~Watch() = default;  // cancels
  // Waits for changes, in the order in which they were made. An error: the stream is over, make another.
  virtual state::Result<Changes> next() = 0;
  virtual void cancel() = 0;  // any thread: next() ends with an error
};

class EtcdClient {
 public:
  virtual ~EtcdClient() = default;
  virtual state::Result<RangeReply> range(const Range& range, std::int64_t timeout_ms) = 0;
  virtual state::Result<TransactionReply> commit(const Transaction& transaction, std::int64_t timeout_ms) = 0;
  // Forgets what keys were before the revision.
  virtual state::Status compact(std::int64_t revision, std::int64_t timeout_ms) = 0;
  // Changes from the revision on.
  virtual state::Result<std::unique_ptr<Watch>> watch(const Range& range, std::int64_t from_revision) = 0;
};

// Reads the files that the URL names; connects when it is first used.
state::Result<std::unique_ptr<EtcdClient>> make_client(const EtcdUrl& url);

}  // namespace berth::etcd
