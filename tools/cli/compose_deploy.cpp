// How a service is deployed, and how its health is found out.
#include <algorithm>
#include <utility>

#include "tools/cli/compose_reader.h"
#include "tools/cli/compose_text.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

Status ComposeReader::deploy(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  using R = ComposeReader;
  static const std::map<std::string, Setter> kKeys = {
      {"replicas", &R::replicas},
      {"mode", &R::mode},
      {"update_config", &R::update_config},
      {"rollback_config", &R::rollback_config},
      {"restart_policy", &R::restart_policy},
      {"resources", &R::resources},
      {"placement", &R::placement},
      {"labels", &R::labels},
      {"endpoint_mode", &R::endpoint_mode},
  };
  return each_key(value, "deploy", kKeys, draft);
}

Status ComposeReader::time(const YAML::Node& value, const std::string& key, std::int64_t& to) {
  auto word = text(value, key);
  if (!word) return word.error();
  const auto parsed = compose_time(*word);
  if (!parsed) return wrong(value, key, parsed.error().message);
  to = *parsed;
  return Unit{};
}

Status ComposeReader::replicas(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  return number(value, "replicas", kReplicasMax, draft.service.status.replicas);
}

Status ComposeReader::mode(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  auto word = text(value, "mode");
  if (!word) return word.error();
  if (*word != "replicated" && *word != "global") {
    return wrong(value, "mode", "accepted: replicated or global (jobs are submitted, see 'berth submit')");
  }
  draft.service.per_node = *word == "global";
  return Unit{};
}

Status ComposeReader::policy(const YAML::Node& value, const std::string& of, UpdatePolicy& to, bool rollback) {
  if (!value.IsMap()) return wrong(value, of, "accepted: a mapping");
  for (const auto& entry : value) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    Status good = Unit{};
    if (key == "parallelism") {
      good = number(entry.second, key, kReplicasMax, to.parallelism);
    } else if (key == "delay") {
      good = time(entry.second, key, to.delay_ms);
    } else if (key == "monitor") {
      good = time(entry.second, key, to.monitor_ms);
    } else if (key == "order") {
      const bool known =
          entry.second.IsScalar() && (entry.second.Scalar() == "start-first" || entry.second.Scalar() == "stop-first");
      if (!known) return wrong(entry.second, key, "accepted: start-first or stop-first");
      to.start_first = entry.second.Scalar() == "start-first";
    } else if (key == "failure_action") {
      using Action = UpdatePolicy::OnFailure;
      const std::string action = entry.second.IsScalar() ? entry.second.Scalar() : "";
      if (action != "pause" && action != "continue" && (action != "rollback" || rollback)) {
        return wrong(entry.second, key,
                     rollback ? "accepted: pause or continue" : "accepted: pause, continue or rollback");
      }
      to.on_failure = action == "pause" ? Action::kPause : action == "continue" ? Action::kContinue : Action::kRollback;
    } else if (key == "max_failure_ratio") {
      const std::string ratio = entry.second.IsScalar() ? entry.second.Scalar() : "";
      if (ratio != "0" && ratio != "0.0") {
        return wrong(entry.second, key, "only 0 is supported; 'x-berth: {update-max-failures: N}' is a number of them");
      }
    } else {
      return refused(entry.first, key);
    }
    if (!good) return good;
  }
  return Unit{};
}

Status ComposeReader::update_config(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  return policy(value, "update_config", draft.service.update, false);
}

Status ComposeReader::rollback_config(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  return policy(value, "rollback_config", draft.service.rollback, true);
}

Status ComposeReader::restart_policy(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  if (!value.IsMap()) return wrong(value, "restart_policy", "accepted: a mapping");
  RestartPolicy& to = draft.service.restart;
  for (const auto& entry : value) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    Status good = Unit{};
    if (key == "condition") {
      const std::string when = entry.second.IsScalar() ? entry.second.Scalar() : "";
      if (when != "any" && when != "on-failure" && when != "none") {
        return wrong(entry.second, key, "accepted: any, on-failure or none");
      }
      to.when = when == "any"    ? RestartPolicy::When::kAny
                : when == "none" ? RestartPolicy::When::kNever
                                 : RestartPolicy::When::kOnFailure;
    } else if (key == "delay") {
      good = time(entry.second, key, to.delay_ms);
      to.delay_max_ms = std::max(to.delay_max_ms, to.delay_ms);
    } else if (key == "window") {
      good = time(entry.second, key, to.window_ms);
    } else if (key == "max_attempts") {
      good = number(entry.second, key, 1'000'000, to.attempts_max);
    } else {
      return refused(entry.first, key);
    }
    if (!good) return good;
  }
  return Unit{};
}

