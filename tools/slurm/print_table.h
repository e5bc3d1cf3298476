// Tables as sshare and sacctmgr print them: columns of fixed widths under dashes, or with '|' between (-P) or behind
// (-p). A value that is too long ends with '+'.
#pragma once

#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"
#include "state/units.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/slurm/options.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

template <class R>
struct TableField {
  const char* name;  // as it is asked for, of which `least` letters are enough
  std::size_t least;
  int width;  // below 0: to the left
  const char* title;
  std::function<std::string(const R&)> value;
};

struct TableStyle {
  bool header = true;
  bool parsable = false;
  bool trailing = false;  // '|' behind the last one, too

  static TableStyle of(const Given& given) {
    const bool between = given.has("parsable2");
    return {!given.has("noheader"), between || given.has("parsable"), !between};
  }
};

template <class R>
struct TableColumn {
  const TableField<R>* field;
  int width;
};

// "Account%30,User": the field of that very name, or the first that begins so. The error's message ends with the name.
template <class R>
state::Result<std::vector<TableColumn<R>>> table_columns(std::string_view format,
                                                         const std::vector<TableField<R>>& fields,
                                                         const std::string& unknown) {
  std::vector<TableColumn<R>> columns;
  for (const std::string& part : split(format, ',')) {
    if (part.empty()) continue;
    const std::size_t percent = part.find('%');
    const std::string name = lower(part.substr(0, percent));
    const TableField<R>* found = nullptr;
    for (const TableField<R>& field : fields) {
      const std::string whole = lower(field.name);
      if (whole == name) {
        found = &field;
        break;
      }
      if (found == nullptr && name.size() >= field.least && whole.starts_with(name)) found = &field;
    }
    if (found == nullptr) return state::Error{state::ErrorCode::kInvalid, "", unknown + part.substr(0, percent), 0};
    int width = found->width;
    if (percent != std::string::npos) {
      const auto number = state::parse_integer(part.substr(percent + 1), "format", -10'000, 10'000);
      if (!number || *number == 0) {
        return state::Error{state::ErrorCode::kInvalid, "", "Invalid width in " + part, 0};
      }
      width = static_cast<int>(*number);
    }
    columns.push_back({found, width});
  }
  return columns;
}

// Columns point into the fields.
template <class R>
state::Result<std::vector<TableColumn<R>>> table_columns(std::string_view format, std::vector<TableField<R>>&& fields,
                                                         const std::string& unknown) = delete;

template <class R>
void write_table_line(Output& out, const std::vector<TableColumn<R>>& columns, const TableStyle& style,
                      const std::function<std::string(const TableColumn<R>&)>& text) {
  std::string line;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    std::string value = text(columns[i]);
    if (style.parsable) {
      line += value + (i + 1 < columns.size() || style.trailing ? "|" : "");
      continue;
    }
    const auto width = static_cast<std::size_t>(std::abs(columns[i].width));
    if (value.size() > width) value = value.substr(0, width - 1) + "+";
    line += fitted(value, width, columns[i].width > 0) + " ";
  }
  out.write(line + "\n");
}

template <class R>
void write_table(Output& out, const std::vector<TableColumn<R>>& columns, const TableStyle& style,
                 const std::vector<R>& rows) {
  if (style.header) {
    write_table_line<R>(out, columns, style, [](const TableColumn<R>& c) { return std::string(c.field->title); });
  }
  if (style.header && !style.parsable) {
    write_table_line<R>(out, columns, style, [](const TableColumn<R>& c) {
      return std::string(static_cast<std::size_t>(std::abs(c.width)), '-');
    });
  }
  for (const R& row : rows) {
    write_table_line<R>(out, columns, style, [&](const TableColumn<R>& c) { return c.field->value(row); });
  }
}

}  // namespace berth::tools::slurm
