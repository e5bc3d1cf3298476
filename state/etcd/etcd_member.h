// EtcdMember: a server among those that share a journal in etcd. Two threads: one follows the journal and keeps a
// cluster warm; the other looks at the leader, takes over when it has been silent for its lease, and then beats itself.
//
// Silence counts only while etcd answers us: without a majority nobody can lead anew, and whoever led goes on when etcd
// does.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "state/etcd/etcd_client.h"
#include "state/etcd/etcd_url.h"
#include "state/etcd/journal_reader.h"
#include "state/etcd/keys.h"
#include "state/etcd/lead.h"
#include "state/etcd/server_text.h"
#include "state/store/shared_store.h"

namespace berth::etcd {

struct MemberOptions {
  std::int64_t lease_ms = 1'500;
  std::uint64_t snapshot_after_bytes = 64ULL << 20;
};
inline constexpr std::int64_t kLeaseMsMin = 500, kLeaseMsMax = 600'000;

class EtcdMember final : public store::SharedStore {
 public:
  EtcdMember(std::shared_ptr<EtcdClient> client, const EtcdUrl& url, MemberOptions options);
  ~EtcdMember() override;
  EtcdMember(const EtcdMember&) = delete;
  EtcdMember& operator=(const EtcdMember&) = delete;

  state::Result<std::string> authority() override;
  void start(store::SharedMember me, Handlers handlers) override;
  bool deposed() const override;
  std::string leader() const override;
  void tell(state::StoreInfo& info) const override;

 private:
  struct Known {  // a server, as we saw it
    ServerText text;
    std::int64_t revision = 0;
    std::int64_t changed_us = 0;
  };
  struct Seen {  // of the leader, when we last looked
    std::int64_t leader_revision = -1, beat_revision = -1;
    std::int64_t since_us = 0;  // unchanged since then, as far as etcd answered
    std::int64_t lease_ms = 0;  // the leader's; 0: nobody leads
  };

  // ---- etcd_member.cpp: the election's thread ----
  void run_election();
  bool pause(std::int64_t ms);
  void look(Seen& seen);
  void mend_tail(std::int64_t now_us);
  bool may_take_over(const Seen& seen) const;
  void campaign(Seen& seen);
  void lead_from(std::int64_t term, std::int64_t sent_us);
  void beat();
  void resign();
  std::vector<Op> with_own_row(std::vector<Op> ops, bool& row);
  void note_servers(const std::vector<KeyValue>& rows);
  void forget_silent();
  void note_trouble(const std::string& why);
  void end(state::Error error);

  // ---- etcd_follower.cpp: the follower's thread ----
  void run_follower();
  state::Status claim_cluster();
  state::Status follow();
  state::Status load();
  state::Status tail();
  state::Status take_over();

  const std::shared_ptr<EtcdClient> client_;
  const Keys keys_;
  const std::string where_;
  const MemberOptions options_;
  store::SharedMember me_;
  std::string own_leader_text_;  // what the leader's key says while we lead; no other process writes the same
  Handlers handlers_;

  std::atomic<bool> stop_{false};
  std::atomic<bool> stop_reading_{false};  // the follower: stop, or we were elected
  std::atomic<std::uint64_t> applied_{0}, head_{0}, snapshot_index_{0};
  std::atomic<bool> warm_{false};  // the follower has been at the end of the journal
  std::atomic<bool> ended_{false};

  // Follower's thread; handed on when we are elected.
  state::Cluster cluster_;
  std::unique_ptr<JournalReader> reader_;
  std::uint64_t replayed_ = 0;
  std::vector<std::string> warnings_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::shared_ptr<Lead> lead_;  // while we lead, and after
  Watch* watch_ = nullptr;      // to be cancelled by who wants the follower to stop
  std::map<std::string, Known> servers_;
  std::string leader_address_, leader_id_;
  std::int64_t leader_term_ = 0, leader_lease_ms_ = 0;
  std::string trouble_;

  // The election's thread.
  std::int64_t row_due_us_ = 0;
  std::uint64_t tail_index_ = 0;
  std::int64_t tail_moved_us_ = 0;
  std::thread election_, follower_;
};

// What `--store etcd://…` makes.
state::Result<std::unique_ptr<store::SharedStore>> open_etcd(const EtcdUrl& url, MemberOptions options);

}  // namespace berth::etcd
