// Job files: one job, or a list of jobs, in YAML (docs/job-file.md). Every error is one line that begins with
// FILE:LINE. Never throws; any bytes are safe input (fuzzed).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/cli/job_draft.h"

namespace berth::tools {

inline constexpr std::size_t kMaxJobFileBytes = 16U << 20;
inline constexpr std::size_t kMaxJobsInFile = 100'000;

struct JobInFile {
  JobDraft draft;
  std::string at;  // "FILE:LINE" where the job begins
};
state::Result<std::vector<JobInFile>> parse_job_file(std::string_view text, const std::string& file);
// Reads and parses; "-" is standard input.
state::Result<std::vector<JobInFile>> read_job_file(const std::string& path);

}  // namespace berth::tools
