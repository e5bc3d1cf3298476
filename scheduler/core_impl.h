// The core's inside. One object per core; its parts are in core_jobs.cpp (submit, cancel), core_agents.cpp (nodes come,
// report and go), core_pass.cpp (the scheduling pass), core_queries.cpp (listings), core_services.cpp (services) and
// core_admin.cpp (nodes, queues, tokens).
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/core.h"
#include "scheduler/dispatcher.h"
#include "scheduler/event_log.h"
#include "scheduler/latency.h"
#include "scheduler/network.h"
#include "scheduler/services.h"

namespace berth::scheduler {

class Core::Impl : private Starter, private Services::Hands {
 public:
  Impl(CoreOptions options, state::Cluster cluster, state::TimeUs now);

  Turn step(std::span<Command> commands, state::TimeUs now);
  std::optional<state::TimeUs> next_deadline() const;
  const state::Cluster& cluster() const { return cluster_; }
  Figures figures() const;
  std::string check_invariants();

 private:
  // ---- core.cpp: the turn ----
  void emit(state::Event event);
  void reply(const ReplyTo& to, state::ServerReply body) { effects_.push_back(Reply{to, std::move(body)}); }
  void refuse(const ReplyTo& to, state::ErrorCode code, std::string field, std::string message,
              std::uint32_t retry_after_ms = 0);
  void handle(ClientCommand& command);
  void count_reply(const ClientCommand& command, std::size_t from);
  void waits(const state::Job& job, std::uint64_t pods);
  void waits_no_more(const state::Job& job, std::uint64_t pods);
  void notify_watchers();
  void forget_old_jobs();
  void restore();
  void learn_from_ended();
  void learn(const state::Job& job, const state::PodOutcome& outcome);

  // ---- core_jobs.cpp ----
  void on_request(ClientCommand& command, state::SubmitRequest& request);
  void on_request(ClientCommand& command, state::CancelRequest& request);
  void on_request(ClientCommand& command, state::WatchJobsRequest& request);
  // `owner`: whose job it is, or will be.
  state::Status check_spec(const Caller& caller, const state::Owner& owner, state::JobSpec& spec, bool new_job = true);
  state::Status check_queue(const Caller& caller, state::JobSpec& spec) const;
  state::Status check_licences(const state::JobSpec& spec) const;
  state::Status check_possible(const state::JobSpec& spec, const state::Owner& owner);
  const state::Job* find_job(const ClientCommand& command, state::JobId id);  // refuses if absent or another's
  void enqueue(const state::Job& job);
  std::int64_t priority_of(const state::Job& job) const;
  void stop_pods(std::vector<state::PodStop> stops);
  bool cancel_elements(const state::Job& job, const std::vector<state::ElementRange>& elements);
  void cancel_waiting(const state::Job& job, std::vector<state::ElementRange> elements, bool late);
  void after_ends(const state::Job& job);

  // ---- core_accounts.cpp: who is charged ----
  void on_request(ClientCommand& command, state::AccountActionRequest& request);
  void on_request(ClientCommand& command, state::MemberActionRequest& request);
  void on_request(ClientCommand& command, state::QosActionRequest& request);
  void on_request(ClientCommand& command, state::ListAccountsRequest& request);
  void on_request(ClientCommand& command, state::PriorityRequest& request);
  // The first active job of these; nullptr is any.
  const state::Job* active_job_of(const std::string* account, const std::string* user, const std::string* qos) const;
  state::Status check_account(const Caller& caller, const state::Owner& owner, state::JobSpec& spec) const;
  static state::Error denied_by(const Tenants::Over& over);
  state::Status check_limits(const state::Owner& owner, state::JobSpec& spec);
  // Counts jobs that are about to come against the limits of how many there may be, until undo() or its own end.
  class JobCount {
   public:
    explicit JobCount(Impl& core) : core_(core) {}
    JobCount(const JobCount&) = delete;
    JobCount& operator=(const JobCount&) = delete;
    ~JobCount() { undo(); }
    state::Status add(const state::Owner& owner, const state::JobSpec& spec);
    void undo();

