// `shim --exec`: stands beside a command that runs in a pod while somebody watches, from the agent's word to its end.
#pragma once

namespace berth::shim {

// Runs the command that the orders at kPodFd describe, tells the agent of it on kExecFd, and kills it, and all that it
// began, when the agent closes that: because nobody watches any more, or because the agent itself has ended.
int run_exec();

}  // namespace berth::shim
