// `berth state`: what is in a server's data directory, with no server running.
#pragma once

#include "tools/cli/command.h"

namespace berth::tools {

void add_state_command(CLI::App& app, Context& context);

}  // namespace berth::tools
