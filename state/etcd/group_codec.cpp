#include "state/etcd/group_codec.h"

#include <algorithm>
#include <cstring>

#include "state/store/crc32c.h"

namespace berth::etcd {

using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

constexpr std::uint32_t kMagic = 0x4A424542;  // "BEBJ"

struct ChunkHeader {
  std::uint32_t magic = kMagic;
  std::uint32_t version = 1;
  std::uint64_t first = 0;
  std::uint32_t count = 0;  // of records in the group
  std::uint32_t chunk = 0;
  std::uint32_t chunks = 0;
  std::uint32_t crc = 0;  // of the fields above, then of what follows
};
static_assert(sizeof(ChunkHeader) == 32);

std::uint32_t checksum(const ChunkHeader& header, std::string_view payload) {
  const auto head = std::as_bytes(std::span(&header, 1)).first(offsetof(ChunkHeader, crc));
  return store::crc32c(std::as_bytes(std::span(payload)), store::crc32c(head));
}

Error damaged(const std::string& why) { return {ErrorCode::kInternal, "", why, 0}; }

}  // namespace

std::vector<std::string> encode_group(std::uint64_t first, std::span<const std::string> records,
                                      std::size_t chunk_bytes) {
  std::size_t size = 0;
  for (const std::string& record : records) size += sizeof(std::uint32_t) + record.size();
  std::string bytes;
  bytes.reserve(size);
  for (const std::string& record : records) {
    const auto length = static_cast<std::uint32_t>(record.size());
    bytes.append(reinterpret_cast<const char*>(&length), sizeof(length));
    bytes += record;
  }
  ChunkHeader header;
  header.first = first;
  header.count = static_cast<std::uint32_t>(records.size());
  header.chunks = static_cast<std::uint32_t>((bytes.size() + chunk_bytes - 1) / chunk_bytes);
  std::vector<std::string> chunks;
  for (; header.chunk < header.chunks; ++header.chunk) {
    const auto payload = std::string_view(bytes).substr(header.chunk * chunk_bytes, chunk_bytes);
    header.crc = checksum(header, payload);
    std::string& chunk = chunks.emplace_back(reinterpret_cast<const char*>(&header), sizeof(header));
    chunk += payload;
  }
  return chunks;
}

Result<std::optional<Group>> GroupReader::add(std::string_view chunk) {
  ChunkHeader header;
  if (chunk.size() <= sizeof(header)) return damaged("a chunk of batches ends too early");
  std::memcpy(&header, chunk.data(), sizeof(header));
  if (header.magic != kMagic) return damaged("a chunk of batches does not begin like one");
  if (header.version != 1) {
    return Error{ErrorCode::kConflict, "",
                 "its batches have format " + std::to_string(header.version) + ", this release reads format 1", 0};
  }
  const std::string_view payload = chunk.substr(sizeof(header));
  if (checksum(header, payload) != header.crc) return damaged("the checksum of a chunk of batches is wrong");
  if (header.chunk == 0) {
    first_ = header.first;
    count_ = header.count;
    chunks_ = header.chunks;
    next_ = 0;
    bytes_.clear();
  }
  if (chunks_ == 0 || header.first != first_ || header.chunk != next_ || header.chunks != chunks_ ||
      header.count != count_) {
    return damaged("chunk " + std::to_string(header.chunk) + " of batch " + std::to_string(header.first) +
                   " does not follow what is before it");
  }
  bytes_ += payload;
  if (++next_ < chunks_) return std::optional<Group>{};
  chunks_ = 0;
  return complete();
}

Result<std::optional<Group>> GroupReader::complete() {
  Group group;
  group.first = first_;
  std::string_view rest = bytes_;
  while (group.records.size() < count_) {
    std::uint32_t length = 0;
    if (rest.size() < sizeof(length)) return damaged("a group of batches ends too early");
    std::memcpy(&length, rest.data(), sizeof(length));
    rest.remove_prefix(sizeof(length));
    if (length > rest.size()) return damaged("a group of batches ends too early");
    group.records.emplace_back(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  if (!rest.empty()) return damaged("there is something behind a group of batches");
  return std::optional<Group>(std::move(group));
}

}  // namespace berth::etcd
