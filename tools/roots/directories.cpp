#include "tools/roots/directories.h"

#include <cerrno>
#include <cstring>
#include <sys/stat.h>

namespace berth::tools {

state::Status make_directory(const std::string& path, mode_t mode) {
  for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    const bool last = at == std::string::npos;
    if (::mkdir(part.c_str(), last ? mode : 0755) != 0 && errno != EEXIST) {
      return state::Error{state::ErrorCode::kDenied, "",
                          "cannot make the directory " + part + ": " + std::strerror(errno), 0};
    }
    if (last) return state::Unit{};
  }
}

state::Status make_parent(const std::string& path, mode_t mode) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? state::Status(state::Unit{})
                                                  : make_directory(path.substr(0, slash), mode);
}

}  // namespace berth::tools
