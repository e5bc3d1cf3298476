#include "placement/switch_tree.h"

#include <algorithm>
#include <map>

#include "state/condition.h"
#include "state/text.h"

namespace berth::placement {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::shown;

namespace {

constexpr const char* kAccepted =
    "accepted: SwitchName=NAME Nodes=LIST, SwitchName=NAME Switches=LIST, BlockName=NAME Nodes=LIST";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

struct Line {
  std::string name, nodes, switches;
  std::size_t number = 0;
};

Error wrong(std::size_t line, const std::string& what) {
  return {ErrorCode::kInvalid, "topology", "line " + std::to_string(line) + ": " + what, 0};
}

// KEY=VALUE words of one line, comments gone; false: `error` says why.
bool read_line(std::string_view text, Line& line, Error& error) {
  while (!text.empty()) {
    const std::size_t start = text.find_first_not_of(" \t\r");
    if (start == std::string_view::npos) break;
    text.remove_prefix(start);
    const std::string_view word = text.substr(0, text.find_first_of(" \t\r"));
    text.remove_prefix(word.size());
    const std::size_t equals = word.find('=');
    const std::string key = lower(word.substr(0, equals));
    const std::string value = equals == std::string_view::npos ? "" : std::string(word.substr(equals + 1));
    if (value.empty()) {
      error = wrong(line.number, shown(word) + " is no KEY=VALUE; " + kAccepted);
      return false;
    }
    if (key == "linkspeed" || key == "blocksizes") continue;
    std::string* field = key == "switchname" || key == "blockname" ? &line.name
                         : key == "nodes"                          ? &line.nodes
                         : key == "switches"                       ? &line.switches
                                                                   : nullptr;
    if (field == nullptr || !field->empty()) {
      error =
          wrong(line.number, shown(word.substr(0, equals)) +
                                 (field == nullptr ? std::string(" is not known; ") + kAccepted : " is there twice"));
      return false;
    }
    *field = value;
  }
  return true;
}

}  // namespace

Result<SwitchTree> SwitchTree::parse(std::string_view text) {
  std::vector<Line> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    std::string_view raw = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    Line line;
    line.number = number;
    Error error;
    if (!read_line(raw.substr(0, raw.find('#')), line, error)) return error;
    if (line.name.empty() && line.nodes.empty() && line.switches.empty()) continue;
    if (line.name.empty()) return wrong(number, std::string("a line without SwitchName or BlockName; ") + kAccepted);
    if (line.nodes.empty() == line.switches.empty()) {
      return wrong(number, "switch " + shown(line.name) + " needs either Nodes or Switches");
    }
    if (lines.size() >= kSwitchesMax) return wrong(number, "more than 100000 switches");
    lines.push_back(std::move(line));
  }

  SwitchTree tree;
  std::map<std::string, std::uint32_t> known;
  const auto add = [&](const Line& line) -> std::uint32_t {
    const auto number = static_cast<std::uint32_t>(tree.switches_.size());
    tree.switches_.push_back({line.name, kNone, 0, {}, {}});
    known.emplace(line.name, number);
    return number;
  };
  for (const Line& line : lines) {
    if (line.nodes.empty()) continue;
    if (known.contains(line.name)) return wrong(line.number, "switch " + shown(line.name) + " is there twice");
    const std::uint32_t leaf = add(line);
    tree.switches_[leaf].leaves = {leaf};
    auto nodes = state::parse_name_list(line.nodes, "topology");
    if (!nodes) return wrong(line.number, nodes.error().message);
    if (tree.leaf_of_.size() + nodes->size() > kNodesMax) return wrong(line.number, "more than 2000000 nodes");
    for (std::string& node : *nodes) {
      if (!tree.leaf_of_.emplace(std::move(node), leaf).second) {
        return wrong(line.number, "a node of switch " + shown(line.name) + " is below another one as well");
      }
    }
  }
  // Those above: each when all below it are known, until nothing more comes.
  struct Above {
    const Line* line;
    std::vector<std::string> below;
  };
  std::vector<Above> open;
  std::size_t names = 0;
  for (const Line& line : lines) {
    if (!line.nodes.empty()) continue;
    auto below = state::parse_name_list(line.switches, "topology");
    if (!below) return wrong(line.number, below.error().message);
    names += below->size();
    if (names > kSwitchesMax) return wrong(line.number, "more than 100000 switches below others");
    open.push_back({&line, std::move(*below)});
  }
  for (bool more = true; more && !open.empty();) {
    more = false;
    std::vector<Above> left;
    for (Above& at : open) {
      const Line& line = *at.line;
      const auto is_known = [&](const std::string& name) { return known.contains(name); };
      if (!std::all_of(at.below.begin(), at.below.end(), is_known)) {
        left.push_back(std::move(at));
        continue;
      }
      if (is_known(line.name)) return wrong(line.number, "switch " + shown(line.name) + " is there twice");
      const std::uint32_t number = add(line);
      for (const std::string& name : at.below) {
        const std::uint32_t child = known.at(name);
        if (tree.switches_[child].above != kNone) {
          return wrong(line.number, "switch " + shown(name) + " is below two others");
        }
        tree.switches_[child].above = number;
        Switch& self = tree.switches_[number];
        const Switch& its = tree.switches_[child];
        self.switches.push_back(child);
        if (its.height + 1 > kLevelsMax) return wrong(line.number, "more than 16 levels of switches above each other");
        self.height = std::max(self.height, its.height + 1);
        self.leaves.insert(self.leaves.end(), its.leaves.begin(), its.leaves.end());
      }
      more = true;
    }
    open = std::move(left);
  }
  if (!open.empty()) {
    const Line& line = *open[0].line;
    return wrong(line.number, "switch " + shown(line.name) +
                                  " has one below it that is not there, or is below itself: " + shown(line.switches));
  }
  return tree;
}

std::uint32_t SwitchTree::leaf_of(const std::string& node) const {
  const auto found = leaf_of_.find(node);
  return found == leaf_of_.end() ? kNone : found->second;
}

}  // namespace berth::placement
