// WaitQueue: jobs with waiting pods, in the order they should run. Jobs that ask for the same and may run as long (a
// class) wait together: when one finds no room, none of its class would, so the whole class is set aside until capacity
// comes free that could hold it. A turn's work is thus in proportion to what changed, not to how many wait.
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

struct ClassKey {
  state::Request request;
  std::uint32_t gang = 0;  // pods of the gang, 0 for others
  state::GangShape shape = {};
  state::TimeUs limit_us = 0;  // of one pod's run; 0 is none
  auto operator<=>(const ClassKey&) const = default;
};

class WaitQueue {
 public:
  struct Class;
  using Heads = std::map<WaitKey, Class*>;
  struct Class {
    ClassKey key;
    const state::Request& request() const { return key.request; }
    std::set<WaitKey> jobs;
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
    bool listed = false, listed_blocked = false;  // in heads_ or blocked_heads_, there
    Heads::iterator listed_at;
    std::size_t blocked_at = 0;  // in blocked_, if it is
  };

  Class& class_of(ClassKey key);
  void add(Class& in, WaitKey key);
  void remove(state::JobId job);  // harmless if it does not wait
  bool contains(state::JobId job) const { return where_.contains(job); }
  const Class* waiting_in(state::JobId job) const;
  std::optional<WaitKey> key_of(state::JobId job) const;

  // The first job of all classes that are not blocked.
  struct Head {
    WaitKey key;
    Class* in = nullptr;
  };
  std::optional<Head> head() const;
  std::optional<Head> shortest_head() const;  // by time limit instead
  std::optional<Head> first_blocked() const;  // of the classes that are, but for want of licences
  void block(Class& which);
  void unblock(Class& which);
  void unblock_all();
  const std::vector<Class*>& blocked() const { return blocked_; }  // in no order
  std::size_t size() const { return where_.size(); }
  void clear();
  // How many jobs wait in front of this one, counted up to `limit`.
  std::size_t ahead_of(state::JobId job, std::size_t limit) const;
  // Each waiting job, in no order.
  template <class Each>
  void each(Each&& each) const {
    for (const auto& [job, where] : where_) each(where.key, *where.in);
  }
  std::string check_invariants() const;

 private:
  void relist(Class& which);
  void drop_blocked(Class& which);
  static constexpr std::size_t kIdleClassesMax = 1024;

  std::map<ClassKey, std::unique_ptr<Class>> classes_;
  struct Where {
    Class* in;
    WaitKey key;
  };
  boost::unordered_flat_map<state::JobId, Where, std::hash<state::JobId>> where_;
  Heads heads_, blocked_heads_;
  std::vector<Class*> blocked_;
};

}  // namespace berth::scheduler
