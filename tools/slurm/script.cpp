#include "tools/slurm/script.h"

#include <algorithm>
#include <fmt/format.h>

#include "tools/cli/text.h"

namespace berth::tools::slurm {

using state::Error;
using state::ErrorCode;

namespace {

Error bad(std::string message) { return Error{ErrorCode::kInvalid, "", std::move(message), 0}; }

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

// -N name -q queue -o out -e err -l … -A account -t array -h -p priority -j oe -r y|n -m … -M … -V -S -d -W
std::vector<std::string> from_pbs(const std::vector<std::string>& words) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.size() < 2 || word[0] != '-') continue;
    const auto value = [&] {
      return word.size() > 2 ? word.substr(2) : i + 1 < words.size() ? words[++i] : std::string();
    };
    switch (word[1]) {
      case 'N':
        out.push_back("--job-name=" + value());
        break;
      case 'q':
        out.push_back("--partition=" + value());
        break;
      case 'o':
        out.push_back("--output=" + value());
        break;
      case 'e':
        out.push_back("--error=" + value());
        break;
      case 'A':
        out.push_back("--account=" + value());
        break;
      case 'J':
      case 't':
        out.push_back("--array=" + value());
        break;
      case 'a':
        out.push_back("--begin=" + value());
        break;
      case 'd':
        out.push_back("--chdir=" + value());
        break;
      case 'h':
        out.emplace_back("--hold");
        break;
      case 'l':
        add_pbs_resources(value(), out);
        break;
      case 'r':
        out.emplace_back(value() == "n" ? "--no-requeue" : "--requeue");
        break;
      case 'V':
        break;  // the whole environment: the default
      default:
        (void)value();
        break;
    }
  }
  return out;
}

// -J name -q queue -o out -e err -n tasks -W [h:]m -m hosts -M memory -P project -x
std::vector<std::string> from_bsub(const std::vector<std::string>& words) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.size() < 2 || word[0] != '-') continue;
    const auto value = [&] {
      return word.size() > 2 ? word.substr(2) : i + 1 < words.size() ? words[++i] : std::string();
    };
    switch (word[1]) {
      case 'J':
        out.push_back("--job-name=" + value());
        break;
      case 'q':
        out.push_back("--partition=" + value());
        break;
      case 'o':
        out.push_back("--output=" + value());
        break;
      case 'e':
        out.push_back("--error=" + value());
        break;
      case 'n':
        out.push_back("--ntasks=" + value());
        break;
      case 'm':
        out.push_back("--nodelist=" + value());
        break;
      case 'M':
        out.push_back("--mem=" + value());
        break;
      case 'P':
        out.push_back("--account=" + value());
        break;
      case 'x':
        out.emplace_back("--exclusive");
        break;
      case 'W': {
        const std::string time = value();
        out.push_back("--time=" + (time.find(':') != std::string::npos ? time + ":00" : time));
        break;
      }
      default:
        (void)value();
        break;
    }
  }
  return out;
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
    if (!parsed) return bad(fmt::format("line {} of the script: {}", number, parsed.error().message));
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
