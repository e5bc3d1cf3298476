// A service's own keys.
#include <algorithm>

#include "tools/cli/compose_reader.h"
#include "tools/cli/compose_text.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::size_t kServicesMax = 10'000;
constexpr std::size_t kNodesMax = 1'000'000;
constexpr int kDepthMax = 64;
constexpr const char* kNoEffect = "has no effect: ";

}  // namespace

ComposeReader::ComposeReader(const std::string& file, const std::vector<std::string>& environment) : YamlReader(file) {
  for (const std::string& variable : environment) {
    const std::size_t equals = variable.find('=');
    if (equals != std::string::npos) variables_[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
}

Result<DeployFile> ComposeReader::read(YAML::Node root) {
  if (Status good = interpolate_all(root); !good) return good.error();
  for (const auto& entry : root) {
    if (!entry.first.IsScalar()) return wrong(entry.first, "a key is a single word");
    const std::string& name = entry.first.Scalar();
    if (name == "services" || name.starts_with("x-")) continue;
    if (name == "version") continue;  // obsolete, as Compose itself says
    if (name == "name") {
      auto space = text(entry.second, name);
      if (!space) return space.error();
      out_.space = *space;
    } else if (name == "networks") {
      note(entry.first, name, "all services share the cluster's pod network");
    } else if (name == "volumes" || name == "configs" || name == "secrets") {
      if (entry.second.IsMap() && entry.second.size() == 0) continue;
      return refused(entry.first, name);
    } else {
      return unknown(entry.first, name, {"name", "services", "networks"});
    }
  }
  const YAML::Node services = root["services"];
  if (services.size() > kServicesMax) return wrong(services, "services", "at most 10,000 of them are accepted");
  for (const auto& entry : services) {
    if (!entry.first.IsScalar() || !entry.second.IsMap()) {
      return wrong(entry.first, "services", "a service is NAME: and a mapping of keys");
    }
    ServiceInFile service{ServiceDraft{}, at(entry.first)};
    ServiceDraft& draft = service.draft;
    draft.service.name = draft.job.name = entry.first.Scalar();
    draft.job.clear_environment = true;
    draft.service.restart.delay_ms = 1'000;
    if (Status good = read_service(entry.second, draft); !good) return good.error();
    if (draft.job.image.empty()) return wrong(entry.first, draft.service.name, "has no image");
    out_.services.push_back(std::move(service));
  }
  return std::move(out_);
}

Status ComposeReader::interpolate_all(YAML::Node node, int depth) {
  // Aliases may name the same again and again, or what they are in.
  if (depth > kDepthMax || ++looked_at_ > kNodesMax) return wrong(node, "its aliases make it too large or too deep");
  if (node.IsScalar()) {
    if (node.Scalar().find('$') == std::string::npos) return Unit{};
    auto done = interpolate(node.Scalar(), variables_);
    if (!done) return wrong(node, done.error().message);
    node = *done;
  } else if (node.IsSequence()) {
    for (YAML::Node item : node) {
      if (Status good = interpolate_all(item, depth + 1); !good) return good;
    }
  } else if (node.IsMap()) {
    if (Status good = merge(node); !good) return good;
    for (auto entry : node) {
      if (Status good = interpolate_all(entry.second, depth + 1); !good) return good;
    }
  }
  return Unit{};
}

Status ComposeReader::merge(YAML::Node map) {
  YAML::Node from = map["<<"];
  if (!from.IsDefined()) return Unit{};
  std::vector<YAML::Node> maps;
  if (from.IsSequence()) {
    for (const YAML::Node& item : from) maps.push_back(item);
  } else {
    maps.push_back(from);
  }
  map.remove("<<");
  for (const YAML::Node& other : maps) {
    if (!other.IsMap()) return wrong(other, "<<", "accepted: a mapping, or a list of them");
    if (other.is(map)) return wrong(other, "<<", "a mapping cannot be merged into itself");
    for (const auto& entry : other) {
      if (!entry.first.IsScalar()) return wrong(entry.first, "a key is a single word");
      if (!map[entry.first.Scalar()].IsDefined()) map[entry.first.Scalar()] = entry.second;
    }
  }
  return merge(map);  // what was merged may say so, too
}

void ComposeReader::note(const YAML::Node& node, const std::string& key, const std::string& why) {
  out_.notes.push_back(at(node) + ": '" + key + "' " + kNoEffect + why);
}

Error ComposeReader::refused(const YAML::Node& node, const std::string& key) const {
  const std::string_view name = key;
  for (const ComposeKey& known : compose_keys()) {
    const std::string_view path = known.path;
    const bool same = path == name || (path.ends_with(name) && path[path.size() - name.size() - 1] == '.');
    if (same && !known.supported) return wrong(node, key, std::string("is not supported: ") + known.remark);
  }
  std::vector<std::string> supported;
  for (const ComposeKey& known : compose_keys()) {
    const std::string path = known.path;
    if (known.supported) supported.push_back(path.substr(path.rfind('.') + 1));
  }
  const std::string meant = nearest(key, supported);
  return wrong(node, key, "is unknown" + (meant.empty() ? std::string() : ", did you mean '" + meant + "'?"));
}

Status ComposeReader::each_key(const YAML::Node& map, const std::string& of, const std::map<std::string, Setter>& known,
                               ServiceDraft& draft) {
  if (!map.IsMap()) return wrong(map, of, kind_of(map) + " is not accepted; accepted: a mapping");
  for (const auto& entry : map) {
    if (!entry.first.IsScalar()) return wrong(entry.first, of, "a key is a single word");
    const std::string& name = entry.first.Scalar();
    if (name.starts_with("x-") && name != "x-berth") continue;
    const auto setter = known.find(name);
    if (setter == known.end()) return refused(entry.first, name);
    if (entry.second.IsNull()) continue;  // as if it were not there
    if (Status good = (this->*setter->second)(entry.first, entry.second, draft); !good) return good;
  }
  return Unit{};
}

Status ComposeReader::read_service(const YAML::Node& map, ServiceDraft& draft) {
  using R = ComposeReader;
  static const std::map<std::string, Setter> kKeys = {
      {"image", &R::image},
      {"command", &R::command},
      {"entrypoint", &R::entrypoint},
      {"environment", &R::environment},
      {"ports", &R::ports},
      {"expose", &R::expose},
      {"deploy", &R::deploy},
      {"healthcheck", &R::healthcheck},
      {"restart", &R::restart},
      {"stop_grace_period", &R::stop_grace_period},
      {"working_dir", &R::working_dir},
      {"hostname", &R::hostname},
      {"read_only", &R::read_only},
      {"tmpfs", &R::tmpfs},
      {"volumes", &R::volumes},
      {"ulimits", &R::ulimits},
      {"labels", &R::labels},
      {"network_mode", &R::network_mode},
      {"networks", &R::networks},
      {"depends_on", &R::depends_on},
      {"container_name", &R::container_name},
      {"init", &R::no_effect},
      {"tty", &R::no_effect},
      {"stdin_open", &R::no_effect},
      {"pull_policy", &R::pull_policy},
      {"x-berth", &R::x_berth},
  };
  Status good = each_key(map, "services", kKeys, draft);
  if (!good) return good;
  auto& argv = draft.job.argv;
  argv.insert(argv.begin(), entrypoint_.begin(), entrypoint_.end());
  entrypoint_.clear();
  return Unit{};
}

Status ComposeReader::image(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  auto name = text(value, "image");
  if (!name) return name.error();
  const auto& fields = job_fields();
  const auto field =
      std::find_if(fields.begin(), fields.end(), [](const JobField& f) { return std::string_view(f.name) == "image"; });
  // Compose's names without a registry are Docker Hub's.
  std::string full = *name;
  const bool local = full.starts_with("oci:") || full.starts_with("docker-archive:") || full.starts_with("rootfs:") ||
                     full.starts_with("docker://") || full.starts_with("/") || full.starts_with("./");
  if (!local) {
    const std::size_t slash = full.find('/');
    const std::string first = slash == std::string::npos ? "" : full.substr(0, slash);
    const bool registry = first.find_first_of(".:") != std::string::npos || first == "localhost";
    if (!registry) full = "docker.io/" + std::string(slash == std::string::npos ? "library/" : "") + full;
    const std::size_t last = full.rfind('/');
    if (full.find_first_of(":@", last) == std::string::npos) full += ":latest";
    full = "docker://" + full;
  }
  if (Status good = field->set(draft.job, full, "image"); !good) return wrong(value, "image", good.error().message);
  return Unit{};
}

Status ComposeReader::line_of(const YAML::Node& value, const std::string& key, std::vector<std::string>& to) {
  if (value.IsScalar()) {
    auto split = shell_words(value.Scalar());
    if (!split) return wrong(value, key, split.error().message);
    to = std::move(*split);
    return Unit{};
  }
  auto list = words(value, key);
  if (!list) return list.error();
  to = std::move(*list);
  return Unit{};
}

Status ComposeReader::command(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  return line_of(value, "command", draft.job.argv);
}

Status ComposeReader::entrypoint(const YAML::Node&, const YAML::Node& value, ServiceDraft&) {
  return line_of(value, "entrypoint", entrypoint_);
}

Status ComposeReader::environment(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  auto list = pairs(value, "environment");
  if (!list) return list.error();
  for (const std::string& variable : *list) {
    if (variable.empty() || variable[0] == '=') return wrong(value, "environment", "accepted: NAME=VALUE");
    if (variable.find('=') != std::string::npos) {
      draft.job.variables.push_back(variable);
    } else if (const auto mine = variables_.find(variable); mine != variables_.end()) {
      draft.job.variables.push_back(variable + "=" + mine->second);
    }  // as Compose: a variable that is not set here is not set there
  }
  return Unit{};
}

Status ComposeReader::ports(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  if (!value.IsSequence()) return wrong(value, "ports", "accepted: a list");
  for (const YAML::Node& item : value) {
    if (item.IsMap()) {
      if (Status good = long_port(item, draft); !good) return good;
      continue;
    }
    auto word = text(item, "ports");
    if (!word) return word.error();
    if (std::count(word->begin(), word->end(), ':') > 1) {
      return wrong(item, "ports", "an address to publish on is not supported: a port is published on every node");
    }
    if (word->find('-') != std::string::npos) return wrong(item, "ports", "a range of ports is not supported");
    const bool published = word->find(':') != std::string::npos;
    auto port = parse_publish(*word, "ports");
    if (!port) return wrong(item, "ports", port.error().message);
    if (!published) {
      return wrong(item, "ports",
                   "a port of the node's own choice is not supported: give PUBLISHED:TARGET, or use 'expose'");
    }
    draft.service.ports.push_back(*port);
  }
  return Unit{};
}

Status ComposeReader::long_port(const YAML::Node& map, ServiceDraft& draft) {
  ServicePort port;
  for (const auto& entry : map) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    auto value = text(entry.second, "ports");
    if (!value) return value.error();
    if (key == "target" || key == "published") {
      const auto number = parse_integer(*value, key, 1, 65'535);
      if (!number) return wrong(entry.second, key, "accepted: a port from 1 to 65535");
      (key == "target" ? port.target : port.published) = static_cast<std::uint16_t>(*number);
    } else if (key == "protocol") {
      if (*value != "tcp" && *value != "udp") return wrong(entry.second, key, "accepted: tcp or udp");
      port.protocol = *value == "udp" ? Protocol::kUdp : Protocol::kTcp;
    } else if (key == "mode") {
      if (*value != "ingress") {
        return wrong(entry.second, key, "'host' is not supported: a port is published on every node (ingress)");
      }
    } else if (key == "name") {
      port.name = *value;
    } else if (key != "app_protocol") {
      return refused(entry.first, key);
    }
  }
  if (port.target == 0) return wrong(map, "ports", "a port needs its target");
  port.port = port.target;
  draft.service.ports.push_back(port);
  return Unit{};
}

Status ComposeReader::expose(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  auto list = words(value, "expose");
  if (!list) return list.error();
  for (const std::string& word : *list) {
    auto port = parse_publish(word, "expose");
    if (!port) return wrong(value, "expose", port.error().message);
    port->published = 0;
    const bool known = std::any_of(draft.service.ports.begin(), draft.service.ports.end(), [&](const ServicePort& p) {
      return p.port == port->port && p.protocol == port->protocol;
    });
    if (!known) draft.service.ports.push_back(*port);
  }
  return Unit{};
}

Status ComposeReader::restart(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  auto word = text(value, "restart");
  if (!word) return word.error();
  using When = RestartPolicy::When;
  if (*word == "no" || *word == "false") {
    draft.service.restart.when = When::kNever;
  } else if (*word == "always" || *word == "unless-stopped") {
    draft.service.restart.when = When::kAny;
  } else if (word->starts_with("on-failure")) {
    draft.service.restart.when = When::kOnFailure;
    if (word->size() > 10) {
      const auto most = parse_integer(std::string_view(*word).substr(11), "restart", 1, 1'000'000);
      if (!most || (*word)[10] != ':') return wrong(value, "restart", "accepted: on-failure:N");
      draft.service.restart.attempts_max = static_cast<std::uint32_t>(*most);
    }
  } else {
    return wrong(value, "restart", "accepted: no, always, unless-stopped or on-failure[:N]");
  }
  return Unit{};
}

Status ComposeReader::stop_grace_period(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  return time(value, "stop_grace_period", draft.job.grace_ms);
}

Status ComposeReader::working_dir(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  auto word = text(value, "working_dir");
  if (!word) return word.error();
  draft.job.cwd = *word;
  return Unit{};
}

Status ComposeReader::hostname(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  auto word = text(value, "hostname");
  if (!word) return word.error();
  draft.container.hostname = *word;
  return Unit{};
}

Status ComposeReader::read_only(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  const auto set = truth(value, "read_only");
  if (!set) return set.error();
  draft.container.read_only = *set;
  return Unit{};
}

Status ComposeReader::tmpfs(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  auto list = words(value, "tmpfs");
  if (!list) return list.error();
  for (const std::string& target : *list) {
    if (target.find(':') != std::string::npos) return wrong(value, "tmpfs", "options behind ':' are not supported");
    draft.container.mounts.push_back({Mount::Kind::kTmpfs, "", target, false, 0});
  }
  return Unit{};
}

Status ComposeReader::volumes(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  if (!value.IsSequence()) return wrong(value, "volumes", "accepted: a list");
  for (const YAML::Node& item : value) {
    Mount mount;
    if (item.IsScalar()) {
      const auto parts = split(item.Scalar(), ':');
      if (parts.size() < 2 || parts.size() > 3 || parts[0].empty() || parts[0][0] != '/') {
        return wrong(item, "volumes", "accepted: /PATH/OF/THE/NODE:/PATH[:ro]; a named volume is not supported");
      }
      if (parts.size() == 3 && parts[2] != "ro" && parts[2] != "rw")
        return wrong(item, "volumes", "accepted: ro or rw");
      mount = {Mount::Kind::kBind, parts[0], parts[1], parts.size() == 3 && parts[2] == "ro", 0};
    } else if (item.IsMap()) {
      for (const auto& entry : item) {
        const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
        if (key == "read_only") {
          const auto set = truth(entry.second, key);
          if (!set) return set.error();
          mount.read_only = *set;
          continue;
        }
        auto word = text(entry.second, key);
        if (key == "type") {
          if (!word) return word.error();
          if (*word != "bind" && *word != "tmpfs") {
            return wrong(entry.second, key, "accepted: bind or tmpfs; a named volume is not supported");
          }
          mount.kind = *word == "bind" ? Mount::Kind::kBind : Mount::Kind::kTmpfs;
        } else if (key == "source" || key == "target") {
          if (!word) return word.error();
          (key == "source" ? mount.source : mount.target) = *word;
        } else {
          return refused(entry.first, key);
        }
      }
    } else {
      return wrong(item, "volumes", "accepted: a word or a mapping");
    }
    draft.container.mounts.push_back(std::move(mount));
  }
  if (Status good = check_container(draft.container); !good) return wrong(value, "volumes", good.error().message);
  return Unit{};
}

Status ComposeReader::ulimits(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  if (!value.IsMap()) return wrong(value, "ulimits", "accepted: a mapping");
  for (const auto& entry : value) {
    Ulimit limit;
    limit.name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const auto amount = [&](const YAML::Node& node, std::uint64_t& to) -> Status {
      auto word = text(node, "ulimits");
      if (!word) return word.error();
      if (*word == "-1") {
        to = Ulimit::kUnlimited;
        return Unit{};
      }
      return number(node, "ulimits", INT64_MAX, to);
    };
    if (entry.second.IsMap()) {
      for (const auto& part : entry.second) {
        const std::string key = part.first.IsScalar() ? part.first.Scalar() : "";
        if (key != "soft" && key != "hard") return refused(part.first, key);
        if (Status good = amount(part.second, key == "soft" ? limit.soft : limit.hard); !good) return good;
      }
    } else {
      if (Status good = amount(entry.second, limit.soft); !good) return good;
      limit.hard = limit.soft;
    }
    draft.container.ulimits.push_back(std::move(limit));
  }
  if (Status good = check_container(draft.container); !good) return wrong(value, "ulimits", good.error().message);
  return Unit{};
}

Status ComposeReader::labels(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  auto list = pairs(value, "labels");
  if (!list) return list.error();
  const auto& fields = job_fields();
  const auto field = std::find_if(fields.begin(), fields.end(),
                                  [](const JobField& f) { return std::string_view(f.name) == "labels"; });
  for (const std::string& label : *list) {
    if (Status good = field->set(draft.job, label, "labels"); !good)
      return wrong(value, "labels", good.error().message);
  }
  return Unit{};
}

Status ComposeReader::network_mode(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  const std::string word = value.IsScalar() ? value.Scalar() : "";
  if (word != "host" && word != "bridge") return wrong(value, "network_mode", "accepted: host or bridge");
  draft.network = word == "host" ? NetworkMode::kHost : NetworkMode::kPods;
  return Unit{};
}

Status ComposeReader::networks(const YAML::Node& key, const YAML::Node&, ServiceDraft&) {
  note(key, "networks", "all services share the cluster's pod network");
  return Unit{};
}

Status ComposeReader::depends_on(const YAML::Node& key, const YAML::Node&, ServiceDraft&) {
  note(key, "depends_on", "services start together, and are tried again until they find each other");
  return Unit{};
}

Status ComposeReader::container_name(const YAML::Node& key, const YAML::Node&, ServiceDraft&) {
  note(key, "container_name", "replicas are named SERVICE.1, SERVICE.2, …");
  return Unit{};
}

Status ComposeReader::no_effect(const YAML::Node& key, const YAML::Node& value, ServiceDraft&) {
  bool on = false;
  if (value.IsScalar() && parse_yaml_bool(value.Scalar(), on) && !on) return Unit{};
  note(key, key.Scalar(), "a service has neither a terminal nor an init process");
  return Unit{};
}

Status ComposeReader::pull_policy(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  const std::string word = value.IsScalar() ? value.Scalar() : "";
  if (word != "always" && word != "missing" && word != "if_not_present" && word != "never") {
    return wrong(value, "pull_policy", "accepted: always, missing or never");
  }
  draft.container.pull = word == "always"  ? PullPolicy::kAlways
                         : word == "never" ? PullPolicy::kNever
                                           : PullPolicy::kMissing;
  return Unit{};
}

Status ComposeReader::x_berth(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  if (!value.IsMap()) return wrong(value, "x-berth", "accepted: a mapping of fields");
  for (const auto& entry : value) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    auto list = words(entry.second, name);
    if (!list) return list.error();
    const auto& own = service_fields();
    const auto& job = job_fields();
    const auto field = std::find_if(own.begin(), own.end(), [&](const ServiceField& f) { return f.name == name; });
    const auto other = std::find_if(job.begin(), job.end(),
                                    [&](const JobField& f) { return f.name == name && is_service_job_field(f); });
    if (field == own.end() && other == job.end()) {
      return wrong(entry.first, name, "is no field of a service (see 'berth service create --help')");
    }
    for (const std::string& one : *list) {
      Status good = field != own.end() ? field->set(draft, one, name) : other->set(draft.job, one, name);
      if (!good) return wrong(entry.second, name, good.error().message);
    }
  }
  return Unit{};
}

}  // namespace berth::tools
