// A job log under the production dispatcher and a virtual clock: what would have started when.
//
// Events that fall into the same second are taken one at a time, each followed by a pass: jobs whose time limit is up
// end first, then submissions in the order of the log, then the jobs that end early, in the order in which they
// started.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "scheduler/dispatcher.h"
#include "state/result.h"
#include "tools/sim/swf.h"

namespace berth::tools {

struct SimCluster {
  std::uint32_t nodes = 1;  // 1: one pool of processors
  std::uint32_t cpus = 0;   // of each
  std::uint64_t total() const { return std::uint64_t{nodes} * cpus; }
};

struct SimOptions {
  const scheduler::QueuePolicy* policy = &scheduler::default_queue_policy();
  SimCluster cluster;
  bool exact_limits = false;  // every job's limit is what it will run
  bool check = false;         // the dispatcher's invariants and promises after every pass: slow
  // Users have equal shares of their groups, and these of the whole: 1, or what is named here.
  scheduler::FairShare shares = {.head_start = 0};
  std::map<std::uint32_t, std::uint32_t> group_shares = {};
};

struct SimResult {
  std::vector<std::int64_t> starts_s;  // by job
  std::uint64_t passes = 0;
  std::size_t waiting_most = 0;
};

// The log's jobs all fit the cluster (fits_cluster()).
state::Result<SimResult> simulate(const JobLog& log, const SimOptions& options);
// An error for the first job that could never run there.
state::Status fits_cluster(const JobLog& log, const SimCluster& cluster);

}  // namespace berth::tools
