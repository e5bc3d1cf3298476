#include "tools/cli/compose_text.h"

#include <cctype>
#include <utility>

#include "state/units.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

// "10s", "1m30s", "500ms" as Compose writes times.
Result<std::int64_t> compose_time(std::string_view text) {
  std::int64_t total = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    std::size_t digits = 0;
    while (digits < rest.size() && rest[digits] >= '0' && rest[digits] <= '9') ++digits;
    const auto number = parse_integer(rest.substr(0, digits), "", 0, 1'000'000'000);
    rest.remove_prefix(digits);
    const std::string_view unit = rest.starts_with("ms") ? "ms" : rest.substr(0, 1);
    const std::int64_t factor = unit == "ms"  ? 1
                                : unit == "s" ? 1000
                                : unit == "m" ? 60'000
                                : unit == "h" ? 3'600'000
                                              : 0;
    if (!number || factor == 0) return invalid("", "accepted: a length of time such as 10s, 1m30s or 500ms");
    total += *number * factor;
    rest.remove_prefix(unit.size());
  }
  return total;
}

// "50M", "2g", "1024kb", "300b"
Result<std::uint64_t> compose_mib(std::string_view text) {
  std::size_t digits = 0;
  while (digits < text.size() && (text[digits] >= '0' && text[digits] <= '9')) ++digits;
  const auto number = parse_integer(text.substr(0, digits), "", 0, INT64_MAX / (1 << 20));
  std::string unit(text.substr(digits));
  for (char& c : unit) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  if (unit.size() == 2 && unit[1] == 'b') unit.pop_back();
  const int shift = unit.empty() || unit == "b" ? 0 : unit == "k" ? 10 : unit == "m" ? 20 : unit == "g" ? 30 : -1;
  if (!number || shift < 0) return invalid("", "accepted: a size such as 512M, 2g or 100kb");
  constexpr std::uint64_t kMib = 1 << 20;
  return ((static_cast<std::uint64_t>(*number) << shift) + kMib - 1) / kMib;
}

// ${NAME}, ${NAME:-default}, ${NAME-default}, $NAME, $$
Result<std::string> interpolate(const std::string& text, const std::map<std::string, std::string>& variables) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$') {
      out += text[i];
      continue;
    }
    if (i + 1 < text.size() && text[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    const bool braces = i + 1 < text.size() && text[i + 1] == '{';
    std::size_t end = i + (braces ? 2 : 1);
    const std::size_t from = end;
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_')) ++end;
    const std::string name = text.substr(from, end - from);
    if (name.empty()) return invalid("", "'$' names no variable; accepted: ${NAME}, ${NAME:-default}, or $$ for '$'");
    const auto found = variables.find(name);
    std::string value = found == variables.end() ? "" : found->second;
    if (!braces) {
      out += value;
      i = end - 1;
      continue;
    }
    const std::size_t close = text.find('}', end);
    if (close == std::string::npos) return invalid("", "'${" + printable(name) + "' has no '}'");
    std::string_view rest(text.data() + end, close - end);
    const bool also_empty = rest.starts_with(":");
    if (also_empty) rest.remove_prefix(1);
    const bool missing = found == variables.end() || (also_empty && value.empty());
    if (rest.starts_with("-")) {
      if (missing) value = rest.substr(1);
    } else if (rest.starts_with("?")) {
      if (missing) return invalid("", "variable '" + name + "' is not set: " + printable(std::string(rest.substr(1))));
    } else if (rest.starts_with("+")) {
      value = missing ? "" : std::string(rest.substr(1));
    } else if (!rest.empty() || also_empty) {
      return invalid("", "'${" + printable(text.substr(from, close - from)) + "}' is not understood");
    }
    out += value;
    i = close;
  }
  return out;
}

// A command line in words, with quotes and backslashes as a shell has them.
Result<std::vector<std::string>> shell_words(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else if (c == '\\' && quote == '"' && i + 1 < line.size()) {
        word += line[++i];
      } else {
        word += c;
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
      in_word = true;
    } else if (c == '\\' && i + 1 < line.size()) {
      word += line[++i];
      in_word = true;
    } else if (c == ' ' || c == '\t' || c == '\n') {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0) return invalid("", "a quote is not closed");
  if (in_word) words.push_back(word);
  return words;
}

}  // namespace berth::tools
