#include "agent/core/node_core.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <span>

#include "state/units.h"

namespace berth::agent {

using namespace state;

namespace {

PodRef ref_of(const StartOrder& order, const PodToStart& pod) { return {{order.job, pod.element}, pod.attempt}; }

// A warning that is late by more was sent by the agent that ran before this one.
constexpr TimeUs kWarnedBeforeUs = 10'000'000;

std::string signal_message(int signal) {
  const char* name = sigabbrev_np(signal);
  std::string text = "killed by signal " + std::to_string(signal);
  if (name != nullptr) text += std::string(" (SIG") + name + ")";
  return text;
}

std::string memory_message(const StartOrder* order, std::uint32_t peak_mib) {
  std::string text = "killed: out of memory";
  if (order != nullptr && order->resources.mem_mib != 0) text += ", limit " + format_mem_mib(order->resources.mem_mib);
  return text + ", peak " + format_mem_mib(peak_mib);
}

std::string limit_message(const StartOrder& order) {
  return "over its time limit of " + format_duration_ms(order.time_limit_ms);
}

// An agent that died after it had stopped the pod took the reason with it.
std::string unhealthy_message(const std::string& why) { return why.empty() ? "a probe of the pod failed" : why; }

PodEnd end_of(const PodRef& ref, PodState state, TimeUs started_at, TimeUs ended_at, std::string message) {
  PodEnd end;
  end.ref = ref;
  end.outcome.state = state;
  end.outcome.exit_code = -1;
  end.outcome.attempt = static_cast<std::uint16_t>(ref.attempt);
  end.outcome.started_at = started_at;
  end.outcome.ended_at = ended_at;
  end.message = std::move(message);
  return end;
}

Action status_of(PodEnd end) {
  SendStatus send;
  send.status.ends.push_back(std::move(end));
  return send;
}

// It ended by the signal that would have ended it, when its time was over: an agent that died meanwhile had sent it.
bool ended_by_limit(const StartOrder& order, const ShimEnded& report) {
  return order.time_limit_ms > 0 && (report.signal == SIGTERM || report.signal == SIGKILL) &&
         report.ended_at - report.started_at >= order.time_limit_ms * 1000;
}

}  // namespace

void NodeCore::set_deadline(const PodRef& ref, Entry& entry, TimeUs at) {
  if (entry.deadline != 0) deadlines_.erase({entry.deadline, ref});
  entry.deadline = at;
  if (at != 0) deadlines_.emplace(at, ref);
}

// A launch that cannot be read fails in the shell, with a message of its own; its times do not matter then.
void NodeCore::read_launch(const StartOrder& order, Entry& entry) {
  const auto launch = decode_launch(std::as_bytes(std::span(order.launch)));
  if (!launch) return;
  entry.grace_ms = std::max<std::int64_t>(launch->grace_ms, 0);
  entry.warn_ms = launch->warn_ms;
  entry.warn_signal = launch->warn_signal;
}

void NodeCore::set_time_limit(const PodRef& ref, Entry& entry) {
  if (entry.started_at == 0 || entry.stop || entry.order->time_limit_ms <= 0) return;
  const std::int64_t before_ms = entry.warn_signal != 0 ? std::min(entry.warn_ms, entry.order->time_limit_ms) : 0;
  set_deadline(ref, entry, entry.started_at + (entry.order->time_limit_ms - before_ms) * 1000);
}

void NodeCore::adopt(const StartOrder& order, const PodToStart& pod, TimeUs started_at, std::optional<StopMark> stop) {
  const PodRef ref = ref_of(order, pod);
  auto [at, fresh] = pods_.try_emplace(ref);
  if (!fresh) return;
  Entry& entry = at->second;
  auto shared = std::make_shared<StartOrder>(order);
  shared->pods.clear();
  entry.order = std::move(shared);
  entry.pod = pod;
  read_launch(order, entry);
  entry.started_at = started_at;
  entry.phase = started_at == 0 ? Phase::kLaunching : Phase::kRunning;
  entry.stop = stop;
  ++live_;
  if (stop) {
    set_deadline(ref, entry, stop->at + entry.grace_ms * 1000);
  } else {
    set_time_limit(ref, entry);
  }
}

void NodeCore::on_start(const StartPods& request, TimeUs now, std::vector<Action>& out) {
  (void)now;
  for (const StartOrder& order : request.orders) {
    std::shared_ptr<const StartOrder> shared;
    Entry read;
    for (const PodToStart& pod : order.pods) {
      const PodRef ref = ref_of(order, pod);
      auto [at, fresh] = pods_.try_emplace(ref);
      Entry& entry = at->second;
      if (!fresh) {  // sent again: say again what became of it
        SendStatus again;
        if (entry.phase == Phase::kRunning) again.status.starts.push_back({ref, entry.started_at});
        if (entry.phase == Phase::kEnded) again.status.ends.push_back(entry.end);
        if (entry.phase != Phase::kLaunching) out.push_back(std::move(again));
        continue;
      }
      if (!shared) {
        auto copy = std::make_shared<StartOrder>(order);
        copy->pods.clear();
        shared = std::move(copy);
        read_launch(order, read);
      }
      entry.order = shared;
      entry.pod = pod;
      entry.grace_ms = read.grace_ms;
      entry.warn_ms = read.warn_ms;
      entry.warn_signal = read.warn_signal;
      ++live_;
      out.push_back(LaunchPod{ref, shared, pod});
    }
  }
}

void NodeCore::stop(const PodRef& ref, Entry& entry, PodState as, TimeUs now, std::vector<Action>& out) {
  entry.stop = StopMark{as, now};
  out.push_back(SignalPod{ref, SIGTERM, *entry.stop});
  set_deadline(ref, entry, now + entry.grace_ms * 1000);
}

void NodeCore::on_stop(const StopPods& request, TimeUs now, std::vector<Action>& out) {
  for (const PodStop& wanted : request.stops) {
    auto [at, fresh] = pods_.try_emplace(wanted.ref);
    Entry& entry = at->second;
    if (fresh) {
      entry.phase = Phase::kEnded;
      entry.end = end_of(wanted.ref, wanted.stop_state, 0, now, "");
      out.push_back(status_of(entry.end));
    } else if (entry.phase == Phase::kEnded) {
      out.push_back(status_of(entry.end));
    } else if (!entry.stop) {
      stop(wanted.ref, entry, wanted.stop_state, now, out);
    }
  }
}

void NodeCore::on_unhealthy(const PodRef& ref, const std::string& why, TimeUs now, std::vector<Action>& out) {
  const auto at = pods_.find(ref);
  if (at == pods_.end() || at->second.phase != Phase::kRunning || at->second.stop) return;
  at->second.unhealthy = why;
  stop(ref, at->second, PodState::kFailed, now, out);
}

void NodeCore::on_forget(const ForgetPods& request, std::vector<Action>& out) {
  for (const PodRef& ref : request.pods) {
    const auto at = pods_.find(ref);
    if (at == pods_.end() || at->second.phase != Phase::kEnded) continue;
    pods_.erase(at);
    out.push_back(DiscardPod{ref});
  }
}

void NodeCore::on_shim(const ShimStarted& report, TimeUs now, std::vector<Action>& out) {
  (void)now;
  const auto at = pods_.find(report.ref);
  if (at == pods_.end() || at->second.phase != Phase::kLaunching) return;
  Entry& entry = at->second;
  entry.phase = Phase::kRunning;
  entry.started_at = report.started_at;
  set_time_limit(report.ref, entry);
  SendStatus send;
  send.status.starts.push_back({report.ref, report.started_at});
  out.push_back(std::move(send));
}

void NodeCore::finish(const PodRef& ref, Entry& entry, PodEnd end, std::vector<Action>& out) {
  set_deadline(ref, entry, 0);
  entry.phase = Phase::kEnded;
  entry.end = std::move(end);
  --live_;
  out.push_back(status_of(entry.end));
}

void NodeCore::on_shim(const ShimEnded& report, TimeUs now, std::vector<Action>& out) {
  const auto at = pods_.find(report.ref);
  if (at == pods_.end() || at->second.phase == Phase::kEnded) return;
  Entry& entry = at->second;
  const TimeUs started_at = report.started_at != 0 ? report.started_at : entry.started_at;
  const TimeUs ended_at = report.ended_at != 0 ? report.ended_at : now;
  PodEnd end = end_of(report.ref, PodState::kFailed, started_at, ended_at, "");
  PodOutcome& outcome = end.outcome;
  outcome.mem_peak_mib = report.mem_peak_mib;
  end.use = report.use;
  outcome.signal = static_cast<std::uint8_t>(report.signal);
  // As a shell counts it; -1 stays for what never ran.
  outcome.exit_code = static_cast<std::int16_t>(report.signal != 0 ? 128 + report.signal : report.exit_code);
  // One that ended by itself before it was told to stop counts as it ended.
  const bool stopped = entry.stop && ended_at >= entry.stop->at;
  if (report.oom_killed) {
    outcome.state = PodState::kOutOfMemory;
    end.message = memory_message(entry.order.get(), report.mem_peak_mib);
  } else if (stopped) {
    outcome.state = entry.stop->state;
    if (outcome.state == PodState::kTimedOut) end.message = limit_message(*entry.order);
    if (outcome.state == PodState::kFailed) end.message = unhealthy_message(entry.unhealthy);
  } else if (!report.failure.empty()) {
    outcome.exit_code = -1;
    end.message = report.failure;
  } else if (ended_by_limit(*entry.order, report)) {
    outcome.state = PodState::kTimedOut;
    end.message = limit_message(*entry.order);
  } else if (report.signal != 0) {
    end.message = signal_message(report.signal);
  } else if (report.exit_code == 0) {
    outcome.state = PodState::kSucceeded;
  }
  finish(report.ref, entry, std::move(end), out);
}

void NodeCore::on_shim(const ShimVanished& report, TimeUs now, std::vector<Action>& out) {
  const auto at = pods_.find(report.ref);
  if (at == pods_.end() || at->second.phase == Phase::kEnded) return;
  Entry& entry = at->second;
  PodEnd end = report.rebooted ? end_of(report.ref, PodState::kNodeLost, entry.started_at, now, "the node rebooted")
                               : end_of(report.ref, PodState::kFailed, entry.started_at, now, "the pod's shim died");
  if (entry.stop && !report.rebooted) {
    end.outcome.state = entry.stop->state;
    end.message = entry.stop->state == PodState::kTimedOut ? limit_message(*entry.order)
                  : entry.stop->state == PodState::kFailed ? unhealthy_message(entry.unhealthy)
                                                           : "";
  }
  finish(report.ref, entry, std::move(end), out);
}

void NodeCore::on_tick(TimeUs now, std::vector<Action>& out) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const PodRef ref = deadlines_.begin()->second;
    const TimeUs due = deadlines_.begin()->first;
    Entry& entry = pods_.at(ref);
    set_deadline(ref, entry, 0);
    if (entry.stop) {
      out.push_back(SignalPod{ref, SIGKILL, *entry.stop});
    } else if (entry.warn_signal != 0) {
      if (now - due < kWarnedBeforeUs) out.push_back(WarnPod{ref, entry.warn_signal});
      entry.warn_signal = 0;
      set_time_limit(ref, entry);
    } else {
      stop(ref, entry, PodState::kTimedOut, now, out);
    }
  }
}