Status ComposeReader::resources(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  if (!value.IsMap()) return wrong(value, "resources", "accepted: a mapping");
  // A pod is given what it asks for, and that is its limit: what a limit says comes before what is reserved.
  for (const char* part : {"reservations", "limits"}) {
    const YAML::Node amounts = value[part];
    if (!amounts.IsDefined() || amounts.IsNull()) continue;
    if (!amounts.IsMap()) return wrong(amounts, part, "accepted: a mapping");
    for (const auto& entry : amounts) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
      auto word = text(entry.second, key);
      if (key != "cpus" && key != "memory") return refused(entry.first, key);
      if (!word) return word.error();
      if (key == "cpus") {
        const auto cpus = parse_cpu_milli(*word, key);
        if (!cpus) return wrong(entry.second, key, cpus.error().message);
        draft.job.request.resources.cpu_milli = *cpus;
      } else {
        const auto mib = compose_mib(*word);
        if (!mib) return wrong(entry.second, key, mib.error().message);
        draft.job.request.resources.mem_mib = *mib;
      }
    }
  }
  for (const auto& entry : value) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (key != "limits" && key != "reservations") return refused(entry.first, key);
  }
  return Unit{};
}

Status ComposeReader::placement(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  if (!value.IsMap()) return wrong(value, "placement", "accepted: a mapping");
  for (const auto& entry : value) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (key == "constraints") {
      auto list = words(entry.second, key);
      if (!list) return list.error();
      for (const std::string& constraint : *list) {
        if (Status good = constrain(entry.second, constraint, draft); !good) return good;
      }
    } else if (key == "max_replicas_per_node") {
      if (!entry.second.IsScalar() || entry.second.Scalar() != "1") {
        return wrong(entry.second, key, "only 1 is supported");
      }
      draft.job.request.rules.push_back({PodRule::Kind::kApart, false, "", "node", 1});
    } else {
      return refused(entry.first, key);
    }
  }
  return Unit{};
}

Status ComposeReader::constrain(const YAML::Node& node, const std::string& constraint, ServiceDraft& draft) {
  const bool unequal = constraint.find("!=") != std::string::npos;
  const std::size_t at_op = constraint.find(unequal ? "!=" : "==");
  const auto trimmed = [](std::string text) {
    while (!text.empty() && text.front() == ' ') text.erase(0, 1);
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
  };
  const std::string accepted = "accepted: node.labels.NAME or node.hostname, with == or != and a value";
  if (at_op == std::string::npos) return wrong(node, "constraints", accepted);
  std::string name = trimmed(constraint.substr(0, at_op));
  const std::string value = trimmed(constraint.substr(at_op + 2));
  if (name == "node.hostname") {
    name = "node";
  } else if (name.starts_with("node.labels.")) {
    name = name.substr(12);
  } else {
    return wrong(node, "constraints", accepted);
  }
  const auto& fields = job_fields();
  const auto where =
      std::find_if(fields.begin(), fields.end(), [](const JobField& f) { return std::string_view(f.name) == "where"; });
  const std::string condition = name + (unequal ? "!=" : "=") + value;
  if (Status good = where->set(draft.job, condition, "constraints"); !good) {
    return wrong(node, "constraints", good.error().message);
  }
  return Unit{};
}

Status ComposeReader::endpoint_mode(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  const std::string word = value.IsScalar() ? value.Scalar() : "";
  if (word != "vip" && word != "dnsrr") return wrong(value, "endpoint_mode", "accepted: vip or dnsrr");
  draft.service.headless = word == "dnsrr";
  return Unit{};
}

Status ComposeReader::healthcheck(const YAML::Node&, const YAML::Node& value, ServiceDraft& draft) {
  if (!value.IsMap()) return wrong(value, "healthcheck", "accepted: a mapping");
  Probe probe;
  probe.period_ms = 30'000;  // Compose's own defaults
  probe.timeout_ms = 30'000;
  bool given = false;
  for (const auto& entry : value) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    Status good = Unit{};
    if (key == "test") {
      auto list = words(entry.second, key);
      if (!list) return list.error();
      const std::string kind = list->empty() || entry.second.IsScalar() ? "CMD-SHELL" : list->front();
      if (kind == "NONE") return Unit{};
      if (kind != "CMD" && kind != "CMD-SHELL") return wrong(entry.second, key, "accepted: CMD, CMD-SHELL or NONE");
      if (!entry.second.IsScalar()) list->erase(list->begin());
      if (list->empty()) return wrong(entry.second, key, "has no command");
      probe.argv = kind == "CMD" ? *list : std::vector<std::string>{"/bin/sh", "-c", list->front()};
      given = true;
    } else if (key == "interval") {
      good = time(entry.second, key, probe.period_ms);
    } else if (key == "timeout") {
      good = time(entry.second, key, probe.timeout_ms);
    } else if (key == "start_period") {
      good = time(entry.second, key, probe.delay_ms);
    } else if (key == "retries") {
      good = number(entry.second, key, 1000, probe.failures);
    } else if (key == "disable") {
      const auto off = truth(entry.second, key);
      if (!off) return off.error();
      if (*off) return Unit{};
    } else {
      return refused(entry.first, key);
    }
    if (!good) return good;
  }
  if (!given) return wrong(value, "healthcheck", "has no test (what the image itself says is not looked at)");
  // Until the test is good once it may fail, for start_period and the retries.
  const std::int64_t start_ms = std::exchange(probe.delay_ms, 0);
  draft.start = start_probe_of(probe, start_ms);
  draft.ready = probe;
  draft.live = probe;
  return Unit{};
}

}  // namespace berth::tools
