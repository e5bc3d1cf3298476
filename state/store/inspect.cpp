#include "state/store/inspect.h"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>

#include "state/event_codec.h"
#include "state/schema/journal_generated.h"
#include "state/store/segment.h"
#include "state/store/snapshot_file.h"

namespace berth::store {

using state::Cluster;
using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

std::string damaged(const std::string& path, std::uint64_t offset, const std::string& why) {
  return path + " is damaged at offset " + std::to_string(offset) + ": " + why;
}

void count_events(std::span<const std::byte> payload, std::map<std::string, std::uint64_t>& counts) {
  const auto* events = flatbuffers::GetRoot<journal::Batch>(payload.data())->events();
  for (flatbuffers::uoffset_t i = 0; events != nullptr && i < events->size(); ++i) {
    ++counts[journal::EnumNameEvent(events->Get(i)->event_type())];
  }
}

class Inspector {
 public:
  explicit Inspector(Listing listing) : listing_(std::move(listing)) {}

  Inspection run() {
    for (const Entry& entry : listing_.snapshots) look_at_snapshot(entry);
    const bool from_nothing = listing_.segments.empty() ? listing_.snapshots.empty() : listing_.segments[0].index == 1;
    if (from_nothing) {
      follows_ = true;
    } else {
      next_snapshot();
    }
    expected_ = cluster_.applied_index() + 1;
    for (std::size_t i = 0; i < listing_.segments.size(); ++i) look_at_segment(i);
    // What the journal does not reach.
    while (next_snapshot()) note_reached();
    note_reached();
    if (!whole_.empty() && listing_.segments.empty()) {
      out_.faults.push_back("the journal after " + listing_.snapshots.back().path + " is missing");
    }
    out_.cluster = std::move(cluster_);
    return std::move(out_);
  }

 private:
  void fault(std::string line) { out_.faults.push_back(std::move(line)); }

  void look_at_snapshot(const Entry& entry) {
    FoundFile found{entry.path, 0, 0, entry.index, true};
    if (auto file = File::open(entry.path, O_RDONLY); file) {
      if (const auto size = file->size(); size) found.bytes = *size;
    }
    auto cluster = read_snapshot(entry.path, entry.index);
    if (!cluster) {
      found.whole = false;
      fault(cluster.error().message);
    } else {
      whole_.push_back({entry, cluster->hash()});
    }
    out_.snapshots.push_back(std::move(found));
  }

  // Goes on from the next snapshot that is ahead of the state; false if there is none.
  bool next_snapshot() {
    for (; at_snapshot_ < whole_.size(); ++at_snapshot_) {
      const Entry& entry = whole_[at_snapshot_].entry;
      if (follows_ && entry.index <= cluster_.applied_index()) continue;
      if (!follows_ && entry.index <= out_.last_index) continue;
      auto cluster = read_snapshot(entry.path, entry.index);
      if (!cluster) continue;
      cluster_ = std::move(*cluster);
      base_ = entry.index;
      follows_ = true;
      ++at_snapshot_;
      return true;
    }
    return false;
  }
  void note_reached() {
    if (!follows_ || (cluster_.applied_index() <= out_.last_index && out_.last_index != 0)) return;
    out_.base_snapshot = base_;
    out_.last_index = cluster_.applied_index();
  }
  // The state cannot go on from here: perhaps from a later snapshot.
  void lost() {
    if (!follows_) return;
    note_reached();
    follows_ = false;
    next_snapshot();
  }

  void look_at_segment(std::size_t i) {
    const Entry& entry = listing_.segments[i];
    const bool last = i + 1 == listing_.segments.size();
    const std::uint64_t next_first = last ? 0 : listing_.segments[i + 1].index;
    FoundFile found{entry.path, 0, entry.index, entry.index - 1, true};
    auto segment = SegmentReader::open(entry.path);
    if (!segment) {
      fault(segment.error().message);
      if (auto file = File::open(entry.path, O_RDONLY); file) {
        if (const auto size = file->size(); size) found.bytes = *size;
      }
      found.whole = false;
      out_.unreadable.push_back({entry.path, 0, found.bytes, entry.index, next_first == 0 ? entry.index : next_first});
      out_.segments.push_back(std::move(found));
      if (next_first == 0 || next_first > cluster_.applied_index() + 1) lost();
      expected_ = std::max(expected_, next_first);
      return;
    }
    found.bytes = segment->size();
    if (segment->first_index() != entry.index)
      fault(damaged(entry.path, 0, "its first batch is not the one of its name"));
    if (entry.index > expected_) {
      fault(
          fmt::format("batches {} to {} are missing: they would be before {}", expected_, entry.index - 1, entry.path));
      if (follows_ && entry.index > cluster_.applied_index() + 1) lost();
    }
    read_records(*segment, found, next_first);
    found.last_index = segment->next_index() - 1;
    expected_ = std::max(expected_, segment->next_index());
    out_.segments.push_back(std::move(found));
  }

