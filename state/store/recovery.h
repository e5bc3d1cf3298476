// Recovery: what lies in a data directory, and how it becomes a cluster again. Used at open, and by the thread that
// makes snapshots from closed segments.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "state/cluster.h"
#include "state/result.h"
#include "state/store/segment.h"

namespace berth::store {

struct Entry {
  std::uint64_t index = 0;  // a segment's first, a snapshot's last
  std::string path;
};

struct Listing {
  std::vector<Entry> snapshots;  // ascending
  std::vector<Entry> segments;   // ascending
};

enum class Unfinished : std::uint8_t { kRemove, kLeave };
// Lists the files, in order. What an interrupted write left is removed by whoever owns the directory.
state::Result<Listing> list_directory(const std::string& directory, Unfinished unfinished = Unfinished::kRemove);

// Holds the directory against other processes as long as the file is open; an error of code kConflict names the holder.
// kLeave: makes no file, for who only looks.
state::Result<File> lock_directory(const std::string& directory, Unfinished mode = Unfinished::kRemove);

// Applies the segment's records behind the cluster's index. An error names file and offset.
state::Status replay(SegmentReader& segment, state::Cluster& cluster, std::uint64_t& batches,
                     const std::atomic<bool>& stop);
// The same for a closed segment, which must hold everything up to the one that begins at `next_first_index`.
state::Status replay_closed(const std::string& path, std::uint64_t next_first_index, state::Cluster& cluster,
                            std::uint64_t& batches, const std::atomic<bool>& stop);

struct RecoveredState {
  state::Cluster cluster;
  std::uint64_t snapshot_index = 0;
  std::uint64_t batches_replayed = 0;
  SegmentReader::Rest torn;
  std::vector<std::string> warnings;
  std::optional<SegmentReader> last;  // the segment to go on with; none in a new directory
};
state::Result<RecoveredState> recover(Listing& listing);

}  // namespace berth::store
