#include "placement/policy.h"

#include <algorithm>
#include <limits>

namespace berth::placement {

namespace {

constexpr std::int64_t kLowest = std::numeric_limits<std::int32_t>::min();

constexpr Policy kPolicies[] = {
    {"binpack", "the node with the least left: whole nodes stay free for large pods",
     [](std::int32_t left) { return left; }, [](std::int64_t left) { return left; }, true},
    {"fragmentation",
     "where the least of GPUs, and of what stands beside them, is left unusable for what is expected to come",
     [](std::int32_t left) { return left; }, [](std::int64_t left) { return left; }, false, true},
    {"spread", "the node with the most left: load and losses are shared out", [](std::int32_t left) { return -left; },
     [](std::int64_t) { return kLowest; }, false},
    {"first-fit", "the node that joined first: the others can be switched off", [](std::int32_t) { return 0; },
     [](std::int64_t) { return std::int64_t{0}; }, true},
};

}  // namespace

std::span<const Policy> policies() { return kPolicies; }
const Policy& default_policy() { return kPolicies[0]; }
const Policy* find_policy(std::string_view name) {
  const auto* found = std::find_if(std::begin(kPolicies), std::end(kPolicies),
                                   [&](const Policy& policy) { return policy.name == name; });
  return found == std::end(kPolicies) ? nullptr : found;
}

}  // namespace berth::placement