std::optional<TimeUs> NodeCore::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

std::vector<AgentPod> NodeCore::known_pods() const {
  std::vector<AgentPod> pods;
  pods.reserve(pods_.size());
  for (const auto& [ref, entry] : pods_) {
    pods.push_back({ref, entry.phase != Phase::kEnded, entry.pod.gpu_mask, entry.started_at,
                    entry.phase == Phase::kEnded ? Pinning{} : entry.pod.pinning});
  }
  return pods;
}

AgentStatus NodeCore::unacknowledged() const {
  AgentStatus status;
  for (const auto& [ref, entry] : pods_) {
    if (entry.phase == Phase::kEnded) status.ends.push_back(entry.end);
  }
  return status;
}

NodeCore::Phase NodeCore::phase(PodRef ref) const {
  const auto at = pods_.find(ref);
  return at == pods_.end() ? Phase::kUnknown : at->second.phase;
}

std::optional<PodRef> NodeCore::latest_attempt(PodId pod) const {
  auto at = pods_.upper_bound(PodRef{pod, ~std::uint32_t{0}});
  if (at == pods_.begin()) return std::nullopt;
  --at;
  if (at->first.pod != pod) return std::nullopt;
  return at->first;
}

const StartOrder* NodeCore::order_of(PodRef ref) const {
  const auto at = pods_.find(ref);
  return at == pods_.end() ? nullptr : at->second.order.get();
}

std::uint32_t NodeCore::index_of(PodRef ref) const {
  const auto at = pods_.find(ref);
  return at == pods_.end() ? 0 : at->second.pod.index;
}

TimeUs NodeCore::started_at(PodRef ref) const {
  const auto at = pods_.find(ref);
  return at == pods_.end() ? 0 : at->second.started_at;
}

}  // namespace berth::agent
