// What a container finds mounted: made in a private view of mounts, so that it goes with the last process of the pod,
// whatever happens.
#pragma once

#include "agent/shim/input.h"
#include "agent/shim/os.h"

namespace berth::shim {

// Works in the pod's bundle. Says in `failure` what went wrong.
bool set_up_mounts(const Input& input, Text& failure);
// Undoes it and removes what was written: the changes to the image, and scratch directories. What is mounted of the
// user's is let go of, never removed.
void remove_mounts(const Input& input);

}  // namespace berth::shim
