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

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "placement/mask.h"

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

// In 16 bits, rounded down: quarters of a core and eighths of a GiB. The largest stands for all above; -1 for less than
// nothing, where a claim exceeds the offer.
inline std::int16_t rounded(std::int32_t amount, int bits) {
  constexpr std::int32_t kMost = 0x7fff;
  const std::int32_t whole = amount >> bits;
  return static_cast<std::int16_t>(amount < 0 ? -1 : whole > kMost ? kMost : whole);
}
inline std::int16_t rounded_cpu(std::int32_t cpu_milli) { return rounded(cpu_milli, 8); }
inline std::int16_t rounded_mem(std::int32_t mem_mib) { return rounded(mem_mib, 7); }

struct FitDemand {
  std::int16_t cpu = 0, mem = 0;  // rounded; not below 0
  std::int32_t left_min = 0;      // no node with less left can hold it
};

// Where the leaves of several indexes lie; outlives them.
class FitMemory {
 public:
  FitMemory();
  ~FitMemory();

 private:
  friend class FitIndex;
  struct Pools;
  std::unique_ptr<Pools> pools_;
};

class FitIndex {
 public:
  explicit FitIndex(FitMemory& memory) : memory_(memory.pools_.get()) {}

  static constexpr std::int16_t kNothing = -1;  // holds no pod

  // Where an entry is or belongs. Finding that asks for the memory there, so that two can be asked for before either is
  // waited for. Good until the next change.
  struct Spot {
    std::size_t chunk = 0, leaf = 0;
  };
  Spot spot_of(const FitEntry& entry);
  void insert(const FitEntry& entry) { insert(entry, spot_of(entry)); }
  void insert(const FitEntry& entry, Spot spot);
  void erase(const FitEntry& entry) { erase(entry, spot_of(entry)); }  // it is there, with just these amounts
  void erase(const FitEntry& entry, Spot spot);
  void change(const FitEntry& from, const FitEntry& to);  // the same slot
  // False: nothing here can hold it.
  bool may_hold(const FitDemand& demand) const { return most_cpu_ >= demand.cpu && most_mem_ >= demand.mem; }
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  // Asks for the memory that find() will look at first.
  void prefetch(const FitDemand& demand) const;
  // The first by (left, slot) for which accept(context, slot) holds, of those that may hold the demand and have a key
  // below `limit`: its key, or kNone. Without `accept` it may be one that does not quite hold it.
  using Accept = bool (*)(const void* context, std::uint32_t slot);
  static constexpr std::uint64_t kNone = ~0ULL;
  // Of nodes in all of `masks` alone.
  std::uint64_t find(const FitDemand& demand, std::uint64_t limit, Accept accept, const void* context,
                     const MaskList& masks = {});

  // All that may hold a demand, in order, while nothing is changed.
  class Cursor {
   public:
    Cursor(const FitIndex& index, const FitDemand& demand);
    std::uint64_t next();  // its key, or kNone

   private:
    bool fill();  // keys_ from the next leaf that has any
    const FitIndex* index_;
    FitDemand demand_;
    std::size_t chunk_, leaf_;
    std::uint32_t count_ = 0, at_ = 0;
    std::array<std::uint64_t, 64> keys_;
  };

  bool holds(const FitEntry& entry) const;
  // "" or what is wrong with the structure itself. For tests.
  std::string check() const;

 private:
  struct Leaf;
  struct Chunk;
  void begin();
  void raise_bounds(std::size_t chunk, std::size_t leaf, const FitEntry& entry);
  std::size_t chunk_of(std::uint64_t key) const;
  void split_leaf(std::size_t chunk, std::size_t leaf);
  void split_chunk(std::size_t chunk);
  void merge_leaf(std::size_t chunk, std::size_t leaf);
  void merge_chunk(std::size_t chunk);
  struct Search;
  std::uint64_t find_in_chunk(std::size_t chunk, std::size_t from_leaf, const Search& search);
  static std::uint64_t least_accepted(const Leaf& leaf, std::uint64_t fits, const Search& search);

  friend class FitMemory;
  FitMemory::Pools* memory_;
  std::size_t size_ = 0;
  std::int16_t most_cpu_ = kNothing, most_mem_ = kNothing;  // over all chunks
  // By chunk, in order: the least key that belongs there, and the largest amounts in it.
  std::vector<std::uint64_t> first_key_;
  std::vector<std::int16_t> max_cpu_, max_mem_;
  std::vector<Chunk*> chunks_;
};

}  // namespace berth::placement
