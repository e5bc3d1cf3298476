// Directories that a root needs to exist.
#pragma once

#include <string>
#include <sys/types.h>

#include "state/result.h"

namespace berth::tools {

// Makes it and what is missing above it; what exists keeps its mode.
state::Status make_directory(const std::string& path, mode_t mode);
state::Status make_parent(const std::string& path, mode_t mode);

}  // namespace berth::tools
