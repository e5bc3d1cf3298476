// Snapshotter: a worker of low priority that turns the last snapshot and the closed segments behind it into the next
// snapshot, by replaying them into a cluster of its own, so that the core never stops for it. Two snapshots are kept;
// segments that the older one covers are deleted.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "state/result.h"
#include "state/store/recovery.h"
#include "state/store/worker.h"

namespace berth::store {

class Snapshotter {
 public:
  // `listing` is what recovery went by, but for the segment that is appended to.
  Snapshotter(std::string directory, std::uint64_t after_bytes, Listing listing);
  ~Snapshotter();  // stops at once; an unfinished snapshot is dropped
  Snapshotter(const Snapshotter&) = delete;
  Snapshotter& operator=(const Snapshotter&) = delete;

  // A segment takes no more records; the next one begins at `next_first_index`. Never waits for a snapshot.
  void closed(Entry segment, std::uint64_t bytes, std::uint64_t next_first_index);

  std::uint64_t snapshot_index() const { return snapshot_index_; }
  std::string last_error() const;  // "" if the last snapshot was made

 private:
  struct Closed {
    Entry segment;
    std::uint64_t bytes = 0;
    std::uint64_t next_first_index = 0;
  };

  void work();                                                            // makes what is due
  std::uint64_t bytes_behind(const std::vector<Closed>& segments) const;  // the last snapshot
  bool is_due() const;                                                    // with the mutex held
  state::Status make(const Listing& snapshots, const std::vector<Closed>& segments, std::uint64_t& index);
  void clean_up();

  const std::string directory_;
  const std::uint64_t after_bytes_;
  std::atomic<std::uint64_t> snapshot_index_{0};
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  std::vector<Entry> snapshots_;
  std::vector<Closed> segments_;
  std::uint64_t failed_at_ = 0;  // bytes behind the last snapshot when making one failed; tried again with more
  std::string last_error_;
  Worker worker_;
};

}  // namespace berth::store
