// Columns of squeue, sinfo and sacct: what a letter or a name shows of a record, and lines made of them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::tools::slurm {

// What a value is of, where a record stands for several things of the same look.
enum class Of : char { kEach, kRange, kAll };  // any one of them; least to most; their sum or list

template <class R>
struct Field {
  const char* name;  // of -O or --format, in lower case
  char letter;       // of -o; 0: none
  const char* title;
  std::function<std::string(const R&)> value;
  Of of = Of::kEach;
};

template <class R>
struct Column {
  const Field<R>* field = nullptr;  // nullptr: literal text alone
  std::size_t width = 0;            // 0: as wide as it is
  bool right = false;
  std::string text;  // literal, behind it
};

// "%.18i %.9P": letters, with literal text between. An unknown letter is literal, as it stands, and is put into
// `unknown`.
template <class R>
std::vector<Column<R>> parse_letters(std::string_view format, const std::vector<Field<R>>& fields,
                                     std::vector<std::string>& unknown) {
  std::vector<Column<R>> columns;
  const auto literal = [&](std::string_view text) {
    if (columns.empty()) columns.push_back({});
    columns.back().text += text;
  };
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      literal(format.substr(i, 1));
      continue;
    }
    std::size_t at = i + 1;
    Column<R> column;
    if (at < format.size() && format[at] == '.') {
      column.right = true;
      ++at;
    }
    while (at < format.size() && format[at] >= '0' && format[at] <= '9' && column.width < 10'000) {
      column.width = column.width * 10 + static_cast<std::size_t>(format[at++] - '0');
    }
    for (const Field<R>& field : fields) {
      if (at < format.size() && field.letter != 0 && field.letter == format[at]) column.field = &field;
    }
    if (column.field == nullptr) {
      if (at == format.size()) break;  // "%" at the end is nothing
      unknown.emplace_back(format.substr(at, 1));
      literal(format.substr(i, at + 1 - i));
    } else {
      columns.push_back(std::move(column));
    }
    i = at;
  }
  return columns;
}

// "JobID:|,State:.10,Name": names, each with a width (20 where there is none) or a literal behind ':'. `unknown` gets
// the names that are none.
template <class R>
std::vector<Column<R>> parse_names(std::string_view format, const std::vector<Field<R>>& fields, std::size_t width,
                                   std::vector<std::string>& unknown);

}  // namespace berth::tools::slurm

#include "tools/slurm/columns_impl.h"
