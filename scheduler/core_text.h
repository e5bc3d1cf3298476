// Small pieces of the sentences that the core says to people.
#pragma once

#include <cstdint>
#include <string>

#include "placement/engine.h"

namespace berth::scheduler {

inline std::string plural(std::uint64_t n, const std::string& one, const std::string& many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

// "12 by free cpu, 3 by node drained"
inline std::string join_counts(const placement::Refusal& refusal) {
  std::string text;
  for (const auto& count : refusal.counts) {
    text += (text.empty() ? "" : ", ") + std::to_string(count.nodes) + " by " + count.constraint;
  }
  return text;
}

}  // namespace berth::scheduler
