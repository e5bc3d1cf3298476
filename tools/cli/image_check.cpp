#include "tools/cli/image_check.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <vector>
#include <yaml-cpp/yaml.h>

#include "state/image_name.h"
#include "tools/cli/text.h"

namespace berth::tools {

namespace {

using state::invalid;
using state::Status;
using state::Unit;

constexpr const char* kTagAnnotation = "org.opencontainers.image.ref.name";
constexpr std::size_t kIndexBytesMax = 4U << 20;
constexpr std::size_t kTagsNamed = 8;

// The tags of an index.json, which is YAML as all JSON is.
std::vector<std::string> tags_of(const std::string& text) {
  std::vector<std::string> tags;
  const YAML::Node index = YAML::Load(text);
  for (const YAML::Node& manifest : index["manifests"]) {
    const YAML::Node annotations = manifest["annotations"];
    const YAML::Node tag = annotations ? annotations[kTagAnnotation] : YAML::Node(YAML::NodeType::Undefined);
    if (tag && tag.IsScalar()) tags.push_back(tag.Scalar());
  }
  return tags;
}

std::string list_of(const std::vector<std::string>& tags) {
  std::string text;
  for (std::size_t i = 0; i < tags.size() && i < kTagsNamed; ++i) text += (i == 0 ? "" : ", ") + tags[i];
  if (tags.size() > kTagsNamed) text += " and " + std::to_string(tags.size() - kTagsNamed) + " more";
  return text;
}

}  // namespace

Status check_image(const std::string& image, std::string& warning) {
  const auto name = state::ImageName::parse(image, "image");
  if (!name) return name.error();
  if (!name->is_file()) return Unit{};
  const std::string& directory = name->place;
  const std::string& tag = name->tag;
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0) {
    if (errno == ENOENT) warning = "there is no " + printable(directory) + " on this machine; the nodes need it";
    return Unit{};
  }
  if (name->kind != state::ImageName::Kind::kLayout) {
    const bool wants_directory = name->kind == state::ImageName::Kind::kRootfs;
    if (wants_directory == S_ISDIR(info.st_mode)) return Unit{};
    return invalid("image", printable(directory) + (wants_directory ? " is not a directory" : " is not a file"));
  }
  std::ifstream file(directory + "/index.json", std::ios::binary);
  if (!file) {
    if (errno == EACCES) return Unit{};  // the node will see
    return invalid("image", printable(directory) + " is not an OCI layout: there is no index.json in it");
  }
  std::ostringstream text;
  text << file.rdbuf();
  if (text.str().size() > kIndexBytesMax) return Unit{};
  std::vector<std::string> tags;
  try {
    tags = tags_of(text.str());
  } catch (const YAML::Exception&) {
    return invalid("image", printable(directory) + "/index.json is not JSON");
  }
  for (const std::string& known : tags) {
    if (known == tag) return Unit{};
  }
  return invalid("image", "there is no tag '" + printable(tag) + "' in " + printable(directory) + "; " +
                              (tags.empty() ? "it has none" : "accepted: " + printable(list_of(tags))));
}

}  // namespace berth::tools
