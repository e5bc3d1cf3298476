#include "agent/net/pod_health.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <unistd.h>

#include "agent/io/clock.h"
#include "agent/io/pod_file.h"

namespace berth::agent {

using namespace state;

namespace {

Error cannot(std::string message) { return Error{ErrorCode::kUnavailable, "probe", std::move(message), 0}; }

// Joins the groups named before "--" and becomes the command behind it.
constexpr const char* kJoinGroups =
    "while [ \"$1\" != -- ]; do echo 0 > \"$1\" || exit 126; shift; done; shift; exec \"$@\"";

}  // namespace

PodHealth::PodHealth(wire::Loop& loop, const PodContext& context, Handlers handlers)
    : loop_(loop),
      context_(context),
      handlers_(std::move(handlers)),
      commands_(loop),
      prober_(
          loop, commands_, [this](const PodRef& ref, const auto& argv) { return in_pod(ref, argv); },
          [this](const PodRef& ref, ProbeRole role, const ProbeAnswer& answer) {
            ProbeSchedule::Actions actions;
            schedule_.on_answer(ref, role, answer, now_us(), actions);
            act(std::move(actions));
          }) {}

void PodHealth::started(const PodRef& ref, const StartOrder& order, TimeUs started_at, bool adopted) {
  const bool report = order.replica.of != ServiceId{};
  const auto launch = decode_launch(std::as_bytes(std::span(order.launch)));
  if (!launch || (!report && !launch->probe_start && !launch->probe_ready && !launch->probe_live)) return;
  WatchedPod pod;
  pod.ref = ref;
  pod.start = launch->probe_start;
  pod.ready = launch->probe_ready;
  pod.live = launch->probe_live;
  pod.address = launch->network == NetworkMode::kPods ? handlers_.address(ref) : "";
  pod.report = report;
  pod.adopted = adopted;
  pod.started_at = started_at;
  ProbeSchedule::Actions actions;
  schedule_.add(std::move(pod), now_us(), actions);
  act(std::move(actions));
}

void PodHealth::stopped(const PodRef& ref) {
  if (schedule_.size() == 0) return;
  schedule_.remove(ref);
  rearm();
}

void PodHealth::act(ProbeSchedule::Actions actions) {
  for (ProbeAction& action : actions) {
    if (auto* ask = std::get_if<AskPod>(&action)) {
      prober_.ask(std::move(*ask));
    } else if (auto* tell = std::get_if<TellReadiness>(&action)) {
      handlers_.readiness(std::move(tell->readiness));
    } else if (const auto* end = std::get_if<EndUnhealthy>(&action)) {
      handlers_.unhealthy(end->ref, end->why);
    }
  }
  rearm();
}

void PodHealth::rearm() {
  const TimeUs at = schedule_.next_deadline().value_or(0);
  if (at == armed_) return;
  armed_ = at;
  if (at == 0) return timer_.reset();
  timer_ = loop_.after_ms(std::max<std::int64_t>((at - now_us() + 999) / 1000, 0), [this] {
    armed_ = 0;
    ProbeSchedule::Actions actions;
    schedule_.on_tick(now_us(), actions);
    act(std::move(actions));
  });
}

// In the pod's control groups, so that what the command uses is the pod's and that it ends with the pod; as the pod's
// user. A container's runtime knows how to get into its container; it runs where the pod's shim sees the file systems.
Result<Command> PodHealth::in_pod(const PodRef& ref, const std::vector<std::string>& argv) const {
  const StartOrder* order = handlers_.order(ref);
  if (order == nullptr) return cannot("the pod is gone");
  const auto launch = decode_launch(std::as_bytes(std::span(order->launch)));
  if (!launch) return launch.error();
  const std::string name = Layout::pod_name(ref);
  Command command;
  command.argv = {"/bin/sh", "-c", kJoinGroups, "sh"};
  if (context_.cgroups->usable()) {
    const GroupPlan plan = context_.cgroups->plan(name, order->resources, launch->driver == Driver::kOci ? "run" : "");
    for (const std::string& join : plan.join) command.argv.push_back(join);
    if (!plan.join_at_birth.empty()) command.argv.push_back(plan.join_at_birth + "/cgroup.procs");
  }
  command.argv.emplace_back("--");
  const auto add = [&](std::initializer_list<std::string> words) {
    command.argv.insert(command.argv.end(), words.begin(), words.end());
  };
  if (launch->driver == Driver::kOci) {
    const auto facts = read_pod_facts(context_.layout->pod(ref));
    if (!facts || facts->shim_pid <= 0) return cannot("the pod is gone");
    const std::string bundle = context_.layout->bundle(ref), root = bundle + "/runtime";
    const std::string id = inner_group(context_, name);
    const bool crun = access((root + "/" + id + "/status").c_str(), F_OK) == 0;  // runc's is state.json
    add({"nsenter", "--mount=/proc/" + std::to_string(facts->shim_pid) + "/ns/mnt", "--", crun ? "crun" : "runc",
         "--root", root});
    if (crun) add({"--cgroup-manager=disabled"});
    add({"exec", id});
    command.argv.insert(command.argv.end(), argv.begin(), argv.end());
    command.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
    return command;
  }
  command.env = launch->env;
  if (std::none_of(command.env.begin(), command.env.end(),
                   [](const auto& line) { return line.starts_with("PATH="); })) {
    command.env.emplace_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  }
  if (geteuid() == 0) {
    if (launch->network == NetworkMode::kPods)
      add({"nsenter", "--net=" + pod_netns_path(context_.instance, name), "--"});
    const Owner& owner = order->owner;
    std::string groups;
    for (const std::uint32_t group : owner.groups) groups += (groups.empty() ? "" : ",") + std::to_string(group);
    add({"setpriv", "--reuid=" + std::to_string(owner.uid), "--regid=" + std::to_string(owner.gid),
         groups.empty() ? "--clear-groups" : "--groups=" + groups, "--"});
  }
  command.argv.insert(command.argv.end(), argv.begin(), argv.end());
  return command;
}

}  // namespace berth::agent
