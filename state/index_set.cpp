#include "state/index_set.h"

#include <algorithm>
#include <charconv>

#include "state/text.h"

namespace berth::state {

namespace {

bool read_number(std::string_view& text, std::uint32_t& out) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value > IndexSet::kMaxIndex) return false;
  out = static_cast<std::uint32_t>(value);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

Result<IndexRange> parse_range(std::string_view part) {
  const Error bad = invalid("", shown(part) + " is not a range; accepted: N, N-M or N-M:STEP with N and M from 0 to " +
                                    std::to_string(IndexSet::kMaxIndex));
  IndexRange range;
  std::string_view rest = part;
  if (!read_number(rest, range.first)) return bad;
  range.last = range.first;
  if (take(rest, '-')) {
    if (!read_number(rest, range.last) || range.last < range.first) return bad;
    if (take(rest, ':') && (!read_number(rest, range.step) || range.step == 0)) return bad;
  }
  if (!rest.empty()) return bad;
  range.last = range.first + (range.last - range.first) / range.step * range.step;
  if (range.first == range.last) range.step = 1;
  return range;
}

// "1,2,3-5" is "1-5": neighbours without a gap become one range.
std::vector<IndexRange> joined(const std::vector<IndexRange>& sorted) {
  std::vector<IndexRange> out;
  for (const IndexRange& r : sorted) {
    const bool follows =
        !out.empty() && out.back().step == 1 && r.step == 1 && r.first != 0 && out.back().last == r.first - 1;
    if (follows) {
      out.back().last = r.last;
    } else {
      out.push_back(r);
    }
  }
  return out;
}

}  // namespace

IndexSet IndexSet::dense(std::uint32_t count) {
  IndexSet set;
  set.ranges_ = {{0, count - 1, 1}};
  set.before_ = {0};
  set.size_ = count;
  return set;
}

Result<IndexSet> IndexSet::from_ranges(std::vector<IndexRange> ranges) {
  IndexSet set;
  std::uint64_t size = 0;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const IndexRange& r = ranges[i];
    if (r.step == 0 || r.last < r.first || r.last > kMaxIndex || (r.last - r.first) % r.step != 0) {
      return invalid("", "a range of indexes is malformed");
    }
    if (i != 0 && r.first <= ranges[i - 1].last) {
      return invalid("", "the ranges " + std::to_string(ranges[i - 1].first) + "-" +
                             std::to_string(ranges[i - 1].last) + " and " + std::to_string(r.first) + "-" +
                             std::to_string(r.last) + " overlap");
    }
    set.before_.push_back(static_cast<std::uint32_t>(size));
    size += r.size();
    if (size > kMaxSize) return invalid("", "at most " + std::to_string(kMaxSize) + " indexes are accepted");
  }
  set.ranges_ = std::move(ranges);
  set.size_ = static_cast<std::uint32_t>(size);
  return set;
}

Result<IndexSet> IndexSet::parse(std::string_view text, std::string_view field) {
  const auto named = [&](Error error) {
    error.field = std::string(field);
    return error;
  };
  std::vector<IndexRange> ranges;
  std::string_view rest = text;
  while (true) {
    const std::size_t comma = rest.find(',');
    auto range = parse_range(rest.substr(0, comma));
    if (!range) return named(range.error());
    ranges.push_back(*range);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  std::sort(ranges.begin(), ranges.end(), [](const IndexRange& a, const IndexRange& b) { return a.first < b.first; });
  auto set = from_ranges(joined(ranges));
  if (!set) return named(set.error());
  return set;
}

std::uint32_t IndexSet::at(std::uint32_t position) const {
  const auto after = std::upper_bound(before_.begin(), before_.end(), position);
  const auto i = static_cast<std::size_t>(after - before_.begin()) - 1;
  return ranges_[i].first + (position - before_[i]) * ranges_[i].step;
}

bool IndexSet::find(std::uint32_t index, std::uint32_t& position) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), index,
                                      [](std::uint32_t value, const IndexRange& r) { return value < r.first; });
  if (after == ranges_.begin()) return false;
  const auto i = static_cast<std::size_t>(after - ranges_.begin()) - 1;
  const IndexRange& r = ranges_[i];
  if (index > r.last || (index - r.first) % r.step != 0) return false;
  position = before_[i] + (index - r.first) / r.step;
  return true;
}

std::string IndexSet::to_string() const {
  std::string text;
  for (const IndexRange& r : ranges_) {
    if (!text.empty()) text += ',';
    text += std::to_string(r.first);
    if (r.last == r.first) continue;
    text += '-' + std::to_string(r.last);
    if (r.step != 1) text += ':' + std::to_string(r.step);
  }
  return text;
}

}  // namespace berth::state
