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

std::string output_pattern(std::string pattern, bool array) {
  if (pattern == "none") return "/dev/null";
  const bool literal = pattern.starts_with("\\");
  std::string out;
  for (std::size_t i = literal ? 1 : 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || literal) {
      out += pattern[i];
      if (pattern[i] == '%') out += '%';
      continue;
    }
    std::size_t at = i + 1;
    while (at < pattern.size() && pattern[at] >= '0' && pattern[at] <= '9') ++at;
    const std::string width = pattern.substr(i + 1, at - i - 1);
    const char letter = at < pattern.size() ? pattern[at] : 0;
    i = at;
    switch (letter) {
      case 'A':
      case 'j':
      case 'J':
        out += "%" + width + "j";
        break;
      case 'a':
        out += array ? "%" + width + "a" : "4294967294";  // as Slurm has it where there is no array
        break;
      case 'N':
        out += "%n";
        break;
      case 'n':
      case 't':
        out += "0";
        break;
      case 's':
        out += "batch";
        break;
      case 'u':
      case 'x':
        out += std::string("%") + letter;
        break;
      case '%':
        out += "%%";
        break;
      default:
        out += "%%" + width;
        if (letter != 0) out += letter;
        break;
    }
  }
  return out;
}

}  // namespace berth::tools::slurm
