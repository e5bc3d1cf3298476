// Strong ids and the clock's unit. Ids are given by the core, never reused, and 0 means "none".
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace berth::state {

// Microseconds since the Unix epoch, UTC. 0 means "not yet" or "never".
using TimeUs = std::int64_t;

template <class Tag, class Rep>
struct Id {
  Rep value = 0;
  constexpr explicit operator bool() const { return value != 0; }
  constexpr auto operator<=>(const Id&) const = default;
};

using JobId = Id<struct JobTag, std::uint64_t>;
using NodeId = Id<struct NodeTag, std::uint32_t>;  // dense: 1, 2, 3, … in the order of joining
using ServiceId = Id<struct ServiceTag, std::uint64_t>;

// One pod of a job. `element` is the pod's position among the job's elements, counted from 0; what the user calls it
// (array index 1-1000:2, gang rank) comes from JobSpec::elements.
struct PodId {
  JobId job;
  std::uint32_t element = 0;
  constexpr auto operator<=>(const PodId&) const = default;
};

// One try to run a pod. A pod that is requeued gets a new attempt; an attempt runs at most once, anywhere.
struct PodRef {
  PodId pod;
  std::uint32_t attempt = 0;  // 1 is the first
  constexpr auto operator<=>(const PodRef&) const = default;
};

struct PodIdHash {
  std::size_t operator()(const PodId& id) const {
    // A 64-bit finaliser (splitmix64): job ids are sequential and elements dense, so the bits need mixing.
    std::uint64_t x = id.job.value * 0x9E3779B97F4A7C15ULL + id.element;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return static_cast<std::size_t>(x ^ (x >> 31));
  }
};

}  // namespace berth::state

template <class Tag, class Rep>
struct std::hash<berth::state::Id<Tag, Rep>> {
  std::size_t operator()(const berth::state::Id<Tag, Rep>& id) const { return std::hash<Rep>{}(id.value); }
};
