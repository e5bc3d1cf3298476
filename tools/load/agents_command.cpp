#include "tools/load/agents_command.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <mutex>
#include <optional>
#include <stop_token>
#include <sys/resource.h>
#include <thread>

#include "api/wire/connection.h"
#include "api/wire/enrol.h"
#include "api/wire/loop.h"
#include "tools/cli/command.h"
#include "tools/load/figures.h"
#include "tools/load/fleet.h"

namespace berth::tools {

using namespace state;

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kFilesBesideAgents = 64;
constexpr std::int64_t kEnrolTimeoutMs = 10'000;
constexpr auto kEnrolAgainAfter = std::chrono::milliseconds(500);

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Status allow_open_files(std::uint64_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted) return Unit{};
  const rlim_t hard = limit.rlim_max;
  limit.rlim_cur = wanted;
  if (limit.rlim_max < wanted) limit.rlim_max = wanted;  // only root may
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return Unit{};
  return Error{
      ErrorCode::kTooLarge, "--count",
      fmt::format(
          "--count needs {} open files and this process may have {}: raise the limit (ulimit -Hn) or run fewer agents",
          wanted, hard),
      0};
}

// Proves the token once for every node, in order, on a thread of its own: enrolment blocks, and makes a key each time.
class Enroller {
 public:
  Enroller(const AgentsOptions& options, wire::Loop& loop, Fleet& fleet, std::function<void(const Error&)> on_refused)
      : thread_([this, &options, &loop, &fleet, refused = std::move(on_refused)](std::stop_token stop) {
          for (std::uint32_t i = 0; i < options.count && !stop.stop_requested(); ++i) {
            auto identity = wire::enrol(options.server, options.token, fleet.name_of(i), kEnrolTimeoutMs);
            if (!identity && identity.error().code != ErrorCode::kUnavailable) {
              loop.post([refused, error = identity.error()] { refused(error); });
              return;
            }
            if (!identity) {
              --i;  // the server is away: the same again, after a pause
              std::unique_lock lock(mutex_);
              woken_.wait_for(lock, stop, kEnrolAgainAfter, [] { return false; });
              continue;
            }
            auto kept = std::make_shared<wire::Enrolment>(std::move(*identity));
            loop.post([&fleet, i, kept] { fleet.admit(i, std::make_unique<wire::Enrolment>(std::move(*kept))); });
          }
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any woken_;
  std::jthread thread_;  // last: joined before what it waits on goes
};

Figures figures_of(const Fleet& fleet, double seconds) {
  const FleetTotals& totals = fleet.totals();
  Figures out;
  const auto add = [&](const char* name, std::uint64_t value) { out.add(name, static_cast<double>(value)); };
  add("agents_connected", fleet.connected());
  add("connections", totals.connections);
  add("pods_started", totals.pods.started);
  add("pods_ended", totals.pods.ended);
  add("pods_stopped", totals.pods.stopped);
  add("pods_timed_out", totals.pods.timed_out);
  add("pods_forgotten", totals.pods.forgotten);
  add("pods_running", fleet.pods_running());
  add("pods_unacknowledged", fleet.pods_unacknowledged());
  add("starts_repeated", totals.pods.repeated);
  add("frames_received", totals.frames);
  add("reports_sent", totals.reports);
  add("heartbeats_sent", totals.heartbeats);
  add("logs_answered", totals.logs);
  out.add("run_s", seconds);
  return out;
}

}  // namespace

int run_bench_agents(const AgentsOptions& options) {
  const auto endpoint = wire::parse_endpoint(options.server, "--server");
  if (!endpoint) return report(endpoint.error(), true);
  if (!endpoint->is_unix && options.token.empty()) {
    return report(invalid("--token", "agents join " + options.server + " over TLS: give a node's token with --token"),
                  true);
  }
  if (const Status files = allow_open_files(options.count + kFilesBesideAgents); !files) return report(files.error());

  const Clock::time_point start = Clock::now();
  std::optional<Error> refused;
  std::string trouble_shown;
  wire::Loop loop;
  const auto refuse = [&](const Error& error) {
    if (!refused) refused = error;
    loop.stop();
  };
  FleetOptions fleet_options;
  fleet_options.server = *endpoint;
  fleet_options.count = options.count;
  fleet_options.capacity = options.capacity;
  fleet_options.features = options.features;
  fleet_options.name_prefix = options.name_prefix;
  fleet_options.pod_time_us = options.pod_time_ms * 1000;
  Fleet::Events events;
  events.on_all_connected = [&] {
    trouble_shown.clear();
    fmt::print("{} agents are connected to {} ({:.1f} s)\n", options.count, options.server, seconds_since(start));
    std::fflush(stdout);
  };
  events.on_trouble = [&](const Error& error) {
    // All agents of a server that goes away say the same: once is enough.
    if (error.message == trouble_shown) return;
    trouble_shown = error.message;
    fmt::print(stderr, "berth: {}; trying again\n", error.message);
  };
  events.on_refused = refuse;
  Fleet fleet(loop, std::move(fleet_options), std::move(events));
  const auto signals = loop.on_signals({SIGINT, SIGTERM}, [&](int) { loop.stop(); });

  std::optional<Enroller> enroller;
  if (endpoint->is_unix) {
    for (std::uint32_t i = 0; i < options.count; ++i) fleet.admit(i, nullptr);
  } else {
    enroller.emplace(options, loop, fleet, refuse);
  }
  if (!refused) loop.run();
  enroller.reset();
  if (refused) return report(*refused);

  const Figures figures = figures_of(fleet, seconds_since(start));
  fmt::print("{}", figures.to_table());
  std::fflush(stdout);
  if (options.json.empty()) return 0;
  const Status written = figures.write_json(options.json);
  return written ? 0 : report(written.error());
}

}  // namespace berth::tools
