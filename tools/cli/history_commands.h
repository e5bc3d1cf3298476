// The commands that look back: berth history and berth usage.
#pragma once

#include "tools/cli/command.h"

namespace berth::tools {

void add_history_commands(CLI::App& app, Context& context);

}  // namespace berth::tools
