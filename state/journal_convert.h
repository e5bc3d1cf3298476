// Between records and the tables of schema/journal.fbs, shared by the event codec and the snapshot codec.
#pragma once

#include <cmath>

#include "state/events.h"
#include "state/fbs_convert.h"
#include "state/schema/journal_generated.h"

namespace berth::state::convert {

inline journal::PodRef pod_ref(const PodRef& ref) { return {ref.pod.job.value, ref.pod.element, ref.attempt}; }
inline PodRef to_pod_ref(const journal::PodRef& ref) { return {{JobId{ref.job()}, ref.element()}, ref.attempt()}; }

inline journal::Outcome outcome(const PodOutcome& o, std::uint16_t message) {
  return {o.started_at, o.ended_at, o.node.value, o.mem_peak_mib,
          o.attempt,    message,    o.exit_code,  static_cast<std::uint8_t>(o.state),
          o.signal};
}
inline bool to_outcome(const journal::Outcome& o, PodOutcome& out) {
  if (!is_pod_state(o.state())) return false;
  out.state = static_cast<PodState>(o.state());
  out.signal = o.signal();
  out.exit_code = o.exit_code();
  out.message = o.message();
  out.attempt = o.attempt();
  out.node = NodeId{o.node()};
  out.mem_peak_mib = o.mem_peak_mib();
  out.started_at = o.started_at();
  out.ended_at = o.ended_at();
  return true;
}

inline journal::PodUse pod_use(const PodUse& u) {
  return {u.cpu_user_us, u.cpu_system_us, u.read_bytes, u.written_bytes};
}
inline PodUse to_pod_use(const journal::PodUse& u) {
  return {u.cpu_user_us(), u.cpu_system_us(), u.read_bytes(), u.written_bytes()};
}

flatbuffers::Offset<journal::NodeInfo> node_info(flatbuffers::FlatBufferBuilder& b, const NodeInfo& info);
bool to_node_info(const journal::NodeInfo* table, NodeInfo& out);
flatbuffers::Offset<journal::QueueSet> queue(flatbuffers::FlatBufferBuilder& b, const Queue& queue);
bool to_queue(const journal::QueueSet& table, Queue& out);
inline flatbuffers::Offset<journal::Usage> usage(flatbuffers::FlatBufferBuilder& b, const std::string& account,
                                                 const std::string& user, const Usage& usage) {
  const auto of = text(b, account);
  return journal::CreateUsage(b, of, text(b, user), usage.cpu_seconds, usage.at);
}
// Neither negative nor beyond all numbers.
inline bool is_usage(const journal::Usage& u) { return u.cpu_seconds() >= 0 && std::isfinite(u.cpu_seconds()); }
inline flatbuffers::Offset<journal::ReadyPod> ready_pod(flatbuffers::FlatBufferBuilder& b, const PodRef& ref,
                                                        bool ready, const std::string& address) {
  const auto where = text(b, address);
  const journal::PodRef of = pod_ref(ref);
  return journal::CreateReadyPod(b, &of, ready, where);
}
flatbuffers::Offset<journal::ServiceSet> service_set(flatbuffers::FlatBufferBuilder& b, const Service& service);
bool to_service_set(const journal::ServiceSet& table, Service& out);
flatbuffers::Offset<journal::TokenAdded> token(flatbuffers::FlatBufferBuilder& b, const Token& token);
bool to_token(const journal::TokenAdded& table, Token& out);

}  // namespace berth::state::convert
