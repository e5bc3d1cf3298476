#include "tools/cli/text.h"

#include <algorithm>
#include <cctype>
#include <numeric>

namespace berth::tools {

namespace {

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

void add_paragraph(std::string& out, std::string_view paragraph, std::size_t width, std::size_t indent) {
  std::size_t column = 0;
  for (std::size_t at = 0; at < paragraph.size();) {
    at = paragraph.find_first_not_of(" \n", at);
    if (at == std::string_view::npos) break;
    const std::size_t end = std::min(paragraph.find_first_of(" \n", at), paragraph.size());
    const std::string_view word = paragraph.substr(at, end - at);
    const std::size_t needs = columns_of(word);
    if (column != 0 && column + 1 + needs > width) {
      out += '\n';
      column = 0;
    }
    if (column == 0) {
      out.append(indent, ' ');
      column = indent;
    } else {
      out += ' ';
      ++column;
    }
    out += word;
    column += needs;
    at = end;
  }
  if (column != 0) out += '\n';
}

}  // namespace

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return !continues(c); }));
}

std::string clip(std::string_view text, std::size_t columns) {
  if (columns_of(text) <= columns) return std::string(text);
  if (columns == 0) return "";
  std::size_t bytes = 0;
  for (std::size_t seen = 0; bytes < text.size(); ++bytes) {
    if (!continues(text[bytes]) && seen++ == columns - 1) break;
  }
  return std::string(text.substr(0, bytes)) + "…";
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

std::string reflow(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  std::string paragraph;
  const auto flush = [&] {
    add_paragraph(out, paragraph, width, indent);
    paragraph.clear();
  };
  for (const std::string& line : split(text, '\n')) {
    if (line.empty()) {
      flush();
      if (!out.empty()) out += '\n';
    } else if (line[0] == ' ') {
      flush();
      out += std::string(indent, ' ') + line + '\n';
    } else {
      paragraph += line + '\n';
    }
  }
  flush();
  while (out.size() > 1 && out.ends_with("\n\n")) out.pop_back();
  return out;
}

std::string reindent(std::string_view text, std::size_t indent) {
  const std::vector<std::string> lines = split(text, '\n');
  std::size_t common = std::string::npos;
  for (const std::string& line : lines) {
    const std::size_t blanks = line.find_first_not_of(' ');
    if (blanks != std::string::npos) common = std::min(common, blanks);
  }
  std::string out;
  for (const std::string& line : lines) {
    const bool blank = line.find_first_not_of(' ') == std::string::npos;
    out += blank ? "\n" : std::string(indent, ' ') + line.substr(common) + "\n";
  }
  while (out.ends_with("\n\n")) out.pop_back();
  return out == "\n" ? "" : out;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const std::size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (const std::string& part : parts) {
    if (!out.empty()) out += separator;
    out += part;
  }
  return out;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  // A third of the word may be wrong, but not more than two letters of it.
  std::size_t least = std::min<std::size_t>(2, std::max<std::size_t>(1, word.size() / 3)) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t far = distance(word, candidate);
    if (far < least) {
      least = far;
      best = candidate;
    }
  }
  if (!best.empty() || word.size() < 2) return best;
  for (const std::string& candidate : candidates) {
    if (candidate.starts_with(word)) return candidate;
  }
  return best;
}

std::string with_first_upper(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

std::string with_first_lower(std::string text) {
  // A word or the article, but no name of a value ("N pods") and no abbreviation.
  const bool word = text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0;
  if (!text.empty() && is_upper(text[0]) && (word || text.starts_with("A ")))
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

std::string counted(std::uint64_t count, std::string_view noun) {
  std::string text = std::to_string(count) + " " + std::string(noun);
  if (count != 1) text += 's';
  return text;
}

}  // namespace berth::tools
