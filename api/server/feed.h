// Feed: finds in each turn of the core the jobs that ended in it, for the accounting. What the accounting could not
// take, or does not have after a start, it reads from the state again, from a time on and in helpings, until it has
// caught up. The core's thread, but for missed() and behind().
//
// A job that ends and is forgotten by the core in one and the same turn is not seen: the count of those is lost().
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "state/accounting/record.h"
#include "state/cluster.h"

namespace berth::server {

class Feed {
 public:
  // All that ended before `from` is known.
  explicit Feed(state::TimeUs from) : missed_from_(from) {}

  // After each turn. What it returns becomes known once the turn is durable.
  std::optional<accounting::Ended> collect(const state::Cluster& cluster, const state::Batch& batch, bool has_room);
  // Any thread: what ended from then on was dropped.
  void missed(state::TimeUs from);
  bool behind() const { return behind_; }  // any thread
  // Any thread: whether all that ended before the unit was given, too. What was under way when something was dropped
  // cannot say so.
  bool is_whole(const accounting::Ended& unit) const;
  std::uint64_t lost() const { return lost_; }

 private:
  std::optional<accounting::Ended> catch_up(const state::Cluster& cluster);

  mutable std::mutex mutex_;  // guards the next two
  std::optional<state::TimeUs> missed_from_;
  std::uint64_t missed_round_ = 0;  // how often something was dropped
  std::atomic<bool> behind_{true};
  std::atomic<std::uint64_t> lost_{0};
  std::optional<std::pair<state::TimeUs, state::JobId>> cursor_;  // the next to be read again
  std::uint64_t round_ = 0;                                       // up to which drop that mends
};

}  // namespace berth::server
