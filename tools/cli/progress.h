// Progress: how far some jobs are, their rate and the time that is left, as a bar on a terminal or as lines. Pure: the
// time is an argument.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "state/requests.h"

namespace berth::tools {

class Progress {
 public:
  void update(const state::JobProgress& progress, std::int64_t now_ms);
  std::uint64_t pods() const { return total_; }
  std::uint64_t ended() const;
  bool all_ended(std::size_t jobs) const;  // so many jobs are known, and all have ended
  bool all_succeeded() const;
  const std::map<state::JobId, state::JobProgress>& jobs() const { return jobs_; }
  // Pods that ended a second, over the last ten seconds; 0 if there were none.
  double rate(std::int64_t now_ms) const;

  // "[#####.....] 512/1000  51%  16 running  3 failed  103/s  4s left", `width` columns at most.
  std::string bar(std::int64_t now_ms, std::size_t width) const;
  // "512 of 1000 pods ended, 16 running, 472 waiting, 3 failed"
  std::string line() const;

 private:
  struct Sample {
    std::int64_t at_ms;
    std::uint64_t ended;
  };
  std::uint64_t count(state::PodState state) const { return sums_.of(state); }
  std::string failures() const;  // "3 failed, 1 timed-out", "" if there are none
  std::string left(std::int64_t now_ms) const;

  std::map<state::JobId, state::JobProgress> jobs_;
  state::JobCounts sums_;
  std::uint64_t total_ = 0;
  std::deque<Sample> samples_;  // of the last ten seconds, oldest first
};

// "job 12 succeeded: 1000 pods", "job 12 failed: 997 succeeded, 3 failed"
std::string ended_line(const state::JobProgress& progress);

}  // namespace berth::tools
