#include "api/server/server.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <mutex>
#include <optional>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "api/server/metrics_http.h"
#include "api/server/metrics_page.h"
#include "api/server/shared_start.h"
#include "api/server/shell.h"
#include "api/server/standby.h"
#include "state/store/snapshot_file.h"

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
  Status stand_by();
  Status listen(const wire::Authority& authority);
  Status listen_for_metrics();
  std::string page();
  std::string trouble();
  std::int64_t snapshot_age_us(std::uint64_t index) const;
  std::vector<std::string> addresses() const;
  void report_recovery(const store::Recovered& recovered) const;
  void make(store::Opened opened, wire::Authority authority);
  void serve();
  void make_pipeline(std::unique_ptr<scheduler::Core> core);
  void tell(state::StoreInfo& info) const;
  void fail(Error error);
  void begin_stop();
  void watch_snapshots();
  void flush_trace();

  ServerOptions options;
  Metrics metrics;
  wire::Loop loop;
  std::unique_ptr<store::SharedStore> shared;
  std::optional<Standby> standby;
  std::optional<Joining> joining;
  std::optional<Archive> archive;
  std::optional<Shell> shell;
  std::unique_ptr<store::Store> store;
  std::optional<Pipeline> pipeline;
  std::vector<std::unique_ptr<wire::Listener>> listeners;
  std::shared_ptr<wire::Loop::Signals> signals;
  std::shared_ptr<wire::Loop::Timer> snapshot_timer, trace_timer;
  std::string snapshot_error;
  // Of the configuration, what the state does not have yet.
  std::vector<state::ClientRequest> settings;
  bool nobody_yet = false;
  std::optional<Error> failure;
  std::atomic<bool> stopping{false};
  bool deposed = false;
  // For the thread of the metrics.
  std::atomic<bool> standing_by{false};  // `shared` is there, until run() ends
  std::atomic<bool> serving{false};      // what make() made is there, until then
  std::mutex store_trouble_mutex;
  std::string store_trouble;  // of a standby's store
  std::uint64_t pages = 0;    // that thread's
  std::unique_ptr<MetricsHttp> http;
};

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Server::~Server() = default;
Status Server::run() { return impl_->run(); }
bool Server::deposed() const { return impl_->deposed; }
void Server::request_stop() {
  impl_->loop.post([impl = impl_.get()] { impl->begin_stop(); });
}