   private:
    Impl& core_;
    std::vector<std::pair<TenantId, std::int64_t>> counted_;
  };
  std::uint32_t most_nodes(const state::JobSpec& spec, const std::string& user);
  TenantId tenant_of(const state::Job& job);
  static JobSize size_of(const state::JobSpec& spec);
  void count(const state::Event& event);  // that has been applied
  void charge(const state::Job& job, std::uint32_t pods);
  void count_tenants();
  void find_usage();
  void accounts_changed();
  void keep_shares();
  std::optional<state::TimeUs> shares_deadline() const;
  state::PriorityRow priority_row_of(const state::Job& job);
  std::optional<std::pair<state::WaitReason, std::string>> limited_by(const state::Job& job);
  std::string check_tenants() const;

  // ---- core_preempt.cpp: stopped to run again, or for others ----
  void on_request(ClientCommand& command, state::JobRequeueRequest& request);
  std::vector<state::PodId> live_pods_of(const state::Job& job) const;
  std::int32_t tier_of(const state::JobSpec& spec) const;
  state::Preempt preempt_of(const state::JobSpec& spec) const;
  void find_preemptable();
  void note_preemptable(const state::PodId& id, bool live);
  void tell_lowest();
  void follow_preemptable(const state::Event& event);
  struct Victim {
    std::int32_t tier = 0;
    std::int64_t priority = 0;
    state::TimeUs since = 0;
    state::Preempt how = state::Preempt::kOff;
    std::vector<state::PodId> pods;
  };
  std::vector<Victim> victims_for(const state::Job& job) const;
  void lift(const Victim& victim, bool away);
  std::uint32_t fitting(const ClassKey& key, std::uint32_t pods);
  bool make_room(state::JobId job, const ClassKey& key, std::uint32_t most) override;
  bool takes_room(state::JobId job) const override;
  void retry_room();

  // ---- core_services.cpp: pods that should always run ----
  void on_request(ClientCommand& command, state::ServicePutRequest& request);
  void on_request(ClientCommand& command, state::ServiceActionRequest& request);
  void on_request(ClientCommand& command, state::ListServicesRequest& request);
  void on_request(ClientCommand& command, state::ListEventsRequest& request);
  void on_request(ClientCommand& command, state::ShowServiceRequest& request);
  static std::string name_of_service(const std::string& space, const std::string& name);
  const state::Service* find_service(const ClientCommand& command, const std::string& space, const std::string& name);
  state::Status check_service_spec(const Caller& caller, const state::Owner& owner, const state::Service& service,
                                   state::JobSpec& spec);
  void new_revision(state::Service& service, const state::JobSpec& spec);
  state::ServiceRow service_row_of(const state::Service& service) const;
  state::ServiceDetail detail_of(const state::Service& service, bool changed);
  void start_replica(const state::Service& service, const state::ServiceRevision& revision,
                     std::uint32_t slot) override;
  void stop_replica(const state::Job& job, state::PodState why) override;
  void set_status(state::ServiceId id, state::ServiceStatus status) override;
  void service_gone(state::ServiceId id) override;
  bool could_run(const state::Service& service, const state::Node& node) override;
  void follow_services(const state::Event& event);
  void note_service(state::ServiceId id);
  void note_node(state::NodeId node);
  void hear_readiness(state::NodeId node, std::vector<state::PodReadiness>& readiness);
  void tell_network();
  bool leaves_first(const state::Pod& pod) const;
  void stop_leaving();
  static constexpr std::size_t kAddressMax = 64;
  static constexpr state::TimeUs kLeaveUs = 5'000'000;  // at most, until no node leads anybody there any more

  // ---- core_waits.cpp: what keeps a job from the queue ----
  void on_request(ClientCommand& command, state::JobUpdateRequest& request);
  state::Status check_waits(const Caller& caller, state::JobSpec& spec);
  bool eligible(const state::Job& job);
  void follow(const state::Job& job);    // a job with dependencies or a time to begin came
  void unfollow(const state::Job& job);  // it no longer waits for any
  void decide_dependents(const state::Job& job);
  void note_active(const state::Job& job);
  void note_ended(const state::Job& job);
  bool decide(const state::Job& job);
  state::Dependency::State state_of(const state::Dependency& on, const state::Job& job,
                                    state::TimeUs& not_before) const;
  void wake_sleepers();
  std::pair<state::WaitReason, std::string> kept_back_by(const state::Job& job);  // kNone: by nothing

