// The options of a command that speaks Slurm: one table for each drives parsing, --help and --usage, and
// docs/slurm-options.md. Parsing is the C library's getopt_long, as Slurm's own: unique prefixes, optional values
// behind '=', permutation where Slurm permutes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::tools::slurm {

enum class Takes : char { kNothing, kValue, kMaybe };
enum class Support : char {
  kHonoured,
  kIgnored,  // without effect where Slurm would have none on such a site either; -v says so
  kRefused,  // it would change what happens, and Berth cannot: an error
};

struct Option {
  const char* name;
  char letter = 0;  // 0: none
  Takes takes = Takes::kNothing;
  Support support = Support::kHonoured;
  const char* text = "";  // what it does, or why not
};

struct CommandTable {
  const char* name;
  const char* words;  // what comes behind the options, "[script [args...]]"
  bool permutes;      // options may follow words
  std::vector<Option> options;
};
const CommandTable& table_of(std::string_view command);
const std::vector<const CommandTable*>& all_tables();

// What a command line said. An option given again wins, but all its values are kept; of those that exclude each other
// (--mem and --mem-per-cpu, --requeue and --no-requeue) the last one is given and the others are not.
class Given {
 public:
  bool has(const char* name) const { return values_.contains(name); }
  std::string text(const char* name, std::string fallback = "") const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::move(fallback) : found->second.back();
  }
  std::vector<std::string> all(const char* name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::vector<std::string>{} : found->second;
  }
  // The option, or one that excludes it.
  bool says(std::string_view name) const;
  void set(const std::string& name, std::string value);
  // What `other` says where this says nothing.
  void fill_from(const Given& other);
  std::vector<std::string> words;

 private:
  std::map<std::string, std::vector<std::string>> values_;
};

// The field of an error of getopt's: an option that is none, or lacks its value.
inline constexpr const char* kMisused = "usage";
// Parses the words behind the command's name. The error's message is a whole line, without the command's name.
state::Result<Given> parse(const CommandTable& table, const std::vector<std::string>& words);
// Says what parse() found wrong as Slurm's commands do, and returns the exit code.
int fail_parse(const CommandTable& table, const state::Error& error);
// Tells on standard error, if `verbose`, what was ignored.
void tell_ignored(const CommandTable& table, const Given& given);

std::string usage_of(const CommandTable& table);
std::string help_of(const CommandTable& table);

}  // namespace berth::tools::slurm
