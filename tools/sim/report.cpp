#include "tools/sim/report.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>

namespace berth::tools {

namespace {

constexpr double kShortestRun = 10;  // seconds: what a run counts as at least in a slowdown

Spread spread_of(std::vector<double>& values) {
  if (values.empty()) return {};
  Spread spread;
  for (const double value : values) spread.mean += value;
  spread.mean /= static_cast<double>(values.size());
  const auto at = [&](double part) {
    const auto rank = static_cast<std::size_t>(part * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rank), values.end());
    return values[rank];
  };
  spread.p50 = at(0.50);
  spread.p95 = at(0.95);
  spread.most = *std::max_element(values.begin(), values.end());
  return spread;
}

template <class KeyOf>
std::map<std::uint32_t, Group> grouped(const JobLog& log, const SimResult& result, KeyOf&& key_of) {
  std::map<std::uint32_t, Group> groups;
  for (std::size_t i = 0; i < log.jobs.size(); ++i) {
    Group& group = groups[key_of(log.jobs[i])];
    ++group.jobs;
    group.wait_s += static_cast<double>(result.starts_s[i] - log.jobs[i].submit_s);
    group.slowdown += bounded_slowdown(log.jobs[i], result.starts_s[i]);
  }
  for (auto& [key, group] : groups) {
    group.wait_s /= static_cast<double>(group.jobs);
    group.slowdown /= static_cast<double>(group.jobs);
  }
  return groups;
}

}  // namespace

double bounded_slowdown(const LogJob& job, std::int64_t start_s) {
  const double run = job.run_s;
  const double wait = static_cast<double>(start_s - job.submit_s);
  return std::max(1.0, (wait + run) / std::max(run, kShortestRun));
}

SimFigures figures_of(const JobLog& log, const SimCluster& cluster, const SimResult& result) {
  SimFigures figures;
  figures.jobs = log.jobs.size();
  if (log.jobs.empty()) return figures;
  std::vector<double> waits, slowdowns;
  waits.reserve(log.jobs.size());
  slowdowns.reserve(log.jobs.size());
  double used = 0;
  std::int64_t last = 0;
  for (std::size_t i = 0; i < log.jobs.size(); ++i) {
    const LogJob& job = log.jobs[i];
    const std::int64_t start = result.starts_s[i];
    waits.push_back(static_cast<double>(start - job.submit_s));
    slowdowns.push_back(bounded_slowdown(job, start));
    used += static_cast<double>(job.procs) * job.run_s;
    last = std::max(last, start + job.run_s);
    if (job.wait_s < 0) continue;
    ++figures.in_log;
    if (job.submit_s + job.wait_s == start) ++figures.as_in_log;
  }
  figures.wait_s = spread_of(waits);
  figures.slowdown = spread_of(slowdowns);
  const double span = static_cast<double>(last - log.jobs.front().submit_s);
  figures.utilisation_pct = span <= 0 ? 0 : 100 * used / (span * static_cast<double>(cluster.total()));
  return figures;
}

std::map<std::uint32_t, Group> by_user(const JobLog& log, const SimResult& result) {
  return grouped(log, result, [](const LogJob& job) { return job.user; });
}

std::map<std::uint32_t, Group> by_group(const JobLog& log, const SimResult& result) {
  return grouped(log, result, [](const LogJob& job) { return job.group; });
}

std::map<std::uint32_t, Group> by_size(const JobLog& log, const SimResult& result) {
  return grouped(log, result, [](const LogJob& job) { return std::bit_ceil(job.procs); });
}

std::string jobs_csv(const JobLog& log, const SimResult& result) {
  std::string out = "id,user,processors,limit_s,submit_s,start_s,end_s,wait_s,bounded_slowdown,group\n";
  for (std::size_t i = 0; i < log.jobs.size(); ++i) {
    const LogJob& job = log.jobs[i];
    const std::int64_t start = result.starts_s[i];
    fmt::format_to(std::back_inserter(out), "{},{},{},{},{},{},{},{},{:.4f},{}\n", job.id, job.user, job.procs,
                   job.limit_s, job.submit_s, start, start + job.run_s, start - job.submit_s,
                   bounded_slowdown(job, start), job.group);
  }
  return out;
}

}  // namespace berth::tools
