// The error of a batch that does not follow from the state: a damaged or foreign journal, or a fault of ours.
#pragma once

#include <string>
#include <utility>

#include "state/result.h"

namespace berth::state {

inline Error mismatch(std::string what) {
  return Error{ErrorCode::kInternal, "", "an event does not follow from the state: " + std::move(what), 0};
}

}  // namespace berth::state
