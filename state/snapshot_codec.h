// A whole cluster to bytes and back (FlatBuffers, schema/journal.fbs, table Snapshot). Decoding verifies and then checks
// the invariants: what loads is a cluster that could have been.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "state/cluster.h"
#include "state/result.h"

namespace berth::state {

class SnapshotCodec {
 public:
  static std::string encode(const Cluster& cluster);
  static Result<Cluster> decode(std::span<const std::byte> bytes);
};

}  // namespace berth::state
