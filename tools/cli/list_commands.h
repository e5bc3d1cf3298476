// The commands that list and show. Each function adds one command to the table.
#pragma once

#include "state/requests.h"
#include "tools/cli/command.h"

namespace berth::tools {

void add_ls_command(CLI::App& app, Context& context);
void add_show_command(CLI::App& app, Context& context);
void add_explain_command(CLI::App& app, Context& context);
void add_nodes_command(CLI::App& app, Context& context);

void add_queue_and_licence_commands(CLI::App& app, Context& context);
void add_charging_commands(CLI::App& app, Context& context);  // accounts, users, qualities of service
void add_priority_command(CLI::App& app, Context& context);

// "failed,cancelled", of the option --state.
state::Result<std::vector<state::PodState>> parse_states(const std::string& text);
// "off", "requeue", "cancel" (and "queue" if `as_queue`).
state::Result<state::Preempt> parse_preempt(const std::string& text, const std::string& field, bool as_queue);
// Asks for something that is answered with Ok.
int act(const Context& context, state::ClientRequest request);
// Reports what the server refused, or that it could not be reached; a --server that makes no sense is a usage error.
int fail(const state::Error& error);

}  // namespace berth::tools
