// A whole cluster to bytes and back (FlatBuffers, schema/journal.fbs, table Snapshot). The bytes are a sequence of
// parts, so that neither side ever needs one buffer for everything. Decoding verifies and then checks the invariants:
// what loads is a cluster that could have been; any bytes are safe input. The same cluster always gives the same bytes.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "state/cluster.h"
#include "state/result.h"

namespace berth::state {

class SnapshotCodec {
 public:
  // Takes the bytes piece by piece, in order; false ends the encoding.
  using Sink = std::function<bool(std::span<const std::byte>)>;
  static void encode(const Cluster& cluster, const Sink& sink);
  static std::string encode(const Cluster& cluster);
  static Result<Cluster> decode(std::span<const std::byte> bytes);

 private:
  class Writer;
  static bool read_part(std::span<const std::byte> part, Cluster& cluster, std::string& wrong);
};

}  // namespace berth::state
