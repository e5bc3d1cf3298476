// What is asked of a node itself: of its images, and of what its pods use now. The server passes the question on to the
// node's agent and the answer back; the core never sees either.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "state/container.h"
#include "state/pod_use.h"
#include "state/records.h"

namespace berth::state {

// ---- client -> server -----------------------------------------------------------------------------------------------
struct ImageRequest {
  enum class Action : std::uint8_t {
    kList = 0,
    kPull = 1,
    kRemove = 2,  // administrators only, as kPrune
    kPrune = 3,
  };
  Action action = Action::kList;
  std::string node;
  std::string image;                       // kPull: a reference; kRemove: that, or a digest
  PullPolicy pull = PullPolicy::kMissing;  // kPull
  std::string auth_file;                   // kPull: as Container::auth_file
  std::int64_t unused_ms = 0;              // kPrune: of those that no pod used for so long …
  std::uint64_t keep_mib = 0;              // … the longest unused first, until the rest is no bigger
};
struct TopRequest {  // a user is told of his own pods, an administrator of all
  std::string node;
  JobId job;  // with its steps; none: all
};
using NodeRequest = std::variant<ImageRequest, TopRequest>;

// ---- server -> client -----------------------------------------------------------------------------------------------
struct ImageRow {
  std::string names;        // that led to it, with blanks between
  std::string digest;       // "sha256:…"; "" while it is not known
  std::uint64_t bytes = 0;  // unpacked; of one that is on its way what has come of it
  TimeUs made_at = 0, used_at = 0;
  std::uint32_t pods = 0;  // that use it or wait for it
  std::string state;       // "ready", "copying", "unpacking"
};
struct ImagePage {
  std::vector<ImageRow> rows;  // kPull: the one; kRemove and kPrune: those that went
};
struct PodTop {
  PodRef ref;
  std::uint32_t index = 0;
  JobId step_of;  // none: no step
  std::uint32_t step = 0;
  std::string job_name, user;
  TimeUs started_at = 0;
  Resources resources;  // what it was given
  PodUse use;
  std::uint64_t mem_bytes = 0, mem_peak_bytes = 0;
  std::uint32_t processes = 0;
};
struct TopPage {
  TimeUs at = 0;  // by the node's clock
  std::uint32_t cpus = 0;
  std::uint64_t busy_us = 0;  // cpu time that all of the machine has used since it started
  std::uint64_t mem_bytes = 0, mem_used_bytes = 0;
  std::vector<PodTop> pods;
};

// ---- server -> agent, agent -> server -------------------------------------------------------------------------------
struct NodeAsk {
  std::uint64_t token = 0;
  Owner owner;  // who asks
  bool admin = false;
  NodeRequest request;
};
struct NodeAnswer {
  std::uint64_t token = 0;
  std::variant<ImagePage, TopPage, Error> body;
};

}  // namespace berth::state
