#include "agent/io/agent.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <malloc.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/io/clock.h"
#include "agent/io/code_pages.h"
#include "agent/io/discovery.h"
#include "agent/io/exec_desk.h"
#include "agent/io/identity.h"
#include "agent/io/log_reader.h"
#include "agent/io/node_desk.h"
#include "agent/io/pod_runner.h"
#include "agent/io/session.h"
#include "agent/io/topology_reader.h"
#include "agent/net/node_network.h"
#include "agent/net/pod_health.h"
#include "state/units.h"

namespace berth::agent {

using namespace state;

namespace {

// A descriptor a pod is needed; pods themselves get the limit that the agent was given.
std::uint64_t raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const std::uint64_t given = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return given;
}

// The size of the file system that pods write to: what is free there changes all the time.
std::uint64_t disk_mib_of(const std::string& directory) {
  struct statvfs facts {};
  if (statvfs(directory.c_str(), &facts) != 0) return 0;
  return static_cast<std::uint64_t>(facts.f_blocks) * facts.f_frsize >> 20;
}

NodeFacts facts_of(const Topology& topology) {
  NodeFacts facts;
  facts.cpus = topology.threads();
  facts.cores = static_cast<std::uint32_t>(topology.cores.size());
  for (const auto& memory : topology.memories) facts.mem_mib += memory.mem_mib;
  for (const auto& device : topology.devices) facts.gpus += device.is_gpu && facts.gpus < kMaxGpus ? 1 : 0;
  return facts;
}

Result<Resources> offer_of(const AgentOptions& options, const NodeFacts& facts) {
  Resources offer = facts.resources();
  const auto too_much = [](const char* option, const std::string& asked, const std::string& there) {
    return invalid(option, std::string(option) + ": " + asked + " is more than this machine's " + there);
  };
  if (options.cpu_milli) {
    if (*options.cpu_milli > offer.cpu_milli) {
      return too_much("--cpus", format_cpu_milli(*options.cpu_milli), format_cpu_milli(offer.cpu_milli));
    }
    offer.cpu_milli = *options.cpu_milli;
  }
  if (options.mem_mib) {
    if (*options.mem_mib > offer.mem_mib) {
      return too_much("--mem", format_mem_mib(*options.mem_mib), format_mem_mib(offer.mem_mib));
    }
    offer.mem_mib = *options.mem_mib;
  }
  if (options.gpus) {
    if (*options.gpus > offer.gpus)
      return too_much("--gpus", std::to_string(*options.gpus), std::to_string(offer.gpus));
    offer.gpus = *options.gpus;
  }
  return offer;
}

}  // namespace

struct Agent::Impl {
  explicit Impl(AgentOptions given) : options(std::move(given)), layout(options.data_directory) {
    if (options.version.empty()) options.version = BERTH_VERSION;
  }

  Status begin();
  void serve();
  void act(std::vector<Action>& actions);
  void report(PodRunner::Report report);
  void on_message(wire::Message message);
  void add_status(AgentStatus status);
  void make_network();
  void flush_status();
  void rearm();
  AgentHello hello();

  AgentOptions options;
  Layout layout;
  wire::Loop loop;
  Fd data_lock;
  Identity identity;
  NodeInfo info;
  Cgroups cgroups;
  PodContext context;
  NodeCore core;
  std::unique_ptr<ShimLauncher> launcher;
  std::unique_ptr<ImageStore> images;
  std::unique_ptr<Runtimes> runtimes;
  std::unique_ptr<NodeNetwork> network;
  std::unique_ptr<PodHealth> health;
  std::unique_ptr<PodRunner> runner;
  std::unique_ptr<LogReader> logs;
  std::unique_ptr<NodeDesk> desk;
  std::unique_ptr<ExecDesk> execs;
  std::unique_ptr<Session> session;
  std::shared_ptr<wire::Loop::Signals> signals;
  std::shared_ptr<wire::Loop::Timer> deadline_timer;
  TimeUs deadline_armed = 0;
  AgentStatus status;  // to be sent at the end of this turn
  bool flush_posted = false;
};

