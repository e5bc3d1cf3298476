// `berth image`: what images nodes have.
#pragma once

#include "tools/cli/command.h"

namespace berth::tools {

void add_image_commands(CLI::App& app, Context& context);

}  // namespace berth::tools
