// What an agent writes beside a pod so that its successor can take it over: the order, and that it is being stopped.
#pragma once

#include <optional>
#include <string>

#include "agent/core/node_core.h"
#include "state/requests.h"

namespace berth::agent {

state::Status write_order(const std::string& directory, const state::StartOrder& order, const state::PodToStart& pod);
std::optional<state::StartOrder> read_order(const std::string& directory);  // with its one pod; nullopt: not whole
void write_stop(const std::string& directory, const StopMark& mark);
std::optional<StopMark> read_stop(const std::string& directory);

}  // namespace berth::agent
