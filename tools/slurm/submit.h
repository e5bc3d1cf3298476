// How sbatch, srun and salloc submit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "state/records.h"
#include "state/result.h"
#include "tools/cli/server_link.h"

namespace berth::tools::slurm {

// Submits it once, however often it has to be said within patience_ms: over lost connections, and where the server says
// to come back later. Its id; none for a dry run. The error's message is as Slurm says it, with more behind it.
state::Result<state::JobId> submit(ServerLink& link, state::JobSpec spec, bool dry_run, std::int64_t patience_ms);

// SLURM_JOB_ACCOUNT of a job that names no account: that of its user, if he has one. To be called before the launch is
// encoded.
void add_default_account(ServerLink& link, const state::JobSpec& spec, std::vector<std::string>& environment);

}  // namespace berth::tools::slurm
