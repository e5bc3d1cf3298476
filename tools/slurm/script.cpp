#include "tools/slurm/script.h"

#include <algorithm>
#include <fmt/format.h>

#include "tools/cli/text.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using state::Error;
using state::ErrorCode;

namespace {

// "nodes=1:ppn=4,walltime=1:00:00,mem=2gb" of #PBS -l
void add_pbs_resources(std::string_view text, std::vector<std::string>& out) {
  for (const std::string& part : split(text, ',')) {
    for (const std::string& item : split(part, ':')) {
      if (item.starts_with("nodes=")) {
        out.push_back("--nodes=" + item.substr(6));
      } else if (item.starts_with("ppn=")) {
        out.push_back("--ntasks-per-node=" + item.substr(4));
      } else if (item.starts_with("ncpus=")) {
        out.push_back("--mincpus=" + item.substr(6));
      }
    }
    if (part.starts_with("walltime=")) out.push_back("--time=" + part.substr(9));
    if (part.starts_with("mem=") || part.starts_with("vmem=")) {
      out.push_back("--mem=" + part.substr(part.find('=') + 1));
    }
  }
}

// Options of another system, a letter each: which of ours one with a value is, and what to do with the others.
using Letters = std::vector<std::pair<char, const char*>>;
template <class Other>
std::vector<std::string> translated(const std::vector<std::string>& words, const Letters& letters, Other&& other) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.size() < 2 || word[0] != '-') continue;
    const auto value = [&] {
      return word.size() > 2 ? word.substr(2) : i + 1 < words.size() ? words[++i] : std::string();
    };
    const auto known = std::find_if(letters.begin(), letters.end(), [&](const auto& l) { return l.first == word[1]; });
    if (known != letters.end()) {
      out.push_back(std::string("--") + known->second + "=" + value());
    } else {
      other(word[1], value, out);
    }
  }
  return out;
}

// #PBS: these, -h, -l …, -r y|n; -V is the default; the rest has no effect.
std::vector<std::string> from_pbs(const std::vector<std::string>& words) {
  static const Letters kLetters{{'N', "job-name"}, {'q', "partition"}, {'o', "output"},
                                {'e', "error"},    {'A', "account"},   {'J', "array"},
                                {'t', "array"},    {'a', "begin"},     {'d', "chdir"}};
  return translated(words, kLetters, [](char letter, const auto& value, std::vector<std::string>& out) {
    if (letter == 'h') {
      out.emplace_back("--hold");
    } else if (letter == 'l') {
      add_pbs_resources(value(), out);
    } else if (letter == 'r') {
      out.emplace_back(value() == "n" ? "--no-requeue" : "--requeue");
    } else if (letter != 'V') {
      (void)value();
    }
  });
}

// #BSUB: these, -x, -W [h:]m; the rest has no effect.
std::vector<std::string> from_bsub(const std::vector<std::string>& words) {
  static const Letters kLetters{{'J', "job-name"}, {'q', "partition"}, {'o', "output"}, {'e', "error"},
                                {'n', "ntasks"},   {'m', "nodelist"},  {'M', "mem"},    {'P', "account"}};
  return translated(words, kLetters, [](char letter, const auto& value, std::vector<std::string>& out) {
    if (letter == 'x') {
      out.emplace_back("--exclusive");
    } else if (letter == 'W') {
      const std::string time = value();
      out.push_back("--time=" + (time.find(':') != std::string::npos ? time + ":00" : time));
    } else {
      (void)value();
    }
  });
}

}  // namespace

state::Status check_script(std::string_view script) {
  if (script.empty()) return bad("Batch script is empty!");
  if (std::all_of(script.begin(), script.end(), [](char c) { return c == ' ' || c == '\t' || c == '\n'; })) {
    return bad("Batch script contains only whitespace!");
  }
  if (!script.starts_with("#!")) {
    return bad(
        "This does not look like a batch script.  The first\nsbatch: error: line must start with #! followed by "
        "the path to an interpreter.\nsbatch: error: For instance: #!/bin/sh");
  }
  if (script.find('\0') != std::string_view::npos) {
    return bad("The batch script contains NUL characters; it must be a text file");
  }
  if (script.find("\r\n") != std::string_view::npos) {
    return bad(
        "Batch script contains DOS line breaks (\\r\\n)\nsbatch: error: instead of expected UNIX line breaks (\\n).");
  }
  return state::Unit{};
}

state::Result<std::vector<std::string>> split_words(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool inside = false;
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
    } else if (c == '"' || c == '\'') {
      quote = c;
      inside = true;
    } else if (c == '\\' && i + 1 < line.size()) {
      word += line[++i];
      inside = true;
    } else if (c == ' ' || c == '\t') {
      if (inside) words.push_back(std::exchange(word, {}));
      inside = false;
    } else if (c == '#' && !inside) {
      break;
    } else {
      word += c;
      inside = true;
    }
  }
  if (quote != 0) return bad(fmt::format("{}: unmatched {} in batch script", line, quote));
  if (inside) words.push_back(word);
  return words;
}

state::Result<Given> script_options(const CommandTable& table, std::string_view script, bool with_pbs) {
  Given given, translated;
  std::size_t number = 0;
  while (!script.empty()) {
    const std::size_t end = std::min(script.find('\n'), script.size());
    const std::string_view line = script.substr(0, end);
    script.remove_prefix(std::min(end + 1, script.size()));
    ++number;
    const std::size_t first = line.find_first_not_of(" \t");
    if (first == std::string_view::npos) continue;
    if (line[first] != '#') break;
    std::string_view rest;
    char kind = 0;
    for (const auto& [mark, letter] :
         {std::pair{"#SBATCH", 'S'}, std::pair{"#SLURM", 'S'}, std::pair{"#PBS", 'P'}, std::pair{"#BSUB", 'B'}}) {
      const std::string_view head = mark;
      if (!line.starts_with(head) || line.size() == head.size() ||
          (line[head.size()] != ' ' && line[head.size()] != '\t'))
        continue;
      rest = line.substr(head.size());
      kind = letter;
    }
    if (kind == 0 || (kind != 'S' && !with_pbs)) continue;
    auto words = split_words(rest);
    if (!words) return words.error();
    if (kind != 'S') *words = kind == 'P' ? from_pbs(*words) : from_bsub(*words);
    auto parsed = parse(table, *words);
    if (!parsed) {
      Error error = parsed.error();
      error.message = fmt::format("line {} of the script: {}", number, error.message);
      return error;
    }
    if (!parsed->words.empty()) {
      return bad(fmt::format("line {} of the script: \"{}\" is no option", number, parsed->words.front()));
    }
    Given& to = kind == 'S' ? given : translated;
    // A later line wins.
    parsed->fill_from(to);
    to = std::move(*parsed);
  }
  given.fill_from(translated);
  return given;
}

}  // namespace berth::tools::slurm