  void read_records(SegmentReader& segment, FoundFile& found, std::uint64_t next_first) {
    while (true) {
      Record record;
      while (segment.next(record)) take(segment, record, found);
      const SegmentReader::Rest rest = segment.rest();
      const bool ends_early = next_first != 0 && segment.next_index() < next_first;
      if (rest.tail == SegmentReader::Tail::kClean && !ends_early) return;
      if (next_first == 0 && rest.tail == SegmentReader::Tail::kTorn) {
        out_.notes.push_back(
            fmt::format("{} has a torn tail at offset {}: {} bytes that were never acknowledged, cut when "
                        "the server starts",
                        found.path, segment.offset(), rest.bytes));
        return;
      }
      const std::uint64_t from = segment.offset(), first = segment.next_index();
      fault(damaged(found.path, from, fmt::format("batch {} cannot be read, and more follow", first)));
      found.whole = false;
      const bool more = segment.skip_damage();
      const std::uint64_t end_index = more ? segment.next_index() : next_first;
      out_.unreadable.push_back({found.path, from, more ? segment.offset() : from + rest.bytes, first, end_index});
      if (first > cluster_.applied_index()) lost();
      if (!more) return;
    }
  }

  void take(const SegmentReader& segment, const Record& record, FoundFile& found) {
    auto batch = state::decode_batch(record.payload);
    if (!batch || batch->index != record.index) {
      fault(damaged(segment.path(), record.offset,
                    batch ? "a batch has another index than its record" : batch.error().message));
      found.whole = false;
      if (record.index > cluster_.applied_index()) lost();
      return;
    }
    ++out_.batches;
    count_events(record.payload, out_.events);
    if (follows_ && record.index <= cluster_.applied_index()) return;
    if (!follows_ || record.index != cluster_.applied_index() + 1) {
      if (out_.batches_behind++ == 0) out_.first_behind = record.index;
      out_.last_behind = record.index;
      count_events(record.payload, out_.events_behind);
      return;
    }
    if (Status done = cluster_.apply(*batch); !done) {
      fault(damaged(segment.path(), record.offset, done.error().message));
      found.whole = false;
      // The cluster is to be thrown away: it stands after the batch before.
      out_.base_snapshot = base_;
      out_.last_index = record.index - 1;
      follows_ = false;
      next_snapshot();
      return;
    }
    for (const Whole& snapshot : whole_) {
      if (snapshot.entry.index == record.index && snapshot.hash != cluster_.hash())
        fault(snapshot.entry.path + " is not the state that the journal leads to at batch " +
              std::to_string(record.index));
    }
  }

  struct Whole {
    Entry entry;
    std::uint64_t hash = 0;
  };
  Listing listing_;
  std::vector<Whole> whole_;
  std::size_t at_snapshot_ = 0;
  Cluster cluster_;
  std::uint64_t base_ = 0;
  bool follows_ = false;  // cluster_ is a state that was, and the next batch may be applied to it
  std::uint64_t expected_ = 1;
  Inspection out_;
};

Result<Listing> look(const std::string& directory, File& lock) {
  auto listing = list_directory(directory, Unfinished::kLeave);
  if (!listing) {
    return Error{ErrorCode::kNotFound, "", directory + " is not a server's data directory: " + listing.error().message,
                 0};
  }
  auto held = lock_directory(directory, Unfinished::kLeave);
  if (held) {
    lock = std::move(*held);
  } else if (held.error().code == ErrorCode::kConflict) {
    return held.error();
  }
  // Without a lock file no server has ever opened it: a copy of the two directories alone.
  return listing;
}

// The state that the inspection found, built again.
Result<Cluster> rebuild(const Listing& listing, const Inspection& inspection) {
  Cluster cluster;
  if (inspection.base_snapshot != 0) {
    const auto base = std::find_if(listing.snapshots.begin(), listing.snapshots.end(),
                                   [&](const Entry& entry) { return entry.index == inspection.base_snapshot; });
    if (base == listing.snapshots.end()) return Error{ErrorCode::kConflict, "", "the directory has changed", 0};
    auto read = read_snapshot(base->path, base->index);
    if (!read) return read.error();
    cluster = std::move(*read);
  }
  for (const Entry& entry : listing.segments) {
    auto segment = SegmentReader::open(entry.path);
    if (!segment) continue;
    Record record;
    do {
      while (segment->next(record)) {
        if (record.index != cluster.applied_index() + 1 || record.index > inspection.last_index) continue;
        auto batch = state::decode_batch(record.payload);
        if (!batch) return batch.error();
        if (Status done = cluster.apply(*batch); !done) return done.error();
      }
    } while (segment->skip_damage());
  }
  if (cluster.applied_index() != inspection.last_index)
    return Error{ErrorCode::kConflict, "", "the directory has changed", 0};
  if (std::string broken = state::check_invariants(cluster); !broken.empty())
    return Error{ErrorCode::kInternal, "", "the state that can be had breaks a rule: " + broken, 0};
  return cluster;
}

}  // namespace

