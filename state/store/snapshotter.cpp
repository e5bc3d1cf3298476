#include "state/store/snapshotter.h"

#include <algorithm>
#include <fcntl.h>

#include "state/store/snapshot_file.h"

namespace berth::store {

using state::Cluster;
using state::Status;
using state::Unit;

Snapshotter::Snapshotter(std::string directory, std::uint64_t after_bytes, Listing listing)
    : directory_(std::move(directory)),
      after_bytes_(after_bytes),
      snapshots_(std::move(listing.snapshots)),
      worker_([this] { work(); }) {
  if (!snapshots_.empty()) snapshot_index_ = snapshots_.back().index;
  for (std::size_t i = 0; i + 1 < listing.segments.size(); ++i) {
    Closed closed{std::move(listing.segments[i]), 0, listing.segments[i + 1].index};
    if (auto file = File::open(closed.segment.path, O_RDONLY); file) {
      if (const auto size = file->size(); size) closed.bytes = *size;
    }
    segments_.push_back(std::move(closed));
  }
  worker_.wake();
}

Snapshotter::~Snapshotter() { stop_ = true; }

void Snapshotter::closed(Entry segment, std::uint64_t bytes, std::uint64_t next_first_index) {
  {
    const std::lock_guard lock(mutex_);
    segments_.push_back({std::move(segment), bytes, next_first_index});
  }
  worker_.wake();
}

std::string Snapshotter::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

std::uint64_t Snapshotter::bytes_behind(const std::vector<Closed>& segments) const {
  std::uint64_t bytes = 0;
  for (const Closed& closed : segments) {
    if (closed.next_first_index > snapshot_index_ + 1) bytes += closed.bytes;
  }
  return bytes;
}

bool Snapshotter::is_due() const {
  const std::uint64_t bytes = bytes_behind(segments_);
  return bytes > failed_at_ && bytes >= after_bytes_;
}

void Snapshotter::work() {
  std::unique_lock lock(mutex_);
  while (!stop_ && is_due()) {
    const Listing snapshots{snapshots_, {}};
    const std::vector<Closed> segments = segments_;
    lock.unlock();
    std::uint64_t index = 0;
    const Status done = make(snapshots, segments, index);
    lock.lock();
    if (done) {
      snapshots_.push_back({index, directory_ + "/snapshot/" + snapshot_name(index)});
      snapshot_index_ = index;
      failed_at_ = 0;
      last_error_.clear();
      lock.unlock();
      clean_up();
      lock.lock();
    } else if (!stop_) {
      last_error_ = done.error().message;
      failed_at_ = bytes_behind(segments);
    }
  }
}

Status Snapshotter::make(const Listing& snapshots, const std::vector<Closed>& segments, std::uint64_t& index) {
  Cluster cluster;
  if (!snapshots.snapshots.empty()) {
    const Entry& base = snapshots.snapshots.back();
    auto loaded = read_snapshot(base.path, base.index);
    if (!loaded) return loaded.error();
    cluster = std::move(*loaded);
  }
  std::uint64_t batches = 0;
  for (const Closed& closed : segments) {
    if (closed.next_first_index <= cluster.applied_index() + 1) continue;
    if (Status done = replay_closed(closed.segment.path, closed.next_first_index, cluster, batches, stop_); !done)
      return done;
  }
  index = cluster.applied_index();
  return write_snapshot(directory_ + "/snapshot", cluster, stop_);
}

void Snapshotter::clean_up() {
  std::vector<std::string> doomed;
  {
    const std::lock_guard lock(mutex_);
    while (snapshots_.size() > 2) {
      doomed.push_back(snapshots_.front().path);
      snapshots_.erase(snapshots_.begin());
    }
    // With one snapshot only, the journal is kept from its beginning: it stands in for the older one.
    const std::uint64_t covered = snapshots_.size() == 2 ? snapshots_.front().index : 0;
    while (!segments_.empty() && segments_.front().next_first_index <= covered + 1) {
      doomed.push_back(segments_.front().segment.path);
      segments_.erase(segments_.begin());
    }
  }
  for (const std::string& path : doomed) remove_file(path);
}

}  // namespace berth::store