  // ---- core_counterparts.cpp: elements of arrays that wait for those of others ----
  struct Ended {  // of a job's elements
    state::ElementRange elements;
    bool succeeded = false;
  };
  state::Status check_dependency(const state::JobSpec& spec, const state::Dependency& on) const;
  void follow_counterparts(const state::Job& job);
  void decide_corresponding(const state::Job& job, const std::vector<Ended>& ended);
  // Jobs that wait for one element of an array.
  std::optional<state::PodId> element_of(const state::Dependency& on) const;
  void decide_by_element(const state::Job& job, state::ElementRange elements);
  std::vector<state::PodId> waited_for(const state::PodsStarted& started) const;  // what somebody may wait for
  void decide_begun(const std::vector<state::PodId>& pods);
  bool elements_are_waited_for() const { return !counterparts_.empty() || !element_dependents_.empty(); }
  static void find_decided(const state::Job& job, std::uint32_t number, const state::Job& other,
                           const std::vector<Ended>& ended, state::JobChanged& changed);
  static std::vector<Ended> ended_elements(const state::Job& job);
  std::optional<std::pair<state::WaitReason, std::string>> counterpart_missing(const state::Job& job,
                                                                               std::uint32_t element) const;

  // ---- core_deadlines.cpp ----
  static state::TimeUs latest_start(const state::JobSpec& spec);  // 0: it has no deadline
  static std::string late_text(const state::JobSpec& spec);
  state::Status check_times(const state::JobSpec& spec) const;
  static std::int64_t limit_of(const state::Job& job, const state::Pod& pod);
  std::int64_t limit_from_now(const state::Job& job, const state::Pod* pod) const;
  void note_deadline(const state::Job& job);
  void end_late();

  // ---- core_steps.cpp: commands of running gangs ----
  struct StepNode {  // a node of a gang, and what the gang has of it
    state::NodeId node;
    std::uint32_t ranks = 0;
    std::int64_t cpu_milli = 0, free_milli = 0;  // free of other steps
    std::uint64_t gpu_mask = 0;
    std::vector<std::uint32_t> cpus = {};  // hardware threads; …
    bool unpinned = false;                 // … or any
  };
  std::vector<StepNode> step_nodes(const state::Job& job) const;
  std::vector<state::NodeId> lay_out(const state::JobSpec& spec, std::vector<StepNode> nodes, bool empty) const;
  state::Status check_step(const Caller& caller, state::JobSpec& spec) const;
  state::Status check_step_count(state::JobId job, std::size_t more) const;
  void note_step(const state::Job& job);
  void start_steps(state::JobId of);
  void bind_step(const state::Job& step, const std::vector<StepNode>& nodes, const std::vector<state::NodeId>& places);
  void after_step(const state::Job& step);
  void end_steps(const state::Job& job);
  bool is_place(const state::PodRef& ref) const;  // of a gang whose lead alone is run: no agent hears of it
  std::optional<state::PodState> lead_ended_as(const state::Job& job) const;  // also if that end is held
  bool hold_end(const state::PodEnd& end);
  void settle_places(const state::Job& job);

