// Snapshot files: a header, the cluster as SnapshotCodec writes it, and a trailer with length and checksum. A snapshot
// appears under its name only when it is whole and durable.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "state/cluster.h"
#include "state/result.h"

namespace berth::store {

std::string snapshot_name(std::uint64_t index);  // "00000000000000000001.snap"

// Writes `<directory>/<applied index>.snap` in small steps, each waited for, so that a journal on the same disk does
// not wait for one great flush. On an error nothing is left. `stop` ends it early, with an error.
state::Status write_snapshot(const std::string& directory, const state::Cluster& cluster,
                             const std::atomic<bool>& stop);

// Refuses what is damaged, with one line that names file and offset. An error of code kConflict is of a whole snapshot
// in a format of another release.
state::Result<state::Cluster> read_snapshot(const std::string& path, std::uint64_t index);

}  // namespace berth::store
