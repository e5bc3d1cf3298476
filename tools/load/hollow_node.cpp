#include "tools/load/hollow_node.h"

#include <algorithm>
#include <csignal>

namespace berth::tools {

using namespace state;

PodEnd HollowNode::end_of(const PodRef& ref, const Entry& entry) {
  PodEnd end;
  end.ref = ref;
  end.outcome.state = entry.state;
  end.outcome.signal = entry.signal;
  end.outcome.exit_code = entry.exit_code;
  end.outcome.attempt = static_cast<std::uint16_t>(ref.attempt);
  end.outcome.started_at = entry.started_at;
  end.outcome.ended_at = entry.ended_at;
  return end;
}

void HollowNode::on_start(const StartPods& request, TimeUs now, std::int64_t pod_time_us, AgentStatus& report,
                          std::vector<Due>& dues, HollowTotals& totals) {
  std::size_t pods = 0;
  for (const StartOrder& order : request.orders) pods += order.pods.size();
  report.starts.reserve(report.starts.size() + pods);
  if (pod_time_us == 0) report.ends.reserve(report.ends.size() + pods);

  for (const StartOrder& order : request.orders) {
    const std::int64_t limit_us = order.time_limit_ms * 1000;
    const bool limited = limit_us != 0 && limit_us < pod_time_us;
    const bool replica = order.replica.of != ServiceId{};  // of a service: runs until it is stopped
    for (const PodToStart& pod : order.pods) {
      const PodRef ref{{order.job, pod.element}, pod.attempt};
      const auto [at, made] = pods_.try_emplace(ref);
      if (!made) {
        ++totals.repeated;
        continue;
      }
      Entry& entry = at->second;
      entry.gpu_mask = pod.gpu_mask;
      entry.started_at = now;
      entry.limited = limited;
      ++totals.started;
      report.starts.push_back({ref, now});
      entry.replica = replica;
      if (replica) {
        ++running_;
        report.readiness.push_back({ref, true, {}, {}});
      } else if (pod_time_us == 0) {
        entry.state = PodState::kSucceeded;
        entry.ended_at = now;
        ++totals.ended;
        report.ends.push_back(end_of(ref, entry));
      } else {
        ++running_;
        dues.push_back({ref, now + (limited ? limit_us : pod_time_us)});
      }
    }
  }
}

void HollowNode::on_stop(const StopPods& request, TimeUs now, AgentStatus& report, HollowTotals& totals) {
  for (const PodStop& stop : request.stops) {
    const auto [at, unknown] = pods_.try_emplace(stop.ref);
    Entry& entry = at->second;
    if (entry.ended_at != 0) continue;  // told before, and kept until the server has it
    if (!unknown) --running_;
    entry.state = stop.stop_state;
    entry.exit_code = -1;
    entry.signal = unknown ? std::uint8_t{0} : static_cast<std::uint8_t>(SIGTERM);
    entry.ended_at = now;
    ++totals.stopped;
    report.ends.push_back(end_of(stop.ref, entry));
  }
}

void HollowNode::on_forget(const ForgetPods& request, HollowTotals& totals) {
  for (const PodRef& ref : request.pods) {
    const auto at = pods_.find(ref);
    if (at == pods_.end()) continue;
    if (at->second.ended_at == 0) --running_;  // the server wants to know no more of it
    pods_.erase(at);
    ++totals.forgotten;
  }
}

void HollowNode::on_due(const PodRef& ref, TimeUs now, AgentStatus& report, HollowTotals& totals) {
  const auto at = pods_.find(ref);
  if (at == pods_.end() || at->second.ended_at != 0) return;
  Entry& entry = at->second;
  --running_;
  entry.ended_at = now;
  if (entry.limited) {
    entry.state = PodState::kTimedOut;
    entry.signal = static_cast<std::uint8_t>(SIGTERM);
    entry.exit_code = -1;
    ++totals.timed_out;
  } else {
    entry.state = PodState::kSucceeded;
    ++totals.ended;
  }
  report.ends.push_back(end_of(ref, entry));
}

std::vector<AgentPod> HollowNode::known_pods() const {
  std::vector<AgentPod> out;
  out.reserve(pods_.size());
  for (const auto& [ref, entry] : pods_) {
    out.push_back({ref, entry.ended_at == 0, entry.gpu_mask, entry.started_at});
  }
  std::sort(out.begin(), out.end(), [](const AgentPod& a, const AgentPod& b) { return a.ref < b.ref; });
  return out;
}

AgentStatus HollowNode::unacknowledged() const {
  AgentStatus out;
  for (const auto& [ref, entry] : pods_) {
    if (entry.ended_at != 0) {
      out.ends.push_back(end_of(ref, entry));
    } else if (entry.replica) {
      out.readiness.push_back({ref, true, {}, {}});
    }
  }
  std::sort(out.readiness.begin(), out.readiness.end(),
            [](const PodReadiness& a, const PodReadiness& b) { return a.ref < b.ref; });
  std::sort(out.ends.begin(), out.ends.end(), [](const PodEnd& a, const PodEnd& b) { return a.ref < b.ref; });
  return out;
}

bool HollowNode::is_running(const PodRef& ref) const {
  if (ref.attempt != 0) {
    const auto at = pods_.find(ref);
    return at != pods_.end() && at->second.ended_at == 0;
  }
  return std::any_of(pods_.begin(), pods_.end(),
                     [&](const auto& known) { return known.first.pod == ref.pod && known.second.ended_at == 0; });
}

}  // namespace berth::tools
