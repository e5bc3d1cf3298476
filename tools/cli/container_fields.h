// The values of a job's fields about its container: mounts, limits, policies. Each sets its part of `to`, or says in
// one line what is accepted; the error's field is `field`.
#pragma once

#include <string>
#include <string_view>

#include "state/container.h"

namespace berth::tools {

// type=bind,src=DIR,dst=DIR[,ro]   type=tmpfs,dst=DIR[,size=SIZE]   type=scratch,dst=DIR
state::Status add_mount(state::Container& to, std::string_view value, std::string_view field);
state::Status add_tmpfs(state::Container& to, std::string_view value, std::string_view field);   // DIR[:size=SIZE]
state::Status add_ulimit(state::Container& to, std::string_view value, std::string_view field);  // NAME=SOFT[:HARD]
state::Status set_pull(state::Container& to, std::string_view value, std::string_view field);
state::Status set_seccomp(state::Container& to, std::string_view value, std::string_view field);
state::Status set_hostname(state::Container& to, std::string_view value, std::string_view field);

// Paths from `directory` on; a process has no container, so nothing but limits (`of_process`).
state::Status finish_container(state::Container& container, const std::string& directory, bool of_process);

inline constexpr const char* kMountForms =
    "type=bind,src=DIR,dst=DIR[,ro], type=tmpfs,dst=DIR[,size=SIZE] or type=scratch,dst=DIR";

}  // namespace berth::tools
