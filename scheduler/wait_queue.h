// WaitQueue: jobs with waiting pods, in the order they should run. Jobs that ask for the same and may run as long (a
// class) wait together: when one finds no room, none of its class would, so the whole class is set aside until capacity
// comes free that could hold it. In a class, the jobs of one tenant are a group: its order never changes, so that a
// tenant is moved before or behind others, or set aside at its limits, at the price of its groups and not of its jobs.
// A turn's work is thus in proportion to what changed, not to how many wait.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "state/ids.h"
#include "state/records.h"

namespace berth::scheduler {

// Smaller runs first: higher priority, then as the queue's policy ranks them, then the older job.
struct WaitKey {
  std::int64_t negated_priority = 0;
  std::int64_t rank = 0;
  state::JobId job;
  auto operator<=>(const WaitKey&) const = default;
};

using TenantId = std::uint32_t;  // who a job is charged to; 0: nobody in particular

struct ClassKey {
  state::Request request;
  std::uint32_t gang = 0;  // pods of the gang, 0 for others
  state::GangShape shape = {};
  state::TimeUs limit_us = 0;  // of one pod's run; 0 is none
  state::TimeUs least_us = 0;  // less time than that will do, down to this; 0: it will not
  std::int32_t tier = 0;       // where that decides whose room it may take; else 0
  auto operator<=>(const ClassKey&) const = default;
};

class WaitQueue {
 public:
  struct Class;
  using Heads = std::map<WaitKey, Class*>;
  struct Group;
  using GroupHeads = std::map<WaitKey, Group*>;
  struct Group {
    Class* in = nullptr;
    TenantId tenant = 0;
    std::set<WaitKey> jobs;  // without their tenant's head start
    bool limited = false;    // its tenant is at a limit

   private:
    friend class WaitQueue;
    bool listed = false;  // in in->heads_, there
    GroupHeads::iterator listed_at;
  };
  struct Class {
    ClassKey key;
    const state::Request& request() const { return key.request; }
    // Its first job, of the groups that are not limited.
    bool empty() const { return heads_.empty(); }
    const WaitKey& head() const { return heads_.begin()->first; }
    bool blocked = false;             // the last try found no room
    bool beside = false;              // … beside what another job is promised
    bool unlicensed = false;          // … for want of licences, and of nothing else that is known
    std::uint64_t licences_seen = 0;  // as of
    // Other pods may stand in its way, or be what it waits for.
    bool minds_pods() const { return !key.request.labels.empty() || !key.request.rules.empty(); }
    std::uint64_t moves_seen = 0;  // of pods that others mind, at the last try
    // Cached Potential, good for one version of the offers.
    std::uint64_t potential_version = ~0ULL;
    std::uint32_t potential_nodes = 0;
    std::uint64_t potential_pods = 0;

   private:
    friend class WaitQueue;
    std::map<TenantId, Group> groups_;
    GroupHeads heads_;
    bool listed = false, listed_blocked = false;  // in heads_ or blocked_heads_, there
    Heads::iterator listed_at;
    std::size_t blocked_at = 0;  // in blocked_, if it is
  };

  Class& class_of(ClassKey key);
  void add(Class& in, WaitKey key, TenantId tenant = 0);
  void remove(state::JobId job);  // harmless if it does not wait
  bool contains(state::JobId job) const { return where_.contains(job); }
  const Class* waiting_in(state::JobId job) const;
  const Group* group_of(state::JobId job) const;
  std::optional<WaitKey> key_of(state::JobId job) const;  // with its tenant's head start

  // The first job of all classes that are not blocked.
  struct Head {
    WaitKey key;
    Class* in = nullptr;
    Group* group() const { return in->heads_.begin()->second; }
  };
  std::optional<Head> head() const;
  std::optional<Head> shortest_head() const;  // by time limit instead
  std::optional<Head> first_blocked() const;  // of the classes that are, but for want of licences
  void block(Class& which);
  void unblock(Class& which);
  void unblock_all();
  const std::vector<Class*>& blocked() const { return blocked_; }  // in no order
  void limit(Group& which);
  void unlimit(Group& which);
  const std::vector<Group*>& limited() const { return limited_; }  // in no order
  // By how much the tenant's jobs stand before where they would; in the units of WaitKey::rank.
  void set_head_start(TenantId tenant, std::int64_t by);
  std::size_t size() const { return where_.size(); }
  void clear();  // head starts too
  // How many jobs wait in front of this one, counted up to `limit`.
  std::size_t ahead_of(state::JobId job, std::size_t limit) const;
  // Each waiting job, in no order.
  template <class Each>
  void each(Each&& each) const {
    for (const auto& [job, where] : where_) each(shifted(where.key, where.group->tenant), *where.group->in);
  }
  std::string check_invariants() const;

 private:
  WaitKey shifted(WaitKey key, TenantId tenant) const {
    if (tenant < head_starts_.size()) key.rank -= head_starts_[tenant];
    return key;
  }
  void relist(Group& which);
  void relist(Class& which);
  void drop_blocked(Class& which);
  void drop(Class& which);
  static constexpr std::size_t kIdleClassesMax = 1024;

  std::map<ClassKey, std::unique_ptr<Class>> classes_;
  struct Where {
    Group* group;
    WaitKey key;
  };
  boost::unordered_flat_map<state::JobId, Where, std::hash<state::JobId>> where_;
  Heads heads_, blocked_heads_;
  std::vector<Class*> blocked_;
  std::vector<Group*> limited_;
  std::vector<std::int64_t> head_starts_;       // by tenant; beyond its end: none
  std::vector<std::vector<Group*>> groups_of_;  // by tenant
};

}  // namespace berth::scheduler
