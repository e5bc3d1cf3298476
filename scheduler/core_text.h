// Small pieces of the sentences that the core says to people.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "placement/engine.h"
#include "state/records.h"

namespace berth::scheduler {

// Of one page of a list: what it holds, and the records looked at for it, whether or not they match.
inline constexpr std::uint32_t kRowsMax = 10'000;
inline constexpr std::uint32_t kScanMax = 50'000;

// Nothing that would break a table or a terminal.
inline bool is_line(std::string_view text, std::size_t max) {
  return text.size() <= max &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
}

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

// As users write it: "afterok:12", "afterany:12_3".
inline std::string dependency_text(const state::Dependency& on) {
  std::string text(state::name_of(on.kind));
  if (on.job != state::JobId{}) text += ":" + std::to_string(on.job.value);
  return on.index ? text + "_" + std::to_string(*on.index) : text;
}

}  // namespace berth::scheduler
