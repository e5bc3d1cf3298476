#include "tools/cli/job_file.h"

#include <algorithm>
#include <set>

#include "tools/cli/text.h"
#include "tools/cli/yaml_reader.h"

namespace berth::tools {

namespace {

using namespace state;

class Reader : private YamlReader {
 public:
  explicit Reader(std::string file) : YamlReader(std::move(file)) {}

  Result<std::vector<JobInFile>> read(const YAML::Node& root) {
    if (!root.IsMap())
      return wrong(root,
                   "the file holds " + kind_of(root) + "; accepted: a mapping of fields, as in 'command: [./task]'");
    JobInFile base{JobDraft{}, at(root)};
    YAML::Node jobs(YAML::NodeType::Undefined);
    if (Status good = read_fields(root, base.draft, &jobs); !good) return good.error();
    if (!jobs.IsDefined()) return std::vector<JobInFile>{std::move(base)};
    if (!jobs.IsSequence() || jobs.size() == 0)
      return wrong(jobs, "field 'jobs': " + kind_of_list(jobs) + "; accepted: a list of jobs");
    if (jobs.size() > kMaxJobsInFile) {
      return wrong(jobs, "field 'jobs': " + std::to_string(jobs.size()) + " jobs; accepted: at most " +
                             std::to_string(kMaxJobsInFile));
    }
    std::vector<JobInFile> list;
    list.reserve(jobs.size());
    for (const YAML::Node& job : jobs) {
      if (!job.IsMap()) return wrong(job, "field 'jobs': a job is a mapping of fields, not " + kind_of(job));
      JobInFile one{base.draft, at(job)};
      if (Status good = read_fields(job, one.draft, nullptr); !good) return good.error();
      list.push_back(std::move(one));
    }
    return list;
  }

 private:
  static std::string kind_of_list(const YAML::Node& node) {
    return node.IsSequence() ? "the list is empty" : kind_of(node);
  }

  using YamlReader::wrong;
  Error wrong(const YAML::Node& node, const JobField& field, const std::string& what) const {
    return wrong(node, std::string("field '") + field.name + "': " + what);
  }
  Error wrong_kind(const YAML::Node& node, const JobField& field) const {
    return wrong(node, field, kind_of(node) + " is not accepted; accepted: " + field.accepted);
  }

  // `jobs` receives the list of jobs where one may be.
  Status read_fields(const YAML::Node& map, JobDraft& draft, YAML::Node* jobs) {
    std::set<std::string> seen;
    for (const auto& entry : map) {
      if (!entry.first.IsScalar())
        return wrong(entry.first, "a field's name is a single word, not " + kind_of(entry.first));
      const std::string& name = entry.first.Scalar();
      if (!seen.insert(name).second)
        return wrong(entry.first, "field '" + printable(clip(name, 64)) + "': is given twice");
      if (jobs != nullptr && name == "jobs") {
        jobs->reset(entry.second);
        continue;
      }
      const auto& fields = job_fields();
      const auto field = std::find_if(fields.begin(), fields.end(), [&](const JobField& f) { return f.name == name; });
      if (field == fields.end()) return unknown(entry.first, name, jobs != nullptr);
      if (Status good = read_field(entry.first, entry.second, *field, draft); !good) return good;
    }
    return Unit{};
  }

  Error unknown(const YAML::Node& node, const std::string& name, bool top) const {
    std::vector<std::string> known;
    for (const JobField& field : job_fields()) known.emplace_back(field.name);
    if (top) known.emplace_back("jobs");
    const std::string meant = nearest(name, known);
    return wrong(node, "field '" + printable(clip(name, 64)) + "': is unknown" +
                           (meant.empty() ? "" : ", did you mean '" + meant + "'?") +
                           " (accepted: " + join(known, ", ") + ")");
  }

  Status read_field(const YAML::Node& key, const YAML::Node& node, const JobField& field, JobDraft& draft) {
    if (!node.IsDefined() || node.IsNull())
      return wrong(key, field, std::string("has no value; accepted: ") + field.accepted);
    switch (field.shape) {
      case FieldShape::kText:
      case FieldShape::kOptionalText:
        return read_text(node, field, draft);
      case FieldShape::kFlag:
        return read_flag(node, field, draft);
      case FieldShape::kList:
        return read_list(node, field, draft);
      case FieldShape::kVariables:
        return node.IsMap() ? read_variables(node, field, draft) : read_list(node, field, draft);
      case FieldShape::kCommand:
        return read_command(node, field, draft);
    }
    return Unit{};
  }

