// Inspect: what is in a data directory that no server uses, and how much of it can be believed. Nothing here changes a
// file but repair().
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "state/cluster.h"
#include "state/result.h"
#include "state/store/recovery.h"

namespace berth::store {

// One journal segment or snapshot, as it was found.
struct FoundFile {
  std::string path;
  std::uint64_t bytes = 0;
  std::uint64_t first_index = 0, last_index = 0;  // a snapshot has the last alone; last < first: holds no batch
  bool whole = true;
};

// Bytes of the journal that cannot be read, and the batches that they may have held.
struct Unreadable {
  std::string path;
  std::uint64_t from = 0, end = 0;
  std::uint64_t first_index = 0, end_index = 0;  // equal where that is not known
};

struct Inspection {
  std::vector<FoundFile> snapshots, segments;
  std::vector<std::string> faults;  // one line each, with file and offset
  std::vector<std::string> notes;   // nothing wrong, but worth to be known: a tail that is torn
  std::vector<Unreadable> unreadable;
  // How far the state can be had: from that snapshot (0: from nothing), up to that batch.
  std::uint64_t base_snapshot = 0;
  std::uint64_t last_index = 0;
  std::uint64_t batches = 0;                           // of the journal that can be read
  std::map<std::string, std::uint64_t> events;         // of those, by kind
  std::uint64_t batches_behind = 0;                    // that can be read, but follow from nothing
  std::uint64_t first_behind = 0, last_behind = 0;     // … their indexes
  std::map<std::string, std::uint64_t> events_behind;  // … and events
  state::Cluster cluster;                              // at last_index, if there is no fault
};

// Reads everything, replays the journal over every snapshot on the way and compares the two, and checks all invariants.
// An error: it could not even look.
state::Result<Inspection> inspect(const std::string& directory);

// Calls f for each batch that can be read, in order, whatever is wrong between; false from f ends it. The faults found.
state::Result<std::vector<std::string>> each_batch(
    const std::string& directory, const std::function<bool(std::uint64_t index, std::span<const std::byte>)>& f);

// Puts the state at `inspection.last_index` in place of what is there, as one snapshot and an empty journal. What was
// there is kept whole, in the directory whose name is returned.
state::Result<std::string> repair(const std::string& directory, const Inspection& inspection);

}  // namespace berth::store
