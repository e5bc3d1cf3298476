// How Compose files write times, sizes, variables and command lines. Errors have no field; their text says what is
// accepted.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::tools {

state::Result<std::int64_t> compose_time(std::string_view text);  // milliseconds, of "10s", "1m30s", "500ms"
state::Result<std::uint64_t> compose_mib(std::string_view text);  // rounded up, of "50M", "2g", "1024kb"
// ${NAME}, ${NAME:-default}, ${NAME-default}, ${NAME:?message}, ${NAME:+other}, $NAME, $$
state::Result<std::string> interpolate(const std::string& text, const std::map<std::string, std::string>& variables);
// A command line in words, with quotes and backslashes as a shell has them.
state::Result<std::vector<std::string>> shell_words(const std::string& line);

}  // namespace berth::tools
