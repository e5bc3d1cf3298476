// EtcdSnapshotter: a thread of the server that leads, of low priority. It turns the last snapshot and the batches
// behind it into the next one, as the embedded store does: from what is stored, into a cluster of its own, so that the
// core never stops for it. Two snapshots are kept; batches that the older one covers are deleted, and etcd is told now
// and then to forget what keys were (to compact).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "state/etcd/journal_reader.h"
#include "state/etcd/lead.h"

namespace berth::etcd {

class EtcdSnapshotter {
 public:
  EtcdSnapshotter(std::shared_ptr<Lead> lead, std::uint64_t snapshot_index, std::uint64_t bytes_behind,
                  std::uint64_t after_bytes);
  ~EtcdSnapshotter();  // stops at once; an unfinished snapshot is dropped
  EtcdSnapshotter(const EtcdSnapshotter&) = delete;
  EtcdSnapshotter& operator=(const EtcdSnapshotter&) = delete;

  void appended(std::uint64_t bytes);  // never waits for a snapshot
  std::uint64_t snapshot_index() const { return snapshot_index_; }
  std::string last_error() const;

 private:
  void run();
  state::Status make();
  state::Status write(const state::Cluster& cluster);
  state::Status put_fenced(std::string key, std::string value);
  state::Status clean_up();
  void compact();

  const std::shared_ptr<Lead> lead_;
  const std::uint64_t after_bytes_;
  std::atomic<std::uint64_t> snapshot_index_;
  std::atomic<bool> stop_{false};
  std::int64_t compact_next_us_ = 0;   // when,
  std::int64_t compact_revision_ = 0;  // and what is old enough then
  std::int64_t retry_us_ = 0;          // not before, after one has failed
  mutable std::mutex mutex_;           // guards what follows
  std::condition_variable changed_;
  std::uint64_t bytes_behind_;
  std::string last_error_;
  std::thread thread_;
};

}  // namespace berth::etcd
