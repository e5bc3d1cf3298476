// Core: the one writer. step() takes a turn's commands and the time, decides, applies the events to the cluster, and
// returns the batch to journal with the effects to carry out once that batch is durable. Pure: time is an argument.
//
// The caller (api/server's core thread, the tests, the simulator) must journal batches in order and release a turn's
// effects only when its batch is durable. A turn without events has an empty batch; its effects must still wait for the
// batches before it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "placement/policy.h"
#include "placement/switch_tree.h"
#include "scheduler/figures.h"
#include "scheduler/queue_policy.h"
#include "scheduler/tenants.h"
#include "state/cluster.h"
#include "state/events.h"
#include "state/requests.h"

namespace berth::scheduler {

// Names a caller's connection and request to whoever carries the effects; the core only hands it back.
struct ReplyTo {
  std::uint64_t session = 0;
  std::uint64_t request = 0;
  bool operator==(const ReplyTo&) const = default;
};

struct Caller {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string user;
  std::vector<std::uint32_t> groups;
  bool admin = false;
};

// ---- in -------------------------------------------------------------------------------------------------------------
struct ClientCommand {
  ReplyTo reply_to;
  Caller caller;
  state::ClientRequest request;
};
struct ClientGone {  // its watches end
  std::uint64_t session = 0;
};
struct AgentConnected {
  std::uint64_t session = 0;
  state::AgentHello hello;
};
struct AgentReported {
  std::uint64_t session = 0;
  state::AgentStatus status;
};
struct AgentGone {  // connection closed, or silent for too long
  std::uint64_t session = 0;
};
struct Tick {};  // sent when next_deadline() has come

using Command = std::variant<ClientCommand, ClientGone, AgentConnected, AgentReported, AgentGone, Tick>;

// ---- out ------------------------------------------------------------------------------------------------------------
struct Reply {
  ReplyTo to;
  state::ServerReply body;
};
struct ToAgent {
  std::uint64_t session = 0;
  std::variant<state::AgentWelcome, state::StartPods, state::StopPods, state::ForgetPods, state::ForgetJobs,
               state::ReadLog, state::NetworkUpdate>
      body;
};
struct RefuseAgent {  // the session is not to be served; close it after the error
  std::uint64_t session = 0;
  state::Error error;
};
// A log request is to be forwarded: send `read` to the agent's session; the LogReply with read.token answers `to`.
struct ForwardLog {
  ReplyTo to;
  std::uint64_t session = 0;
  state::ReadLog read;
};
// A command is to be run in a pod: as above, but the session's shell gives the token, and what follows is not the
// core's.
struct ForwardExec {
  ReplyTo to;
  std::uint64_t session = 0;
  state::ExecStart start;
};
// The same to all of these agents: encoded once.
struct ToAgents {
  std::vector<std::uint64_t> sessions;
  state::NetworkUpdate body;
};
using Effect = std::variant<Reply, ToAgent, RefuseAgent, ForwardLog, ForwardExec, ToAgents>;

struct Turn {
  state::Batch batch;  // index is 0 if there are no events
  std::vector<Effect> effects;
};

struct CoreOptions {
  std::string version;
  std::string cluster_name;
  state::TimeUs started_at = 0;
  const placement::Policy* placement = &placement::default_policy();
  placement::SwitchTree switches = {};  // how nodes are connected; empty: unknown
  const QueuePolicy* queueing = &default_queue_policy();
  FairShare shares = {};
  std::string pods_cidr = "10.128.0.0/12";      // the pods' network, a /24 of it for each node; "": there is none
  std::string services_cidr = "10.144.0.0/16";  // services' virtual addresses; "": they have none
  std::int64_t heartbeat_ms = 5'000;
  std::int64_t node_lost_after_ms = 30'000;  // from disconnection to loss
  std::uint32_t array_size_max = 10'000'000;
  std::uint64_t waiting_pods_max = 50'000'000;  // past it submissions are refused with a time to retry
  std::uint64_t ended_pods_kept = 200'000;      // ended jobs are forgotten, oldest first, past this many pods …
  std::size_t ended_jobs_kept_min = 100;        // … but not the last so many, however big …
  std::int64_t ended_kept_ms = 7LL * 24 * 3600 * 1000;  // … or this age
  // A job that could not be placed for so long stops later jobs from overtaking it, if no time limit of what runs says
  // when there will be room for it.
  std::int64_t overtaking_ends_after_ms = 10LL * 60 * 1000;
};

class Core {
 public:
  // Takes a recovered (or empty) cluster. Nodes count as disconnected from `now` until their agents return.
  Core(CoreOptions options, state::Cluster cluster, state::TimeUs now);
  ~Core();

  Turn step(std::span<Command> commands, state::TimeUs now);
  // When step() wants to be called next even if no command arrives; nullopt: never.
  std::optional<state::TimeUs> next_deadline() const;
  const state::Cluster& cluster() const;
  // At a cost in proportion to the nodes and to the replicas of services.
  Figures figures() const;
  // Derived structures against the cluster, the slow way; "" if all is well. For tests.
  std::string check_invariants() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::scheduler
