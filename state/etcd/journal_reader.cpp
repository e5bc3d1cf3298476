#include "state/etcd/journal_reader.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>

#include "state/event_codec.h"
#include "state/snapshot_codec.h"
#include "state/store/crc32c.h"

namespace berth::etcd {

using state::Cluster;
using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

constexpr std::int64_t kChunksAtOnce = 32;
constexpr std::int64_t kKeysAtOnce = 1000;
constexpr unsigned kSnapshotFormat = 1;

bool parse_end(const std::string& text, SnapshotEnd& out, unsigned& format) {
  unsigned long long bytes = 0, chunks = 0;
  if (std::sscanf(text.c_str(), "format %u, %llu bytes in %llu chunks, crc32c %x", &format, &bytes, &chunks,
                  &out.crc) != 4) {
    return false;
  }
  out.bytes = bytes;
  out.chunks = chunks;
  return true;
}

}  // namespace

std::string format_snapshot_end(const SnapshotEnd& end) {
  std::array<char, 128> text{};
  std::snprintf(text.data(), text.size(), "format %u, %llu bytes in %llu chunks, crc32c %08x", kSnapshotFormat,
                static_cast<unsigned long long>(end.bytes), static_cast<unsigned long long>(end.chunks), end.crc);
  return text.data();
}

Error JournalReader::damaged(const std::string& what, const std::string& why) const {
  return Error{ErrorCode::kInternal, "", "etcd: " + what + " is damaged: " + why, 0};
}

Result<std::vector<SnapshotEntry>> JournalReader::list_snapshots() {
  std::vector<SnapshotEntry> entries;
  Range range = all_below(keys_.snapshots);
  range.limit = kKeysAtOnce;
  range.keys_only = true;
  while (true) {
    auto page = client_.range(range, kReadTimeoutMs);
    if (!page) return page.error();
    for (const KeyValue& kv : page->kvs) {
      const std::string_view name = std::string_view(kv.key).substr(keys_.snapshots.size());
      const auto index = to_number(name.substr(0, name.find('/')));
      if (!index) continue;  // not ours to touch
      if (entries.empty() || entries.back().index != *index) entries.push_back({*index, ""});
      if (!name.ends_with("/end")) continue;
      auto end = client_.range({kv.key, "", 0, 0, false}, kReadTimeoutMs);
      if (!end) return end.error();
      if (!end->kvs.empty()) entries.back().end = std::move(end->kvs.front().value);
    }
    if (!page->more || page->kvs.empty()) return entries;
    range.key = page->kvs.back().key + '\0';
  }
}

Result<std::string> JournalReader::read_snapshot(const SnapshotEntry& entry) {
  const std::string what = "snapshot " + std::to_string(entry.index);
  SnapshotEnd end;
  unsigned format = 0;
  if (!parse_end(entry.end, end, format)) return damaged(what, "its end cannot be read");
  if (format != kSnapshotFormat) {
    return Error{ErrorCode::kConflict, "",
                 "etcd: " + what + " has format " + std::to_string(format) + ", this release reads format " +
                     std::to_string(kSnapshotFormat),
                 0};
  }
  std::string bytes;
  std::uint64_t chunks = 0;
  Range range = all_below(keys_.snapshot(entry.index));
  range.limit = kChunksAtOnce;
  while (true) {
    if (stop_) return Error{ErrorCode::kUnavailable, "", "the store is closing", 0};
    auto page = client_.range(range, kReadTimeoutMs);
    if (!page) return page.error();
    for (const KeyValue& kv : page->kvs) {
      if (kv.key == keys_.snapshot_end(entry.index)) continue;
      bytes += kv.value;
      ++chunks;
    }
    if (!page->more || page->kvs.empty()) break;
    range.key = page->kvs.back().key + '\0';
  }
  if (chunks != end.chunks || bytes.size() != end.bytes) {
    return damaged(what, "it has " + std::to_string(bytes.size()) + " bytes instead of " + std::to_string(end.bytes));
  }
  if (store::crc32c(std::as_bytes(std::span(bytes))) != end.crc) return damaged(what, "its checksum is wrong");
  return bytes;
}

// Older snapshots are there for the case that the newest does not read: the batches behind them are kept, too.
Result<Loaded> JournalReader::load_snapshot() {
  auto entries = list_snapshots();
  if (!entries) return entries.error();
  std::erase_if(*entries, [](const SnapshotEntry& entry) { return entry.end.empty(); });
  Loaded out;
  while (!entries->empty()) {
    const SnapshotEntry entry = std::move(entries->back());
    entries->pop_back();
    auto bytes = read_snapshot(entry);
    if (!bytes && bytes.error().code != ErrorCode::kInternal) return bytes.error();
    Result<Cluster> cluster = bytes ? state::SnapshotCodec::decode(std::as_bytes(std::span(*bytes))) : bytes.error();
    if (cluster && cluster->applied_index() != entry.index) {
      cluster = damaged("snapshot " + std::to_string(entry.index), "its index is not the one of its key");
    }
    if (cluster) {
      out.cluster = std::move(*cluster);
      out.snapshot_index = entry.index;
      break;
    }
    out.warnings.push_back(cluster.error().message + "; going on without it");
  }
  return out;
}

Result<std::int64_t> JournalReader::catch_up(Cluster& cluster) {
  groups_.forget();
  Range range = keys_.batches_from(cluster.applied_index() + 1);
  range.limit = kChunksAtOnce;
  while (true) {
    if (stop_) return Error{ErrorCode::kUnavailable, "", "the store is closing", 0};
    auto page = client_.range(range, kReadTimeoutMs);
    if (!page) return page.error();
    // All pages are of one moment, so that nothing is deleted between them.
    if (range.revision == 0) range.revision = page->revision;
    for (const KeyValue& kv : page->kvs) {
      if (Status done = apply(kv.value, cluster); !done) return done.error();
    }
    if (!page->more || page->kvs.empty()) return range.revision;
    range.key = page->kvs.back().key + '\0';
  }
}

Status JournalReader::apply(std::string_view chunk, Cluster& cluster) {
  auto group = groups_.add(chunk);
  if (!group)
    return damaged("the journal behind batch " + std::to_string(cluster.applied_index()), group.error().message);
  bytes_ += chunk.size();
  if (!*group) return Unit{};
  std::uint64_t index = (**group).first;
  if (index > cluster.applied_index() + 1) {
    return Error{ErrorCode::kConflict, "",
                 "etcd: batch " + std::to_string(cluster.applied_index() + 1) + " is missing, batch " +
                     std::to_string(index) + " is there",
                 0};
  }
  for (const std::string& record : (**group).records) {
    const std::uint64_t own = index++;
    if (own <= cluster.applied_index()) continue;
    const std::string what = "batch " + std::to_string(own);
    auto batch = state::decode_batch(std::as_bytes(std::span(record)));
    if (!batch) return damaged(what, batch.error().message);
    if (batch->index != own) return damaged(what, "it has another index than its place");
    if (Status done = cluster.apply(*batch); !done) return damaged(what, done.error().message);
    ++batches_;
  }
  return Unit{};
}

}  // namespace berth::etcd
