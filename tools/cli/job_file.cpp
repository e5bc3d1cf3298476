#include "tools/cli/job_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>
#include <sstream>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "tools/cli/text.h"

namespace berth::tools {

namespace {

using namespace state;

std::string kind_of(const YAML::Node& node) {
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

bool parse_bool(const std::string& text, bool& out) {
  static const std::set<std::string> yes{"true", "True", "TRUE", "yes", "Yes", "on"};
  static const std::set<std::string> no{"false", "False", "FALSE", "no", "No", "off"};
  out = yes.contains(text);
  return out || no.contains(text);
}

class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

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

  std::string at(const YAML::Node& node) const {
    const int line = node.Mark().line;
    return line < 0 ? file_ : file_ + ":" + std::to_string(line + 1);
  }
  Error wrong(const YAML::Node& node, const std::string& what) const { return invalid("", at(node) + ": " + what); }
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
    if (field.shape == FieldShape::kOptionalText && parse_bool(node.Scalar(), flag)) {
      return set(node, field, draft, flag ? "true" : "false");
    }
    return set(node, field, draft, node.Scalar());
  }

  Status read_flag(const YAML::Node& node, const JobField& field, JobDraft& draft) {
    bool flag = false;
    if (!node.IsScalar() || !parse_bool(node.Scalar(), flag)) {
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

  std::string file_;
};

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

Result<std::vector<JobInFile>> parse_job_file(std::string_view text, const std::string& file) {
  if (text.size() > kMaxJobFileBytes) return invalid("", file + ": the file is larger than 16 MiB");
  try {
    const std::string copy(text);
    if (has_several_documents(copy))
      return invalid("", file + ": the file has several documents; list the jobs under 'jobs:'");
    const YAML::Node document = YAML::Load(copy);
    if (document.IsNull()) return invalid("", file + ": the file has no job");
    return Reader(file).read(document);
  } catch (const YAML::Exception& error) {
    const std::string line = error.mark.line < 0 ? "" : ":" + std::to_string(error.mark.line + 1);
    return invalid("", file + line + ": this is not YAML: " + printable(error.msg));
  } catch (const std::exception& error) {
    return invalid("", file + ": this is not YAML: " + printable(error.what()));
  }
}

Result<std::vector<JobInFile>> read_job_file(const std::string& path) {
  std::FILE* file = path == "-" ? stdin : std::fopen(path.c_str(), "re");
  if (file == nullptr) return Error{ErrorCode::kNotFound, "", path + ": cannot be read: " + std::strerror(errno), 0};
  std::string text;
  std::string piece(64U << 10, '\0');
  std::size_t got = 0;
  while (text.size() <= kMaxJobFileBytes && (got = std::fread(piece.data(), 1, piece.size(), file)) != 0)
    text.append(piece, 0, got);
  const int failed = std::ferror(file) != 0 ? errno : 0;
  if (file != stdin) std::fclose(file);
  if (failed != 0) return Error{ErrorCode::kNotFound, "", path + ": cannot be read: " + std::strerror(failed), 0};
  return parse_job_file(text, path == "-" ? "standard input" : path);
}

}  // namespace berth::tools
