// Job logs in the Standard Workload Format (Feitelson et al., version 2): a line of 18 numbers for a job, comment lines
// that begin with ';' and may name the machine. Plain or gzip.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::tools {

struct LogJob {
  std::int64_t submit_s = 0;
  std::int64_t wait_s = -1;  // in the log; -1 is unknown
  std::int64_t id = 0;
  std::uint32_t run_s = 0;
  std::uint32_t limit_s = 0;  // what the user asked for, at least run_s
  std::uint32_t procs = 0;
  std::uint32_t user = 0, group = 0;
};

struct JobLog {
  std::vector<LogJob> jobs;      // by submission, then id
  std::uint64_t processors = 0;  // of the machine, as the comments say (MaxProcs, else MaxNodes); 0: they do not
  std::uint64_t left_out = 0;    // jobs that never ran, or whose size is unknown
  std::uint64_t raised = 0;      // jobs that ran for longer than they asked for: taken to have asked for as much
};

// An error names the file and the line.
state::Result<JobLog> read_job_log(const std::string& path);
// The same from text, for tests and fuzzers; `name` stands for the file in errors.
state::Result<JobLog> parse_job_log(std::string_view text, const std::string& name);

}  // namespace berth::tools
