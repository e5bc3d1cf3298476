#include "state/etcd/etcd_store.h"

#include <algorithm>

#include "state/etcd/group_codec.h"
#include "state/store/crc32c.h"

namespace berth::etcd {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

// etcd may choose another leader of its own meanwhile, which takes it a second or two.
constexpr std::int64_t kPatienceMs = 3'000;
constexpr std::size_t kRecordBytesMax = 1ULL << 30;

Error fatal(std::string message) { return Error{ErrorCode::kInternal, "", std::move(message), 0}; }

}  // namespace

EtcdStore::EtcdStore(std::shared_ptr<Lead> lead, std::uint64_t last_index, std::uint64_t snapshot_index,
                     std::uint64_t bytes_behind, std::uint64_t snapshot_after_bytes)
    : lead_(lead),
      last_index_(last_index),
      snapshotter_(std::move(lead), snapshot_index, bytes_behind, snapshot_after_bytes) {}

std::string EtcdStore::unwritable_reason() const {
  return "the store cannot be written (" + lead_->where + "): nothing can be changed or followed until it can";
}

// What an earlier try has written is written again; should its last transaction have been carried out, though nobody
// heard of it, the head says so. The caller brings the same group until that is known.
Status EtcdStore::append(std::uint64_t first_index, std::span<const std::string> records) {
  if (failed_) return fatal("the journal is closed after an earlier error");
  if (records.empty()) return Unit{};
  if (first_index != last_index_ + 1) {
    return fatal("batch " + std::to_string(first_index) + " cannot follow batch " + std::to_string(last_index_));
  }
  std::uint32_t sum = static_cast<std::uint32_t>(records.size());
  std::size_t bytes = 0;
  for (const std::string& record : records) {
    if (record.empty() || record.size() > kRecordBytesMax)
      return fatal("a batch of " + std::to_string(record.size()) + " bytes");
    sum = store::crc32c(std::as_bytes(std::span(record)), sum);
    bytes += record.size();
  }
  sum = std::max(sum, 1U);
  if (tried_ != 0 && tried_ != sum) {
    failed_ = true;
    return fatal("another group of batches than the one whose fate is not known");
  }
  const std::uint64_t last = first_index + records.size() - 1;
  const std::vector<std::string> chunks = encode_group(first_index, records);
  const std::int64_t until_us = boot_us() + kPatienceMs * 1000;
  tried_ = sum;
  for (std::uint32_t i = 0; i < chunks.size(); ++i) {
    auto done = write(lead_->keys.batch(first_index, i), chunks[i], i + 1 == chunks.size() ? last : 0, until_us);
    if (!done) {
      if (done.error().code != ErrorCode::kUnavailable) failed_ = true;
      return done.error();
    }
    if (*done == Outcome::kAllThere) break;
  }
  tried_ = 0;
  last_index_ = last;
  snapshotter_.appended(bytes);
  return Unit{};
}

// One fenced transaction, tried until it is known to have been carried out. `head_after`: of the last chunk.
Result<EtcdStore::Outcome> EtcdStore::write(std::string key, const std::string& chunk, std::uint64_t head_after,
                                            std::int64_t until_us) {
  const Keys& keys = lead_->keys;
  Transaction transaction;
  transaction.conditions = {lead_->fence(), has_value(keys.head, std::to_string(last_index_))};
  transaction.then = {put(std::move(key), chunk)};
  if (head_after != 0) transaction.then.push_back(put(keys.head, std::to_string(head_after)));
  transaction.otherwise = {get(keys.leader), get(keys.head)};
  while (true) {
    if (lead_->deposed) return lead_->lost();
    const std::int64_t left_ms = std::max<std::int64_t>((until_us - boot_us()) / 1000, 1);
    const auto reply = lead_->client->commit(transaction, left_ms);
    if (!reply) {
      if (reply.error().code == ErrorCode::kUnavailable && boot_us() < until_us) continue;
      return reply.error();
    }
    if (reply->held) return Outcome::kWritten;
    const auto& leader = reply->got.at(0);
    const auto& head = reply->got.at(1);
    if (leader.empty() || leader[0].mod_revision != lead_->term) {
      lead_->deposed = true;
      return lead_->lost();
    }
    const auto there = head.empty() ? std::nullopt : to_number(head[0].value);
    // An earlier try was carried out to its end. Nobody else writes in our term.
    if (there && *there > last_index_) return Outcome::kAllThere;
    return fatal("the journal in " + lead_->where + " ends with batch " +
                 (head.empty() ? std::string("none") : head[0].value.substr(0, 32)) + " instead of " +
                 std::to_string(last_index_));
  }
}

}  // namespace berth::etcd
