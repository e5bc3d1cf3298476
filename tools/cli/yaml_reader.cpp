#include "tools/cli/yaml_reader.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>
#include <sstream>
#include <yaml-cpp/eventhandler.h>

#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

class IgnoreEvents : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// The obvious way, YAML::LoadAll, makes documents without end of some texts (yaml-cpp 0.7: "\n!,'"); two are enough
// here.
bool has_several_documents(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  IgnoreEvents ignore;
  return parser.HandleNextDocument(ignore) && parser.HandleNextDocument(ignore);
}

}  // namespace

bool parse_yaml_bool(const std::string& text, bool& out) {
  static const std::set<std::string> yes{"true", "True", "TRUE", "yes", "Yes", "on"};
  static const std::set<std::string> no{"false", "False", "FALSE", "no", "No", "off"};
  out = yes.contains(text);
  return out || no.contains(text);
}

std::string YamlReader::kind_of(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return "a single value";
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Map:
      return "a mapping";
    default:
      return "nothing";
  }
}

std::string YamlReader::at(const YAML::Node& node) const {
  const int line = node.Mark().line;
  return line < 0 ? file_ : file_ + ":" + std::to_string(line + 1);
}

Error YamlReader::wrong(const YAML::Node& node, const std::string& what) const {
  return invalid("", at(node) + ": " + what);
}

Error YamlReader::wrong(const YAML::Node& node, const std::string& key, const std::string& what) const {
  return wrong(node, "'" + printable(clip(key, 64)) + "': " + what);
}

Result<std::string> YamlReader::text(const YAML::Node& node, const std::string& key) const {
  if (!node.IsScalar()) return wrong(node, key, kind_of(node) + " is not accepted; accepted: a single value");
  if (node.Scalar().find('\0') != std::string::npos) return wrong(node, key, "has a NUL byte");
  return node.Scalar();
}

Result<bool> YamlReader::truth(const YAML::Node& node, const std::string& key) const {
  bool out = false;
  if (node.IsScalar() && parse_yaml_bool(node.Scalar(), out)) return out;
  return wrong(node, key, "accepted: true or false");
}

Result<std::vector<std::string>> YamlReader::words(const YAML::Node& node, const std::string& key) const {
  std::vector<std::string> out;
  if (node.IsScalar()) return std::vector<std::string>{node.Scalar()};
  if (!node.IsSequence()) return wrong(node, key, kind_of(node) + " is not accepted; accepted: a list");
  for (const YAML::Node& item : node) {
    auto word = text(item, key);
    if (!word) return word.error();
    out.push_back(std::move(*word));
  }
  return out;
}

Result<std::vector<std::string>> YamlReader::pairs(const YAML::Node& node, const std::string& key) const {
  if (!node.IsMap()) return words(node, key);
  std::vector<std::string> out;
  for (const auto& entry : node) {
    const bool good = entry.first.IsScalar() && (entry.second.IsScalar() || entry.second.IsNull());
    if (!good) return wrong(entry.first, key, "accepted: NAME: VALUE, each a single value");
    const std::string value = entry.second.IsNull() ? "" : entry.second.Scalar();
    out.push_back(entry.first.Scalar() + "=" + value);
  }
  return out;
}

Error YamlReader::unknown(const YAML::Node& node, const std::string& name,
                          const std::vector<std::string>& known) const {
  const std::string meant = nearest(name, known);
  return wrong(node, name,
               "is unknown" + (meant.empty() ? "" : ", did you mean '" + meant + "'?") +
                   " (accepted: " + join(known, ", ") + ")");
}

Result<YAML::Node> load_yaml(std::string_view text, const std::string& file, const std::string& what) {
  try {
    const std::string copy(text);
    if (has_several_documents(copy)) {
      return invalid("", file + ": the file has several documents; list the " + what + "s under '" + what + "s:'");
    }
    YAML::Node document = YAML::Load(copy);
    if (document.IsNull()) return invalid("", file + ": the file has no " + what);
    return document;
  } catch (const YAML::Exception& error) {
    const std::string line = error.mark.line < 0 ? "" : ":" + std::to_string(error.mark.line + 1);
    return invalid("", file + line + ": this is not YAML: " + printable(error.msg));
  } catch (const std::exception& error) {
    return invalid("", file + ": this is not YAML: " + printable(error.what()));
  }
}

Result<std::string> read_text_file(const std::string& path, std::size_t most) {
  std::FILE* file = path == "-" ? stdin : std::fopen(path.c_str(), "re");
  if (file == nullptr) return Error{ErrorCode::kNotFound, "", path + ": cannot be read: " + std::strerror(errno), 0};
  std::string text;
  std::string piece(64U << 10, '\0');
  std::size_t got = 0;
  while (text.size() <= most && (got = std::fread(piece.data(), 1, piece.size(), file)) != 0)
    text.append(piece, 0, got);
  const int failed = std::ferror(file) != 0 ? errno : 0;
  if (file != stdin) std::fclose(file);
  if (failed != 0) return Error{ErrorCode::kNotFound, "", path + ": cannot be read: " + std::strerror(failed), 0};
  if (text.size() > most) return invalid("", path + ": the file is larger than " + std::to_string(most >> 20) + " MiB");
  return text;
}

}  // namespace berth::tools
