#include "tools/cli/deploy_file.h"

#include <algorithm>
#include <map>
#include <set>

#include "state/units.h"
#include "tools/cli/compose_reader.h"
#include "tools/cli/text.h"
#include "tools/cli/yaml_reader.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::size_t kFileBytesMax = 16U << 20;
constexpr std::size_t kFileServicesMax = 10'000;

// ---- Berth's own ----------------------------------------------------------------------------------------------------

class OwnReader : private YamlReader {
 public:
  using YamlReader::YamlReader;

  Result<DeployFile> read(const YAML::Node& root, const YAML::Node& list) {
    DeployFile out;
    for (const auto& entry : root) {
      const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
      if (name == "services") continue;
      if (name != "name") return unknown(entry.first, name, {"name", "services"});
      auto space = text(entry.second, "name");
      if (!space) return space.error();
      out.space = *space;
    }
    if (list.size() > kFileServicesMax) return wrong(list, "services", "at most 10,000 of them are accepted");
    for (const YAML::Node& node : list) {
      if (!node.IsMap()) return wrong(node, "services", "a service is a mapping of fields, not " + kind_of(node));
      ServiceInFile service{ServiceDraft{}, at(node)};
      service.draft.job.clear_environment = true;
      if (Status good = read_service(node, service.draft); !good) return good.error();
      if (service.draft.service.name.empty()) return wrong(node, "name", "is missing: a service has a name");
      out.services.push_back(std::move(service));
    }
    return out;
  }

 private:
  Status read_service(const YAML::Node& map, ServiceDraft& draft) {
    std::set<std::string> seen;
    for (const auto& entry : map) {
      if (!entry.first.IsScalar()) return wrong(entry.first, "a field's name is a single word");
      const std::string& name = entry.first.Scalar();
      if (!seen.insert(name).second) return wrong(entry.first, name, "is given twice");
      if (name == "name") {
        auto value = text(entry.second, name);
        if (!value) return value.error();
        draft.service.name = draft.job.name = *value;
        continue;
      }
      const auto& own = service_fields();
      const auto& job = job_fields();
      const auto field = std::find_if(own.begin(), own.end(), [&](const ServiceField& f) { return f.name == name; });
      const auto other = std::find_if(job.begin(), job.end(),
                                      [&](const JobField& f) { return f.name == name && is_service_job_field(f); });
      if (field == own.end() && other == job.end()) return unknown(entry.first, name, known());
      const FieldShape shape = field != own.end() ? field->shape : other->shape;
      auto values = values_of(entry.second, shape, name);
      if (!values) return values.error();
      if (shape == FieldShape::kCommand) draft.job.argv.clear();
      for (const std::string& value : *values) {
        Status good = field != own.end() ? field->set(draft, value, name) : other->set(draft.job, value, name);
        if (!good) return wrong(entry.second, name, good.error().message);
      }
    }
    return Unit{};
  }

  static std::vector<std::string> known() {
    std::vector<std::string> names = {"name"};
    for (const ServiceField& field : service_fields()) names.emplace_back(field.name);
    for (const JobField& field : job_fields()) {
      if (is_service_job_field(field)) names.emplace_back(field.name);
    }
    return names;
  }

  Result<std::vector<std::string>> values_of(const YAML::Node& node, FieldShape shape, const std::string& name) const {
    if (!node.IsDefined() || node.IsNull()) return wrong(node, name, "has no value");
    switch (shape) {
      case FieldShape::kFlag: {
        const auto value = truth(node, name);
        if (!value) return value.error();
        return std::vector<std::string>{*value ? "true" : "false"};
      }
      case FieldShape::kVariables:
        return pairs(node, name);
      case FieldShape::kCommand:
        if (node.IsScalar()) return std::vector<std::string>{"/bin/sh", "-c", node.Scalar()};
        return words(node, name);
      case FieldShape::kList:
        if (node.IsScalar()) return wrong(node, name, "a single value is not accepted; accepted: a list");
        return words(node, name);
      default: {
        auto value = text(node, name);
        if (!value) return value.error();
        return std::vector<std::string>{*value};
      }
    }
  }
};

}  // namespace

Result<DeployFile> parse_deploy_file(std::string_view text, const std::string& file,
                                     const std::vector<std::string>& environment) {
  auto document = load_yaml(text, file, "service");
  if (!document) return document.error();
  try {
    const YAML::Node services = document->IsMap() ? (*document)["services"] : YAML::Node(YAML::NodeType::Undefined);
    const bool list = services.IsDefined() && services.IsSequence();
    const bool map = services.IsDefined() && services.IsMap();
    if ((!list && !map) || services.size() == 0) {
      return invalid("", file +
                             ": the file has no services; accepted: 'services:' with a list of Berth's own, or a "
                             "mapping as in a Compose file");
    }
    return list ? OwnReader(file).read(*document, services) : ComposeReader(file, environment).read(*document);
  } catch (const std::exception& error) {
    return invalid("", file + ": this is not YAML: " + printable(error.what()));
  }
}

Result<DeployFile> read_deploy_file(const std::string& path, const std::vector<std::string>& environment) {
  auto text = read_text_file(path, kFileBytesMax);
  if (!text) return text.error();
  return parse_deploy_file(*text, path == "-" ? "standard input" : path, environment);
}

}  // namespace berth::tools
