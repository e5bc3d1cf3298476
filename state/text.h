// Text of strangers in our messages.
#pragma once

#include <string>
#include <string_view>

namespace berth::state {

// In quotes, at most 64 bytes, control characters as '?': fit for a one-line message whatever a user wrote.
std::string shown(std::string_view text);

}  // namespace berth::state
