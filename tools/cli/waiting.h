// When a job may start: times to begin and dependencies, as people write them. Slurm's forms, and a few shorter ones.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "state/records.h"
#include "state/result.h"

namespace berth::tools {

inline constexpr const char* kBeginForms =
    "+1h, 18:30, 2026-11-25T18:30, now+2hours, today, midnight, noon, teatime or tomorrow";
inline constexpr const char* kDependsForms =
    "afterok:12:13,afterany:14_3 for all of them, or with ? between for any; also after, afternotok, aftercorr and "
    "singleton";

// In local time, seen from `now`; a time of day that has passed is tomorrow's.
state::Result<state::TimeUs> parse_begin(std::string_view text, std::string_view field, state::TimeUs now);

// Likewise, and not now.
state::Result<state::TimeUs> parse_deadline(std::string_view text, std::string_view field, state::TimeUs now);

struct Depends {
  std::vector<state::Dependency> all;
  bool any = false;
};
state::Result<Depends> parse_depends(std::string_view text, std::string_view field);
std::string depends_text(const state::JobSpec& spec);  // back again, what is open: "afterok:12,afterany:14"

state::TimeUs wall_clock_us();

}  // namespace berth::tools
