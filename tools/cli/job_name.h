// How a command line names jobs and pods: 12 is a job, 12.7 and 12[7] a pod of it, 12.1-5,9 and 12[1-5,9] several.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/ids.h"
#include "state/index_set.h"
#include "state/result.h"

namespace berth::tools {

struct JobName {
  state::JobId job;
  std::optional<state::IndexSet> indexes;
};
state::Result<JobName> parse_job_name(std::string_view text);
// A job alone, or with one index at most.
state::Result<state::JobId> parse_job_id(std::string_view text);
struct PodName {
  state::JobId job;
  std::optional<std::uint32_t> index;
};
state::Result<PodName> parse_pod_name(std::string_view text);
state::Result<std::vector<state::JobId>> parse_job_ids(const std::vector<std::string>& texts);

}  // namespace berth::tools
