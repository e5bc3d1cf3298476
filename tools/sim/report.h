// What a simulated schedule was like, in figures.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/sim/simulator.h"

namespace berth::tools {

struct Spread {
  double mean = 0, p50 = 0, p95 = 0, most = 0;
};

struct SimFigures {
  std::uint64_t jobs = 0;
  Spread wait_s, slowdown;     // bounded: (wait + run) over run, where a run counts as 10 s at least; 1 at least
  double utilisation_pct = 0;  // of the processors, from the first submission to the last end
  std::uint64_t as_in_log = 0, in_log = 0;  // jobs that start in the very second of the log; that have one there
};

double bounded_slowdown(const LogJob& job, std::int64_t start_s);
SimFigures figures_of(const JobLog& log, const SimCluster& cluster, const SimResult& result);

// The jobs in groups, each with the means of its jobs' waits and slowdowns.
struct Group {
  std::uint64_t jobs = 0;
  double wait_s = 0, slowdown = 0;
};
std::map<std::uint32_t, Group> by_user(const JobLog& log, const SimResult& result);
// By the power of two that holds the processors: 1, 2, 4 (3 and 4), 8 (5 to 8), …
std::map<std::uint32_t, Group> by_group(const JobLog& log, const SimResult& result);
std::map<std::uint32_t, Group> by_size(const JobLog& log, const SimResult& result);

// One line for each job: id,user,processors,limit_s,submit_s,start_s,end_s,wait_s,bounded_slowdown.
std::string jobs_csv(const JobLog& log, const SimResult& result);

}  // namespace berth::tools
