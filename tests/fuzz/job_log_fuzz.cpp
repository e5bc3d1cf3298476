// A job log is read or refused, and what is read can be simulated.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tools/sim/simulator.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::tools;
  const auto log = parse_job_log({reinterpret_cast<const char*>(data), size}, "log");
  if (!log || log->jobs.size() > 200) return 0;
  const SimCluster cluster{1, 1'000'000};
  const auto result = simulate(*log, {&berth::scheduler::default_queue_policy(), cluster, false, true});
  if (!result) std::abort();
  for (std::size_t i = 0; i < log->jobs.size(); ++i) {
    if (result->starts_s[i] < log->jobs[i].submit_s) std::abort();
  }
  return 0;
}
