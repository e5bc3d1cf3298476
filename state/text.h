// Text of strangers in our messages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace berth::state {

// In quotes, at most 64 bytes, control characters as '?': fit for a one-line message whatever a user wrote.
std::string shown(std::string_view text);

// "n[1-3,07],m": names that differ in their last number alone stand together, as parse_name_list() reads them.
std::string host_list(const std::vector<std::string>& names);
// "2(x3),1" of 2 2 2 1, as batch systems write what each node has.
std::string per_node_text(const std::vector<std::uint32_t>& counts);

}  // namespace berth::state
