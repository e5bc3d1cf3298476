// Variables that stand for options, as Slurm documents them: SBATCH_PARTITION, SALLOC_PARTITION, SLURM_PARTITION.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tools/slurm/options.h"

namespace berth::tools::slurm {

// Who reads them. A step has what its job has: of what its job was given, which is in its environment too, it reads
// nothing.
enum class Reader : unsigned { kSbatch = 1, kSalloc = 2, kSrun = 4, kStep = 8 };

// Their names, with the options that they stand for; the first of several for an option wins.
std::vector<std::pair<std::string, const char*>> variables_of(Reader reader);
// What the environment says where the command line says nothing. The error names the variable.
state::Status fill_from_environment(const CommandTable& table, Reader reader, Given& given);

}  // namespace berth::tools::slurm
