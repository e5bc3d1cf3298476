// `berth server status`: who leads, who stands by, and where the journal and its snapshots are.
#pragma once

#include "tools/cli/command.h"

namespace berth::tools {

CLI::App* add_server_status(CLI::App& server, Context& context);

}  // namespace berth::tools
