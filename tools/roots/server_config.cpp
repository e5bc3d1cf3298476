#include "tools/roots/server_config.h"

#include <functional>
#include <map>
#include <pwd.h>
#include <yaml-cpp/yaml.h>

#include "state/units.h"

namespace berth::tools {

using state::Status;
using state::Unit;

namespace {

using Setter = std::function<Status(const YAML::Node&, ServerConfig&)>;

Status text_of(const YAML::Node& node, const std::string& key, std::string& out) {
  if (!node.IsScalar()) return state::invalid(key, key + ": a single value is expected");
  out = node.Scalar();
  return Unit{};
}

Status duration_of(const YAML::Node& node, const std::string& key, std::int64_t& out) {
  std::string text;
  if (Status got = text_of(node, key, text); !got) return got;
  auto ms = state::parse_duration_ms(text, key);
  if (!ms) return state::invalid(key, key + ": " + ms.error().message);
  out = *ms;
  return Unit{};
}

Status integer_of(const YAML::Node& node, const std::string& key, std::int64_t min, std::int64_t max,
                  std::int64_t& out) {
  std::string text;
  if (Status got = text_of(node, key, text); !got) return got;
  auto value = state::parse_integer(text, key, min, max);
  if (!value) return state::invalid(key, key + ": " + value.error().message);
  out = *value;
  return Unit{};
}

Status set_admins(const YAML::Node& node, ServerConfig& config) {
  if (!node.IsSequence()) return state::invalid("admins", "admins: a list of user names or uids is expected");
  for (const YAML::Node& entry : node) {
    std::string name;
    if (Status got = text_of(entry, "admins", name); !got) return got;
    if (const auto uid = state::parse_integer(name, "admins", 0, 4'294'967'294LL); uid.ok()) {
      config.server.admin_uids.push_back(static_cast<std::uint32_t>(*uid));
    } else if (const passwd* user = ::getpwnam(name.c_str()); user != nullptr) {
      config.server.admin_uids.push_back(user->pw_uid);
    } else {
      return state::invalid("admins", "admins: there is no user '" + name + "'");
    }
  }
  return Unit{};
}

Status set_queue(const YAML::Node& entry, ServerConfig& config) {
  if (!entry.IsMap()) return state::invalid("queues", "queues: each queue is a map with name, priority and time_limit");
  state::Queue queue;
  for (const auto& field : entry) {
    const std::string key = field.first.Scalar();
    Status done = Unit{};
    if (key == "name") {
      done = text_of(field.second, "queues: name", queue.name);
    } else if (key == "priority") {
      std::int64_t priority = 0;
      done = integer_of(field.second, "queues: priority", -1'000'000, 1'000'000, priority);
      queue.priority = static_cast<std::int32_t>(priority);
    } else if (key == "time_limit") {
      done = duration_of(field.second, "queues: time_limit", queue.time_limit_ms);
    } else {
      done = state::invalid("queues", "queues: unknown field '" + key + "'; accepted: name, priority, time_limit");
    }
    if (!done) return done;
  }
  if (queue.name.empty()) return state::invalid("queues", "queues: a queue has no name");
  config.server.queues.push_back(std::move(queue));
  return Unit{};
}

Status set_queues(const YAML::Node& node, ServerConfig& config) {
  if (!node.IsSequence()) return state::invalid("queues", "queues: a list of queues is expected");
  for (const YAML::Node& entry : node) {
    if (Status done = set_queue(entry, config); !done) return done;
  }
  return Unit{};
}

Setter text_key(const char* key, std::string ServerConfig::*own, std::string server::ServerOptions::*servers) {
  return [=](const YAML::Node& node, ServerConfig& config) {
    return text_of(node, key, own != nullptr ? config.*own : config.server.*servers);
  };
}

Setter duration_key(const char* key, std::int64_t scheduler::CoreOptions::*member) {
  return
      [=](const YAML::Node& node, ServerConfig& config) { return duration_of(node, key, config.server.core.*member); };
}

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> kSetters = {
      {"data", text_key("data", nullptr, &server::ServerOptions::data_directory)},
      {"socket", text_key("socket", nullptr, &server::ServerOptions::unix_socket)},
      {"listen", text_key("listen", nullptr, &server::ServerOptions::listen)},
      {"advertise", text_key("advertise", &ServerConfig::advertise, nullptr)},
      {"cluster", [](const YAML::Node& node,
                     ServerConfig& config) { return text_of(node, "cluster", config.server.core.cluster_name); }},
      {"node_lost_after", duration_key("node_lost_after", &scheduler::CoreOptions::node_lost_after_ms)},
      {"heartbeat", duration_key("heartbeat", &scheduler::CoreOptions::heartbeat_ms)},
      {"keep_ended_jobs", duration_key("keep_ended_jobs", &scheduler::CoreOptions::ended_kept_ms)},
      {"overtaking_ends_after",
       duration_key("overtaking_ends_after", &scheduler::CoreOptions::overtaking_ends_after_ms)},
      {"keep_ended_pods",
       [](const YAML::Node& node, ServerConfig& config) {
         std::int64_t pods = 0;
         Status done = integer_of(node, "keep_ended_pods", 0, 1'000'000'000, pods);
         config.server.core.ended_pods_kept = static_cast<std::uint64_t>(pods);
         return done;
       }},
      {"requests_per_second",
       [](const YAML::Node& node, ServerConfig& config) {
         std::int64_t rate = 0;
         Status done = integer_of(node, "requests_per_second", 0, 10'000'000, rate);
         config.server.requests_per_second_max = static_cast<std::uint32_t>(rate);
         return done;
       }},
      {"admins", set_admins},
      {"queues", set_queues},
  };
  return kSetters;
}

}  // namespace

Status read_server_config(const std::string& path, ServerConfig& config) {
  const auto at = [&](const YAML::Mark& mark, const std::string& message) {
    return state::invalid("config", path + ":" + std::to_string(mark.line + 1) + ": " + message);
  };
  YAML::Node root;
  try {
    root = YAML::LoadFile(path);
  } catch (const YAML::BadFile&) {
    return state::invalid("config", "cannot read " + path);
  } catch (const YAML::Exception& error) {
    return at(error.mark, "not YAML: " + error.msg);
  }
  if (root.IsNull()) return Unit{};
  if (!root.IsMap()) return at(root.Mark(), "a map of settings is expected");
  std::string known;
  for (const auto& [key, unused] : setters()) known += (known.empty() ? "" : ", ") + key;
  std::map<std::string, bool> seen;
  for (const auto& field : root) {
    if (!field.first.IsScalar()) return at(field.first.Mark(), "a setting's name is expected");
    const std::string key = field.first.Scalar();
    const auto setter = setters().find(key);
    if (setter == setters().end()) return at(field.first.Mark(), "unknown setting '" + key + "'; accepted: " + known);
    if (std::exchange(seen[key], true)) return at(field.first.Mark(), "'" + key + "' is set twice");
    if (Status done = setter->second(field.second, config); !done) return at(field.second.Mark(), done.error().message);
  }
  return Unit{};
}

}  // namespace berth::tools
