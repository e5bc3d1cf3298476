// The commands that submit jobs. Each function adds one command to the table.
#pragma once

#include "tools/cli/command.h"

namespace berth::tools {

void add_submit_command(CLI::App& app, Context& context);
void add_run_command(CLI::App& app, Context& context);
void add_hold_commands(CLI::App& app, Context& context);  // hold release
void add_update_command(CLI::App& app, Context& context);
void add_requeue_command(CLI::App& app, Context& context);

}  // namespace berth::tools
