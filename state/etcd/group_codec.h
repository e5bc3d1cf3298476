// Groups of batches as values in etcd. What is appended together is one group; it is cut into chunks that fit into a
// request. The last chunk is written by the transaction that moves the head, so a group is there when its last chunk
// is, and not before. Each chunk carries its place and a checksum. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::etcd {

// etcd refuses requests over 1.5 MiB unless it is told otherwise; that counts keys and conditions, too.
inline constexpr std::size_t kChunkBytes = 1U << 20;

// `records` are encoded batches with consecutive indexes from `first` on, at least one.
std::vector<std::string> encode_group(std::uint64_t first, std::span<const std::string> records,
                                      std::size_t chunk_bytes = kChunkBytes);

struct Group {
  std::uint64_t first = 0;
  std::vector<std::string> records;
};

// Takes chunks in the order of their keys (or of their writing) and gives back groups.
class GroupReader {
 public:
  // A group if the chunk completes one. An error: the chunk is damaged, or does not follow the one before.
  state::Result<std::optional<Group>> add(std::string_view chunk);
  bool in_group() const { return chunks_ != 0; }
  void forget() { chunks_ = 0; }

 private:
  state::Result<std::optional<Group>> complete();

  std::uint64_t first_ = 0;
  std::uint32_t count_ = 0, chunks_ = 0, next_ = 0;  // chunks_ 0: between groups
  std::string bytes_;
};

}  // namespace berth::etcd
