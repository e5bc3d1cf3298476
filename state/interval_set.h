// IntervalSet: a set of positions kept as maximal half-open intervals; the waiting elements of an array. A range of ten
// million is one entry. Operations cost O(log intervals).
#pragma once

#include <cstdint>
#include <map>

namespace berth::state {

class IntervalSet {
 public:
  void insert(std::uint32_t first, std::uint32_t end);  // [first, end), may overlap what is there
  void erase(std::uint32_t first, std::uint32_t end);
  bool contains(std::uint32_t position) const;
  bool empty() const { return size_ == 0; }
  std::uint32_t size() const { return size_; }
  std::uint32_t front() const;  // the smallest; the set is not empty
  // Removes the smallest run of up to `limit` consecutive positions and returns it as [first, end).
  std::pair<std::uint32_t, std::uint32_t> take_front(std::uint32_t limit);
  const std::map<std::uint32_t, std::uint32_t>& intervals() const { return runs_; }  // first -> end
  bool operator==(const IntervalSet&) const = default;

 private:
  std::map<std::uint32_t, std::uint32_t> runs_;
  std::uint32_t size_ = 0;
};

}  // namespace berth::state
