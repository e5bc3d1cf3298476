// Jobs as Slurm shows them: one record for a job, for what waits of an array, and for each element of it that has
// started.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "state/requests.h"
#include "state/result.h"
#include "tools/cli/server_link.h"

namespace berth::tools::slurm {

struct Record {
  state::JobRow job;
  std::optional<std::uint32_t> index;  // of an array's element
  bool folded = false;                 // what waits of an array, in one
  state::PodState state = state::PodState::kPending;
  std::vector<std::string> nodes;
  state::TimeUs started_at = 0, ended_at = 0;
  int exit_code = -1, signal = 0;
  std::uint32_t mem_peak_mib = 0;
  bool past = false;           // from the accounting's database
  std::uint32_t restarts = 0;  // after lost nodes; of an element, or where it was asked for
  std::string message;
  state::TimeUs expected_start = 0;                // 0: not asked for, or not known
  std::shared_ptr<const state::JobDetail> detail;  // null: not asked for
  std::optional<std::int64_t> place;               // its priority as sprio has it; none: not asked for

  bool array() const { return job.kind == state::JobKind::kArray; }
  bool waits() const { return state == state::PodState::kPending; }
  std::string id() const;         // "12", "12_4", "12_[5-9%2]"
  std::string exit_text() const;  // "code:signal"
  std::string reason() const;     // "Resources", "NonZeroExitCode", "None"
  std::string qos() const;        // "normal" for a job without
  std::int64_t priority() const;  // its place, or what its own priority makes of it
  std::string node_list() const;
  std::uint32_t cpus() const;        // of all its pods
  std::uint32_t pods() const;        // that it stands for
  std::uint32_t node_count() const;  // that it has, or asked for where that is known
  std::int64_t elapsed_s(state::TimeUs now) const;
};

struct Want {
  state::JobFilter filter;
  bool each_element = false;                                                // of what waits, too
  std::vector<state::PodState> states;                                      // of records; empty: all
  std::vector<std::pair<state::JobId, std::optional<std::uint32_t>>> only;  // these, if any
};

// Those that match, by id.
state::Result<std::vector<Record>> fetch_records(ServerLink& link, const Want& want);
// The same of what has ended, from the accounting's database; none where the server keeps no accounting.
state::Result<std::vector<Record>> fetch_past(ServerLink& link, const state::HistoryFilter& filter, const Want& want);
state::Result<std::vector<state::JobRow>> fetch_rows(ServerLink& link, const state::JobFilter& filter);
state::Result<std::vector<state::NodeRow>> fetch_nodes(ServerLink& link);
state::Result<std::vector<state::Queue>> fetch_queues(ServerLink& link);

struct JobWord {
  state::JobId job;
  std::optional<state::IndexSet> indexes;
  std::string step;  // what stands behind the point: "0", "batch"
};
// Asks for these jobs and elements alone.
void want_only(Want& want, const std::vector<JobWord>& words);
// "12", "12_3", "12_[3-5,9]", "12.batch", "12.0"
state::Result<JobWord> parse_job_word(std::string_view text);
// A list of them, by commas.
state::Result<std::vector<JobWord>> parse_job_words(const std::vector<std::string>& texts);

// The step of that number; none: it has no such step that the server knows.
state::Result<state::JobId> find_step(ServerLink& link, state::JobId job, const std::string& step);

// Why jobs that wait stand where they do: these jobs, as far as they are known, or all.
state::Result<std::vector<state::PriorityRow>> fetch_priorities(ServerLink& link,
                                                                const std::vector<state::JobId>& jobs);
// Gives the records of jobs that stand in the queue their places.
state::Status add_places(ServerLink& link, std::vector<Record>& records);
// A job's place as one number: the sum of these, each in seconds of waiting. A point of priority is more than any wait.
struct Place {
  static constexpr std::int64_t kPoint = 1'000'000'000;
  static constexpr std::int64_t kSite = kPoint;  // of every job, so that the usual ones are above 0
  explicit Place(const state::PriorityRow& row);
  std::int64_t age, fair_share, size, queue, qos, own;
  std::int64_t sum() const { return kSite + age + fair_share + size + queue + qos + own; }
};

// Gives them their details: all, or those alone that wait for several nodes, the first 200 of them.
state::Status add_details(ServerLink& link, std::vector<Record>& records, bool all);
// What a job's condition on nodes is made of.
struct Where {
  std::string features, nodes, without;
};
Where split_where(std::string where);

// Slurm's controller forgets what ended so long ago (scontrol show config: MinJobAge); sacct knows it for longer.
inline constexpr std::int64_t kMinJobAgeS = 300;
bool is_forgotten(const state::JobRow& job, state::TimeUs now);

// What Slurm's commands say of an error of the server's.
std::string slurm_error(const state::Error& error);

std::uint32_t cpus_of(const state::Resources& resources);  // whole ones

}  // namespace berth::tools::slurm
