// A machine's topology from hwloc: this machine's, or one that `lstopo FILE.xml` has written down.
#pragma once

#include <string>

#include "state/result.h"
#include "state/topology.h"

namespace berth::agent {

// "" for this machine. The error names the file and what is accepted.
state::Result<state::Topology> read_topology(const std::string& xml_path);

}  // namespace berth::agent
