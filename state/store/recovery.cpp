#include "state/store/recovery.h"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

#include "state/event_codec.h"
#include "state/store/snapshot_file.h"

namespace berth::store {

using state::Cluster;
using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

Error damaged_segment(const std::string& path, std::uint64_t offset, const std::string& why) {
  return Error{ErrorCode::kInternal, "", path + " is damaged at offset " + std::to_string(offset) + ": " + why, 0};
}

std::string parent_of(const std::string& path) { return path.substr(0, path.find_last_of('/')); }

// Files of the form <20 digits><suffix>; unfinished ones (.tmp) are removed, anything else is not ours to touch.
Result<std::vector<Entry>> list(const std::string& directory, std::string_view suffix, Unfinished mode) {
  std::vector<Entry> entries;
  auto names = list_names(directory);
  if (!names) return names.error();
  for (std::string& name : *names) {
    const std::string path = directory + "/" + name;
    const bool unfinished = name.ends_with(".tmp");
    if (unfinished) name.resize(name.size() - 4);
    if (name.size() != 20 + suffix.size() || !name.ends_with(suffix)) continue;
    Entry entry{0, path};
    const auto [stop, wrong] = std::from_chars(name.data(), name.data() + 20, entry.index);
    if (wrong != std::errc{} || stop != name.data() + 20) continue;
    if (unfinished) {
      if (mode == Unfinished::kRemove) remove_file(path);
    } else {
      entries.push_back(std::move(entry));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.index < b.index; });
  return entries;
}

// The newest snapshot that reads. Older ones are there for the case that it does not: nothing is lost by going back,
// since the segments behind the older one are kept too.
Status load_snapshot(Listing& listing, RecoveredState& out) {
  std::vector<std::string> refused;
  std::vector<std::string> paths;
  while (!listing.snapshots.empty()) {
    const Entry& newest = listing.snapshots.back();
    auto cluster = read_snapshot(newest.path, newest.index);
    if (cluster) {
      out.cluster = std::move(*cluster);
      out.snapshot_index = newest.index;
      break;
    }
    // Nothing is wrong with it, and the release that can read it may come back: not to be put aside.
    if (cluster.error().code == ErrorCode::kConflict) return cluster.error();
    refused.push_back(cluster.error().message);
    paths.push_back(newest.path);
    listing.snapshots.pop_back();
  }
  const std::uint64_t first = listing.segments.empty() ? 0 : listing.segments.front().index;
  if (!refused.empty() && (first == 0 || first > out.snapshot_index + 1)) {
    return Error{ErrorCode::kInternal, "", refused.front(), 0};
  }
  // Out of the way, but there for whoever wants to know what happened to the disk.
  for (const std::string& path : paths) rename_file(path, path + ".damaged");
  // Durably: back again, it would count as the one that is kept.
  if (!paths.empty()) {
    if (Status done = sync_directory(parent_of(paths.front())); !done) return done.error();
  }
  for (const std::string& line : refused) {
    out.warnings.push_back(line + "; recovered without it, from " +
                           (out.snapshot_index == 0 ? "the whole journal" : "the snapshot before it"));
  }
  return Unit{};
}

}  // namespace

Result<File> lock_directory(const std::string& directory, Unfinished mode) {
  auto lock = File::open(directory + "/lock", mode == Unfinished::kLeave ? O_RDONLY : O_RDWR | O_CREAT);
  if (!lock) return lock.error();
  const auto mine = lock->lock();
  if (!mine) return mine.error();
  if (!*mine) {
    long pid = 0;
    if (const auto holder = lock->read_all(); holder) {
      const char* text = reinterpret_cast<const char*>(holder->data());
      std::from_chars(text, text + holder->size(), pid);
    }
    return Error{ErrorCode::kConflict, "",
                 "the data directory " + directory + " is in use by " +
                     (pid > 0 ? "process " + std::to_string(pid) : std::string("another process")),
                 0};
  }
  if (mode == Unfinished::kLeave) return lock;
  const std::string pid = std::to_string(::getpid()) + "\n";
  // Only to name the holder in the line above; the lock holds without it, and on a full disk too.
  if (lock->cut(0)) static_cast<void>(lock->write_at(0, std::as_bytes(std::span(pid))));
  return lock;
}

