// What clients are told.
#include "api/wire/codec_internal.h"
#include "state/fbs_convert.h"

namespace berth::wire::codec {

namespace {

constexpr std::size_t kLate = static_cast<std::size_t>(state::PodState::kDeadline);
constexpr std::size_t kStructStates = 9;  // a struct cannot grow
static_assert(kLate == kStructStates && state::kPodStates == kStructStates + 1);

fbs::JobCounts counts(const state::JobCounts& counts) {
  return fbs::JobCounts(fb::span<const std::uint32_t, kStructStates>(counts.by_state.data(), kStructStates));
}

state::JobCounts counts(const fbs::JobCounts* counts, std::uint32_t late_pods) {
  state::JobCounts out;
  out.by_state[kLate] = late_pods;
  if (counts == nullptr) return out;
  for (fb::uoffset_t i = 0; i < kStructStates; ++i) out.by_state[i] = counts->by_state()->Get(i);
  return out;
}

}  // namespace

fb::Offset<fbs::JobRow> job_row(Builder& b, const state::JobRow& r) {
  const auto name = text(b, r.name);
  const auto user = text(b, r.user);
  const auto queue = text(b, r.queue);
  const auto reason = text(b, r.reason);
  const auto account = text(b, r.account);
  const auto comment = text(b, r.comment);
  const auto nodes = texts(b, r.nodes);
  const auto qos = text(b, r.qos);
  const auto waiting = text(b, r.waiting);
  const fbs::JobCounts by_state = counts(r.counts);
  const fbs::Resources request = resources(r.resources);
  const fbs::PodUse use = pod_use(r.use);
  return fbs::CreateJobRow(b, r.id.value, name, user, queue, static_cast<std::uint8_t>(r.kind),
                           static_cast<std::uint8_t>(r.summary), &by_state, &request, r.priority, r.submitted_at,
                           r.started_at, r.ended_at, reason, static_cast<std::uint8_t>(r.wait_reason), r.time_limit_ms,
                           r.begin_at, r.uid, r.gid, r.pods, account, comment, nodes, r.exit_code, r.signal, waiting,
                           r.throttle, r.step_of.value, r.step, qos, r.replica_of.value, &use,
                           r.counts.by_state[kLate]);
}

namespace {

fb::Offset<fbs::PodRow> pod_row(Builder& b, const state::PodRow& r) {
  const auto node = text(b, r.node);
  const auto message = text(b, r.message);
  return fbs::CreatePodRow(b, r.element, r.index, static_cast<std::uint8_t>(r.state), r.attempt, node, r.exit_code,
                           r.signal, r.mem_peak_mib, r.started_at, r.ended_at, message,
                           static_cast<std::uint8_t>(r.wait_reason), r.time_limit_ms);
}

fb::Offset<fbs::NodeRow> node_row(Builder& b, const state::NodeRow& r) {
  const auto info = node_info(b, r.info);
  const auto reason = text(b, r.reason);
  const auto counts_used = state::convert::countables(b, r.counts_used);
  const fbs::Resources used = resources(r.used);
  return fbs::CreateNodeRow(b, r.id.value, info, static_cast<std::uint8_t>(r.state), r.connected, reason, &used, r.pods,
                            counts_used, r.gpus_shared_milli);
}

fb::Offset<fbs::Token> token(Builder& b, const state::Token& t) {
  const auto id = text(b, t.id);
  const auto hash = text(b, t.secret_hash);
  const auto user = text(b, t.user);
  return fbs::CreateToken(b, id, hash, static_cast<std::uint8_t>(t.role), user, t.created_at, t.expires_at);
}

template <class Table, class Item>
fb::Offset<fb::Vector<fb::Offset<Table>>> tables(Builder& b, const std::vector<Item>& items,
                                                 fb::Offset<Table> (*make)(Builder&, const Item&)) {
  static thread_local std::vector<fb::Offset<Table>> offsets;
  offsets.clear();
  for (const Item& item : items) offsets.push_back(make(b, item));
  return b.CreateVector(offsets);
}

Encoded put(Builder& b, const state::Ok&) { return {fbs::Body::Ok, fbs::CreateOk(b).Union()}; }
Encoded put(Builder& b, const state::Error& r) { return {fbs::Body::Error, error(b, r).Union()}; }
Encoded put(Builder& b, const state::SubmitReply& r) {
  return {fbs::Body::SubmitReply, fbs::CreateSubmitReply(b, job_ids(b, r.jobs)).Union()};
}
Encoded put(Builder& b, const state::JobPage& r) {
  return {fbs::Body::JobPage, fbs::CreateJobPage(b, tables(b, r.rows, job_row), r.next.value).Union()};
}
Encoded put(Builder& b, const state::PodPage& r) {
  return {fbs::Body::PodPage, fbs::CreatePodPage(b, tables(b, r.rows, pod_row), r.more, r.next_element).Union()};
}
Encoded put(Builder& b, const state::NodePage& r) {
  return {fbs::Body::NodePage, fbs::CreateNodePage(b, tables(b, r.rows, node_row), r.next.value).Union()};
}
Encoded put(Builder& b, const state::JobDetail& r) {
  const auto row = job_row(b, r.row);
  const auto job = state::convert::job_spec(b, r.spec);
  const auto owner = state::convert::owner(b, r.owner);
  return {fbs::Body::JobDetail, fbs::CreateJobDetail(b, row, job, owner).Union()};
}
Encoded put(Builder& b, const state::Explanation& r) {
  const auto summary = text(b, r.summary);
  const auto lines = texts(b, r.lines);
  return {fbs::Body::Explanation,
          fbs::CreateExplanation(b, static_cast<std::uint8_t>(r.state), summary, lines, r.expected_start).Union()};
}
Encoded put(Builder& b, const state::JobProgress& r) {
  const fbs::JobCounts by_state = counts(r.counts);
  return {fbs::Body::JobProgress,
          fbs::CreateJobProgress(b, r.job.value, &by_state, static_cast<std::uint8_t>(r.summary), r.ended,
                                 r.counts.by_state[kLate])
              .Union()};
}
Encoded put(Builder& b, const state::QueuePage& r) {
  return {fbs::Body::QueuePage, fbs::CreateQueuePage(b, tables<fbs::Queue>(b, r.queues, queue)).Union()};
}
fb::Offset<fbs::LicenceRow> licence_row(Builder& b, const state::LicenceRow& r) {
  return fbs::CreateLicenceRow(b, text(b, r.licence.name), r.licence.total, r.used);
}
Encoded put(Builder& b, const state::LicencePage& r) {
  return {fbs::Body::LicencePage, fbs::CreateLicencePage(b, tables(b, r.licences, licence_row)).Union()};
}
Encoded put(Builder& b, const state::TokenPage& r) {
  return {fbs::Body::TokenPage, fbs::CreateTokenPage(b, tables(b, r.tokens, token)).Union()};
}
Encoded put(Builder& b, const state::TokenCreated& r) {
  return {fbs::Body::TokenCreated, fbs::CreateTokenCreated(b, text(b, r.token), r.expires_at).Union()};
}
fb::Offset<fbs::ServerRow> server_row(Builder& b, const state::ServerRow& r) {
  const auto name = text(b, r.name);
  const auto address = text(b, r.address);
  const auto version = text(b, r.version);
  return fbs::CreateServerRow(b, name, address, version, r.leads, r.applied_index, r.heard_ms);
}
fb::Offset<fbs::StoreInfo> store_info(Builder& b, const state::StoreInfo& r) {
  const auto where = text(b, r.where);
  const auto error = text(b, r.error);
  const auto snapshot_error = text(b, r.snapshot_error);
  const auto leader = text(b, r.leader);
  const auto servers = tables(b, r.servers, server_row);
  return fbs::CreateStoreInfo(b, where, error, snapshot_error, r.durable_index, r.snapshot_index, r.lease_ms, r.standby,
                              leader, r.term, servers);
}
Encoded put(Builder& b, const state::ServerInfo& r) {
  const auto version = text(b, r.version);
  const auto cluster = text(b, r.cluster);
  const auto accounting = text(b, r.accounting);
  const auto accounting_error = text(b, r.accounting_error);
  return {
      fbs::Body::ServerInfo,
      fbs::CreateServerInfo(b, version, cluster, r.journal_index, r.jobs, r.pods_pending, r.pods_live, r.nodes,
                            r.nodes_connected, r.started_at, r.start_latency_p50_us, r.start_latency_p99_us, accounting,
                            accounting_error, r.accounting_index, r.accounting_waiting, store_info(b, r.store))
          .Union()};
}
Encoded put(Builder& b, const state::LogChunk& r) { return {fbs::Body::LogChunk, log_chunk(b, r).Union()}; }

// ---- decode ---------------------------------------------------------------------------------------------------------

}  // namespace

state::JobRow job_row(Reader& in, const fbs::JobRow& t) {
  state::JobRow out;
  out.id = state::JobId{t.id()};
  out.name = in.text(t.name());
  out.user = in.text(t.user());
  out.queue = in.text(t.queue());
  out.kind = in.one_of(t.kind(), state::JobKind::kGang);
  out.summary = in.pod_state(t.summary());
  out.counts = counts(t.counts(), t.late_pods());
  out.resources = resources(t.resources());
  out.priority = t.priority();
  out.submitted_at = t.submitted_at();
  out.started_at = t.started_at();
  out.ended_at = t.ended_at();
  out.reason = in.text(t.reason());
  out.wait_reason = in.one_of(t.wait_reason(), static_cast<state::WaitReason>(state::kWaitReasons - 1));
  out.time_limit_ms = t.time_limit_ms();
  out.begin_at = t.begin_at();
  out.uid = t.uid();
  out.gid = t.gid();
  out.pods = t.pods();
  out.account = in.text(t.account());
  out.comment = in.text(t.comment());
  out.nodes = in.texts(t.nodes());
  out.exit_code = t.exit_code();
  out.signal = t.signal();
  out.waiting = in.text(t.waiting());
  out.throttle = t.throttle();
  out.step_of = state::JobId{t.step_of()};
  out.step = t.step();
  out.qos = in.text(t.qos());
  out.replica_of = state::ServiceId{t.replica_of()};
  out.use = pod_use(t.use());
  return out;
}

namespace {

state::PodRow pod_row(Reader& in, const fbs::PodRow& t) {
  state::PodRow out;
  out.element = t.element();
  out.index = t.index();
  out.state = in.pod_state(t.state());
  out.attempt = t.attempt();
  out.node = in.text(t.node());
  out.exit_code = t.exit_code();
  out.signal = t.signal();
  out.mem_peak_mib = t.mem_peak_mib();
  out.started_at = t.started_at();
  out.ended_at = t.ended_at();
  out.message = in.text(t.message());
  out.wait_reason = in.one_of(t.wait_reason(), static_cast<state::WaitReason>(state::kWaitReasons - 1));
  out.time_limit_ms = t.time_limit_ms();
  return out;
}

state::NodeRow node_row(Reader& in, const fbs::NodeRow& t) {
  state::NodeRow out;
  out.id = state::NodeId{t.id()};
  out.info = node_info(in, t.info());
  out.state = in.one_of(t.state(), state::NodeState::kLost);
  out.connected = t.connected();
  out.reason = in.text(t.reason());
  out.used = resources(t.used());
  out.pods = t.pods();
  out.counts_used = countables(in, t.counts_used());
  out.gpus_shared_milli = t.gpus_shared_milli();
  return out;
}

state::Token token(Reader& in, const fbs::Token& t) {
  return {in.text(t.id()),   in.text(t.secret_hash()), in.one_of(t.role(), state::TokenRole::kUser),
          in.text(t.user()), t.created_at(),           t.expires_at()};
}

state::JobDetail job_detail(Reader& in, const fbs::JobDetail& t) {
  state::JobDetail out;
  if (t.row() == nullptr) {
    in.refuse();
    return out;
  }
  out.row = job_row(in, *t.row());
  out.spec = job_spec(in, t.spec());
  out.owner = owner(in, t.owner());
  return out;
}

state::ServerRow server_row(Reader& in, const fbs::ServerRow* t) {
  return {in.text(t->name()), in.text(t->address()), in.text(t->version()),
          t->leads(),         t->applied_index(),    t->heard_ms()};
}

state::StoreInfo store_info(Reader& in, const fbs::StoreInfo& t) {
  state::StoreInfo out;
  out.where = in.text(t.where());
  out.error = in.text(t.error());
  out.snapshot_error = in.text(t.snapshot_error());
  out.durable_index = t.durable_index();
  out.snapshot_index = t.snapshot_index();
  out.lease_ms = t.lease_ms();
  out.standby = t.standby();
  out.leader = in.text(t.leader());
  out.term = t.term();
  out.servers =
      in.list<state::ServerRow>(t.servers(), [&in](const fbs::ServerRow* row) { return server_row(in, row); });
  return out;
}

state::ServerInfo server_info(Reader& in, const fbs::ServerInfo& t) {
  state::ServerInfo out;
  out.version = in.text(t.version());
  out.cluster = in.text(t.cluster());
  out.journal_index = t.journal_index();
  out.jobs = t.jobs();
  out.pods_pending = t.pods_pending();
  out.pods_live = t.pods_live();
  out.nodes = t.nodes();
  out.nodes_connected = t.nodes_connected();
  out.started_at = t.started_at();
  out.start_latency_p50_us = t.start_latency_p50_us();
  out.start_latency_p99_us = t.start_latency_p99_us();
  out.accounting = in.text(t.accounting());
  out.accounting_error = in.text(t.accounting_error());
  out.accounting_index = t.accounting_index();
  out.accounting_waiting = t.accounting_waiting();
  if (t.store() != nullptr) out.store = store_info(in, *t.store());
  return out;
}

// The lists: pages of tables.
bool page(Reader& in, fbs::Body type, const void* table, state::ServerReply& out) {
  switch (type) {
    case fbs::Body::JobPage: {
      const auto& t = as<fbs::JobPage>(table);
      auto rows = in.list<state::JobRow>(t.rows(), [&in](const fbs::JobRow* row) { return job_row(in, *row); });
      out = state::JobPage{std::move(rows), state::JobId{t.next()}};
      return true;
    }
    case fbs::Body::PodPage: {
      const auto& t = as<fbs::PodPage>(table);
      auto rows = in.list<state::PodRow>(t.rows(), [&in](const fbs::PodRow* row) { return pod_row(in, *row); });
      out = state::PodPage{std::move(rows), t.more(), t.next_element()};
      return true;
    }
    case fbs::Body::NodePage: {
      const auto& t = as<fbs::NodePage>(table);
      auto rows = in.list<state::NodeRow>(t.rows(), [&in](const fbs::NodeRow* row) { return node_row(in, *row); });
      out = state::NodePage{std::move(rows), state::NodeId{t.next()}};
      return true;
    }
    case fbs::Body::QueuePage:
      out = state::QueuePage{in.list<state::Queue>(as<fbs::QueuePage>(table).queues(),
                                                   [&in](const fbs::Queue* row) { return queue(in, row); })};
      return true;
    case fbs::Body::LicencePage:
      out = state::LicencePage{
          in.list<state::LicenceRow>(as<fbs::LicencePage>(table).licences(), [&in](const fbs::LicenceRow* row) {
            return state::LicenceRow{{in.text(row->name()), row->total()}, row->used()};
          })};
      return true;
    case fbs::Body::TokenPage:
      out = state::TokenPage{in.list<state::Token>(as<fbs::TokenPage>(table).tokens(),
                                                   [&in](const fbs::Token* row) { return token(in, *row); })};
      return true;
    default:
      return get_account_reply(in, type, table, out) || get_history_reply(in, type, table, out) ||
             get_service_reply(in, type, table, out) || get_node_reply(in, type, table, out) ||
             get_event_reply(in, type, table, out);
  }
}

bool get(Reader& in, fbs::Body type, const void* table, state::ServerReply& out) {
  switch (type) {
    case fbs::Body::Ok:
      out = state::Ok{};
      return true;
    case fbs::Body::Error:
      out = error(in, as<fbs::Error>(table));
      return true;
    case fbs::Body::SubmitReply:
      out = state::SubmitReply{job_ids(in, as<fbs::SubmitReply>(table).jobs())};
      return true;
    case fbs::Body::JobDetail:
      out = job_detail(in, as<fbs::JobDetail>(table));
      return true;
    case fbs::Body::Explanation: {
      const auto& t = as<fbs::Explanation>(table);
      out = state::Explanation{in.pod_state(t.state()), in.text(t.summary()), in.texts(t.lines()), t.expected_start()};
      return true;
    }
    case fbs::Body::JobProgress: {
      const auto& t = as<fbs::JobProgress>(table);
      out = state::JobProgress{state::JobId{t.job()}, counts(t.counts(), t.late_pods()), in.pod_state(t.summary()),
                               t.ended()};
      return true;
    }
    case fbs::Body::TokenCreated: {
      const auto& t = as<fbs::TokenCreated>(table);
      out = state::TokenCreated{in.text(t.token()), t.expires_at()};
      return true;
    }
    case fbs::Body::ServerInfo:
      out = server_info(in, as<fbs::ServerInfo>(table));
      return true;
    case fbs::Body::LogChunk:
      out = log_chunk(in, as<fbs::LogChunk>(table));
      return true;
    default:
      return page(in, type, table, out);
  }
}

}  // namespace

Encoded encode_reply(Builder& b, const state::ServerReply& reply) {
  return std::visit([&b](const auto& r) { return put(b, r); }, reply);
}

bool decode_reply(Reader& in, fbs::Body type, const void* table, Body& out) {
  state::ServerReply reply;
  if (!get(in, type, table, reply)) return false;
  out = std::move(reply);
  return true;
}

}  // namespace berth::wire::codec
