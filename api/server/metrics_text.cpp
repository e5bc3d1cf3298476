#include "api/server/metrics_text.h"

#include <cmath>
#include <fmt/format.h>

namespace berth::server {

namespace {

// In help a quotation mark stands for itself.
void append_escaped(std::string& to, std::string_view text, bool in_label) {
  for (const char c : text) {
    if (c == '\\') {
      to += "\\\\";
    } else if (c == '\n') {
      to += "\\n";
    } else if (c == '"' && in_label) {
      to += "\\\"";
    } else {
      to += c;
    }
  }
}

// Exact: 0.000064, 1.048576, 67.108864.
std::string seconds_of(std::uint64_t us) {
  std::string text = fmt::format("{}.{:06}", us / 1'000'000, us % 1'000'000);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

}  // namespace

void MetricsText::begin(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  text_ += fmt::format("# HELP {} ", name);
  append_escaped(text_, help, false);
  text_ += fmt::format("\n# TYPE {} {}\n", name, type);
}

void MetricsText::line(std::string_view suffix, Labels labels, std::string_view value) {
  text_ += name_;
  text_ += suffix;
  char before = '{';
  for (const auto& [label, is] : labels) {
    text_ += before;
    text_ += label;
    text_ += "=\"";
    append_escaped(text_, is, true);
    text_ += '"';
    before = ',';
  }
  if (before == ',') text_ += '}';
  text_ += ' ';
  text_ += value;
  text_ += '\n';
}

void MetricsText::sample(std::uint64_t value, Labels labels) { line("", labels, fmt::format("{}", value)); }

void MetricsText::sample(double value, Labels labels) {
  if (std::isnan(value)) return line("", labels, "NaN");
  if (std::isinf(value)) return line("", labels, value > 0 ? "+Inf" : "-Inf");
  line("", labels, fmt::format("{}", value));
}

void MetricsText::histogram(const scheduler::Spread& spread, std::size_t first, std::size_t last) {
  std::uint64_t below = 0;
  for (std::size_t power = 0; power < scheduler::Spread::kPowers; ++power) {
    below += spread.counts[power];
    if (power < first || power > last) continue;
    const std::string edge = seconds_of(std::uint64_t{1} << power);
    line("_bucket", {{"le", edge}}, fmt::format("{}", below));
  }
  const std::string count = fmt::format("{}", below);
  line("_bucket", {{"le", "+Inf"}}, count);
  line("_sum", {}, seconds_of(spread.sum_us));
  line("_count", {}, count);
}

}  // namespace berth::server
