#include "api/server/server.h"

#include <csignal>
#include <optional>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include "api/server/shell.h"

namespace berth::server {

using state::Error;
using state::Status;
using state::Unit;

namespace {

// Every connection is a descriptor: as many as the system lets us have.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

struct Server::Impl {
  explicit Impl(ServerOptions given) : options(std::move(given)) {}

  Status run();
  Status listen();
  void report_recovery(const store::Recovered& recovered) const;
  void make_pipeline(std::unique_ptr<scheduler::Core> core);
  void begin_stop();
  void watch_snapshots();

  ServerOptions options;
  wire::Loop loop;
  std::optional<Joining> joining;
  std::optional<Archive> archive;
  std::optional<Shell> shell;
  std::unique_ptr<store::Store> store;
  std::optional<Pipeline> pipeline;
  std::vector<std::unique_ptr<wire::Listener>> listeners;
  std::shared_ptr<wire::Loop::Signals> signals;
  std::shared_ptr<wire::Loop::Timer> snapshot_timer;
  std::string snapshot_error;
  std::optional<Error> failure;
  bool stopping = false;
};

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Server::~Server() = default;
Status Server::run() { return impl_->run(); }
void Server::request_stop() {
  impl_->loop.post([impl = impl_.get()] { impl->begin_stop(); });
}

Status Server::Impl::listen() {
  const auto on_accept = [this](std::shared_ptr<wire::Connection> connection) { shell->accept(std::move(connection)); };
  if (!options.unix_socket.empty()) {
    auto listener = wire::listen_unix(loop, options.unix_socket, on_accept);
    if (!listener) return listener.error();
    listeners.push_back(std::move(*listener));
  }
  if (!options.listen.empty()) {
    const auto endpoint = wire::parse_endpoint(options.listen, "listen");
    if (!endpoint) return endpoint.error();
    if (endpoint->is_unix) return state::invalid("listen", "'" + options.listen + "' is not HOST:PORT");
    auto tls = wire::server_tls(joining->authority());
    if (!tls) return tls.error();
    auto listener = wire::listen_tls(loop, endpoint->host, endpoint->port, *tls, on_accept);
    if (!listener) return listener.error();
    listeners.push_back(std::move(*listener));
  }
  return Unit{};
}

void Server::Impl::report_recovery(const store::Recovered& recovered) const {
  if (recovered.torn_bytes != 0) {
    spdlog::warn("cut {} bytes of an unfinished write from the end of {}", recovered.torn_bytes, recovered.torn_file);
  }
  for (const std::string& warning : recovered.warnings) spdlog::warn("{}", warning);
  if (recovered.cluster.applied_index() == 0) return;
  spdlog::info("recovered {} jobs and {} running pods at batch {}", recovered.cluster.jobs().size(),
               recovered.cluster.live_pods().size(), recovered.cluster.applied_index());
}

void Server::Impl::make_pipeline(std::unique_ptr<scheduler::Core> core) {
  PipelineLimits limits;
  limits.queue_commands = options.command_queue_max;
  Pipeline::Handlers handlers;
  handlers.deliver = [this](Delivery delivery) { shell->deliver(std::move(delivery)); };
  handlers.failed = [this](Error error) {
    loop.post([this, error] {
      failure = error;
      loop.stop();
    });
  };
  // Behind the last delivery, in the same order.
  handlers.stopped = [this] { loop.post([this] { shell->close_all([this] { loop.stop(); }); }); };
  if (archive->on()) {
    handlers.collect = [this](const auto& cluster, const auto& batch) { return archive->collect(cluster, batch); };
    handlers.ended = [this](accounting::Ended unit) { archive->durable(std::move(unit)); };
  }
  pipeline.emplace(std::move(core), *store, limits, std::move(handlers));
  shell->attach(*pipeline, *archive);
}

// The journal goes on growing while no snapshot succeeds: somebody should know.
void Server::Impl::watch_snapshots() {
  if (std::string now = store->snapshot_error(); now != snapshot_error) {
    snapshot_error = std::move(now);
    if (!snapshot_error.empty()) spdlog::error("no snapshot could be made: {}", snapshot_error);
  }
  constexpr std::int64_t kEveryMs = 10'000;
  snapshot_timer = loop.after_ms(kEveryMs, [this] { watch_snapshots(); });
}

Status Server::Impl::run() {
  raise_descriptor_limit();
  std::signal(SIGPIPE, SIG_IGN);
  options.store.directory = options.data_directory;
  auto opened = options.open_store(options.store);
  if (!opened) return opened.error();
  store = std::move(opened->store);
  store::Recovered& recovered = opened->recovered;
  report_recovery(recovered);
  auto authority = wire::open_authority(options.data_directory + "/authority");
  if (!authority) return authority.error();
  const state::Cluster& cluster = recovered.cluster;
  const bool nobody_yet = cluster.nodes().empty() && cluster.tokens().empty();
  std::vector<state::Queue> queues;
  for (const state::Queue& queue : options.queues) {
    const auto known = cluster.queues().find(queue.name);
    if (known == cluster.queues().end() || known->second != queue) queues.push_back(queue);
  }
  std::vector<state::Licence> licences;
  for (const state::Licence& licence : options.licences) {
    const auto known = cluster.licences().find(licence.name);
    if (known == cluster.licences().end() || known->second != licence) licences.push_back(licence);
  }
  joining.emplace(std::move(*authority), cluster);
  archive.emplace(options.accounting, options.data_directory, joining->authority().fingerprint,
                  cluster.applied_index());
  shell.emplace(loop, options, *joining);
  options.core.version = options.version;
  options.core.started_at = wall_clock_us();
  make_pipeline(std::make_unique<scheduler::Core>(options.core, std::move(recovered.cluster), options.core.started_at));
  if (Status listening = listen(); !listening) return listening;
  signals = loop.on_signals({SIGINT, SIGTERM}, [this](int) { begin_stop(); });
  pipeline->start();
  archive->start([this] { loop.post([this] { pipeline->push(scheduler::Tick{}); }); });
  watch_snapshots();
  for (const state::Queue& queue : queues) shell->configure(state::QueueActionRequest{false, queue});
  for (const state::Licence& licence : licences) shell->configure(state::LicenceActionRequest{false, licence});
  if (nobody_yet && !options.listen.empty()) shell->request_first_token();
  if (options.on_ready) {
    std::vector<std::string> addresses;
    for (const auto& listener : listeners) addresses.push_back(listener->address());
    options.on_ready(addresses);
  }
  loop.run();
  pipeline.reset();  // joins its threads before anything they use goes
  archive->stop();   // what it was given is in its spool
  listeners.clear();
  if (failure) return *failure;
  return Unit{};
}

// Nothing new comes in; what was taken is made durable and answered.
void Server::Impl::begin_stop() {
  if (stopping) return loop.stop();  // asked twice: now
  stopping = true;
  listeners.clear();
  shell->begin_stop();
  pipeline->stop();
}

}  // namespace berth::server
