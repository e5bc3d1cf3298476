#include "state/interval_set.h"

#include <algorithm>

namespace berth::state {

void IntervalSet::insert(std::uint32_t first, std::uint32_t end) {
  if (first >= end) return;
  auto it = runs_.upper_bound(first);
  if (it != runs_.begin() && std::prev(it)->second >= first) --it;  // the run before touches or overlaps
  while (it != runs_.end() && it->first <= end) {
    first = std::min(first, it->first);
    end = std::max(end, it->second);
    size_ -= it->second - it->first;
    it = runs_.erase(it);
  }
  runs_.emplace(first, end);
  size_ += end - first;
}

void IntervalSet::erase(std::uint32_t first, std::uint32_t end) {
  if (first >= end) return;
  auto it = runs_.upper_bound(first);
  if (it != runs_.begin() && std::prev(it)->second > first) --it;
  while (it != runs_.end() && it->first < end) {
    const auto [run_first, run_end] = *it;
    it = runs_.erase(it);
    size_ -= run_end - run_first;
    if (run_first < first) {
      runs_.emplace(run_first, first);
      size_ += first - run_first;
    }
    if (run_end > end) {
      runs_.emplace(end, run_end);
      size_ += run_end - end;
    }
  }
}

bool IntervalSet::contains(std::uint32_t position) const {
  const auto it = runs_.upper_bound(position);
  return it != runs_.begin() && std::prev(it)->second > position;
}

std::uint32_t IntervalSet::front() const { return runs_.begin()->first; }

std::pair<std::uint32_t, std::uint32_t> IntervalSet::take_front(std::uint32_t limit) {
  const auto [first, end] = *runs_.begin();
  const std::uint32_t until = end - first > limit ? first + limit : end;
  erase(first, until);
  return {first, until};
}

}  // namespace berth::state
