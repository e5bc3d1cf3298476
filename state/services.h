// Services: pods that should always run. What a service is, what it has come to, and how its pods are reached. Plain
// values; a pod of a service is a job of its own (JobSpec::replica), made and taken down by the controller
// (scheduler/services.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/ids.h"

namespace berth::state {

enum class Protocol : std::uint8_t { kTcp = 0, kUdp = 1 };
std::string_view name_of(Protocol protocol);  // "tcp", "udp"

struct ServicePort {
  std::string name = {};        // for SRV records and people; "" is none
  std::uint16_t port = 0;       // at the service's own address
  std::uint16_t target = 0;     // in the pod
  std::uint16_t published = 0;  // on every node; 0: on none
  Protocol protocol = Protocol::kTcp;
  bool operator==(const ServicePort&) const = default;
};

// How replicas of one revision give way to those of another.
struct UpdatePolicy {
  enum class OnFailure : std::uint8_t { kPause = 0, kContinue = 1, kRollback = 2 };
  std::uint32_t parallelism = 1;          // replicas at a time; 0: all
  bool start_first = false;               // the new one is ready before the old one is stopped; else the other way
  std::int64_t delay_ms = 0;              // between one helping and the next
  std::int64_t monitor_ms = 5'000;        // a new replica must stay ready for so long …
  std::int64_t ready_within_ms = 60'000;  // … and become so within this time of its start
  OnFailure on_failure = OnFailure::kPause;
  std::uint32_t failures_max = 0;  // so many failures are borne
  bool operator==(const UpdatePolicy&) const = default;
};
std::string_view name_of(UpdatePolicy::OnFailure action);  // "pause", "continue", "rollback"

// What becomes of a replica that ended.
struct RestartPolicy {
  enum class When : std::uint8_t { kAny = 0, kOnFailure = 1, kNever = 2 };
  When when = When::kAny;
  // The first failure is mended at once; each one that follows waits twice as long as the one before, from delay_ms to
  // delay_max_ms, until a replica has stayed for window_ms.
  std::int64_t delay_ms = 1'000;
  std::int64_t delay_max_ms = 60'000;
  std::uint32_t attempts_max = 0;  // failures in a row before it is given up; 0: never
  std::int64_t window_ms = 30'000;
  bool operator==(const RestartPolicy&) const = default;
};
std::string_view name_of(RestartPolicy::When when);  // "any", "on-failure", "never"

// Whose replica a job is. Slots are 1, 2, 3, … of a replicated service, and node ids of one with a replica on every
// node.
struct Replica {
  ServiceId of;
  std::uint32_t revision = 0;
  std::uint32_t slot = 0;
  bool operator==(const Replica&) const = default;
};

enum class Rollout : std::uint8_t {
  kNone = 0,         // all replicas are of the revision that is wanted, or are being mended
  kRolling = 1,      // some are of an older one yet
  kPaused = 2,       // stopped by failures, until somebody decides
  kRollingBack = 3,  // back to the revision before
  kRolledBack = 4,   // that is done
};
std::string_view name_of(Rollout rollout);  // "", "rolling", "paused", "rolling back", "rolled back"

// Of a service what changes while it runs.
struct ServiceStatus {
  std::uint32_t replicas = 1;       // wanted; not of a service with one on every node
  std::uint32_t revision = 1;       // wanted
  std::uint32_t from_revision = 0;  // that a rollout left, and goes back to; 0: none
  Rollout rollout = Rollout::kNone;
  bool paused = false;              // by hand: nothing is rolled out
  bool removing = false;            // its replicas are being taken down; then it is forgotten
  std::uint32_t failures = 0;       // in this rollout
  TimeUs changed_at = 0;            // when the rollout began, or the wanted number changed
  std::uint64_t version = 1;        // grows with every change by a user
  std::string message;              // what the last rollout came to, or why it stands still
  std::vector<std::uint32_t> done;  // slots whose replica ended and is not started again; sorted
  bool operator==(const ServiceStatus&) const = default;
};

inline constexpr std::string_view kDefaultSpace = "default";
inline constexpr std::uint32_t kReplicasMax = 100'000;  // of one service
inline constexpr std::size_t kPortsMax = 64;
inline constexpr std::size_t kRevisionsMax = 10;    // kept
inline constexpr std::size_t kServiceNameMax = 63;  // of letters, digits and hyphens, as in DNS

// Ready pods of a service, as nodes are told: where its address leads.
struct Endpoint {
  PodRef pod;
  NodeId node;
  std::string address;  // the pod's own
  std::string name;     // "web.1"
  bool operator==(const Endpoint&) const = default;
};
struct ServiceRoute {
  ServiceId service;
  std::string name, space;
  std::string address;  // virtual, IPv4; "": none, names lead to the pods
  bool sticky = false;  // a client stays with its pod
  std::vector<ServicePort> ports;
  std::vector<Endpoint> endpoints;
  bool operator==(const ServiceRoute&) const = default;
};
struct NetworkPeer {
  NodeId node;
  std::string name;
  std::string address;  // where the node is reached
  std::string subnet;   // its pods', "10.88.3.0/24"
  bool operator==(const NetworkPeer&) const = default;
};
// What changed since the last one.
struct NetworkUpdate {
  bool all = false;          // replaces all that the node knew
  std::uint64_t number = 0;  // counts up; the node says when what it says holds (AgentStatus::network)
  std::vector<ServiceRoute> services;
  std::vector<ServiceId> services_removed;
  std::vector<NetworkPeer> peers;
  std::vector<NodeId> peers_removed;
};

struct PodReadiness {
  PodRef ref;
  bool ready = false;
  std::string address;  // the pod's own; "" on the node's network: the node's
  std::string message;  // why it is not ready, one line
};

}  // namespace berth::state
