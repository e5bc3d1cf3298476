#include "state/journal_convert.h"

namespace berth::state::convert {

namespace fb = flatbuffers;

fb::Offset<journal::NodeInfo> node_info(fb::FlatBufferBuilder& b, const NodeInfo& info) {
  const auto name = text(b, info.name);
  const auto instance = text(b, info.instance);
  const auto address = text(b, info.address);
  const auto version = text(b, info.version);
  const auto limits = text(b, info.limits);
  const auto features = strings(b, info.features);
  const auto taints = strings(b, info.taints);
  const auto counts = countables(b, info.counts);
  const auto machine = topology(b, info.topology);
  return journal::CreateNodeInfo(b, name, instance, address, version, limits, info.capacity.cpu_milli,
                                 info.capacity.mem_mib, info.capacity.gpus, features, taints, counts, info.pods_max,
                                 machine);
}

bool to_node_info(const journal::NodeInfo* table, NodeInfo& out) {
  if (table == nullptr) return false;
  out.name = text(table->name());
  out.instance = text(table->instance());
  out.address = text(table->address());
  out.version = text(table->version());
  out.limits = text(table->limits());
  out.capacity = {table->cpu_milli(), table->mem_mib(), table->gpus()};
  out.features = strings(table->features());
  out.taints = strings(table->taints());
  out.counts = to_countables(table->counts());
  out.pods_max = table->pods_max();
  return to_topology(table->topology(), out.topology);
}

fb::Offset<journal::QueueSet> queue(fb::FlatBufferBuilder& b, const Queue& queue) {
  const auto name = text(b, queue.name);
  const auto where = text(b, queue.where);
  const auto users = strings(b, queue.users);
  const auto accounts = strings(b, queue.accounts);
  return journal::CreateQueueSet(b, name, queue.priority, queue.time_limit_ms, static_cast<std::uint8_t>(queue.state),
                                 where, queue.time_default_ms, queue.nodes_max, users, accounts, queue.tier,
                                 static_cast<std::uint8_t>(queue.preempt));
}

bool to_queue(const journal::QueueSet& table, Queue& out) {
  if (table.state() > static_cast<std::uint8_t>(Queue::State::kInactive)) return false;
  if (table.preempt() > static_cast<std::uint8_t>(Preempt::kCancel)) return false;
  out = {text(table.name()),
         table.priority(),
         table.time_limit_ms(),
         static_cast<Queue::State>(table.state()),
         text(table.where()),
         table.time_default_ms(),
         table.nodes_max(),
         strings(table.users()),
         strings(table.accounts()),
         table.tier(),
         static_cast<Preempt>(table.preempt())};
  return true;
}

fb::Offset<journal::TokenAdded> token(fb::FlatBufferBuilder& b, const Token& token) {
  const auto id = text(b, token.id);
  const auto hash = text(b, token.secret_hash);
  const auto user = text(b, token.user);
  return journal::CreateTokenAdded(b, id, hash, static_cast<std::uint8_t>(token.role), user, token.created_at,
                                   token.expires_at);
}

bool to_token(const journal::TokenAdded& table, Token& out) {
  if (table.role() > static_cast<std::uint8_t>(TokenRole::kUser)) return false;
  out.id = text(table.id());
  out.secret_hash = text(table.secret_hash());
  out.role = static_cast<TokenRole>(table.role());
  out.user = text(table.user());
  out.created_at = table.created_at();
  out.expires_at = table.expires_at();
  return true;
}

flatbuffers::Offset<journal::ServiceSet> service_set(flatbuffers::FlatBufferBuilder& b, const Service& service) {
  std::vector<flatbuffers::Offset<journal::ServiceRevision>> list;
  for (const ServiceRevision& r : service.revisions) {
    const auto spec = job_spec(b, r.spec);
    list.push_back(journal::CreateServiceRevision(b, r.number, spec, r.made_at));
  }
  const auto revisions = b.CreateVector(list);
  return journal::CreateServiceSet(b, convert::service(b, service), revisions);
}

bool to_service_set(const journal::ServiceSet& table, Service& out) {
  return to_service(table.service(), out) && each(table.revisions(), [&](const journal::ServiceRevision& r) {
           ServiceRevision& revision = out.revisions.emplace_back();
           revision.number = r.number();
           revision.made_at = r.made_at();
           return to_job_spec(r.spec(), revision.spec);
         });
}

}  // namespace berth::state::convert
