// What the core counts as it goes, and how it stands.
#include "scheduler/core_impl.h"

namespace berth::scheduler {

using namespace state;

void Core::Impl::waits(const Job& job, std::uint64_t pods) {
  waiting_pods_ += pods;
  waiting_by_queue_[job.spec.queue] += pods;
}

void Core::Impl::waits_no_more(const Job& job, std::uint64_t pods) {
  waiting_pods_ -= pods;
  waiting_by_queue_[job.spec.queue] -= pods;
}

// The effects from `from` on are what the request came to.
void Core::Impl::count_reply(const ClientCommand& command, std::size_t from) {
  std::size_t outcome = 0;
  for (std::size_t i = from; i < effects_.size(); ++i) {
    const auto* given = std::get_if<Reply>(&effects_[i]);
    const auto* error = given == nullptr ? nullptr : std::get_if<Error>(&given->body);
    if (error != nullptr && given->to == command.reply_to) outcome = static_cast<std::size_t>(error->code);
  }
  ++requests_[command.request.index()][outcome];
}

Figures Core::Impl::figures() const {
  Figures out;
  out.requests = requests_;
  out.submit_to_bind = bind_latency_.spread();
  out.bind_to_start = bound_latency_.spread();
  out.submit_to_start = start_latency_.spread();
  out.journal_index = cluster_.applied_index();
  out.jobs = cluster_.jobs().size();
  out.jobs_ended = cluster_.ended_jobs().size();
  out.pods_pending = waiting_pods_;
  out.pods_running = running_pods_;
  out.pods_bound = cluster_.live_pods().size() - running_pods_;
  for (const auto& [name, queue] : cluster_.queues()) {
    const auto waiting = waiting_by_queue_.find(name);
    out.queues.emplace_back(name, waiting == waiting_by_queue_.end() ? 0 : waiting->second);
  }
  for (const auto& [id, node] : cluster_.nodes()) {
    auto& count = session_of(id) != 0 ? out.nodes_connected : out.nodes_away;
    ++count[static_cast<std::size_t>(node.state)];
  }
  out.services = cluster_.services().size();
  for (const auto& [id, service] : cluster_.services()) {
    const Services::Counts counts = services_.counts_of(service);
    out.replicas_wanted += counts.wanted;
    out.replicas_running += counts.running;
    out.replicas_ready += counts.ready;
  }
  return out;
}

}  // namespace berth::scheduler
