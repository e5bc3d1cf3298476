// Services in FlatBuffers, and the words for what they are.
#include <algorithm>

#include "state/fbs_convert.h"

namespace berth::state::convert {

namespace fb = flatbuffers;

namespace {

fb::Offset<spec::UpdatePolicy> policy(fb::FlatBufferBuilder& b, const UpdatePolicy& p) {
  return spec::CreateUpdatePolicy(b, p.parallelism, p.start_first, p.delay_ms, p.monitor_ms, p.ready_within_ms,
                                  static_cast<std::uint8_t>(p.on_failure), p.failures_max);
}

bool to_policy(const spec::UpdatePolicy* table, UpdatePolicy& out) {
  if (table == nullptr) return true;
  if (table->on_failure() > static_cast<std::uint8_t>(UpdatePolicy::OnFailure::kRollback)) return false;
  out = {table->parallelism(), table->start_first(),     table->delay_ms(),
         table->monitor_ms(),  table->ready_within_ms(), static_cast<UpdatePolicy::OnFailure>(table->on_failure()),
         table->failures_max()};
  return out.delay_ms >= 0 && out.monitor_ms >= 0 && out.ready_within_ms >= 0;
}

}  // namespace

fb::Offset<ServicePorts> service_ports(fb::FlatBufferBuilder& b, const std::vector<ServicePort>& ports) {
  if (ports.empty()) return {};
  std::vector<fb::Offset<spec::ServicePort>> list;
  for (const ServicePort& p : ports) {
    const auto name = text(b, p.name);
    list.push_back(
        spec::CreateServicePort(b, name, p.port, p.target, p.published, static_cast<std::uint8_t>(p.protocol)));
  }
  return b.CreateVector(list);
}

bool to_service_ports(const ServicePorts* list, std::vector<ServicePort>& out) {
  return each(list, [&](const spec::ServicePort& p) {
    if (p.protocol() > static_cast<std::uint8_t>(Protocol::kUdp)) return false;
    out.push_back({text(p.name()), p.port(), p.target(), p.published(), static_cast<Protocol>(p.protocol())});
    return true;
  });
}

fb::Offset<spec::ServiceStatus> service_status(fb::FlatBufferBuilder& b, const ServiceStatus& s) {
  const auto message = text(b, s.message);
  const auto done = s.done.empty() ? fb::Offset<fb::Vector<std::uint32_t>>() : b.CreateVector(s.done);
  return spec::CreateServiceStatus(b, s.replicas, s.revision, s.from_revision, static_cast<std::uint8_t>(s.rollout),
                                   s.paused, s.removing, s.failures, s.changed_at, s.version, message, done);
}

bool to_service_status(const spec::ServiceStatus* table, ServiceStatus& out) {
  if (table == nullptr || table->rollout() > static_cast<std::uint8_t>(Rollout::kRolledBack)) return false;
  out.replicas = table->replicas();
  out.revision = table->revision();
  out.from_revision = table->from_revision();
  out.rollout = static_cast<Rollout>(table->rollout());
  out.paused = table->paused();
  out.removing = table->removing();
  out.failures = table->failures();
  out.changed_at = table->changed_at();
  out.version = table->version();
  out.message = text(table->message());
  if (const auto* done = table->done(); done != nullptr) {
    if (!is_aligned(done, alignof(std::uint32_t))) return false;
    out.done.assign(done->begin(), done->end());
  }
  return std::is_sorted(out.done.begin(), out.done.end()) && out.replicas <= kReplicasMax;
}

fb::Offset<spec::Service> service(fb::FlatBufferBuilder& b, const Service& s) {
  const auto name = text(b, s.name);
  const auto space = text(b, s.space);
  const auto who = owner(b, s.owner);
  const auto ports = service_ports(b, s.ports);
  const auto address = text(b, s.address);
  const auto update = policy(b, s.update);
  const auto rollback = policy(b, s.rollback);
  const RestartPolicy& r = s.restart;
  const auto restart = spec::CreateRestartPolicy(b, static_cast<std::uint8_t>(r.when), r.delay_ms, r.delay_max_ms,
                                                 r.attempts_max, r.window_ms);
  const auto status = service_status(b, s.status);
  return spec::CreateService(b, s.id.value, name, space, who, s.per_node, ports, address, s.headless, s.sticky, update,
                             rollback, restart, status, s.created_at);
}

bool to_service(const spec::Service* table, Service& out) {
  if (table == nullptr) return false;
  out.id = ServiceId{table->id()};
  out.name = text(table->name());
  out.space = text(table->space());
  out.owner = to_owner(table->owner());
  out.per_node = table->per_node();
  if (!to_service_ports(table->ports(), out.ports)) return false;
  out.address = text(table->address());
  out.headless = table->headless();
  out.sticky = table->sticky();
  if (!to_policy(table->update(), out.update) || !to_policy(table->rollback(), out.rollback)) return false;
  if (const auto* r = table->restart(); r != nullptr) {
    if (r->when() > static_cast<std::uint8_t>(RestartPolicy::When::kNever)) return false;
    out.restart = {static_cast<RestartPolicy::When>(r->when()), r->delay_ms(), r->delay_max_ms(), r->attempts_max(),
                   r->window_ms()};
    if (r->delay_ms() < 0 || r->delay_max_ms() < 0 || r->window_ms() < 0) return false;
  }
  out.created_at = table->created_at();
  return to_service_status(table->status(), out.status);
}

}  // namespace berth::state::convert