Result<Listing> list_directory(const std::string& directory, Unfinished unfinished) {
  auto snapshots = list(directory + "/snapshot", ".snap", unfinished);
  if (!snapshots) return snapshots.error();
  auto segments = list(directory + "/journal", ".log", unfinished);
  if (!segments) return segments.error();
  return Listing{std::move(*snapshots), std::move(*segments)};
}

Status replay(SegmentReader& segment, Cluster& cluster, std::uint64_t& batches, const std::atomic<bool>& stop) {
  Record record;
  while (segment.next(record)) {
    if (record.index <= cluster.applied_index()) continue;
    if (stop) return Error{ErrorCode::kUnavailable, "", "the store is closing", 0};
    auto batch = state::decode_batch(record.payload);
    if (!batch) return damaged_segment(segment.path(), record.offset, batch.error().message);
    if (batch->index != record.index)
      return damaged_segment(segment.path(), record.offset, "a batch has another index than its record");
    if (Status done = cluster.apply(*batch); !done)
      return damaged_segment(segment.path(), record.offset, done.error().message);
    ++batches;
  }
  return Unit{};
}

Status replay_closed(const std::string& path, std::uint64_t next_first_index, Cluster& cluster, std::uint64_t& batches,
                     const std::atomic<bool>& stop) {
  auto segment = SegmentReader::open(path);
  if (!segment) return segment.error();
  if (Status done = replay(*segment, cluster, batches, stop); !done) return done;
  if (segment->rest().tail != SegmentReader::Tail::kClean || segment->next_index() != next_first_index) {
    return damaged_segment(path, segment->offset(),
                           "batch " + std::to_string(segment->next_index()) + " cannot be read, and more follow");
  }
  return Unit{};
}

Result<RecoveredState> recover(Listing& listing) {
  RecoveredState out;
  if (Status done = load_snapshot(listing, out); !done) return done.error();
  const std::uint64_t needed = out.cluster.applied_index() + 1;
  if (listing.segments.empty()) {
    if (needed == 1) return out;
    return Error{ErrorCode::kInternal, "", "the journal after " + listing.snapshots.back().path + " is missing", 0};
  }
  if (listing.segments.front().index > needed) {
    return Error{ErrorCode::kInternal, "",
                 "the journal is missing from batch " + std::to_string(needed) + " to " + listing.segments.front().path,
                 0};
  }
  const std::atomic<bool> go_on{false};
  for (std::size_t i = 0; i + 1 < listing.segments.size(); ++i) {
    const Entry& next = listing.segments[i + 1];
    if (next.index <= needed) continue;  // the snapshot has all of it
    if (Status done = replay_closed(listing.segments[i].path, next.index, out.cluster, out.batches_replayed, go_on);
        !done) {
      return done.error();
    }
  }
  auto last = SegmentReader::open(listing.segments.back().path);
  if (!last) return last.error();
  if (last->first_index() != listing.segments.back().index) {
    return damaged_segment(last->path(), 0, "its first batch is not the one of its name");
  }
  if (Status done = replay(*last, out.cluster, out.batches_replayed, go_on); !done) return done.error();
  const SegmentReader::Rest rest = last->rest();
  if (rest.tail == SegmentReader::Tail::kDamaged) {
    return damaged_segment(last->path(), last->offset(),
                           "batch " + std::to_string(last->next_index()) + " cannot be read, and durable ones follow");
  }
  if (last->next_index() != out.cluster.applied_index() + 1) {
    return damaged_segment(last->path(), last->offset(), "it ends before the snapshot");
  }
  out.torn = rest;
  out.last = std::move(*last);
  return out;
}

}  // namespace berth::store
