#include "tools/roots/server_config.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <pwd.h>
#include <set>
#include <sstream>
#include <sys/mman.h>
#include <yaml-cpp/yaml.h>

#include "api/wire/connection.h"
#include "placement/huge_memory.h"
#include "scheduler/network.h"
#include "state/condition.h"
#include "state/units.h"
#include "tools/cli/text.h"

namespace berth::tools {

using state::Result;
using state::Status;
using state::Unit;

namespace {

// What is wrong and where; none: all is well.
struct Fault {
  YAML::Mark mark;
  std::string message;
};
using Outcome = std::optional<Fault>;
using Setter = std::function<Outcome(const YAML::Node&, ServerConfig&)>;
using Setters = std::map<std::string, Setter>;

constexpr std::int64_t kHeartbeatMsMin = 100, kHeartbeatMsMax = 3'600'000;

Outcome fault(const YAML::Node& node, const std::string& key, const std::string& message) {
  return Fault{node.Mark(), key + ": " + message};
}

Outcome text_of(const YAML::Node& node, const std::string& key, std::string& out) {
  if (!node.IsScalar()) return fault(node, key, "a single value is expected");
  if (node.Scalar().empty()) return fault(node, key, "the value is empty");
  out = node.Scalar();
  return {};
}

// A scalar that `parse` understands.
template <class T>
Outcome parsed_of(const YAML::Node& node, const std::string& key,
                  const std::function<Result<T>(const std::string&)>& parse, T& out) {
  std::string text;
  if (Outcome wrong = text_of(node, key, text)) return wrong;
  auto value = parse(text);
  if (!value) return fault(node, key, value.error().message);
  out = *value;
  return {};
}

Outcome duration_of(const YAML::Node& node, const std::string& key, std::int64_t& out) {
  return parsed_of<std::int64_t>(
      node, key, [&](const std::string& text) { return state::parse_duration_ms(text, key); }, out);
}

Outcome integer_of(const YAML::Node& node, const std::string& key, std::int64_t min, std::int64_t max,
                   std::int64_t& out) {
  return parsed_of<std::int64_t>(
      node, key, [&](const std::string& text) { return state::parse_integer(text, key, min, max); }, out);
}

Outcome heartbeat_of(const YAML::Node& node, ServerConfig& config) {
  std::int64_t ms = 0;
  if (Outcome wrong = duration_of(node, "heartbeat", ms)) return wrong;
  if (Status good = check_heartbeat(ms, "heartbeat"); !good) return fault(node, "heartbeat", good.error().message);
  config.server.core.heartbeat_ms = ms;
  return {};
}

Outcome set_admins(const YAML::Node& node, ServerConfig& config) {
  if (!node.IsSequence()) return fault(node, "admins", "a list of user names or uids is expected");
  for (const YAML::Node& entry : node) {
    std::string name;
    if (Outcome wrong = text_of(entry, "admins", name)) return wrong;
    if (const auto uid = state::parse_integer(name, "admins", 0, 4'294'967'294LL); uid.ok()) {
      config.server.admin_uids.push_back(static_cast<std::uint32_t>(*uid));
    } else if (const passwd* user = ::getpwnam(name.c_str()); user != nullptr) {
      config.server.admin_uids.push_back(user->pw_uid);
    } else {
      return fault(entry, "admins", "there is no user '" + name + "'");
    }
  }
  return {};
}

// Calls each setter of a map, and refuses what none is for and what is there twice.
template <class Set>
Outcome each_field(const YAML::Node& map, const std::string& what, const std::string& accepted, Set&& set) {
  std::set<std::string> seen;
  for (const auto& field : map) {
    if (!field.first.IsScalar()) return Fault{field.first.Mark(), "the name of a " + what + " is expected"};
    const std::string key = field.first.Scalar();
    if (!seen.insert(key).second) return Fault{field.first.Mark(), "'" + key + "' is set twice"};
    bool known = true;
    if (Outcome wrong = set(key, field.second, known)) return wrong;
    if (!known) return Fault{field.first.Mark(), "unknown " + what + " '" + key + "'; accepted: " + accepted};
  }
  return {};
}

Outcome names_of(const YAML::Node& node, const std::string& key, std::vector<std::string>& out) {
  if (!node.IsSequence()) return fault(node, key, "a list of names is expected");
  for (const YAML::Node& entry : node) {
    if (Outcome wrong = text_of(entry, key, out.emplace_back())) return wrong;
  }
  return {};
}

constexpr const char* kQueueFields =
    "name, priority, time_limit, default_time, nodes, max_nodes, state, users, accounts, tier, preempt";

Outcome set_queue_field(const std::string& key, const YAML::Node& value, state::Queue& queue, bool& known) {
  std::int64_t number = 0;
  if (key == "name") return text_of(value, key, queue.name);
  if (key == "time_limit") return duration_of(value, key, queue.time_limit_ms);
  if (key == "default_time") return duration_of(value, key, queue.time_default_ms);
  if (key == "users") return names_of(value, key, queue.users);
  if (key == "accounts") return names_of(value, key, queue.accounts);
  if (key == "nodes") {
    if (Outcome wrong = text_of(value, key, queue.where)) return wrong;
    if (auto parsed = state::Condition::parse(queue.where, key); !parsed) {
      return fault(value, key, parsed.error().message);
    }
    return {};
  }
  if (key == "state") {
    std::string text;
    if (Outcome wrong = text_of(value, key, text)) return wrong;
    using State = state::Queue::State;
    for (const State state : {State::kUp, State::kDown, State::kDraining, State::kInactive}) {
      queue.state = state;
      if (state::name_of(state) == text) return {};
    }
    return fault(value, key, "'" + text.substr(0, 64) + "' is no state; accepted: up, down, draining, inactive");
  }
  if (key == "tier") {
    if (Outcome wrong = integer_of(value, key, -state::kTierMax, state::kTierMax, number)) return wrong;
    queue.tier = static_cast<std::int32_t>(number);
    return {};
  }
  if (key == "preempt") {
    std::string text;
    if (Outcome wrong = text_of(value, key, text)) return wrong;
    for (const state::Preempt one : {state::Preempt::kOff, state::Preempt::kRequeue, state::Preempt::kCancel}) {
      queue.preempt = one;
      if (state::name_of(one) == text) return {};
    }
    return fault(value, key, "'" + text.substr(0, 64) + "'; accepted: off, requeue, cancel");
  }
  if (key == "max_nodes") {
    if (Outcome wrong = integer_of(value, key, 0, state::kMaxGangSize, number)) return wrong;
    queue.nodes_max = static_cast<std::uint32_t>(number);
    return {};
  }
  known = key == "priority";
  if (!known) return {};
  if (Outcome wrong = integer_of(value, key, -1'000'000, 1'000'000, number)) return wrong;
  queue.priority = static_cast<std::int32_t>(number);
  return {};
}

Outcome set_licences(const YAML::Node& node, ServerConfig& config) {
  if (!node.IsMap()) return fault(node, "licences", "a map of names to numbers is expected");
  for (const auto& entry : node) {
    std::string name;
    if (Outcome wrong = text_of(entry.first, "licences", name)) return wrong;
    if (!state::is_countable_name(name)) {
      return fault(entry.first, "licences", "'" + name.substr(0, 64) + "' is not the name of a licence");
    }
    std::int64_t total = 0;
    if (Outcome wrong = integer_of(entry.second, name, 0, static_cast<std::int64_t>(state::kCountMax), total)) {
      return wrong;
    }
    config.server.licences.push_back({name, static_cast<std::uint64_t>(total)});
  }
  return {};
}

Outcome set_switches(const YAML::Node& node, ServerConfig& config) {
  return parsed_of<placement::SwitchTree>(
      node, "switches", [](const std::string& path) { return read_switches(path, "switches"); },
      config.server.core.switches);
}

Outcome set_queue(const YAML::Node& entry, ServerConfig& config) {
  if (!entry.IsMap()) return fault(entry, "queues", "each queue is a map with name, priority, time_limit, …");
  state::Queue queue;
  Outcome wrong = each_field(entry, "field of a queue", kQueueFields,
                             [&](const std::string& key, const YAML::Node& value, bool& known) {
                               return set_queue_field(key, value, queue, known);
                             });
  if (wrong) return wrong;
  if (queue.name.empty()) return fault(entry, "queues", "a queue has no name");
  if (queue.name.size() > state::kMaxNameBytes || queue.name.find_first_of(" \t\n/") != std::string::npos) {
    return fault(
        entry, "queues",
        "'" + queue.name.substr(0, 64) + "' is not a queue's name; accepted: 1 to 255 bytes without blanks or slashes");
  }
  auto& queues = config.server.queues;
  if (std::any_of(queues.begin(), queues.end(), [&](const state::Queue& other) { return other.name == queue.name; }))
    return fault(entry, "queues", "queue '" + queue.name + "' is there twice");
  queues.push_back(std::move(queue));
  return {};
}

Outcome set_accounting(const YAML::Node& node, ServerConfig& config) {
  std::string where;
  if (Outcome wrong = text_of(node, "accounting", where)) return wrong;
  if (Status good = server::check_accounting(where, "accounting"); !good) {
    return fault(node, "accounting", good.error().message);
  }
  config.server.accounting.where = where;
  return {};
}

Outcome set_queues(const YAML::Node& node, ServerConfig& config) {
  if (!node.IsSequence()) return fault(node, "queues", "a list of queues is expected");
  for (const YAML::Node& entry : node) {
    if (Outcome wrong = set_queue(entry, config)) return wrong;
  }
  return {};
}

Setter text_key(const char* key, std::string& (*where)(ServerConfig&)) {
  return [=](const YAML::Node& node, ServerConfig& config) { return text_of(node, key, where(config)); };
}

Setter share_key(const char* key, Status (*set)(const std::string&, const std::string&, scheduler::FairShare&)) {
  return [=](const YAML::Node& node, ServerConfig& config) -> Outcome {
    std::string text;
    if (Outcome wrong = text_of(node, key, text)) return wrong;
    if (Status good = set(text, key, config.server.core.shares); !good) return fault(node, key, good.error().message);
    return {};
  };
}

Setter duration_key(const char* key, std::int64_t scheduler::CoreOptions::*member) {
  return
      [=](const YAML::Node& node, ServerConfig& config) { return duration_of(node, key, config.server.core.*member); };
}

template <class T>
Setter number_key(const char* key, std::int64_t max, T& (*where)(ServerConfig&)) {
  return [=](const YAML::Node& node, ServerConfig& config) -> Outcome {
    std::int64_t value = 0;
    if (Outcome wrong = integer_of(node, key, 0, max, value)) return wrong;
    where(config) = static_cast<T>(value);
    return {};
  };
}

Setter network_key(const char* key, std::string scheduler::CoreOptions::*where) {
  return [=](const YAML::Node& node, ServerConfig& config) -> Outcome {
    std::string text;
    if (Outcome wrong = text_of(node, key, text)) return wrong;
    if (Status good = set_network(text, key, config.server.core.*where); !good) {
      return fault(node, key, good.error().message);
    }
    return {};
  };
}

const Setters& setters() {
  using Core = scheduler::CoreOptions;
  static const Setters kSetters = {
      {"data", text_key("data", [](ServerConfig& c) -> std::string& { return c.server.data_directory; })},
      {"socket", text_key("socket", [](ServerConfig& c) -> std::string& { return c.server.unix_socket; })},
      {"listen", text_key("listen", [](ServerConfig& c) -> std::string& { return c.server.listen; })},
      {"advertise", text_key("advertise", [](ServerConfig& c) -> std::string& { return c.advertise; })},
      {"store",
       [](const YAML::Node& node, ServerConfig& config) -> Outcome {
         if (Outcome wrong = text_of(node, "store", config.store)) return wrong;
         if (const auto url = etcd::parse_etcd_url(config.store, "store"); !url)
           return fault(node, "store", url.error().message);
         return {};
       }},
      {"lease_ms",
       [](const YAML::Node& node, ServerConfig& config) -> Outcome {
         std::string text;
         if (Outcome wrong = text_of(node, "lease_ms", text)) return wrong;
         if (Status good = set_lease(text, "lease_ms", config.shared); !good)
           return fault(node, "lease_ms", good.error().message);
         return {};
       }},
      {"placement",
       [](const YAML::Node& node, ServerConfig& config) {
         return parsed_of<const placement::Policy*>(
             node, "placement", [](const std::string& text) { return parse_placement(text, "placement"); },
             config.server.core.placement);
       }},
      {"scheduling",
       [](const YAML::Node& node, ServerConfig& config) {
         return parsed_of<const scheduler::QueuePolicy*>(
             node, "scheduling",
             [](const std::string& text) { return scheduler::parse_queue_policy(text, "scheduling"); },
             config.server.core.queueing);
       }},
      {"cluster", text_key("cluster", [](ServerConfig& c) -> std::string& { return c.server.core.cluster_name; })},
      {"node_lost_after", duration_key("node_lost_after", &Core::node_lost_after_ms)},
      {"heartbeat", heartbeat_of},
      {"keep_ended_jobs", duration_key("keep_ended_jobs", &Core::ended_kept_ms)},
      {"overtaking_ends_after", duration_key("overtaking_ends_after", &Core::overtaking_ends_after_ms)},
      {"keep_ended_pods",
       number_key<std::uint64_t>("keep_ended_pods", 1'000'000'000,
                                 [](ServerConfig& c) -> std::uint64_t& { return c.server.core.ended_pods_kept; })},
      {"requests_per_second",
       number_key<std::uint32_t>("requests_per_second", 10'000'000,
                                 [](ServerConfig& c) -> std::uint32_t& { return c.server.requests_per_second_max; })},
      {"fair_share", share_key("fair_share", set_fair_share)},
      {"fair_share_half_life", share_key("fair_share_half_life", set_half_life)},
      {"fair_share_cpus_per_gpu",
       number_key<std::uint32_t>("fair_share_cpus_per_gpu", 10'000,
                                 [](ServerConfig& c) -> std::uint32_t& { return c.server.core.shares.cpus_per_gpu; })},
      {"pods_network", network_key("pods_network", &Core::pods_cidr)},
      {"services_network", network_key("services_network", &Core::services_cidr)},
      {"accounting", set_accounting},
      {"accounting_keep",
       [](const YAML::Node& node, ServerConfig& config) -> Outcome {
         if (node.IsScalar() && node.Scalar() == "none") {
           config.server.accounting.keep_ms = 0;
           return {};
         }
         return duration_of(node, "accounting_keep", config.server.accounting.keep_ms);
       }},
      {"metrics",
       [](const YAML::Node& node, ServerConfig& config) -> Outcome {
         std::string text;
         if (Outcome wrong = text_of(node, "metrics", text)) return wrong;
         if (Status good = set_metrics(text, "metrics", config.server.metrics); !good)
           return fault(node, "metrics", good.error().message);
         return {};
       }},
      {"admins", set_admins},
      {"queues", set_queues},
      {"licences", set_licences},
      {"switches", set_switches},
  };
  return kSetters;
}

}  // namespace

Result<const placement::Policy*> parse_placement(const std::string& name, const std::string& field) {
  if (const placement::Policy* policy = placement::find_policy(name)) return policy;
  std::vector<std::string> names;
  for (const placement::Policy& policy : placement::policies()) names.emplace_back(policy.name);
  return state::invalid(field, "there is no policy '" + printable(name) + "'; accepted: " + join(names, ", "));
}

Result<placement::SwitchTree> read_switches(const std::string& path, const std::string& field) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return state::invalid(field, "cannot read " + path);
  auto tree = placement::SwitchTree::parse(text.str());
  if (!tree) return state::invalid(field, path + ": " + tree.error().message);
  return tree;
}

Status set_fair_share(const std::string& text, const std::string& field, scheduler::FairShare& shares) {
  shares.head_start = 0;
  if (text == "none") return Unit{};
  const auto ms = state::parse_duration_ms(text, field);
  if (!ms) return ms.error();
  shares.head_start = *ms * 1000;
  return Unit{};
}

Status set_half_life(const std::string& text, const std::string& field, scheduler::FairShare& shares) {
  shares.half_life = 0;
  if (text == "none") return Unit{};
  const auto ms = state::parse_duration_ms(text, field);
  if (!ms) return ms.error();
  shares.half_life = *ms * 1000;
  return Unit{};
}

Status set_network(const std::string& text, const std::string& field, std::string& cidr) {
  if (text == "none") {
    cidr.clear();
    return Unit{};
  }
  if (!scheduler::parse_cidr(text)) {
    return state::invalid(field, "'" + text + "' is no IPv4 network; accepted: as 10.144.0.0/16, or none");
  }
  cidr = text;
  return Unit{};
}

Status set_metrics(const std::string& text, const std::string& field, std::string& address) {
  address.clear();
  if (text == "none") return Unit{};
  const auto endpoint = wire::parse_endpoint(text, field);
  if (!endpoint || endpoint->is_unix) {
    return state::invalid(field, "'" + printable(text) + "' is not an address of a port; accepted: HOST:PORT, or none");
  }
  address = text;
  return Unit{};
}

Status set_lease(const std::string& text, const std::string& field, etcd::MemberOptions& options) {
  const auto ms = state::parse_integer(text, field, etcd::kLeaseMsMin, etcd::kLeaseMsMax);
  if (!ms) return ms.error();
  options.lease_ms = *ms;
  return Unit{};
}

Status check_heartbeat(std::int64_t ms, const std::string& field) {
  if (ms >= kHeartbeatMsMin && ms <= kHeartbeatMsMax) return Unit{};
  return state::invalid(field, std::to_string(ms) + " ms between heartbeats; accepted: 100ms to 1h");
}

Status read_server_config(const std::string& path, ServerConfig& config) {
  const auto at = [&](const YAML::Mark& mark, const std::string& message) {
    return state::invalid("config", path + ":" + std::to_string(mark.line + 1) + ": " + message);
  };
  // A directory opens as a file does, and reads as if it were empty.
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return state::invalid("config", path + " is a directory");
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
  std::string accepted;
  for (const auto& [key, unused] : setters()) accepted += (accepted.empty() ? "" : ", ") + key;
  const Outcome wrong = each_field(root, "setting", accepted,
                                   [&](const std::string& key, const YAML::Node& value, bool& known) -> Outcome {
                                     const auto setter = setters().find(key);
                                     known = setter != setters().end();
                                     return known ? setter->second(value, config) : Outcome{};
                                   });
  if (wrong) return at(wrong->mark, wrong->message);
  return Unit{};
}

void use_huge_pages() {
  placement::ask_for_huge_pages = [](void* memory, std::size_t bytes) {
    (void)madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: refused, pages are small
  };
}

}  // namespace berth::tools
