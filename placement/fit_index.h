// The index behind best fit: open nodes of one kind (equal features, equally many free GPUs), sorted by what they have
// left and then by id, in leaves of 64. Over the leaves and over chunks of leaves stand the largest free cpu and memory
// below, so that whatever cannot hold a pod is skipped. A search starts where a node's left amount could hold the pod
// at all and ends at the first that does: that is the best by (left, id), exactly.
//
// The largest amounts are bounds: they rise at once, and fall when a search finds that they promise too much. One
// caller at a time. Amounts are kept in 16 bits, rounded down: a leaf is four cache lines to a search. The few that
// rounding lets through are looked at exactly by the caller. A node costs 12 bytes, in leaves that are half full after
// a split.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace berth::placement {

// What the index knows of a node. `left` is what is minimised, any 32-bit number.
struct FitEntry {
  std::int32_t left = 0, cpu_milli = 0, mem_mib = 0;
  std::uint32_t slot = 0;
  // Sorted by left, then by slot.
  std::uint64_t key() const {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left) ^ 0x80000000U) << 32 | slot;
  }
  static std::uint32_t slot_of(std::uint64_t key) { return static_cast<std::uint32_t>(key); }
  static std::int32_t left_of(std::uint64_t key) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(key >> 32) ^ 0x80000000U);
  }
};

struct FitDemand {
  std::int32_t cpu_milli = 0, mem_mib = 0;
  std::int32_t left_min = 0;  // no node with less left can hold it
};

class FitIndex {
 public:
  FitIndex();
  ~FitIndex();
  FitIndex(FitIndex&&) noexcept;
  FitIndex& operator=(FitIndex&&) noexcept;

  void insert(const FitEntry& entry);
  void erase(const FitEntry& entry);  // it is there, with just these amounts
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  // The first by (left, slot) for which accept(context, slot) holds, of those that may hold the demand and have a key
  // below `limit`: its key, or kNone. `accept` checks the amounts exactly, and whatever else there is to check.
  using Accept = bool (*)(const void* context, std::uint32_t slot);
  static constexpr std::uint64_t kNone = ~0ULL;
  std::uint64_t find(const FitDemand& demand, std::uint64_t limit, Accept accept, const void* context);

  bool holds(const FitEntry& entry) const;
  // "" or what is wrong with the structure itself. For tests.
  std::string check() const;

 private:
  struct Leaf;
  struct Chunk;
  std::size_t chunk_of(std::uint64_t key) const;
  void split_leaf(std::size_t chunk, std::size_t leaf);
  void split_chunk(std::size_t chunk);
  void merge_leaf(std::size_t chunk, std::size_t leaf);
  void merge_chunk(std::size_t chunk);
  struct Search;
  std::uint64_t find_in_chunk(std::size_t chunk, std::size_t from_leaf, const Search& search);

  std::size_t size_ = 0;
  // By chunk, in order: the least key that belongs there, and the largest amounts in it.
  std::vector<std::uint64_t> first_key_;
  std::vector<std::int16_t> max_cpu_, max_mem_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
};

}  // namespace berth::placement
