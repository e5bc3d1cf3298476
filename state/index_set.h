// IndexSet: the array indexes a user names ("1-1000", "0-99:2", "1,3,7-9"), ordered, without duplicates, kept as ranges
// so that ten million indexes cost what one does. A position counts the indexes from 0 in ascending order.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::state {

struct IndexRange {
  std::uint32_t first = 0;
  std::uint32_t last = 0;  // inclusive; last = first + k * step
  std::uint32_t step = 1;
  bool operator==(const IndexRange&) const = default;
  std::uint32_t size() const { return (last - first) / step + 1; }
};

class IndexSet {
 public:
  static constexpr std::uint32_t kMaxSize = 10'000'000;
  static constexpr std::uint32_t kMaxIndex = 4'000'000'000U;

  IndexSet() = default;
  static IndexSet dense(std::uint32_t count);  // 0 … count-1; count ≥ 1
  // Accepts RANGE[,RANGE…] with RANGE = N | N-M | N-M:STEP. Ranges may be given in any order but may not overlap.
  // An error names `field` and the bad part.
  static Result<IndexSet> parse(std::string_view text, std::string_view field);
  // Builds from ranges as decoded from the wire or a journal: checks order, overlap and size.
  static Result<IndexSet> from_ranges(std::vector<IndexRange> ranges);

  std::uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::uint32_t at(std::uint32_t position) const;                 // position < size()
  bool find(std::uint32_t index, std::uint32_t& position) const;  // false if the index is not in the set
  const std::vector<IndexRange>& ranges() const { return ranges_; }
  std::string to_string() const;  // canonical: parse(to_string()) is the same set
  bool operator==(const IndexSet&) const = default;

 private:
  std::vector<IndexRange> ranges_;     // ascending, disjoint (the hulls do not overlap)
  std::vector<std::uint32_t> before_;  // positions before each range
  std::uint32_t size_ = 0;
};

}  // namespace berth::state
