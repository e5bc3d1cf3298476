// How Slurm writes things: times, lengths of time, sizes, host lists, states. Pure, but for the local time zone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/records.h"
#include "state/result.h"

namespace berth::tools::slurm {

inline state::Error bad(std::string message) { return {state::ErrorCode::kInvalid, "", std::move(message), 0}; }
std::string upper(std::string_view text);
std::string lower(std::string_view text);

// "0:05", "1:02:03", "2-03:00:00"; with `padded` "00:00:05"
std::string length_text(std::int64_t seconds, bool padded = false);
std::string limit_text(std::int64_t limit_ms, bool padded = false);  // the same, or UNLIMITED for 0
// "2026-11-25T18:30:00" in local time, or as $SLURM_TIME_FORMAT says; `none` for 0.
std::string time_text(state::TimeUs at, const char* none = "N/A");

// minutes, minutes:seconds, h:m:s, days-h, days-h:m, days-h:m:s; 0, INFINITE and UNLIMITED are none (0)
state::Result<std::int64_t> parse_limit_ms(std::string_view text);
// A number with K, M, G or T behind it; MiB without.
state::Result<std::uint64_t> parse_mem_mib(std::string_view text);
state::Result<state::TimeUs> parse_when(std::string_view text, state::TimeUs now);  // as of -S and -E

// "n[1-3,07],m" of names
std::string hostlist(std::vector<std::string> names);
state::Result<std::vector<std::string>> expand_hostlist(std::string_view text);

struct StateName {
  const char* compact;
  const char* name;
};
StateName state_name(state::PodState state);
// Of "R", "running", "CD,F" or "all"; none of ours where they are Slurm's alone; nullopt: one of them is no state.
std::optional<std::vector<state::PodState>> parse_states(std::string_view text);

const char* known_states();  // Slurm's, as its error messages list them

// %[.][width]… as printf would: '.' to the right, cut where too long.
std::string fitted(std::string_view text, std::size_t width, bool right);

}  // namespace berth::tools::slurm
