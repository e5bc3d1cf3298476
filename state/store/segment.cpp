#include "state/store/segment.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>

#include "state/store/crc32c.h"

namespace berth::store {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

static_assert(std::endian::native == std::endian::little, "the journal's files are little endian");

namespace {

constexpr std::uint64_t kSegmentMagic = 0x4C4E524A42524542ULL;  // "BEBRJRNL"
constexpr std::uint32_t kSegmentVersion = 2;                    // 2: records have a checksum of their header

constexpr std::uint64_t padded(std::uint64_t bytes) { return (bytes + 7) / 8 * 8; }

template <class T>
std::span<const std::byte> bytes_of_value(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

std::uint32_t header_crc(const SegmentHeader& header) {
  return crc32c(bytes_of_value(header).first(offsetof(SegmentHeader, crc)));
}

// Never among the bytes of another checksum: a checksum over fields and then their own checksum is the same for all.
std::uint32_t header_check(std::uint32_t salt, const RecordHeader& header) {
  std::uint32_t crc = crc32c(bytes_of_value(header.length), salt);
  crc = crc32c(bytes_of_value(header.index), crc);
  return crc32c(bytes_of_value(header.position), crc);
}

Error not_a_segment(const std::string& path, const std::string& why) {
  return Error{ErrorCode::kInternal, "", path + " is damaged at offset 0: " + why, 0};
}

}  // namespace

std::string segment_name(std::uint64_t first_index) {
  std::array<char, 40> name{};
  std::snprintf(name.data(), name.size(), "%020llu.log", static_cast<unsigned long long>(first_index));
  return name.data();
}

// ---- reading --------------------------------------------------------------------------------------------------------

Result<SegmentReader> SegmentReader::open(const std::string& path) {
  SegmentReader reader;
  reader.path_ = path;
  auto bytes = read_whole(path);
  if (!bytes) return bytes.error();
  reader.bytes_ = std::move(*bytes);
  SegmentHeader& header = reader.header_;
  if (reader.bytes_.size() < sizeof(header)) return not_a_segment(path, "it is too short for a journal segment");
  std::memcpy(&header, reader.bytes_.data(), sizeof(header));
  if (header.magic != kSegmentMagic) return not_a_segment(path, "it does not begin like a journal segment");
  if (header.crc != header_crc(header) || header.zero != 0)
    return not_a_segment(path, "the checksum of its header is wrong");
  if (header.version != kSegmentVersion) {
    return Error{ErrorCode::kInternal, "",
                 path + " has format " + std::to_string(header.version) + ", this release reads format " +
                     std::to_string(kSegmentVersion),
                 0};
  }
  reader.next_index_ = header.first_index;
  return reader;
}

bool SegmentReader::record_at(std::uint64_t offset, RecordHeader& header) const {
  if (offset + sizeof(header) > bytes_.size()) return false;
  std::memcpy(&header, bytes_.data() + offset, sizeof(header));
  if (header.length == 0 || header.length > kRecordBytesMax) return false;
  if (header.check != header_check(header_.salt, header)) return false;
  if (offset + sizeof(header) + header.length > bytes_.size()) return false;
  return crc32c(bytes_.all().subspan(offset + sizeof(header), header.length), header.check) == header.crc;
}

bool SegmentReader::next(Record& record) {
  RecordHeader header;
  if (!record_at(offset_, header) || header.index != next_index_) return false;
  record = {header.index, offset_, bytes_.all().subspan(offset_ + sizeof(header), header.length)};
  if (header.position == 0) group_offset_ = offset_;
  offset_ += sizeof(header) + padded(header.length);
  ++next_index_;
  return true;
}

bool SegmentReader::skip_damage() {
  for (std::uint64_t at = offset_ + 8; at + sizeof(RecordHeader) < bytes_.size(); at += 8) {
    RecordHeader header;
    std::memcpy(&header, bytes_.data() + at, sizeof(header));
    if (header.index < next_index_ || header.index - next_index_ > bytes_.size() || !record_at(at, header)) continue;
    offset_ = group_offset_ = at;
    next_index_ = header.index;
    return true;
  }
  return false;
}

std::span<const std::byte> SegmentReader::group_bytes() const {
  // The padding of the last record may lie behind the end of the file.
  return bytes_.all().subspan(group_offset_, std::min<std::uint64_t>(offset_, bytes_.size()) - group_offset_);
}

SegmentReader::Rest SegmentReader::rest() const {
  std::uint64_t end = bytes_.size();
  while (end > offset_ && bytes_.data()[end - 1] == std::byte{0}) --end;
  if (end <= offset_) return {};
  Rest rest{Tail::kTorn, end - offset_};
  for (std::uint64_t at = offset_; at + sizeof(RecordHeader) < end; at += 8) {
    RecordHeader header;
    // The cheap tests first: the index is checked before any checksum is computed.
    std::memcpy(&header, bytes_.data() + at, sizeof(header));
    if (header.index < next_index_ || header.index - next_index_ > bytes_.size()) continue;
    const bool later_group = header.index - std::min<std::uint64_t>(header.position, header.index) > next_index_;
    if (later_group && record_at(at, header)) {
      rest.tail = Tail::kDamaged;
      break;
    }
  }
  return rest;
}

// ---- writing --------------------------------------------------------------------------------------------------------

Result<SegmentWriter> SegmentWriter::create(const std::string& directory, std::uint64_t first_index,
                                            std::uint64_t bytes) {
  const std::string path = directory + "/" + segment_name(first_index);
  const std::string unfinished = path + ".tmp";
  SegmentHeader header;
  header.magic = kSegmentMagic;
  header.version = kSegmentVersion;
  header.first_index = first_index;
  const auto salt = random_number();
  if (!salt) return salt.error();
  header.salt = *salt;
  header.crc = header_crc(header);

  SegmentWriter writer;
  auto file = File::open(unfinished, O_RDWR | O_CREAT | O_TRUNC);
  if (!file) return file.error();
  writer.file_ = std::move(*file);
  writer.salt_ = header.salt;
  writer.offset_ = sizeof(header);
  writer.reserved_ = std::max<std::uint64_t>(bytes, sizeof(header));
  Status done = writer.file_.reserve(writer.reserved_);
  if (done) done = writer.file_.write_at(0, bytes_of_value(header));
  if (done) done = writer.file_.sync_data();
  if (done) done = rename_durably(unfinished, path, directory);
  if (!done) {
    remove_file(unfinished);
    return done.error();
  }
  writer.file_.moved_to(path);
  return writer;
}

Result<SegmentWriter> SegmentWriter::resume(const SegmentReader& reader, std::uint64_t bytes) {
  SegmentWriter writer;
  auto file = File::open(reader.path(), O_RDWR);
  if (!file) return file.error();
  writer.file_ = std::move(*file);
  writer.salt_ = reader.salt();
  writer.offset_ = reader.offset();
  const auto size = writer.file_.size();
  if (!size) return size.error();
  writer.reserved_ = std::max({bytes, reader.offset(), *size});
  const bool clean = reader.rest().tail == SegmentReader::Tail::kClean;
  if (!clean || *size < writer.reserved_) {
    // Cut even where only zeros follow: a record shorter than its padding may end the file.
    if (Status done = writer.file_.cut(writer.offset_); !done) return done.error();
    // Without space to reserve, the segment takes no more: the next append asks for a new one and reports the full
    // disk.
    if (Status done = writer.file_.reserve(writer.reserved_); !done) {
      if (done.error().code != ErrorCode::kUnavailable) return done.error();
      writer.reserved_ = writer.offset_;
    }
  }
  // Whoever wrote the last group may have died before its sync, or because of it: it was read from the page cache, and
  // is on the disk only when it is written once more. After a failed sync the kernel takes its pages for clean.
  // A file system that copies on writing may have no room for that; then the sync does what it can.
  if (Status done = writer.file_.write_at(reader.group_offset(), reader.group_bytes()); !done) {
    if (done.error().code != ErrorCode::kUnavailable) return done.error();
    writer.reserved_ = writer.offset_;
  }
  if (Status done = writer.file_.sync_data(); !done) return done.error();
  const std::string directory = std::filesystem::path(reader.path()).parent_path().string();
  if (Status done = sync_directory(directory); !done) return done.error();
  return writer;
}

std::uint64_t SegmentWriter::bytes_of(std::span<const std::string> records) {
  std::uint64_t bytes = 0;
  for (const std::string& record : records) bytes += sizeof(RecordHeader) + padded(record.size());
  return bytes;
}

Status SegmentWriter::append(std::uint64_t first_index, std::span<const std::string> records) {
  buffer_.assign(bytes_of(records), std::byte{0});
  std::byte* at = buffer_.data();
  for (std::size_t i = 0; i < records.size(); ++i) {
    const auto payload = std::as_bytes(std::span(records[i]));
    RecordHeader header;
    header.length = static_cast<std::uint32_t>(payload.size());
    header.index = first_index + i;
    header.position = static_cast<std::uint32_t>(i);
    header.check = header_check(salt_, header);
    header.crc = crc32c(payload, header.check);
    std::memcpy(at, &header, sizeof(header));
    std::memcpy(at + sizeof(header), payload.data(), payload.size());
    at += sizeof(header) + padded(payload.size());
  }
  Status done = file_.write_at(offset_, buffer_);
  if (!done && done.error().code == ErrorCode::kUnavailable) {
    // The file system had no room after all, or a quota is spent. What was written goes, before anyone tries again.
    Status undone = file_.cut(offset_);
    if (undone) undone = file_.sync_data();
    if (!undone) return Error{ErrorCode::kInternal, "", undone.error().message, 0};
    reserved_ = offset_;
    return done;
  }
  sync_began_ns_ = std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
  if (done) done = file_.sync_data();
  if (!done) return Error{ErrorCode::kInternal, "", done.error().message, 0};
  offset_ += buffer_.size();
  constexpr std::size_t kBufferKept = 8U << 20;
  if (buffer_.capacity() > kBufferKept) std::vector<std::byte>().swap(buffer_);
  return done;
}

void SegmentWriter::close() {
  // A failure costs disk space, no data: zeros behind the last record are read as its end.
  if (Status done = file_.cut(offset_); !done) return;
  reserved_ = offset_;
}

}  // namespace berth::store
