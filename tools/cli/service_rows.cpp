// How services and their replicas are listed.
#include "state/units.h"
#include "tools/cli/service_commands.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

std::string since(TimeUs from, TimeUs to) {
  return from == 0 || to < from ? "-" : format_duration_ms((to - from) / 1000);
}

Cell replicas_of(const ServiceRow& row) {
  const bool good = row.ready >= row.wanted;
  return {std::to_string(row.ready) + "/" + std::to_string(row.wanted), good ? Colour::kGreen : Colour::kYellow};
}

std::string update_of(const ServiceRow& row) {
  const ServiceStatus& status = row.service.status;
  if (status.removing) return "being removed";
  std::string text(name_of(status.rollout));
  if (status.rollout == Rollout::kRolling || status.rollout == Rollout::kRollingBack) {
    text += " " + std::to_string(row.updated) + "/" + std::to_string(row.wanted);
  }
  if (status.paused) text += text.empty() ? "paused" : ", paused";
  return text.empty() ? "-" : text;
}

std::string replica_label(const ReplicaOfService& r) { return r.service + "." + std::to_string(r.row.slot); }

Cell replica_state(const ReplicaOfService& r) {
  if (r.row.job.value == 0) return {"waiting", Colour::kYellow};
  if (r.row.stopping && r.row.ended_at == 0) return {"stopping", Colour::kYellow};
  if (r.row.state != PodState::kRunning) {
    return {std::string(name_of(r.row.state)), is_final(r.row.state) ? Colour::kRed : Colour::kYellow};
  }
  return r.row.ready ? Cell{"ready", Colour::kGreen} : Cell{"running", Colour::kYellow};
}

void write_policy(JsonWriter& json, const char* key, const UpdatePolicy& policy) {
  json.key(key);
  json.begin_object();
  json.field("parallelism", std::uint32_t{policy.parallelism});
  json.field("order", policy.start_first ? "start-first" : "stop-first");
  json.field("delay_ms", policy.delay_ms);
  json.field("monitor_ms", policy.monitor_ms);
  json.field("ready_within_ms", policy.ready_within_ms);
  json.field("failure_action", std::string(name_of(policy.on_failure)));
  json.field("max_failures", std::uint32_t{policy.failures_max});
  json.end_object();
}

}  // namespace

const std::vector<Column<ServiceRow>>& columns_for(const ServiceRow*) {
  static const std::vector<Column<ServiceRow>> columns = {
      {"SERVICE", false, false, [](const ServiceRow& r, TimeUs) { return Cell{r.service.name}; }},
      {"NAMESPACE", false, true, [](const ServiceRow& r, TimeUs) { return Cell{r.service.space}; }},
      {"USER", false, true, [](const ServiceRow& r, TimeUs) { return Cell{r.service.owner.user}; }},
      {"MODE", false, false,
       [](const ServiceRow& r, TimeUs) { return Cell{r.service.per_node ? "every-node" : "replicated"}; }},
      {"READY", true, false, [](const ServiceRow& r, TimeUs) { return replicas_of(r); }},
      {"REVISION", true, false,
       [](const ServiceRow& r, TimeUs) { return Cell{std::to_string(r.service.status.revision)}; }},
      {"UPDATE", false, false, [](const ServiceRow& r, TimeUs) { return Cell{update_of(r)}; }},
      {"ADDRESS", false, true,
       [](const ServiceRow& r, TimeUs) { return Cell{r.service.address.empty() ? "-" : r.service.address}; }},
      {"PORTS", false, false,
       [](const ServiceRow& r, TimeUs) { return Cell{r.service.ports.empty() ? "-" : ports_text(r.service.ports)}; }},
      {"MESSAGE", false, false,
       [](const ServiceRow& r, TimeUs) {
         return Cell{printable(r.service.status.message), Colour::kDim};
       }},
  };
  return columns;
}

