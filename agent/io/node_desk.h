// NodeDesk: answers what is asked of the node itself: its images, and what its pods use. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "agent/core/node_core.h"
#include "agent/io/images.h"
#include "agent/io/pod_runner.h"
#include "state/node_requests.h"

namespace berth::agent {

class NodeDesk {
 public:
  using Send = std::function<void(state::NodeAnswer)>;
  struct Parts {
    wire::Loop& loop;
    ImageStore& images;
    const NodeCore& core;
    const PodRunner& runner;
    const Cgroups& cgroups;
  };
  NodeDesk(const Parts& parts, Send send) : parts_(parts), send_(std::move(send)) {}

  void on_ask(const state::NodeAsk& ask);

 private:
  // Pods are looked at some at a time, between other things that the loop has to do.
  struct Looking {
    std::uint64_t token = 0;
    std::vector<state::PodRef> pods;
    std::size_t next = 0;
    state::TopPage page;
  };
  void on_images(const state::NodeAsk& ask, const state::ImageRequest& request);
  void on_top(const state::NodeAsk& ask, const state::TopRequest& request);
  void look(const std::shared_ptr<Looking>& looking);

  const Parts parts_;
  const Send send_;
};

}  // namespace berth::agent
