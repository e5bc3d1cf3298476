// How jobs, pods, nodes, queues and tokens are listed: as a table, as a wide one, or as JSON. One table of columns a
// kind of row; JSON has everything that the server tells, times in microseconds since 1970 and null where there is
// none.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "state/requests.h"
#include "tools/cli/command.h"
#include "tools/cli/json.h"
#include "tools/cli/table.h"

namespace berth::tools {

enum class Format : std::uint8_t { kTable, kWide, kJson };
// Adds -o/--output table|wide|json to a command.
void add_format_option(CLI::App* command, std::string& text, bool wide = true);
Format format_of(const std::string& text);

template <class Row>
struct Column {
  const char* title;
  bool right;
  bool wide;  // only in the wide table
  Cell (*cell)(const Row& row, state::TimeUs now);
};

struct PodOfJob {  // a row that knows whose it is
  state::JobId job;
  bool single = false;  // the only pod of its job
  state::PodRow row;
};

const std::vector<Column<state::JobRow>>& columns_for(const state::JobRow*);
const std::vector<Column<PodOfJob>>& columns_for(const PodOfJob*);
const std::vector<Column<state::NodeRow>>& columns_for(const state::NodeRow*);
const std::vector<Column<state::Queue>>& columns_for(const state::Queue*);
const std::vector<Column<state::LicenceRow>>& columns_for(const state::LicenceRow*);
const std::vector<Column<state::Token>>& columns_for(const state::Token*);
const std::vector<Column<state::QosRow>>& columns_for(const state::QosRow*);
const std::vector<Column<state::PriorityRow>>& columns_for(const state::PriorityRow*);
const std::vector<Column<state::ServiceRow>>& columns_for(const state::ServiceRow*);
void write_fields(JsonWriter& json, const state::JobRow& row);
void write_fields(JsonWriter& json, const PodOfJob& row);
void write_fields(JsonWriter& json, const state::NodeRow& row);
void write_fields(JsonWriter& json, const state::Queue& row);
void write_fields(JsonWriter& json, const state::LicenceRow& row);
void write_fields(JsonWriter& json, const state::Token& row);
void write_fields(JsonWriter& json, const state::QosRow& row);
void write_fields(JsonWriter& json, const state::PriorityRow& row);
void write_fields(JsonWriter& json, const state::ServiceRow& row);

// A listing of rows of one kind, written as they come.
template <class Row>
class Listing {
 public:
  // `width` 0: lines are never cut.
  Listing(Output& out, Format format, state::TimeUs now, std::size_t width)
      : json_(out), format_(format), now_(now), out_(out) {
    if (format == Format::kJson) {
      json_.begin_array();
      return;
    }
    std::vector<TableColumn> titles;
    for (const auto& column : columns_for(static_cast<const Row*>(nullptr))) {
      if (shown(column)) titles.push_back({column.title, column.right});
    }
    table_.emplace(out, std::move(titles), format == Format::kTable ? width : 0);
  }
  void add(const Row& row) {
    if (format_ == Format::kJson) {
      json_.begin_object();
      write_fields(json_, row);
      json_.end_object();
      return;
    }
    std::vector<Cell> cells;
    for (const auto& column : columns_for(&row)) {
      if (shown(column)) cells.push_back(column.cell(row, now_));
    }
    table_->add(std::move(cells));
  }
  void finish() {
    if (format_ == Format::kJson) {
      json_.end_array();
      json_.end_document();
    } else {
      table_->finish();
    }
    out_.flush();
  }

 private:
  bool shown(const Column<Row>& column) const { return format_ == Format::kWide || !column.wide; }

  JsonWriter json_;
  Format format_;
  state::TimeUs now_;
  Output& out_;
  std::optional<Table> table_;
};

state::TimeUs clock_us();     // since 1970
std::size_t listing_width();  // the terminal's, or 0
Cell state_cell(state::PodState state);
std::string signal_name(int number);  // "SIGKILL"
std::string kind_name(state::JobKind kind);
void write_resources(JsonWriter& json, const state::Resources& resources);
void write_countables(JsonWriter& json, const char* key, const std::vector<state::Countable>& list);
void write_counts(JsonWriter& json, const state::JobCounts& counts);

}  // namespace berth::tools
