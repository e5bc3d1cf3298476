// Services: what is asked and told of them, and what nodes hear of how their pods are reached.
#include "api/wire/codec_internal.h"
#include "state/fbs_convert.h"

namespace berth::wire::codec {

namespace {

// What reading it copies, at least.

using codec::size_of;

std::size_t size_of(const state::convert::ServicePorts* ports) {
  std::size_t size = 0;
  if (ports == nullptr) return size;
  for (const auto* port : *ports) size += size_of(port->name()) + 2 * sizeof(std::uint32_t);
  return size;
}

state::Service service(Reader& in, const spec::Service* t) {
  state::Service out;
  if (t == nullptr || t->status() == nullptr) {
    in.refuse();
    return out;
  }
  std::size_t size = size_of(t->name()) + size_of(t->space()) + size_of(t->ports()) + size_of(t->address()) +
                     size_of(t->status()->message());
  if (t->status()->done() != nullptr) size += t->status()->done()->size() * sizeof(std::uint32_t);
  if (const auto* owner = t->owner(); owner != nullptr) {
    size += size_of(owner->user()) + (owner->groups() == nullptr ? 0 : owner->groups()->size() * sizeof(std::uint32_t));
  }
  if (!in.take(size) || !state::convert::to_service(t, out)) in.refuse();
  return out;
}

fb::Offset<fbs::ServiceRow> service_row(Builder& b, const state::ServiceRow& r) {
  const auto service = state::convert::service(b, r.service);
  return fbs::CreateServiceRow(b, service, r.wanted, r.there, r.running, r.ready, r.updated);
}

state::ServiceRow service_row(Reader& in, const fbs::ServiceRow* t) {
  if (t == nullptr) {
    in.refuse();
    return {};
  }
  return {service(in, t->service()), t->wanted(), t->there(), t->running(), t->ready(), t->updated()};
}

fb::Offset<fbs::ReplicaRow> replica_row(Builder& b, const state::ReplicaRow& r) {
  const auto node = text(b, r.node);
  const auto address = text(b, r.address);
  const auto message = text(b, r.message);
  return fbs::CreateReplicaRow(b, r.job.value, r.slot, r.revision, static_cast<std::uint8_t>(r.state), r.ready,
                               r.stopping, node, address, r.submitted_at, r.started_at, r.ended_at, message);
}

state::ReplicaRow replica_row(Reader& in, const fbs::ReplicaRow& t) {
  return {state::JobId{t.job()},
          t.slot(),
          t.revision(),
          in.pod_state(t.state()),
          t.ready(),
          t.stopping(),
          in.text(t.node()),
          in.text(t.address()),
          t.submitted_at(),
          t.started_at(),
          t.ended_at(),
          in.text(t.message())};
}

state::ServiceDetail service_detail(Reader& in, const fbs::ServiceDetail& t) {
  state::ServiceDetail out;
  out.row = service_row(in, t.row());
  out.spec = job_spec(in, t.spec());
  out.replicas =
      in.list<state::ReplicaRow>(t.replicas(), [&in](const fbs::ReplicaRow* row) { return replica_row(in, *row); });
  out.changed = t.changed();
  out.revisions = in.structs<state::ServiceDetail::Revision>(t.revisions(), [](const fbs::RevisionRow& r) {
    return state::ServiceDetail::Revision{r.number(), r.made_at()};
  });
  return out;
}

}  // namespace

Encoded put(Builder& b, const state::ServicePutRequest& r) {
  const auto service = state::convert::service(b, r.service);
  const auto spec = state::convert::job_spec(b, r.spec);
  return {
      fbs::Body::ServicePutRequest,
      fbs::CreateServicePutRequest(b, static_cast<std::uint8_t>(r.mode), service, spec, r.version, r.dry_run).Union()};
}

Encoded put(Builder& b, const state::ServiceActionRequest& r) {
  const auto name = text(b, r.name);
  const auto space = text(b, r.space);
  return {fbs::Body::ServiceActionRequest,
          fbs::CreateServiceActionRequest(b, static_cast<std::uint8_t>(r.action), name, space, r.replicas, r.revision)
              .Union()};
}

Encoded put(Builder& b, const state::ListServicesRequest& r) {
  const auto space = text(b, r.space);
  return {fbs::Body::ListServicesRequest, fbs::CreateListServicesRequest(b, space, r.after.value, r.limit).Union()};
}

Encoded put(Builder& b, const state::ShowServiceRequest& r) {
  const auto name = text(b, r.name);
  return {fbs::Body::ShowServiceRequest, fbs::CreateShowServiceRequest(b, name, text(b, r.space)).Union()};
}

Encoded put(Builder& b, const state::ServicePage& r) {
  std::vector<fb::Offset<fbs::ServiceRow>> rows;
  for (const state::ServiceRow& row : r.rows) rows.push_back(service_row(b, row));
  const auto list = b.CreateVector(rows);
  return {fbs::Body::ServicePage, fbs::CreateServicePage(b, list, r.next.value).Union()};
}

Encoded put(Builder& b, const state::ServiceDetail& r) {
  const auto row = service_row(b, r.row);
  const auto spec = state::convert::job_spec(b, r.spec);
  std::vector<fb::Offset<fbs::ReplicaRow>> rows;
  for (const state::ReplicaRow& replica : r.replicas) rows.push_back(replica_row(b, replica));
  const auto replicas = b.CreateVector(rows);
  const auto revisions = structs<fbs::RevisionRow>(b, r.revisions, [](const state::ServiceDetail::Revision& revision) {
    return fbs::RevisionRow(revision.made_at, revision.number);
  });
  return {fbs::Body::ServiceDetail, fbs::CreateServiceDetail(b, row, spec, replicas, r.changed, revisions).Union()};
}

Encoded encode(Builder& b, const state::NetworkUpdate& m) {
  std::vector<fb::Offset<fbs::ServiceRoute>> routes;
  for (const state::ServiceRoute& route : m.services) {
    const auto name = text(b, route.name);
    const auto space = text(b, route.space);
    const auto address = text(b, route.address);
    const auto ports = state::convert::service_ports(b, route.ports);
    std::vector<fb::Offset<fbs::Endpoint>> list;
    for (const state::Endpoint& e : route.endpoints) {
      const fbs::PodRef pod = pod_ref(e.pod);
      const auto at = text(b, e.address);
      list.push_back(fbs::CreateEndpoint(b, &pod, e.node.value, at, text(b, e.name)));
    }
    const auto endpoints = b.CreateVector(list);
    routes.push_back(
        fbs::CreateServiceRoute(b, route.service.value, name, space, address, route.sticky, ports, endpoints));
  }
  const auto services = b.CreateVector(routes);
  std::vector<std::uint64_t> gone;
  for (const state::ServiceId id : m.services_removed) gone.push_back(id.value);
  const auto services_removed = b.CreateVector(gone);
  std::vector<fb::Offset<fbs::NetworkPeer>> peers;
  for (const state::NetworkPeer& peer : m.peers) {
    const auto name = text(b, peer.name);
    const auto address = text(b, peer.address);
    peers.push_back(fbs::CreateNetworkPeer(b, peer.node.value, name, address, text(b, peer.subnet)));
  }
  const auto peer_list = b.CreateVector(peers);
  std::vector<std::uint32_t> left;
  for (const state::NodeId id : m.peers_removed) left.push_back(id.value);
  const auto peers_removed = b.CreateVector(left);
  return {fbs::Body::NetworkUpdate,
          fbs::CreateNetworkUpdate(b, m.all, services, services_removed, peer_list, peers_removed, m.number).Union()};
}

state::NetworkUpdate network_update(Reader& in, const fbs::NetworkUpdate& t) {
  state::NetworkUpdate out;
  out.all = t.all();
  out.number = t.number();
  out.services = in.list<state::ServiceRoute>(t.services(), [&in](const fbs::ServiceRoute* route) {
    state::ServiceRoute r;
    r.service = state::ServiceId{route->service()};
    r.name = in.text(route->name());
    r.space = in.text(route->space());
    r.address = in.text(route->address());
    r.sticky = route->sticky();
    if (!in.take(size_of(route->ports())) || !state::convert::to_service_ports(route->ports(), r.ports)) in.refuse();
    r.endpoints = in.list<state::Endpoint>(route->endpoints(), [&in](const fbs::Endpoint* e) {
      if (e->pod() == nullptr) in.refuse();
      return state::Endpoint{e->pod() == nullptr ? state::PodRef{} : pod_ref(*e->pod()), state::NodeId{e->node()},
                             in.text(e->address()), in.text(e->name())};
    });
    return r;
  });
  out.services_removed =
      in.list<state::ServiceId>(t.services_removed(), [](std::uint64_t id) { return state::ServiceId{id}; });
  out.peers = in.list<state::NetworkPeer>(t.peers(), [&in](const fbs::NetworkPeer* p) {
    return state::NetworkPeer{state::NodeId{p->node()}, in.text(p->name()), in.text(p->address()),
                              in.text(p->subnet())};
  });
  out.peers_removed = in.list<state::NodeId>(t.peers_removed(), [](std::uint32_t id) { return state::NodeId{id}; });
  return out;
}

bool get_service_request(Reader& in, fbs::Body type, const void* table, state::ClientRequest& out) {
  switch (type) {
    case fbs::Body::ServicePutRequest: {
      const auto& t = as<fbs::ServicePutRequest>(table);
      state::ServicePutRequest request;
      request.mode = in.one_of(t.mode(), state::ServicePutRequest::Mode::kApply);
      request.service = service(in, t.service());
      request.spec = job_spec(in, t.spec());
      request.version = t.version();
      request.dry_run = t.dry_run();
      out = std::move(request);
      return true;
    }
    case fbs::Body::ServiceActionRequest: {
      const auto& t = as<fbs::ServiceActionRequest>(table);
      out = state::ServiceActionRequest{in.one_of(t.action(), state::ServiceActionRequest::Action::kRemove),
                                        in.text(t.name()), in.text(t.space()), t.replicas(), t.revision()};
      return true;
    }
    case fbs::Body::ListServicesRequest: {
      const auto& t = as<fbs::ListServicesRequest>(table);
      out = state::ListServicesRequest{in.text(t.space()), state::ServiceId{t.after()}, t.limit()};
      return true;
    }
    case fbs::Body::ShowServiceRequest: {
      const auto& t = as<fbs::ShowServiceRequest>(table);
      out = state::ShowServiceRequest{in.text(t.name()), in.text(t.space())};
      return true;
    }
    default:
      return false;
  }
}

bool get_service_reply(Reader& in, fbs::Body type, const void* table, state::ServerReply& out) {
  if (type == fbs::Body::ServiceDetail) {
    out = service_detail(in, as<fbs::ServiceDetail>(table));
    return true;
  }
  if (type != fbs::Body::ServicePage) return false;
  const auto& t = as<fbs::ServicePage>(table);
  state::ServicePage page;
  page.rows = in.list<state::ServiceRow>(t.rows(), [&in](const fbs::ServiceRow* row) { return service_row(in, row); });
  page.next = state::ServiceId{t.next()};
  out = std::move(page);
  return true;
}

}  // namespace berth::wire::codec
