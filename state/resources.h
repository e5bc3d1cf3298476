// What a pod asks for and what a node has. Integers only: cpu in thousandths of a core, memory in MiB, whole GPUs as
// bits of a mask (bit i is the node's i-th GPU).
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::state {

struct Resources {
  std::uint32_t cpu_milli = 0;
  std::uint64_t mem_mib = 0;
  std::uint32_t gpus = 0;  // whole devices, at most kMaxGpus
  auto operator<=>(const Resources&) const = default;
};

inline constexpr std::uint32_t kMaxGpus = 64;

// So many of what a node (or, for licences, the cluster) has by that name: "fpga" 2, "disk" 4096 (MiB).
struct Countable {
  std::string name;
  std::uint64_t count = 0;
  auto operator<=>(const Countable&) const = default;
};
inline constexpr std::string_view kDisk = "disk";  // local scratch space, in MiB
inline constexpr std::size_t kCountablesMax = 32;
inline constexpr std::uint64_t kCountMax = 1ULL << 40;  // of one countable: sums stay within 64 bits
bool is_countable_name(std::string_view text);          // 1-64 of [A-Za-z0-9._:-], a letter first
std::uint64_t count_of(const std::vector<Countable>& list, std::string_view name);  // 0 if it is not there

// Where on its node a pod's cores lie.
struct CoreFit {
  enum class Level : std::uint8_t { kNone = 0, kL3 = 1, kNuma = 2, kPackage = 3 };
  Level level = Level::kNone;         // all within one of these …
  bool require = false;               // … or nowhere; else if there is room
  std::uint8_t threads_per_core = 0;  // of each core only so many hardware threads, the others stay idle; 0: all
  bool any() const { return level != Level::kNone || threads_per_core != 0; }
  auto operator<=>(const CoreFit&) const = default;
};

// How a gang lies over nodes. 0 is no limit.
struct GangShape {
  std::uint32_t nodes_min = 0, nodes_max = 0;
  std::uint32_t per_node = 0;  // pods on one node at most
  std::uint32_t switches = 0;  // leaf switches at most
  bool contiguous = false;     // nodes that follow each other by name
  bool compact = false;        // as few nodes as can be
  bool any() const { return *this != GangShape{}; }
  auto operator<=>(const GangShape&) const = default;
};

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
  bool exclusive = false;                // a whole node for itself
  std::vector<Countable> counts = {};    // of the node's; sorted by name, unique
  std::vector<Countable> licences = {};  // of the cluster's; likewise
  std::uint32_t gpu_share_milli = 0;     // of its only GPU, which others may share; 0: whole ones
  CoreFit cores = {};
  std::string queue_nodes = {};  // the queue's own condition on nodes: filled in by the scheduler, never submitted
  // Nothing but amounts and features.
  bool plain() const {
    return where.empty() && prefers.empty() && tolerates.empty() && labels.empty() && rules.empty() && !exclusive &&
           counts.empty() && gpu_share_milli == 0 && !cores.any() && queue_nodes.empty();
  }
  auto operator<=>(const Request&) const = default;
};

// For people: "feature ssd", "where zone=a", "apart from app=web by rack", …
std::vector<std::string> constraint_texts(const Request& request);
std::vector<std::string> shape_texts(const GangShape& shape);
// "fpga=2", "fpga:2" or "fpga" (1); disk as a size, "disk=10G".
Result<Countable> parse_countable(std::string_view text, std::string_view field);
Status check_countables(std::vector<Countable>& list, std::string_view field);  // sorts; each name once, 1-32
std::string text_of(const Countable& countable);                                // "fpga 2", "disk 4 GiB"
std::string_view name_of(CoreFit::Level level);                                 // "NUMA node", …

inline constexpr std::size_t kPrefersMax = 4;  // with the soft rules
inline constexpr std::size_t kRulesMax = 8;

}  // namespace berth::state
