// Reading what is in etcd: the newest snapshot that is whole, and the batches behind it. Used by who follows, by who
// takes over, and by the thread that makes snapshots.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "state/cluster.h"
#include "state/etcd/etcd_client.h"
#include "state/etcd/group_codec.h"
#include "state/etcd/keys.h"

namespace berth::etcd {

struct SnapshotEntry {
  std::uint64_t index = 0;
  std::string end;  // what its end says; "": it is not whole
};

struct Loaded {
  state::Cluster cluster;
  std::uint64_t snapshot_index = 0;
  std::vector<std::string> warnings;
};

class JournalReader {
 public:
  // `stop` ends a long read early, with an error of code kUnavailable.
  JournalReader(EtcdClient& client, const Keys& keys, const std::atomic<bool>& stop)
      : client_(client), keys_(keys), stop_(stop) {}

  // Whole or not, ascending.
  state::Result<std::vector<SnapshotEntry>> list_snapshots();
  // The newest snapshot that reads; an empty cluster where there is none.
  state::Result<Loaded> load_snapshot();
  // Applies all batches that are there behind the cluster's index; returns the revision of etcd as of which that was
  // all. An error of code kConflict: the batches that would be next are gone; load a newer snapshot.
  state::Result<std::int64_t> catch_up(state::Cluster& cluster);
  // Applies the chunk's group, if it completes one.
  state::Status apply(std::string_view chunk, state::Cluster& cluster);
  // Behind a break in the stream.
  void forget_unfinished() { groups_.forget(); }

  std::uint64_t batches() const { return batches_; }  // applied so far
  std::uint64_t bytes() const { return bytes_; }      // … and of them

 private:
  state::Result<std::string> read_snapshot(const SnapshotEntry& entry);
  state::Error damaged(const std::string& what, const std::string& why) const;

  EtcdClient& client_;
  const Keys& keys_;
  const std::atomic<bool>& stop_;
  GroupReader groups_;
  std::uint64_t batches_ = 0, bytes_ = 0;
};

// What a snapshot's end says.
struct SnapshotEnd {
  std::uint64_t bytes = 0, chunks = 0;
  std::uint32_t crc = 0;
};
std::string format_snapshot_end(const SnapshotEnd& end);

inline constexpr std::int64_t kReadTimeoutMs = 10'000;

}  // namespace berth::etcd
