// The latency mode: one job at a time, from its submission to the news that it runs.
#include <chrono>
#include <thread>

#include "tools/load/load_run.h"

namespace berth::tools {

using namespace state;

namespace {

using Clock = std::chrono::steady_clock;

std::int64_t us_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
}

bool has_started(const JobCounts& counts) {
  return counts.active() == 0 || counts.of(PodState::kPending) + counts.of(PodState::kBound) == 0;
}

Status measure_one(client::Client& client, const JobSpec& spec, LatencyResult& result) {
  const Clock::time_point start = Clock::now();
  SubmitRequest request;
  request.jobs.push_back(spec);
  auto submitted = client.call_for<SubmitReply>(std::move(request));
  if (!submitted) return submitted.error();
  if (submitted->jobs.size() != 1)
    return Error{ErrorCode::kProtocol, "", "one job was submitted and not one acknowledged", 0};
  result.ack_us.push_back(us_since(start));
  const JobId id = submitted->jobs[0];
  if (auto sent = client.send(WatchJobsRequest{{id}}); !sent) return sent.error();
  bool started = false;
  for (bool ended = false; !ended;) {
    auto message = client.receive(-1);
    if (!message) return message.error();
    const auto* reply = std::get_if<ServerReply>(&message->body);
    if (reply == nullptr) return Error{ErrorCode::kProtocol, "", "the server sent an unexpected message", 0};
    if (const auto* error = std::get_if<Error>(reply)) return *error;
    const auto* progress = std::get_if<JobProgress>(reply);
    if (progress == nullptr || progress->job != id) continue;
    if (!started && has_started(progress->counts)) {
      started = true;
      result.running_us.push_back(us_since(start));
    }
    ended = progress->ended;
    if (ended && progress->counts.of(PodState::kSucceeded) != 1) ++result.not_succeeded;
  }
  result.ended_us.push_back(us_since(start));
  ++result.jobs;

  ListJobsRequest list;
  list.filter.jobs = {id};
  auto page = client.call_for<JobPage>(std::move(list));
  if (!page) return page.error();
  if (page->rows.size() != 1) return Error{ErrorCode::kInternal, "", "an acknowledged job is unknown to the server", 0};
  if (page->rows[0].started_at != 0) result.row_us.push_back(page->rows[0].started_at - page->rows[0].submitted_at);
  return Unit{};
}

}  // namespace

Result<LatencyResult> measure_latency(client::Client& client, const LoadOptions& options) {
  const JobSpec spec = load_spec(options);
  LatencyResult result;
  const Clock::time_point start = Clock::now();
  const auto over = [&] {
    if (options.pods != 0) return result.jobs == options.pods;
    return Clock::now() - start >= std::chrono::duration<double>(options.seconds);
  };
  while (!over()) {
    if (Status measured = measure_one(client, spec, result); !measured) return measured.error();
  }
  return result;
}

}  // namespace berth::tools
