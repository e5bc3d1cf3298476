// Inside of the codec: what its files share. Encoders append one table to a builder and say which member of the union
// it is; decoders read a table that the verifier has passed, through a Reader that keeps what they copy within the
// frame's size.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/wire/message.h"
#include "api/wire/schema/wire_generated.h"
#include "state/fbs_convert.h"

namespace berth::wire::codec {

namespace fb = flatbuffers;
using Builder = fb::FlatBufferBuilder;
using Encoded = std::pair<fbs::Body, fb::Offset<void>>;
using Bytes = fb::Vector<std::uint8_t>;
using Strings = fb::Vector<fb::Offset<fb::String>>;

template <class T>
const T& as(const void* table) {
  return *static_cast<const T*>(table);
}

// What reading it copies, at least.
inline std::size_t size_of(const fb::String* s) { return s == nullptr ? 0 : s->size() + sizeof(std::uint32_t); }
inline std::size_t size_of(const Strings* list) {
  std::size_t size = 0;
  if (list == nullptr) return size;
  for (const auto* text : *list) size += sizeof(std::uint32_t) + size_of(text);
  return size;
}

// Offsets in a buffer may share what they point to, so that a small hostile frame could unfold into terabytes. Our
// encoder never shares, so all that is copied out of an honest frame fits in the frame: more than that is refused.
class Reader {
 public:
  explicit Reader(std::size_t frame_bytes) : left_(frame_bytes) {}

  bool good() const { return good_; }
  void refuse() { good_ = false; }
  bool take(std::size_t bytes) {
    if (bytes > left_) good_ = false;
    left_ -= good_ ? bytes : 0;
    return good_;
  }

  std::string text(const fb::String* s) {
    return s != nullptr && take(s->size() + sizeof(std::uint32_t)) ? s->str() : std::string();
  }
  std::vector<std::string> texts(const Strings* list) {
    std::vector<std::string> out;
    if (list == nullptr || !take(list->size() * sizeof(fb::uoffset_t))) return out;  // and text() the rest of each
    out.reserve(list->size());
    for (const auto* s : *list) {
      out.push_back(text(s));
      if (!good_) break;
    }
    return out;
  }
  std::string bytes(const Bytes* list) {
    if (list == nullptr || !take(list->size())) return {};
    return {reinterpret_cast<const char*>(list->data()), list->size()};
  }
  template <class E>
  E one_of(std::uint8_t value, E last) {
    if (value > static_cast<std::uint8_t>(last)) refuse();
    return static_cast<E>(good_ ? value : 0);
  }
  state::PodState pod_state(std::uint8_t value) {
    return one_of(value, static_cast<state::PodState>(state::kPodStates - 1));
  }
  // A list of items of any kind, each made by `make` from what the vector holds; a table takes at least `table_bytes`.
  template <class Out, class T, class Make>
  std::vector<Out> list(const fb::Vector<T>* items, Make make, std::size_t table_bytes = 0) {
    std::vector<Out> out;
    if (items == nullptr || !aligned(*items, alignof(T))) return out;
    if (!take(items->size() * (sizeof(T) + table_bytes))) return out;
    out.reserve(items->size());
    for (const auto item : *items) {
      out.push_back(make(item));
      if (!good_) break;
    }
    return out;
  }
  template <class Out, class S, class Make>
  std::vector<Out> structs(const fb::Vector<const S*>* items, Make make) {
    std::vector<Out> out;
    if (items == nullptr || !aligned(*items, alignof(S)) || !take(items->size() * sizeof(S))) return out;
    out.reserve(items->size());
    for (fb::uoffset_t i = 0; i < items->size() && good_; ++i) out.push_back(make(*items->Get(i)));
    return out;
  }

 private:
  // The verifier looks at where a list's length lies, but not at where its items do. (An empty list may end anywhere.)
  template <class T>
  bool aligned(const fb::Vector<T>& items, std::size_t align) {
    if (items.size() != 0 && reinterpret_cast<std::uintptr_t>(items.Data()) % align != 0) good_ = false;
    return good_;
  }

