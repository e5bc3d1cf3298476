// PodNetworks: where pods get a network of their own from, as those see it who start them. agent/net has the real one.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "state/ids.h"
#include "state/result.h"

namespace berth::agent {

struct PodNetwork {
  std::string netns;               // the network namespace, as a file
  std::string address;             // of the pod
  std::string resolv_conf, hosts;  // files that the pod is to find in /etc
};

// The network namespace of a pod.
std::string pod_netns_path(const std::string& instance, const std::string& pod_name);

class PodNetworks {
 public:
  using Attached = std::function<void(state::Result<std::shared_ptr<const PodNetwork>>)>;
  virtual ~PodNetworks() = default;
  // `host_name` is what the pod calls itself; `space` decides which names it finds first.
  virtual void attach(const state::PodRef& ref, const std::string& host_name, const std::string& space,
                      Attached handler) = 0;
  virtual void release(const state::PodRef& ref) = 0;  // a pod that has none is no matter
};

}  // namespace berth::agent
