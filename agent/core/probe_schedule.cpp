#include "agent/core/probe_schedule.h"

#include <algorithm>

namespace berth::agent {

using namespace state;

std::string_view name_of(ProbeRole role) {
  switch (role) {
    case ProbeRole::kStart:
      return "start-up";
    case ProbeRole::kReady:
      return "readiness";
    case ProbeRole::kLive:
      break;
  }
  return "liveness";
}

const std::optional<Probe>& ProbeSchedule::probe_of(const Entry& entry, ProbeRole role) {
  return role == ProbeRole::kStart ? entry.pod.start : role == ProbeRole::kReady ? entry.pod.ready : entry.pod.live;
}

void ProbeSchedule::arm(const PodRef& ref, Entry& entry, ProbeRole role, TimeUs at) {
  Asking& asking = entry.asking[static_cast<int>(role)];
  const auto number = static_cast<std::uint8_t>(role);
  if (asking.due != 0) due_.erase({asking.due, ref, number});
  asking.due = at;
  if (at != 0) due_.emplace(at, ref, number);
}

void ProbeSchedule::add(WatchedPod pod, TimeUs now, Actions& out) {
  const PodRef ref = pod.ref;
  const auto [at, fresh] = pods_.try_emplace(ref);
  if (!fresh) return;
  Entry& entry = at->second;
  entry.pod = std::move(pod);
  if (entry.pod.start) {
    // One that ran before is not waited for again.
    const TimeUs from = entry.pod.started_at + entry.pod.start->delay_ms * 1000;
    arm(ref, entry, ProbeRole::kStart, std::max(from, now));
    if (!entry.pod.adopted) set_ready(entry, false, "its start-up probe has not been good yet", out);
    return;
  }
  begin(ref, entry, now, out);
}

// The start-up probe is through, or there is none.
void ProbeSchedule::begin(const PodRef& ref, Entry& entry, TimeUs now, Actions& out) {
  entry.started = true;
  for (const ProbeRole role : {ProbeRole::kReady, ProbeRole::kLive}) {
    const auto& probe = probe_of(entry, role);
    if (probe) arm(ref, entry, role, std::max(entry.pod.started_at + probe->delay_ms * 1000, now));
  }
  if (!entry.pod.ready) {
    set_ready(entry, true, "", out);
  } else if (!entry.pod.adopted) {
    set_ready(entry, false, "its readiness probe has not been good yet", out);
  }
}

void ProbeSchedule::set_ready(Entry& entry, bool ready, std::string message, Actions& out) {
  if (entry.ready == ready) return;
  entry.ready = ready;
  entry.message = std::move(message);
  if (entry.pod.report) out.push_back(TellReadiness{{entry.pod.ref, ready, entry.pod.address, entry.message}});
}

void ProbeSchedule::remove(const PodRef& ref) {
  const auto at = pods_.find(ref);
  if (at == pods_.end()) return;
  for (const ProbeRole role : {ProbeRole::kStart, ProbeRole::kReady, ProbeRole::kLive}) arm(ref, at->second, role, 0);
  pods_.erase(at);
}

void ProbeSchedule::end(Entry& entry, ProbeRole role, const std::string& why, Actions& out) {
  const std::uint32_t times = entry.asking[static_cast<int>(role)].bad;
  entry.ended = true;
  for (const ProbeRole each : {ProbeRole::kStart, ProbeRole::kReady, ProbeRole::kLive}) {
    arm(entry.pod.ref, entry, each, 0);
  }
  std::string line = std::string(name_of(role)) + " probe failed" +
                     (times == 1 ? ": " : " " + std::to_string(times) + " times: ") + why;
  set_ready(entry, false, line, out);
  out.push_back(EndUnhealthy{entry.pod.ref, std::move(line)});
}

void ProbeSchedule::on_answer(const PodRef& ref, ProbeRole role, const ProbeAnswer& answer, TimeUs now, Actions& out) {
  const auto at = pods_.find(ref);
  if (at == pods_.end() || at->second.ended) return;
  Entry& entry = at->second;
  const auto& probe = probe_of(entry, role);
  if (!probe) return;
  Asking& asking = entry.asking[static_cast<int>(role)];
  asking.good = answer.good ? asking.good + 1 : 0;
  asking.bad = answer.good ? 0 : asking.bad + 1;
  const bool failed = asking.bad >= probe->failures;
  if (role == ProbeRole::kStart) {
    if (failed) return end(entry, role, answer.message, out);
    if (answer.good) return begin(ref, entry, now, out);
  } else if (role == ProbeRole::kLive) {
    if (failed) return end(entry, role, answer.message, out);
  } else if (answer.good && asking.good >= probe->successes) {
    set_ready(entry, true, "", out);
  } else if (failed) {
    set_ready(entry, false, "readiness probe failed: " + answer.message, out);
  }
  arm(ref, entry, role, std::max(asking.asked_at + probe->period_ms * 1000, now));
}

void ProbeSchedule::on_tick(TimeUs now, Actions& out) {
  while (!due_.empty() && std::get<0>(*due_.begin()) <= now) {
    const auto [at, ref, number] = *due_.begin();
    const auto role = static_cast<ProbeRole>(number);
    Entry& entry = pods_.at(ref);
    arm(ref, entry, role, 0);
    entry.asking[number].asked_at = now;
    out.push_back(AskPod{ref, role, *probe_of(entry, role), entry.pod.address});
  }
}

std::optional<TimeUs> ProbeSchedule::next_deadline() const {
  if (due_.empty()) return std::nullopt;
  return std::get<0>(*due_.begin());
}

std::vector<PodReadiness> ProbeSchedule::readiness() const {
  std::vector<PodReadiness> all;
  for (const auto& [ref, entry] : pods_) {
    if (entry.pod.report && entry.ready) all.push_back({ref, *entry.ready, entry.pod.address, entry.message});
  }
  return all;
}

}  // namespace berth::agent
