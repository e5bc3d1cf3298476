// What becomes of each parameter of slurm.conf and of the files beside it.
#pragma once

#include <string_view>

namespace berth::tools::slurm {

enum class Fate : char {
  kTaken,     // it is in what is printed
  kNeedless,  // Berth is so anyway, or has no such part that could be set
  kLost,      // it means something, and has no equivalent
};

struct Parameter {
  const char* name;
  Fate fate;
  const char* why;
};

// By name in whatever case; nullptr: Slurm has none of that name either, as far as is known here.
const Parameter* site_parameter(std::string_view name);
const Parameter* node_parameter(std::string_view name);
const Parameter* partition_parameter(std::string_view name);
const Parameter* cgroup_parameter(std::string_view name);

}  // namespace berth::tools::slurm
