// The snapshot decoder on any bytes: what loads is a cluster whose invariants hold and that survives its encoding.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "state/snapshot_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::state;
  const auto cluster = SnapshotCodec::decode(std::as_bytes(std::span(data, size)));
  if (!cluster) return 0;
  const std::string once = SnapshotCodec::encode(*cluster);
  const auto again = SnapshotCodec::decode(std::as_bytes(std::span(once)));
  if (!again || again->hash() != cluster->hash()) std::abort();
  return 0;
}
