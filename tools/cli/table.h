// Table: rows of text in aligned columns, streamed. Widths come from the first rows; a later value that is wider pushes
// its line aside rather than being cut. On a terminal the last column is cut at the edge.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tools/cli/output.h"
#include "tools/cli/terminal.h"

namespace berth::tools {

struct Cell {
  std::string text;
  Colour colour = Colour::kNone;
};

struct TableColumn {
  std::string title;
  bool right = false;  // numbers
};

class Table {
 public:
  // `width` 0: lines are never cut.
  Table(Output& out, std::vector<TableColumn> columns, std::size_t width)
      : out_(out), columns_(std::move(columns)), width_(width) {}
  void add(std::vector<Cell> row);
  void finish();  // writes what is held back; without any row, the titles alone

 private:
  static constexpr std::size_t kMeasuredRows = 1000;
  void measure();
  void write(const std::vector<Cell>& row, bool title);

  Output& out_;
  std::vector<TableColumn> columns_;
  std::size_t width_;
  std::vector<std::size_t> widths_;
  std::vector<std::vector<Cell>> held_;
  bool measured_ = false;
};

}  // namespace berth::tools
