// Events: facts that change the cluster, the only thing the journal holds. Applying the same events in the same order
// gives the same state, whatever the machine or the time. An event says what was decided, not how to decide.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "state/ids.h"
#include "state/interval_set.h"
#include "state/pod_use.h"
#include "state/records.h"

namespace berth::state {

struct JobSubmitted {
  JobId id;
  Owner owner;
  JobSpec spec;
  std::uint64_t submit_key = 0;  // chosen by the client, so that a repeated submission finds the first; 0 is none
};

struct ElementRange {  // positions [first, end)
  std::uint32_t first = 0;
  std::uint32_t end = 0;
};

// Waiting elements are cancelled at once, or ended since they cannot meet their deadline any more.
struct ElementsCancelled {
  JobId job;
  std::vector<ElementRange> elements;
  bool late = false;
};

struct Bind {
  PodRef ref;
  NodeId node;
  std::uint64_t gpu_mask = 0;
};
struct PodsBound {
  std::vector<Bind> binds;
  struct Pin {
    std::uint32_t bind = 0;  // its place in `binds`
    Pinning pinning;
  };
  std::vector<Pin> pins;  // of those that have cores of their own
  struct Limit {
    std::uint32_t bind = 0;
    std::int64_t limit_ms = 0;
  };
  std::vector<Limit> limits = {};  // of those that have less time than their job asks for
};

struct PodStart {
  PodRef ref;
  TimeUs started_at = 0;
};
struct PodsStarted {
  std::vector<PodStart> starts;
};

// These live pods are to be stopped; each then ends with a PodEnd.
struct PodStop {
  PodRef ref;
  PodState stop_state = PodState::kCancelled;
};
struct PodsStopping {
  std::vector<PodStop> stops;
};

struct PodEnd {
  PodRef ref;
  PodOutcome outcome;    // outcome.message is ignored: `message` is the text, interned by apply
  std::string message;   // one line, "" if the state and code say it all
  bool requeue = false;  // back to the queue with the next attempt instead of ending
  PodUse use = {};
};
struct PodsEnded {
  std::vector<PodEnd> ends;
};

// A node returned with a pod still running that had been requeued after its loss and still waited: it is that pod
// again.
struct PodsAdopted {
  struct Adopted {
    PodRef ref;  // the attempt that runs
    NodeId node;
    std::uint64_t gpu_mask = 0;
    TimeUs started_at = 0;
    Pinning pinning = {};
  };
  std::vector<Adopted> pods;
};

struct JobsForgotten {  // ended jobs leave the state
  std::vector<JobId> jobs;
};

struct JobChanged {
  JobId job;
  std::optional<Hold> hold;
  std::optional<TimeUs> begin_at;
  std::optional<std::int32_t> priority;
  std::optional<std::int64_t> time_limit_ms;
  std::optional<std::string> name, comment, account, qos;
  struct Decided {
    std::uint32_t number = 0;  // in JobSpec::depends
    Dependency::State state = Dependency::State::kOpen;
  };
  std::vector<Decided> decided;
  // Of a kAfterCorr dependency: positions of the job that waited for their counterparts.
  struct ElementsDecided {
    std::uint32_t number = 0;
    ElementRange elements;
    Dependency::State state = Dependency::State::kOpen;
  };
  std::vector<ElementsDecided> elements;
};

struct NodeJoined {  // new, or known by name with another offer
  NodeId id;
  NodeInfo info;
  std::uint32_t subnet = 0;
};
struct NodeStateChanged {
  NodeId id;
  NodeState state = NodeState::kUp;
  std::string reason;
};
struct NodeRemoved {
  NodeId id;
};

struct QueueSet {
  Queue queue;
};
struct QueueRemoved {
  std::string name;
};
struct LicenceSet {
  Licence licence;
};
struct LicenceRemoved {
  std::string name;
};
struct AccountSet {
  Account account;
};
struct AccountRemoved {
  std::string name;
};
struct MemberSet {
  Member member;
};
struct MemberRemoved {
  std::string account, user;
};
struct QosSet {
  Qos qos;
};
struct QosRemoved {
  std::string name;
};
// What was used until now, as the one who counts it says.
struct UsageNoted {
  struct Of {
    std::string account, user;  // account "": who has none
    double cpu_seconds = 0;
  };
  std::vector<Of> usage;
};
// Readiness of live pods, and where they are reached.
struct PodsReady {
  std::vector<PodReadiness> pods;  // without messages
};
struct ServiceSet {  // new, or another definition of a known one
  Service service;
};
struct ServiceStatusSet {
  ServiceId id;
  ServiceStatus status;
};
struct ServiceRemoved {
  ServiceId id;
};
struct TokenAdded {
  Token token;
};
struct TokenRemoved {
  std::string id;
};

using Event = std::variant<JobSubmitted, ElementsCancelled, PodsBound, PodsStarted, PodsStopping, PodsEnded,
                           PodsAdopted, JobsForgotten, NodeJoined, NodeStateChanged, NodeRemoved, QueueSet,
                           QueueRemoved, TokenAdded, TokenRemoved, JobChanged, LicenceSet, LicenceRemoved, AccountSet,
                           AccountRemoved, MemberSet, MemberRemoved, QosSet, QosRemoved, UsageNoted, PodsReady,
                           ServiceSet, ServiceStatusSet, ServiceRemoved>;

// What one turn of the core decided: one record of the journal, durable or not as a whole.
struct Batch {
  std::uint64_t index = 0;  // 1, 2, 3, … without gaps
  TimeUs at = 0;            // the core's time of the turn; never goes back
  std::vector<Event> events;
};

}  // namespace berth::state
