#include "tools/cli/service_draft.h"

#include <algorithm>
#include <set>
#include <span>

#include "state/units.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr const char* kService = "The service";
constexpr const char* kNetwork = "How it is reached";
constexpr const char* kHealth = "Health";
constexpr const char* kUpdate = "Updates";
constexpr const char* kRestart = "Restarts";
constexpr std::int64_t kStartMs = 60'000;  // that a replica has to become healthy for the first time
constexpr const char* kTime = "a length of time: 500ms, 5s, 2m";
constexpr const char* kProbe = "http:PORT/PATH, tcp:PORT or cmd:COMMAND, with ,every=5s,timeout=1s,failures=3,delay=0s";

Error setting_not_accepted(std::string_view value, std::string_view field, const std::string& accepted) {
  return invalid(std::string(field), "'" + printable(clip(value, 64)) + "' is not accepted; accepted: " + accepted);
}

template <class To>
Status put_number(std::string_view value, std::string_view field, std::int64_t least, std::int64_t most, To& to) {
  const auto number = parse_integer(value, field, least, most);
  if (!number) return number.error();
  to = static_cast<To>(*number);
  return Unit{};
}

// "0" is a time, too.
Status put_time(std::string_view value, std::string_view field, std::int64_t& to) {
  if (value == "0" || value == "0s" || value == "0ms") {
    to = 0;
    return Unit{};
  }
  if (value.ends_with("ms")) return put_number(value.substr(0, value.size() - 2), field, 0, 86'400'000, to);
  const auto parsed = parse_duration_ms(value, field);
  if (!parsed) return parsed.error();
  to = *parsed;
  return Unit{};
}

Status put_order(std::string_view value, std::string_view field, bool& start_first) {
  if (value != "start-first" && value != "stop-first")
    return setting_not_accepted(value, field, "start-first or stop-first");
  start_first = value == "start-first";
  return Unit{};
}

Status put_action(std::string_view value, std::string_view field, UpdatePolicy::OnFailure& to) {
  using Then = UpdatePolicy::OnFailure;
  for (const Then action : {Then::kPause, Then::kContinue, Then::kRollback}) {
    if (name_of(action) != value) continue;
    to = action;
    return Unit{};
  }
  return setting_not_accepted(value, field, "pause, continue or rollback");
}

Status put_when(std::string_view value, std::string_view field, RestartPolicy::When& to) {
  using When = RestartPolicy::When;
  for (const When when : {When::kAny, When::kOnFailure, When::kNever}) {
    if (name_of(when) != value && !(when == When::kNever && value == "none")) continue;
    to = when;
    return Unit{};
  }
  return setting_not_accepted(value, field, "any, on-failure or never");
}

template <std::optional<Probe> ServiceDraft::*Which>
Status put_probe(ServiceDraft& draft, std::string_view value, std::string_view field) {
  if (value == "none") {
    (draft.*Which).reset();
    return Unit{};
  }
  auto probe = parse_probe(value, field);
  if (!probe) return probe.error();
  draft.*Which = std::move(*probe);
  return Unit{};
}

Status add_port(ServiceDraft& draft, const Result<ServicePort>& port) {
  if (!port) return port.error();
  // The same port again replaces the one before; where it is published, it stays so.
  for (ServicePort& known : draft.service.ports) {
    if (known.port != port->port || known.protocol != port->protocol) continue;
    const std::uint16_t published = port->published != 0 ? port->published : known.published;
    known = *port;
    known.published = published;
    return Unit{};
  }
  draft.service.ports.push_back(*port);
  return Unit{};
}

struct PortText {
  std::string_view name, first, second;
  Protocol protocol = Protocol::kTcp;
};

std::optional<PortText> split_port(std::string_view text) {
  PortText out;
  if (const std::size_t slash = text.rfind('/'); slash != std::string_view::npos) {
    const std::string_view protocol = text.substr(slash + 1);
    if (protocol != "tcp" && protocol != "udp") return std::nullopt;
    out.protocol = protocol == "udp" ? Protocol::kUdp : Protocol::kTcp;
    text = text.substr(0, slash);
  }
  if (const std::size_t equals = text.find('='); equals != std::string_view::npos) {
    out.name = text.substr(0, equals);
    text = text.substr(equals + 1);
  }
  const std::size_t colon = text.find(':');
  out.first = text.substr(0, colon);
  if (colon != std::string_view::npos) out.second = text.substr(colon + 1);
  return out;
}

