// Completion scripts and man pages, made from the commands' pages. Pure text.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/cli/command_page.h"

namespace berth::tools {

std::string bash_completion(const CommandPage& root);
std::string zsh_completion(const CommandPage& root);
std::string fish_completion(const CommandPage& root);

// A man page in roff, and the name of its file ("berth-token-create.1").
std::string man_page(const CommandPage& page, const std::string& version);
std::string man_file_name(const CommandPage& page);

}  // namespace berth::tools
