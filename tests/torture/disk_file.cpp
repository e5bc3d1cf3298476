// state/store/file.h and worker.h over a simulated disk: linked in place of file.cpp and worker.cpp. A definition that
// is missing here would draw those from the library, and the linker would refuse the two of everything else.
#include <cerrno>
#include <cstring>
#include <system_error>

#include "state/store/file.h"
#include "state/store/worker.h"
#include "tests/torture/disk.h"

namespace berth::store {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;
using testing::Disk;

namespace {

Status told(int error, std::string_view what, const std::string& path) {
  return error == 0 ? Status(Unit{}) : Status(io_error(what, path, error));
}

}  // namespace

Error io_error(std::string_view what, const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return Error{full ? ErrorCode::kUnavailable : ErrorCode::kInternal, "",
               "cannot " + std::string(what) + " " + path + ": " + std::generic_category().message(error),
               full ? 1000U : 0U};
}

Result<File> File::open(const std::string& path, int flags) {
  File file;
  if (const int error = Disk::current().open(path, flags, file.fd_); error != 0) return io_error("open", path, error);
  file.path_ = path;
  return file;
}

File::~File() {
  if (fd_ >= 0) Disk::current().close(fd_);
}

Result<std::uint64_t> File::size() const {
  const auto inode = Disk::current().at(fd_);
  if (inode == nullptr || Disk::current().dead()) return io_error("look at", path_, EIO);
  return static_cast<std::uint64_t>(inode->live.size());
}

Status File::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  return told(Disk::current().write(fd_, offset, bytes), "write to", path_);
}
Status File::reserve(std::uint64_t bytes) {
  return told(Disk::current().reserve(fd_, bytes), "reserve space for", path_);
}
Status File::cut(std::uint64_t bytes) { return told(Disk::current().cut(fd_, bytes), "cut", path_); }
Status File::sync_data() { return told(Disk::current().sync(fd_), "make durable", path_); }
void File::push_out(std::uint64_t, std::uint64_t) {}
Result<bool> File::lock() { return Disk::current().lock(fd_); }

Bytes Bytes::of_size(std::size_t size) { return {new std::byte[size], size, 0}; }
void ReleaseBytes::operator()(const std::byte* data) const { delete[] data; }

Result<Bytes> File::read_all() const {
  Disk::current().step_of_worker();
  const auto inode = Disk::current().at(fd_);
  if (inode == nullptr || Disk::current().dead()) return io_error("read", path_, EIO);
  Bytes bytes = Bytes::of_size(inode->live.size());
  std::memcpy(bytes.fill(), inode->live.data(), inode->live.size());
  return bytes;
}
Result<Bytes> File::map_all() const { return read_all(); }

Result<Bytes> read_whole(const std::string& path) {
  auto file = File::open(path, 0);
  return file ? file->read_all() : Result<Bytes>(file.error());
}
Result<Bytes> map_whole(const std::string& path) { return read_whole(path); }

Status make_directory(const std::string& path) {
  return told(Disk::current().make_directory(path), "make the directory", path);
}
Status sync_directory(const std::string& path) {
  return told(Disk::current().sync_directory(path), "make durable", path);
}
Result<std::vector<std::string>> list_names(const std::string& directory) {
  std::vector<std::string> names;
  const int error = Disk::current().list(directory, names);
  if (error != 0) return io_error("list", directory, error);
  return names;
}
Status rename_durably(const std::string& from, const std::string& to, const std::string& directory) {
  if (const int error = Disk::current().rename(from, to); error != 0) return io_error("rename to", to, error);
  Status done = sync_directory(directory);
  if (!done) return Error{ErrorCode::kInternal, "", done.error().message, 0};
  return done;
}
void rename_file(const std::string& from, const std::string& to) { Disk::current().rename(from, to); }
void remove_file(const std::string& path) { Disk::current().remove(path); }
void remove_directory(const std::string&) {}
Result<std::uint32_t> random_number() { return Disk::current().number(); }

struct Worker::Impl {
  testing::Stage* stage = nullptr;
};
Worker::Worker(std::function<void()> work) : impl_(std::make_unique<Impl>()) {
  impl_->stage = Disk::current().add_worker(std::move(work));
}
Worker::~Worker() { Disk::current().end_worker(impl_->stage); }
void Worker::wake() { Disk::current().wake(impl_->stage); }

}  // namespace berth::store
