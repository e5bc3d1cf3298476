// `berth bench load`: submits, follows, checks and prints.
#pragma once

#include <string>

#include "api/client/client.h"
#include "tools/load/load_run.h"

namespace berth::tools {

// Returns the exit code: 0 if every acknowledged pod has ended exactly once and well.
int run_bench_load(const client::ClientOptions& server, const LoadOptions& options, const std::string& json);

}  // namespace berth::tools
