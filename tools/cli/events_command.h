// `berth events`: what happened lately.
#pragma once

#include "tools/cli/command.h"

namespace berth::tools {

void add_events_command(CLI::App& app, Context& context);

}  // namespace berth::tools