std::vector<ServiceField> make_service_fields() {
  using enum FieldShape;
  using D = ServiceDraft;
  using V = std::string_view;
  return {
      {"replicas", "--replicas", "N", kText, kService, "how many should always run (default: 1)",
       "a whole number from 0 to 100000",
       [](D& d, V v, V f) { return put_number(v, f, 0, kReplicasMax, d.service.status.replicas); }},
      {"every-node", "--every-node", nullptr, kFlag, kService,
       "one on every node that can hold it, instead of a number", "true or false",
       [](D& d, V v, V) {
         d.service.per_node = v == "true";
         return Status(Unit{});
       }},
      {"namespace", "--namespace", "NAME", kText, kService, "its name is unique there (default: default)",
       "a name of a-z 0-9 and -",
       [](D& d, V v, V) {
         d.service.space = v;
         return Status(Unit{});
       }},
      {"publish", "-p,--publish", "PORT:TARGET", kList, kNetwork,
       "reach it at PORT of every node; TARGET is the port in the pod. With /udp behind it, or NAME= in front of it",
       "a list of PORT:TARGET, each with /tcp or /udp",
       [](D& d, V v, V f) { return add_port(d, parse_publish(v, f)); }},
      {"ports", "--port", "PORT[:TARGET]", kList, kNetwork,
       "reach it at PORT of its own address and name, within the cluster; likewise", "a list of PORT or PORT:TARGET",
       [](D& d, V v, V f) {
         auto port = parse_publish(v, f);
         if (!port) return Status(port.error());
         if (port->published != 0) port->port = port->published;
         port->published = 0;
         return add_port(d, port);
       }},
      {"headless", "--headless", nullptr, kFlag, kNetwork, "no address of its own: its name leads to all of its pods",
       "true or false",
       [](D& d, V v, V) {
         d.service.headless = v == "true";
         return Status(Unit{});
       }},
      {"sticky", "--sticky", nullptr, kFlag, kNetwork, "a client's connections all go to the same pod", "true or false",
       [](D& d, V v, V) {
         d.service.sticky = v == "true";
         return Status(Unit{});
       }},
      {"network", "--network", "MODE", kText, kNetwork,
       "pods: every pod has an address of its own (default with an image); host: the node's (default without)",
       "pods or host",
       [](D& d, V v, V f) {
         if (v != "pods" && v != "host") return Status(setting_not_accepted(v, f, "pods or host"));
         d.network = v == "pods" ? NetworkMode::kPods : NetworkMode::kHost;
         return Status(Unit{});
       }},
      {"health", "--health", "PROBE", kText, kHealth,
       "a replica takes requests while this is good, and is replaced when it is not (it has a minute to begin): "
       "http:8080/healthz, tcp:5432 or 'cmd:pg_isready -q', with ,every=5s,timeout=1s,failures=3,delay=0s; none for "
       "none",
       kProbe,
       [](D& d, V v, V f) {
         if (Status good = put_probe<&D::ready>(d, v, f); !good) return good;
         d.live = d.ready;
         d.start = d.ready ? std::optional<Probe>(start_probe_of(*d.ready, kStartMs)) : std::nullopt;
         return Status(Unit{});
       }},
      {"ready", "--ready", "PROBE", kText, kHealth, "only this: whether it takes requests", kProbe,
       put_probe<&D::ready>},
      {"live", "--live", "PROBE", kText, kHealth, "only this: whether it is replaced", kProbe, put_probe<&D::live>},
      {"started", "--started", "PROBE", kText, kHealth, "until this is good once the others are not asked", kProbe,
       put_probe<&D::start>},
      {"update-parallelism", "--update-parallelism", "N", kText, kUpdate, "replicas at a time; 0 is all (default: 1)",
       "a whole number",
       [](D& d, V v, V f) { return put_number(v, f, 0, kReplicasMax, d.service.update.parallelism); }},
      {"update-order", "--update-order", "ORDER", kText, kUpdate,
       "start-first: the new one is ready before the old one is stopped; stop-first: the other way (default)",
       "start-first or stop-first", [](D& d, V v, V f) { return put_order(v, f, d.service.update.start_first); }},
      {"update-delay", "--update-delay", "TIME", kText, kUpdate, "between one helping and the next (default: 0s)",
       kTime, [](D& d, V v, V f) { return put_time(v, f, d.service.update.delay_ms); }},
      {"update-monitor", "--update-monitor", "TIME", kText, kUpdate,
       "a new replica must stay ready for so long (default: 5s)", kTime,
       [](D& d, V v, V f) { return put_time(v, f, d.service.update.monitor_ms); }},
      {"update-ready-within", "--update-ready-within", "TIME", kText, kUpdate,
       "and become ready within this time; 0s: whenever (default: 1m)", kTime,
       [](D& d, V v, V f) { return put_time(v, f, d.service.update.ready_within_ms); }},
      {"update-failure-action", "--update-failure-action", "ACTION", kText, kUpdate,
       "when replicas fail: pause (default), continue, or rollback to the revision before",
       "pause, continue or rollback", [](D& d, V v, V f) { return put_action(v, f, d.service.update.on_failure); }},
      {"update-max-failures", "--update-max-failures", "N", kText, kUpdate, "so many failures are borne (default: 0)",
       "a whole number", [](D& d, V v, V f) { return put_number(v, f, 0, 1'000'000, d.service.update.failures_max); }},
      {"rollback-parallelism", "--rollback-parallelism", "N", kText, kUpdate, "the same, of a rollback",
       "a whole number",
       [](D& d, V v, V f) { return put_number(v, f, 0, kReplicasMax, d.service.rollback.parallelism); }},
      {"rollback-order", "--rollback-order", "ORDER", kText, kUpdate, "likewise", "start-first or stop-first",
       [](D& d, V v, V f) { return put_order(v, f, d.service.rollback.start_first); }},
      {"rollback-delay", "--rollback-delay", "TIME", kText, kUpdate, "likewise", kTime,
       [](D& d, V v, V f) { return put_time(v, f, d.service.rollback.delay_ms); }},
      {"rollback-monitor", "--rollback-monitor", "TIME", kText, kUpdate, "likewise", kTime,
       [](D& d, V v, V f) { return put_time(v, f, d.service.rollback.monitor_ms); }},
      {"rollback-failure-action", "--rollback-failure-action", "ACTION", kText, kUpdate, "pause (default) or continue",
       "pause or continue",
       [](D& d, V v, V f) {
         if (v == "rollback") return Status(setting_not_accepted(v, f, "pause or continue"));
         return put_action(v, f, d.service.rollback.on_failure);
       }},
      {"restart", "--restart-condition", "WHEN", kText, kRestart,
       "replace a replica that ended: any (default), on-failure, or never", "any, on-failure or never",
       [](D& d, V v, V f) { return put_when(v, f, d.service.restart.when); }},
      {"restart-delay", "--restart-delay", "TIME", kText, kRestart,
       "before the second in a row; each one after it waits twice as long (default: 1s)", kTime,
       [](D& d, V v, V f) { return put_time(v, f, d.service.restart.delay_ms); }},
      {"restart-max-delay", "--restart-max-delay", "TIME", kText, kRestart, "the longest such wait (default: 1m)",
       kTime, [](D& d, V v, V f) { return put_time(v, f, d.service.restart.delay_max_ms); }},
      {"restart-max-attempts", "--restart-max-attempts", "N", kText, kRestart,
       "failures in a row before it is given up; 0: never (default)", "a whole number",
       [](D& d, V v, V f) { return put_number(v, f, 0, 1'000'000, d.service.restart.attempts_max); }},
      {"restart-window", "--restart-window", "TIME", kText, kRestart,
       "a replica that stayed for so long begins anew (default: 30s)", kTime,
       [](D& d, V v, V f) { return put_time(v, f, d.service.restart.window_ms); }},
  };
}

}  // namespace

