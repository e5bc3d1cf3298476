// The events of services, and what is known of their pods.
#include <algorithm>

#include "state/apply_error.h"
#include "state/cluster.h"

namespace berth::state {

const ServiceRevision* Service::revision(std::uint32_t number) const {
  for (const ServiceRevision& r : revisions) {
    if (r.number == number) return &r;
  }
  return nullptr;
}

std::string_view name_of(Protocol protocol) { return protocol == Protocol::kTcp ? "tcp" : "udp"; }

std::string_view name_of(UpdatePolicy::OnFailure action) {
  constexpr std::string_view kNames[] = {"pause", "continue", "rollback"};
  return kNames[static_cast<std::size_t>(action)];
}

std::string_view name_of(RestartPolicy::When when) {
  constexpr std::string_view kNames[] = {"any", "on-failure", "never"};
  return kNames[static_cast<std::size_t>(when)];
}

std::string_view name_of(Rollout rollout) {
  constexpr std::string_view kNames[] = {"", "rolling", "paused", "rolling back", "rolled back"};
  return kNames[static_cast<std::size_t>(rollout)];
}

const Service* Cluster::service(ServiceId id) const {
  const auto found = services_.find(id);
  return found == services_.end() ? nullptr : &found->second;
}

const Service* Cluster::service_by_name(std::string_view space, std::string_view name) const {
  const auto found = service_names_.find({std::string(space), std::string(name)});
  return found == service_names_.end() ? nullptr : service(found->second);
}

const std::string& Cluster::address_of(PodId id) const {
  static const std::string kNone;
  const auto found = addresses_.find(id);
  return found == addresses_.end() ? kNone : found->second;
}

Status Cluster::on(const PodsReady& event, TimeUs) {
  for (const PodReadiness& of : event.pods) {
    const auto found = pods_.find(of.ref.pod);
    if (found == pods_.end() || found->second.ref != of.ref)
      return mismatch("a pod whose readiness changes is not live");
    found->second.ready = of.ready;
    if (!of.address.empty()) addresses_[of.ref.pod] = of.address;
  }
  return Unit{};
}

Status Cluster::on(const ServiceSet& event, TimeUs) {
  const Service& service = event.service;
  if (service.revision(service.status.revision) == nullptr) return mismatch("a service without the revision it wants");
  const auto named = service_names_.find({service.space, service.name});
  if (const auto known = services_.find(service.id); known != services_.end()) {
    if (named == service_names_.end() || named->second != service.id) return mismatch("a service changes its name");
    known->second = service;
    return Unit{};
  }
  if (service.id <= last_service_id_ || named != service_names_.end()) {
    return mismatch("a service comes under a taken id or name");
  }
  services_.emplace(service.id, service);
  service_names_.emplace(std::pair{service.space, service.name}, service.id);
  last_service_id_ = service.id;
  return Unit{};
}

Status Cluster::on(const ServiceStatusSet& event, TimeUs) {
  const auto known = services_.find(event.id);
  if (known == services_.end()) return mismatch("a service that changes does not exist");
  if (known->second.revision(event.status.revision) == nullptr) return mismatch("a service wants a forgotten revision");
  known->second.status = event.status;
  return Unit{};
}

Status Cluster::on(const ServiceRemoved& event, TimeUs) {
  const auto known = services_.find(event.id);
  if (known == services_.end()) return mismatch("a removed service does not exist");
  service_names_.erase({known->second.space, known->second.name});
  services_.erase(known);
  return Unit{};
}

}  // namespace berth::state
