// Services: what users ask of them, and the controller's hands.
#include <algorithm>

#include "scheduler/core_impl.h"
#include "scheduler/core_text.h"

namespace berth::scheduler {

using namespace state;

namespace {

constexpr std::size_t kServicesMax = 100'000;
constexpr std::int64_t kDurationMaxMs = 366LL * 24 * 3600 * 1000;

bool is_label(std::string_view text) {
  if (text.empty() || text.size() > kServiceNameMax || text.front() == '-' || text.back() == '-') return false;
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

Status check_ports(std::vector<ServicePort>& ports) {
  if (ports.size() > kPortsMax) return invalid("port", "a service has at most 64 ports");
  for (ServicePort& port : ports) {
    if (port.target == 0) port.target = port.port;
    if (port.port == 0) return invalid("port", "a port is from 1 to 65535");
    if (!port.name.empty() && !is_label(port.name)) {
      return invalid("port", "a port's name is of a-z 0-9 and - as in DNS, not '" + port.name + "'");
    }
    for (const ServicePort& other : ports) {
      if (&other == &port) break;
      if (other.protocol != port.protocol) continue;
      const std::string where = "/" + std::string(name_of(port.protocol));
      if (other.port == port.port)
        return invalid("port", "port " + std::to_string(port.port) + where + " is given twice");
      if (port.published != 0 && other.published == port.published) {
        return invalid("publish", "port " + std::to_string(port.published) + where + " is published twice");
      }
    }
  }
  return Unit{};
}

Status check_policy(const UpdatePolicy& policy, const char* field) {
  for (const std::int64_t ms : {policy.delay_ms, policy.monitor_ms, policy.ready_within_ms}) {
    if (ms < 0 || ms > kDurationMaxMs) return invalid(field, "a time of an update is from 0 to a year");
  }
  return Unit{};
}

// What an update compares: all that the user decides.
bool same_definition(const Service& a, const Service& b) {
  return a.per_node == b.per_node && a.ports == b.ports && a.headless == b.headless && a.sticky == b.sticky &&
         a.update == b.update && a.rollback == b.rollback && a.restart == b.restart &&
         a.status.replicas == b.status.replicas;
}

}  // namespace

std::string Core::Impl::name_of_service(const std::string& space, const std::string& name) {
  return "'" + name + "'" + (space == kDefaultSpace ? "" : " in '" + space + "'");
}

const Service* Core::Impl::find_service(const ClientCommand& command, const std::string& space,
                                        const std::string& name) {
  const std::string in = space.empty() ? std::string(kDefaultSpace) : space;
  const Service* service = cluster_.service_by_name(in, name);
  if (service == nullptr) {
    refuse(command.reply_to, ErrorCode::kNotFound, "service", "there is no service " + name_of_service(in, name));
    return nullptr;
  }
  if (!command.caller.admin && service->owner.uid != command.caller.uid) {
    refuse(command.reply_to, ErrorCode::kDenied, "service",
           "service " + name_of_service(in, name) + " belongs to another user");
    return nullptr;
  }
  return service;
}

// A replica's spec as it is kept: named, labelled, and spread over the nodes unless the user says how.
Status Core::Impl::check_service_spec(const Caller& caller, const Owner& owner, const Service& service, JobSpec& spec) {
  if (spec.kind != JobKind::kSingle || spec.is_step()) return invalid("service", "a replica is a single pod");
  if (!spec.depends.empty() || spec.begin_at != 0 || spec.hold != Hold::kNone) {
    return invalid("service", "a service starts at once: it has no dependencies, no time to begin and no hold");
  }
  if (spec.time_limit_ms != 0) return invalid("time", "a service has no time limit");
  if (spec.deadline != 0 || spec.time_min_ms != 0) {
    return invalid(spec.deadline != 0 ? "deadline" : "time-min", "a service runs on, and has no such time");
  }
  spec.name = service.name;
  spec.replica = {};
  spec.requeues_max = 0;  // the controller makes another
  const std::string label = "service=" + service.name + (service.space == kDefaultSpace ? "" : "." + service.space);
  auto& labels = spec.request.labels;
  if (std::find(labels.begin(), labels.end(), label) == labels.end()) {
    labels.insert(std::lower_bound(labels.begin(), labels.end(), label), label);
  }
  if (spec.request.rules.empty() && !service.per_node) {
    spec.request.rules.push_back({PodRule::Kind::kSpread, true, label, "node", 1});
  }
  for (PodRule& rule : spec.request.rules) {
    if (rule.selector.empty()) rule.selector = label;
  }
  if (Status good = check_spec(caller, owner, spec); !good) return good;
  if (spec.time_limit_ms != 0) {
    return invalid("queue", "queue '" + spec.queue + "' limits the time of what runs in it: services need another");
  }
  return Unit{};
}

void Core::Impl::on_request(ClientCommand& command, ServicePutRequest& request) {
  using Mode = ServicePutRequest::Mode;
  Service& wanted = request.service;
  const auto refused = [&](Error error) { reply(command.reply_to, std::move(error)); };
  if (wanted.space.empty()) wanted.space = kDefaultSpace;
  if (!is_label(wanted.name)) {
    return refused(
        invalid("name", "a service's name is 1 to 63 of a-z 0-9 and -, as in DNS, not '" + wanted.name + "'"));
  }
  if (!is_label(wanted.space)) {
    return refused(
        invalid("namespace", "a namespace is 1 to 63 of a-z 0-9 and -, as in DNS, not '" + wanted.space + "'"));
  }
  const std::string name = name_of_service(wanted.space, wanted.name);
  const Service* known = cluster_.service_by_name(wanted.space, wanted.name);
  if (known != nullptr && !command.caller.admin && known->owner.uid != command.caller.uid) {
    return refused(Error{ErrorCode::kDenied, "service", "service " + name + " belongs to another user", 0});
  }
  if (known != nullptr && request.mode == Mode::kCreate) {
    return refused(Error{ErrorCode::kConflict, "name", "there is a service " + name + " already", 0});
  }
  if (known == nullptr && request.mode == Mode::kUpdate) {
    return refused(Error{ErrorCode::kNotFound, "service", "there is no service " + name, 0});
  }
  if (known != nullptr && known->status.removing) {
    return refused(Error{ErrorCode::kConflict, "service", "service " + name + " is being removed", 1000});
  }
  if (known != nullptr && request.version != 0 && request.version != known->status.version) {
    return refused(Error{ErrorCode::kConflict, "service",
                         "service " + name + " has been changed meanwhile; look again, and repeat the change", 0});
  }
  if (known == nullptr && cluster_.services().size() >= kServicesMax) {
    return refused(Error{ErrorCode::kTooLarge, "service", "the cluster has 100,000 services and takes no more", 0});
  }
  if (wanted.status.replicas > kReplicasMax) {
    return refused(invalid("replicas", "a service has at most 100,000 replicas"));
  }
  if (Status good = check_ports(wanted.ports); !good) return refused(good.error());
  for (const auto& [policy, field] : {std::pair{&wanted.update, "update"}, std::pair{&wanted.rollback, "rollback"}}) {
    if (Status good = check_policy(*policy, field); !good) return refused(good.error());
  }
  for (const std::int64_t ms : {wanted.restart.delay_ms, wanted.restart.delay_max_ms, wanted.restart.window_ms}) {
    if (ms < 0 || ms > kDurationMaxMs) return refused(invalid("restart", "a time of a restart is from 0 to a year"));
  }
  const bool publishes = std::any_of(wanted.ports.begin(), wanted.ports.end(),
                                     [](const ServicePort& port) { return port.published != 0; });
  for (const auto& [id, other] : cluster_.services()) {
    if (!publishes) break;
    if (known == &other) continue;
    for (const ServicePort& a : wanted.ports) {
      for (const ServicePort& b : other.ports) {
        if (a.published == 0 || a.published != b.published || a.protocol != b.protocol) continue;
        return refused(Error{ErrorCode::kConflict, "publish",
                             "port " + std::to_string(a.published) + "/" + std::string(name_of(a.protocol)) +
                                 " is published by service " + name_of_service(other.space, other.name),
                             0});
      }
    }
  }
  const Owner owner = known != nullptr
                          ? known->owner
                          : Owner{command.caller.uid, command.caller.gid, command.caller.user, command.caller.groups};
  if (Status good = check_service_spec(command.caller, owner, wanted, request.spec); !good)
    return refused(good.error());
  const std::uint32_t have = known == nullptr || known->per_node ? 0 : known->status.replicas;
  if (!wanted.per_node && wanted.status.replicas > have && tenants_.active()) {
    JobCount counted(*this);
    for (std::uint32_t i = have; i < wanted.status.replicas; ++i) {
      if (Status good = counted.add(owner, request.spec); !good) return refused(good.error());
    }
  }

  if (known != nullptr) {
    const bool same_spec = known->revision(known->status.revision)->spec == request.spec;
    if (same_spec && same_definition(*known, wanted)) return reply(command.reply_to, detail_of(*known, false));
    if (known->per_node != wanted.per_node) {
      return refused(Error{ErrorCode::kConflict, "mode",
                           "a service stays with its number of replicas, or with one on every node: remove it first",
                           0});
    }
  }
  std::string address = known == nullptr ? "" : known->address;
  const bool needs_address = !wanted.ports.empty() && !wanted.headless;
  if (!needs_address) address.clear();
  if (needs_address && address.empty()) {
    address = network_.free_service_address(cluster_);
    if (address.empty()) {
      return refused(Error{ErrorCode::kUnavailable, "port",
                           options_.services_cidr.empty()
                               ? "the cluster has no network for services (services-cidr), so they have no ports"
                               : "no address is free in the services' network " + options_.services_cidr,
                           0});
    }
  }
  Service service = known == nullptr ? Service{} : *known;
  if (known == nullptr) {
    service.id = ServiceId{cluster_.last_service_id().value + 1};
    service.name = wanted.name;
    service.space = wanted.space;
    service.owner = owner;
    service.per_node = wanted.per_node;
    service.created_at = now_;
    service.revisions.push_back({1, request.spec, now_});
    service.status = {};
    service.status.changed_at = now_;
  } else {
    ++service.status.version;
    if (service.revision(service.status.revision)->spec != request.spec) new_revision(service, request.spec);
    if (service.status.replicas != wanted.status.replicas) service.status.changed_at = now_;
  }
  service.status.replicas = wanted.status.replicas;
  service.ports = wanted.ports;
  service.address = address;
  service.headless = wanted.headless;
  service.sticky = wanted.sticky;
  service.update = wanted.update;
  service.rollback = wanted.rollback;
  service.restart = wanted.restart;
  if (request.dry_run) {
    ServiceDetail would;
    would.row.service = service;
    would.row.service.revisions.clear();
    would.spec = request.spec;
    would.changed = true;
    return reply(command.reply_to, std::move(would));
  }
  const ServiceId id = service.id;
  emit(ServiceSet{std::move(service)});
  reply(command.reply_to, detail_of(*cluster_.service(id), true));
}

// The service is to become of another spec, replica by replica.
void Core::Impl::new_revision(Service& service, const JobSpec& spec) {
  ServiceStatus& status = service.status;
  // What an update that stands still left is what it goes back to, not what it was on the way to.
  const bool whole = status.rollout == Rollout::kNone || status.rollout == Rollout::kRolledBack;
  if (whole) status.from_revision = status.revision;
  status.revision = service.revisions.back().number + 1;
  service.revisions.push_back({status.revision, spec, now_});
  for (auto it = service.revisions.begin();
       service.revisions.size() > kRevisionsMax && it != service.revisions.end();) {
    const bool needed = it->number == status.revision || it->number == status.from_revision;
    it = needed ? it + 1 : service.revisions.erase(it);
  }
  status.rollout = Rollout::kRolling;
  status.failures = 0;
  status.changed_at = now_;
  status.message.clear();
  status.done.clear();
}

void Core::Impl::on_request(ClientCommand& command, ServiceActionRequest& request) {
  using Action = ServiceActionRequest::Action;
  const Service* known = find_service(command, request.space, request.name);
  if (known == nullptr) return;
  const std::string name = "service " + name_of_service(known->space, known->name);
  const auto conflict = [&](std::string field, std::string message) {
    refuse(command.reply_to, ErrorCode::kConflict, std::move(field), std::move(message));
  };
  if (known->status.removing) return conflict("service", name + " is being removed");
  ServiceStatus status = known->status;
  ++status.version;
  status.changed_at = now_;
  switch (request.action) {
    case Action::kScale: {
      if (known->per_node) return conflict("replicas", name + " has one replica on every node, and no number of them");
      if (request.replicas > kReplicasMax) {
        return reply(command.reply_to, Error(invalid("replicas", "a service has at most 100,000 replicas")));
      }
      if (request.replicas == status.replicas) return reply(command.reply_to, detail_of(*known, false));
      if (tenants_.active() && request.replicas > status.replicas) {
        JobCount counted(*this);
        for (std::uint32_t i = status.replicas; i < request.replicas; ++i) {
          const JobSpec& spec = known->revision(status.revision)->spec;
          if (Status good = counted.add(known->owner, spec); !good) return reply(command.reply_to, good.error());
        }
      }
      status.replicas = request.replicas;
      std::erase_if(status.done, [&](std::uint32_t slot) { return slot > request.replicas; });
      break;
    }
    case Action::kRollback: {
      const std::uint32_t target = request.revision == 0 ? status.from_revision : request.revision;
      if (target == 0) return conflict("revision", name + " has no revision before this one");
      if (known->revision(target) == nullptr) {
        return refuse(command.reply_to, ErrorCode::kNotFound, "revision",
                      name + " has no revision " + std::to_string(target) + " (any more)");
      }
      if (target == status.revision) return conflict("revision", name + " is at revision " + std::to_string(target));
      status.from_revision = status.revision;
      status.revision = target;
      status.rollout = Rollout::kRollingBack;
      status.paused = false;
      status.failures = 0;
      status.message = "rolling back to revision " + std::to_string(target) + ": asked for by " + command.caller.user;
      status.done.clear();
      break;
    }
    case Action::kPause:
      if (status.paused) return reply(command.reply_to, detail_of(*known, false));
      status.paused = true;
      break;
    case Action::kResume:
      if (!status.paused && status.rollout != Rollout::kPaused)
        return reply(command.reply_to, detail_of(*known, false));
      status.paused = false;
      status.failures = 0;
      if (status.rollout == Rollout::kPaused) status.rollout = Rollout::kRolling;
      status.message.clear();
      break;
    case Action::kRestart: {
      Service service = *known;
      service.status = status;
      new_revision(service, known->revision(status.revision)->spec);
      emit(ServiceSet{std::move(service)});
      return reply(command.reply_to, detail_of(*known, true));
    }
    case Action::kRemove:
      status.removing = true;
      break;
  }
  const ServiceId id = known->id;
  emit(ServiceStatusSet{id, std::move(status)});
  reply(command.reply_to, detail_of(*cluster_.service(id), true));
}

ServiceRow Core::Impl::service_row_of(const Service& service) const {
  const Services::Counts counts = services_.counts_of(service);
  ServiceRow row;
  row.service = service;
  row.service.revisions.clear();
  row.wanted = counts.wanted;
  row.there = counts.there;
  row.running = counts.running;
  row.ready = counts.ready;
  row.updated = counts.updated;
  return row;
}

void Core::Impl::on_request(ClientCommand& command, ListServicesRequest& request) {
  const std::uint32_t limit = std::clamp<std::uint32_t>(request.limit, 1, kRowsMax);
  ServicePage page;
  for (auto it = cluster_.services().upper_bound(request.after); it != cluster_.services().end(); ++it) {
    const Service& service = it->second;
    if (!command.caller.admin && service.owner.uid != command.caller.uid) continue;
    if (!request.space.empty() && service.space != request.space) continue;
    if (page.rows.size() == limit) {
      page.next = page.rows.back().service.id;
      break;
    }
    page.rows.push_back(service_row_of(service));
  }
  reply(command.reply_to, std::move(page));
}

void Core::Impl::on_request(ClientCommand& command, ShowServiceRequest& request) {
  const Service* service = find_service(command, request.space, request.name);
  if (service != nullptr) reply(command.reply_to, detail_of(*service, false));
}

ServiceDetail Core::Impl::detail_of(const Service& service, bool changed) {
  ServiceDetail detail;
  detail.row = service_row_of(service);
  detail.spec = service.revision(service.status.revision)->spec;
  detail.changed = changed;
  for (const ServiceRevision& r : service.revisions) detail.revisions.push_back({r.number, r.made_at});
  ClassReasons class_reasons;
  const auto add = [&](JobId id) {
    const Job& job = *cluster_.job(id);
    ReplicaRow row;
    row.job = id;
    row.slot = job.spec.replica.slot;
    row.revision = job.spec.replica.revision;
    row.state = cluster_.pod_state(job, 0);
    row.submitted_at = job.submitted_at;
    row.started_at = job.first_started_at;
    row.ended_at = job.ended_at;
    if (const Pod* pod = cluster_.pod({id, 0}); pod != nullptr) {
      row.node = cluster_.node(pod->node)->info.name;
      row.ready = services_.is_ready(job);
      row.stopping = pod->stopping;
      row.address = cluster_.address_of({id, 0});
      if (const auto why = unready_.find(id); why != unready_.end() && !row.ready) row.message = why->second;
    } else if (const PodOutcome* outcome = job.outcomes.find(0); outcome != nullptr) {
      if (const Node* node = cluster_.node(outcome->node); node != nullptr) row.node = node->info.name;
      if (outcome->message != 0) row.message = job.messages[outcome->message];
    } else if (job.active()) {
      row.message = waiting_reason(job, class_reasons).second;
    }
    detail.replicas.push_back(std::move(row));
  };
  for (const JobId id : services_.replicas_of(service.id)) add(id);
  for (const JobId id : services_.past_of(service.id)) add(id);
  std::stable_sort(detail.replicas.begin(), detail.replicas.end(), [](const ReplicaRow& a, const ReplicaRow& b) {
    return a.slot != b.slot ? a.slot < b.slot : a.job > b.job;
  });
  for (const Services::Waiting& w : services_.waiting_of(service.id, now_)) {
    ReplicaRow row;  // not there yet
    row.slot = w.slot;
    row.revision = service.status.revision;
    row.message = "starts again in " + std::to_string((w.until - now_ + 999'999) / 1'000'000) + " s after: " + w.why;
    detail.replicas.push_back(std::move(row));
  }
  return detail;
}

// ---- the controller's hands -----------------------------------------------------------------------------------------

void Core::Impl::start_replica(const Service& service, const ServiceRevision& revision, std::uint32_t slot) {
  JobSpec spec = revision.spec;
  spec.name = replica_name(service, cluster_, slot);
  spec.replica = {service.id, revision.number, slot};
  if (service.per_node) {
    const std::string here = "node=" + cluster_.node(NodeId{slot})->info.name;
    spec.request.where = spec.request.where.empty() ? here : "(" + spec.request.where + ")&" + here;
  }
  const JobId id{cluster_.last_job_id().value + 1};
  const Owner owner = service.owner;
  emit(JobSubmitted{id, owner, std::move(spec), 0});
  const Job& job = *cluster_.job(id);
  waits(job, 1);
  if (!singletons_.empty()) note_active(job);
  enqueue(job);
}

void Core::Impl::stop_replica(const Job& job, PodState why) {
  if (job.pending.empty()) {
    const Pod* pod = cluster_.pod({job.id, 0});
    if (pod == nullptr || (pod->stopping && pod->stop_state != PodState::kPending)) return;
    stop_pods({{pod->ref, why}});
    after_ends(job);
  } else {
    cancel_elements(job, {{0, 1}});
  }
}

void Core::Impl::set_status(ServiceId id, ServiceStatus status) { emit(ServiceStatusSet{id, std::move(status)}); }

void Core::Impl::service_gone(ServiceId id) { emit(ServiceRemoved{id}); }

bool Core::Impl::could_run(const Service& service, const Node& node) {
  const JobSpec& spec = service.revision(service.status.revision)->spec;
  return engine_.could_run(node.id, class_key_of(spec, service.owner.user).request);
}

// What the controller has to hear of an event that has been applied.
void Core::Impl::follow_services(const Event& event) {
  if (const auto* set = std::get_if<ServiceSet>(&event)) return note_service(set->service.id);
  if (!services_.any()) return;
  if (const auto* changed = std::get_if<ServiceStatusSet>(&event)) return note_service(changed->id);
  if (const auto* removed = std::get_if<ServiceRemoved>(&event)) return note_service(removed->id);
  const auto replica = [this](JobId id) -> const Job* {
    const Job* job = cluster_.job(id);
    return job != nullptr && job->spec.is_replica() ? job : nullptr;
  };
  const auto follow = [&](JobId id) {
    const Job* job = replica(id);
    if (job == nullptr) return;
    if (job->active()) {
      services_.replica_changed(*job, now_);
    } else {
      services_.replica_ended(*job);
      if (!unready_.empty()) unready_.erase(job->id);
    }
    network_.service_changed(job->spec.replica.of);
  };
  if (const auto* submitted = std::get_if<JobSubmitted>(&event)) {
    if (submitted->spec.is_replica()) services_.replica_came(*cluster_.job(submitted->id));
  } else if (const auto* started = std::get_if<PodsStarted>(&event)) {
    for (const PodStart& start : started->starts) follow(start.ref.pod.job);
  } else if (const auto* stopping = std::get_if<PodsStopping>(&event)) {
    for (const PodStop& stop : stopping->stops) follow(stop.ref.pod.job);
  } else if (const auto* ready = std::get_if<PodsReady>(&event)) {
    for (const PodReadiness& of : ready->pods) follow(of.ref.pod.job);
  } else if (const auto* ended = std::get_if<PodsEnded>(&event)) {
    for (const PodEnd& end : ended->ends) follow(end.ref.pod.job);
  } else if (const auto* cancelled = std::get_if<ElementsCancelled>(&event)) {
    follow(cancelled->job);
  } else if (const auto* joined = std::get_if<NodeJoined>(&event)) {
    note_node(joined->id);
  } else if (const auto* changed = std::get_if<NodeStateChanged>(&event)) {
    note_node(changed->id);
  } else if (std::holds_alternative<NodeRemoved>(event)) {
    services_.nodes_changed();
  }
}

void Core::Impl::note_service(ServiceId id) {
  const Service* service = cluster_.service(id);
  network_.note_address(id, service == nullptr ? "" : service->address);
  services_.service_changed(id);
  network_.service_changed(id);
}

void Core::Impl::note_node(NodeId node) {
  services_.nodes_changed();
  for (const PodId& id : cluster_.pods_of(node)) {  // a node that is to be emptied has to be left
    const Job& job = *cluster_.job(id.job);
    if (job.spec.is_replica()) services_.service_changed(job.spec.replica.of);
  }
}

// A replica that takes requests is first taken from those that clients are led to, and then stopped.
bool Core::Impl::leaves_first(const Pod& pod) const {
  if (!pod.ready || pod.stopping) return false;
  const Service* service = cluster_.service(cluster_.job(pod.ref.pod.job)->spec.replica.of);
  return service != nullptr && !service->ports.empty() && !network_nodes_.empty();
}

void Core::Impl::stop_leaving() {
  if (leaving_.empty()) return;
  std::uint64_t held = network_.told();  // by all nodes that lead somewhere
  for (const NodeId node : network_nodes_) held = std::min(held, runtime_.at(node).network_at);
  std::map<NodeId, StopPods> by_node;
  std::erase_if(leaving_, [&](const auto& item) {
    const auto& [ref, leaving] = item;
    // An update that has not come, with nothing left to tell, had nothing to say: nobody was led there.
    const bool gone = held >= leaving.update || (network_.told() < leaving.update && !network_.untold());
    if (!gone && now_ < leaving.until) return false;
    const Pod* pod = cluster_.pod(ref.pod);
    if (pod == nullptr || pod->ref != ref || !pod->stopping) return true;  // it has ended by itself
    by_node[pod->node].stops.push_back(
        {ref, pod->stop_state == PodState::kPending ? PodState::kCancelled : pod->stop_state});
    return true;
  });
  for (auto& [node, body] : by_node) {
    if (const std::uint64_t session = session_of(node); session != 0)
      effects_.push_back(ToAgent{session, std::move(body)});
  }
}

// Nodes that carry the cluster's network hear what changed of it.
void Core::Impl::tell_network() {
  auto update = network_.update(cluster_, now_);
  if (!update) return;
  std::vector<std::uint64_t> sessions;
  for (const NodeId node : network_nodes_) sessions.push_back(session_of(node));
  if (sessions.empty()) return;
  effects_.push_back(ToAgents{std::move(sessions), std::move(*update)});
}

// Of pods that the node has and that live: what it says of their readiness.
void Core::Impl::hear_readiness(NodeId node, std::vector<PodReadiness>& readiness) {
  PodsReady changed;
  for (PodReadiness& of : readiness) {
    const Pod* pod = cluster_.pod(of.ref.pod);
    if (pod == nullptr || pod->ref != of.ref || pod->node != node || pod->state != PodState::kRunning) continue;
    if (!cluster_.job(of.ref.pod.job)->spec.is_replica()) continue;
    if (of.ready || of.message.empty()) {
      unready_.erase(of.ref.pod.job);
    } else {
      unready_[of.ref.pod.job] = of.message.substr(0, kMaxCommentBytes);
    }
    if (of.address.size() > kAddressMax) of.address.clear();
    const bool same_place = of.address.empty() || of.address == cluster_.address_of(of.ref.pod);
    if (pod->ready == of.ready && same_place) continue;
    const auto again = std::find_if(changed.pods.begin(), changed.pods.end(),
                                    [&](const PodReadiness& other) { return other.ref == of.ref; });
    if (again != changed.pods.end()) changed.pods.erase(again);  // the last word counts
    changed.pods.push_back({of.ref, of.ready, std::move(of.address), {}});
  }
  if (!changed.pods.empty()) emit(std::move(changed));
}

}  // namespace berth::scheduler
