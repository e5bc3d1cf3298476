// EtcdStore: the Store of a server that leads. Appends groups of batches in fenced transactions, and makes snapshots
// on a thread of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "state/etcd/etcd_snapshotter.h"
#include "state/etcd/lead.h"
#include "state/store/store.h"

namespace berth::etcd {

class EtcdStore final : public store::Store {
 public:
  // `last_index`: where the journal ends; `bytes_behind`: about how much of it is behind the last snapshot.
  EtcdStore(std::shared_ptr<Lead> lead, std::uint64_t last_index, std::uint64_t snapshot_index,
            std::uint64_t bytes_behind, std::uint64_t snapshot_after_bytes);

  state::Status append(std::uint64_t first_index, std::span<const std::string> records) override;
  std::uint64_t last_index() const override { return last_index_; }
  std::uint64_t snapshot_index() const override { return snapshotter_.snapshot_index(); }
  std::string snapshot_error() const override { return snapshotter_.last_error(); }
  state::Status in_charge() const override { return lead_->in_charge(); }
  std::string unwritable_reason() const override;

 private:
  enum class Outcome { kWritten, kAllThere };
  state::Result<Outcome> write(std::string key, const std::string& chunk, std::uint64_t head_after,
                               std::int64_t until_us);

  const std::shared_ptr<Lead> lead_;
  std::atomic<std::uint64_t> last_index_;
  bool failed_ = false;
  std::uint32_t tried_ = 0;  // the checksum of a group whose fate is not known; 0: none
  EtcdSnapshotter snapshotter_;
};

}  // namespace berth::etcd
