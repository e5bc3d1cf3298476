// Whether a request's constraints are well formed, and in the one form in which they are kept.
#pragma once

#include "state/records.h"
#include "state/result.h"

namespace berth::scheduler {

// Sorts lists, and parses every condition. A gang's counts must add up to its pods.
state::Status check_request(state::JobSpec& spec);

// A rule about pods "such as this one" becomes one about the job's labels; without any, about a label of its own.
void name_own_pods(state::JobSpec& spec, state::JobId id);

}  // namespace berth::scheduler
