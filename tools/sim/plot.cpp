#include "tools/sim/plot.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

namespace berth::tools {

namespace {

constexpr int kWidth = 900, kHeight = 150, kLeft = 70, kTop = 34, kGap = 46;
constexpr std::size_t kPoints = 900;  // of a curve: what is between two is shown by its mean

// The mean of a step function in each of kPoints equal spans.
std::vector<double> means(const std::map<std::int64_t, std::int64_t>& changes, std::int64_t from, std::int64_t to) {
  std::vector<double> sums(kPoints, 0);
  const double span = std::max(1.0, static_cast<double>(to - from)) / static_cast<double>(kPoints);
  std::int64_t value = 0, since = from;
  const auto add = [&](std::int64_t until) {
    double at = static_cast<double>(since - from);
    const double end = static_cast<double>(until - from);
    while (at < end) {
      const auto point = std::min(kPoints - 1, static_cast<std::size_t>(at / span));
      const double next = point + 1 == kPoints ? end : std::min(end, static_cast<double>(point + 1) * span);
      sums[point] += static_cast<double>(value) * (next - at);
      if (next <= at) break;
      at = next;
    }
    since = until;
  };
  for (const auto& [at, change] : changes) {
    if (at > since) add(std::min(at, to));
    value += change;
  }
  if (since < to) add(to);
  for (double& sum : sums) sum /= span;
  return sums;
}

std::string time_label(double seconds) {
  return seconds >= 2 * 86'400 ? fmt::format("{:.0f} d", seconds / 86'400) : fmt::format("{:.1f} h", seconds / 3600);
}

void chart(std::string& svg, int top, const std::string& title, const std::vector<double>& values, double most,
           double span_s, const char* colour) {
  const int left = kLeft, bottom = top + kHeight;
  svg += fmt::format("<text x=\"{}\" y=\"{}\" font-weight=\"bold\">{}</text>\n", left, top - 8, title);
  for (int i = 0; i <= 2; ++i) {
    const double y = bottom - kHeight * i / 2.0;
    svg += fmt::format(
        "<path d=\"M{} {:.1f}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.0f}</text>\n",
        left, y, left + kWidth, left - 6, y + 4, most * i / 2);
  }
  for (int i = 0; i <= 4; ++i) {
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", left + kWidth * i / 4, bottom + 16,
                       time_label(span_s * i / 4));
  }
  std::string path = fmt::format("M{} {}", left, bottom);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double x = left + static_cast<double>(i) * kWidth / static_cast<double>(values.size());
    path += fmt::format("L{:.1f} {:.1f}", x, bottom - kHeight * std::min(1.0, values[i] / most));
  }
  svg += fmt::format("<path d=\"{}L{} {}Z\" fill=\"{}\"/>\n", path, left + kWidth, bottom, colour);
}

}  // namespace

std::string plot_svg(const JobLog& log, const SimCluster& cluster, const std::vector<PlottedRun>& runs) {
  const std::int64_t from = log.jobs.empty() ? 0 : log.jobs.front().submit_s;
  std::int64_t to = from + 1;
  for (const PlottedRun& run : runs) {
    for (std::size_t i = 0; i < log.jobs.size(); ++i) to = std::max(to, run.result->starts_s[i] + log.jobs[i].run_s);
  }
  std::vector<std::vector<double>> used, waiting;
  double most_waiting = 1;
  for (const PlottedRun& run : runs) {
    std::map<std::int64_t, std::int64_t> processors, jobs;
    for (std::size_t i = 0; i < log.jobs.size(); ++i) {
      const LogJob& job = log.jobs[i];
      const std::int64_t start = run.result->starts_s[i];
      processors[start] += job.procs;
      processors[start + job.run_s] -= job.procs;
      ++jobs[job.submit_s];
      --jobs[start];
    }
    used.push_back(means(processors, from, to));
    waiting.push_back(means(jobs, from, to));
    most_waiting = std::max(most_waiting, *std::max_element(waiting.back().begin(), waiting.back().end()));
  }
  const int row = 2 * (kHeight + kGap);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      kLeft + kWidth + 30, kTop + row * static_cast<int>(runs.size()));
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const int top = kTop + row * static_cast<int>(i);
    const double span = static_cast<double>(to - from);
    chart(svg, top, runs[i].name + ": processors in use", used[i], static_cast<double>(cluster.total()), span,
          "#4878a8");
    chart(svg, top + kHeight + kGap, runs[i].name + ": jobs that wait", waiting[i], most_waiting, span, "#c8803c");
  }
  return svg + "</svg>\n";
}

}  // namespace berth::tools
