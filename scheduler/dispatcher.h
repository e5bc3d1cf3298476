// Dispatcher: of the jobs that wait, which may start now, and where. It knows the nodes with what is claimed on them,
// until when what runs will run at most, and the queue. The core (and the simulator) tell it what comes and goes; a
// pass() hands out what starts. Pure: time is an argument. One caller at a time.
//
// Jobs start in the order of the queue. The first one that finds no room is promised the earliest time and place that
// the time limits of what runs allow; others may overtake it where that keeps its promise (EASY backfill). If no limit
// says when room comes, others overtake it freely, until it has waited too long: then it holds the nodes that could
// take it. A job that less time will do for is given less where it can overtake with that alone.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <vector>

#include "placement/engine.h"
#include "scheduler/forecast.h"
#include "scheduler/licences.h"
#include "scheduler/queue_policy.h"
#include "scheduler/tenants.h"
#include "scheduler/wait_queue.h"

namespace berth::scheduler {

// Who the jobs belong to: what the dispatcher asks and tells about them.
class Starter {
 public:
  virtual ~Starter() = default;
  // How many of the waiting pods of a job that is no gang may start now.
  virtual std::uint32_t startable(state::JobId job) const = 0;
  // Nothing of it could be placed for too long.
  virtual bool overdue(state::JobId job) const = 0;
  // The job finds no room. True: others are being stopped for it, and it keeps what could hold it from who comes later.
  // At most so many of its pods may start.
  virtual bool make_room(state::JobId job, const ClassKey& key, std::uint32_t most) {
    return (void)job, (void)key, (void)most, false;
  }
  virtual bool takes_room(state::JobId job) const { return (void)job, false; }
  // These start, with so much time instead of their limit unless it is 0; their capacity is claimed. The callee says
  // what still waits: wait() or forget(), and runs().
  virtual void start(state::JobId job, const std::vector<placement::Placed>& places, state::TimeUs limit_us) = 0;
};

class Dispatcher {
 public:
  Dispatcher(const placement::Policy& placement, const QueuePolicy& policy, FairShare shares = {});

  placement::Engine& engine() { return engine_; }
  const placement::Engine& engine() const { return engine_; }
  const WaitQueue& queue() const { return queue_; }
  const QueuePolicy& policy() const { return *policy_; }

  // ---- nodes and what runs on them ----
  void room_made(state::NodeId node) { room_made_.push_back(node); }  // it may now hold what it could not before
  void nodes_changed();  // one came, went, or is in another state: promises are made anew
  // A pod whose capacity is claimed runs until `end` at most (0: nobody knows).
  void runs(state::NodeId node, const state::Request& request, state::TimeUs end,
            const state::Pinning* pinning = nullptr);
  void ended(state::NodeId node, const state::Request& request, std::uint64_t gpu_mask, state::TimeUs end,
             const state::Pinning* pinning = nullptr);
  // What pass() starts has taken its licences; who ends gives them back here, a gang when its last pod has ended.
  Licences& licences() { return licences_; }
  const Licences& licences() const { return licences_; }

  // Who is charged. Whoever makes a pod run or end adds and removes what it takes here.
  Tenants& tenants() { return tenants_; }
  const Tenants& tenants() const { return tenants_; }
  std::size_t tenants_judged() const { return tenants_judged_; }
  void judge_shares(state::TimeUs now);  // puts each tenant's jobs where its share says

  // ---- jobs ----
  struct Job {
    state::JobId id;
    ClassKey key;
    std::int64_t priority = 0;
    JobShape shape;
    TenantId tenant = 0;
  };
  WaitQueue::Class& class_of(ClassKey key) { return queue_.class_of(std::move(key)); }
  bool waits(state::JobId job) const { return queue_.contains(job); }
  void wait(Job job);
  void wait(const WaitKey& key, const ClassKey& in);  // at a place in the queue that is known
  void forget(state::JobId job) { queue_.remove(job); }
  void forget_all() { queue_.clear(); }
  // What a run took, to expect the next by.
  void learn(const JobShape& shape, state::TimeUs run_us) {
    if (policy_->by_size) predictor_.ended(shape, run_us);
  }

  // Starts at most about `budget` pods.
  void pass(state::TimeUs now, std::uint32_t budget, Starter& starter);
  // The lowest tier of what may have to go for a higher one; the greatest number: nothing may.
  void set_lowest_preemptable(std::int32_t tier) { lowest_preemptable_ = tier; }
  void retry_tiers();  // those that may take the room of others look for some again
  // There is more to do at once, without that anything changes.
  bool unfinished() const { return unfinished_; }
  // The first waiting job and the time it is promised, if one is.
  struct Promise {
    state::JobId job;
    state::TimeUs at = 0;
  };
  std::optional<Promise> promise() const;
  std::string check_invariants() const;

 private:
  std::optional<WaitQueue::Head> next() const;
  void unblock_for_room();
  bool unblock_beside();
  bool promise_is_stale() const;
  bool place_from(const WaitQueue::Head& head, placement::Promised* beside, std::uint32_t allowed,
                  std::uint32_t& budget, Starter& starter, state::TimeUs limit_us = 0);
  state::TimeUs cut_for(const ClassKey& key, state::TimeUs promised_at) const;
  std::uint32_t allowed(const WaitQueue::Group& group, std::uint32_t wanted) const;
  const Plan* plan_for(const WaitQueue::Head& first);
  void apply_holds(const WaitKey& upto, const Starter* taking);  // given: of those that take others' room alone
  void try_make_room(state::JobId job, Starter& starter);
  void block(WaitQueue::Class& in, bool beside, const Starter& starter);
  static placement::Amounts amounts_of(const state::Request& request, const state::Pinning* pinning);
  static bool overdue(const WaitQueue::Class& in, const Starter& starter);

  placement::Engine engine_;
  const QueuePolicy* policy_;
  WaitQueue queue_;
  Forecast forecast_;
  Licences licences_;
  Tenants tenants_;
  std::size_t tenants_judged_ = 0;
  std::uint64_t tenants_seen_ = 0;  // Tenants::version() at the last pass
  Predictor predictor_;
  state::TimeUs now_ = 0;

  std::vector<state::NodeId> room_made_;
  std::vector<const WaitQueue::Class*> overdue_;  // of this pass
  bool holds_applied_ = false;
  bool retry_blocked_ = false;  // some classes were blocked by a hold, not by want of room
  bool unfinished_ = false;
  std::int32_t lowest_preemptable_ = std::numeric_limits<std::int32_t>::max();
  std::uint64_t moves_ = 0, moves_seen_ = 0;  // seen by the last pass

  // The promise to the first job that found no room, as of some state of the forecast.
  struct Made {
    bool tried = false, possible = false;
    bool passed = false;  // somebody who stands before the job took what he liked
    state::JobId job;
    std::uint64_t version = 0, nodes_version = 0;
    state::TimeUs keep_until = 0;
    Plan plan;
  } made_;
  std::uint64_t nodes_version_ = 0;
  std::vector<placement::Placed> places_;
};

}  // namespace berth::scheduler
