// Segments: the files of the journal. Little endian, everything aligned to eight bytes:
//
//   segment  SegmentHeader, records, zeros to the reserved size
//   record   RecordHeader, payload, zeros to a multiple of eight
//
// A record's checksums start from the segment's salt, a random number, so that nothing a user can have stored passes
// for a record, or even for a record's header: a search through damaged bytes takes time linear in their number.
// Records of one append form a group; `position` counts within it. A later group is only ever begun when the one before
// is durable: a valid record of a later group behind an invalid one therefore means damage, not a torn write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "state/result.h"
#include "state/store/file.h"

namespace berth::store {

struct SegmentHeader {
  std::uint64_t magic = 0;
  std::uint32_t version = 0;
  std::uint32_t salt = 0;
  std::uint64_t first_index = 0;
  std::uint32_t crc = 0;  // of the fields above
  std::uint32_t zero = 0;
};
static_assert(sizeof(SegmentHeader) == 32);

struct RecordHeader {
  std::uint32_t length = 0;  // of the payload, never 0
  std::uint32_t crc = 0;     // goes on from `check`, over the payload
  std::uint64_t index = 0;
  std::uint32_t position = 0;
  std::uint32_t check = 0;  // goes on from the salt, over length, index and position
};
static_assert(sizeof(RecordHeader) == 24);

inline constexpr std::size_t kRecordBytesMax = 1ULL << 30;

struct Record {
  std::uint64_t index = 0;
  std::uint64_t offset = 0;  // of its header in the file
  std::span<const std::byte> payload;
};

// Reads a segment front to back. Holds all of it in memory.
class SegmentReader {
 public:
  // Refuses a file that is no segment, with one line.
  static state::Result<SegmentReader> open(const std::string& path);

  std::uint64_t first_index() const { return header_.first_index; }
  std::uint32_t salt() const { return header_.salt; }
  const std::string& path() const { return path_; }
  // The next record; false where none begins. Records have consecutive indexes.
  bool next(Record& record);
  std::uint64_t next_index() const { return next_index_; }
  std::uint64_t offset() const { return offset_; }  // where the next record would begin
  // Over what cannot be read to the next record that can, wherever it is: for who wants to know what is left of a
  // damaged segment. False if there is none.
  bool skip_damage();
  std::uint64_t size() const { return bytes_.size(); }
  // The group that the last record belongs to, as far as it was read: all that may not be durable yet.
  std::uint64_t group_offset() const { return group_offset_; }
  std::span<const std::byte> group_bytes() const;

  // What lies behind the last valid record.
  enum class Tail {
    kClean,    // nothing
    kTorn,     // a part of one append that never became durable
    kDamaged,  // acknowledged records are behind what cannot be read
  };
  struct Rest {
    Tail tail = Tail::kClean;
    std::uint64_t bytes = 0;  // from offset() to the last byte that is not zero
  };
  Rest rest() const;

 private:
  bool record_at(std::uint64_t offset, RecordHeader& header) const;

  std::string path_;
  Bytes bytes_;
  SegmentHeader header_;
  std::uint64_t offset_ = sizeof(SegmentHeader);
  std::uint64_t group_offset_ = sizeof(SegmentHeader);
  std::uint64_t next_index_ = 0;
};

// Appends to a segment.
class SegmentWriter {
 public:
  // Makes the file durable under its name, with `bytes` reserved. On an error nothing is left.
  static state::Result<SegmentWriter> create(const std::string& directory, std::uint64_t first_index,
                                             std::uint64_t bytes);
  // Goes on behind the last valid record; cuts off what follows, and makes durable what stays.
  static state::Result<SegmentWriter> resume(const SegmentReader& reader, std::uint64_t bytes);

  // Bytes that the records would take.
  static std::uint64_t bytes_of(std::span<const std::string> records);
  bool fits(std::uint64_t bytes) const { return offset_ + bytes <= reserved_; }
  std::uint64_t offset() const { return offset_; }
  const std::string& path() const { return file_.path(); }
  // One write and one fdatasync. An error of code kUnavailable left nothing behind, any other leaves the file unknown.
  state::Status append(std::uint64_t first_index, std::span<const std::string> records);
  std::int64_t sync_began_ns() const { return sync_began_ns_; }  // of the last append
  // Gives the reserved rest back. What was appended stays.
  void close();

 private:
  File file_;
  std::uint32_t salt_ = 0;
  std::uint64_t offset_ = 0;
  std::uint64_t reserved_ = 0;
  std::vector<std::byte> buffer_;
  std::int64_t sync_began_ns_ = 0;
};

std::string segment_name(std::uint64_t first_index);  // "00000000000000000001.log"

}  // namespace berth::store
