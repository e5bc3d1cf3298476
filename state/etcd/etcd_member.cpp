#include "state/etcd/etcd_member.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "state/etcd/etcd_store.h"

namespace berth::etcd {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

constexpr std::int64_t kQuestionMs = 5'000;
constexpr std::int64_t kRowEveryMs = 1'000;
constexpr std::int64_t kServerForgottenMs = 10LL * 60 * 1000;
constexpr std::int64_t kLeaseParts = 5;  // the leader is heard and looked at so often in a lease

std::string random_text() {
  std::random_device device;
  std::string text;
  for (int i = 0; i < 4; ++i) text += Keys::digits(device(), 10);
  return text;
}

}  // namespace

EtcdMember::EtcdMember(std::shared_ptr<EtcdClient> client, const EtcdUrl& url, MemberOptions options)
    : client_(std::move(client)), keys_(url.prefix), where_(url.to_string()), options_(options) {}

EtcdMember::~EtcdMember() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = stop_reading_ = true;
    if (watch_ != nullptr) watch_->cancel();
  }
  changed_.notify_all();
  if (election_.joinable()) election_.join();
  if (follower_.joinable()) follower_.join();
}

Result<std::string> EtcdMember::authority() {
  const auto reply = client_->range({keys_.cluster, "", 0, 0, false}, kQuestionMs);
  if (!reply) return reply.error();
  return reply->kvs.empty() ? std::string() : parse_cluster_text(reply->kvs[0].value).authority;
}

void EtcdMember::start(store::SharedMember me, Handlers handlers) {
  me_ = std::move(me);
  handlers_ = std::move(handlers);
  own_leader_text_ = format_text(LeaderText{me_.id, me_.address, random_text(), options_.lease_ms});
  follower_ = std::thread([this] { run_follower(); });
  election_ = std::thread([this] { run_election(); });
  pthread_setname_np(follower_.native_handle(), "berth-follower");
  pthread_setname_np(election_.native_handle(), "berth-election");
}

bool EtcdMember::deposed() const {
  const std::lock_guard lock(mutex_);
  return lead_ != nullptr && lead_->deposed;
}

std::string EtcdMember::leader() const {
  const std::lock_guard lock(mutex_);
  return leader_address_;
}

void EtcdMember::tell(state::StoreInfo& info) const {
  const std::lock_guard lock(mutex_);
  info.where = where_;
  info.lease_ms = leader_lease_ms_ != 0 ? leader_lease_ms_ : options_.lease_ms;
  info.standby = lead_ == nullptr;
  info.leader = leader_address_;
  info.term = static_cast<std::uint64_t>(leader_term_);
  if (!trouble_.empty()) info.error = trouble_;
  if (lead_ == nullptr) {
    info.durable_index = head_;
    info.snapshot_index = snapshot_index_;
  }
  const std::int64_t now = boot_us();
  for (const auto& [id, known] : servers_) {
    state::ServerRow row{known.text.name,  known.text.address,       known.text.version,
                         id == leader_id_, known.text.applied_index, (now - known.changed_us) / 1000};
    if (row.leads) row.applied_index = std::max(row.applied_index, info.durable_index);
    if (id == me_.id) {
      row.heard_ms = 0;
      if (lead_ == nullptr) row.applied_index = applied_;
    }
    info.servers.push_back(std::move(row));
  }
}

// ---- the election's thread ------------------------------------------------------------------------------------------

// False: it is over.
bool EtcdMember::pause(std::int64_t ms) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(ms), [this] { return stop_ || ended_; });
  return !stop_ && !ended_;
}

void EtcdMember::run_election() {
  Seen seen;
  seen.since_us = boot_us();
  while (true) {
    if (lead_ != nullptr) {
      beat();
      if (!pause(options_.lease_ms / kLeaseParts)) break;
      continue;
    }
    look(seen);
    if (may_take_over(seen)) campaign(seen);
    if (lead_ != nullptr) continue;
    if (!pause((seen.lease_ms != 0 ? seen.lease_ms : options_.lease_ms) / kLeaseParts)) break;
  }
  resign();
}