Status Agent::Impl::begin() {
  if (auto made = layout.make(); !made) return made;
  auto lock = lock_data_directory(layout);
  if (!lock) return lock.error();
  data_lock = std::move(*lock);
  NodeFacts facts = discover_node();
  const bool whole = !options.cpu_milli || !options.topology_file.empty();
  if (options.pin.value_or(whole)) {
    auto topology = read_topology(options.topology_file);
    if (topology) info.topology = std::move(*topology);
    if (const std::string wrong = check_topology(info.topology); !wrong.empty()) {
      spdlog::warn("pods are not given cores of their own: {}", wrong);
      info.topology = {};
    }
  }
  if (!options.topology_file.empty()) {
    auto topology = read_topology(options.topology_file);
    if (!topology) return topology.error();
    facts = facts_of(*topology);
  }
  context.bind_cpus = options.topology_file.empty();
  const auto offer = offer_of(options, facts);
  if (!offer) return offer.error();
  auto opened = open_identity(layout, options);
  if (!opened) return opened.error();
  identity = std::move(*opened);

  signal(SIGPIPE, SIG_IGN);
  context.file_limit = raise_file_limit();
  context.node_name = identity.name;
  context.instance = identity.instance.substr(0, 8);
  context.layout = &layout;
  context.cgroups = &cgroups;
  CgroupOptions cgroup_options;
  cgroup_options.instance = context.instance;
  cgroups = Cgroups::detect(cgroup_options);
  if (!cgroups.usable()) spdlog::warn("pods run without limits: {}", cgroups.why_none());

  info.name = identity.name;
  info.instance = identity.instance;
  info.version = options.version;
  info.limits = cgroups.limits();
  info.capacity = *offer;
  info.features = options.features;
  info.taints = options.taints;
  info.pods_max = options.pods_max;
  info.counts = options.counts;
  if (count_of(info.counts, kDisk) == 0) info.counts.push_back({std::string(kDisk), disk_mib_of(layout.root())});
  std::sort(info.counts.begin(), info.counts.end());
  std::sort(info.features.begin(), info.features.end());
  info.features.erase(std::unique(info.features.begin(), info.features.end()), info.features.end());

  launcher = std::make_unique<ShimLauncher>(loop);
  if (auto ready = launcher->prepare(layout.root()); !ready) return ready;
  images = std::make_unique<ImageStore>(loop, layout, *launcher, options.images);
  images->open();
  runtimes = std::make_unique<Runtimes>(loop, *launcher, context, options.runtime);
  runner = std::make_unique<PodRunner>(loop, *launcher, *images, *runtimes, context,
                                       std::max<std::size_t>(8, 2 * facts.cpus));
  runner->on_report([this](PodRunner::Report each) { report(std::move(each)); });
  logs = std::make_unique<LogReader>(loop, layout, core, identity.name,
                                     [this](LogReply reply) { session->send(std::move(reply)); });
  make_network();
  desk = std::make_unique<NodeDesk>(NodeDesk::Parts{loop, *images, core, *runner, cgroups},
                                    [this](NodeAnswer answer) { session->send(std::move(answer)); });
  execs = std::make_unique<ExecDesk>(ExecDesk::Parts{loop, layout, core, *runner, *launcher},
                                     ExecDesk::Handlers{[this](ExecPart part) { session->send(std::move(part)); },
                                                        [this] { return session->queued_bytes(); }});
  runner->adopt_all(core, same_boot(layout));
  network->recover(runner->living());
  for (const AgentPod& pod : core.known_pods()) {
    if (!pod.running || pod.started_at == 0) continue;
    if (const StartOrder* order = core.order_of(pod.ref)) health->started(pod.ref, *order, pod.started_at, true);
  }
  images->collect();
  return Unit{};
}

void Agent::Impl::make_network() {
  NodeNetworkOptions network_options;
  network_options.instance = context.instance;
  network_options.always_tunnel = options.always_tunnel;
  network = std::make_unique<NodeNetwork>(loop, std::move(network_options));
  network->on_applied([this](std::uint64_t number) {
    AgentStatus more;
    more.network = number;
    add_status(std::move(more));
  });
  PodHealth::Handlers handlers;
  handlers.readiness = [this](PodReadiness readiness) {
    AgentStatus more;
    more.readiness.push_back(std::move(readiness));
    add_status(std::move(more));
  };
  handlers.unhealthy = [this](const PodRef& ref, const std::string& why) {
    std::vector<Action> actions;
    core.on_unhealthy(ref, why, now_us(), actions);
    act(actions);
  };
  handlers.address = [this](const PodRef& ref) { return network->address(ref); };
  handlers.order = [this](const PodRef& ref) { return core.order_of(ref); };
  health = std::make_unique<PodHealth>(loop, context, std::move(handlers));
  runner->set_networks(network.get());
}

void Agent::Impl::serve() {
  constexpr std::int64_t kSettledMs = 2'000;  // by then it has connected, or waits to
  Session::Handlers handlers;
  handlers.hello = [this] { return hello(); };
  handlers.on_welcome = [this](const AgentWelcome& welcome) {
    network->on_welcome(welcome);
    status.ends = core.unacknowledged().ends;
    status.readiness = health->readiness();
    flush_status();
  };
  handlers.on_message = [this](wire::Message message) { on_message(std::move(message)); };
  handlers.on_lost = [this] {
    logs->clear();
    execs->clear();
  };
  handlers.on_drained = [this] { execs->on_drained(); };
  session =
      std::make_unique<Session>(loop, identity.servers, identity.tls, "berth " + options.version, std::move(handlers));
  if (options.handle_signals) {
    signals = loop.on_signals({SIGINT, SIGTERM}, [this](int) { loop.stop(); });
  }
  if (options.on_ready) options.on_ready(info);
  session->start();
  rearm();
  malloc_trim(0);
  const auto settled = loop.after_ms(kSettledMs, [] { give_back_code_pages(); });
  loop.run();
  cgroups.remove_parents();
  network->end();
}

