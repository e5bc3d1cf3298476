#include "state/accounts.h"

#include <algorithm>

namespace berth::state {

std::string_view name_of(Limit limit) {
  constexpr std::array<std::string_view, kLimits> kNames = {
      "jobs", "running", "cpus", "memory", "gpus", "job-cpus", "job-memory", "job-gpus", "job-nodes", "job-time"};
  return kNames[static_cast<std::size_t>(limit)];
}

std::string_view name_of(Preempt preempt) {
  constexpr std::array<std::string_view, 4> kNames = {"off", "requeue", "cancel", "queue"};
  return kNames[static_cast<std::size_t>(preempt)];
}

bool is_account_name(std::string_view name) {
  const auto is_plain = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= 64 && is_plain(static_cast<unsigned char>(name[0])) &&
         std::all_of(name.begin(), name.end(),
                     [&](unsigned char c) { return is_plain(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace berth::state
