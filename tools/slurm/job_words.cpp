// Words of the options that jobs and steps share: environments to pass on, signals, patterns of paths.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <map>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

// ALL, NONE, NIL, or a list of NAME and NAME=VALUE, with ALL in it or not
std::vector<std::string> exported(const Given& given, const std::vector<std::string>& mine) {
  const std::string text = given.text("export", "ALL");
  if (text == "ALL") return mine;
  std::map<std::string, std::string> variables;
  const auto name_of = [](const std::string& variable) { return variable.substr(0, variable.find('=')); };
  const bool none = text == "NONE" || text == "NIL";
  const std::vector<std::string> words = none ? std::vector<std::string>{} : split(text, ',');
  const bool all = std::find(words.begin(), words.end(), "ALL") != words.end();
  for (const std::string& variable : mine) {
    const std::string name = name_of(variable);
    // Without the rest, what a session needs to be one.
    const bool basic = name == "HOME" || name == "USER" || name == "SHELL" || name == "PATH" || name == "LOGNAME";
    const bool wanted = all || (none && basic) || name.starts_with("SLURM_") ||
                        std::find(words.begin(), words.end(), name) != words.end();
    if (wanted) variables[name] = variable;
  }
  for (const std::string& word : words) {
    if (word.find('=') != std::string::npos) variables[name_of(word)] = word;
  }
  std::vector<std::string> out;
  for (auto& [name, variable] : variables) out.push_back(std::move(variable));
  return out;
}

void set_variable(std::vector<std::string>& environment, const std::string& name, const std::string& value) {
  std::erase_if(environment, [&](const std::string& v) { return v.starts_with(name + "="); });
  environment.push_back(name + "=" + value);
}

int signal_number(std::string_view text) {
  if (const auto number = parse_integer(text, "signal", 1, 64)) return static_cast<int>(*number);
  std::string name = upper(text);
  if (name.starts_with("SIG")) name = name.substr(3);
  for (int signal = 1; signal < 32; ++signal) {
    const char* known = sigabbrev_np(signal);
    if (known != nullptr && name == known) return signal;
  }
  return 0;
}

namespace {

std::string padded(std::uint64_t number, const std::string& width) {
  const std::string digits = std::to_string(number);
  const auto least = parse_integer(width, "width", 0, 10);
  const std::size_t size = least ? static_cast<std::size_t>(*least) : 0;
  return digits.size() < size ? std::string(size - digits.size(), '0') + digits : digits;
}

std::string literal(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c;
    if (c == '%') out += c;
  }
  return out;
}

// What `known` makes of each %[width]letter; what it does not know (nullopt) stays as it stands.
template <class Known>
std::string translated(std::string_view pattern, Known&& known) {
  if (pattern.starts_with("\\")) return literal(pattern.substr(1));
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      out += pattern[i];
      continue;
    }
    std::size_t at = i + 1;
    while (at < pattern.size() && pattern[at] >= '0' && pattern[at] <= '9') ++at;
    const std::string width(pattern.substr(i + 1, at - i - 1));
    const char letter = at < pattern.size() ? pattern[at] : 0;
    std::optional<std::string> made;
    switch (letter) {
      case 'A':
      case 'j':
        made = "%" + width + "j";
        break;
      case 'N':
        made = "%n";
        break;
      case 'u':
        made = "%u";
        break;
      case '%':
        made = "%%";
        break;
      default:
        made = known(letter, width);
        break;
    }
    out += made ? *made : literal(pattern.substr(i, at + 1 - i));
    i = at;
  }
  return out;
}

constexpr std::uint64_t kNoIndex = 4294967294;  // as Slurm has it where there is no array

}  // namespace

std::string output_pattern(const std::string& pattern, bool array) {
  if (pattern == "none") return "/dev/null";
  return translated(pattern, [&](char letter, const std::string& width) -> std::optional<std::string> {
    switch (letter) {
      case 'J':
        return "%" + width + "j";
      case 'a':
        return array ? "%" + width + "a" : padded(kNoIndex, width);
      case 'n':
      case 't':
        return padded(0, width);
      case 's':
        return "batch";
      case 'x':
        return "%x";
      default:
        return std::nullopt;
    }
  });
}

Result<std::string> step_pattern(const std::string& pattern, const StepNames& names) {
  if (pattern == "none") return std::string("/dev/null");
  if (pattern == "all") return std::string();
  bool numbers_node = false;
  std::string made = translated(pattern, [&](char letter, const std::string& width) -> std::optional<std::string> {
    switch (letter) {
      case 'J':
        return "%j.%s";
      case 'a':
        return padded(names.index ? *names.index : kNoIndex, width);
      case 'n':
        numbers_node = true;
        return padded(0, width);
      case 't':
        return "%" + width + "r";
      case 's':
        return "%" + width + "s";
      case 'x':
        return names.job.empty() ? "%x" : literal(names.job);
      default:
        return std::nullopt;
    }
  });
  if (names.one_node) return made;
  const auto refused = [&](const std::string& what) {
    return Error{ErrorCode::kInvalid, "", what + " is not supported by Berth over nodes", 0};
  };
  if (numbers_node) return refused("%n in \"" + pattern + "\", the number of the node,");
  if (one_task(pattern)) return refused("Output of task " + pattern + " alone");
  return made;
}

std::optional<std::uint32_t> one_task(const std::string& pattern) {
  const auto number = parse_integer(pattern, "task", 0, kMaxGangSize);
  return number ? std::optional(static_cast<std::uint32_t>(*number)) : std::nullopt;
}

}  // namespace berth::tools::slurm
