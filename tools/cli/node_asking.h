// Questions to many nodes at once: which nodes, and their answers as they come.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tools/cli/server_link.h"

namespace berth::tools {

struct NodeChoice {
  std::string nodes, queue;  // "" is all
};
// --node NODES and --queue QUEUE.
void add_node_choice(CLI::App* command, NodeChoice& choice);
// Connected nodes, in the order of their names, with what the server knows of them.
state::Result<std::vector<state::NodeRow>> choose_nodes(ServerLink& link, const NodeChoice& choice);

// Asks each node, many at a time; `answered(node, reply)` as they come. An error is one of the connection to the
// server; what a node refuses is its reply.
state::Status ask_nodes(ServerLink& link, const std::vector<state::NodeRow>& nodes,
                        const std::function<state::NodeRequest(const std::string& node)>& question,
                        const std::function<void(const state::NodeRow&, state::Result<state::ServerReply>)>& answered);

std::string format_bytes(std::uint64_t bytes);  // "12 KiB", "3.4 MiB"

}  // namespace berth::tools
