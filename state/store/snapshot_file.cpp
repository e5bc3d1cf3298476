#include "state/store/snapshot_file.h"

#include <array>
#include <cstdio>
#include <cstring>
#include <fcntl.h>

#include "state/snapshot_codec.h"
#include "state/store/crc32c.h"
#include "state/store/file.h"

namespace berth::store {

using state::Cluster;
using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

constexpr std::uint64_t kSnapshotMagic = 0x50414E5342524542ULL;  // "BERBSNAP"
constexpr std::uint32_t kSnapshotVersion = 1;

struct SnapshotHeader {
  std::uint64_t magic = kSnapshotMagic;
  std::uint32_t version = kSnapshotVersion;
  std::uint32_t zero = 0;
  std::uint64_t index = 0;
  std::uint64_t zero_too = 0;
};
static_assert(sizeof(SnapshotHeader) == 32);

struct SnapshotTrailer {
  std::uint64_t length = 0;  // of the whole file without the trailer
  std::uint32_t crc = 0;     // of as much
  std::uint32_t zero = 0;
};
static_assert(sizeof(SnapshotTrailer) == 16);

template <class T>
std::span<const std::byte> plain_bytes(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

// Writes onward through a file, keeping the checksum and the amount of dirty memory small.
class Stream {
 public:
  explicit Stream(File& file) : file_(file) {}

  Status write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const std::size_t step = std::min(bytes.size(), kStep);
      if (Status done = file_.write_at(offset_, bytes.first(step)); !done) return done;
      file_.push_out(offset_, step);  // the fdatasync at the end is what counts
      crc_ = crc32c(bytes.first(step), crc_);
      offset_ += step;
      bytes = bytes.subspan(step);
    }
    return Unit{};
  }
  std::uint64_t offset() const { return offset_; }
  std::uint32_t crc() const { return crc_; }

 private:
  static constexpr std::size_t kStep = 2U << 20;
  File& file_;
  std::uint64_t offset_ = 0;
  std::uint32_t crc_ = 0;
};

Status write_all(File& file, const Cluster& cluster, const std::atomic<bool>& stop) {
  Stream stream(file);
  SnapshotHeader header;
  header.index = cluster.applied_index();
  Status done = stream.write(plain_bytes(header));
  if (!done) return done;
  state::SnapshotCodec::encode(cluster, [&](std::span<const std::byte> part) {
    if (done) done = stop ? Status(Error{ErrorCode::kUnavailable, "", "the store is closing", 0}) : stream.write(part);
    return done.ok();
  });
  if (!done) return done;
  const SnapshotTrailer trailer{stream.offset(), stream.crc(), 0};
  if (done = stream.write(plain_bytes(trailer)); !done) return done;
  return file.sync_data();
}

}  // namespace

std::string snapshot_name(std::uint64_t index) {
  std::array<char, 40> name{};
  std::snprintf(name.data(), name.size(), "%020llu.snap", static_cast<unsigned long long>(index));
  return name.data();
}

Status write_snapshot(const std::string& directory, const Cluster& cluster, const std::atomic<bool>& stop) {
  const std::string path = directory + "/" + snapshot_name(cluster.applied_index());
  const std::string unfinished = path + ".tmp";
  auto file = File::open(unfinished, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file) return file.error();
  Status done = write_all(*file, cluster, stop);
  if (done) done = rename_durably(unfinished, path, directory);
  if (!done) remove_file(unfinished);
  return done;
}

Result<Cluster> read_snapshot(const std::string& path, std::uint64_t index) {
  const auto damaged = [&](std::uint64_t offset, const std::string& why) {
    return Error{ErrorCode::kInternal, "", path + " is damaged at offset " + std::to_string(offset) + ": " + why, 0};
  };
  auto bytes = map_whole(path);
  if (!bytes) return bytes.error();
  SnapshotHeader header;
  SnapshotTrailer trailer;
  if (bytes->size() < sizeof(header) + sizeof(trailer))
    return damaged(bytes->size(), "it ends too early for a snapshot");
  const std::size_t length = bytes->size() - sizeof(trailer);
  std::memcpy(&header, bytes->data(), sizeof(header));
  std::memcpy(&trailer, bytes->data() + length, sizeof(trailer));
  if (header.magic != kSnapshotMagic) return damaged(0, "it does not begin like a snapshot");
  if (trailer.length != length || trailer.zero != 0) return damaged(length, "it does not end like a snapshot");
  if (crc32c(bytes->all().first(length)) != trailer.crc) return damaged(length, "the checksum of the file is wrong");
  if (header.version != kSnapshotVersion) {
    return Error{ErrorCode::kConflict, "",
                 path + " has format " + std::to_string(header.version) + ", this release reads format " +
                     std::to_string(kSnapshotVersion),
                 0};
  }
  auto cluster = state::SnapshotCodec::decode(bytes->all().first(length).subspan(sizeof(header)));
  if (!cluster) return damaged(sizeof(header), cluster.error().message);
  if (cluster->applied_index() != index || header.index != index)
    return damaged(0, "its index is not the one of its name");
  return cluster;
}

}  // namespace berth::store
