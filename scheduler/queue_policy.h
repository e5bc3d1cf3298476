// In which order jobs of equal priority run, and who may overtake whom: a policy is a small named object. And what runs
// are expected to take, from what the same user's last ones took. Pure.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "state/ids.h"
#include "state/result.h"

namespace berth::scheduler {

struct QueuePolicy {
  std::string_view name;
  std::string_view summary;  // for people
  // A job that starts now may overtake one that finds no room, if that one starts no later for it.
  bool backfill = true;
  bool shortest_overtakes_first = false;  // of those that may, by time limit; else by their order in the queue
  // Short and small jobs come before others, by as much time as their expected size is smaller (see rank()).
  bool by_size = false;
  constexpr bool operator==(const QueuePolicy& other) const { return name == other.name; }
};

std::span<const QueuePolicy> queue_policies();  // the first is the default
const QueuePolicy& default_queue_policy();
const QueuePolicy* find_queue_policy(std::string_view name);  // nullptr: there is none
// The same, with an error for people that lists the names.
state::Result<const QueuePolicy*> parse_queue_policy(std::string_view name, const std::string& field);

// What is known of a job before it has run.
struct JobShape {
  std::uint32_t uid = 0;
  std::uint64_t cpu_milli = 0;  // of all of it that runs at once
  state::TimeUs limit_us = 0;   // 0: none
  state::TimeUs submitted_at = 0;
};

// Expected run times: the mean of what like jobs took, the latest weighing most. Like are those of the same user, size
// and limit; if there are none, of the same user and limit; then all of the user's.
class Predictor {
 public:
  void ended(const JobShape& shape, state::TimeUs run_us);
  // At least a second, at most the limit; the limit itself if nothing is known, and an hour if there is none.
  state::TimeUs expect(const JobShape& shape) const;

 private:
  struct Seen {
    double sum = 0, weight = 0;
  };
  // Keys that were not used for long are forgotten: at most 2 * kYoungMax are kept.
  class Table {
   public:
    Seen& at(std::uint64_t key);
    const Seen* find(std::uint64_t key) const;

   private:
    static constexpr std::size_t kYoungMax = 65'536;
    boost::unordered_flat_map<std::uint64_t, Seen> young_, old_;
  };
  static std::array<std::uint64_t, 3> keys_of(const JobShape& shape);
  Table seen_;
};

// Where a job stands among those of its priority: the lesser first. By arrival it is the time of submission. By size it
// is later by kRankDelay for every e-fold of what the job is expected to take: a job of a day stands 26 hours
// behind where one of an hour would; so nobody is overtaken for ever, not even by an endless stream of short jobs.
std::int64_t rank(const QueuePolicy& policy, const JobShape& shape, const Predictor& predictor);

}  // namespace berth::scheduler
