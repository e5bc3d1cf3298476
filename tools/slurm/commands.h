// The commands. Each takes the words behind its name and returns an exit code.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/cli/command.h"
#include "tools/slurm/options.h"

namespace berth::tools::slurm {

using Words = std::vector<std::string>;

int sbatch(const Context& context, const Words& words);
int srun(const Context& context, const Words& words);
int salloc(const Context& context, const Words& words);
int squeue(const Context& context, const Words& words);
int scancel(const Context& context, const Words& words);
int sinfo(const Context& context, const Words& words);
int scontrol(const Context& context, const Words& words);
int sacct(const Context& context, const Words& words);
int sprio(const Context& context, const Words& words);
int sshare(const Context& context, const Words& words);
int sacctmgr(const Context& context, const Words& words);
int sdiag(const Context& context, const Words& words);
int sreport(const Context& context, const Words& words);
int sstat(const Context& context, const Words& words);

// "sbatch: error: MESSAGE" on standard error; returns 1.
int fail(std::string_view command, const std::string& message);
// --version, --help and --usage, which every command has; nullopt: none of them was asked for.
std::optional<int> answer_about_itself(const CommandTable& table, const Given& given);
// "slurm 22.05.8", which clients look for, and with `verbose` Berth's own version.
void print_version(bool verbose);

}  // namespace berth::tools::slurm
