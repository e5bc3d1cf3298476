// What a pod asks for and what a node has. Integers only: cpu in thousandths of a core, memory in MiB, whole GPUs as
// bits of a mask (bit i is the node's i-th GPU).
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace berth::state {

struct Resources {
  std::uint32_t cpu_milli = 0;
  std::uint64_t mem_mib = 0;
  std::uint32_t gpus = 0;  // whole devices, at most kMaxGpus
  auto operator<=>(const Resources&) const = default;
};

inline constexpr std::uint32_t kMaxGpus = 64;

// What a pod wants of the pods around it. Pods are told apart by their labels, nodes by a domain: the value of a label
// of theirs, or "node" for each by itself.
struct PodRule {
  enum class Kind : std::uint8_t {
    kApart = 0,     // in no domain with a pod that the selector chooses; nor may such a pod come there later
    kTogether = 1,  // in a domain with such a pod; the first of its own kind may go anywhere
    kSpread = 2,    // where there are at most `skew` more such pods than in the domain with the fewest
  };
  Kind kind = Kind::kApart;
  bool soft = false;     // preferred, not required
  std::string selector;  // a condition (state/condition.h) on the labels of pods
  std::string domain = "node";
  std::uint32_t skew = 1;
  auto operator<=>(const PodRule&) const = default;
};

// One pod's request. Every pod of a job has the same.
struct Request {
  Resources resources;
  std::vector<std::string> features = {};  // the node must have all of them; sorted, unique
  std::string where = {};                  // a condition (state/condition.h) that the node must meet; "" is any
  // Conditions, first the one that matters most: of two nodes the one that meets the first of them in which they
  // differ.
  std::vector<std::string> prefers = {};
  std::vector<std::string> tolerates = {};  // taints: "key", "key=value" or "*"; sorted, unique
  std::vector<std::string> labels = {};     // the pod's own: "key=value"; sorted, unique
  std::vector<PodRule> rules = {};
  bool exclusive = false;  // a whole node for itself
  // Nothing but amounts and features.
  bool plain() const {
    return where.empty() && prefers.empty() && tolerates.empty() && labels.empty() && rules.empty() && !exclusive;
  }
  auto operator<=>(const Request&) const = default;
};

// For people: "feature ssd", "where zone=a", "apart from app=web by rack", …
std::vector<std::string> constraint_texts(const Request& request);

inline constexpr std::size_t kPrefersMax = 4;  // with the soft rules
inline constexpr std::size_t kRulesMax = 8;

}  // namespace berth::state
