// What clients ask for.
#include "api/wire/codec_internal.h"
#include "state/fbs_convert.h"

namespace berth::wire::codec {

namespace {

Encoded put(Builder& b, const state::SubmitRequest& r) {
  static thread_local std::vector<fb::Offset<spec::JobSpec>> offsets;
  offsets.clear();
  for (const state::JobSpec& job : r.jobs) offsets.push_back(state::convert::job_spec(b, job));
  const auto jobs = b.CreateVector(offsets);
  return {fbs::Body::SubmitRequest, fbs::CreateSubmitRequest(b, jobs, r.submit_key, r.dry_run).Union()};
}

Encoded put(Builder& b, const state::CancelRequest& r) {
  fb::Offset<fb::Vector<const spec::IndexRange*>> indexes;
  if (r.indexes) {
    indexes = structs<spec::IndexRange>(b, r.indexes->ranges(), [](const state::IndexRange& range) {
      return spec::IndexRange(range.first, range.last, range.step);
    });
  }
  return {fbs::Body::CancelRequest, fbs::CreateCancelRequest(b, r.job.value, indexes).Union()};
}

Encoded put(Builder& b, const state::ListJobsRequest& r) {
  const auto jobs = job_ids(b, r.filter.jobs);
  const auto name = text(b, r.filter.name);
  const auto queue = text(b, r.filter.queue);
  const auto states = pod_states(b, r.filter.states);
  return {fbs::Body::ListJobsRequest,
          fbs::CreateListJobsRequest(b, jobs, r.filter.uid, name, queue, states, r.filter.ended, r.after.value, r.limit,
                                     r.filter.steps_of.value, r.filter.replicas_of.value)
              .Union()};
}

Encoded put(Builder& b, const state::ListPodsRequest& r) {
  const auto states = pod_states(b, r.states);
  return {fbs::Body::ListPodsRequest,
          fbs::CreateListPodsRequest(b, r.job.value, states, r.from_element, r.limit).Union()};
}

Encoded put(Builder& b, const state::ListNodesRequest& r) {
  return {fbs::Body::ListNodesRequest, fbs::CreateListNodesRequest(b, r.after.value, r.limit, r.topology).Union()};
}

Encoded put(Builder& b, const state::ShowJobRequest& r) {
  return {fbs::Body::ShowJobRequest, fbs::CreateShowJobRequest(b, r.job.value).Union()};
}

Encoded put(Builder& b, const state::ExplainRequest& r) {
  return {fbs::Body::ExplainRequest, fbs::CreateExplainRequest(b, r.job.value, r.index).Union()};
}

Encoded put(Builder& b, const state::WatchJobsRequest& r) {
  return {fbs::Body::WatchJobsRequest, fbs::CreateWatchJobsRequest(b, job_ids(b, r.jobs)).Union()};
}

Encoded put(Builder& b, const state::NodeActionRequest& r) {
  const auto node = text(b, r.node);
  const auto reason = text(b, r.reason);
  return {fbs::Body::NodeActionRequest,
          fbs::CreateNodeActionRequest(b, static_cast<std::uint8_t>(r.action), node, reason).Union()};
}

Encoded put(Builder& b, const state::JobUpdateRequest& r) {
  // A name or comment that is to be empty is a string; one that stays is none.
  const auto name = r.name ? b.CreateString(*r.name) : 0;
  const auto comment = r.comment ? b.CreateString(*r.comment) : 0;
  const auto account = r.account ? b.CreateString(*r.account) : 0;
  const auto qos = r.qos ? b.CreateString(*r.qos) : 0;
  return {fbs::Body::JobUpdateRequest, fbs::CreateJobUpdateRequest(b, r.job.value, r.held, r.begin_at, r.priority,
                                                                   r.time_limit_ms, name, comment, account, qos)
                                           .Union()};
}

Encoded put(Builder& b, const state::QueueActionRequest& r) {
  return {fbs::Body::QueueActionRequest, fbs::CreateQueueActionRequest(b, r.remove, queue(b, r.queue)).Union()};
}

Encoded put(Builder& b, const state::ListQueuesRequest&) {
  return {fbs::Body::ListQueuesRequest, fbs::CreateListQueuesRequest(b).Union()};
}

Encoded put(Builder& b, const state::LicenceActionRequest& r) {
  const auto name = text(b, r.licence.name);
  return {fbs::Body::LicenceActionRequest, fbs::CreateLicenceActionRequest(b, r.remove, name, r.licence.total).Union()};
}

Encoded put(Builder& b, const state::ListLicencesRequest&) {
  return {fbs::Body::ListLicencesRequest, fbs::CreateListLicencesRequest(b).Union()};
}

Encoded put(Builder& b, const state::TokenCreateRequest& r) {
  const auto user = text(b, r.user);
  const auto id = text(b, r.id);
  const auto hash = text(b, r.secret_hash);
  const auto role = static_cast<std::uint8_t>(r.role);
  return {fbs::Body::TokenCreateRequest,
          fbs::CreateTokenCreateRequest(b, role, user, r.ttl_ms, r.replace, id, hash).Union()};
}

Encoded put(Builder& b, const state::TokenListRequest&) {
  return {fbs::Body::TokenListRequest, fbs::CreateTokenListRequest(b).Union()};
}

Encoded put(Builder& b, const state::TokenRevokeRequest& r) {
  return {fbs::Body::TokenRevokeRequest, fbs::CreateTokenRevokeRequest(b, text(b, r.id)).Union()};
}

Encoded put(Builder& b, const state::ServerInfoRequest&) {
  return {fbs::Body::ServerInfoRequest, fbs::CreateServerInfoRequest(b).Union()};
}

Encoded put(Builder& b, const state::ReadLogRequest& r) { return {fbs::Body::ReadLogRequest, read_log(b, r).Union()}; }

// ---- decode ---------------------------------------------------------------------------------------------------------

state::SubmitRequest get(Reader& in, const fbs::SubmitRequest& t) {
  state::SubmitRequest out;
  out.jobs = in.list<state::JobSpec>(
      t.jobs(), [&in](const spec::JobSpec* job) { return job_spec(in, job); }, kJobSpecBytesMin);
  out.submit_key = t.submit_key();
  out.dry_run = t.dry_run();
  return out;
}

state::CancelRequest get(Reader& in, const fbs::CancelRequest& t) {
  state::CancelRequest out{state::JobId{t.job()}, std::nullopt};
  if (t.indexes() == nullptr) return out;
  auto set = state::IndexSet::from_ranges(in.structs<state::IndexRange>(t.indexes(), [](const spec::IndexRange& r) {
    return state::IndexRange{r.first(), r.last(), r.step()};
  }));
  if (set) {
    out.indexes = std::move(*set);
  } else {
    in.refuse();
  }
  return out;
}

state::ListJobsRequest get(Reader& in, const fbs::ListJobsRequest& t) {
  state::ListJobsRequest out;
  out.filter = {job_ids(in, t.jobs()),      t.uid(),   in.text(t.name()),          in.text(t.queue()),
                pod_states(in, t.states()), t.ended(), state::JobId{t.steps_of()}, state::ServiceId{t.replicas_of()}};
  out.after = state::JobId{t.after()};
  out.limit = t.limit();
  return out;
}

state::ListPodsRequest get(Reader& in, const fbs::ListPodsRequest& t) {
  return {state::JobId{t.job()}, pod_states(in, t.states()), t.from_element(), t.limit()};
}

state::NodeActionRequest get(Reader& in, const fbs::NodeActionRequest& t) {
  return {in.one_of(t.action(), state::NodeActionRequest::Action::kRemove), in.text(t.node()), in.text(t.reason())};
}

state::JobUpdateRequest get(Reader& in, const fbs::JobUpdateRequest& t) {
  state::JobUpdateRequest out{
      state::JobId{t.job()}, t.held(), t.begin_at(), t.priority(), t.time_limit_ms(), {}, {}, {}, {}};
  if (t.name() != nullptr) out.name = in.text(t.name());
  if (t.comment() != nullptr) out.comment = in.text(t.comment());
  if (t.account() != nullptr) out.account = in.text(t.account());
  if (t.qos() != nullptr) out.qos = in.text(t.qos());
  return out;
}

state::TokenCreateRequest get(Reader& in, const fbs::TokenCreateRequest& t) {
  return {in.one_of(t.role(), state::TokenRole::kUser),
          in.text(t.user()),
          t.ttl_ms(),
          t.replace(),
          in.text(t.id()),
          in.text(t.secret_hash())};
}

state::ClientRequest get(Reader& in, fbs::Body type, const void* table, bool& known) {
  using state::JobId;
  switch (type) {
    case fbs::Body::SubmitRequest:
      return get(in, as<fbs::SubmitRequest>(table));
    case fbs::Body::CancelRequest:
      return get(in, as<fbs::CancelRequest>(table));
    case fbs::Body::ListJobsRequest:
      return get(in, as<fbs::ListJobsRequest>(table));
    case fbs::Body::ListPodsRequest:
      return get(in, as<fbs::ListPodsRequest>(table));
    case fbs::Body::ListNodesRequest: {
      const auto& t = as<fbs::ListNodesRequest>(table);
      return state::ListNodesRequest{state::NodeId{t.after()}, t.limit(), t.topology()};
    }
    case fbs::Body::ShowJobRequest:
      return state::ShowJobRequest{JobId{as<fbs::ShowJobRequest>(table).job()}};
    case fbs::Body::ExplainRequest: {
      const auto& t = as<fbs::ExplainRequest>(table);
      return state::ExplainRequest{JobId{t.job()}, t.index()};
    }
    case fbs::Body::WatchJobsRequest:
      return state::WatchJobsRequest{job_ids(in, as<fbs::WatchJobsRequest>(table).jobs())};
    case fbs::Body::NodeActionRequest:
      return get(in, as<fbs::NodeActionRequest>(table));
    case fbs::Body::JobUpdateRequest:
      return get(in, as<fbs::JobUpdateRequest>(table));
    case fbs::Body::QueueActionRequest: {
      const auto& t = as<fbs::QueueActionRequest>(table);
      return state::QueueActionRequest{t.remove(), queue(in, t.queue())};
    }
    case fbs::Body::LicenceActionRequest: {
      const auto& t = as<fbs::LicenceActionRequest>(table);
      return state::LicenceActionRequest{t.remove(), {in.text(t.name()), t.total()}};
    }
    case fbs::Body::ListLicencesRequest:
      return state::ListLicencesRequest{};
    case fbs::Body::ListQueuesRequest:
      return state::ListQueuesRequest{};
    case fbs::Body::TokenCreateRequest:
      return get(in, as<fbs::TokenCreateRequest>(table));
    case fbs::Body::TokenListRequest:
      return state::TokenListRequest{};
    case fbs::Body::TokenRevokeRequest:
      return state::TokenRevokeRequest{in.text(as<fbs::TokenRevokeRequest>(table).id())};
    case fbs::Body::ServerInfoRequest:
      return state::ServerInfoRequest{};
    case fbs::Body::ReadLogRequest:
      return read_log(as<fbs::ReadLogRequest>(table));
    case fbs::Body::ExecRequest:
      return exec_request(in, as<fbs::ExecRequest>(table));
    default: {
      state::ClientRequest out;
      known = get_account_request(in, type, table, out) || get_service_request(in, type, table, out) ||
              get_event_request(in, type, table, out);
      return out;
    }
  }
}

}  // namespace

Encoded encode_request(Builder& b, const state::ClientRequest& request) {
  return std::visit([&b](const auto& r) { return put(b, r); }, request);
}

bool decode_request(Reader& in, fbs::Body type, const void* table, Body& out) {
  bool known = true;
  state::ClientRequest request = get(in, type, table, known);
  if (known) out = std::move(request);
  return known;
}

}  // namespace berth::wire::codec
