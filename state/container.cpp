#include "state/container.h"

#include <algorithm>

namespace berth::state {

namespace {

constexpr std::size_t kPathBytesMax = 4095;
constexpr std::size_t kHostnameBytesMax = 63;

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 127; });
}

// Absolute, and without parts that lead up.
bool is_plain_path(std::string_view path) {
  if (path.empty() || path[0] != '/' || path.size() > kPathBytesMax || has_control(path)) return false;
  for (std::size_t at = 0; at < path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    if (path.substr(at, end - at) == "..") return false;
    at = end + 1;
  }
  return true;
}

bool is_below(std::string_view path, std::string_view directory) {
  return path == directory || (path.starts_with(directory) && path[directory.size()] == '/');
}

Status check_mount(const Mount& mount) {
  const auto bad = [&](const std::string& what) { return invalid("mounts", what); };
  std::string_view target = mount.target;
  while (target.size() > 1 && target.back() == '/') target.remove_suffix(1);
  if (!is_plain_path(target)) {
    return bad("the mount's place in the container is not an absolute path without '..'");
  }
  const bool shared_memory = target == "/dev/shm" && mount.kind == Mount::Kind::kTmpfs;
  if (target == "/" || is_below(target, "/proc") || is_below(target, "/sys") ||
      (is_below(target, "/dev") && !shared_memory)) {
    return bad("nothing can be mounted at '" + mount.target + "' of a container");
  }
  const bool bind = mount.kind == Mount::Kind::kBind;
  if (bind && !is_plain_path(mount.source)) {
    return bad("what is mounted at '" + mount.target + "' is not an absolute path without '..'");
  }
  if (!bind && !mount.source.empty()) return bad("only a bind mount has a source");
  if (mount.size_mib != 0 && mount.kind != Mount::Kind::kTmpfs) return bad("only a tmpfs has a size");
  if (mount.size_mib > (1ULL << 40)) return bad("the size of the tmpfs at '" + mount.target + "' is beyond all memory");
  return Unit{};
}

bool is_hostname(std::string_view name) {
  if (name.size() > kHostnameBytesMax || name.front() == '-' || name.back() == '-') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

}  // namespace

std::string_view name_of(PullPolicy policy) {
  switch (policy) {
    case PullPolicy::kMissing:
      return "missing";
    case PullPolicy::kAlways:
      return "always";
    case PullPolicy::kNever:
      return "never";
  }
  return "?";
}

const std::vector<std::string_view>& ulimit_names() {
  static const std::vector<std::string_view> names = {"as",      "core",     "cpu",        "data",   "fsize", "locks",
                                                      "memlock", "msgqueue", "nice",       "nofile", "nproc", "rss",
                                                      "rtprio",  "rttime",   "sigpending", "stack"};
  return names;
}

Status check_container(const Container& container) {
  if (container.mounts.size() > kMountsMax) {
    return invalid("mounts", "a container has at most " + std::to_string(kMountsMax) + " mounts");
  }
  for (std::size_t i = 0; i < container.mounts.size(); ++i) {
    if (Status good = check_mount(container.mounts[i]); !good) return good;
    for (std::size_t other = 0; other < i; ++other) {
      if (container.mounts[other].target == container.mounts[i].target) {
        return invalid("mounts", "two mounts at '" + container.mounts[i].target + "'");
      }
    }
  }
  if (!container.hostname.empty() && !is_hostname(container.hostname)) {
    return invalid("hostname", "a hostname is 1 to 63 of the characters A-Z a-z 0-9 - .");
  }
  if (has_control(container.auth_file) || (!container.auth_file.empty() && container.auth_file[0] != '/')) {
    return invalid("registry-auth", "the file of credentials is an absolute path");
  }
  const auto& names = ulimit_names();
  for (const Ulimit& limit : container.ulimits) {
    if (!std::binary_search(names.begin(), names.end(), std::string_view(limit.name))) {
      return invalid("ulimits", "there is no limit '" + limit.name.substr(0, 32) + "'");
    }
    if (limit.soft > limit.hard) {
      return invalid("ulimits", "the soft limit of " + limit.name + " is above the hard one");
    }
  }
  return Unit{};
}

}  // namespace berth::state