  // ---- core_agents.cpp ----
  struct NodeRuntime {
    std::uint64_t session = 0;     // 0: not connected
    state::TimeUs lost_at = 0;     // when it becomes lost unless it returns; 0: no deadline
    std::uint64_t network_at = 0;  // the last update of it that holds there
  };
  void handle(AgentConnected& command);
  void handle(AgentReported& command);
  void handle(AgentGone& command);
  void handle(ClientGone& command);
  void handle(Tick&) {}
  void reconcile(state::NodeId node, std::uint64_t session, const state::AgentHello& hello);
  bool reconcile_unknown(state::NodeId node, const state::AgentPod& pod, std::vector<state::PodStop>& stops,
                         std::vector<state::PodRef>& forgets);
  bool adoptable(const state::Job& job, const state::AgentPod& pod) const;
  void adopt(state::NodeId node, const state::AgentPod& pod);
  void end_pods(std::vector<state::PodEnd> ends);
  void decide_end(const state::Job& job, const state::Pod& pod, state::PodEnd& end);
  void lose_pods(state::NodeId node, const std::string& why);
  void disconnect(state::NodeId node);
  void set_lost_deadline(state::NodeId node, state::TimeUs at);
  void lose_overdue_nodes();
  std::uint64_t session_of(state::NodeId node) const;
  // `ranks`: that the gang, or the gang that it is a step of, has on the node; 0: to be counted.
  // `pod`: the order's time limit is the pod's.
  state::StartOrder order_for(const state::Job& job, state::NodeId node, std::uint32_t ranks,
                              const state::Pod* pod = nullptr) const;
  void start_places(state::PodsStarted& started) const;
  state::PodToStart start_of(const state::Job& job, const state::Pod& pod) const;
  placement::Offered offer_of(const state::NodeInfo& info) const;

  // ---- core_pass.cpp ----
  std::uint32_t startable(state::JobId job) const override;
  bool overdue(state::JobId job) const override;
  void start(state::JobId job, const std::vector<placement::Placed>& given, state::TimeUs limit_us) override;
  void bind(const state::Job& job, const std::vector<std::uint32_t>& elements,
            const std::vector<placement::Placed>& places, std::int64_t limit_ms);
  void send_starts();
  std::uint32_t throttle_room(const state::Job& job) const;
  ClassKey class_key_of(const state::JobSpec& spec, const std::string& user);
  static JobShape shape_of(const state::Job& job);
  static state::TimeUs end_of(const state::Job& job, const state::Pod& pod);

  // ---- core_queries.cpp ----
  void on_request(ClientCommand& command, state::ListJobsRequest& request);
  void on_request(ClientCommand& command, state::ListPodsRequest& request);
  void on_request(ClientCommand& command, state::ListNodesRequest& request);
  void on_request(ClientCommand& command, state::ShowJobRequest& request);
  void on_request(ClientCommand& command, state::ExplainRequest& request);
  void on_request(ClientCommand& command, state::ServerInfoRequest& request);
  void on_request(ClientCommand& command, state::ReadLogRequest& request);
  void on_request(ClientCommand& command, state::ExecRequest& request);
  // The pod of a job that a request names; nullopt: the request has been refused.
  std::optional<std::uint32_t> element_of(const ClientCommand& command, const state::Job& job,
                                          const std::optional<std::uint32_t>& index);
  using ClassReasons = std::map<const WaitQueue::Class*, std::pair<state::WaitReason, std::string>>;
  state::JobRow row_of(const state::Job& job, ClassReasons& class_reasons);
  void add_nodes(const state::Job& job, state::JobRow& row) const;
  state::PodRow pod_row_of(const state::Job& job, std::uint32_t element) const;
  std::pair<state::WaitReason, std::string> waiting_reason(const state::Job& job, ClassReasons& class_reasons);
  state::Explanation explain_waiting(const state::Job& job);
  state::TimeUs expected_start(const state::Job& job) const;

  // ---- core_admin.cpp ----
  void on_request(ClientCommand& command, state::NodeActionRequest& request);
  void on_request(ClientCommand& command, state::QueueActionRequest& request);
  void on_request(ClientCommand& command, state::ListQueuesRequest& request);
  void on_request(ClientCommand& command, state::LicenceActionRequest& request);
  void on_request(ClientCommand& command, state::ListLicencesRequest& request);
  void on_request(ClientCommand& command, state::TokenCreateRequest& request);
  void on_request(ClientCommand& command, state::TokenListRequest& request);
  void on_request(ClientCommand& command, state::TokenRevokeRequest& request);
  bool require_admin(const ClientCommand& command, const char* what);
  void requeue_all_waiting();

  CoreOptions options_;
  state::Cluster cluster_;
  Dispatcher dispatcher_;
  Tenants& tenants_;
  placement::Engine& engine_;
  Services services_;
  EventLog log_;
  Network network_;
  state::TimeUs now_ = 0;