Status Server::Impl::listen(const wire::Authority& authority) {
  const auto on_accept = [this](std::shared_ptr<wire::Connection> connection) {
    if (standby) return standby->accept(std::move(connection));
    shell->accept(std::move(connection));
  };
  if (!options.unix_socket.empty()) {
    auto listener = wire::listen_unix(loop, options.unix_socket, on_accept);
    if (!listener) return listener.error();
    listeners.push_back(std::move(*listener));
  }
  if (!options.listen.empty()) {
    const auto endpoint = wire::parse_endpoint(options.listen, "listen");
    if (!endpoint) return endpoint.error();
    if (endpoint->is_unix) return state::invalid("listen", "'" + options.listen + "' is not HOST:PORT");
    auto tls = wire::server_tls(authority);
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
  handlers.failed = [this](Error error) { fail(std::move(error)); };
  // Behind the last delivery, in the same order.
  handlers.stopped = [this] { loop.post([this] { shell->close_all([this] { loop.stop(); }); }); };
  if (archive->on()) {
    handlers.collect = [this](const auto& cluster, const auto& batch) { return archive->collect(cluster, batch); };
    handlers.ended = [this](accounting::Ended unit) { archive->durable(std::move(unit)); };
  }
  pipeline.emplace(std::move(core), *store, limits, std::move(handlers), Watch{&metrics, options.trace.get()});
  shell->attach(*pipeline, *archive, [this](state::StoreInfo& info) { tell(info); });
}

// Any thread.
void Server::Impl::fail(Error error) {
  loop.post([this, error = std::move(error)] {
    if (!failure) failure = error;
    loop.stop();
  });
}

// Any thread.
void Server::Impl::tell(state::StoreInfo& info) const {
  info.where = options.data_directory;
  info.durable_index = store->last_index();
  info.snapshot_index = store->snapshot_index();
  info.snapshot_error = store->snapshot_error();
  if (pipeline->suspended()) info.error = pipeline->suspended_error().message;
  if (shared) shared->tell(info);
}

std::vector<std::string> Server::Impl::addresses() const {
  std::vector<std::string> out;
  for (const auto& listener : listeners) out.push_back(listener->address());
  return out;
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

void Server::Impl::flush_trace() {
  if (options.trace == nullptr || options.trace->full()) return;
  options.trace->flush();
  constexpr std::int64_t kEveryMs = 500;
  trace_timer = loop.after_ms(kEveryMs, [this] { flush_trace(); });
}

// ---- the thread of the metrics ----

Status Server::Impl::listen_for_metrics() {
  if (options.metrics.empty()) return Unit{};
  const auto endpoint = wire::parse_endpoint(options.metrics, "metrics");
  if (!endpoint) return endpoint.error();
  if (endpoint->is_unix) return state::invalid("metrics", "'" + options.metrics + "' is not HOST:PORT");
  auto made =
      MetricsHttp::listen(endpoint->host, endpoint->port, {[this] { return page(); }, [this] { return trouble(); }});
  if (!made) return made.error();
  http = std::move(*made);
  spdlog::info("metrics are at http://{}/metrics", http->address());
  return Unit{};
}

std::int64_t Server::Impl::snapshot_age_us(std::uint64_t index) const {
  struct stat info {};
  const std::string path = options.data_directory + "/snapshot/" + store::snapshot_name(index);
  if (index == 0 || options.open_shared || ::stat(path.c_str(), &info) != 0) return -1;
  return std::max<std::int64_t>(wall_clock_us() - info.st_mtim.tv_sec * 1'000'000LL - info.st_mtim.tv_nsec / 1000, 0);
}

std::string Server::Impl::page() {
  constexpr std::int64_t kCoreMs = 500;  // a page is not kept waiting for a long turn
  PageSources from;
  from.page_number = ++pages;
  if (!serving) {
    if (standing_by) {
      from.info = standby_info(options, *shared);
    } else {
      from.info.version = options.version;
      from.info.cluster = options.core.cluster_name;
      from.info.started_at = options.core.started_at;
    }
    return metrics_page(from);
  }
  from.metrics = &metrics;
  from.info.version = options.version;
  from.info.cluster = options.core.cluster_name;
  from.info.started_at = options.core.started_at;
  const Pipeline::Told told = pipeline->figures(kCoreMs);
  from.figures = told.figures;
  from.figures_age_us = told.figures == nullptr ? 0 : std::max<std::int64_t>(steady_clock_us() - told.at_us, 0);
  from.suspended = pipeline->suspended();
  from.turns_waiting = pipeline->turns_waiting();
  from.accounting = archive->on();
  archive->tell(from.info);
  tell(from.info.store);
  from.snapshot_age_us = snapshot_age_us(from.info.store.snapshot_index);
  return metrics_page(from);
}

std::string Server::Impl::trouble() {
  constexpr std::int64_t kStuckUs = 10'000'000;
  if (stopping) return "the server is stopping";
  if (!serving) {
    if (!standing_by) return "the server is starting";
    const std::lock_guard lock(store_trouble_mutex);
    return store_trouble.empty() ? "" : "the store does not answer: " + store_trouble;
  }
  if (pipeline->suspended()) return pipeline->suspended_error().message;
  const auto stuck_us = [](const Counter& began) -> std::int64_t {
    const auto at = static_cast<std::int64_t>(began.get());
    const std::int64_t us = at == 0 ? 0 : steady_clock_us() - at;
    return us < kStuckUs ? 0 : us;
  };
  if (const auto us = stuck_us(metrics.journal.append_began_us); us != 0) {
    return "the journal has not come back from the disk for " + std::to_string(us / 1'000'000) + " s";
  }
  if (const auto us = stuck_us(metrics.core.turn_began_us); us != 0) {
    return "a turn of the core has taken " + std::to_string(us / 1'000'000) + " s so far";
  }
  return "";
}

// Everything around the core of what was recovered; it does not run yet.
void Server::Impl::make(store::Opened opened, wire::Authority authority) {
  store = std::move(opened.store);
  store::Recovered& recovered = opened.recovered;
  report_recovery(recovered);
  const state::Cluster& cluster = recovered.cluster;
  nobody_yet = cluster.nodes().empty() && cluster.tokens().empty();
  for (const state::Queue& queue : options.queues) {
    const auto known = cluster.queues().find(queue.name);
    if (known == cluster.queues().end() || known->second != queue)
      settings.emplace_back(state::QueueActionRequest{false, queue});
  }
  for (const state::Licence& licence : options.licences) {
    const auto known = cluster.licences().find(licence.name);
    if (known == cluster.licences().end() || known->second != licence)
      settings.emplace_back(state::LicenceActionRequest{false, licence});
  }
  joining.emplace(std::move(authority), cluster);
  archive.emplace(options.accounting, options.data_directory, joining->authority().fingerprint,
                  cluster.applied_index());
  shell.emplace(loop, options, *joining, metrics);
  make_pipeline(std::make_unique<scheduler::Core>(options.core, std::move(recovered.cluster), wall_clock_us()));
}

void Server::Impl::serve() {
  pipeline->start();
  archive->start([this] { loop.post([this] { pipeline->push(scheduler::Tick{}); }); });
  watch_snapshots();
  flush_trace();
  serving = true;
  for (state::ClientRequest& request : settings) shell->configure(std::move(request));
  if (nobody_yet && !options.listen.empty()) shell->request_first_token();
  if (options.on_ready) options.on_ready(addresses());
}

Status Server::Impl::run() {
  raise_descriptor_limit();
  std::signal(SIGPIPE, SIG_IGN);
  options.core.version = options.version;
  options.core.started_at = wall_clock_us();
  if (Status listening = listen_for_metrics(); !listening) return listening;
  const auto catch_signals = [this] { signals = loop.on_signals({SIGINT, SIGTERM}, [this](int) { begin_stop(); }); };
  if (options.open_shared) {
    if (Status standing = stand_by(); !standing) return standing;
    catch_signals();
  } else {
    options.store.directory = options.data_directory;
    auto opened = options.open_store(options.store);
    if (!opened) return opened.error();
    auto authority = wire::open_authority(options.data_directory + "/authority");
    if (!authority) return authority.error();
    make(std::move(*opened), *authority);
    if (Status listening = listen(*authority); !listening) return listening;
    catch_signals();
    serve();
  }
  loop.run();
  http.reset();                  // asks for no page any more
  pipeline.reset();              // joins its threads before anything they use goes
  if (archive) archive->stop();  // what it was given is in its spool
  listeners.clear();
  store.reset();
  deposed = shared && shared->deposed();
  shared.reset();  // gives the lead back: all that was acknowledged is durable
  if (failure) return *failure;
  return Unit{};
}

// Listens, and follows until this server is elected.
Status Server::Impl::stand_by() {
  auto opened = options.open_shared();
  if (!opened) return opened.error();
  shared = std::move(*opened);
  auto me = prepare_member(options.data_directory, *shared);
  if (!me) return me.error();
  auto authority = wire::open_authority(options.data_directory + "/authority");
  if (!authority) return authority.error();
  standby.emplace(loop, options, *shared);
  if (Status listening = listen(*authority); !listening) return listening;
  me->authority = authority->fingerprint;
  me->version = options.version;
  me->address = options.reachable ? options.reachable(addresses()) : addresses().front();
  store::SharedStore::Handlers handlers;
  handlers.elected = [this, authority = *authority](store::Opened state) {
    auto elected = std::make_shared<store::Opened>(std::move(state));
    loop.post([this, authority, elected] {
      if (stopping) return;
      spdlog::info("this server leads now");
      make(std::move(*elected), authority);
      standby.reset();
      serve();
    });
  };
  handlers.ended = [this](Error error) { fail(std::move(error)); };
  handlers.trouble = [this](const std::string& why) {
    {
      const std::lock_guard lock(store_trouble_mutex);
      store_trouble = why;
    }
    if (why.empty()) return spdlog::info("the store answers again");
    spdlog::warn("the store does not answer: {}", why);
  };
  shared->start(std::move(*me), std::move(handlers));
  standing_by = true;
  if (options.on_standby) options.on_standby(addresses());
  return Unit{};
}

// Nothing new comes in; what was taken is made durable and answered.
void Server::Impl::begin_stop() {
  if (stopping) return loop.stop();  // asked twice: now
  stopping = true;
  if (!pipeline) return loop.stop();  // a standby has nothing to finish
  listeners.clear();
  shell->begin_stop();
  pipeline->stop();
}

}  // namespace berth::server
