// Batches to bytes and back (FlatBuffers, schema/journal.fbs). Decoding verifies: any bytes are safe input, and what
// decodes has ids, ranges and enums within bounds. The same batch always gives the same bytes.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "state/events.h"
#include "state/result.h"

namespace berth::state {

std::string encode_batch(const Batch& batch);
Result<Batch> decode_batch(std::span<const std::byte> bytes);

}  // namespace berth::state