Result<Inspection> inspect(const std::string& directory) {
  File lock;
  auto listing = look(directory, lock);
  if (!listing) return listing.error();
  if (listing->segments.empty() && listing->snapshots.empty())
    return Error{ErrorCode::kNotFound, "", directory + " holds no journal and no snapshot", 0};
  Inspection found = Inspector(std::move(*listing)).run();
  if (found.faults.empty()) {
    if (std::string broken = state::check_invariants(found.cluster); !broken.empty())
      found.faults.push_back("the state at batch " + std::to_string(found.last_index) + " breaks a rule: " + broken);
  }
  return found;
}

Result<std::vector<std::string>> each_batch(const std::string& directory,
                                            const std::function<bool(std::uint64_t, std::span<const std::byte>)>& f) {
  File lock;
  auto listing = look(directory, lock);
  if (!listing) return listing.error();
  std::vector<std::string> faults;
  for (std::size_t i = 0; i < listing->segments.size(); ++i) {
    auto segment = SegmentReader::open(listing->segments[i].path);
    if (!segment) {
      faults.push_back(segment.error().message);
      continue;
    }
    while (true) {
      Record record;
      while (segment->next(record)) {
        if (auto batch = state::decode_batch(record.payload); !batch) {
          faults.push_back(damaged(segment->path(), record.offset, batch.error().message));
        } else if (!f(record.index, record.payload)) {
          return faults;
        }
      }
      const std::uint64_t from = segment->offset();
      const auto tail = segment->rest().tail;
      if (tail == SegmentReader::Tail::kClean) break;
      if (tail == SegmentReader::Tail::kTorn && i + 1 == listing->segments.size()) break;
      faults.push_back(damaged(segment->path(), from, "bytes that cannot be read"));
      if (!segment->skip_damage()) break;
    }
  }
  return faults;
}

Result<std::string> repair(const std::string& directory, const Inspection& inspection) {
  File lock;
  auto listing = look(directory, lock);
  if (!listing) return listing.error();
  auto cluster = rebuild(*listing, inspection);
  if (!cluster) return cluster.error();
  // All that is new is made beside what is there, and is durable before anything is moved.
  const std::string fresh = directory + "/repair.tmp";
  std::string kept;
  for (int number = 1; kept.empty() || File::open(kept, O_RDONLY).ok(); ++number)
    kept = directory + "/before-repair-" + std::to_string(number);
  for (const std::string& path : {fresh, fresh + "/journal", fresh + "/snapshot", kept}) {
    if (Status done = make_directory(path); !done) return done.error();
  }
  auto left = list_directory(fresh);  // of a repair that did not end
  if (!left) return left.error();
  for (const auto* files : {&left->segments, &left->snapshots}) {
    for (const Entry& entry : *files) remove_file(entry.path);
  }
  const std::atomic<bool> stop{false};
  if (cluster->applied_index() != 0) {
    if (Status done = write_snapshot(fresh + "/snapshot", *cluster, stop); !done) return done.error();
  }
  auto writer = SegmentWriter::create(fresh + "/journal", cluster->applied_index() + 1, sizeof(SegmentHeader));
  if (!writer) return writer.error();
  for (const char* part : {"/snapshot", "/journal"}) {
    if (Status done = rename_durably(directory + part, kept + part, kept); !done) return done.error();
    if (Status done = rename_durably(fresh + part, directory + part, directory); !done) return done.error();
  }
  remove_directory(fresh);
  return kept;
}

}  // namespace berth::store
