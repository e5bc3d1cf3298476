// `berth exec`.
#pragma once

#include "tools/cli/command.h"

namespace berth::tools {

void add_exec_command(CLI::App& app, Context& context);

}  // namespace berth::tools
