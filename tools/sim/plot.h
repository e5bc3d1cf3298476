// A schedule as a picture: the processors in use and the jobs that wait, over time.
#pragma once

#include <string>
#include <vector>

#include "tools/sim/simulator.h"

namespace berth::tools {

struct PlottedRun {
  std::string name;  // of the policy
  const SimResult* result = nullptr;
};

// SVG, one row of two charts for each run, all to the same scale. Deterministic.
std::string plot_svg(const JobLog& log, const SimCluster& cluster, const std::vector<PlottedRun>& runs);

}  // namespace berth::tools