  std::size_t left_;
  bool good_ = true;
};

// What the smallest encoded JobSpec takes beside the reference to it: a first word, references to its request and
// launch, a first word and a length there.
inline constexpr std::size_t kJobSpecBytesMin = 20;

// ---- codec_common.cpp: parts that several messages have
// ---------------------------------------------------------------
inline fb::Offset<fb::String> text(Builder& b, std::string_view s) {
  return s.empty() ? fb::Offset<fb::String>() : b.CreateString(s.data(), s.size());
}
inline fb::Offset<Bytes> bytes(Builder& b, std::string_view s) {
  return s.empty() ? fb::Offset<Bytes>() : b.CreateVector(reinterpret_cast<const std::uint8_t*>(s.data()), s.size());
}
// Structs made from `items` by `make`. (The builder's CreateUninitializedVectorOfStructs aligns to the size of the
// struct, which for sizes that are no powers of two breaks the alignment of all that follows.)
template <class S, class Item, class Make>
fb::Offset<fb::Vector<const S*>> structs(Builder& b, const std::vector<Item>& items, Make make) {
  return b.CreateVectorOfStructs<S>(items.size(), [&](std::size_t i, S* out) { *out = make(items[i]); });
}
fb::Offset<Strings> texts(Builder& b, const std::vector<std::string>& list);
fb::Offset<fb::Vector<std::uint64_t>> job_ids(Builder& b, const std::vector<state::JobId>& ids);
fb::Offset<Bytes> pod_states(Builder& b, const std::vector<state::PodState>& states);
std::vector<state::JobId> job_ids(Reader& in, const fb::Vector<std::uint64_t>* ids);
std::vector<state::PodState> pod_states(Reader& in, const Bytes* states);

inline fbs::PodRef pod_ref(const state::PodRef& ref) { return {ref.pod.job.value, ref.pod.element, ref.attempt}; }
inline state::PodRef pod_ref(const fbs::PodRef& ref) {
  return {{state::JobId{ref.job()}, ref.element()}, ref.attempt()};
}
inline fbs::Resources resources(const state::Resources& r) { return {r.mem_mib, r.cpu_milli, r.gpus}; }
inline state::Resources resources(const fbs::Resources* r) {
  return r == nullptr ? state::Resources{} : state::Resources{r->cpu_milli(), r->mem_mib(), r->gpus()};
}

fb::Offset<fbs::NodeInfo> node_info(Builder& b, const state::NodeInfo& info);
state::NodeInfo node_info(Reader& in, const fbs::NodeInfo* table);
std::vector<state::Countable> countables(Reader& in, const fb::Vector<fb::Offset<spec::Countable>>* list);
// put(number of the item, pinning) for each pinning of `items` items.
template <class Put>
void pins(Reader& in, const fb::Vector<fb::Offset<spec::Pinning>>* list, std::size_t items, Put&& put) {
  if (list == nullptr) return;
  for (const auto* table : *list) {
    const auto* memories = table->memories();
    const std::size_t bytes = (table->cpus() == nullptr ? 0 : table->cpus()->size()) +
                              (memories == nullptr ? 0 : memories->size() * sizeof(spec::PinnedMemory));
    state::Pinning pinning;
    if (!in.take(3 * sizeof(std::uint32_t) + bytes)) return;
    if (table->of() >= items || !state::convert::to_pinning(*table, pinning)) return in.refuse();
    put(table->of(), std::move(pinning));
  }
}
fb::Offset<fbs::Queue> queue(Builder& b, const state::Queue& queue);
state::Queue queue(Reader& in, const fbs::Queue* table);
fb::Offset<fbs::Error> error(Builder& b, const state::Error& error);
state::Error error(Reader& in, const fbs::Error& table);
fb::Offset<fbs::LogChunk> log_chunk(Builder& b, const state::LogChunk& chunk);
state::LogChunk log_chunk(Reader& in, const fbs::LogChunk& table);
fb::Offset<fbs::ReadLogRequest> read_log(Builder& b, const state::ReadLogRequest& request);
state::ReadLogRequest read_log(const fbs::ReadLogRequest& table);
state::JobSpec job_spec(Reader& in, const spec::JobSpec* table);
state::Owner owner(Reader& in, const spec::Owner* table);

// ---- codec_accounts.cpp: what accounts, their members and qualities of service are asked and told
Encoded put(Builder& b, const state::AccountActionRequest& r);
Encoded put(Builder& b, const state::MemberActionRequest& r);
Encoded put(Builder& b, const state::QosActionRequest& r);
Encoded put(Builder& b, const state::ListAccountsRequest& r);
Encoded put(Builder& b, const state::PriorityRequest& r);
Encoded put(Builder& b, const state::JobRequeueRequest& r);
Encoded put(Builder& b, const state::AccountPage& r);
Encoded put(Builder& b, const state::PriorityPage& r);
// False if the table is none of these.
bool get_account_request(Reader& in, fbs::Body type, const void* table, state::ClientRequest& out);
bool get_account_reply(Reader& in, fbs::Body type, const void* table, state::ServerReply& out);

// ---- codec_services.cpp: services, and how their pods are reached
Encoded put(Builder& b, const state::ServicePutRequest& r);
Encoded put(Builder& b, const state::ServiceActionRequest& r);
Encoded put(Builder& b, const state::ListServicesRequest& r);
Encoded put(Builder& b, const state::ShowServiceRequest& r);
Encoded put(Builder& b, const state::ServicePage& r);
Encoded put(Builder& b, const state::ServiceDetail& r);
bool get_service_request(Reader& in, fbs::Body type, const void* table, state::ClientRequest& out);
bool get_service_reply(Reader& in, fbs::Body type, const void* table, state::ServerReply& out);
state::NetworkUpdate network_update(Reader& in, const fbs::NetworkUpdate& t);

// ---- codec_events.cpp: what happened lately
Encoded put(Builder& b, const state::ListEventsRequest& r);
Encoded put(Builder& b, const state::EventPage& r);
bool get_event_request(Reader& in, fbs::Body type, const void* table, state::ClientRequest& out);
bool get_event_reply(Reader& in, fbs::Body type, const void* table, state::ServerReply& out);

// ---- codec_node.cpp: what is asked of a node itself
inline fbs::PodUse pod_use(const state::PodUse& u) {
  return {u.cpu_user_us, u.cpu_system_us, u.read_bytes, u.written_bytes};
}
inline state::PodUse pod_use(const fbs::PodUse* u) {
  return u == nullptr ? state::PodUse{}
                      : state::PodUse{u->cpu_user_us(), u->cpu_system_us(), u->read_bytes(), u->written_bytes()};
}
Encoded put(Builder& b, const state::ImagePage& r);
Encoded put(Builder& b, const state::TopPage& r);
bool get_node_reply(Reader& in, fbs::Body type, const void* table, state::ServerReply& out);
Encoded encode(Builder& b, const state::NodeRequest& request);
Encoded encode(Builder& b, const state::NodeAsk& message);
Encoded encode(Builder& b, const state::NodeAnswer& message);
bool decode_node(Reader& in, fbs::Body type, const void* table, Body& out);

// ---- codec_exec.cpp: a command run inside of a pod
Encoded put(Builder& b, const state::ExecRequest& r);
state::ExecRequest exec_request(Reader& in, const fbs::ExecRequest& t);
Encoded encode(Builder& b, const state::ExecStart& message);
Encoded encode(Builder& b, const state::ExecPart& message);
bool decode_exec(Reader& in, fbs::Body type, const void* table, Body& out);

// ---- codec_history.cpp: what has ended, and what was used
Encoded put(Builder& b, const state::HistoryRequest& r);
Encoded put(Builder& b, const state::HistoryPodsRequest& r);
Encoded put(Builder& b, const state::UsageRequest& r);
Encoded put(Builder& b, const state::HistoryPage& r);
Encoded put(Builder& b, const state::UsagePage& r);
bool get_history_reply(Reader& in, fbs::Body type, const void* table, state::ServerReply& out);
Encoded encode(Builder& b, const state::ArchiveRequest& request);
bool decode_archive_request(Reader& in, fbs::Body type, const void* table, Body& out);
// in codec_replies.cpp
fb::Offset<fbs::JobRow> job_row(Builder& b, const state::JobRow& r);
state::JobRow job_row(Reader& in, const fbs::JobRow& t);

// ---- one file for each direction
// ---------------------------------------------------------------------------------------- The decoders are given a
// table of the kind that `type` names, and return false if it is not one of theirs.
Encoded encode_request(Builder& b, const state::ClientRequest& request);
bool decode_request(Reader& in, fbs::Body type, const void* table, Body& out);
Encoded encode_reply(Builder& b, const state::ServerReply& reply);
bool decode_reply(Reader& in, fbs::Body type, const void* table, Body& out);

Encoded encode(Builder& b, const state::AgentHello& message);
Encoded encode(Builder& b, const state::AgentStatus& message);
Encoded encode(Builder& b, const state::AgentHeartbeat& message);
Encoded encode(Builder& b, const state::LogReply& message);
Encoded encode(Builder& b, const state::AgentWelcome& message);
Encoded encode(Builder& b, const state::StartPods& message);
Encoded encode(Builder& b, const state::StopPods& message);
Encoded encode(Builder& b, const state::ForgetPods& message);
Encoded encode(Builder& b, const state::ForgetJobs& message);
Encoded encode(Builder& b, const state::ReadLog& message);
Encoded encode(Builder& b, const state::NetworkUpdate& message);
bool decode_agent(Reader& in, fbs::Body type, const void* table, Body& out);

// ---- codec_verify.cpp
// ------------------------------------------------------------------------------------------------ True if `bytes`
// (8-aligned) is a sound Message: everything in bounds, and no more work to read than its size allows.
bool verify(const std::uint8_t* bytes, std::size_t size);

}  // namespace berth::wire::codec
