// The records of the cluster's state: jobs, pods, nodes, tokens, and the explicit states they go through. Plain values;
// who may change them is Cluster (state/cluster.h), by events alone.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/accounts.h"
#include "state/ids.h"
#include "state/index_set.h"
#include "state/resources.h"
#include "state/services.h"
#include "state/topology.h"

namespace berth::state {

// ---- pods -----------------------------------------------------------------------------------------------------------
//   pending -> bound -> running -> one of the final states
//   bound|running -> pending        (requeued, with the next attempt)
//   pending -> cancelled|deadline
enum class PodState : std::uint8_t {
  kPending = 0,
  kBound = 1,  // has a node, not yet known to run
  kRunning = 2,
  kSucceeded = 3,    // exit code 0
  kFailed = 4,       // another exit code, a signal, or could not be started (the message says)
  kOutOfMemory = 5,  // killed by the kernel for memory
  kTimedOut = 6,     // over its time limit
  kCancelled = 7,
  kNodeLost = 8,  // the node was lost, or rebooted, under it
  kDeadline = 9,  // it waited until it could not have ended before its deadline any more
};
inline constexpr std::size_t kPodStates = 10;
inline constexpr bool is_final(PodState s) { return s >= PodState::kSucceeded; }
std::string_view name_of(PodState state);  // "pending", "bound", "running", "succeeded", "failed", "out-of-memory", …
bool parse_pod_state(std::string_view text, PodState& out);

// How an attempt ended, as the node that ran it tells (or the core, for a lost node).
struct PodOutcome {
  PodState state = PodState::kPending;  // kPending: not ended
  std::uint8_t signal = 0;              // 0 unless a signal ended it
  std::int16_t exit_code = 0;           // 0-255; -1 if it never ran
  std::uint16_t message = 0;            // index into Job::messages, 0 is none
  std::uint16_t attempt = 0;
  NodeId node;
  std::uint32_t mem_peak_mib = 0;
  TimeUs started_at = 0;
  TimeUs ended_at = 0;
  bool operator==(const PodOutcome&) const = default;
};

// A pod that has a node: bound or running.
struct Pod {
  PodRef ref;
  NodeId node;
  PodState state = PodState::kBound;
  bool stopping = false;  // told to stop; no longer wanted
  // Why, if stopping: what it will count as unless it ends by itself first. kPending: it goes back to the queue.
  PodState stop_state = PodState::kCancelled;
  bool ready = false;  // of services: may be sent work
  std::uint64_t gpu_mask = 0;
  TimeUs bound_at = 0;
  TimeUs started_at = 0;
  std::int64_t limit_ms = 0;  // of its run, where it has less time than its job asks for; 0: as the job
};

// ---- jobs -----------------------------------------------------------------------------------------------------------
enum class JobKind : std::uint8_t {
  kSingle = 0,
  kArray = 1,  // independent pods
  kGang = 2,   // pods that start together or not at all; one that fails takes the others down
};

// Who submitted. Pods run as this user, with these groups.
struct Owner {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string user;
  std::vector<std::uint32_t> groups;  // supplementary
  bool operator==(const Owner&) const = default;
};

// Who keeps a waiting job from starting. What an administrator holds its user cannot release.
enum class Hold : std::uint8_t { kNone = 0, kUser = 1, kAdmin = 2 };

// What another job must have come to before this one may start.
struct Dependency {
  enum class Kind : std::uint8_t {
    kAfter = 0,       // all of it has started, or ended
    kAfterAny = 1,    // it has ended
    kAfterOk = 2,     // … and all of it succeeded
    kAfterNotOk = 3,  // … and some of it did not succeed
    kSingleton = 4,   // no earlier job of the same name and user is active; `job` is none
    kAfterCorr = 5,   // of arrays: each element when the one of the same index there has succeeded
  };
  enum class State : std::uint8_t { kOpen = 0, kMet = 1, kFailed = 2 };  // failed: will never be met
  Kind kind = Kind::kAfterAny;
  JobId job;
  std::int64_t delay_ms = 0;                // kAfter: to wait from then on
  State state = State::kOpen;               // of kAfterCorr the elements have their own: Job::corresponding
  std::optional<std::uint32_t> index = {};  // the element of an array with that index alone
  bool operator==(const Dependency&) const = default;
};
std::string_view name_of(Dependency::Kind kind);  // "after", "afterany", …

// Why a job waits, for programs; the names are those that Slurm's users know.
enum class WaitReason : std::uint8_t {
  kNone = 0,
  kPriority = 1,   // another job's turn comes first
  kResources = 2,  // no room
  kDependency = 3,
  kDependencyNever = 4,
  kHeldUser = 5,
  kHeldAdmin = 6,
  kBeginTime = 7,
  kArrayLimit = 8,
  kCleaning = 9,  // what is left of an earlier attempt is being stopped
  kLicences = 10,
  kQueueDown = 11,
  kQueueLimit = 12,  // its queue allows no such job as the queue is now
  // The limits of its account, of its user in that, or of an account above it; then those of its quality of service.
  kAccountJobs = 13,
  kAccountResources = 14,
  kAccountTime = 15,
  kQosJobs = 16,
  kQosResources = 17,
  kQosTime = 18,
};
inline constexpr std::size_t kWaitReasons = 19;
std::string_view name_of(WaitReason reason);  // "Resources", "Dependency", …

// What a user submits. What may change of it later is JobChange (state/events.h).
struct JobSpec {
  std::string name;
  std::string queue = "default";
  JobKind kind = JobKind::kSingle;
  IndexSet elements = IndexSet::dense(1);
  std::uint32_t throttle = 0;   // array: at most so many bound or running at once; 0 is no limit
  bool distinct_nodes = false;  // gang: every pod on a node of its own
  GangShape gang = {};
  Request request;
  std::int32_t priority = 0;       // -1000 … 1000, higher runs first; a user may only lower it
  std::int64_t time_limit_ms = 0;  // of one pod's run; 0 is none
  // Less will do, down to this, where it can start sooner with it than with the whole limit; 0: no less.
  std::int64_t time_min_ms = 0;
  // What cannot end before it any more does not start, and what runs is ended at it; 0 is none.
  TimeUs deadline = 0;
  std::uint32_t requeues_max = 0;  // times a pod may be requeued after it lost its node
  // How to launch a pod: an encoded berth.spec.Launch (state/schema/spec.fbs). The core keeps it, and never looks
  // inside.
  std::string launch;
  Hold hold = Hold::kNone;
  TimeUs begin_at = 0;  // not to start before; 0 is at once
  std::vector<Dependency> depends;
  bool any_dependency = false;  // one of them is enough
  std::string account;          // charged for it; "" is none
  std::string qos;              // "" is none
  std::string comment;          // for people and reports
  // Gang: only the pod of rank 0 is run. The others keep their places for steps, and end with it.
  bool lead_only = false;
  bool keep_going = false;  // gang: a pod that fails takes no others down; lost nodes still do
  // A step: a command of a running gang, whose pods run in the places of that one's. It takes no capacity of its own.
  JobId step_of;
  struct Step {
    std::uint32_t number = 0;    // among those of its job, given by the core
    bool overlap = false;        // it minds no other steps
    bool whole = false;          // it wants all cpus of its nodes, for as long as it runs
    bool cyclic = false;         // task by task over its nodes, instead of filling one after the other
    std::uint32_t relative = 0;  // without the first so many nodes
    bool operator==(const Step&) const = default;
  } step;
  bool is_step() const { return step_of != JobId{}; }
  Replica replica = {};  // of a service
  bool is_replica() const { return replica.of != ServiceId{}; }
  bool operator==(const JobSpec&) const = default;
};

inline constexpr std::uint32_t kMaxGangSize = 65'536;
inline constexpr std::size_t kMaxLaunchBytes = 1U << 20;
inline constexpr std::size_t kMaxNameBytes = 255;
inline constexpr std::size_t kMaxCommentBytes = 1024;
inline constexpr std::size_t kMaxDependencies = 1024;

struct JobCounts {
  std::array<std::uint32_t, kPodStates> by_state{};  // indexed by PodState
  std::uint32_t of(PodState s) const { return by_state[static_cast<std::size_t>(s)]; }
  std::uint32_t live() const { return of(PodState::kBound) + of(PodState::kRunning); }
  std::uint32_t active() const { return of(PodState::kPending) + live(); }
  bool operator==(const JobCounts&) const = default;
};
// One word for a whole job: running if any pod runs, else pending if any waits, else the worst final state of its pods.
PodState summary_of(const JobCounts& counts);

// ---- nodes ----------------------------------------------------------------------------------------------------------
enum class NodeState : std::uint8_t {
  kUp = 0,
  kDrained = 1,  // an administrator wants nothing new on it; what runs goes on
  kLost = 2,     // silent for longer than the set time; its pods were requeued or failed
};
std::string_view name_of(NodeState state);

struct NodeInfo {        // what an agent offers
  std::string name;      // unique, 1-255 of [A-Za-z0-9._-]
  std::string instance;  // random, made once per agent data directory; another instance means another memory of pods
  std::string address;   // where it connected from, for people
  std::string version;
  std::string limits;  // what the node can enforce: "cgroup-v1", "cgroup-v2", "none"
  Resources capacity;
  std::vector<std::string> features;  // and labels, "key=value"; sorted, unique
  // "key" or "key=value": only pods that tolerate it come here; with ":prefer" behind it they are only preferred.
  std::vector<std::string> taints = {};  // sorted, unique
  std::vector<Countable> counts = {};    // sorted by name, unique
  std::uint32_t pods_max = 0;            // at most so many pods at once; 0 is no limit
  Topology topology = {};                // empty: unknown, and pods are not given cores of their own
  bool operator==(const NodeInfo&) const = default;
};

struct Node {
  NodeId id;
  NodeInfo info;
  NodeState state = NodeState::kUp;
  std::string reason;  // of a drain or a loss
  TimeUs joined_at = 0;
  std::uint32_t subnet = 0;  // the number of its pods' part of the cluster's network, from 1; 0: none
};

// ---- services -------------------------------------------------------------------------------------------------------
struct ServiceRevision {
  std::uint32_t number = 0;
  JobSpec spec;  // of each replica, but for its name, its slot and, on every node, its node
  TimeUs made_at = 0;
  bool operator==(const ServiceRevision&) const = default;
};

struct Service {
  ServiceId id;
  std::string name;
  std::string space{kDefaultSpace};  // names are unique within one
  Owner owner;
  bool per_node = false;  // one on every node that can hold it, instead of status.replicas
  std::vector<ServicePort> ports;
  std::string address;    // virtual, given by the core; "" if it has no ports or is headless
  bool headless = false;  // its name leads to its pods instead
  bool sticky = false;    // a client stays with its pod
  UpdatePolicy update, rollback;
  RestartPolicy restart;
  std::vector<ServiceRevision> revisions;  // the oldest first, at most kRevisionsMax
  ServiceStatus status;
  TimeUs created_at = 0;
  const ServiceRevision* revision(std::uint32_t number) const;  // nullptr: not kept
  bool operator==(const Service&) const = default;
};

// ---- queues, tokens -------------------------------------------------------------------------------------------------
struct Queue {
  std::string name;
  std::int32_t priority = 0;       // added to the job's
  std::int64_t time_limit_ms = 0;  // the longest a job may ask for, and what it gets if it asks for none; 0 is no limit
  enum class State : std::uint8_t {
    kUp = 0,
    kDown = 1,      // takes jobs, starts none
    kDraining = 2,  // takes none, starts what it has
    kInactive = 3,  // takes none, starts none
  };
  State state = State::kUp;
  std::string where;                         // a condition on nodes: its jobs run on these only; "" is all
  std::int64_t time_default_ms = 0;          // for jobs that ask for none; 0: the limit
  std::uint32_t nodes_max = 0;               // of one job; 0 is no limit
  std::vector<std::string> users, accounts;  // who may use it; empty: everybody. Sorted, unique
  // Jobs of a higher tier come before all of a lower one, and may take the room of those that this says of.
  std::int32_t tier = 0;
  Preempt preempt = Preempt::kOff;
  bool operator==(const Queue&) const = default;
};
std::string_view name_of(Queue::State state);  // "up", "down", "draining", "inactive"

// What the whole cluster has so many of.
struct Licence {
  std::string name;
  std::uint64_t total = 0;
  bool operator==(const Licence&) const = default;
};

enum class TokenRole : std::uint8_t { kNode = 0, kUser = 1 };

struct Token {
  std::string id;           // public part
  std::string secret_hash;  // SHA-256 of the secret, hex; the secret itself is never stored
  TokenRole role = TokenRole::kNode;
  std::string user;  // kUser: for whom
  TimeUs created_at = 0;
  TimeUs expires_at = 0;
  bool operator==(const Token&) const = default;
};

}  // namespace berth::state
