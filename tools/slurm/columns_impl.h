// The rest of columns.h.
#pragma once

#include "tools/cli/text.h"
#include "tools/slurm/columns.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

template <class R>
std::vector<Column<R>> parse_names(std::string_view format, const std::vector<Field<R>>& fields, std::size_t width,
                                   std::vector<std::string>& unknown) {
  std::vector<Column<R>> columns;
  for (const std::string& part : split(format, ',')) {
    if (part.empty()) continue;
    Column<R> column;
    column.width = width;
    const std::size_t colon = part.find(':');
    const std::string name = lower(part.substr(0, colon));
    if (colon != std::string::npos) {
      std::string_view rest = std::string_view(part).substr(colon + 1);
      if (rest.starts_with('.')) {
        column.right = true;
        rest.remove_prefix(1);
      }
      std::size_t digits = 0, value = 0;
      while (digits < rest.size() && rest[digits] >= '0' && rest[digits] <= '9' && value < 10'000) {
        value = value * 10 + static_cast<std::size_t>(rest[digits++] - '0');
      }
      column.text = rest.substr(digits);
      // A literal without a width stands right behind the value.
      column.width = digits != 0 ? value : column.text.empty() ? width : 0;
    }
    for (const Field<R>& field : fields) {
      if (name == field.name) column.field = &field;
    }
    if (column.field == nullptr) unknown.push_back(part.substr(0, colon));
    columns.push_back(std::move(column));
  }
  return columns;
}

template <class R>
std::string line_of(const std::vector<Column<R>>& columns, const R* record) {
  std::string line;
  for (const Column<R>& column : columns) {
    if (column.field != nullptr) {
      const std::string value = record == nullptr ? column.field->title : column.field->value(*record);
      line += fitted(value, column.width, column.right);
    }
    line += column.text;
  }
  return line + "\n";
}

}  // namespace berth::tools::slurm
