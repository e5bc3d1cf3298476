// What a job's definition says beyond its row: its files, its command, its tasks, as squeue and scontrol show them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/launch.h"
#include "tools/slurm/jobs.h"

namespace berth::tools::slurm {

// Of a record with its details; empty without.
state::Launch launch_of(const Record& record);
// The file of its standard output or error as far as it is known; "" if it goes nowhere in particular.
std::string output_file(const Record& record, const state::Launch& launch, bool error);
// The script's path or the command line; "(null)" of --wrap.
std::string command_text(const state::Launch& launch);
// Whom it waits for, as Slurm writes it; "" of nobody.
std::string dependency_text(const Record& record);
std::string text_in(const state::Launch& launch, std::string_view variable);
// What its environment says; 0: nothing.
std::uint32_t number_in(const state::Launch& launch, std::string_view variable);

struct Tasks {
  std::uint32_t tasks = 1, cpus_per_task = 1;
  std::uint32_t per_node = 0;  // 0: not asked for
  bool memory_per_cpu = false;
};
Tasks tasks_of(const Record& record, const state::Launch& launch);

std::string memory_text(std::uint64_t mib);  // "0", "4G", "100M"
std::string tres_text(const Record& record);
std::string licences_text(const std::vector<state::Countable>& licences);
inline std::string or_null(const std::string& text) { return text.empty() ? "(null)" : text; }

}  // namespace berth::tools::slurm
