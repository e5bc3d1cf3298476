// Between server and agents, both ways.
#include <algorithm>

#include "api/wire/codec_internal.h"
#include "state/fbs_convert.h"

namespace berth::wire::codec {

namespace {

fbs::PodEnd pod_end(const state::PodEnd& end) {
  const state::PodOutcome& o = end.outcome;
  return {pod_ref(end.ref), o.started_at, o.ended_at,          o.node.value,
          o.mem_peak_mib,   o.exit_code,  o.attempt,           static_cast<std::uint8_t>(o.state),
          o.signal,         end.requeue,  !end.message.empty()};
}

state::PodEnd pod_end(Reader& in, const fbs::PodEnd& end) {
  state::PodEnd out;
  out.ref = pod_ref(end.ref());
  out.outcome.state = in.pod_state(end.state());
  out.outcome.signal = end.signal();
  out.outcome.exit_code = end.exit_code();
  out.outcome.attempt = end.attempt();
  out.outcome.node = state::NodeId{end.node()};
  out.outcome.mem_peak_mib = end.mem_peak_mib();
  out.outcome.started_at = end.started_at();
  out.outcome.ended_at = end.ended_at();
  out.requeue = end.requeue();
  return out;
}

fb::Offset<fbs::StartOrder> start_order(Builder& b, const state::StartOrder& order) {
  const auto name = text(b, order.job_name);
  const auto owner = state::convert::owner(b, order.owner);
  const auto launch = bytes(b, order.launch);
  const auto peers = texts(b, order.peers);
  const auto pods = structs<fbs::PodToStart>(b, order.pods, [](const state::PodToStart& pod) {
    return fbs::PodToStart(pod.gpu_mask, pod.element, pod.index, pod.attempt);
  });
  const auto pinned = state::convert::pins(b, order.pods, [](const state::PodToStart& pod) { return &pod.pinning; });
  const auto counts = state::convert::countables(b, order.counts);
  const fbs::Resources request = resources(order.resources);
  const auto replica = state::convert::replica(b, order.replica);
  const auto service = text(b, order.service);
  const auto space = text(b, order.space);
  return fbs::CreateStartOrder(b, order.job.value, name, owner, static_cast<std::uint8_t>(order.kind), &request,
                               order.time_limit_ms, launch, peers, pods, pinned, order.gpu_share_milli, counts,
                               order.lead_only, order.step_of.value, order.step, replica, service, space);
}

state::StartOrder start_order(Reader& in, const fbs::StartOrder& t) {
  state::StartOrder out;
  out.job = state::JobId{t.job()};
  out.job_name = in.text(t.job_name());
  out.owner = owner(in, t.owner());
  out.kind = in.one_of(t.kind(), state::JobKind::kGang);
  out.resources = resources(t.resources());
  out.time_limit_ms = t.time_limit_ms();
  out.launch = in.bytes(t.launch());
  out.peers = in.texts(t.peers());
  out.pods = in.structs<state::PodToStart>(t.pods(), [](const fbs::PodToStart& pod) {
    return state::PodToStart{pod.element(), pod.index(), pod.attempt(), pod.gpu_mask(), {}};
  });
  pins(in, t.pins(), out.pods.size(),
       [&](std::uint32_t of, state::Pinning pinning) { out.pods[of].pinning = std::move(pinning); });
  out.gpu_share_milli = t.gpu_share_milli();
  out.counts = countables(in, t.counts());
  out.lead_only = t.lead_only();
  out.step_of = state::JobId{t.step_of()};
  out.step = t.step();
  out.replica = state::convert::to_replica(t.replica());
  out.service = in.text(t.service());
  out.space = in.text(t.space());
  return out;
}

}  // namespace

// ---- encode ---------------------------------------------------------------------------------------------------------

Encoded encode(Builder& b, const state::AgentHello& m) {
  const auto pods = structs<fbs::AgentPod>(b, m.pods, [](const state::AgentPod& pod) {
    return fbs::AgentPod(pod_ref(pod.ref), pod.gpu_mask, pod.started_at, pod.running);
  });
  const auto pinned = state::convert::pins(b, m.pods, [](const state::AgentPod& pod) { return &pod.pinning; });
  const auto info = node_info(b, m.info);
  return {fbs::Body::AgentHello, fbs::CreateAgentHello(b, info, pods, pinned, m.network).Union()};
}

Encoded encode(Builder& b, const state::AgentStatus& m) {
  const auto starts = structs<fbs::PodStart>(
      b, m.starts, [](const state::PodStart& s) { return fbs::PodStart(pod_ref(s.ref), s.started_at); });
  const auto ends = structs<fbs::PodEnd>(b, m.ends, [](const state::PodEnd& e) { return pod_end(e); });
  static thread_local std::vector<fb::Offset<fb::String>> texts;
  texts.clear();
  for (const state::PodEnd& e : m.ends) {
    if (!e.message.empty()) texts.push_back(b.CreateString(e.message));
  }
  const auto messages = texts.empty() ? fb::Offset<Strings>() : b.CreateVector(texts);
  fb::Offset<fb::Vector<const fbs::PodUse*>> uses;
  if (std::any_of(m.ends.begin(), m.ends.end(), [](const state::PodEnd& e) { return e.use != state::PodUse{}; })) {
    uses = structs<fbs::PodUse>(b, m.ends, [](const state::PodEnd& e) { return pod_use(e.use); });
  }
  fb::Offset<fb::Vector<fb::Offset<fbs::PodReadiness>>> readiness;
  if (!m.readiness.empty()) {
    std::vector<fb::Offset<fbs::PodReadiness>> list;
    for (const state::PodReadiness& r : m.readiness) {
      const fbs::PodRef ref = pod_ref(r.ref);
      const auto address = text(b, r.address);
      list.push_back(fbs::CreatePodReadiness(b, &ref, r.ready, address, text(b, r.message)));
    }
    readiness = b.CreateVector(list);
  }
  return {fbs::Body::AgentStatus,
          fbs::CreateAgentStatus(b, starts, ends, messages, readiness, uses, m.network).Union()};
}

Encoded encode(Builder& b, const state::AgentHeartbeat&) {
  return {fbs::Body::AgentHeartbeat, fbs::CreateAgentHeartbeat(b).Union()};
}

Encoded encode(Builder& b, const state::LogReply& m) {
  fb::Offset<fbs::LogChunk> chunk;
  fb::Offset<fbs::Error> refusal;
  if (const auto* c = std::get_if<state::LogChunk>(&m.body)) chunk = log_chunk(b, *c);
  if (const auto* e = std::get_if<state::Error>(&m.body)) refusal = error(b, *e);
  return {fbs::Body::LogReply, fbs::CreateLogReply(b, m.token, chunk, refusal).Union()};
}

Encoded encode(Builder& b, const state::AgentWelcome& m) {
  const auto subnet = text(b, m.pod_subnet);
  const auto pods = text(b, m.pods_cidr);
  const auto services = text(b, m.services_cidr);
  return {fbs::Body::AgentWelcome,
          fbs::CreateAgentWelcome(b, m.node.value, m.heartbeat_ms, subnet, pods, services).Union()};
}

Encoded encode(Builder& b, const state::StartPods& m) {
  static thread_local std::vector<fb::Offset<fbs::StartOrder>> offsets;
  offsets.clear();
  for (const state::StartOrder& order : m.orders) offsets.push_back(start_order(b, order));
  return {fbs::Body::StartPods, fbs::CreateStartPods(b, b.CreateVector(offsets)).Union()};
}

Encoded encode(Builder& b, const state::StopPods& m) {
  const auto stops = structs<fbs::PodStop>(b, m.stops, [](const state::PodStop& s) {
    return fbs::PodStop(pod_ref(s.ref), static_cast<std::uint8_t>(s.stop_state));
  });
  return {fbs::Body::StopPods, fbs::CreateStopPods(b, stops).Union()};
}

Encoded encode(Builder& b, const state::ForgetPods& m) {
  const auto pods = structs<fbs::PodRef>(b, m.pods, [](const state::PodRef& ref) { return pod_ref(ref); });
  return {fbs::Body::ForgetPods, fbs::CreateForgetPods(b, pods).Union()};
}

Encoded encode(Builder& b, const state::ForgetJobs& m) {
  return {fbs::Body::ForgetJobs, fbs::CreateForgetJobs(b, job_ids(b, m.jobs)).Union()};
}

Encoded encode(Builder& b, const state::ReadLog& m) {
  const auto request = read_log(b, m.request);
  const auto name = text(b, m.job_name);
  const auto user = text(b, m.user);
  const auto launch = bytes(b, m.launch);
  const fbs::PodRef ref = pod_ref(m.ref);
  return {fbs::Body::ReadLog, fbs::CreateReadLog(b, m.token, &ref, m.uid, m.gid, request, m.index, name, user, launch,
                                                 m.step_of.value, m.step)
                                  .Union()};
}

// ---- decode ---------------------------------------------------------------------------------------------------------

namespace {

state::AgentHello get(Reader& in, const fbs::AgentHello& t) {
  state::AgentHello out;
  out.info = node_info(in, t.info());
  out.pods = in.structs<state::AgentPod>(t.pods(), [](const fbs::AgentPod& pod) {
    return state::AgentPod{pod_ref(pod.ref()), pod.running(), pod.gpu_mask(), pod.started_at(), {}};
  });
  pins(in, t.pins(), out.pods.size(),
       [&](std::uint32_t of, state::Pinning pinning) { out.pods[of].pinning = std::move(pinning); });
  out.network = t.network();
  return out;
}

state::AgentStatus get(Reader& in, const fbs::AgentStatus& t) {
  state::AgentStatus out;
  out.starts = in.structs<state::PodStart>(t.starts(), [](const fbs::PodStart& s) {
    return state::PodStart{pod_ref(s.ref()), s.started_at()};
  });
  const fb::uoffset_t texts = t.messages() == nullptr ? 0 : t.messages()->size();
  fb::uoffset_t next = 0;
  out.ends = in.structs<state::PodEnd>(t.ends(), [&](const fbs::PodEnd& e) {
    state::PodEnd end = pod_end(in, e);
    if (!e.has_message()) return end;
    if (next == texts) {
      in.refuse();
    } else {
      end.message = in.text(t.messages()->Get(next++));
    }
    return end;
  });
  if (next != texts) in.refuse();
  const auto uses = in.structs<state::PodUse>(t.uses(), [](const fbs::PodUse& use) { return pod_use(&use); });
  if (!uses.empty() && uses.size() != out.ends.size()) in.refuse();
  for (std::size_t i = 0; i < std::min(uses.size(), out.ends.size()); ++i) out.ends[i].use = uses[i];
  out.readiness = in.list<state::PodReadiness>(t.readiness(), [&in](const fbs::PodReadiness* r) {
    if (r->ref() == nullptr) in.refuse();
    return state::PodReadiness{r->ref() == nullptr ? state::PodRef{} : pod_ref(*r->ref()), r->ready(),
                               in.text(r->address()), in.text(r->message())};
  });
  out.network = t.network();
  return out;
}

state::LogReply get(Reader& in, const fbs::LogReply& t) {
  if ((t.chunk() == nullptr) == (t.error() == nullptr)) {
    in.refuse();
    return {};
  }
  if (t.chunk() != nullptr) return {t.token(), log_chunk(in, *t.chunk())};
  return {t.token(), error(in, *t.error())};
}

state::StartPods get(Reader& in, const fbs::StartPods& t) {
  return {
      in.list<state::StartOrder>(t.orders(), [&in](const fbs::StartOrder* order) { return start_order(in, *order); })};
}

state::StopPods get(Reader& in, const fbs::StopPods& t) {
  return {in.structs<state::PodStop>(t.stops(), [&in](const fbs::PodStop& s) {
    return state::PodStop{pod_ref(s.ref()), in.pod_state(s.stop_state())};
  })};
}

state::ForgetPods get(Reader& in, const fbs::ForgetPods& t) {
  return {in.structs<state::PodRef>(t.pods(), [](const fbs::PodRef& ref) { return pod_ref(ref); })};
}

state::ReadLog get(Reader& in, const fbs::ReadLog& t) {
  state::ReadLog out;
  if (t.ref() == nullptr || t.request() == nullptr) {
    in.refuse();
    return out;
  }
  out.token = t.token();
  out.ref = pod_ref(*t.ref());
  out.uid = t.uid();
  out.gid = t.gid();
  out.request = read_log(*t.request());
  out.index = t.index();
  out.job_name = in.text(t.job_name());
  out.user = in.text(t.user());
  out.launch = in.bytes(t.launch());
  out.step_of = state::JobId{t.step_of()};
  out.step = t.step();
  return out;
}

}  // namespace

bool decode_agent(Reader& in, fbs::Body type, const void* table, Body& out) {
  switch (type) {
    case fbs::Body::AgentHello:
      out = get(in, as<fbs::AgentHello>(table));
      return true;
    case fbs::Body::AgentStatus:
      out = get(in, as<fbs::AgentStatus>(table));
      return true;
    case fbs::Body::AgentHeartbeat:
      out = state::AgentHeartbeat{};
      return true;
    case fbs::Body::LogReply:
      out = get(in, as<fbs::LogReply>(table));
      return true;
    case fbs::Body::AgentWelcome: {
      const auto& t = as<fbs::AgentWelcome>(table);
      out = state::AgentWelcome{state::NodeId{t.node()}, t.heartbeat_ms(), in.text(t.pod_subnet()),
                                in.text(t.pods_cidr()), in.text(t.services_cidr())};
      return true;
    }
    case fbs::Body::StartPods:
      out = get(in, as<fbs::StartPods>(table));
      return true;
    case fbs::Body::StopPods:
      out = get(in, as<fbs::StopPods>(table));
      return true;
    case fbs::Body::ForgetPods:
      out = get(in, as<fbs::ForgetPods>(table));
      return true;
    case fbs::Body::ForgetJobs:
      out = state::ForgetJobs{job_ids(in, as<fbs::ForgetJobs>(table).jobs())};
      return true;
    case fbs::Body::ReadLog:
      out = get(in, as<fbs::ReadLog>(table));
      return true;
    case fbs::Body::NetworkUpdate:
      out = network_update(in, as<fbs::NetworkUpdate>(table));
      return true;
    default:
      return false;
  }
}

}  // namespace berth::wire::codec
