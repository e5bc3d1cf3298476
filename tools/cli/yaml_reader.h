// What the readers of YAML files share: errors that begin with FILE:LINE, and values of the right kind.
#pragma once

#include <string>
#include <string_view>
#include <vector>
#include <yaml-cpp/yaml.h>

#include "state/result.h"

namespace berth::tools {

class YamlReader {
 public:
  explicit YamlReader(std::string file) : file_(std::move(file)) {}

 protected:
  static std::string kind_of(const YAML::Node& node);
  std::string at(const YAML::Node& node) const;  // "FILE:LINE"
  state::Error wrong(const YAML::Node& node, const std::string& what) const;
  state::Error wrong(const YAML::Node& node, const std::string& key, const std::string& what) const;
  state::Result<std::string> text(const YAML::Node& node, const std::string& key) const;
  state::Result<bool> truth(const YAML::Node& node, const std::string& key) const;
  // A list of words, or one word.
  state::Result<std::vector<std::string>> words(const YAML::Node& node, const std::string& key) const;
  // NAME=VALUE words, of a mapping or of a list.
  state::Result<std::vector<std::string>> pairs(const YAML::Node& node, const std::string& key) const;
  state::Error unknown(const YAML::Node& node, const std::string& name, const std::vector<std::string>& known) const;

  std::string file_;
};

bool parse_yaml_bool(const std::string& text, bool& out);
// The only document of the text, which is about a `what` ("job") or several.
state::Result<YAML::Node> load_yaml(std::string_view text, const std::string& file, const std::string& what);
// Reads at most `most` bytes; "-" is standard input.
state::Result<std::string> read_text_file(const std::string& path, std::size_t most);

}  // namespace berth::tools
