#include "api/wire/codec_internal.h"
#include "state/fbs_convert.h"

namespace berth::wire::codec {

namespace {

using codec::size_of;

template <class T>
std::size_t size_of(const fb::Vector<T>* list, std::size_t item_bytes) {
  return list == nullptr ? 0 : list->size() * item_bytes;
}
std::size_t size_of(const state::convert::Countables* list) {
  std::size_t size = 0;
  if (list == nullptr) return size;
  for (const auto* item : *list) size += 3 * sizeof(std::uint32_t) + size_of(item->name());
  return size;
}
std::size_t size_of(const spec::Topology& t) {
  std::size_t size = size_of(t.core_sizes(), 1) + size_of(t.threads(), sizeof(std::uint32_t)) +
                     size_of(t.domains(), sizeof(spec::Domain)) + size_of(t.memories(), sizeof(spec::MemoryNode));
  if (t.devices() == nullptr) return size;
  for (const auto* device : *t.devices()) {
    size += 4 * sizeof(std::uint32_t) + size_of(device->name()) + size_of(device->bus());
  }
  return size;
}
// Of what a JobSpec's request is copied from. (Counted before it is copied: offsets may share what they point to.)
std::size_t size_of(const spec::Request& request) {
  std::size_t size = size_of(request.features()) + size_of(request.where()) + size_of(request.prefers()) +
                     size_of(request.tolerates()) + size_of(request.labels()) + size_of(request.counts()) +
                     size_of(request.licences());
  if (request.rules() == nullptr) return size;
  for (const auto* rule : *request.rules()) {
    size += sizeof(std::uint32_t) + size_of(rule->selector()) + size_of(rule->domain());
  }
  return size;
}

}  // namespace

std::vector<state::Countable> countables(Reader& in, const state::convert::Countables* list) {
  return in.take(size_of(list)) ? state::convert::to_countables(list) : std::vector<state::Countable>();
}

fb::Offset<Strings> texts(Builder& b, const std::vector<std::string>& list) {
  return list.empty() ? fb::Offset<Strings>() : b.CreateVectorOfStrings(list);
}

fb::Offset<fb::Vector<std::uint64_t>> job_ids(Builder& b, const std::vector<state::JobId>& ids) {
  std::uint64_t* out = nullptr;
  const auto vector = b.CreateUninitializedVector(ids.size(), &out);
  for (const state::JobId id : ids) *out++ = id.value;
  return vector;
}

fb::Offset<Bytes> pod_states(Builder& b, const std::vector<state::PodState>& states) {
  std::uint8_t* out = nullptr;
  const auto vector = b.CreateUninitializedVector(states.size(), &out);
  for (const state::PodState state : states) *out++ = static_cast<std::uint8_t>(state);
  return vector;
}

std::vector<state::JobId> job_ids(Reader& in, const fb::Vector<std::uint64_t>* ids) {
  return in.list<state::JobId>(ids, [](std::uint64_t id) { return state::JobId{id}; });
}

std::vector<state::PodState> pod_states(Reader& in, const Bytes* states) {
  return in.list<state::PodState>(states, [&in](std::uint8_t state) { return in.pod_state(state); });
}

fb::Offset<fbs::NodeInfo> node_info(Builder& b, const state::NodeInfo& info) {
  const auto name = text(b, info.name);
  const auto instance = text(b, info.instance);
  const auto address = text(b, info.address);
  const auto version = text(b, info.version);
  const auto limits = text(b, info.limits);
  const auto features = texts(b, info.features);
  const auto taints = texts(b, info.taints);
  const auto counts = state::convert::countables(b, info.counts);
  const auto machine = state::convert::topology(b, info.topology);
  const fbs::Resources capacity = resources(info.capacity);
  return fbs::CreateNodeInfo(b, name, instance, address, version, limits, &capacity, features, taints, counts,
                             info.pods_max, machine);
}

state::NodeInfo node_info(Reader& in, const fbs::NodeInfo* table) {
  state::NodeInfo out;
  if (table == nullptr) {
    in.refuse();
    return out;
  }
  out.name = in.text(table->name());
  out.instance = in.text(table->instance());
  out.address = in.text(table->address());
  out.version = in.text(table->version());
  out.limits = in.text(table->limits());
  out.capacity = resources(table->capacity());
  out.features = in.texts(table->features());
  out.taints = in.texts(table->taints());
  out.counts = countables(in, table->counts());
  out.pods_max = table->pods_max();
  if (const auto* machine = table->topology(); machine != nullptr) {
    if (!in.take(size_of(*machine))) return out;
    if (!state::convert::to_topology(machine, out.topology)) in.refuse();
  }
  return out;
}

fb::Offset<fbs::Queue> queue(Builder& b, const state::Queue& queue) {
  const auto name = text(b, queue.name);
  const auto where = text(b, queue.where);
  const auto users = texts(b, queue.users);
  const auto accounts = texts(b, queue.accounts);
  return fbs::CreateQueue(b, name, queue.priority, queue.time_limit_ms, static_cast<std::uint8_t>(queue.state), where,
                          queue.time_default_ms, queue.nodes_max, users, accounts, queue.tier,
                          static_cast<std::uint8_t>(queue.preempt));
}

state::Queue queue(Reader& in, const fbs::Queue* table) {
  if (table == nullptr) {
    in.refuse();
    return {};
  }
  return {in.text(table->name()),
          table->priority(),
          table->time_limit_ms(),
          in.one_of(table->state(), state::Queue::State::kInactive),
          in.text(table->where()),
          table->time_default_ms(),
          table->nodes_max(),
          in.texts(table->users()),
          in.texts(table->accounts()),
          table->tier(),
          in.one_of(table->preempt(), state::Preempt::kCancel)};
}

fb::Offset<fbs::Error> error(Builder& b, const state::Error& error) {
  const auto field = text(b, error.field);
  const auto message = text(b, error.message);
  return fbs::CreateError(b, static_cast<std::uint8_t>(error.code), field, message, error.retry_after_ms);
}

state::Error error(Reader& in, const fbs::Error& table) {
  if (table.code() == 0) in.refuse();
  return {in.one_of(table.code(), state::ErrorCode::kInternal), in.text(table.field()), in.text(table.message()),
          table.retry_after_ms()};
}

fb::Offset<fbs::LogChunk> log_chunk(Builder& b, const state::LogChunk& chunk) {
  const auto data = bytes(b, chunk.bytes);
  return fbs::CreateLogChunk(b, chunk.offset, data, chunk.ended);
}

state::LogChunk log_chunk(Reader& in, const fbs::LogChunk& table) {
  return {table.offset(), in.bytes(table.bytes()), table.ended()};
}

fb::Offset<fbs::ReadLogRequest> read_log(Builder& b, const state::ReadLogRequest& request) {
  return fbs::CreateReadLogRequest(b, request.job.value, request.index, request.error_stream, request.offset,
                                   request.max_bytes, request.wait_ms);
}

state::ReadLogRequest read_log(const fbs::ReadLogRequest& table) {
  return {state::JobId{table.job()}, table.index(),  table.error_stream(), table.offset(),
          table.max_bytes(),         table.wait_ms()};
}

state::JobSpec job_spec(Reader& in, const spec::JobSpec* table) {
  state::JobSpec out;
  if (table == nullptr) {
    in.refuse();
    return out;
  }
  std::size_t size = size_of(table->name()) + size_of(table->queue()) + size_of(table->launch(), 1) +
                     size_of(table->elements(), sizeof(spec::IndexRange)) +
                     size_of(table->depends(), sizeof(spec::Dependency)) +
                     size_of(table->depends_on(), sizeof(spec::DependencyIndex)) + size_of(table->account()) +
                     size_of(table->comment()) + size_of(table->qos());
  if (const auto* request = table->request(); request != nullptr) size += size_of(*request);
  if (!in.take(size)) return out;
  if (!state::convert::to_job_spec(table, out)) in.refuse();
  return out;
}

state::Owner owner(Reader& in, const spec::Owner* table) {
  if (table != nullptr && !in.take(size_of(table->user()) + size_of(table->groups(), sizeof(std::uint32_t)))) return {};
  return state::convert::to_owner(table);
}

}  // namespace berth::wire::codec
