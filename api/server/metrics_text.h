// MetricsText: a page in Prometheus' text format (version 0.0.4).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "scheduler/latency.h"

namespace berth::server {

class MetricsText {
 public:
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  // The samples that follow are of this metric. `type`: counter, gauge or histogram.
  void begin(std::string_view name, std::string_view type, std::string_view help);
  void sample(std::uint64_t value, Labels labels = {});
  void sample(double value, Labels labels = {});
  // A histogram in seconds, with a bucket for each power of two of a microsecond from 2^first to 2^last and one for
  // what is longer.
  void histogram(const scheduler::Spread& spread, std::size_t first, std::size_t last);
  std::string take() { return std::move(text_); }

 private:
  void line(std::string_view suffix, Labels labels, std::string_view value);
  std::string text_, name_;
};

}  // namespace berth::server
