#include "tools/load/load_command.h"

#include <cstdio>
#include <fmt/format.h>
#include <utility>

#include "tools/cli/command.h"
#include "tools/load/figures.h"

namespace berth::tools {

using namespace state;

namespace {

void add_percentiles(Figures& figures, const std::string& name, std::vector<std::int64_t>& us) {
  for (const auto& [label, part] : {std::pair{"p50", 0.50}, {"p99", 0.99}}) {
    figures.add(fmt::format("{}_{}_ms", name, label), static_cast<double>(percentile(us, part)) / 1000);
  }
}

int print(const Figures& figures, const std::string& json) {
  fmt::print("{}", figures.to_table());
  std::fflush(stdout);
  if (json.empty()) return 0;
  const Status written = figures.write_json(json);
  return written ? 0 : report(written.error());
}

int run_throughput(client::Client& client, const LoadOptions& options, const std::string& json) {
  LoadRun run(client, options);
  auto done = run.run();
  if (!done) return report(done.error());
  LoadResult& result = *done;
  const bool arrays = options.mode == LoadOptions::Mode::kArrays;
  const auto rate = [](std::uint64_t count, double seconds) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
  };
  Figures figures;
  figures.add("jobs_acknowledged", static_cast<double>(result.jobs_acknowledged));
  figures.add("pods_acknowledged", static_cast<double>(result.pods_acknowledged));
  figures.add("pods_ended", static_cast<double>(result.pods_ended));
  figures.add("pods_succeeded", static_cast<double>(result.pods_succeeded));
  figures.add("submit_retries", static_cast<double>(result.retries));
  figures.add("submit_acks_per_s", rate(result.frames, result.submit_s));
  figures.add("submitted_jobs_per_s", rate(result.jobs_acknowledged, result.submit_s));
  figures.add(arrays ? "arrays_pods_per_s" : "singles_jobs_per_s", rate(result.pods_ended, result.total_s));
  add_percentiles(figures, "submit_ack", result.ack_us);
  figures.add("run_s", result.total_s);
  const int printed = print(figures, json);
  fmt::print("  outcome {:016x}: {}\n", result.outcome_hash,
             result.exact() ? "every acknowledged pod ended exactly once" : "the counts are wrong");
  std::fflush(stdout);
  if (printed != 0) return printed;
  if (!result.exact()) {
    return report(Error{ErrorCode::kInternal, "",
                        fmt::format("{} of {} acknowledged jobs are wrong; the first: {}", result.jobs_wrong,
                                    result.jobs_acknowledged, result.first_wrong),
                        0});
  }
  if (result.pods_succeeded != result.pods_ended) {
    return report(Error{
        ErrorCode::kInternal, "",
        fmt::format("{} of {} pods did not succeed", result.pods_ended - result.pods_succeeded, result.pods_ended), 0});
  }
  return 0;
}

int run_latency(client::Client& client, const LoadOptions& options, const std::string& json) {
  auto done = measure_latency(client, options);
  if (!done) return report(done.error());
  LatencyResult& result = *done;
  Figures figures;
  figures.add("jobs", static_cast<double>(result.jobs));
  figures.add("jobs_not_succeeded", static_cast<double>(result.not_succeeded));
  add_percentiles(figures, "submit_ack", result.ack_us);
  add_percentiles(figures, "submit_to_running_seen", result.running_us);
  add_percentiles(figures, "submit_to_ended_seen", result.ended_us);
  add_percentiles(figures, "submit_to_started_row", result.row_us);
  const int printed = print(figures, json);
  if (printed != 0) return printed;
  if (result.not_succeeded == 0) return 0;
  return report(Error{ErrorCode::kInternal, "",
                      fmt::format("{} of {} jobs did not succeed", result.not_succeeded, result.jobs), 0});
}

}  // namespace

int run_bench_load(const client::ClientOptions& server, const LoadOptions& options, const std::string& json) {
  auto client = client::Client::connect(server);
  if (!client) return report(client.error());
  return options.mode == LoadOptions::Mode::kLatency ? run_latency(**client, options, json)
                                                     : run_throughput(**client, options, json);
}

}  // namespace berth::tools
