#include "tools/load/figures.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <memory>

namespace berth::tools {

namespace {

// Whole numbers in full, others with three digits after the point.
std::string format_number(double value) {
  if (std::abs(value - std::round(value)) < 1e-9) return fmt::format("{:.0f}", value);
  return fmt::format("{:.3f}", value);
}

}  // namespace

std::string Figures::to_table() const {
  std::size_t width = 0;
  for (const auto& [name, value] : rows_) width = std::max(width, name.size());
  std::string out;
  for (const auto& [name, value] : rows_) {
    out += fmt::format("  {:<{}}  {:>14}\n", name, width, format_number(value));
  }
  return out;
}

std::string Figures::to_json() const {
  std::string out = "{";
  for (const auto& [name, value] : rows_) {
    out += fmt::format("{}\n  \"{}\": {}", out.size() == 1 ? "" : ",", name, format_number(value));
  }
  return out + "\n}\n";
}

state::Status Figures::write_json(const std::string& path) const {
  const std::string text = to_json();
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "w"), &std::fclose);
  if (!file || std::fwrite(text.data(), 1, text.size(), file.get()) != text.size() || std::fflush(file.get()) != 0) {
    return state::invalid("--json", "cannot write '" + path + "'");
  }
  return state::Unit{};
}

std::int64_t percentile(std::vector<std::int64_t>& values, double part) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::size_t>(std::ceil(part * static_cast<double>(values.size())));
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::clamp<std::size_t>(rank, 1, values.size()) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace berth::tools
