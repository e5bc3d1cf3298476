// Files as the store needs them: handles that close themselves, whole reads and writes, and errors that name the path.
// An error of a full disk or quota has code kUnavailable, any other kInternal.
//
// This header and worker.h are all that the journal and the snapshots know of the machine. tests/torture links other
// definitions of them, over a disk that it can let fail in every way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "state/result.h"

namespace berth::store {

// "cannot DO PATH: REASON"; takes the reason from `error`, an errno value.
state::Error io_error(std::string_view what, const std::string& path, int error);

struct ReleaseBytes {
  std::size_t mapped = 0;  // 0: on the heap
  void operator()(const std::byte* data) const;
};
// A whole file in memory, aligned for any type: read, or mapped. `data` may be null if size is 0.
class Bytes {
 public:
  Bytes() = default;
  static Bytes of_size(std::size_t size);  // on the heap, uninitialised
  static Bytes mapped(const std::byte* address, std::size_t size) { return {address, size, size}; }
  const std::byte* data() const { return data_.get(); }
  std::byte* fill() { return const_cast<std::byte*>(data_.get()); }  // of what of_size() made
  std::size_t size() const { return size_; }
  void shrink(std::size_t size) { size_ = size; }
  std::span<const std::byte> all() const { return {data_.get(), size_}; }

 private:
  Bytes(const std::byte* data, std::size_t size, std::size_t mapped) : data_(data, ReleaseBytes{mapped}), size_(size) {}
  std::unique_ptr<const std::byte[], ReleaseBytes> data_;
  std::size_t size_ = 0;
};

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

  const std::string& path() const { return path_; }
  void moved_to(std::string path) { path_ = std::move(path); }  // after a rename

  state::Result<std::uint64_t> size() const;
  state::Result<Bytes> read_all() const;
  state::Result<Bytes> map_all() const;
  state::Status write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  // Reserves [0, bytes) on the disk, as zeros where nothing was written, so that later writes there need no space.
  state::Status reserve(std::uint64_t bytes);
  state::Status cut(std::uint64_t bytes);
  state::Status sync_data();
  // Starts to write what is dirty there, and waits for it; best effort, makes nothing durable.
  void push_out(std::uint64_t offset, std::uint64_t bytes);
  // Locks the file against other processes until it is closed; false if another one has it.
  state::Result<bool> lock();

 private:
  friend state::Status sync_directory(const std::string& path);
  std::string path_;
  int fd_ = -1;
};

state::Result<Bytes> read_whole(const std::string& path);
// The same without a copy where the kernel can tell of a disk that fails under the mapping; the file must not change.
state::Result<Bytes> map_whole(const std::string& path);

state::Status make_directory(const std::string& path);  // with its parents; mode 0700
state::Status sync_directory(const std::string& path);
state::Result<std::vector<std::string>> list_names(const std::string& directory);  // in no order
// An error of code kUnavailable means that nothing was renamed.
state::Status rename_durably(const std::string& from, const std::string& to, const std::string& directory);
// Best effort all, and durable with the directory's next sync.
void rename_file(const std::string& from, const std::string& to);
void remove_file(const std::string& path);
void remove_directory(const std::string& path);  // an empty one

state::Result<std::uint32_t> random_number();

}  // namespace berth::store
