#include "tools/cli/table.h"

#include <algorithm>

#include "tools/cli/text.h"

namespace berth::tools {

void Table::add(std::vector<Cell> row) {
  for (Cell& cell : row) cell.text = printable(cell.text);
  if (measured_) return write(row, false);
  held_.push_back(std::move(row));
  if (held_.size() == kMeasuredRows) measure();
}

void Table::finish() {
  if (!measured_) measure();
  out_.flush();
}

void Table::measure() {
  measured_ = true;
  std::vector<Cell> titles;
  for (const TableColumn& column : columns_) {
    widths_.push_back(columns_of(column.title));
    titles.push_back({column.title, Colour::kBold});
  }
  for (const auto& row : held_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], columns_of(row[i].text));
  }
  write(titles, true);
  for (const auto& row : held_) write(row, false);
  held_.clear();
}

void Table::write(const std::vector<Cell>& row, bool title) {
  std::string line;
  std::size_t at = 0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    const bool last = i + 1 == row.size();
    std::string text = row[i].text;
    if (last && width_ != 0) text = clip(text, width_ > at ? width_ - at : 1);
    const std::size_t columns = columns_of(text);
    const std::string pad(widths_[i] > columns ? widths_[i] - columns : 0, ' ');
    const std::string shown = title ? coloured(text, Colour::kBold) : coloured(text, row[i].colour);
    if (columns_[i].right) line += pad;
    line += shown;
    at += std::max(columns, widths_[i]) + 2;
    if (!last) line += (columns_[i].right ? "" : pad) + "  ";
  }
  while (line.ends_with(' ')) line.pop_back();
  out_.write(line + "\n");
}

}  // namespace berth::tools
