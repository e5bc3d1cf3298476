// `berth top`: what nodes and pods use now.
#pragma once

#include "tools/cli/command.h"

namespace berth::tools {

void add_top_command(CLI::App& app, Context& context);

}  // namespace berth::tools
