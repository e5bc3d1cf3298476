// One seeded run of the store on a disk that fails: batches go in, the machine crashes at any operation, the process
// comes back, and what it finds is held against what it was told was durable.
#pragma once

#include <cstdint>
#include <string>

#include "tests/torture/disk.h"

namespace berth::store::testing {

// How often what happened, so that a test can show that a run was worth something.
struct Happened {
  std::uint64_t opened = 0, batches = 0, crashes = 0, power_failures = 0, torn = 0, snapshots = 0;
  std::uint64_t full = 0, failed = 0, refused_opens = 0, flips = 0, flips_refused = 0, flips_passed_over = 0;
  void add(const Happened& other);
  std::string text() const;  // one line
};

struct RunResult {
  std::string wrong;  // what the checker found, one line; "" if all is well
  std::uint64_t digest = 0;
  Happened happened;
};

RunResult run_store(std::uint64_t seed, Mistake mistake = Mistake::kNone);

}  // namespace berth::store::testing
