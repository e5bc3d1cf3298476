// Figures: named numbers in the order in which they were found, for people as a table and for programs as one flat JSON
// object. A name ends with its unit.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "state/result.h"

namespace berth::tools {

class Figures {
 public:
  void add(std::string name, double value) { rows_.emplace_back(std::move(name), value); }
  const std::vector<std::pair<std::string, double>>& rows() const { return rows_; }
  std::string to_table() const;  // "name   value" lines, numbers right-aligned
  std::string to_json() const;
  state::Status write_json(const std::string& path) const;

 private:
  std::vector<std::pair<std::string, double>> rows_;
};

// The smallest of the values that at least `part` (0 to 1) of them do not exceed; 0 if there are none. Reorders the
// values.
std::int64_t percentile(std::vector<std::int64_t>& values, double part);

}  // namespace berth::tools
