// PodFile: a pod's one file (agent/shim/record.h), seen from the agent: made before the shim starts, read when it ends
// or when another agent takes over.
#pragma once

#include <optional>
#include <string>

#include "agent/core/node_core.h"
#include "agent/io/files.h"
#include "state/requests.h"

namespace berth::agent {

// Makes and locks the file; an existing one is an error (the attempt was tried before). The descriptor is for the shim:
// with it closed everywhere, the lock is free. `order` may be empty (a probe).
state::Result<Fd> create_pod_file(const std::string& path, const std::string& input, const std::string& order);

std::string encode_order(const state::StartOrder& order, const state::PodToStart& pod);

// What a file tells.
struct PodFacts {
  pid_t shim_pid = 0;  // 0: its shim was never started
  state::TimeUs started_at = 0;
  std::optional<StopMark> stop;
  std::optional<ShimEnded> end;  // without its ref
};
std::optional<PodFacts> read_pod_facts(const std::string& path);           // nullopt: no such file, or not whole
std::optional<state::StartOrder> read_pod_order(const std::string& path);  // with its one pod
std::optional<std::string> read_pod_input(const std::string& path);        // what its shim was told
void write_stop(const std::string& path, const StopMark& mark);            // the first reason stands

}  // namespace berth::agent