const std::vector<ServiceField>& service_fields() {
  static const std::vector<ServiceField> fields = make_service_fields();
  return fields;
}

bool is_service_job_field(const JobField& field) {
  static const std::set<std::string_view> kOthers = {"name",     "array",      "gang",    "nodes", "per-node",
                                                     "switches", "contiguous", "compact", "time",  "requeue",
                                                     "after",    "begin",      "hold",    "append"};
  return !kOthers.contains(field.name);
}

Result<Probe> parse_probe(std::string_view text, std::string_view field) {
  const auto refused = [&] { return setting_not_accepted(text, field, kProbe); };
  Probe probe;
  probe.period_ms = 5'000;
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return refused();
  const std::string_view kind = text.substr(0, colon);
  std::string_view rest = text.substr(colon + 1);
  // What stands behind the last of these commas is the command's own.
  while (true) {
    const std::size_t comma = rest.rfind(',');
    if (comma == std::string_view::npos) break;
    const std::string_view setting = rest.substr(comma + 1);
    const std::size_t equals = setting.find('=');
    const std::string_view name = setting.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? "" : setting.substr(equals + 1);
    Status good = Unit{};
    if (name == "every") {
      good = put_time(value, field, probe.period_ms);
    } else if (name == "timeout") {
      good = put_time(value, field, probe.timeout_ms);
    } else if (name == "delay") {
      good = put_time(value, field, probe.delay_ms);
    } else if (name == "failures") {
      good = put_number(value, field, 1, 1000, probe.failures);
    } else if (name == "successes") {
      good = put_number(value, field, 1, 1000, probe.successes);
    } else if (kind == "cmd") {
      break;
    } else {
      return refused();
    }
    if (!good) return good.error();
    rest = rest.substr(0, comma);
  }
  if (kind == "cmd") {
    if (rest.empty()) return refused();
    probe.kind = Probe::Kind::kCommand;
    probe.argv = {"/bin/sh", "-c", std::string(rest)};
    return probe;
  }
  if (kind != "http" && kind != "tcp") return refused();
  const std::size_t slash = kind == "http" ? rest.find('/') : std::string_view::npos;
  const auto port = parse_integer(rest.substr(0, slash), field, 1, 65'535);
  if (!port) return refused();
  probe.kind = kind == "http" ? Probe::Kind::kHttp : Probe::Kind::kTcp;
  probe.port = static_cast<std::uint16_t>(*port);
  if (kind == "http") probe.path = slash == std::string_view::npos ? "/" : std::string(rest.substr(slash));
  return probe;
}

Probe start_probe_of(Probe probe, std::int64_t within_ms) {
  const std::int64_t period_ms = std::max<std::int64_t>(probe.period_ms, 1);
  constexpr std::int64_t kMost = 1000;  // that a probe may have
  probe.failures = static_cast<std::uint32_t>(std::min<std::int64_t>(probe.failures + within_ms / period_ms, kMost));
  return probe;
}

Result<ServicePort> parse_publish(std::string_view text, std::string_view field) {
  const std::string accepted = "PORT or PORT:TARGET, each from 1 to 65535, with /tcp or /udp behind it";
  const auto parts = split_port(text);
  if (!parts) return setting_not_accepted(text, field, accepted);
  ServicePort port;
  port.name = parts->name;
  port.protocol = parts->protocol;
  const auto first = parse_integer(parts->first, field, 1, 65'535);
  if (!first) return setting_not_accepted(text, field, accepted);
  port.published = static_cast<std::uint16_t>(*first);
  port.target = port.published;
  if (!parts->second.empty()) {
    const auto second = parse_integer(parts->second, field, 1, 65'535);
    if (!second) return setting_not_accepted(text, field, accepted);
    port.target = static_cast<std::uint16_t>(*second);
  }
  port.port = port.target;
  return port;
}

Result<ServicePutRequest> build_service(const ServiceDraft& draft, const Surroundings& surroundings) {
  ServicePutRequest request;
  request.service = draft.service;
  auto spec = build_job(draft.job, surroundings);
  if (!spec) return spec.error();
  request.spec = std::move(*spec);
  auto launch = decode_launch(std::as_bytes(std::span(request.spec.launch)));
  if (!launch) return launch.error();
  const bool container = launch->driver == Driver::kOci;
  launch->network = draft.network.value_or(container ? NetworkMode::kPods : NetworkMode::kHost);
  launch->probe_start = draft.start;
  launch->probe_ready = draft.ready;
  launch->probe_live = draft.live;
  if (launch->container == Container{}) launch->container = draft.container;
  request.spec.launch = encode_launch(*launch);
  if (auto good = decode_launch(std::as_bytes(std::span(request.spec.launch))); !good) return good.error();
  return request;
}

Result<ServiceDraft> draft_of(const ServiceDetail& detail) {
  const JobSpec& spec = detail.spec;
  auto launch = decode_launch(std::as_bytes(std::span(spec.launch)));
  if (!launch) return launch.error();
  ServiceDraft draft;
  draft.service = detail.row.service;
  JobDraft& job = draft.job;
  job.name = spec.name;
  job.queue = spec.queue;
  job.request = spec.request;
  job.priority = spec.priority;
  job.account = spec.account;
  job.qos = spec.qos;
  job.comment = spec.comment;
  job.script = launch->script;
  job.variables = launch->env;
  job.clear_environment = true;
  job.cwd = launch->cwd;
  job.output = launch->output_path;
  job.error = launch->error_path;
  job.append = launch->append;
  job.image = launch->image;
  job.grace_ms = launch->grace_ms;
  job.umask = launch->umask;
  job.argv = launch->argv;
  draft.container = launch->container;
  draft.network = launch->network;
  draft.start = launch->probe_start;
  draft.ready = launch->probe_ready;
  draft.live = launch->probe_live;
  return draft;
}

}  // namespace berth::tools
