#include "tools/slurm/options.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <getopt.h>
#include <utility>

namespace berth::tools::slurm {

using state::Error;
using state::ErrorCode;

namespace {

constexpr int kFirst = 1000;  // values of long options: kFirst + position

Error wrong(std::string message) { return Error{ErrorCode::kInvalid, "", std::move(message), 0}; }
Error misused(std::string message) { return Error{ErrorCode::kInvalid, kMisused, std::move(message), 0}; }

// Of each of these one is given at most.
const std::vector<std::vector<std::string_view>>& exclusive_options() {
  static const std::vector<std::vector<std::string_view>> groups{
      {"mem", "mem-per-cpu", "mem-per-gpu"}, {"requeue", "no-requeue"}, {"ntasks-per-node", "tasks-per-node"}};
  return groups;
}

std::vector<std::string_view> group_of(std::string_view name) {
  for (const auto& group : exclusive_options()) {
    if (std::find(group.begin(), group.end(), name) != group.end()) return group;
  }
  return {name};
}

}  // namespace

bool Given::says(std::string_view name) const {
  const auto group = group_of(name);
  return std::any_of(group.begin(), group.end(),
                     [&](std::string_view one) { return values_.contains(std::string(one)); });
}

void Given::set(const std::string& name, std::string value) {
  for (const std::string_view other : group_of(name)) {
    if (other != name) values_.erase(std::string(other));
  }
  values_[name].push_back(std::move(value));
}

void Given::fill_from(const Given& other) {
  std::vector<std::string> news;
  for (const auto& [name, values] : other.values_) {
    if (!says(name)) news.push_back(name);
  }
  for (const std::string& name : news) values_[name] = other.values_.at(name);
}

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
      return misused(optopt != 0 && optopt < kFirst ? fmt::format("invalid option -- '{}'", static_cast<char>(optopt))
                                                    : fmt::format("unrecognized option '{}'", word));
    }
    if (found == ':') {
      return misused(optopt < kFirst ? fmt::format("option requires an argument -- '{}'", static_cast<char>(optopt))
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

int fail_parse(const CommandTable& table, const Error& error) {
  const std::string_view name = table.name;
  const bool job = name == "sbatch" || name == "srun" || name == "salloc";
  std::fflush(stdout);
  if (error.field != kMisused) {
    fmt::print(stderr, "{}: error: {}\n", name, error.message);
    return 1;
  }
  fmt::print(stderr, "{}: {}\nTry \"{} --help\" for more information\n", name, error.message, name);
  return job ? 255 : 1;
}

std::string usage_of(const CommandTable& table) {
  return fmt::format("Usage: {} [OPTIONS...] {}\n", table.name, table.words);
}

std::string help_of(const CommandTable& table) {
  std::string out = usage_of(table) + "\n";
  for (const auto& [support, title] :
       {std::pair{Support::kHonoured, ""}, std::pair{Support::kIgnored, "\nWithout effect here:\n"},
        std::pair{Support::kRefused, "\nRefused, since they would change what happens:\n"}}) {
    bool any = false;
    for (const Option& one : table.options) {
      if (one.support != support) continue;
      if (!std::exchange(any, true)) out += title;
      std::string left =
          one.letter != 0 ? fmt::format("  -{}, --{}", one.letter, one.name) : fmt::format("      --{}", one.name);
      if (one.takes == Takes::kValue) left += "=VALUE";
      if (one.takes == Takes::kMaybe) left += "[=VALUE]";
      out += fmt::format("{:<34}{}\n", left, one.text);
    }
  }
  return out;
}

}  // namespace berth::tools::slurm
