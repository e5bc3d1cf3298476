// Files and descriptors: RAII and whole-file reads and writes, with errors a person can read. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>

#include "state/result.h"

namespace berth::agent {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~Fd() { reset(-1); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset(int fd);

 private:
  int fd_ = -1;
};

// "cannot <doing> '<path>': <the system's words for errno>"
state::Error system_error(std::string_view doing, std::string_view path, int error);

state::Result<std::string> read_file(const std::string& path, std::size_t bytes_max);
// Creates or truncates; not for files that a crash may find half written.
state::Status write_file(const std::string& path, std::string_view bytes, mode_t mode = 0600);
// Written aside and renamed: whole or absent, whoever crashes. `durable` adds an fsync.
state::Status write_file_aside(const std::string& path, std::string_view bytes, mode_t mode = 0600,
                               bool durable = false);
// One existing level may be there already; its mode is then left alone.
state::Status make_directory(const std::string& path, mode_t mode);
state::Status make_directories(const std::string& path, mode_t mode);  // and those above it
void remove_tree(const std::string& path);

// While it lives, this thread opens files with another user's rights. Needs root; otherwise does nothing.
class UserScope {
 public:
  UserScope(std::uint32_t uid, std::uint32_t gid, const std::uint32_t* groups, std::size_t group_count);
  ~UserScope();
  UserScope(const UserScope&) = delete;
  UserScope& operator=(const UserScope&) = delete;

 private:
  bool active_ = false;
  int groups_count_ = 0;
  gid_t groups_[64] = {};
};

}  // namespace berth::agent
