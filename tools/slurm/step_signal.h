// --signal of a job for its steps: when the job's time limit comes, and what to send to them before.
#pragma once

#include <cstdint>
#include <optional>

#include "tools/cli/server_link.h"

namespace berth::tools::slurm {

struct StepWarning {
  int signal = 0;
  std::int64_t at_us = 0;   // the wall clock's time to send it
  std::int64_t end_us = 0;  // the job's limit
};

// Of the job that this runs in; nullopt: it was submitted without --signal, or for its batch shell (B:), or has no time
// limit. One question to the server, where there is something to ask.
std::optional<StepWarning> step_warning(ServerLink& link);

}  // namespace berth::tools::slurm
