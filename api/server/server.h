// The server's shell around the core: listeners and sessions on one loop thread, the core on its own thread, the
// journal on a third. Nothing leaves before it is durable. Blocking call; returns when asked to stop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/server/archive.h"
#include "api/server/trace.h"
#include "scheduler/core.h"
#include "state/result.h"
#include "state/store/shared_store.h"
#include "state/store/store.h"

namespace berth::server {

struct ServerOptions {
  std::string data_directory;
  std::string unix_socket;  // "" for none
  std::string listen;       // "HOST:PORT" for TLS, "" for none
  std::string metrics;      // "HOST:PORT" for plain HTTP (metrics_http.h), "" for none
  std::string version;
  // Set at start if they differ from what the state has.
  std::vector<state::Queue> queues;
  std::vector<state::Licence> licences;
  scheduler::CoreOptions core;
  store::StoreOptions store;
  AccountingOptions accounting;
  std::uint32_t connections_max = 200'000;
  std::uint32_t unproven_max = 4'096;         // of them such as have not shown who they are; each has 10 s to do so
  std::uint32_t requests_per_second_max = 0;  // per client connection; 0 is no limit
  std::size_t command_queue_max = 4096;       // frames waiting for the core; past it clients get kUnavailable
  std::size_t unsent_bytes_max = 64U << 20;   // per connection; a slower reader is cut off
  std::vector<std::uint32_t> admin_uids;      // beside root and the server's own user
  // Called once on the calling thread when clients can be served, with the addresses that listen.
  std::function<void(const std::vector<std::string>& addresses)> on_ready;
  // For a cluster that listens for nodes and has neither a node nor a token yet (on its first start, that is): the line
  // of its first join token, on the calling thread, once the token is durable.
  std::function<void(const std::string& token)> on_first_token;
  // Where batches become durable; tests put another in its place.
  std::function<state::Result<store::Opened>(const store::StoreOptions&)> open_store = store::open_store;
  // Instead of that, a store that servers share: this one stands by until it is elected. on_ready is called then, and
  // on_standby when it begins to stand by, both on the calling thread.
  std::function<state::Result<std::unique_ptr<store::SharedStore>>()> open_shared;
  std::function<void(const std::vector<std::string>& addresses)> on_standby;
  // Where others reach what listens at these addresses.
  std::function<std::string(const std::vector<std::string>& addresses)> reachable;
  std::shared_ptr<Trace> trace;  // none: nothing is traced
};

// Runs until SIGINT or SIGTERM, or until request_stop(). What was taken until then is made durable and answered. A
// second signal ends it at once. An error of run() is one line for the operator.
class Server {
 public:
  explicit Server(ServerOptions options);
  ~Server();
  state::Status run();
  bool deposed() const;  // why run() ended: another server leads now
  void request_stop();   // any thread

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::server
