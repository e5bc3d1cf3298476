// The commands that list and show. Each function adds one command to the table.
#pragma once

#include "tools/cli/command.h"

namespace berth::tools {

void add_ls_command(CLI::App& app, Context& context);
void add_show_command(CLI::App& app, Context& context);
void add_explain_command(CLI::App& app, Context& context);
void add_nodes_command(CLI::App& app, Context& context);

// Reports what the server refused, or that it could not be reached; a --server that makes no sense is a usage error.
int fail(const state::Error& error);

}  // namespace berth::tools
