#include "scheduler/queue_policy.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace berth::scheduler {

using state::TimeUs;

namespace {

constexpr double kForget = 0.7;  // what the last run but one weighs beside the last
constexpr TimeUs kSecond = 1'000'000;
constexpr TimeUs kUnknown = 3600 * kSecond;
constexpr double kRankDelay = 30'000.0 * kSecond;  // docs/adr/010 has what was tried

constexpr std::array<QueuePolicy, 4> kPolicies{{
    {"default", "expected short jobs first within bounds, with backfill", true, false, true},
    {"easy", "by arrival, with EASY backfill", true, false, false},
    {"easy-sjbf", "by arrival, with EASY backfill, the shortest limit first", true, true, false},
    {"fcfs", "strictly by arrival: nobody overtakes", false, false, false},
}};

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * 0x9e3779b97f4a7c15ULL ^ (b + 0x7f4a7c159e3779b9ULL) * 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 31;
  x *= 0x94d049bb133111ebULL;
  return x ^ x >> 29;
}

}  // namespace

std::span<const QueuePolicy> queue_policies() { return kPolicies; }
const QueuePolicy& default_queue_policy() { return kPolicies[0]; }
const QueuePolicy* find_queue_policy(std::string_view name) {
  const auto found = std::find_if(kPolicies.begin(), kPolicies.end(), [&](const auto& p) { return p.name == name; });
  return found == kPolicies.end() ? nullptr : &*found;
}

state::Result<const QueuePolicy*> parse_queue_policy(std::string_view name, const std::string& field) {
  if (const QueuePolicy* policy = find_queue_policy(name)) return policy;
  std::string names;
  for (const QueuePolicy& policy : kPolicies) names += (names.empty() ? "" : ", ") + std::string(policy.name);
  return state::invalid(field, "there is no policy of that name; accepted: " + names);
}

Predictor::Seen& Predictor::Table::at(std::uint64_t key) {
  if (const auto found = young_.find(key); found != young_.end()) return found->second;
  if (young_.size() == kYoungMax) {
    old_ = std::move(young_);
    young_.clear();
  }
  Seen seen;
  if (const auto found = old_.find(key); found != old_.end()) seen = found->second;
  return young_.emplace(key, seen).first->second;
}

const Predictor::Seen* Predictor::Table::find(std::uint64_t key) const {
  if (const auto found = young_.find(key); found != young_.end()) return &found->second;
  const auto found = old_.find(key);
  return found == old_.end() ? nullptr : &found->second;
}

std::array<std::uint64_t, 3> Predictor::keys_of(const JobShape& shape) {
  const std::uint64_t user = mix(shape.uid, 1);
  const std::uint64_t with_limit = mix(user, static_cast<std::uint64_t>(shape.limit_us) + 1);
  return {mix(with_limit, shape.cpu_milli + 1), with_limit, user};
}

void Predictor::ended(const JobShape& shape, TimeUs run_us) {
  for (const std::uint64_t key : keys_of(shape)) {
    Seen& seen = seen_.at(key);
    seen.sum = seen.sum * kForget + static_cast<double>(run_us);
    seen.weight = seen.weight * kForget + 1;
  }
}

TimeUs Predictor::expect(const JobShape& shape) const {
  const TimeUs most = shape.limit_us != 0 ? shape.limit_us : kUnknown;
  for (const std::uint64_t key : keys_of(shape)) {
    const Seen* seen = seen_.find(key);
    if (seen == nullptr) continue;
    const auto mean = static_cast<TimeUs>(seen->sum / seen->weight);
    return std::max(kSecond, shape.limit_us != 0 ? std::min(mean, most) : mean);
  }
  return most;
}

std::int64_t rank(const QueuePolicy& policy, const JobShape& shape, const Predictor& predictor) {
  if (!policy.by_size) return shape.submitted_at;
  const double expected_s = static_cast<double>(predictor.expect(shape)) / kSecond;
  return shape.submitted_at + static_cast<std::int64_t>(kRankDelay * std::log(std::max(1.0, expected_s)));
}

}  // namespace berth::scheduler
