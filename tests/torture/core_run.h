// One seeded run of a whole server, its core upon its store, on a disk that fails: clients submit and cancel, agents
// start pods and report their ends, the server dies at any operation of the disk and comes back. The world outside
// survives it, remembers every acknowledgement, and holds it against what the server says then.
#pragma once

#include "tests/torture/store_run.h"

namespace berth::store::testing {

RunResult run_core(std::uint64_t seed, Mistake mistake = Mistake::kNone);

}  // namespace berth::store::testing
