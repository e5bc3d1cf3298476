// The server's shell around the core: listeners and sessions on one loop thread, the core on its own thread, the
// journal on a third. Nothing leaves before it is durable. Blocking call; returns when asked to stop.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "scheduler/core.h"
#include "state/result.h"
#include "state/store/store.h"

namespace berth::server {

struct ServerOptions {
  std::string data_directory;
  std::string unix_socket;  // "" for none
  std::string listen;       // "HOST:PORT" for TLS, "" for none
  std::string version;
  std::vector<state::Queue> queues;  // set at start if they differ from what the state has
  scheduler::CoreOptions core;
  store::StoreOptions store;
  std::uint32_t connections_max = 200'000;
  std::uint32_t requests_per_second_max = 0;  // per client connection; 0 is no limit
  std::size_t command_queue_max = 4096;       // frames waiting for the core; past it clients get kUnavailable
  std::size_t unsent_bytes_max = 64U << 20;   // per connection; a slower reader is cut off
  std::vector<std::uint32_t> admin_uids;      // beside root and the server's own user
  // Called once on the calling thread when clients can be served, with the addresses that listen.
  std::function<void(const std::vector<std::string>& addresses)> on_ready;
  // On the first start of a cluster that listens for nodes: the token line of the first join token.
  std::function<void(const std::string& token)> on_first_token;
};

// Runs until SIGINT or SIGTERM, or until `stop_requested` (if given) is called by a signal-free caller in tests.
class Server {
 public:
  explicit Server(ServerOptions options);
  ~Server();
  state::Status run();
  void request_stop();  // any thread

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::server
