// CommandPage: what there is to know about a command, read off CLI11's tables. --help, completion, man pages and the
// check of a command line's words are all made from it, so that they cannot disagree. Plain values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/cli/command.h"

namespace berth::tools {

struct OptionEntry {
  char letter = 0;   // of -x, 0 for none
  std::string name;  // of --name, without dashes; "" for none
  std::vector<std::string> other_names;
  std::string value;      // what it takes, "SIZE"; "" for a flag
  bool optional = false;  // the value may be left out, and is given as --name=VALUE
  bool repeats = false;
  bool required = false;
  std::string text;
  std::string group;
  std::vector<std::string> choices;  // the only accepted values, if they are few
  std::string spelling() const;      // "-n, --name NAME"
};

struct PositionalEntry {
  std::string name;  // "JOB"
  std::string text;
  bool required = false;
  bool repeats = false;
  std::vector<std::string> choices;
};

struct CommandPage {
  std::string name;  // "create"
  std::vector<std::string> aliases;
  std::string path;   // "berth token create"
  std::string group;  // of the list that it is in
  std::string summary;
  std::string description;
  std::string examples;
  std::vector<OptionEntry> options;         // its own
  std::vector<OptionEntry> common_options;  // those every command has
  std::vector<PositionalEntry> positionals;
  std::vector<CommandPage> commands;
  bool alone = true;           // may be given without one of its commands
  bool command_words = false;  // ends with a command to run

  std::string usage() const;                               // "berth wait [OPTIONS] JOB..."
  const OptionEntry* option(std::string_view name) const;  // also among the common ones
  const OptionEntry* option(char letter) const;
  const CommandPage* command(std::string_view name) const;
};

// The page of a command and of all below it.
CommandPage describe(const CLI::App& app);
// What `berth COMMAND --help` prints, at most `width` columns wide.
std::string help_text(const CommandPage& page, std::size_t width);

}  // namespace berth::tools
