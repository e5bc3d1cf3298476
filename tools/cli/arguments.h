// The words of a command line, checked against the commands' tables before CLI11 parses them: an unknown or incomplete
// word is told in one line that says which command it was and what is accepted. Never throws.
#pragma once

#include <string>
#include <vector>

#include "state/result.h"
#include "tools/cli/command_page.h"

namespace berth::tools {

struct Arguments {
  std::vector<std::string> words;     // for CLI11, one meaning a word: --name=VALUE and -xVALUE are taken apart
  std::vector<std::string> command;   // the command to run, of a command that takes one
  const CommandPage* page = nullptr;  // the command meant, also if there is an error
  bool help = false;
};

// `page` describes the root and must outlive the result. On an error, `out.page` tells whose it is.
state::Status check_arguments(const CommandPage& root, const std::vector<std::string>& words, Arguments& out);

}  // namespace berth::tools
