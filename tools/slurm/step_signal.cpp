#include "tools/slurm/step_signal.h"

#include <cstdlib>

#include "state/units.h"
#include "tools/slurm/job_options.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

std::optional<std::uint64_t> number_in(const char* variable, std::int64_t least) {
  const char* text = std::getenv(variable);
  const auto value = parse_integer(text != nullptr ? text : "", variable, least, std::int64_t{1} << 62);
  return value ? std::optional(static_cast<std::uint64_t>(*value)) : std::nullopt;
}

}  // namespace

std::optional<StepWarning> step_warning(ServerLink& link) {
  const char* text = std::getenv(kStepSignalVariable);
  const auto job = number_in("SLURM_JOB_ID", 1);
  if (text == nullptr || !job) return std::nullopt;
  const auto warning = parse_signal(text);
  if (!warning || warning->batch) return std::nullopt;
  auto detail = link.call_patiently_for<JobDetail>(ShowJobRequest{JobId{*job}}, 5'000);
  if (!detail || detail->row.time_limit_ms == 0) return std::nullopt;
  TimeUs started_at = detail->row.started_at;
  if (const auto index = number_in("SLURM_ARRAY_TASK_ID", 0)) {
    // An element has a start of its own.
    ListPodsRequest request{JobId{*job}, {PodState::kRunning}, 0, 10'000};
    for (bool more = true; more;) {
      auto page = link.call_for<PodPage>(request);
      if (!page) return std::nullopt;
      for (const PodRow& row : page->rows) {
        if (row.index == *index) started_at = row.started_at;
      }
      more = page->more;
      request.from_element = page->next_element;
    }
  }
  const std::int64_t end = started_at + detail->row.time_limit_ms * 1000;
  return StepWarning{warning->signal, end - warning->before_ms * 1000, end};
}

}  // namespace berth::tools::slurm
