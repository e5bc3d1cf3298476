// Events of the journal for people and programs. The fields are those of the schema itself (state/schema/journal.fbs),
// which is built in: what a later event has is shown without a line written for it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tools/cli/json.h"

namespace berth::tools {

// A line an event: "17  2026-05-01T12:00:00Z  PodsStarted  starts=[{ref={job=1 element=0 attempt=1} …}]". `payload` is
// a batch that decodes.
void dump_text(Output& out, std::span<const std::byte> payload);
// One object: {"index": 17, "at": …, "events": [{"event": "PodsStarted", …}]}; every field, also those not set.
void dump_json(JsonWriter& json, std::span<const std::byte> payload);

}  // namespace berth::tools
