#include "tools/slurm/slurm_conf.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <optional>

#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

constexpr int kDepthMax = 16;  // of files that include files

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string without_comment(std::string_view line) {
  std::string out;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size() && line[i + 1] == '#') {
      out += line[++i];
    } else if (line[i] == '#') {
      break;
    } else {
      out += line[i];
    }
  }
  while (!out.empty() && blank(out.back())) out.pop_back();
  return out;
}

// Name=value pairs; nullopt: something else.
std::optional<std::vector<std::pair<std::string, std::string>>> fields_of(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> fields;
  std::size_t at = 0;
  const auto skip = [&] {
    while (at < text.size() && blank(text[at])) ++at;
  };
  for (skip(); at < text.size(); skip()) {
    const std::size_t begin = at;
    while (at < text.size() && !blank(text[at]) && text[at] != '=') ++at;
    std::string name(text.substr(begin, at - begin));
    skip();
    if (at >= text.size() || text[at] != '=' || name.empty()) return std::nullopt;
    ++at;
    skip();
    std::string value;
    if (at < text.size() && text[at] == '"') {
      const std::size_t end = text.find('"', at + 1);
      if (end == std::string_view::npos) return std::nullopt;
      value = text.substr(at + 1, end - at - 1);
      at = end + 1;
    } else {
      while (at < text.size() && !blank(text[at])) value += text[at++];
    }
    fields.emplace_back(std::move(name), std::move(value));
  }
  return fields;
}

Result<std::vector<ConfLine>> read_file(const std::string& path, int depth) {
  std::ifstream file(path);
  std::error_code ignored;
  if (!file || std::filesystem::is_directory(path, ignored)) {
    return Error{ErrorCode::kInvalid, "", "cannot read " + path, 0};
  }
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return parse_conf(text, path, [&](const std::string& name) -> Result<std::vector<ConfLine>> {
    if (depth >= kDepthMax) return Error{ErrorCode::kInvalid, "", "files include each other: " + name, 0};
    const std::filesystem::path other(name);
    return read_file(other.is_absolute() ? name : (std::filesystem::path(path).parent_path() / other).string(),
                     depth + 1);
  });
}

}  // namespace

std::string ConfLine::get(std::string_view name) const {
  for (const auto& [known, value] : fields) {
    if (lower(known) == lower(name)) return value;
  }
  return "";
}

Result<std::vector<ConfLine>> parse_conf(std::string_view text, const std::string& file, const IncludeConf& include) {
  std::vector<ConfLine> lines;
  std::string whole;
  std::size_t number = 0, first = 0;
  while (!text.empty()) {
    ++number;
    if (whole.empty()) first = number;
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string line = without_comment(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    const bool goes_on = line.ends_with('\\') && !text.empty();
    if (line.ends_with('\\')) line.back() = ' ';
    whole += line;
    if (goes_on) continue;
    const std::size_t begin = whole.find_first_not_of(" \t\r");
    const std::string content = begin == std::string::npos ? "" : whole.substr(begin);
    whole.clear();
    if (content.empty()) continue;
    const auto wrong = [&](const std::string& what) {
      return Error{ErrorCode::kInvalid, "", fmt::format("{}:{}: {}", file, first, what), 0};
    };
    if (lower(content.substr(0, 7)) == "include" && content.size() > 7 && blank(content[7])) {
      const auto more = include(content.substr(content.find_first_not_of(" \t", 7)));
      if (!more) return wrong(more.error().message);
      lines.insert(lines.end(), more->begin(), more->end());
      continue;
    }
    auto fields = fields_of(content);
    if (!fields) return wrong("\"" + content.substr(0, 80) + "\" is no line of Name=value");
    lines.push_back({file, first, std::move(*fields)});
  }
  return lines;
}

Result<std::vector<ConfLine>> read_conf(const std::string& path) { return read_file(path, 0); }

}  // namespace berth::tools::slurm
