#include "tools/roots/directories.h"

#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

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
  if (slash == std::string::npos || slash == 0) return state::Unit{};
  const std::string parent = path.substr(0, slash);
  if (auto made = make_directory(parent, mode); !made) return made;
  struct stat info {};
  const uid_t own = ::geteuid();
  const bool foreign = own != 0 && ::stat(parent.c_str(), &info) == 0 && info.st_uid != 0 && info.st_uid != own;
  // Whoever owns it could put a socket of his own in the place of ours.
  if (foreign) {
    return state::Error{state::ErrorCode::kDenied, "", "the directory " + parent + " belongs to another user", 0};
  }
  return state::Unit{};
}

}  // namespace berth::tools
