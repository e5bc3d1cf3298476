#include "state/text.h"

#include <algorithm>
#include <cstdint>
#include <map>

namespace berth::state {

std::string shown(std::string_view text) {
  constexpr std::size_t kShownMax = 64;
  std::string out = "'";
  for (const char c : text.substr(0, kShownMax)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  out += text.size() > kShownMax ? "…'" : "'";
  return out;
}

namespace {

std::string padded(std::int64_t number, std::size_t width) {
  std::string text = std::to_string(number);
  return text.size() < width ? std::string(width - text.size(), '0') + text : text;
}

}  // namespace

// Names that differ in their last number alone stand together.
std::string host_list(const std::vector<std::string>& names) {
  struct Numbered {
    std::int64_t number;
    std::size_t width;  // of one with zeros in front; 0: as it is
  };
  std::map<std::string, std::vector<Numbered>> groups;
  std::vector<std::string> order;
  for (const std::string& name : names) {
    std::size_t at = name.size();
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9' && name.size() - at < 9) --at;
    const std::string prefix = name.substr(0, at);
    const std::string tail = name.substr(at);
    const bool plain = tail.empty();
    const std::string key = plain ? name + std::string(1, '\0') : prefix;
    if (!groups.contains(key)) order.push_back(key);
    const bool zeros = tail.size() > 1 && tail[0] == '0';
    groups[key].push_back({plain ? -1 : std::stoll(tail), zeros ? tail.size() : 0});
  }
  std::string out;
  for (const std::string& key : order) {
    auto& members = groups[key];
    if (!out.empty()) out += ',';
    if (members[0].number < 0) {
      out += key.substr(0, key.size() - 1);
      continue;
    }
    // With zeros in front somewhere, all of the group are as wide.
    std::size_t width = 0;
    for (const Numbered& m : members) width = std::max(width, m.width);
    std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
    const auto text = [&](std::int64_t n) { return padded(n, width); };
    if (members.size() == 1) {
      out += key + text(members[0].number);
      continue;
    }
    out += key + "[";
    for (std::size_t i = 0; i < members.size();) {
      std::size_t last = i;
      while (last + 1 < members.size() && members[last + 1].number <= members[last].number + 1) ++last;
      out += (i == 0 ? "" : ",") + text(members[i].number);
      if (members[last].number != members[i].number) out += "-" + text(members[last].number);
      i = last + 1;
    }
    out += "]";
  }
  return out;
}

std::string per_node_text(const std::vector<std::uint32_t>& counts) {
  std::string text;
  for (std::size_t i = 0; i < counts.size();) {
    std::size_t end = i + 1;
    while (end < counts.size() && counts[end] == counts[i]) ++end;
    text += (text.empty() ? "" : ",") + std::to_string(counts[i]);
    if (end - i > 1) text += "(x" + std::to_string(end - i) + ")";
    i = end;
  }
  return text;
}

}  // namespace berth::state
