// Files in the form of slurm.conf: lines of Name=value, as Slurm reads them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "state/result.h"

namespace berth::tools::slurm {

struct ConfLine {
  std::string file;
  std::size_t number = 0;
  std::vector<std::pair<std::string, std::string>> fields;  // as they were written; values without their quotes

  // The value of the field of that name in whatever case; "" if there is none.
  std::string get(std::string_view name) const;
  std::string place() const { return file + ":" + std::to_string(number); }
};

// '#' begins a comment, unless it is behind a backslash; a backslash at a line's end joins it with the next; values may
// be in double quotes; Include FILE reads that file, relative to the one that names it. The error names file and line.
state::Result<std::vector<ConfLine>> read_conf(const std::string& path);
// The same of a text; `include` reads what it names.
using IncludeConf = std::function<state::Result<std::vector<ConfLine>>(const std::string& path)>;
state::Result<std::vector<ConfLine>> parse_conf(std::string_view text, const std::string& file,
                                                const IncludeConf& include);

}  // namespace berth::tools::slurm
