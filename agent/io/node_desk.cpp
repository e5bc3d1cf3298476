#include "agent/io/node_desk.h"

#include <chrono>
#include <unistd.h>

#include "agent/io/usage.h"

namespace berth::agent {

using namespace state;

void NodeDesk::on_ask(const NodeAsk& ask) {
  if (const auto* images = std::get_if<ImageRequest>(&ask.request)) return on_images(ask, *images);
  on_top(ask, std::get<TopRequest>(ask.request));
}

void NodeDesk::on_images(const NodeAsk& ask, const ImageRequest& request) {
  const std::uint64_t token = ask.token;
  using Action = ImageRequest::Action;
  if (!ask.admin && (request.action == Action::kRemove || request.action == Action::kPrune)) {
    return send_({token, Error{ErrorCode::kDenied, "", "only an administrator may remove images", 0}});
  }
  switch (request.action) {
    case Action::kList:
      return send_({token, ImagePage{parts_.images.rows()}});
    case Action::kRemove: {
      auto gone = parts_.images.remove(request.image);
      if (!gone) return send_({token, gone.error()});
      return send_({token, ImagePage{{*gone}}});
    }
    case Action::kPrune:
      return send_({token, ImagePage{parts_.images.prune(request.unused_ms, request.keep_mib << 20)}});
    case Action::kPull:
      break;
  }
  if (geteuid() != 0) {
    return send_({token, Error{ErrorCode::kUnavailable, "", "containers need an agent that runs as root", 0}});
  }
  parts_.images.get(
      {request.image, ask.owner, request.pull, request.auth_file}, [this, token](Result<ImageHandle> image) {
        if (!image) return send_({token, image.error()});
        const auto row = parts_.images.row((*image)->digest);
        if (!row) {
          return send_({token, invalid("image", "a root file system is used where it is: there is nothing to pull")});
        }
        send_({token, ImagePage{{*row}}});
      });
}

// ---- top ------------------------------------------------------------------------------------------------------------
void NodeDesk::on_top(const NodeAsk& ask, const TopRequest& request) {
  auto looking = std::make_shared<Looking>();
  looking->token = ask.token;
  looking->page.at =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  sample_machine(looking->page);
  for (const AgentPod& pod : parts_.core.known_pods()) {
    const StartOrder* order = parts_.core.order_of(pod.ref);
    if (!pod.running || order == nullptr) continue;
    if (!ask.admin && order->owner.uid != ask.owner.uid) continue;
    if (request.job != JobId{} && order->job != request.job && order->step_of != request.job) continue;
    looking->pods.push_back(pod.ref);
  }
  look(looking);
}

void NodeDesk::look(const std::shared_ptr<Looking>& looking) {
  constexpr std::size_t kPodsATurn = 20;
  for (std::size_t n = 0; n < kPodsATurn && looking->next < looking->pods.size(); ++n) {
    const PodRef& ref = looking->pods[looking->next++];
    const StartOrder* order = parts_.core.order_of(ref);
    const int shim = parts_.runner.shim_of(ref);
    if (order == nullptr || shim == 0) continue;  // has ended meanwhile
    PodTop top;
    top.ref = ref;
    top.index = parts_.core.index_of(ref);
    top.step_of = order->step_of;
    top.step = order->step;
    top.job_name = order->job_name;
    top.user = order->owner.user;
    top.started_at = parts_.core.started_at(ref);
    top.resources = order->resources;
    sample_pod(parts_.cgroups, Layout::pod_name(ref), shim, top);
    looking->page.pods.push_back(std::move(top));
  }
  if (looking->next == looking->pods.size()) return send_({looking->token, std::move(looking->page)});
  parts_.loop.post([this, looking] { look(looking); });
}

}  // namespace berth::agent
