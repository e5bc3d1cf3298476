// The follower's thread of a member: loads what there is, tails what comes, and when the server is elected, takes over.
#include <algorithm>
#include <chrono>

#include "state/etcd/etcd_member.h"
#include "state/etcd/etcd_store.h"

namespace berth::etcd {

using state::Error;
using state::ErrorCode;
using state::Status;
using state::Unit;

namespace {

constexpr std::int64_t kAskTimeoutMs = 5'000;
constexpr std::int64_t kPauseMs = 200;
constexpr int kTriesWithoutProgress = 20;

}  // namespace

void EtcdMember::run_follower() {
  int in_vain = 0;
  while (!stop_ && !ended_) {
    const std::uint64_t before = applied_;
    Status done = claim_cluster();
    if (done) done = follow();
    bool elected = false;
    {
      const std::lock_guard lock(mutex_);
      elected = lead_ != nullptr && !lead_->deposed;
    }
    if (elected && !stop_ && !ended_) {
      done = take_over();
      if (done) return;  // the cluster is given away
      if (done.error().code != ErrorCode::kUnavailable) return end(done.error());
    }
    if (stop_ || ended_) return;
    if (done) continue;
    // Where etcd does not answer, the election's thread says so.
    if (done.error().code == ErrorCode::kConflict && reader_ != nullptr && in_vain++ < kTriesWithoutProgress) {
      reader_.reset();  // a newer snapshot has replaced what we were reading
    } else if (done.error().code != ErrorCode::kUnavailable) {
      return end(done.error());
    }
    if (applied_ != before) in_vain = 0;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(kPauseMs), [this] { return stop_reading_.load(); });
  }
}

// The first server says whose the store is; the others must be of the same cluster.
Status EtcdMember::claim_cluster() {
  const std::string mine = format_text(ClusterText{1, me_.authority});
  const auto reply = client_->commit(
      {{modified_at(keys_.cluster, 0)}, {put(keys_.cluster, mine)}, {get(keys_.cluster)}}, kAskTimeoutMs);
  if (!reply) return reply.error();
  if (reply->held || reply->got.at(0).empty()) return Unit{};
  const ClusterText there = parse_cluster_text(reply->got[0][0].value);
  if (there.format != 1) {
    return Error{
        ErrorCode::kInternal, "",
        "what is in " + where_ + " has format " + std::to_string(there.format) + ", this release reads format 1", 0};
  }
  if (there.authority == me_.authority) return Unit{};
  return Error{ErrorCode::kInternal, "",
               "the cluster in " + where_ + " has another certificate authority (" + there.authority.substr(0, 16) +
                   "...) than this server (" + me_.authority.substr(0, 16) +
                   "...); copy the directory 'authority' from the data directory of a server of that cluster",
               0};
}

Status EtcdMember::follow() {
  if (reader_ == nullptr) {
    reader_ = std::make_unique<JournalReader>(*client_, keys_, stop_);
    if (Status done = load(); !done) return done;
  }
  return tail();
}

Status EtcdMember::load() {
  auto loaded = reader_->load_snapshot();
  if (!loaded) {
    Error error = loaded.error();
    reader_.reset();
    // Of another release: that will not pass.
    if (error.code == ErrorCode::kConflict) error.code = ErrorCode::kInternal;
    return error;
  }
  cluster_ = std::move(loaded->cluster);
  snapshot_index_ = loaded->snapshot_index;
  applied_ = cluster_.applied_index();
  warnings_ = std::move(loaded->warnings);
  replayed_ = 0;
  return Unit{};
}

// Until something breaks, or we are to stop reading.
Status EtcdMember::tail() {
  auto revision = reader_->catch_up(cluster_);
  applied_ = cluster_.applied_index();
  if (!revision) return revision.error();
  warm_ = true;
  if (stop_reading_) return Unit{};
  auto watch = client_->watch(all_below(keys_.batches), *revision + 1);
  if (!watch) return watch.error();
  {
    const std::lock_guard lock(mutex_);
    if (stop_reading_) return Unit{};
    watch_ = watch->get();
  }
  reader_->forget_unfinished();
  Status done = Unit{};
  // Where the first chunks of a group were there before the watch began, its end is no group for us: read again.
  bool whole = true;
  while (done && whole && !stop_reading_) {
    auto changes = (*watch)->next();
    if (!changes) done = changes.error();
    if (!changes || changes->compacted) break;
    for (const Change& change : changes->changes) {
      if (change.removed) continue;
      done = reader_->apply(change.kv.value, cluster_);
      if (!done) break;
    }
    applied_ = cluster_.applied_index();
    if (done || done.error().code != ErrorCode::kInternal) continue;
    whole = false;
    done = Unit{};
  }
  {
    const std::lock_guard lock(mutex_);
    watch_ = nullptr;
  }
  return stop_reading_ ? Status(Unit{}) : done;
}

// We were elected: from now on nobody else writes. Reads what is left, removes what was not finished, and hands on.
Status EtcdMember::take_over() {
  std::shared_ptr<Lead> lead;
  {
    const std::lock_guard lock(mutex_);
    lead = lead_;
  }
  const auto head = client_->range({keys_.head, "", 0, 0, false}, kAskTimeoutMs);
  if (!head) return head.error();
  std::uint64_t last = 0;
  if (!head->kvs.empty()) {
    const auto number = to_number(head->kvs[0].value);
    if (!number) return Error{ErrorCode::kInternal, "", "the head of the journal in " + where_ + " is no number", 0};
    last = *number;
  }
  std::vector<Op> ops = {remove(keys_.batches_from(last + 1))};
  if (head->kvs.empty()) ops.push_back(put(keys_.head, "0"));
  const auto cleared = client_->commit({{lead->fence()}, std::move(ops), {}}, kAskTimeoutMs);
  if (!cleared) return cleared.error();
  if (!cleared->held) {
    lead->deposed = true;
    return lead->lost();
  }
  const auto read = reader_->catch_up(cluster_);
  if (!read) return read.error();
  if (cluster_.applied_index() != last) {
    return Error{ErrorCode::kInternal, "",
                 "the journal in " + where_ + " ends with batch " + std::to_string(last) + ", and batch " +
                     std::to_string(cluster_.applied_index() + 1) + " cannot be found",
                 0};
  }
  applied_ = head_ = last;
  store::Opened opened;
  opened.recovered.cluster = std::move(cluster_);
  opened.recovered.batches_replayed = reader_->batches();
  opened.recovered.warnings = std::move(warnings_);
  opened.store = std::make_unique<EtcdStore>(std::move(lead), last, snapshot_index_, reader_->bytes(),
                                             options_.snapshot_after_bytes);
  handlers_.elected(std::move(opened));
  return Unit{};
}

}  // namespace berth::etcd
