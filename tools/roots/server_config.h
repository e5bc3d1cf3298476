// The server's configuration: options of the command line, and a YAML file with the same names. One table of keys:
// unknown ones and wrong types are refused with file, line and what is accepted.
#pragma once

#include <cstdint>
#include <string>

#include "api/server/server.h"
#include "placement/policy.h"
#include "placement/switch_tree.h"
#include "state/etcd/etcd_member.h"
#include "state/result.h"

namespace berth::tools {

struct ServerConfig {
  server::ServerOptions server;
  std::string advertise;  // what the join line names instead of the address that listens
  // Where the journal is: "" for the data directory, or etcd://… (docs/high-availability.md).
  std::string store;
  etcd::MemberOptions shared;
};

// How the core chooses nodes, by name.
state::Result<const placement::Policy*> parse_placement(const std::string& name, const std::string& field);
// How nodes are connected, from a file in the form of Slurm's topology.conf.
state::Result<placement::SwitchTree> read_switches(const std::string& path, const std::string& field);
// What a share of the cluster is worth, and how soon use is forgotten: a time, or "none". Sets the option of that name
// (fair_share, fair_share_half_life).
state::Status set_fair_share(const std::string& text, const std::string& field, scheduler::FairShare& shares);
state::Status set_half_life(const std::string& text, const std::string& field, scheduler::FairShare& shares);
// A part of the cluster's network, "10.144.0.0/16", or "none".
state::Status set_network(const std::string& text, const std::string& field, std::string& cidr);
// Where figures are read over HTTP, "HOST:PORT" or "none".
state::Status set_metrics(const std::string& text, const std::string& field, std::string& address);
// For how long a leader need not be heard. Too short or too long is refused.
state::Status set_lease(const std::string& text, const std::string& field, etcd::MemberOptions& options);
// An agent says so often that it is there. Too seldom or too often is refused.
state::Status check_heartbeat(std::int64_t ms, const std::string& field);

// Has the placement tables of this process lie on huge pages where the system gives them. Before there are any.
void use_huge_pages();

// Reads `path` into the config; what the file does not name stays.
state::Status read_server_config(const std::string& path, ServerConfig& config);

}  // namespace berth::tools
