// What pods and the machine use now, read from /proc and the control groups when somebody asks, and at no other time.
#pragma once

#include <string>

#include "agent/io/cgroup.h"
#include "state/node_requests.h"

namespace berth::agent {

void sample_machine(state::TopPage& page);
// Sets use, memory and number of processes of a pod that runs. Processes that have ended count where they were waited
// for: by another of the pod's, or by its shim.
void sample_pod(const Cgroups& cgroups, const std::string& name, int shim, state::PodTop& top);

}  // namespace berth::agent
