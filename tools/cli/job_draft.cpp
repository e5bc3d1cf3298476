#include "tools/cli/job_draft.h"

#include <algorithm>
#include <map>
#include <span>
#include <sys/stat.h>
#include <unistd.h>

#include "state/image_name.h"
#include "tools/cli/container_fields.h"
#include "tools/cli/paths.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): not every libc declares it

namespace berth::tools {

namespace {

using namespace state;

constexpr const char* kPlainPath = "/usr/local/bin:/usr/bin:/bin";

Status shape_job(const JobDraft& draft, JobSpec& spec) {
  if (draft.array && (draft.gang != 0 || draft.nodes != 0)) {
    return invalid(draft.gang != 0 ? "gang" : "nodes",
                   "an array's pods are independent; a job is an array or a gang, not both");
  }
  const bool over_nodes = draft.gang != 0 && draft.nodes != 0;
  if (over_nodes && draft.gang < draft.nodes) {
    return invalid("nodes", "the gang has " + std::to_string(draft.gang) + " pods, so it cannot have one on each of " +
                                std::to_string(draft.nodes) + " nodes");
  }
  if (draft.nodes_max != 0 && !over_nodes) {
    return invalid("nodes", "a range of nodes is for the pods of a gang: give their number with gang");
  }
  if (draft.gang == 0 && draft.nodes == 0 && (draft.per_node != 0 || draft.switches != 0 || draft.contiguous)) {
    return invalid(draft.per_node != 0   ? "per-node"
                   : draft.switches != 0 ? "switches"
                                         : "contiguous",
                   "only a gang says how its pods lie over nodes");
  }
  if (draft.array) {
    spec.kind = JobKind::kArray;
    spec.elements = *draft.array;
    spec.throttle = draft.throttle;
  } else if (draft.gang != 0 || draft.nodes != 0) {
    spec.kind = JobKind::kGang;
    spec.elements = IndexSet::dense(std::max(draft.gang, draft.nodes));
    spec.distinct_nodes = draft.gang == 0 || (over_nodes && draft.gang == draft.nodes && draft.nodes_max == 0);
    spec.gang = {0, 0, draft.per_node, draft.switches, draft.contiguous, false};
    if (over_nodes && !spec.distinct_nodes) {
      spec.gang.nodes_min = draft.nodes;
      spec.gang.nodes_max = draft.nodes_max == 0 ? draft.nodes : draft.nodes_max;
    }
  }
  return Unit{};
}

Result<std::vector<std::string>> environment_of(const JobDraft& draft, const Surroundings& surroundings) {
  const auto name_of = [](const std::string& variable) { return variable.substr(0, variable.find('=')); };
  std::map<std::string, std::string> variables;
  if (draft.image.empty() && !draft.clear_environment) {
    for (const std::string& variable : surroundings.environment) variables[name_of(variable)] = variable;
    variables.erase("_");  // the shell's note of the path of `berth` itself
  } else if (draft.image.empty()) {
    variables["PATH"] = std::string("PATH=") + kPlainPath;
  }
  for (const std::string& variable : draft.variables) {
    if (variable.find('=') != std::string::npos) {
      variables[name_of(variable)] = variable;
      continue;
    }
    const auto mine = std::find_if(surroundings.environment.begin(), surroundings.environment.end(),
                                   [&](const std::string& other) { return name_of(other) == variable; });
    if (mine == surroundings.environment.end()) {
      return invalid(
          "env", "'" + variable + "' is not set here; accepted: NAME=VALUE, or the NAME of a variable that you have");
    }
    variables[variable] = *mine;
  }
  std::vector<std::string> list;
  list.reserve(variables.size());
  for (auto& [name, variable] : variables) list.push_back(std::move(variable));
  return list;
}

std::string name_of_program(const std::vector<std::string>& argv) {
  if (argv.empty()) return "";
  const std::string& path = argv[0];
  const std::size_t slash = path.find_last_of('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  for (char& c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return name.substr(0, kMaxNameBytes);
}

std::string absolute_in(const std::string& path, const std::string& directory) {
  if (path.empty() || path[0] == '/') return path;
  return directory == "/" ? "/" + path : directory + "/" + path;
}

}  // namespace

Surroundings this_process() {
  Surroundings here;
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string text = *variable;
    const std::size_t equals = text.find('=');
    if (equals != std::string::npos && equals != 0) here.environment.push_back(text);
  }
  here.directory = current_directory();
  const mode_t mask = ::umask(022);
  ::umask(mask);
  here.umask = mask;
  return here;
}

std::string absolute_image(const std::string& image, const std::string& directory) {
  const auto name = ImageName::parse(image, "image");
  if (!name) return image;
  if (!name->is_file()) return name->text();
  const std::size_t prefix = image.size() - name->place.size() - (name->tag.empty() ? 0 : name->tag.size() + 1);
  return image.substr(0, prefix) + absolute_in(image.substr(prefix), directory);
}

Result<JobSpec> build_job(const JobDraft& draft, const Surroundings& surroundings) {
  JobSpec spec;
  if (Status good = shape_job(draft, spec); !good) return good.error();
  if (draft.argv.empty() && draft.image.empty()) return invalid("command", "there is no command to run");
  spec.name = draft.name.empty() ? name_of_program(draft.argv) : draft.name;
  spec.queue = draft.queue;
  spec.request = draft.request;
  spec.priority = draft.priority;
  spec.time_limit_ms = draft.time_limit_ms;
  spec.time_min_ms = draft.time_min_ms;
  spec.deadline = draft.deadline;
  spec.requeues_max = draft.requeues_max;
  spec.hold = draft.held ? Hold::kUser : Hold::kNone;
  spec.begin_at = draft.begin_at;
  spec.depends = draft.depends;
  spec.any_dependency = draft.any_dependency;
  spec.account = draft.account;
  spec.qos = draft.qos;
  spec.comment = draft.comment;
  Launch launch;
  launch.driver = draft.image.empty() ? Driver::kProcess : Driver::kOci;
  launch.argv = draft.argv;
  launch.script = draft.script;
  auto environment = environment_of(draft, surroundings);
  if (!environment) return environment.error();
  launch.env = std::move(*environment);
  if (!draft.image.empty()) {
    launch.image = absolute_image(draft.image, surroundings.directory);
    if (!draft.cwd.empty() && draft.cwd[0] != '/') {
      return invalid("cwd",
                     "'" + draft.cwd + "' is not an absolute path, which a directory inside a container must be");
    }
    launch.cwd = draft.cwd;
  } else {
    launch.cwd = draft.cwd.empty() ? surroundings.directory : absolute_in(draft.cwd, surroundings.directory);
    if (launch.cwd.empty() || launch.cwd[0] != '/')
      return invalid("cwd", "the current directory is gone; give an absolute --cwd");
  }
  launch.output_path = draft.output;
  launch.error_path = draft.error;
  // A container's directory is not the submitter's: relative files are meant from here.
  if (!draft.image.empty()) {
    launch.output_path = absolute_in(draft.output, surroundings.directory);
    launch.error_path = absolute_in(draft.error, surroundings.directory);
  }
  launch.append = draft.append;
  launch.container = draft.container;
  if (Status good = finish_container(launch.container, surroundings.directory, draft.image.empty()); !good) {
    return good.error();
  }
  launch.umask = draft.umask.value_or(surroundings.umask);
  launch.grace_ms = draft.grace_ms;
  spec.launch = encode_launch(launch);
  const auto bytes = std::as_bytes(std::span(spec.launch.data(), spec.launch.size()));
  if (spec.launch.size() > kMaxLaunchBytes) {
    return invalid("command", "the command and its environment take " + std::to_string(spec.launch.size()) +
                                  " bytes; at most 1 MiB is accepted (see --env-clear)");
  }
  if (auto good = decode_launch(bytes); !good) return good.error();
  return spec;
}

}  // namespace berth::tools
