#include "tools/cli/progress.h"

#include <algorithm>
#include <cmath>

#include "state/units.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::int64_t kRateWindowMs = 10'000;
constexpr std::size_t kBarLongest = 40;
constexpr std::size_t kBarShortest = 10;

std::string states_text(const JobCounts& counts, std::size_t from) {
  std::string text;
  for (std::size_t i = from; i < kPodStates; ++i) {
    if (counts.by_state[i] == 0) continue;
    text += (text.empty() ? "" : ", ") + std::to_string(counts.by_state[i]) + " " +
            std::string(name_of(static_cast<PodState>(i)));
  }
  return text;
}

}  // namespace

void Progress::update(const JobProgress& progress, std::int64_t now_ms) {
  jobs_[progress.job] = progress;
  sums_ = {};
  total_ = 0;
  for (const auto& [id, job] : jobs_) {
    for (std::size_t i = 0; i < kPodStates; ++i) {
      sums_.by_state[i] += job.counts.by_state[i];
      total_ += job.counts.by_state[i];
    }
  }
  if (samples_.empty() || samples_.back().at_ms + 100 <= now_ms) {
    samples_.push_back({now_ms, ended()});
  }
  while (samples_.size() > 1 && samples_.front().at_ms + kRateWindowMs < now_ms) samples_.pop_front();
}

std::uint64_t Progress::ended() const { return total_ - sums_.active(); }

bool Progress::all_ended(std::size_t jobs) const {
  return jobs_.size() >= jobs &&
         std::all_of(jobs_.begin(), jobs_.end(), [](const auto& entry) { return entry.second.ended; });
}

bool Progress::all_succeeded() const { return count(PodState::kSucceeded) == total_; }

double Progress::rate(std::int64_t now_ms) const {
  if (samples_.empty()) return 0;
  const std::int64_t span_ms = now_ms - samples_.front().at_ms;
  const std::uint64_t done = ended() - std::min(ended(), samples_.front().ended);
  return span_ms < 500 || done == 0 ? 0 : static_cast<double>(done) * 1000 / static_cast<double>(span_ms);
}

std::string Progress::failures() const {
  JobCounts bad = sums_;
  bad.by_state[static_cast<std::size_t>(PodState::kSucceeded)] = 0;
  return states_text(bad, static_cast<std::size_t>(PodState::kSucceeded));
}

std::string Progress::left(std::int64_t now_ms) const {
  const double per_second = rate(now_ms);
  if (per_second <= 0 || ended() == total_) return "";
  const double ms = static_cast<double>(total_ - ended()) / per_second * 1000;
  constexpr double kTooFarMs = 1e12;
  return ms > kTooFarMs ? "" : format_duration_ms(static_cast<std::int64_t>(std::ceil(ms / 1000)) * 1000) + " left";
}

std::string Progress::bar(std::int64_t now_ms, std::size_t width) const {
  const std::uint64_t done = ended();
  std::string tail = " " + std::to_string(done) + "/" + std::to_string(total_);
  tail += "  " + std::to_string(total_ == 0 ? 0 : done * 100 / total_) + "%";
  if (count(PodState::kRunning) != 0) tail += "  " + std::to_string(count(PodState::kRunning)) + " running";
  if (const std::string bad = failures(); !bad.empty()) tail += "  " + bad;
  if (const double per_second = rate(now_ms); per_second > 0) {
    const double shown = per_second < 10 ? std::round(per_second * 10) / 10 : std::round(per_second);
    std::string number = std::to_string(shown);
    number.resize(number.find('.') + (per_second < 10 ? 2 : 0));
    tail += "  " + number + "/s";
  }
  if (const std::string time = left(now_ms); !time.empty()) tail += "  " + time;
  const std::size_t room = width > columns_of(tail) + 2 ? width - columns_of(tail) - 2 : 0;
  const std::size_t cells = std::min(room, kBarLongest);
  if (cells < kBarShortest) return clip(tail.substr(1), width);
  const std::size_t full = total_ == 0 ? 0 : static_cast<std::size_t>(done * cells / total_);
  return "[" + std::string(full, '#') + std::string(cells - full, '.') + "]" + tail;
}

std::string Progress::line() const {
  std::string text = std::to_string(ended()) + " of " + counted(total_, "pod") + " ended";
  if (sums_.live() != 0) text += ", " + std::to_string(sums_.live()) + " running";
  if (count(PodState::kPending) != 0) text += ", " + std::to_string(count(PodState::kPending)) + " waiting";
  if (const std::string bad = failures(); !bad.empty()) text += ", " + bad;
  return text;
}

std::string ended_line(const JobProgress& progress) {
  std::uint64_t pods = 0;
  for (const std::uint32_t count : progress.counts.by_state) pods += count;
  std::string text = "job " + std::to_string(progress.job.value) + " " + std::string(name_of(progress.summary));
  const bool mixed = progress.counts.of(progress.summary) != pods;
  if (pods == 1) return text;
  return text + ": " + (mixed ? states_text(progress.counts, 0) : counted(pods, "pod"));
}

}  // namespace berth::tools