// Adds now and then what this server says of itself, and asks what the others say.
std::vector<Op> EtcdMember::with_own_row(std::vector<Op> ops, bool& row) {
  row = boot_us() >= row_due_us_;
  if (!row) return ops;
  row_due_us_ = boot_us() + kRowEveryMs * 1000;
  ops.push_back({Op::Kind::kGet, all_below(keys_.servers), {}});
  ops.push_back(put(keys_.servers + me_.id, format_text(ServerText{me_.name, me_.address, me_.version, applied_})));
  return ops;
}

void EtcdMember::note_servers(const std::vector<KeyValue>& rows) {
  const std::int64_t now = boot_us();
  const std::lock_guard lock(mutex_);
  std::map<std::string, Known> fresh;
  for (const KeyValue& row : rows) {
    const std::string id = row.key.substr(keys_.servers.size());
    const auto old = servers_.find(id);
    const bool same = old != servers_.end() && old->second.revision == row.mod_revision;
    fresh[id] = {parse_server_text(row.value), row.mod_revision, same ? old->second.changed_us : now};
  }
  servers_ = std::move(fresh);
}

void EtcdMember::note_trouble(const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    if (why == trouble_ || (!why.empty() && !trouble_.empty())) return;
    trouble_ = why;
  }
  if (handlers_.trouble) handlers_.trouble(why);
}

void EtcdMember::end(Error error) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || stop_) return;
    ended_ = stop_reading_ = true;
    if (watch_ != nullptr) watch_->cancel();
  }
  changed_.notify_all();
  handlers_.ended(std::move(error));
}

// Looks at the leader. Time in which etcd does not answer is nobody's silence.
void EtcdMember::look(Seen& seen) {
  bool row = false;
  const auto ops = with_own_row({get(keys_.leader), get(keys_.beat), get(keys_.head)}, row);
  const std::int64_t patience_ms = std::max<std::int64_t>(options_.lease_ms / 2, 500);
  const auto reply = client_->commit({{}, ops, {}}, patience_ms);
  const std::int64_t now = boot_us();
  if (!reply) {
    seen.since_us = now;
    if (reply.error().code != ErrorCode::kUnavailable) return end(reply.error());
    return note_trouble(reply.error().message);
  }
  note_trouble("");
  if (row) note_servers(reply->got.at(3));
  const auto& leader = reply->got[0];
  const auto& beat = reply->got[1];
  const auto& head = reply->got[2];
  const std::int64_t leader_revision = leader.empty() ? 0 : leader[0].mod_revision;
  const std::int64_t beat_revision = beat.empty() ? 0 : beat[0].mod_revision;
  if (leader_revision != seen.leader_revision || beat_revision != seen.beat_revision) seen.since_us = now;
  seen.leader_revision = leader_revision;
  seen.beat_revision = beat_revision;
  const LeaderText text = leader.empty() ? LeaderText{} : parse_leader_text(leader[0].value);
  seen.lease_ms = leader.empty() ? 0 : std::clamp(text.lease_ms, kLeaseMsMin, kLeaseMsMax);
  if (!head.empty()) head_ = to_number(head[0].value).value_or(0);
  {
    const std::lock_guard lock(mutex_);
    leader_id_ = text.id;
    leader_address_ = text.address;
    leader_term_ = leader_revision;
    leader_lease_ms_ = seen.lease_ms;
  }
  mend_tail(now);
  // A campaign whose answer was lost was carried out.
  if (!leader.empty() && leader[0].value == own_leader_text_) lead_from(leader_revision, now);
}

// A watch may hang on a member that is paused or cut off: batches are there, and none comes.
void EtcdMember::mend_tail(std::int64_t now_us) {
  constexpr std::int64_t kStuckUs = 1'500'000;
  const std::uint64_t applied = applied_;
  if (applied != tail_index_ || applied >= head_) {
    tail_index_ = applied;
    tail_moved_us_ = now_us;
  } else if (now_us - tail_moved_us_ > kStuckUs) {
    tail_moved_us_ = now_us;
    const std::lock_guard lock(mutex_);
    if (watch_ != nullptr) watch_->cancel();
  }
}

