// Compose files, key by key: what compose_keys() says is supported becomes a ServiceDraft, the rest is refused by name
// and line. Its parts: compose_services.cpp (a service's own keys) and compose_deploy.cpp (`deploy`, `healthcheck`).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "state/units.h"
#include "tools/cli/deploy_file.h"
#include "tools/cli/yaml_reader.h"

namespace berth::tools {

class ComposeReader : private YamlReader {
 public:
  ComposeReader(const std::string& file, const std::vector<std::string>& environment);

  state::Result<DeployFile> read(YAML::Node root);

 private:
  using Setter = state::Status (ComposeReader::*)(const YAML::Node& key, const YAML::Node& value, ServiceDraft& draft);
  state::Status interpolate_all(YAML::Node node, int depth = 0);
  state::Status merge(YAML::Node map);  // what '<<' says is put in its place

  void note(const YAML::Node& node, const std::string& key, const std::string& why);
  state::Error refused(const YAML::Node& node, const std::string& key) const;

  // Each key of the mapping through the table.
  state::Status each_key(const YAML::Node& map, const std::string& of, const std::map<std::string, Setter>& known,
                         ServiceDraft& draft);
  state::Status read_service(const YAML::Node& map, ServiceDraft& draft);
  state::Status image(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status line_of(const YAML::Node& value, const std::string& key, std::vector<std::string>& to);
  state::Status command(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status entrypoint(const YAML::Node&, const YAML::Node& value, ServiceDraft&);
  state::Status environment(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status ports(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status long_port(const YAML::Node& map, ServiceDraft& draft);
  state::Status expose(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);

  // ---- deploy ----
  state::Status deploy(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  template <class To>
  state::Status number(const YAML::Node& value, const std::string& key, std::int64_t most, To& to) {
    auto word = text(value, key);
    if (!word) return word.error();
    const auto parsed = state::parse_integer(*word, key, 0, most);
    if (!parsed) return wrong(value, key, "accepted: a whole number from 0 to " + std::to_string(most));
    to = static_cast<To>(*parsed);
    return state::Unit{};
  }
  state::Status time(const YAML::Node& value, const std::string& key, std::int64_t& to);
  state::Status replicas(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status mode(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status policy(const YAML::Node& value, const std::string& of, state::UpdatePolicy& to, bool rollback);
  state::Status update_config(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status rollback_config(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status restart_policy(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status resources(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status placement(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  // "node.labels.zone == a", "node.hostname != n1"
  state::Status constrain(const YAML::Node& node, const std::string& constraint, ServiceDraft& draft);
  state::Status endpoint_mode(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status healthcheck(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status restart(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status stop_grace_period(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status working_dir(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status hostname(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status read_only(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status tmpfs(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status volumes(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status ulimits(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status labels(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status network_mode(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  state::Status networks(const YAML::Node& key, const YAML::Node&, ServiceDraft&);
  state::Status depends_on(const YAML::Node& key, const YAML::Node&, ServiceDraft&);
  state::Status container_name(const YAML::Node& key, const YAML::Node&, ServiceDraft&);
  state::Status no_effect(const YAML::Node& key, const YAML::Node& value, ServiceDraft&);
  state::Status pull_policy(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);
  // What Compose has no word for: fields as 'berth service create' has options.
  state::Status x_berth(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft);

  std::map<std::string, std::string> variables_;
  std::vector<std::string> entrypoint_;
  std::size_t looked_at_ = 0;  // nodes, each as often as aliases name it
  DeployFile out_;
};

}  // namespace berth::tools
