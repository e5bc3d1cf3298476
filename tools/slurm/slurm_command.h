// The berth binary by another name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace berth::tools {

bool is_slurm_command(std::string_view name);  // "sbatch", "squeue", …
int run_slurm_command(std::string_view name, std::vector<std::string> words);

}  // namespace berth::tools
