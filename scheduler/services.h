// Services: the controller that keeps so many replicas of each service running, and takes them from one revision to the
// next. Every replica is a job of its own, which the queue and the placement treat like any other. Pure: it reads the
// cluster, and what it wants done it asks of its Hands.
//
// A slot is a replica's place in its service (1 … the number wanted, or a node's id). In the steady state every slot
// has one replica; while it is updated, moved or scaled down it may have two for a while (start-first), or none.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "state/cluster.h"

namespace berth::scheduler {

class Services {
 public:
  // What the controller may have done. Each takes effect on the cluster at once.
  class Hands {
   public:
    virtual void start_replica(const state::Service& service, const state::ServiceRevision& revision,
                               std::uint32_t slot) = 0;
    virtual void stop_replica(const state::Job& job, state::PodState why) = 0;
    virtual void set_status(state::ServiceId id, state::ServiceStatus status) = 0;
    virtual void service_gone(state::ServiceId id) = 0;
    // Could the node, which takes pods, ever hold one of the service?
    virtual bool could_run(const state::Service& service, const state::Node& node) = 0;

   protected:
    ~Hands() = default;
  };

  Services(const state::Cluster& cluster, Hands& hands) : cluster_(cluster), hands_(hands) {}

  // After a restart: what there is, all of it to be looked at again.
  void restore(state::TimeUs now);
  // ---- what happened; the service is looked at in the next pass ----
  void replica_came(const state::Job& job);
  void replica_changed(const state::Job& job, state::TimeUs now);  // bound, started, (not) ready, stopping, requeued
  void replica_ended(const state::Job& job);                       // for good
  void service_changed(state::ServiceId id);
  void nodes_changed();  // joined, left, drained, resumed
  // ---- what follows ----
  void pass(state::TimeUs now);
  std::optional<state::TimeUs> next_wake() const;

  bool any() const { return !entries_.empty(); }
  // The replicas that have not ended, by slot, then by job; and the last few that did.
  std::vector<state::JobId> replicas_of(state::ServiceId id) const;
  std::vector<state::JobId> past_of(state::ServiceId id) const;
  bool is_ready(const state::Job& job) const;
  struct Counts {
    std::uint32_t wanted = 0, there = 0, running = 0, ready = 0, updated = 0;
  };
  Counts counts_of(const state::Service& service) const;
  // The replica's latest failure, if it is not started again at once: when it is, and what it was.
  struct Waiting {
    std::uint32_t slot = 0;
    state::TimeUs until = 0;
    std::string why;
  };
  std::vector<Waiting> waiting_of(state::ServiceId id, state::TimeUs now) const;
  std::string check_invariants() const;

 private:
  struct Ended {
    state::JobId job;
    bool charged = false;
  };
  struct Trouble {               // of a slot whose replicas ended by themselves
    std::uint32_t failures = 0;  // in a row
    state::TimeUs not_before = 0;
    std::string why;
  };
  struct Entry {
    std::map<std::uint32_t, std::vector<state::JobId>> slots;  // of replicas that have not ended
    std::map<std::uint32_t, Trouble> troubles;
    std::map<std::uint32_t, std::uint32_t>
        last_revision;                               // of slots whose replica ended, while something is rolled out
    std::map<state::JobId, state::TimeUs> ready_at;  // of those that are ready
    std::set<state::JobId> charged;                  // whose failure has been counted: their end is not counted again
    std::map<std::uint32_t, std::vector<state::JobId>> past;  // the last that ended, of each slot
    state::TimeUs helping_at = 0;                             // the next helping of an update is not due before
    bool helping = false;                                     // one is under way
    state::TimeUs wake_at = 0;
  };
  struct Pass;  // one look at one service

  Entry* entry_of(const state::Job& job);
  void failed(const state::Service& service, Entry& entry, std::uint32_t revision, const std::string& what,
              state::ServiceStatus& status, state::TimeUs now) const;
  void judge(const Ended& ended, state::TimeUs now);
  void look_at(const state::Service& service, Entry& entry, state::TimeUs now);
  std::vector<std::uint32_t> wanted_slots(const state::Service& service) const;
  void set_wake(state::ServiceId id, Entry& entry, state::TimeUs at);

  const state::Cluster& cluster_;
  Hands& hands_;
  std::map<state::ServiceId, Entry> entries_;
  std::set<state::ServiceId> dirty_;
  std::vector<Ended> ended_;  // since the last pass
  std::set<std::pair<state::TimeUs, state::ServiceId>> wakes_;
};

// "replica web.3 of revision 2 failed: exit code 1"
std::string replica_name(const state::Service& service, const state::Cluster& cluster, std::uint32_t slot);

}  // namespace berth::scheduler
