#include "state/etcd/etcd_snapshotter.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "state/snapshot_codec.h"
#include "state/store/crc32c.h"

namespace berth::etcd {

using state::Error;
using state::ErrorCode;
using state::Status;
using state::Unit;

namespace {

constexpr std::size_t kSnapshotChunkBytes = 512U << 10;
constexpr std::int64_t kWriteTimeoutMs = 10'000;
constexpr std::int64_t kRetryMs = 15'000;
// Watches that are behind by less than this find what they missed.
constexpr std::int64_t kCompactEveryMs = 60'000;

Error closing() { return Error{ErrorCode::kUnavailable, "", "the store is closing", 0}; }

}  // namespace

EtcdSnapshotter::EtcdSnapshotter(std::shared_ptr<Lead> lead, std::uint64_t snapshot_index, std::uint64_t bytes_behind,
                                 std::uint64_t after_bytes)
    : lead_(std::move(lead)),
      after_bytes_(after_bytes),
      snapshot_index_(snapshot_index),
      compact_next_us_(boot_us() + kCompactEveryMs * 1000),
      bytes_behind_(bytes_behind) {
  thread_ = std::thread([this] { run(); });
}

EtcdSnapshotter::~EtcdSnapshotter() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void EtcdSnapshotter::appended(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_behind_ += bytes;
  if (bytes_behind_ >= after_bytes_) changed_.notify_all();
}

std::string EtcdSnapshotter::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

void EtcdSnapshotter::run() {
  constexpr int kNice = 10;
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const auto due = [this] { return bytes_behind_ >= after_bytes_ && boot_us() >= retry_us_; };
    changed_.wait_for(lock, std::chrono::seconds(1), [&] { return stop_ || due(); });
    if (stop_) break;
    const std::uint64_t behind = bytes_behind_;
    const bool now = due();
    lock.unlock();
    const Status done = now ? make() : Status(Unit{});
    compact();
    lock.lock();
    if (!now) continue;
    if (done) {
      bytes_behind_ -= behind;
      last_error_.clear();
    } else if (!stop_ && !lead_->deposed) {
      retry_us_ = boot_us() + kRetryMs * 1000;
      last_error_ = done.error().message;
    }
  }
}

Status EtcdSnapshotter::make() {
  JournalReader reader(*lead_->client, lead_->keys, stop_);
  auto loaded = reader.load_snapshot();
  if (!loaded) return loaded.error();
  auto revision = reader.catch_up(loaded->cluster);
  if (!revision) return revision.error();
  const std::uint64_t index = loaded->cluster.applied_index();
  if (index > loaded->snapshot_index) {
    if (Status done = write(loaded->cluster); !done) return done;
  }
  snapshot_index_ = index;
  return clean_up();
}

Status EtcdSnapshotter::put_fenced(std::string key, std::string value) {
  const auto reply =
      lead_->client->commit({{lead_->fence()}, {put(std::move(key), std::move(value))}, {}}, kWriteTimeoutMs);
  if (!reply) return reply.error();
  if (!reply->held) return lead_->lost();
  return Unit{};
}

Status EtcdSnapshotter::write(const state::Cluster& cluster) {
  const std::uint64_t index = cluster.applied_index();
  SnapshotEnd end;
  std::string chunk;
  Status done = Unit{};
  const auto flush = [&] {
    if (!done || chunk.empty()) return;
    if (stop_) {
      done = closing();
      return;
    }
    const std::int64_t began = boot_us();
    end.crc = store::crc32c(std::as_bytes(std::span(chunk)), end.crc);
    end.bytes += chunk.size();
    done = put_fenced(lead_->keys.snapshot_chunk(index, static_cast<std::uint32_t>(end.chunks++)), std::move(chunk));
    chunk.clear();
    // Batches want to be written, too: half of etcd's time is theirs.
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::microseconds(boot_us() - began), [this] { return stop_.load(); });
  };
  state::SnapshotCodec::encode(cluster, [&](std::span<const std::byte> part) {
    while (done && !part.empty()) {
      const std::size_t take = std::min(part.size(), kSnapshotChunkBytes - chunk.size());
      chunk.append(reinterpret_cast<const char*>(part.data()), take);
      part = part.subspan(take);
      if (chunk.size() == kSnapshotChunkBytes) flush();
    }
    return done.ok();
  });
  flush();
  if (!done) return done;
  return put_fenced(lead_->keys.snapshot_end(index), format_snapshot_end(end));
}

// Deletes the snapshots but the last two, what unfinished ones have left, and the batches before the older one. With
// one snapshot only, the journal is kept from its beginning: it stands in for the older one.
Status EtcdSnapshotter::clean_up() {
  const Keys& keys = lead_->keys;
  JournalReader reader(*lead_->client, keys, stop_);
  auto entries = reader.list_snapshots();
  if (!entries) return entries.error();
  std::uint64_t oldest_kept = 0;
  int whole = 0;
  std::vector<Op> doomed;
  for (auto entry = entries->rbegin(); entry != entries->rend(); ++entry) {
    const bool keep = !entry->end.empty() && whole < 2;
    if (keep) {
      ++whole;
      oldest_kept = entry->index;
      continue;
    }
    doomed.push_back(remove(all_below(keys.snapshot(entry->index))));
  }
  if (whole == 2) {
    Range old = all_below(keys.batches);
    old.end = keys.batch(oldest_kept + 1, 0);
    doomed.push_back(remove(std::move(old)));
  }
  // A deletion of many keys is one step for etcd; one range at a time keeps the steps small.
  for (Op& op : doomed) {
    const auto reply = lead_->client->commit({{lead_->fence()}, {std::move(op)}, {}}, kWriteTimeoutMs);
    if (!reply) return reply.error();
    if (!reply->held) return lead_->lost();
  }
  return Unit{};
}

// Beats and deleted batches stay in etcd's history until it is told to forget them.
void EtcdSnapshotter::compact() {
  if (boot_us() < compact_next_us_) return;
  compact_next_us_ = boot_us() + kCompactEveryMs * 1000;
  const auto now = lead_->client->range({lead_->keys.leader, "", 0, 0, true}, kWriteTimeoutMs);
  if (!now) return;
  // What was there a round ago. A refusal costs space alone, and etcd's own --auto-compaction may do it instead.
  if (compact_revision_ > 1) static_cast<void>(lead_->client->compact(compact_revision_, kWriteTimeoutMs));
  compact_revision_ = now->revision;
}

}  // namespace berth::etcd