  Status set(const YAML::Node& node, const JobField& field, JobDraft& draft, const std::string& value) {
    if (value.find('\0') != std::string::npos) return wrong(node, field, "has a NUL byte");
    if (Status good = field.set(draft, value, field.name); !good) return wrong(node, field, good.error().message);
    return Unit{};
  }

  Status read_text(const YAML::Node& node, const JobField& field, JobDraft& draft) {
    if (!node.IsScalar()) return wrong_kind(node, field);
    bool flag = false;
    if (field.shape == FieldShape::kOptionalText && parse_yaml_bool(node.Scalar(), flag)) {
      return set(node, field, draft, flag ? "true" : "false");
    }
    return set(node, field, draft, node.Scalar());
  }

  Status read_flag(const YAML::Node& node, const JobField& field, JobDraft& draft) {
    bool flag = false;
    if (!node.IsScalar() || !parse_yaml_bool(node.Scalar(), flag)) {
      return node.IsScalar()
                 ? wrong(node, field,
                         "'" + printable(clip(node.Scalar(), 64)) + "' is not accepted; accepted: " + field.accepted)
                 : wrong_kind(node, field);
    }
    return set(node, field, draft, flag ? "true" : "false");
  }

  Status read_list(const YAML::Node& node, const JobField& field, JobDraft& draft) {
    if (!node.IsSequence()) return wrong_kind(node, field);
    for (const YAML::Node& item : node) {
      if (!item.IsScalar()) return wrong(item, field, "an item is " + kind_of(item) + "; accepted: " + field.accepted);
      if (Status good = set(item, field, draft, item.Scalar()); !good) return good;
    }
    return Unit{};
  }

  Status read_variables(const YAML::Node& node, const JobField& field, JobDraft& draft) {
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const bool good = entry.first.IsScalar() && (entry.second.IsScalar() || entry.second.IsNull());
      if (!good)
        return wrong(entry.first, field, std::string("a variable is not NAME: VALUE; accepted: ") + field.accepted);
      const std::string& name = entry.first.Scalar();
      if (name.empty() || name.find('=') != std::string::npos) {
        return wrong(entry.first, field, "'" + printable(clip(name, 64)) + "' is not the name of a variable");
      }
      if (!seen.insert(name).second)
        return wrong(entry.first, field, "'" + printable(clip(name, 64)) + "' is given twice");
      const std::string value = entry.second.IsNull() ? "" : entry.second.Scalar();
      if (Status done = set(entry.first, field, draft, name + "=" + value); !done) return done;
    }
    return Unit{};
  }

  Status read_command(const YAML::Node& node, const JobField& field, JobDraft& draft) {
    draft.argv.clear();
    if (node.IsScalar()) {
      if (node.Scalar().empty()) return wrong(node, field, std::string("is empty; accepted: ") + field.accepted);
      for (const std::string& word : {std::string("/bin/sh"), std::string("-c"), node.Scalar()}) {
        if (Status good = set(node, field, draft, word); !good) return good;
      }
      return Unit{};
    }
    if (node.IsSequence() && node.size() == 0)
      return wrong(node, field, std::string("is empty; accepted: ") + field.accepted);
    return read_list(node, field, draft);
  }
};

}  // namespace

Result<std::vector<JobInFile>> parse_job_file(std::string_view text, const std::string& file) {
  if (text.size() > kMaxJobFileBytes) return invalid("", file + ": the file is larger than 16 MiB");
  auto document = load_yaml(text, file, "job");
  if (!document) return document.error();
  try {
    return Reader(file).read(*document);
  } catch (const std::exception& error) {
    return invalid("", file + ": this is not YAML: " + printable(error.what()));
  }
}

Result<std::vector<JobInFile>> read_job_file(const std::string& path) {
  auto text = read_text_file(path, kMaxJobFileBytes);
  if (!text) return text.error();
  return parse_job_file(*text, path == "-" ? "standard input" : path);
}

}  // namespace berth::tools
