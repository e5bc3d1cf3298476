// What the accounting keeps of a job that has ended, made of the state alone: whoever derives it, and however often,
// gets the same. Pure values; a record costs its strings, and a look at each outcome of the job.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/cluster.h"
#include "state/requests.h"
#include "state/result.h"

namespace berth::accounting {

inline constexpr state::TimeUs kHourUs = 3'600'000'000LL;

struct HourUse {
  std::int64_t hour = 0;  // since 1970
  std::uint64_t cpu_ms = 0, gpu_ms = 0;
  bool operator==(const HourUse&) const = default;
};

struct JobRecord {
  state::HistoryRow row;
  std::vector<state::PodRow> pods;  // of jobs with 2 to kHistoryPodsMax; one pod is told by the row
  // When what the row sums up was used, ascending. Of steps nothing: what they use their job has.
  std::vector<HourUse> hours;
};

// The job has ended.
JobRecord record_of(const state::Cluster& cluster, const state::Job& job);
// The only pod of a job, as its row tells it.
state::PodRow only_pod(const state::HistoryRow& row);

// Jobs that ended together: all that ended up to batch `index`, with what was given before. Index 0: says nothing of
// the sort.
struct Ended {
  std::uint64_t index = 0;
  state::TimeUs at = 0;  // of the batch
  std::vector<JobRecord> jobs;
  std::uint64_t round = 0;  // of who feeds the accountant, and for him alone
};
std::size_t bytes_of(const Ended& unit);  // about what it takes in memory

std::string encode_ended(Ended unit);
state::Result<Ended> decode_ended(std::string_view bytes);  // any bytes are safe

}  // namespace berth::accounting
