// `berth bench agents`: a fleet of hollow agents until SIGINT or SIGTERM.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "state/resources.h"

namespace berth::tools {

struct AgentsOptions {
  std::string server;  // as parse_endpoint takes it
  std::string token;   // a node's token, for HOST:PORT
  std::uint32_t count = 5'000;
  state::Resources capacity;
  std::vector<std::string> features;
  std::string name_prefix = "hollow-";
  std::int64_t pod_time_ms = 0;
  std::string json;  // where the totals go besides standard output; "" is nowhere
};

// Returns the exit code.
int run_bench_agents(const AgentsOptions& options);

}  // namespace berth::tools
