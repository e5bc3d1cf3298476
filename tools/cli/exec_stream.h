// Watching a command that runs in a pod: its streams on ours, until it ends. One thread.
#pragma once

#include "state/exec.h"
#include "tools/cli/server_link.h"

namespace berth::tools {

// The size and kind of this terminal, for a request that wants one.
void describe_terminal(state::ExecRequest& request);

// Asks for the command on a connected link, and hands standard input (if the request says so), output and error on.
// With request.terminal, and a terminal as standard input, that one is raw meanwhile. Errors are reported; returns what
// is to be the exit code: the command's, 128 + N for signal N.
int watch_command(ServerLink& link, state::ExecRequest request);

}  // namespace berth::tools
