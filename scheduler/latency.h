// Latency: percentiles of a stream of durations in constant memory: 32 buckets to each power of two, so within 3 %.
// Spread: the same by powers of two alone, small enough to be handed about.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace berth::scheduler {

// counts[i] durations were shorter than 2^i microseconds and not shorter than 2^(i-1); the last has all that were
// longer.
struct Spread {
  static constexpr std::size_t kPowers = 43;
  static std::size_t power_of(std::uint64_t us) {
    const auto power = static_cast<std::size_t>(std::bit_width(us));
    return power < kPowers ? power : kPowers - 1;
  }
  std::array<std::uint64_t, kPowers> counts{};
  std::uint64_t sum_us = 0;
};

class Latency {
 public:
  // So many of the same length.
  void add(std::int64_t us, std::uint64_t times = 1) {
    const std::uint64_t length = us < 0 ? 0 : static_cast<std::uint64_t>(us);
    counts_[bucket_of(length)] += times;
    total_ += times;
    sum_us_ += length * times;
  }
  // The upper edge of the bucket in which the p-th part (0 … 1) of the values ends; 0 if there are none.
  std::uint64_t percentile(double p) const {
    const auto rank = static_cast<std::uint64_t>(p * static_cast<double>(total_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (counts_[i] != 0 && seen > rank) return edge_of(i);
    }
    return total_ == 0 ? 0 : edge_of(counts_.size() - 1);
  }
  Spread spread() const {
    Spread out;
    out.sum_us = sum_us_;
    for (std::size_t i = 0; i < counts_.size(); ++i) out.counts[Spread::power_of(least_of(i))] += counts_[i];
    return out;
  }

 private:
  static constexpr unsigned kSubBits = 5;
  static std::size_t bucket_of(std::uint64_t us) {
    if (us < (1U << kSubBits)) return us;
    const auto shift = static_cast<unsigned>(std::bit_width(us)) - kSubBits - 1;
    const std::size_t bucket = ((shift + 1) << kSubBits) + ((us >> shift) & ((1U << kSubBits) - 1));
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }
  static std::uint64_t least_of(std::size_t bucket) {
    if (bucket < (1U << kSubBits)) return bucket;
    return ((bucket & ((1U << kSubBits) - 1)) | (1U << kSubBits)) << ((bucket >> kSubBits) - 1);
  }
  static std::uint64_t edge_of(std::size_t bucket) {
    if (bucket < (1U << kSubBits)) return bucket;
    const auto shift = (bucket >> kSubBits) - 1;
    return (((bucket & ((1U << kSubBits) - 1)) | (1U << kSubBits)) + 1) << shift;
  }
  static constexpr std::size_t kBuckets = 1200;  // up to 2^42 us, 50 days
  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t total_ = 0, sum_us_ = 0;
};

}  // namespace berth::scheduler
