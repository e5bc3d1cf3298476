#include "state/store/file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace berth::store {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

Error io_error(std::string_view what, const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return Error{full ? ErrorCode::kUnavailable : ErrorCode::kInternal, "",
               "cannot " + std::string(what) + " " + path + ": " + std::generic_category().message(error),
               full ? 1000U : 0U};
}

Result<File> File::open(const std::string& path, int flags) {
  File file;
  do {
    file.fd_ = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  } while (file.fd_ < 0 && errno == EINTR);
  if (file.fd_ < 0) return io_error("open", path, errno);
  file.path_ = path;
  return file;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Result<std::uint64_t> File::size() const {
  struct stat info {};
  if (::fstat(fd_, &info) != 0) return io_error("look at", path_, errno);
  return static_cast<std::uint64_t>(info.st_size);
}

Status File::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return io_error("write to", path_, errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return Unit{};
}

Status File::reserve(std::uint64_t bytes) {
  int result = 0;
  do {
    result = ::fallocate(fd_, 0, 0, static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result == 0) return Unit{};
  if (errno != EOPNOTSUPP && errno != ENOSYS) return io_error("reserve space for", path_, errno);
  // A file system without fallocate: zeros written from where the file ends take the space as well.
  auto now = size();
  if (!now) return now.error();
  const std::vector<std::byte> zeros(1U << 20);
  for (std::uint64_t at = *now; at < bytes;) {
    const std::uint64_t step = std::min<std::uint64_t>(zeros.size(), bytes - at);
    if (Status done = write_at(at, std::span(zeros).first(step)); !done) return done;
    at += step;
  }
  return Unit{};
}

Status File::cut(std::uint64_t bytes) {
  int result = 0;
  do {
    result = ::ftruncate(fd_, static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  return result == 0 ? Status(Unit{}) : Status(io_error("cut", path_, errno));
}

Status File::sync_data() {
  // Never tried again after an error: the kernel may have dropped the pages, and a second call would report success.
  return ::fdatasync(fd_) == 0 ? Status(Unit{}) : Status(io_error("make durable", path_, errno));
}

void File::push_out(std::uint64_t offset, std::uint64_t bytes) {
  ::sync_file_range(fd_, static_cast<off64_t>(offset), static_cast<off64_t>(bytes),
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

Result<bool> File::lock() {
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  return io_error("lock", path_, errno);
}

Bytes Bytes::of_size(std::size_t size) { return {new std::byte[size], size, 0}; }

void ReleaseBytes::operator()(const std::byte* data) const {
  if (mapped == 0) {
    delete[] data;
  } else {
    ::munmap(const_cast<std::byte*>(data), mapped);
  }
}

Result<Bytes> File::read_all() const {
  auto length = size();
  if (!length) return length.error();
  Bytes bytes = Bytes::of_size(*length);
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::pread(fd_, bytes.fill() + have, bytes.size() - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("read", path_, errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.shrink(have);
  return bytes;
}

Result<Bytes> File::map_all() const {
  auto length = size();
  if (!length) return length.error();
  if (*length == 0) return Bytes();
  void* address = ::mmap(nullptr, *length, PROT_READ, MAP_PRIVATE, fd_, 0);
  if (address == MAP_FAILED) return read_all();
  Bytes bytes = Bytes::mapped(static_cast<const std::byte*>(address), *length);
  // Reads all of it now: a sector that cannot be read is an error here, and would be a signal later. Linux from 5.14.
  constexpr int kPopulateRead = 22;
  if (::madvise(address, *length, kPopulateRead) == 0) return bytes;
  if (errno == EINVAL) return read_all();
  return io_error("read", path_, errno == EFAULT ? EIO : errno);
}

Result<Bytes> read_whole(const std::string& path) {
  auto file = File::open(path, O_RDONLY);
  return file ? file->read_all() : Result<Bytes>(file.error());
}

Result<Bytes> map_whole(const std::string& path) {
  auto file = File::open(path, O_RDONLY);
  return file ? file->map_all() : Result<Bytes>(file.error());
}

Status make_directory(const std::string& path) {
  std::error_code error;
  const auto parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (error) return io_error("make the directory", parent.string(), error.value());
  if (::mkdir(path.c_str(), 0700) == 0) return parent.empty() ? sync_directory(".") : sync_directory(parent.string());
  if (errno == EEXIST && std::filesystem::is_directory(path, error)) return Unit{};
  return io_error("make the directory", path, errno == EEXIST ? ENOTDIR : errno);
}

Status sync_directory(const std::string& path) {
  auto directory = File::open(path, O_RDONLY | O_DIRECTORY);
  if (!directory) return directory.error();
  return ::fsync(directory->fd_) == 0 ? Status(Unit{}) : Status(io_error("make durable", path, errno));
}

Result<std::vector<std::string>> list_names(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) return io_error("list", directory, error.value());
  return names;
}

Status rename_durably(const std::string& from, const std::string& to, const std::string& directory) {
  if (::rename(from.c_str(), to.c_str()) != 0) return io_error("rename to", to, errno);
  Status done = sync_directory(directory);
  // Renamed, but perhaps not for long: nobody may take that for a failure that changed nothing.
  if (!done) return Error{ErrorCode::kInternal, "", done.error().message, 0};
  return done;
}

void rename_file(const std::string& from, const std::string& to) { ::rename(from.c_str(), to.c_str()); }
void remove_file(const std::string& path) { ::unlink(path.c_str()); }
void remove_directory(const std::string& path) { ::rmdir(path.c_str()); }

Result<std::uint32_t> random_number() {
  std::uint32_t number = 0;
  if (::getrandom(&number, sizeof(number), 0) != sizeof(number)) return io_error("read", "random numbers", errno);
  return number;
}

}  // namespace berth::store
