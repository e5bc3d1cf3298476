// Services in the core, on one thread and without a disk: many of them on many nodes, in the steady state, when a node
// is lost, and when all replicas of a big one are replaced.
//   services_bench SERVICES REPLICAS NODES   prints one flat JSON object.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <string>
#include <vector>

#include "scheduler/core.h"
#include "state/event_codec.h"

namespace {

using namespace berth;
using namespace berth::state;
using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "services_bench: {}\n", what);
  std::exit(1);
}

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class Drive {
 public:
  explicit Drive(std::uint32_t nodes) : core_({}, Cluster(), now_) {
    for (std::uint32_t i = 1; i <= nodes; ++i) {
      AgentHello hello;
      hello.info.name = "node" + std::to_string(i);
      hello.info.instance = "0";
      hello.info.capacity = {16'000, 65'536, 0};
      commands_.push_back(scheduler::AgentConnected{i, std::move(hello)});
    }
    settle();
  }

  void put(const std::string& name, std::uint32_t replicas, const std::string& launch, std::uint32_t parallelism = 1) {
    ServicePutRequest request;
    request.service.name = name;
    request.service.status.replicas = replicas;
    request.service.update.parallelism = parallelism;
    request.service.update.start_first = true;
    request.service.update.monitor_ms = 0;
    request.spec.request.resources = {200, 64, 0};
    request.spec.launch = launch;
    commands_.push_back(
        scheduler::ClientCommand{{1'000'000, ++request_}, {0, 0, "root", {}, true}, std::move(request)});
  }
  void lose(std::uint64_t session) { commands_.push_back(scheduler::AgentGone{session}); }
  void advance_s(std::int64_t seconds) { now_ += seconds * 1'000'000; }

  // Turns until nothing is left to do now; the time that the core took.
  double settle() {
    const double before = step_s_;
    do {
      turn();
    } while (!commands_.empty() || (core_.next_deadline() && *core_.next_deadline() <= now_));
    return step_s_ - before;
  }
  double turn() {
    now_ += 100;
    std::vector<scheduler::Command> commands;
    std::swap(commands, commands_);
    if (commands.empty()) commands.push_back(scheduler::Tick{});
    const Clock::time_point start = Clock::now();
    scheduler::Turn turn = core_.step(commands, now_);
    const double took = since(start);
    step_s_ += took;
    std::map<std::uint64_t, AgentStatus> reports;
    for (scheduler::Effect& effect : turn.effects) {
      if (auto* reply = std::get_if<scheduler::Reply>(&effect)) {
        if (const auto* error = std::get_if<Error>(&reply->body)) fail("a request was refused: " + error->message);
        continue;
      }
      auto* order = std::get_if<scheduler::ToAgent>(&effect);
      if (order == nullptr) continue;
      AgentStatus& report = reports[order->session];
      if (const auto* start_pods = std::get_if<StartPods>(&order->body)) {
        for (const StartOrder& job : start_pods->orders) {
          for (const PodToStart& pod : job.pods) {
            const PodRef ref{{job.job, pod.element}, pod.attempt};
            report.starts.push_back({ref, now_});
            report.readiness.push_back({ref, true, "", ""});
          }
        }
      } else if (const auto* stop = std::get_if<StopPods>(&order->body)) {
        for (const PodStop& s : stop->stops) {
          PodEnd end;
          end.ref = s.ref;
          end.outcome.state = PodState::kCancelled;
          end.outcome.exit_code = -1;
          report.ends.push_back(std::move(end));
        }
      }
    }
    for (auto& [session, report] : reports) commands_.push_back(scheduler::AgentReported{session, std::move(report)});
    return took;
  }
  const Cluster& cluster() const { return core_.cluster(); }
  std::uint64_t ready() const {
    std::uint64_t count = 0;
    for (const auto& [id, pod] : cluster().live_pods()) count += pod.ready && !pod.stopping ? 1 : 0;
    return count;
  }

 private:
  TimeUs now_ = 1'700'000'000'000'000;
  scheduler::Core core_;
  std::vector<scheduler::Command> commands_;
  std::uint64_t request_ = 0;
  double step_s_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) fail("usage: services_bench SERVICES REPLICAS NODES");
  const auto services = static_cast<std::uint32_t>(std::strtoul(argv[1], nullptr, 10));
  const auto replicas = static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 10));
  const auto nodes = static_cast<std::uint32_t>(std::strtoul(argv[3], nullptr, 10));
  if (services == 0 || replicas == 0 || nodes == 0) fail("usage: services_bench SERVICES REPLICAS NODES");
  const std::uint64_t pods = std::uint64_t{services} * replicas;
  Drive drive(nodes);

  for (std::uint32_t i = 0; i < services; ++i) drive.put("s" + std::to_string(i), replicas, "v1");
  const double create_s = drive.settle();
  if (drive.ready() != pods) fail(fmt::format("{} of {} replicas are ready", drive.ready(), pods));

  // The steady state: a turn with nothing to do.
  std::vector<double> quiet;
  for (int i = 0; i < 1001; ++i) quiet.push_back(drive.turn());
  std::nth_element(quiet.begin(), quiet.begin() + 500, quiet.end());

  // A node is lost: until the core has decided where its replicas run now, and until they do.
  const std::uint64_t on_node = drive.cluster().pods_of(NodeId{1}).size();
  drive.lose(1);
  drive.settle();
  drive.advance_s(31);
  const double decide_s = drive.turn();
  const double mend_s = decide_s + drive.settle();
  if (drive.ready() != pods) fail(fmt::format("{} of {} replicas are ready after a loss", drive.ready(), pods));

  // All replicas of one big service are replaced, a hundred at a time.
  const std::uint32_t big = std::min(10'000U, 20 * nodes);  // they are to have room, and those that replace them, too
  drive.put("big", big, "v1");
  drive.settle();
  drive.put("big", big, "v2", 100);
  const double rollout_s = drive.settle();
  for (const auto& [id, pod] : drive.cluster().live_pods()) {
    const Job& job = *drive.cluster().job(id.job);
    if (job.spec.name.starts_with("big.") && job.spec.launch != "v2") fail("a replica was not replaced");
  }
  fmt::print(
      "{{\"services\": {}, \"replicas\": {}, \"nodes\": {}, \"create_pods_per_s\": {:.0f}, "
      "\"quiet_turn_us\": {:.2f}, \"lost_pods\": {}, \"loss_decided_ms\": {:.3f}, \"loss_mended_ms\": {:.3f}, "
      "\"rollout_pods_per_s\": {:.0f}}}\n",
      services, pods, nodes, static_cast<double>(pods) / create_s, quiet[500] * 1e6, on_node, decide_s * 1e3,
      mend_s * 1e3, big / rollout_s);
  return 0;
}