  // This turn.
  std::vector<state::Event> events_;
  std::vector<Effect> effects_;
  std::map<state::NodeId, state::StartPods> starts_;  // what the pass bound, by node
  std::set<state::JobId> changed_;                    // watched jobs whose counts changed

  // From turn to turn.
  boost::unordered_flat_map<state::NodeId, NodeRuntime, std::hash<state::NodeId>> runtime_;
  std::set<std::pair<state::TimeUs, state::NodeId>> lost_deadlines_;  // NodeRuntime::lost_at of all, in order
  std::set<state::NodeId> network_nodes_;  // that hear of the cluster's network, and are connected
  std::uint32_t connected_ = 0;
  boost::unordered_flat_map<std::uint64_t, state::NodeId> agents_;  // session -> node
  std::map<state::JobId, std::set<state::JobId>> dependents_;       // by what they wait for
  struct Namesakes {
    std::set<state::JobId> waiting;  // singletons among them
    std::set<state::JobId> active;   // all of them
  };
  std::map<std::pair<std::uint32_t, std::string>, Namesakes> singletons_;  // by user and name, where there are some
  std::map<state::JobId, std::set<state::JobId>>
      counterparts_;  // arrays whose elements wait, by the job that they wait for
  std::map<state::PodId, std::set<state::JobId>> element_dependents_;  // by the element that they wait for
  // When who waits can start no more, and who runs is to end, of jobs with a deadline.
  std::set<std::pair<state::TimeUs, state::JobId>> deadlines_;
  std::set<std::pair<state::TimeUs, state::JobId>> sleepers_;  // JobSpec::begin_at of who could otherwise start
  struct Steps {
    std::set<state::JobId> waiting, running;  // in their order
    bool empty() const { return waiting.empty() && running.empty(); }
  };
  std::map<state::JobId, Steps> steps_;  // by job
  // Ends of first pods that a node has told, put off until the last step in their job's places has ended. Not
  // journaled: the node, which has not been told to forget them, will repeat them.
  std::map<state::JobId, state::PodEnd> held_ends_;
  std::set<state::JobId> licensed_gangs_;                       // gangs with pods that live, and licences for them
  bool preempts_ = false;                                       // some queue or quality of service says so
  std::map<std::int32_t, std::set<state::PodId>> preemptable_;  // live pods that may have to go, by tier
  // Who waits for which of them to be gone, and for whom each goes.
  std::map<state::JobId, std::set<state::PodId>> making_room_;
  boost::unordered_flat_map<state::PodId, state::JobId, state::PodIdHash> preempted_;
  std::map<state::JobId, state::TimeUs> room_tried_;  // who looked for such room in vain, when
  std::uint32_t room_tries_ = 0;                      // in this turn
  state::TimeUs room_retry_at_ = 0;                   // 0: nobody waits to look again
  // Stopping replicas that clients may still be led to: their nodes are told when that is so nowhere any more, or when
  // it has taken too long. Not journaled: a node that comes back is told of what is stopping anyway.
  struct Leaving {
    std::uint64_t update = 0;  // that takes it from where clients are led to
    state::TimeUs until = 0;
  };
  std::map<state::PodRef, Leaving> leaving_;
  std::map<state::JobId, std::string> unready_;  // why replicas are not ready, as their nodes say
  std::map<state::JobId, std::vector<ReplyTo>> watchers_;
  std::map<std::uint64_t, std::set<state::JobId>> watched_by_;  // session -> jobs
  std::uint64_t waiting_pods_ = 0;
  state::TimeUs shares_at_ = 0, usage_at_ = 0;  // when they were last judged, and noted
  std::uint64_t log_tokens_ = 0;
  // For figures().
  std::map<std::string, std::uint64_t, std::less<>> waiting_by_queue_;
  std::uint64_t running_pods_ = 0;
  RequestCounts requests_{};
  Latency start_latency_, bind_latency_, bound_latency_;  // submission to start, submission to bind, bind to start
};

}  // namespace berth::scheduler