const std::vector<Column<ReplicaOfService>>& columns_for(const ReplicaOfService*) {
  static const std::vector<Column<ReplicaOfService>> columns = {
      {"REPLICA", false, false, [](const ReplicaOfService& r, TimeUs) { return Cell{replica_label(r)}; }},
      {"JOB", true, false,
       [](const ReplicaOfService& r, TimeUs) {
         return Cell{r.row.job.value == 0 ? "-" : std::to_string(r.row.job.value)};
       }},
      {"REVISION", true, false, [](const ReplicaOfService& r, TimeUs) { return Cell{std::to_string(r.row.revision)}; }},
      {"STATE", false, false, [](const ReplicaOfService& r, TimeUs) { return replica_state(r); }},
      {"NODE", false, false,
       [](const ReplicaOfService& r, TimeUs) { return Cell{r.row.node.empty() ? "-" : r.row.node}; }},
      {"ADDRESS", false, true,
       [](const ReplicaOfService& r, TimeUs) { return Cell{r.row.address.empty() ? "-" : r.row.address}; }},
      {"STARTED", false, true,
       [](const ReplicaOfService& r, TimeUs) {
         return Cell{r.row.started_at == 0 ? "-" : format_time(r.row.started_at)};
       }},
      {"TIME", true, false,
       [](const ReplicaOfService& r, TimeUs now) {
         return Cell{since(r.row.started_at, r.row.ended_at != 0 ? r.row.ended_at : now)};
       }},
      {"MESSAGE", false, false,
       [](const ReplicaOfService& r, TimeUs) {
         return Cell{printable(r.row.message), Colour::kDim};
       }},
  };
  return columns;
}

void write_fields(JsonWriter& json, const ServiceRow& row) {
  const Service& service = row.service;
  const ServiceStatus& status = service.status;
  json.field("id", service.id.value);
  json.field("name", service.name);
  json.field("namespace", service.space);
  json.field("user", service.owner.user);
  json.field("mode", service.per_node ? "every-node" : "replicated");
  json.field("wanted", std::uint32_t{row.wanted});
  json.field("replicas", std::uint32_t{row.there});
  json.field("running", std::uint32_t{row.running});
  json.field("ready", std::uint32_t{row.ready});
  json.field("updated", std::uint32_t{row.updated});
  json.field("revision", std::uint32_t{status.revision});
  json.field("revision_before", std::uint32_t{status.from_revision});
  json.field("update", std::string(name_of(status.rollout)));
  json.field("paused", status.paused);
  json.field("removing", status.removing);
  json.field("message", status.message);
  json.field("version", status.version);
  json.field("address", service.address);
  json.field("headless", service.headless);
  json.field("sticky", service.sticky);
  json.key("ports");
  json.begin_array();
  for (const ServicePort& port : service.ports) {
    json.begin_object();
    json.field("name", port.name);
    json.field("port", std::uint32_t{port.port});
    json.field("target", std::uint32_t{port.target});
    json.field("published", std::uint32_t{port.published});
    json.field("protocol", std::string(name_of(port.protocol)));
    json.end_object();
  }
  json.end_array();
  write_policy(json, "update_policy", service.update);
  write_policy(json, "rollback_policy", service.rollback);
  json.time("created_at", service.created_at);
}

void write_fields(JsonWriter& json, const ReplicaOfService& r) {
  json.field("service", r.service);
  json.field("slot", std::uint32_t{r.row.slot});
  json.field("job", r.row.job.value);
  json.field("revision", std::uint32_t{r.row.revision});
  json.field("state", std::string(name_of(r.row.state)));
  json.field("ready", r.row.ready);
  json.field("stopping", r.row.stopping);
  json.field("node", r.row.node);
  json.field("address", r.row.address);
  json.time("submitted_at", r.row.submitted_at);
  json.time("started_at", r.row.started_at);
  json.time("ended_at", r.row.ended_at);
  json.field("message", r.row.message);
}

}  // namespace berth::tools
