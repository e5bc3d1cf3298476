// The frame of the binary: builds the table of commands, checks the words of the command line against it, runs the one
// command that was asked for, and turns whatever happens into an exit code and at most one line on standard error.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tools/cli/command.h"

namespace berth::tools {

std::string berth_version();  // "0.1.0"
// The root of the table, with the options that every command has. The context must outlive it.
std::unique_ptr<CLI::App> make_app(Context& context);
// Parses and runs; `words` are the command line without the program's name.
int run_words(CLI::App& app, Context& context, std::vector<std::string> words);
int run_program(int argc, char** argv, const std::function<void(CLI::App&, Context&)>& add_commands);

}  // namespace berth::tools
