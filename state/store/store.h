// Store: where batches become durable. One thread appends (the journal thread); open() and recovery happen before it
// starts.
//
// A data directory holds `lock`, `journal/<first index>.log` segments and `snapshot/<index>.snap` files. A second
// process on the same directory is refused. What append() returned Ok for survives kill -9 and power loss; a torn tail
// (never acknowledged) is cut at open and reported; damage anywhere else refuses to open, with one line naming file and
// offset, except that a damaged snapshot is passed over and reported while the one before it and its segments are
// there.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "state/cluster.h"
#include "state/events.h"
#include "state/result.h"

namespace berth::store {

struct StoreOptions {
  std::string directory;
  std::uint64_t segment_bytes = 64ULL << 20;
  // A snapshot is made in the background when so many bytes of journal stand behind the last one.
  std::uint64_t snapshot_after_bytes = 256ULL << 20;
};

struct Recovered {
  state::Cluster cluster;
  std::uint64_t batches_replayed = 0;
  std::uint64_t torn_bytes = 0;  // cut from the tail; 0 is the normal case
  std::string torn_file;
  std::vector<std::string> warnings;  // one line each, for the operator; empty is the normal case
};

class Store {
 public:
  virtual ~Store() = default;

  // One write and one fdatasync for all of them. `records` are encoded batches with consecutive indexes starting at
  // `first_index`, the one after the last appended. An error of code kUnavailable (disk full) left nothing behind and
  // may be tried again later; any other error is fatal: the caller must stop acknowledging and exit.
  virtual state::Status append(std::uint64_t first_index, std::span<const std::string> records) = 0;

  // When the last append() had written and began to sync, by the steady clock in nanoseconds; 0 where these are not
  // two. For who appends.
  virtual std::int64_t sync_began_ns() const { return 0; }

  virtual std::uint64_t last_index() const = 0;
  virtual std::uint64_t snapshot_index() const = 0;
  // Why the last try to make a snapshot failed, one line; "" if it did not. The journal goes on growing meanwhile.
  // Any thread may ask, as for the indexes above.
  virtual std::string snapshot_error() const { return {}; }
  // Whether this process may speak for the cluster now: where servers share a store, only who leads may, and only as
  // long as it is sure of that. An error of code kConflict: never again. Any thread; cheap.
  virtual state::Status in_charge() const { return state::Unit{}; }
  // What clients are told while append() answers kUnavailable.
  virtual std::string unwritable_reason() const {
    return "the server's disk is full: nothing can be changed or followed until there is space";
  }
};

struct Opened {
  std::unique_ptr<Store> store;
  Recovered recovered;
};

// Opens or creates. Locks the directory until the Store is destroyed.
state::Result<Opened> open_store(const StoreOptions& options);

}  // namespace berth::store
