// PodHealth: the probes of the pods that run here, asked in time; says when a pod is ready, and when it has to end.
// Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/core/probe_schedule.h"
#include "agent/io/pod_input.h"
#include "agent/net/commands.h"
#include "agent/net/prober.h"
#include "state/requests.h"

namespace berth::agent {

class PodHealth {
 public:
  struct Handlers {
    std::function<void(state::PodReadiness)> readiness;
    std::function<void(const state::PodRef&, const std::string& why)> unhealthy;
    std::function<std::string(const state::PodRef&)> address;             // the pod's own; "" is the node's
    std::function<const state::StartOrder*(const state::PodRef&)> order;  // what it was started with
  };
  PodHealth(wire::Loop& loop, const PodContext& context, Handlers handlers);

  // A pod runs. Costs nothing if it has no probes and nobody wants to know whether it is ready.
  void started(const state::PodRef& ref, const state::StartOrder& order, state::TimeUs started_at, bool adopted);
  void stopped(const state::PodRef& ref);  // it ends or has ended
  std::vector<state::PodReadiness> readiness() const { return schedule_.readiness(); }

 private:
  void act(ProbeSchedule::Actions actions);
  void rearm();
  state::Result<Command> in_pod(const state::PodRef& ref, const std::vector<std::string>& argv) const;

  wire::Loop& loop_;
  const PodContext& context_;
  const Handlers handlers_;
  ProbeSchedule schedule_;
  Commands commands_;
  Prober prober_;
  std::shared_ptr<wire::Loop::Timer> timer_;
  state::TimeUs armed_ = 0;
};

}  // namespace berth::agent