bool EtcdMember::may_take_over(const Seen& seen) const {
  if (lead_ != nullptr || ended_ || seen.leader_revision < 0) return false;
  if (!warm_ || applied_ < head_) return false;  // somebody else may be further; if not, we soon are
  return seen.lease_ms == 0 || boot_us() - seen.since_us >= seen.lease_ms * 1000;
}

// Succeeds only if nobody has led or beaten since we looked.
void EtcdMember::campaign(Seen& seen) {
  Transaction transaction;
  transaction.conditions = {modified_at(keys_.leader, seen.leader_revision),
                            modified_at(keys_.beat, seen.beat_revision)};
  transaction.then = {put(keys_.leader, own_leader_text_), put(keys_.beat, me_.id)};
  const std::int64_t sent_us = boot_us();
  const auto reply = client_->commit(transaction, std::max<std::int64_t>(options_.lease_ms / 2, 500));
  if (!reply) {
    seen.since_us = boot_us();
    return note_trouble(reply.error().message);
  }
  if (reply->held) lead_from(reply->revision, sent_us);
}

void EtcdMember::lead_from(std::int64_t term, std::int64_t sent_us) {
  auto lead = std::make_shared<Lead>(client_, keys_, where_, term, options_.lease_ms);
  lead->renewed(sent_us);
  {
    const std::lock_guard lock(mutex_);
    lead_ = std::move(lead);
    leader_id_ = me_.id;
    leader_address_ = me_.address;
    leader_term_ = term;
    leader_lease_ms_ = options_.lease_ms;
    stop_reading_ = true;
    if (watch_ != nullptr) watch_->cancel();
  }
  changed_.notify_all();
}

void EtcdMember::beat() {
  if (lead_->deposed) return end(lead_->lost());
  bool row = false;
  Transaction transaction;
  transaction.conditions = {lead_->fence()};
  transaction.then = with_own_row({put(keys_.beat, me_.id)}, row);
  transaction.otherwise = {get(keys_.leader)};
  const std::int64_t sent_us = boot_us();
  const auto reply = client_->commit(transaction, std::max<std::int64_t>(options_.lease_ms / 3, 150));
  if (!reply) {
    if (reply.error().code != ErrorCode::kUnavailable) return end(reply.error());
    if (boot_us() > lead_->sure_until_us) note_trouble(reply.error().message);
    return;
  }
  if (!reply->held) {
    lead_->deposed = true;
    return end(lead_->lost());
  }
  lead_->renewed(sent_us);
  note_trouble("");
  if (!row) return;
  note_servers(reply->got.at(1));
  forget_silent();
}

// The leader removes what servers that are gone for good have left.
void EtcdMember::forget_silent() {
  std::vector<Op> doomed;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, known] : servers_) {
      if (id == me_.id || boot_us() - known.changed_us < kServerForgottenMs * 1000) continue;
      doomed.push_back(remove({keys_.servers + id, "", 0, 0, false}));
    }
  }
  if (doomed.empty()) return;
  static_cast<void>(client_->commit({{lead_->fence()}, std::move(doomed), {}}, kQuestionMs));
}

// Gives the lead back, so that the others need not wait for the lease to run out.
void EtcdMember::resign() {
  const Op row = remove({keys_.servers + me_.id, "", 0, 0, false});
  constexpr std::int64_t kFarewellMs = 1'000;
  if (lead_ == nullptr || lead_->deposed) {
    static_cast<void>(client_->commit({{}, {row}, {}}, kFarewellMs));
    return;
  }
  static_cast<void>(
      client_->commit({{lead_->fence()}, {remove({keys_.leader, "", 0, 0, false}), row}, {}}, kFarewellMs));
}

Result<std::unique_ptr<store::SharedStore>> open_etcd(const EtcdUrl& url, MemberOptions options) {
  auto client = make_client(url);
  if (!client) return client.error();
  return std::unique_ptr<store::SharedStore>(std::make_unique<EtcdMember>(std::move(*client), url, options));
}

}  // namespace berth::etcd
