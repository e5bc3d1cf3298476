// Cluster: what is true. Changed only by apply(); the same batches give the same cluster on any machine. Not
// thread-safe: one writer owns it. No clock, no randomness, no I/O.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "state/events.h"
#include "state/interval_set.h"
#include "state/outcome_table.h"
#include "state/pod_set.h"
#include "state/records.h"
#include "state/result.h"

namespace berth::state {

struct Job {
  JobId id;
  Owner owner;
  JobSpec spec;
  std::uint64_t submit_key = 0;  // 0 also if another job had it first
  TimeUs submitted_at = 0;
  TimeUs first_started_at = 0;  // of the first pod that ran
  TimeUs ended_at = 0;          // when the last pod ended; 0 while active
  JobCounts counts;
  IntervalSet pending;  // positions that wait
  // Positions cancelled while they waited. They never ran and have no outcome (as a user sees it: exit code -1, no
  // node), so that a cancelled array of millions costs a few intervals. Listings ask Cluster::pod_state.
  IntervalSet cancelled;
  IntervalSet late;  // likewise those that their deadline ended
  // Of a job with kAfterCorr dependencies, else null: which of `pending` may start. All sets are parts of that one.
  struct Corresponding {
    std::map<std::uint32_t, IntervalSet> open;  // by number in spec.depends: their counterparts have not ended
    IntervalSet never;                          // some counterpart ended without success
    IntervalSet ready;                          // neither of it
    bool any_open() const;
  };
  std::unique_ptr<Corresponding> corresponding;
  // The waiting elements that no counterpart keeps back.
  const IntervalSet& startable() const { return corresponding == nullptr ? pending : corresponding->ready; }
  OutcomeTable outcomes;
  std::map<std::uint32_t, std::uint32_t> attempts;  // elements that were requeued -> attempts used so far
  // Messages of outcomes, each once; index 0 is "". At most kMessagesMax: outcomes past it have none.
  static constexpr std::size_t kMessagesMax = 65'535;
  std::vector<std::string> messages;
  boost::unordered_flat_map<std::string, std::uint16_t> message_numbers;  // of `messages`; empty while there are few
  PodUse use;                                                             // of all attempts that ended
  std::uint32_t next_step = 0;                                            // of a gang: the number of its next step
  bool active() const { return counts.active() != 0; }
};

class Cluster {
 public:
  Cluster();
  Cluster(Cluster&&) noexcept;
  Cluster& operator=(Cluster&&) noexcept;
  ~Cluster();

  // Applies a whole batch. An error means that the batch does not follow from this state (a damaged or foreign
  // journal): the cluster must then be thrown away. The core only makes batches that apply.
  Status apply(const Batch& batch);
  // The same, event by event, for the core, which decides on the state that its own earlier events of the turn made.
  // `finish_batch` moves applied_index and applied_at on.
  Status apply_event(const Event& event, TimeUs at);
  void finish_batch(std::uint64_t index, TimeUs at);

  std::uint64_t applied_index() const { return applied_index_; }
  TimeUs applied_at() const { return applied_at_; }

  using Jobs = std::map<JobId, std::unique_ptr<Job>>;
  const Job* job(JobId id) const;
  const Job* job_by_submit_key(std::uint64_t key) const;  // nullptr for key 0
  const Jobs& jobs() const { return jobs_; }
  JobId last_job_id() const { return last_job_id_; }
  // Ended jobs by the time they ended, oldest first: what retention looks at.
  const std::set<std::pair<TimeUs, JobId>>& ended_jobs() const { return ended_jobs_; }
  std::uint64_t ended_pods() const { return ended_pods_; }  // pods of ended jobs

  using Pods = boost::unordered_flat_map<PodId, Pod, PodIdHash>;
  const Pod* pod(PodId id) const;                  // bound or running, else nullptr
  const Pods& live_pods() const { return pods_; }  // in no order: no decision may depend on it
  // An element's state, whatever it is. The element is below job.spec.elements.size().
  // Which cores of its node a live pod has for itself; nullptr: none in particular.
  const Pinning* pinning(PodId id) const;
  std::size_t pinned_pods() const { return pinnings_.size(); }
  PodState pod_state(const Job& job, std::uint32_t element) const;
  // The attempt a pending element would get next.
  static std::uint32_t next_attempt(const Job& job, std::uint32_t element);

  const Node* node(NodeId id) const;
  const Node* node_by_name(std::string_view name) const;
  const std::map<NodeId, Node>& nodes() const { return nodes_; }
  NodeId last_node_id() const { return last_node_id_; }
  // The live pods of a node, in the order of their ids.
  const PodSet& pods_of(NodeId id) const;

  const std::map<std::string, Queue, std::less<>>& queues() const { return queues_; }  // "default" is always there
  const std::map<std::string, Token, std::less<>>& tokens() const { return tokens_; }

