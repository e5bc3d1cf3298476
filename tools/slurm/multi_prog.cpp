#include "tools/slurm/multi_prog.h"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <optional>

#include "state/index_set.h"
#include "tools/slurm/script.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

// What is wrong with a line: its number is the error's field.
Error bad_line(std::size_t number, std::string message) {
  return Error{ErrorCode::kInvalid, std::to_string(number), std::move(message), 0};
}

struct Line {
  std::size_t number = 0;  // in the file
  std::vector<std::uint32_t> tasks;
  std::vector<std::string> words;
};

// A word in quotes, but for %t and %o.
std::string quoted_word(std::string_view word) {
  std::string out = "'";
  for (std::size_t i = 0; i < word.size(); ++i) {
    const char next = i + 1 < word.size() ? word[i + 1] : '\0';
    if (word[i] == '%' && (next == 't' || next == 'o')) {
      out += next == 't' ? "'\"$SLURM_PROCID\"'" : "'\"$o\"'";
      ++i;
    } else {
      out += word[i] == '\'' ? std::string("'\\''") : std::string(1, word[i]);
    }
  }
  return out + "'";
}

bool uses_place(const Line& line) {
  return std::any_of(line.words.begin(), line.words.end(),
                     [](const std::string& word) { return word.find("%o") != std::string::npos; });
}

// Lines that end with '\' are one with the next.
std::vector<std::pair<std::size_t, std::string>> joined_lines(std::string_view text) {
  std::vector<std::pair<std::size_t, std::string>> lines;
  bool goes_on = false;
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    const bool more = line.ends_with('\\');
    if (more) line.pop_back();
    if (goes_on) {
      lines.back().second += line;
    } else {
      lines.emplace_back(number, std::move(line));
    }
    goes_on = more;
  }
  return lines;
}

Result<std::vector<Line>> parse_lines(std::string_view text, std::uint32_t tasks) {
  std::vector<Line> lines;
  std::vector<bool> named(tasks, false);
  std::optional<Line> rest;
  for (const auto& [number, whole] : joined_lines(text)) {
    auto words = split_words(whole);
    if (!words) return bad_line(number, words.error().message);
    if (words->empty()) continue;
    Line line{number, {}, {words->begin() + 1, words->end()}};
    if (line.words.empty()) return bad_line(number, fmt::format("no program behind \"{}\"", words->front()));
    if (words->front() == "*") {
      if (!rest) rest = std::move(line);
      continue;
    }
    const auto set = IndexSet::parse(words->front(), "tasks");
    if (!set) return bad_line(number, fmt::format("Invalid task range specification ({})", words->front()));
    for (std::uint32_t i = 0; i < set->size(); ++i) {
      const std::uint32_t task = set->at(i);
      if (task >= tasks) break;
      if (named[task]) return bad_line(number, fmt::format("task {} has a program already", task));
      named[task] = true;
      line.tasks.push_back(task);
    }
    if (!line.tasks.empty()) lines.push_back(std::move(line));
  }
  std::vector<std::uint32_t> left;
  for (std::uint32_t task = 0; task < tasks; ++task) {
    if (!named[task]) left.push_back(task);
  }
  if (!left.empty() && !rest) return bad(fmt::format("no record for task id {}", left.front()));
  if (!left.empty()) {
    rest->tasks = std::move(left);
    lines.push_back(std::move(*rest));
  }
  return lines;
}

}  // namespace

Result<std::string> multi_prog_script(std::string_view text, std::uint32_t tasks) {
  const auto lines = parse_lines(text, tasks);
  if (!lines) return lines.error();
  std::string script = "case $SLURM_PROCID in\n";
  for (const Line& line : *lines) {
    std::string pattern, list;
    for (const std::uint32_t task : line.tasks) {
      pattern += (pattern.empty() ? "" : "|") + std::to_string(task);
      list += " " + std::to_string(task);
    }
    script += pattern + ") ";
    if (uses_place(line)) {
      script += "o=0; for i in" + list + "; do [ $i = $SLURM_PROCID ] && break; o=$((o+1)); done; ";
    }
    script += "exec";
    for (const std::string& word : line.words) script += " " + quoted_word(word);
    script += " ;;\n";
  }
  return script + "esac\n";
}

Result<std::vector<std::string>> multi_prog_words(const std::string& path, std::uint32_t tasks) {
  constexpr std::size_t kScriptMax = 120 * 1024;  // one word of a command line holds no more
  std::ifstream file(path);
  if (!file) return bad("Could not open multi_prog config file " + path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  auto script = multi_prog_script(text, tasks);
  if (!script && script.error().field.empty()) {
    return bad(fmt::format("Configuration file {} invalid, {}", path, script.error().message));
  }
  if (!script) {
    return bad(fmt::format("{}\nsrun: error: Line {} of configuration file {} invalid", script.error().message,
                           script.error().field, path));
  }
  if (script->size() > kScriptMax) return bad(fmt::format("Configuration file {} is too long", path));
  return std::vector<std::string>{"/bin/sh", "-c", std::move(*script)};
}

}  // namespace berth::tools::slurm
