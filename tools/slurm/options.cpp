#include "tools/slurm/options.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <getopt.h>

namespace berth::tools::slurm {

using state::Error;
using state::ErrorCode;

namespace {

constexpr int kFirst = 1000;  // values of long options: kFirst + position

Error wrong(std::string message) { return Error{ErrorCode::kInvalid, "", std::move(message), 0}; }

}  // namespace

state::Result<Given> parse(const CommandTable& table, const std::vector<std::string>& words) {
  std::vector<option> longs;
  std::string letters = table.permutes ? ":" : "+:";
  for (std::size_t i = 0; i < table.options.size(); ++i) {
    const Option& one = table.options[i];
    const int takes = one.takes == Takes::kNothing ? no_argument
                      : one.takes == Takes::kValue ? required_argument
                                                   : optional_argument;
    longs.push_back({one.name, takes, nullptr, kFirst + static_cast<int>(i)});
    if (one.letter == 0) continue;
    letters += one.letter;
    if (takes != no_argument) letters += takes == required_argument ? ":" : "::";
  }
  longs.push_back({nullptr, 0, nullptr, 0});
  std::vector<std::string> copy{table.name};
  copy.insert(copy.end(), words.begin(), words.end());
  std::vector<char*> argv;
  for (std::string& word : copy) argv.push_back(word.data());
  argv.push_back(nullptr);

  Given given;
  optind = 0;  // starts anew
  opterr = 0;
  while (true) {
    const int before = std::max(optind, 1);
    const int found = getopt_long(static_cast<int>(copy.size()), argv.data(), letters.c_str(), longs.data(), nullptr);
    if (found == -1) break;
    const std::string word = argv[static_cast<std::size_t>(std::min<int>(before, static_cast<int>(copy.size()) - 1))];
    if (found == '?') {
      return wrong(optopt != 0 && optopt < kFirst ? fmt::format("invalid option -- '{}'", static_cast<char>(optopt))
                                                  : fmt::format("unrecognized option '{}'", word));
    }
    if (found == ':') {
      return wrong(optopt < kFirst ? fmt::format("option requires an argument -- '{}'", static_cast<char>(optopt))
                                   : fmt::format("option '{}' requires an argument", word));
    }
    const auto one = found >= kFirst ? table.options.begin() + (found - kFirst)
                                     : std::find_if(table.options.begin(), table.options.end(),
                                                    [&](const Option& o) { return o.letter == found; });
    if (one->support == Support::kRefused) {
      return wrong(fmt::format("--{} is not supported by Berth: {}", one->name, one->text));
    }
    given.set(one->name, optarg == nullptr ? "" : optarg);
  }
  for (int i = optind; i < static_cast<int>(copy.size()); ++i)
    given.words.emplace_back(argv[static_cast<std::size_t>(i)]);
  return given;
}

void tell_ignored(const CommandTable& table, const Given& given) {
  for (const Option& one : table.options) {
    if (one.support != Support::kIgnored || !given.has(one.name)) continue;
    fmt::print(stderr, "{}: --{} has no effect here: {}\n", table.name, one.name, one.text);
  }
}

std::string usage_of(const CommandTable& table) {
  return fmt::format("Usage: {} [OPTIONS...] {}\n", table.name, table.words);
}

std::string help_of(const CommandTable& table) {
  std::string out = usage_of(table) + "\n";
  for (const Option& one : table.options) {
    if (one.support != Support::kHonoured) continue;
    std::string left =
        one.letter != 0 ? fmt::format("  -{}, --{}", one.letter, one.name) : fmt::format("      --{}", one.name);
    if (one.takes == Takes::kValue) left += "=VALUE";
    if (one.takes == Takes::kMaybe) left += "[=VALUE]";
    out += fmt::format("{:<34}{}\n", left, one.text);
  }
  return out;
}

}  // namespace berth::tools::slurm
