// Which of the nodes that can take a pod gets it: the one with the least key, ties by node id. A policy is a small
// named object.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace berth::placement {

struct Policy {
  std::string_view name;
  std::string_view summary;  // for people
  // Of a node with so much left, counted as in NodeIndex.
  std::int32_t (*key)(std::int32_t left);
  // No node that has at least so much left has a lower key: what lets a search skip nodes.
  std::int64_t (*least_key)(std::int64_t left);
  // The best node for a pod stays the best for equal ones until it is full: these share one search.
  bool stays_best = false;
  // Where there are GPUs, nodes are rated by GpuRater instead; the key is for clusters without, and until it knows what
  // to expect.
  bool rates_gpus = false;
};

std::span<const Policy> policies();  // the first is the default
const Policy& default_policy();
const Policy* find_policy(std::string_view name);  // nullptr: there is none

}  // namespace berth::placement
