// Files as the store needs them: handles that close themselves, whole reads and writes, and errors that name the path.
// An error of a full disk or quota has code kUnavailable, any other kInternal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "state/result.h"

namespace berth::store {

// "cannot DO PATH: REASON"; takes the reason from `error`, an errno value.
state::Error io_error(std::string_view what, const std::string& path, int error);

class File {
 public:
  File() = default;
  static state::Result<File> open(const std::string& path, int flags);  // O_CLOEXEC; what it makes has mode 0600
  File(File&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~File();

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  void moved_to(std::string path) { path_ = std::move(path); }  // after a rename

  state::Result<std::uint64_t> size() const;
  state::Status write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  // Reserves [0, bytes) on the disk, as zeros where nothing was written, so that later writes there need no space.
  state::Status reserve(std::uint64_t bytes);
  state::Status cut(std::uint64_t bytes);
  state::Status sync_data();

 private:
  std::string path_;
  int fd_ = -1;
};

// A whole file in memory, aligned for any type.
struct Bytes {
  std::unique_ptr<std::byte[]> data;
  std::size_t size = 0;
  std::span<const std::byte> all() const { return {data.get(), size}; }
};
state::Result<Bytes> read_whole(const std::string& path);

state::Status make_directory(const std::string& path);  // with its parents; mode 0700
state::Status sync_directory(const std::string& path);
// An error of code kUnavailable means that nothing was renamed.
state::Status rename_durably(const std::string& from, const std::string& to, const std::string& directory);

}  // namespace berth::store
