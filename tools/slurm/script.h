// What a batch script says of itself: #SBATCH lines (and #PBS, #BSUB where Slurm translates them).
#pragma once

#include <string>
#include <string_view>

#include "tools/slurm/options.h"

namespace berth::tools::slurm {

// A script begins with "#!", is text, and has Unix line ends.
state::Status check_script(std::string_view script);
// Of the comment lines before the first line that is none.
state::Result<Given> script_options(const CommandTable& table, std::string_view script, bool with_pbs);
// A line as a shell would split it: quotes and backslashes; what comes behind a blank and '#' is a comment.
state::Result<std::vector<std::string>> split_words(std::string_view line);

}  // namespace berth::tools::slurm
