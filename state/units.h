// Sizes, times and cpus as people write them, and back. Every parser names `field` in its one-line error, shows the
// value and says what is accepted. Never throws; any byte string is safe input (fuzzed).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "state/ids.h"
#include "state/result.h"

namespace berth::state {

// "2", "0.5", "1500m" -> thousandths of a core. From 0.001 to 1,000,000 cores.
Result<std::uint32_t> parse_cpu_milli(std::string_view text, std::string_view field);
// "512M", "512Mi", "512MiB", "2G", "1.5G", "1T"; a bare number is MiB. Binary units. K is rounded up to a MiB. 1 MiB to
// 1 PiB.
Result<std::uint64_t> parse_mem_mib(std::string_view text, std::string_view field);
// "90" (seconds), "90s", "15m", "2h", "1d", "1h30m", "250ms", and Slurm's "MM:SS", "HH:MM:SS", "D-HH", "D-HH:MM",
// "D-HH:MM:SS". From 1 ms to 10 years, in milliseconds.
Result<std::int64_t> parse_duration_ms(std::string_view text, std::string_view field);
// A whole number within [min, max].
Result<std::int64_t> parse_integer(std::string_view text, std::string_view field, std::int64_t min, std::int64_t max);

std::string format_cpu_milli(std::uint32_t cpu_milli);  // "2", "0.5"
std::string format_mem_mib(std::uint64_t mem_mib);      // "512 MiB", "1.5 GiB"
std::string format_duration_ms(std::int64_t ms);        // "250ms", "12.3s", "4m05s", "2h03m", "3d04h"
std::string format_time(TimeUs at);                     // "2026-05-01T12:00:00Z"; "-" for 0

}  // namespace berth::state
