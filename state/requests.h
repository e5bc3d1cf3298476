// What clients and agents ask and are told, as plain values: the vocabulary between api/ (which puts it on the wire)
// and scheduler/ (which answers). Nothing here knows about frames or sockets.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "state/events.h"
#include "state/exec.h"
#include "state/node_requests.h"
#include "state/records.h"
#include "state/result.h"

namespace berth::state {

// ---- client -> server -----------------------------------------------------------------------------------------------
struct SubmitRequest {  // all jobs or none
  std::vector<JobSpec> jobs;
  std::uint64_t submit_key = 0;  // job i of the request uses submit_key + i; 0 is none
  bool dry_run = false;          // check everything, change nothing
};
struct CancelRequest {
  JobId job;
  std::optional<IndexSet> indexes;  // as the user names them; absent: the whole job
};
struct JobFilter {
  std::vector<JobId> jobs;           // empty: all
  std::optional<std::uint32_t> uid;  // by owner
  std::string name, queue;           // "" is any
  std::vector<PodState> states;      // jobs with at least one pod in one of these; empty: any
  bool ended = true;                 // include ended jobs
  JobId steps_of;                    // the steps of this job; none: jobs that are no steps
  ServiceId replicas_of;             // the replicas of this service; none: jobs that are no replicas
};
struct ListJobsRequest {
  JobFilter filter;
  JobId after;                 // the cursor: jobs with greater ids
  std::uint32_t limit = 1000;  // at most 10,000
};
struct ListPodsRequest {
  JobId job;
  std::vector<PodState> states;  // empty: any
  std::uint32_t from_element = 0;
  std::uint32_t limit = 1000;
};
struct ListNodesRequest {
  NodeId after;
  std::uint32_t limit = 1000;
  bool topology = false;  // with NodeInfo::topology, which is left out otherwise
};
struct ShowJobRequest {
  JobId job;
};
struct ExplainRequest {
  JobId job;
  std::optional<std::uint32_t> index;  // array index or rank; absent: the first that waits
};
// Pushes a JobProgress for each job now, and again whenever its counts change, until all are ended or the connection
// closes.
struct WatchJobsRequest {
  std::vector<JobId> jobs;
};
// Holds, releases or changes a job that waits; what is absent stays.
struct JobUpdateRequest {
  JobId job;
  std::optional<bool> held;
  std::optional<TimeUs> begin_at;
  std::optional<std::int32_t> priority;
  std::optional<std::int64_t> time_limit_ms;
  std::optional<std::string> name, comment, account, qos;
};
struct NodeActionRequest {
  enum class Action : std::uint8_t { kDrain = 0, kResume = 1, kRemove = 2 };
  Action action = Action::kDrain;
  std::string node;
  std::string reason;
};
struct QueueActionRequest {
  bool remove = false;
  Queue queue;
};
struct ListQueuesRequest {};
struct LicenceActionRequest {
  bool remove = false;
  Licence licence;
};
struct ListLicencesRequest {};
struct AccountActionRequest {
  bool remove = false;
  Account account;
};
struct MemberActionRequest {
  bool remove = false;
  Member member;
};
struct QosActionRequest {
  bool remove = false;
  Qos qos;
};
struct ListAccountsRequest {};  // with members and qualities of service
// What runs of the job is stopped and goes back to the queue.
struct JobRequeueRequest {
  JobId job;
  bool hold = false;  // and is held there
};
struct PriorityRequest {    // why waiting jobs stand where they do
  std::vector<JobId> jobs;  // empty: all, as far as the caller may see them
  JobId after;
  std::uint32_t limit = 1000;
};
// A service as the user wants it: of `service` its name, its definition and status.replicas count. Answered with a
// ServiceDetail of what there is then.
struct ServicePutRequest {
  enum class Mode : std::uint8_t { kCreate = 0, kUpdate = 1, kApply = 2 };  // apply: whichever is right
  Mode mode = Mode::kApply;
  Service service;            // without revisions
  JobSpec spec;               // of each replica
  std::uint64_t version = 0;  // update: of the service that was changed, 0 is any; refused if there is a newer one
  bool dry_run = false;       // check everything, change nothing
};
struct ServiceActionRequest {
  enum class Action : std::uint8_t {
    kScale = 0,     // to `replicas`
    kRollback = 1,  // to the revision `revision`; 0: the one before
    kPause = 2,
    kResume = 3,
    kRestart = 4,  // all replicas anew, as an update does
    kRemove = 5,
  };
  Action action = Action::kScale;
  std::string name, space;
  std::uint32_t replicas = 0;
  std::uint32_t revision = 0;
};
struct ListServicesRequest {
  std::string space;  // "" is all
  ServiceId after;
  std::uint32_t limit = 1000;
};
struct ShowServiceRequest {
  std::string name, space;
};
struct TokenCreateRequest {
  TokenRole role = TokenRole::kNode;
  std::string user;
  std::int64_t ttl_ms = 0;
  bool replace = false;  // rotate: remove all others of this role (and user)
  // Filled in by the server shell, which alone has randomness and keeps the secret out of the state:
  std::string id, secret_hash;
};
struct TokenListRequest {};
struct TokenRevokeRequest {
  std::string id;
};
struct ServerInfoRequest {};
struct ReadLogRequest {  // answered by the agent that ran the pod, through the server
  JobId job;
  std::optional<std::uint32_t> index;
  bool error_stream = false;  // the error file, if the job has one of its own
  std::uint64_t offset = 0;
  std::uint32_t max_bytes = 256 * 1024;
  std::uint32_t wait_ms = 0;  // hold the answer until there is more, the pod has ended, or so long
};

// What happened lately (scheduler/event_log.h).
struct EventRow {
  enum class Kind : std::uint8_t { kJob, kPod, kNode, kService, kQueue, kLicence, kAccount };
  std::uint64_t number = 0;  // grows, with gaps
  TimeUs at = 0;
  Kind kind = Kind::kJob;
  std::string object;  // "12", "12[3]", a name; "": several
  std::string text;    // what it did: "is drained: new disks"
  bool warning = false;
  bool operator==(const EventRow&) const = default;
};
struct ListEventsRequest {
  std::uint64_t after = 0;  // rows with higher numbers, the oldest first; 0: the newest rows
  std::uint32_t limit = 1000;
  std::optional<EventRow::Kind> kind;
  std::string object;  // "12" means its pods, too; "": all
  bool warnings = false;
};

using ClientRequest =
    std::variant<SubmitRequest, CancelRequest, ListJobsRequest, ListPodsRequest, ListNodesRequest, ShowJobRequest,
                 ExplainRequest, WatchJobsRequest, NodeActionRequest, QueueActionRequest, ListQueuesRequest,
                 TokenCreateRequest, TokenListRequest, TokenRevokeRequest, ServerInfoRequest, ReadLogRequest,
                 JobUpdateRequest, LicenceActionRequest, ListLicencesRequest, AccountActionRequest, MemberActionRequest,
                 QosActionRequest, ListAccountsRequest, PriorityRequest, JobRequeueRequest, ServicePutRequest,
                 ServiceActionRequest, ListServicesRequest, ShowServiceRequest, ExecRequest, ListEventsRequest>;

// Of what has ended, long after the state has forgotten it. The core never sees these: the accounting's database
// answers them (state/accounting).
struct HistoryFilter {
  std::vector<JobId> jobs;                 // empty: all
  std::string user, account, queue, name;  // "" is any
  std::vector<PodState> states;            // what the job came to (JobRow::summary); empty: any
  TimeUs since = 0, until = 0;             // ended at `since` or later and before `until`; 0: no bound
  JobId steps_of;                          // the steps of this job; none: jobs that are no steps
};
struct HistoryPlace {  // between two rows
  TimeUs ended_at = 0;
  JobId job;  // none: before the first row, behind the last
};
struct HistoryRequest {  // who ended last comes first
  HistoryFilter filter;
  HistoryPlace after;
  std::uint32_t limit = 1000;  // at most 10,000
};
struct HistoryPodsRequest {  // answered with a PodPage; of jobs with more than kHistoryPodsMax pods none are kept
  JobId job;
  std::uint32_t from_element = 0;
  std::uint32_t limit = 1000;
};
struct UsageRequest {
  enum class By : std::uint8_t { kAccount = 0, kUser = 1, kBoth = 2 };
  By by = By::kAccount;
  TimeUs since = 0, until = 0;  // whole hours: those that begin in [since, until); 0: no bound
};
inline constexpr std::uint32_t kHistoryPodsMax = 1000;
using ArchiveRequest = std::variant<HistoryRequest, HistoryPodsRequest, UsageRequest>;

// ---- server -> client -----------------------------------------------------------------------------------------------
struct Ok {};
struct SubmitReply {
  std::vector<JobId> jobs;  // in the order of the request; empty for a dry run
};
struct JobRow {
  JobId id;
  std::string name, user, queue;
  JobKind kind = JobKind::kSingle;
  PodState summary = PodState::kPending;
  JobCounts counts;
  Resources resources;
  std::int32_t priority = 0;
  TimeUs submitted_at = 0, started_at = 0, ended_at = 0;  // started_at: of the first pod that ran
  std::string reason;  // one line: why it waits, or why it failed; "" if there is nothing to say
  WaitReason wait_reason = WaitReason::kNone;
  std::int64_t time_limit_ms = 0;
  TimeUs begin_at = 0;
  std::uint32_t uid = 0, gid = 0, pods = 0;
  std::string account, comment, qos;
  // Where its pods are, or where the first of those that ended was: at most kRowNodesMax names, in order.
  std::vector<std::string> nodes;
  std::int16_t exit_code = -1;  // of the pod that the summary is about, once all have ended
  std::uint8_t signal = 0;
  std::string waiting;         // an array's indexes that wait, "1-9,12:…"; ends with "..." where they are too many
  std::uint32_t throttle = 0;  // an array's
  JobId step_of;               // a step's job
  std::uint32_t step = 0;      // … and its number there
  ServiceId replica_of;        // a replica's service
  PodUse use;                  // of all that ended of it
};
inline constexpr std::size_t kRowNodesMax = 64;
struct JobPage {
  std::vector<JobRow> rows;
  JobId next;  // the cursor for the next page; none: this was the last
};
struct PodRow {
  std::uint32_t element = 0, index = 0;
  PodState state = PodState::kPending;
  std::uint32_t attempt = 0;
  std::string node;
  std::int16_t exit_code = -1;
  std::uint8_t signal = 0;
  std::uint32_t mem_peak_mib = 0;
  TimeUs started_at = 0, ended_at = 0;
  std::string message;
  WaitReason wait_reason = WaitReason::kNone;  // where it waits for another reason than its job
  std::int64_t time_limit_ms = 0;              // where it runs with less than its job asks for
};
struct PodPage {
  std::vector<PodRow> rows;
  bool more = false;
  std::uint32_t next_element = 0;
};
struct NodeRow {
  NodeId id;
  NodeInfo info;
  NodeState state = NodeState::kUp;
  bool connected = false;
  std::string reason;
  Resources used;
  std::uint32_t pods = 0;
  std::vector<Countable> counts_used;
  std::uint32_t gpus_shared_milli = 0;  // of the used GPUs, what shares of them leave free
};
struct NodePage {
  std::vector<NodeRow> rows;
  NodeId next;
};
struct JobDetail {
  JobRow row;
  JobSpec spec;
  Owner owner;
};
struct Explanation {
  PodState state = PodState::kPending;
  std::string summary;             // one line
  std::vector<std::string> lines;  // the facts behind it: per constraint how many nodes it ruled out, who is ahead, …
  // Of a job that waits: when it would start if all that runs and waits before it took its whole time limit; 0:
  // unknown.
  TimeUs expected_start = 0;
};
struct JobProgress {
  JobId job;
  JobCounts counts;
  PodState summary = PodState::kPending;
  bool ended = false;
};
struct QueuePage {
  std::vector<Queue> queues;
};
struct LicenceRow {
  Licence licence;
  std::uint64_t used = 0;
};
struct LicencePage {
  std::vector<LicenceRow> licences;
};
using Taken = std::array<std::int64_t, kSharedLimits>;  // by Limit, of what is shared
struct ShareRow {                                       // an account, or a user in one
  Account account;
  std::string user;  // "": the account itself, with what is below it
  bool is_default = false;
  std::uint32_t shares = 1;
  Limits limits;
  double cpu_seconds = 0;  // used, the less the longer ago
  double share = 0;        // of all shares of its siblings, with its own
  double used = 0;         // of what these used, likewise
  double level = -1;       // share / used; -1 is beyond all numbers
  double factor = 0;       // of a user: 1 for whom all others come after, towards 0
  Taken taken{};
};
struct QosRow {
  Qos qos;
  Taken taken{};
};
struct AccountPage {
  std::vector<ShareRow> rows;  // each account, then its members, then the accounts below it
  std::vector<QosRow> qos;
  std::int64_t head_start_ms = 0;  // what a factor of 1 is worth; 0: shares decide nothing
  std::int64_t half_life_ms = 0;   // of what was used
};
// Jobs run by priority = own + queue + qos; among equals who stands for longest: since it was submitted, and the
// head start of its user, less the delay of its size.
struct PriorityRow {
  JobId job;
  std::string user, account, queue, qos;
  std::int32_t own = 0, of_queue = 0, of_qos = 0;
  TimeUs submitted_at = 0;
  std::int64_t waited_ms = 0, head_start_ms = 0, delay_ms = 0;
  double factor = 0;
  std::int32_t tier = 0;  // above all that
  bool waits = false;     // in the queue; otherwise something keeps it from there
};
struct PriorityPage {
  std::vector<PriorityRow> rows;
  JobId next;
};
struct ServiceRow {
  Service service;  // without revisions
  // Replicas: wanted, there in whatever state, that run, that are ready, and those of the wanted revision that are.
  std::uint32_t wanted = 0, there = 0, running = 0, ready = 0, updated = 0;
};
struct ServicePage {
  std::vector<ServiceRow> rows;
  ServiceId next;
};
struct ReplicaRow {
  JobId job;
  std::uint32_t slot = 0, revision = 0;
  PodState state = PodState::kPending;
  bool ready = false, stopping = false;
  std::string node, address;
  TimeUs submitted_at = 0, started_at = 0, ended_at = 0;
  std::string message;  // why it waits or failed, one line
};
struct ServiceDetail {
  ServiceRow row;
  JobSpec spec;                      // of the wanted revision
  std::vector<ReplicaRow> replicas;  // by slot, then the newest first; with those that ended and are remembered
  bool changed = false;              // by the request that this answers
  struct Revision {
    std::uint32_t number = 0;
    TimeUs made_at = 0;
  };
  std::vector<Revision> revisions;  // that are kept, the oldest first
};
struct TokenPage {
  std::vector<Token> tokens;  // without secret_hash
};
struct TokenCreated {
  std::string token;  // the whole token line, shown once
  TimeUs expires_at = 0;
};
struct ServerRow {  // one of the servers that share a store
  std::string name, address, version;
  bool leads = false;
  std::uint64_t applied_index = 0;  // of the journal, what it has
  std::int64_t heard_ms = 0;        // so long ago it said so
};
struct StoreInfo {    // where the journal is, and how it stands
  std::string where;  // a directory, or etcd://…
  std::string error;  // why nothing can be acknowledged now, "" if all is well
  std::string snapshot_error;
  std::uint64_t durable_index = 0, snapshot_index = 0;
  // Of a store that servers share; a lease of 0: it is not shared.
  std::int64_t lease_ms = 0;
  bool standby = false;  // who answers does not lead
  std::string leader;    // its address; "" if there is none
  std::uint64_t term = 0;
  std::vector<ServerRow> servers;
};
struct ServerInfo {
  std::string version, cluster;
  std::uint64_t journal_index = 0;
  std::uint64_t jobs = 0, pods_pending = 0, pods_live = 0, nodes = 0, nodes_connected = 0;
  TimeUs started_at = 0;
  // Latencies from submission to running of the pods that started since the server did, microseconds.
  std::uint64_t start_latency_p50_us = 0, start_latency_p99_us = 0;
  // Filled in by the server shell: where ended jobs are written to, "" if nowhere; up to which batch that is complete;
  // how many jobs wait to be written; and what keeps them from it, one line, "" if all is well.
  std::string accounting, accounting_error;
  std::uint64_t accounting_index = 0, accounting_waiting = 0;
  StoreInfo store;  // filled in by the shell, too
};
struct LogChunk {
  std::uint64_t offset = 0;  // of the first byte
  std::string bytes;
  bool ended = false;  // the pod has ended and offset + bytes is the end of the file
};
struct HistoryRow {  // a job that has ended
  JobRow job;
  std::uint64_t cpu_ms = 0, gpu_ms = 0;  // what its pods had, times how long they ran
  std::uint32_t mem_peak_mib = 0;        // of the pod that took the most
  std::uint32_t attempts = 0;            // of the pod that was tried the most often
};
struct HistoryPage {
  std::vector<HistoryRow> rows;
  HistoryPlace next;  // where the next page begins; no job: this was the last
};
struct UsageRow {
  std::string account, user;  // "" where the rows are not told apart by it, and for jobs without an account
  std::uint64_t cpu_ms = 0, gpu_ms = 0, jobs = 0;
};
struct UsagePage {
  std::vector<UsageRow> rows;
};

struct EventPage {
  std::vector<EventRow> rows;
  std::uint64_t last = 0;  // to go on with
  bool lost = false;       // some behind `after` are not kept any more
};

using ServerReply =
    std::variant<Ok, Error, SubmitReply, JobPage, PodPage, NodePage, JobDetail, Explanation, JobProgress, QueuePage,
                 TokenPage, TokenCreated, ServerInfo, LogChunk, LicencePage, AccountPage, PriorityPage, HistoryPage,
                 UsagePage, ServicePage, ServiceDetail, ImagePage, TopPage, EventPage>;

// ---- agent -> server ------------------------------------------------------------------------------------------------
struct AgentPod {  // a pod the agent knows of
  PodRef ref;
  bool running = true;  // false: ended, its PodEnd follows or is on its way
  std::uint64_t gpu_mask = 0;
  TimeUs started_at = 0;
  Pinning pinning = {};
};
struct AgentHello {
  NodeInfo info;
  std::vector<AgentPod> pods;
  bool network = false;  // it wants to hear of the cluster's network (NetworkUpdate)
};
struct AgentStatus {
  std::vector<PodStart> starts;
  std::vector<PodEnd> ends;             // repeated until the server acknowledges them with ForgetPods
  std::vector<PodReadiness> readiness;  // what changed; all of it after a reconnection
  std::uint64_t network = 0;            // the last NetworkUpdate that holds on the node; 0: nothing new
};
struct AgentHeartbeat {};
struct LogReply {  // to a ReadLog
  std::uint64_t token = 0;
  std::variant<LogChunk, Error> body;
};

// ---- server -> agent ------------------------------------------------------------------------------------------------
struct AgentWelcome {
  NodeId node;
  std::int64_t heartbeat_ms = 5000;
  std::string pod_subnet;                // its pods' part of …
  std::string pods_cidr, services_cidr;  // … the cluster's networks; "" if there is none
};
struct PodToStart {
  std::uint32_t element = 0;
  std::uint32_t index = 0;  // array index or gang rank
  std::uint32_t attempt = 1;
  std::uint64_t gpu_mask = 0;
  Pinning pinning = {};
};
struct StartOrder {  // pods of one job for one node
  JobId job;
  std::string job_name;
  Owner owner;
  JobKind kind = JobKind::kSingle;
  Resources resources;
  std::int64_t time_limit_ms = 0;
  std::string launch;              // encoded Launch
  std::vector<std::string> peers;  // gang: the node of each rank
  std::vector<PodToStart> pods;
  std::uint32_t gpu_share_milli = 0;
  std::vector<Countable> counts;
  bool lead_only = false;
  JobId step_of;  // none: a job of its own
  std::uint32_t step = 0;
  Replica replica;  // of a service: the node tells when it is ready, at once if nothing probes it
  std::string service, space;
};
struct StartPods {
  std::vector<StartOrder> orders;
};
struct StopPods {
  std::vector<PodStop> stops;  // SIGTERM, the job's grace, SIGKILL; a pod that is not there is reported ended at once
};
struct ForgetPods {  // their ends are durable: the agent may forget them
  std::vector<PodRef> pods;
};
struct ForgetJobs {  // their output in the agent's data directory may go
  std::vector<JobId> jobs;
};
struct ReadLog {
  std::uint64_t token = 0;
  PodRef ref;             // attempt 0: the latest
  std::uint32_t uid = 0;  // of the reader: files outside the data directory are opened with this user's rights
  std::uint32_t gid = 0;
  ReadLogRequest request;
  // What the agent needs to find the file of a pod that it has forgotten:
  std::uint32_t index = 0;
  std::string job_name, user;
  std::string launch;
  JobId step_of;  // of a step: its job, and its number there
  std::uint32_t step = 0;
};

}  // namespace berth::state
