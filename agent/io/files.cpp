#include "agent/io/files.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <grp.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace berth::agent {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

void Fd::reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

Error system_error(std::string_view doing, std::string_view path, int error) {
  std::string text = "cannot ";
  text += doing;
  text += " '";
  text += path;
  text += "': ";
  text += std::strerror(error);
  return Error{ErrorCode::kInternal, "", std::move(text), 0};
}

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return system_error("read", path, errno);
  std::string bytes;
  char part[16384];
  for (;;) {
    const ssize_t got = read(fd.get(), part, sizeof part);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("read", path, errno);
    if (got == 0) return bytes;
    bytes.append(part, static_cast<std::size_t>(got));
    if (bytes.size() > bytes_max) return system_error("read", path, EFBIG);
  }
}

namespace {

Status write_to(const std::string& path, int flags, std::string_view bytes, mode_t mode, bool durable) {
  const Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | flags, mode));
  if (!fd) return system_error("write", path, errno);
  while (!bytes.empty()) {
    const ssize_t put = write(fd.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return system_error("write", path, errno);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  if (durable && fsync(fd.get()) != 0) return system_error("write", path, errno);
  return Unit{};
}

}  // namespace

Status write_file(const std::string& path, std::string_view bytes, mode_t mode) {
  return write_to(path, 0, bytes, mode, false);
}

Status write_file_aside(const std::string& path, std::string_view bytes, mode_t mode, bool durable) {
  const std::string aside = path + ".new";
  unlink(aside.c_str());
  if (auto wrote = write_to(aside, O_EXCL, bytes, mode, durable); !wrote) return wrote;
  if (rename(aside.c_str(), path.c_str()) != 0) return system_error("write", path, errno);
  return Unit{};
}

Status make_directory(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return system_error("make the directory", path, errno);
  return Unit{};
}

Status make_directories(const std::string& path, mode_t mode) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    if (auto made = make_directory(path.substr(0, at), 0755); !made) return made;
  }
  return make_directory(path, mode);
}

void remove_tree(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

// Raw system calls and setfsuid: rights are a thread's in Linux, but the C library's setgroups() changes all threads.
UserScope::UserScope(std::uint32_t uid, std::uint32_t gid, const std::uint32_t* groups, std::size_t group_count) {
  if (geteuid() != 0 || uid == 0) return;
  groups_count_ = getgroups(64, groups_);
  if (groups_count_ < 0) groups_count_ = 0;
  syscall(SYS_setgroups, group_count, groups);
  setfsgid(gid);
  setfsuid(uid);
  active_ = true;
}

UserScope::~UserScope() {
  if (!active_) return;
  setfsuid(0);
  setfsgid(getegid());
  syscall(SYS_setgroups, groups_count_, groups_);
}

}  // namespace berth::agent