// Starts before this are in the list; what comes until the server's welcome is told after it.
AgentHello Agent::Impl::hello() {
  status.starts.clear();
  return AgentHello{info, core.known_pods(), network->able()};
}

void Agent::Impl::on_message(wire::Message message) {
  std::vector<Action> actions;
  const TimeUs now = now_us();
  if (const auto* start = std::get_if<StartPods>(&message.body)) {
    core.on_start(*start, now, actions);
  } else if (const auto* stop = std::get_if<StopPods>(&message.body)) {
    core.on_stop(*stop, now, actions);
  } else if (const auto* forget = std::get_if<ForgetPods>(&message.body)) {
    core.on_forget(*forget, actions);
  } else if (const auto* forget_jobs = std::get_if<ForgetJobs>(&message.body)) {
    for (const JobId job : forget_jobs->jobs) remove_tree(layout.job(job));
  } else if (auto* read = std::get_if<ReadLog>(&message.body)) {
    logs->on_read(std::move(*read));
  } else if (const auto* ask = std::get_if<NodeAsk>(&message.body)) {
    desk->on_ask(*ask);
  } else if (const auto* exec = std::get_if<ExecStart>(&message.body)) {
    execs->on_start(*exec);
  } else if (auto* part = std::get_if<ExecPart>(&message.body)) {
    execs->on_part(std::move(*part));
  } else if (const auto* update = std::get_if<NetworkUpdate>(&message.body)) {
    network->on_update(*update);
  } else {
    spdlog::warn("ignored a message that is not for an agent");
  }
  act(actions);
}

void Agent::Impl::report(PodRunner::Report each) {
  std::vector<Action> actions;
  std::visit([&](const auto& shim_report) { core.on_shim(shim_report, now_us(), actions); }, each);
  if (const auto* started = std::get_if<ShimStarted>(&each)) {
    const StartOrder* order = core.order_of(started->ref);
    if (order != nullptr) health->started(started->ref, *order, started->started_at, false);
  } else {
    const PodRef ref = std::visit([](const auto& shim_report) { return shim_report.ref; }, each);
    health->stopped(ref);
    execs->on_pod_over(ref);
  }
  act(actions);
}

void Agent::Impl::act(std::vector<Action>& actions) {
  for (Action& action : actions) {
    if (auto* launch = std::get_if<LaunchPod>(&action)) {
      runner->launch(*launch);
    } else if (auto* signal_pod = std::get_if<SignalPod>(&action)) {
      health->stopped(signal_pod->ref);
      runner->signal(*signal_pod);
    } else if (auto* warn = std::get_if<WarnPod>(&action)) {
      runner->warn(*warn);
    } else if (auto* discard = std::get_if<DiscardPod>(&action)) {
      runner->discard(*discard);
    } else if (auto* send = std::get_if<SendStatus>(&action)) {
      add_status(std::move(send->status));
    }
  }
  rearm();
}

void Agent::Impl::add_status(AgentStatus more) {
  for (PodStart& start : more.starts) status.starts.push_back(start);
  for (PodEnd& end : more.ends) status.ends.push_back(std::move(end));
  for (PodReadiness& readiness : more.readiness) status.readiness.push_back(std::move(readiness));
  status.network = std::max(status.network, more.network);
  if (std::exchange(flush_posted, true)) return;
  loop.post([this] {
    flush_posted = false;
    flush_status();
  });
}

// Not served: ends are kept by the core, and starts are in the next hello or wait here for the welcome.
void Agent::Impl::flush_status() {
  if (!session || !session->serving()) {
    status.ends.clear();
    status.readiness.clear();
    status.network = 0;
    return;
  }
  const bool ended = !status.ends.empty();
  if (!status.starts.empty() || ended || !status.readiness.empty() || status.network != 0)
    session->send(std::exchange(status, {}));
  if (ended) logs->poke();
}

void Agent::Impl::rearm() {
  const auto next = core.next_deadline();
  const TimeUs at = next.value_or(0);
  if (at == deadline_armed) return;
  deadline_armed = at;
  if (at == 0) return deadline_timer.reset();
  const std::int64_t delay_ms = std::max<std::int64_t>((at - now_us() + 999) / 1000, 0);
  deadline_timer = loop.after_ms(delay_ms, [this] {
    deadline_armed = 0;
    std::vector<Action> actions;
    core.on_tick(now_us(), actions);
    act(actions);
  });
}

Agent::Agent(AgentOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Agent::~Agent() = default;

Status Agent::run() {
  if (auto begun = impl_->begin(); !begun) return begun;
  impl_->serve();
  return Unit{};
}

void Agent::request_stop() {
  impl_->loop.post([impl = impl_.get()] { impl->loop.stop(); });
}

}  // namespace berth::agent
