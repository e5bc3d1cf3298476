// Agent: a node's agent, for `berth agent` and, embedded, for `berth dev`. Blocking; one thread, the caller's of run().
// What it starts outlives it: run() may return, or the process be killed, and pods go on; the next agent with the same
// data directory takes them over.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/io/runtimes.h"
#include "state/resources.h"
#include "state/result.h"

namespace berth::agent {

struct AgentOptions {
  std::string data_directory;
  // Where the server is: "HOST:PORT" (TLS; `token` is needed the first time) or a Unix socket. "": as the first time.
  std::string server;
  std::string token;
  std::string node_name;  // "": as the first time, or else the host's name
  std::string version;    // "": this build's
  // To offer less than there is.
  std::optional<std::uint32_t> cpu_milli;
  std::optional<std::uint64_t> mem_mib;
  std::optional<std::uint32_t> gpus;
  std::vector<std::string> features;  // and labels, "key=value"
  std::vector<std::string> taints;
  std::vector<state::Countable> counts;  // "fpga" 2; with "disk", which is otherwise the data directory's file system
  std::uint32_t pods_max = 0;            // 0 is no limit
  // Pods get cores of their own. Unless it is said: if the node offers all cpus of its machine, so that nobody else
  // counts on them.
  std::optional<bool> pin;
  std::string topology_file;  // "": this machine's; else it stands in for that one, and binds nothing
  RuntimeChoice runtime = RuntimeChoice::kAuto;
  ImageOptions images;
  bool always_tunnel = false;                            // to other nodes' pods, also where the nodes share a link
  bool handle_signals = false;                           // SIGINT and SIGTERM end run()
  std::function<void(const state::NodeInfo&)> on_ready;  // once, when the node is known; before the first connection
};

class Agent {
 public:
  explicit Agent(AgentOptions options);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;
  // Until request_stop(), or a signal. An error is a reason why it could not begin.
  state::Status run();
  void request_stop();  // any thread

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What was found on this machine, which limits can be set, and which container runtimes work, as lines for people. Uses
// a temporary directory; touches no other agent.
state::Result<std::vector<std::string>> check_node(const AgentOptions& options);

}  // namespace berth::agent
