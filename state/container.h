// Container: what a pod's container has beside its command: how its image is got, and what it finds inside. A part of
// Launch; of a process only the limits count.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::state {

enum class PullPolicy : std::uint8_t {
  kMissing = 0,  // what the node has by that name will do
  kAlways = 1,   // the registry is asked; what has the same digest is not fetched again
  kNever = 2,
};
std::string_view name_of(PullPolicy policy);  // "missing", "always", "never"

struct Mount {
  enum class Kind : std::uint8_t {
    kBind = 0,     // a directory or file of the node
    kTmpfs = 1,    // memory, counted as the pod's
    kScratch = 2,  // a directory on the node's disk that goes with the pod
  };
  Kind kind = Kind::kBind;
  std::string source;  // kBind: absolute
  std::string target;  // in the container, absolute
  bool read_only = false;
  std::uint64_t size_mib = 0;  // kTmpfs: at most; 0: half of the node's memory
  bool operator==(const Mount&) const = default;
};

struct Ulimit {
  static constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();
  std::string name;  // as "nofile"; one of ulimit_names()
  std::uint64_t soft = 0, hard = 0;
  bool operator==(const Ulimit&) const = default;
};
// The kernel's names in lower case, without RLIMIT_, in alphabetical order.
const std::vector<std::string_view>& ulimit_names();

struct Container {
  PullPolicy pull = PullPolicy::kMissing;
  std::string auth_file;  // credentials for the registry, a file on the node read as the owner; "": where it usually is
  std::vector<Mount> mounts;
  bool read_only = false;  // the image's root
  std::string hostname;    // "": made from the job's id
  std::vector<Ulimit> ulimits;
  bool unconfined = false;  // without the seccomp profile
  bool operator==(const Container&) const = default;
};

inline constexpr std::size_t kMountsMax = 64;
// What may stand in a Container, whoever wrote it.
Status check_container(const Container& container);

}  // namespace berth::state
