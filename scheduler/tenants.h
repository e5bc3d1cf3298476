// Tenants: who jobs are charged to. A tenant is a user in an account with a quality of service. Each is under a chain
// of limits: the member's, its account's, those of the accounts above, the quality's, and that quality's for the user.
// And each has a head start in the queue, by what it has used of its share: the tree is walked from the top, and of two
// siblings all of the one that used less of its share come before all of the other's (the idea of Slurm's Fair Tree).
// Pure: time is an argument.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/wait_queue.h"
#include "state/cluster.h"
#include "state/requests.h"

namespace berth::scheduler {

struct FairShare {
  // What it is worth to have used the least of one's share, against having used the most. None: a week, once there are
  // accounts.
  std::optional<state::TimeUs> head_start;
  state::TimeUs half_life = 7 * state::TimeUs{86'400} * 1'000'000;  // of what was used; 0: nothing is forgotten
  std::uint32_t cpus_per_gpu = 0;                                   // what a GPU's use counts
};

// What so many runs take of what is shared (state::Limit up to kSharedLimits; kJobs is not counted here).
struct Charge {
  std::array<std::int64_t, state::kSharedLimits> amounts{};
  std::int64_t of(state::Limit limit) const { return amounts[static_cast<std::size_t>(limit)]; }
  // `runs` count as running, `pods` have these resources.
  static Charge of(const state::Request& request, std::uint32_t pods, std::uint32_t runs);
};

// What one job takes, against the limits of one job.
struct JobSize {
  std::array<std::int64_t, state::kLimits> amounts{};  // by state::Limit, from kJobCpus on
};

class Tenants {
 public:
  explicit Tenants(FairShare options = {}) : options_(options) {}

  // Reads the accounts, members and qualities as they are now. There are no tenants and all counts are 0 then: the
  // caller counts anew. What was used stays.
  void configure(const state::Cluster& cluster, state::TimeUs now);
  // There are accounts or qualities, or shares were asked for: otherwise everybody is tenant 0.
  bool active() const { return active_; }
  std::size_t size() const { return tenants_.size(); }
  TenantId of(const std::string& account, const std::string& user, const std::string& qos);

  // ---- limits ----
  struct Over {
    state::Limit limit = state::Limit::kJobs;
    std::string whose;  // "account physics", "user ada in account physics", "quality long", "user ada in quality long"
    bool of_qos = false;
    std::int64_t most = 0, taken = 0, wanted = 0;
    bool wait = false;  // rather than to be refused
  };
  void add_jobs(TenantId tenant, std::int64_t jobs);
  void add(TenantId tenant, const Charge& charge, state::TimeUs now);
  void remove(TenantId tenant, const Charge& charge, state::TimeUs now);
  // How many times the charge may be added now, up to `wanted`.
  std::uint32_t room(TenantId tenant, const Charge& each, std::uint32_t wanted) const;
  // The first limit that does not allow it.
  std::optional<Over> over(TenantId tenant, const Charge& charge) const;
  std::optional<Over> over_jobs(TenantId tenant, std::int64_t jobs) const;
  std::optional<Over> over_job(TenantId tenant, const JobSize& size) const;
  // The tightest limit of one job; kNone: none.
  std::int64_t most_of(TenantId tenant, state::Limit limit) const;
  std::uint64_t version() const { return version_; }  // changes when something is given back

  // ---- shares ----
  bool shared() const { return head_start() != 0; }
  state::TimeUs head_start() const;
  state::TimeUs half_life() const { return options_.half_life; }
  // What was used without that add() and remove() saw it.
  void used(TenantId tenant, const Charge& charge, state::TimeUs from, state::TimeUs until, state::TimeUs now);
  // Judges all shares anew, and tells each tenant's head start.
  template <class Tell>
  void refresh(state::TimeUs now, Tell&& tell) {
    judge(now);
    for (TenantId id = 1; id < tenants_.size(); ++id) tell(id, head_start_of(id));
  }
  state::TimeUs head_start_of(TenantId tenant) const;
  double factor_of(TenantId tenant) const;  // above 0, to 1 for whom all others come after
  bool uses() const { return rate_ != 0; }  // somebody uses something now
  // What changed since it was last asked for.
  std::vector<state::UsageNoted::Of> changed_usage(state::TimeUs now);
  void forget_usage(const std::string& account, const std::string& user) { usage_.erase({account, user}); }

  void fill(state::AccountPage& page, const state::Cluster& cluster) const;  // as of the last refresh()
  // Everything that is counted, for comparison in tests.
  std::string counts_text() const;

 private:
  struct Book {  // what somebody's jobs take, and may take
    state::Limits limits;
    state::Taken taken{};
    std::string whose;
    bool of_qos = false;
  };
  struct Tenant {
    std::string user, qos;
    std::vector<std::uint32_t> books;  // the member's first, the nearer account before the one above it, then the qos's
    std::uint32_t member = 0;
    std::uint32_t usage_milli = 1000;
  };
  struct Member {
    std::string account, user;
    std::uint32_t book = 0, parent = 0;  // of accounts_
    std::uint32_t shares = 1;
    double share = 0, used = 0, level = -1, factor = 1;
  };
  struct AccountNode {
    std::string name;
    std::uint32_t parent = 0, book = 0, shares = 1;
    std::vector<std::uint32_t> accounts, members;  // below it
    double cpu_seconds = 0, share = 0, used = 0, level = -1;
  };
  struct Used {
    double cpu_seconds = 0, rate = 0;  // rate: of a cpu, now
    state::TimeUs at = 0, noted = 0;   // noted: until when the cluster knew it when it was read
    bool changed = false;
  };
  using Key = std::pair<std::string, std::string>;

  std::uint32_t add_book(const state::Limits& limits, std::string whose, bool of_qos);
  std::uint32_t member_of(const std::string& account, const std::string& user);
  void chain(Tenant& tenant, const std::string& account);
  TenantId make(const std::string& account, const std::string& user, const std::string& qos);
  void settle(Used& used, state::TimeUs now) const;
  double decay(state::TimeUs dt) const;
  double rate_of(const Tenant& tenant, const Charge& charge) const;
  void judge(state::TimeUs now);

  FairShare options_;
  bool active_ = false, has_accounts_ = false;
  std::uint64_t version_ = 0;
  std::vector<Book> books_;
  std::vector<AccountNode> accounts_;  // 0: the top
  std::vector<Member> members_;
  std::vector<Tenant> tenants_{1};                        // 0: nobody in particular
  boost::unordered_flat_map<std::string, TenantId> ids_;  // account, user and qos, with '\n' between
  std::map<std::string, std::uint32_t> account_ids_;
  std::map<Key, std::uint32_t> member_ids_, qos_user_books_;  // qos_user_books_: by quality and user
  std::map<std::string, std::uint32_t> qos_books_;
  std::map<std::string, state::Qos> qos_;
  std::map<Key, state::Limits> member_limits_;
  std::map<Key, std::uint32_t> member_shares_;
  std::map<Key, Used> usage_;
  double rate_ = 0;
};

}  // namespace berth::scheduler