  const std::map<std::string, Licence, std::less<>>& licences() const { return licences_; }
  using MemberKey = std::pair<std::string, std::string>;  // account, user
  const std::map<std::string, Account, std::less<>>& accounts() const { return accounts_; }
  const std::map<MemberKey, Member>& members() const { return members_; }
  const std::map<std::string, Qos, std::less<>>& qos() const { return qos_; }
  const std::map<MemberKey, Usage>& usage() const { return usage_; }

  const std::map<ServiceId, Service>& services() const { return services_; }
  const Service* service(ServiceId id) const;
  const Service* service_by_name(std::string_view space, std::string_view name) const;
  ServiceId last_service_id() const { return last_service_id_; }
  // Where a pod is reached, as its node told; "" if it did not, or has ended.
  const std::string& address_of(PodId id) const;

  // A hash over everything that matters, in a fixed order: equal clusters have equal hashes.
  std::uint64_t hash() const;

 private:
  friend class SnapshotCodec;  // state/snapshot_codec.cpp

  Job* job_to_change(JobId id);
  static void count(Job& job, PodState from, PodState to, std::uint32_t pods);
  static std::uint16_t intern(Job& job, const std::string& message);
  void place(Job& job, const Pod& pod);
  static Status decide_elements(Job& job, const JobChanged::ElementsDecided& decided);
  void end_if_done(Job& job, TimeUs at);
  Status on(const JobSubmitted& event, TimeUs at);
  Status on(const ElementsCancelled& event, TimeUs at);
  Status on(const PodsBound& event, TimeUs at);
  Status on(const PodsStarted& event, TimeUs at);
  Status on(const PodsStopping& event, TimeUs at);
  Status on(const PodsEnded& event, TimeUs at);
  Status on(const PodsAdopted& event, TimeUs at);
  Status on(const JobsForgotten& event, TimeUs at);
  Status on(const JobChanged& event, TimeUs at);
  Status on(const NodeJoined& event, TimeUs at);
  Status on(const NodeStateChanged& event, TimeUs at);
  Status on(const NodeRemoved& event, TimeUs at);
  Status on(const QueueSet& event, TimeUs at);
  Status on(const QueueRemoved& event, TimeUs at);
  Status on(const LicenceSet& event, TimeUs at);
  Status on(const LicenceRemoved& event, TimeUs at);
  Status on(const AccountSet& event, TimeUs at);
  Status on(const AccountRemoved& event, TimeUs at);
  Status on(const MemberSet& event, TimeUs at);
  Status on(const MemberRemoved& event, TimeUs at);
  Status on(const QosSet& event, TimeUs at);
  Status on(const QosRemoved& event, TimeUs at);
  Status on(const UsageNoted& event, TimeUs at);
  Status on(const PodsReady& event, TimeUs at);
  Status on(const ServiceSet& event, TimeUs at);
  Status on(const ServiceStatusSet& event, TimeUs at);
  Status on(const ServiceRemoved& event, TimeUs at);
  Status on(const TokenAdded& event, TimeUs at);
  Status on(const TokenRemoved& event, TimeUs at);

  std::uint64_t applied_index_ = 0;
  TimeUs applied_at_ = 0;
  Jobs jobs_;
  JobId last_job_id_;
  boost::unordered_flat_map<std::uint64_t, JobId> submit_keys_;
  std::set<std::pair<TimeUs, JobId>> ended_jobs_;
  std::uint64_t ended_pods_ = 0;
  Pods pods_;
  std::map<NodeId, Node> nodes_;
  std::map<std::string, NodeId, std::less<>> node_names_;
  std::map<NodeId, PodSet> node_pods_;
  NodeId last_node_id_;
  std::map<std::string, Queue, std::less<>> queues_;
  std::map<std::string, Token, std::less<>> tokens_;
  std::map<std::string, Licence, std::less<>> licences_;
  std::map<std::string, Account, std::less<>> accounts_;
  std::map<MemberKey, Member> members_;
  std::map<std::string, Qos, std::less<>> qos_;
  std::map<MemberKey, Usage> usage_;
  boost::unordered_flat_map<PodId, Pinning, PodIdHash> pinnings_;       // of live pods
  boost::unordered_flat_map<PodId, std::string, PodIdHash> addresses_;  // of live pods that have one
  std::map<ServiceId, Service> services_;
  std::map<std::pair<std::string, std::string>, ServiceId> service_names_;  // by space and name
  ServiceId last_service_id_;
};

// Every invariant of the cluster, checked the slow way; the first that does not hold as one line, "" if all hold.
// For tests and for `berth state check`.
std::string check_invariants(const Cluster& cluster);

}  // namespace berth::state
