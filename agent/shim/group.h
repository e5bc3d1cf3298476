// The pod's processes: its control groups, or without them the tree of processes below the shim, which is the reaper of
// its orphans.
#pragma once

#include <cstdint>

#include "agent/shim/input.h"
#include "agent/shim/os.h"

namespace berth::shim {

// Makes the groups and sets their limits. Says in `failure` what went wrong.
bool make_groups(const Input& input, Text& failure);
// Sends the signal to every process of the pod; returns how many there were.
int signal_all(const Input& input, int signal);
int signal_descendants(int signal);                  // to every process below this one, whatever its group; how many
std::int64_t memory_peak_bytes(const Input& input);  // 0 if the kernel does not say
// Microseconds of all that was ever in the group; false if the kernel does not say.
bool cpu_used(const Input& input, std::int64_t& user_us, std::int64_t& system_us);
std::int64_t oom_kills(const Input& input);
void remove_groups(const Input& input);

}  // namespace berth::shim
