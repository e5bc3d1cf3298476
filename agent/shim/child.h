// The way of the pod's first process from fork to exec.
#pragma once

#include "agent/shim/input.h"

namespace berth::shim {

// What the parent has prepared, because the child should do as little as it can.
struct ChildPlan {
  char** argv = nullptr;
  char** env = nullptr;
  int failure_fd = -1;  // takes one line of text if the program could not be started
};

// Starts it. Returns the process id, or a negative errno.
int start_child(const Input& input, const ChildPlan& plan);
// The same for a command beside a pod's processes: in the groups that are there, and with the streams that we have.
int start_command(const Input& input, const ChildPlan& plan);

}  // namespace berth::shim
