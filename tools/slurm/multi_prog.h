// srun --multi-prog: a file that says which task runs what, as one shell script for all of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::tools::slurm {

// Lines "TASKS PROGRAM ARGUMENTS…": tasks are numbers and ranges ("0,4-6"), or * for those that no line names. In the
// words %t is the task and %o its place among the line's tasks. A line ends without '\' before its end; '#' begins a
// comment. The script finds its task in $SLURM_PROCID. The error is one line, and every task has to have a program.
state::Result<std::string> multi_prog_script(std::string_view text, std::uint32_t tasks);

// The command line of every task: a shell with that script. `path` is the file.
state::Result<std::vector<std::string>> multi_prog_words(const std::string& path, std::uint32_t tasks);

}  // namespace berth::tools::slurm
