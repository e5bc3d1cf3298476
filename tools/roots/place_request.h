// `cpus=8,gpus=2,mem=16G,bind=numa:require,threads-per-core=1`: what `berth place` reads.
#pragma once

#include <string_view>

#include "placement/topology_node.h"
#include "state/result.h"

namespace berth::tools {

state::Result<placement::TopologyRequest> parse_place_request(std::string_view text);

}  // namespace berth::tools
