// A machine as a picture of text: a line for each NUMA node, a cell for each core. What pods have is marked with their
// letters: a capital where a pod has all hardware threads of a core, a small one where it uses some.
#pragma once

#include <string>
#include <vector>

#include "placement/topology_node.h"

namespace berth::tools {

struct PlacedRequest {
  std::string text;  // as it was given
  placement::TopologyPlan plan;
};
// What is free must be as in `node`. Lines are at most `width` columns wide, but for names that are longer.
std::string topology_picture(const placement::TopologyNode& node, const std::vector<PlacedRequest>& placed,
                             std::size_t width);
// "threads 0-7,64-71; memory 16 GiB of NUMA node 0; GPUs cuda0"
std::string plan_in_words(const state::Topology& topology, const placement::TopologyPlan& plan);
std::string ranges_in_words(const std::vector<std::uint32_t>& sorted);  // "0-7,64-71"
char letter_of(std::size_t request);                                    // A to Z, then again

}  // namespace berth::tools
