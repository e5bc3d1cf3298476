// The journal's decoder on any bytes: what decodes encodes again to what decodes to the same, and applying it to a
// cluster is refused or leaves its invariants whole.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "state/cluster.h"
#include "state/event_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::state;
  const auto batch = decode_batch(std::as_bytes(std::span(data, size)));
  if (!batch) return 0;
  const std::string once = encode_batch(*batch);
  const auto again = decode_batch(std::as_bytes(std::span(once)));
  if (!again || encode_batch(*again) != once) std::abort();
  Cluster cluster;
  bool applied = true;
  for (const Event& event : batch->events) applied = applied && cluster.apply_event(event, 1).ok();
  if (applied && !check_invariants(cluster).empty()) std::abort();
  return 0;
}
