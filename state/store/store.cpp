#include "state/store/store.h"

#include <atomic>

#include "state/store/recovery.h"
#include "state/store/segment.h"
#include "state/store/snapshotter.h"

namespace berth::store {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

Error fatal(std::string message) { return Error{ErrorCode::kInternal, "", std::move(message), 0}; }

class FileStore final : public Store {
 public:
  FileStore(File lock, const StoreOptions& options, SegmentWriter writer, Entry segment, std::uint64_t last_index,
            Listing listing)
      : lock_(std::move(lock)),
        journal_(options.directory + "/journal"),
        segment_bytes_(options.segment_bytes),
        writer_(std::move(writer)),
        segment_(std::move(segment)),
        last_index_(last_index),
        snapshotter_(options.directory, options.snapshot_after_bytes, std::move(listing)) {}

  ~FileStore() override {
    if (!failed_) writer_.close();
  }

  Status append(std::uint64_t first_index, std::span<const std::string> records) override {
    if (failed_) return fatal("the journal is closed after an earlier error");
    if (records.empty()) return Unit{};
    if (first_index != last_index_ + 1) {
      return fatal("batch " + std::to_string(first_index) + " cannot follow batch " + std::to_string(last_index_));
    }
    for (const std::string& record : records) {
      if (record.empty() || record.size() > kRecordBytesMax)
        return fatal("a batch of " + std::to_string(record.size()) + " bytes");
    }
    Status done = make_room(SegmentWriter::bytes_of(records));
    if (done) done = writer_.append(first_index, records);
    if (done) last_index_ += records.size();
    if (!done && done.error().code != ErrorCode::kUnavailable) failed_ = true;
    return done;
  }

  std::int64_t sync_began_ns() const override { return writer_.sync_began_ns(); }
  std::uint64_t last_index() const override { return last_index_; }
  std::uint64_t snapshot_index() const override { return snapshotter_.snapshot_index(); }
  std::string snapshot_error() const override { return snapshotter_.last_error(); }

 private:
  // A group of records is never split over two segments: recovery tells torn from damaged by that.
  Status make_room(std::uint64_t bytes) {
    if (writer_.fits(bytes)) return Unit{};
    const std::uint64_t first = last_index_ + 1;
    auto next = SegmentWriter::create(journal_, first, std::max(segment_bytes_, sizeof(SegmentHeader) + bytes));
    if (!next) return next.error();
    const std::uint64_t used = writer_.offset();
    const bool replaced = segment_.index == first;  // it held nothing, and the new one took its name
    if (!replaced) {
      writer_.close();
      snapshotter_.closed(segment_, used, first);
    }
    writer_ = std::move(*next);
    segment_ = {first, writer_.path()};
    return Unit{};
  }

  File lock_;
  const std::string journal_;
  const std::uint64_t segment_bytes_;
  SegmentWriter writer_;
  Entry segment_;  // that writer_ appends to
  std::atomic<std::uint64_t> last_index_;
  bool failed_ = false;
  Snapshotter snapshotter_;
};

}  // namespace

Result<Opened> open_store(const StoreOptions& options) {
  for (const char* part : {"", "/journal", "/snapshot"}) {
    if (Status done = make_directory(options.directory + part); !done) return done.error();
  }
  auto lock = lock_directory(options.directory);
  if (!lock) return lock.error();
  auto listing = list_directory(options.directory);
  if (!listing) return listing.error();
  auto state = recover(*listing);
  if (!state) return state.error();

  const std::uint64_t last_index = state->cluster.applied_index();
  Result<SegmentWriter> writer =
      state->last ? SegmentWriter::resume(*state->last, options.segment_bytes)
                  : SegmentWriter::create(options.directory + "/journal", last_index + 1, options.segment_bytes);
  if (!writer) return writer.error();
  if (listing->segments.empty()) listing->segments.push_back({last_index + 1, writer->path()});

  Opened opened;
  opened.recovered.torn_bytes = state->torn.bytes;
  if (state->torn.bytes != 0) opened.recovered.torn_file = writer->path();
  opened.recovered.batches_replayed = state->batches_replayed;
  opened.recovered.warnings = std::move(state->warnings);
  opened.recovered.cluster = std::move(state->cluster);
  state->last.reset();
  Entry segment = listing->segments.back();
  opened.store = std::make_unique<FileStore>(std::move(*lock), options, std::move(*writer), std::move(segment),
                                             last_index, std::move(*listing));
  return opened;
}

}  // namespace berth::store
