// LoadRun: submits through one client connection, follows what was acknowledged until all of it has ended, and checks
// the counts: every acknowledged pod has ended exactly once. Blocking; one thread.
//
// Arrays are followed by WatchJobs. Single jobs are too many for that: the run asks the server for its totals until
// nothing waits or lives, and then (or whenever too many are unchecked) reads every job's row.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "api/client/client.h"
#include "state/requests.h"
#include "state/result.h"

namespace berth::tools {

struct LoadOptions {
  enum class Mode : std::uint8_t { kArrays, kSingles, kLatency } mode = Mode::kArrays;
  std::uint64_t pods = 0;  // how many; 0: as many as `seconds` allow
  double seconds = 0;      // how long to submit; 0: until `pods` are submitted
  std::uint32_t array_size = 1'000;
  std::uint32_t batch = 1;          // jobs per Submit frame
  std::uint32_t window = 16;        // Submit frames that wait for their acknowledgement
  std::uint64_t backlog = 200'000;  // pods submitted and not ended, at most: about this many
  state::Resources resources;
  std::int64_t time_limit_ms = 0;
};

// What one run saw. Times in microseconds of the client's monotonic clock.
struct LoadResult {
  std::uint64_t jobs_acknowledged = 0;
  std::uint64_t pods_acknowledged = 0;
  std::uint64_t pods_ended = 0;  // as the server counts them, job by job
  std::uint64_t pods_succeeded = 0;
  std::uint64_t jobs_wrong = 0;      // not all elements ended, or more than there are, or the job is unknown
  std::string first_wrong;           // one line about the first of them
  std::uint64_t frames = 0;          // Submit frames acknowledged
  std::uint64_t retries = 0;         // submissions put off because the server was full
  double submit_s = 0;               // first submission to last acknowledgement
  double total_s = 0;                // first submission to the end of the last pod
  std::vector<std::int64_t> ack_us;  // of each Submit frame
  std::uint64_t outcome_hash = 0;    // over the counts of every job, whatever their order

  bool exact() const { return jobs_wrong == 0 && pods_ended == pods_acknowledged; }
};

class LoadRun {
 public:
  LoadRun(client::Client& client, const LoadOptions& options);
  state::Result<LoadResult> run();

 private:
  using Clock = std::chrono::steady_clock;
  struct Frame {
    Clock::time_point sent_at;
    std::uint64_t submit_key = 0;
    std::uint32_t jobs = 0;
  };

  bool arrays() const { return options_.mode == LoadOptions::Mode::kArrays; }
  std::uint64_t pods_per_job() const { return arrays() ? options_.array_size : 1; }
  std::uint32_t next_batch() const;  // jobs of the next frame, 0 if none is wanted
  std::uint64_t outstanding() const;
  bool all_acknowledged() const;
  bool finished() const;
  std::int64_t wait_ms() const;
  state::Status begin();
  state::Status send_more();
  state::Status send_submit(std::uint64_t submit_key, std::uint32_t jobs);
  state::Status ask_server();
  state::Status take(wire::Message& message);
  state::Status on_reply(const Frame& frame, const state::SubmitReply& reply);
  state::Status on_refusal(const Frame& frame, const state::Error& error);
  void on_progress(const state::JobProgress& progress);
  void on_info(const state::ServerInfo& info);
  state::Status on_rows(const state::JobPage& page);
  void check(state::JobId id, const state::JobCounts& counts);
  void wrong(state::JobId id, const std::string& why);
  state::Status check_stall();

  client::Client& client_;
  LoadOptions options_;
  state::JobSpec spec_;
  LoadResult result_;
  Clock::time_point start_, last_ack_, last_end_, moved_at_;
  std::map<std::uint64_t, Frame> in_flight_;  // Submit frames by request number
  std::vector<Frame> put_off_;                // refused because the server was full: to be sent again
  Clock::time_point hold_until_;              // the server asked to wait so long
  std::uint64_t next_key_ = 0;
  std::uint64_t jobs_sent_ = 0;  // acknowledged, in flight or put off
  std::uint64_t moved_ = 0;      // what check_stall compares

  // Arrays.
  std::map<state::JobId, std::uint64_t> watched_;  // acknowledged, not ended -> pods seen ended
  std::uint64_t pods_seen_ended_ = 0;

  // Single jobs.
  std::deque<state::JobId> unchecked_;  // acknowledged, row not yet read
  std::uint64_t info_request_ = 0;      // in flight; 0: none
  std::uint64_t rows_request_ = 0;      // in flight; 0: none
  std::size_t rows_asked_ = 0;          // the first so many of unchecked_
  Clock::time_point ask_at_;            // not before then
  std::uint64_t acknowledged_when_asked_ = 0;
  bool asked_after_last_ = false;        // the totals in flight cover every job of ours
  std::uint64_t others_active_ = 0;      // pods that were there before us
  std::uint64_t jobs_surely_ended_ = 0;  // what the totals say
  bool idle_ = false;                    // the server has nothing left to run, after the last acknowledgement
};

// `latency` mode: one job at a time.
struct LatencyResult {
  std::uint64_t jobs = 0;
  std::uint64_t not_succeeded = 0;
  std::vector<std::int64_t> ack_us;      // submission to acknowledgement
  std::vector<std::int64_t> running_us;  // submission to the news that it runs (or has ended)
  std::vector<std::int64_t> ended_us;    // submission to the news that it has ended
  std::vector<std::int64_t> row_us;      // the server's submitted_at to the node's started_at
};
state::Result<LatencyResult> measure_latency(client::Client& client, const LoadOptions& options);

// The job that every mode submits.
state::JobSpec load_spec(const LoadOptions& options);

}  // namespace berth::tools
