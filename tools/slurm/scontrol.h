// What scontrol changes. Each takes the words behind its verb, and returns an exit code.
#pragma once

#include "tools/cli/server_link.h"
#include "tools/slurm/commands.h"

namespace berth::tools::slurm {

int hold_jobs(ServerLink& link, const Words& words, bool held);
// What runs of them goes back to the queue, and is held there if `hold`.
int requeue_jobs(ServerLink& link, const Words& words, bool hold, bool quiet);
// JobId=… or NodeName=…, and what is to become of it.
int update_things(ServerLink& link, const Words& words);

}  // namespace berth::tools::slurm
