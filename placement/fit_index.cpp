#include "placement/fit_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "placement/fit_columns.h"
#include "placement/huge_memory.h"

namespace berth::placement {

namespace {

constexpr std::size_t kWidth = kColumn;  // entries of a leaf, leaves of a chunk: one bit of a word each
constexpr std::size_t kSparse = kWidth / 4, kFull = kWidth * 3 / 4;
constexpr std::int16_t kNothing = FitIndex::kNothing;

// Bit i: place i has this number.
inline std::uint64_t equal(const std::array<std::uint32_t, kWidth>& column, std::uint32_t wanted) {
  std::uint64_t bits = 0;
#if defined(__SSE2__)
  const __m128i all = _mm_set1_epi32(static_cast<std::int32_t>(wanted));
  const auto same = [&](std::size_t i) {
    return _mm_cmpeq_epi32(all, _mm_load_si128(reinterpret_cast<const __m128i*>(column.data() + i)));
  };
  for (std::size_t i = 0; i < kWidth; i += 16) {
    const __m128i low = _mm_packs_epi32(same(i), same(i + 4)), high = _mm_packs_epi32(same(i + 8), same(i + 12));
    const int sixteen = _mm_movemask_epi8(_mm_packs_epi16(low, high));
    bits |= static_cast<std::uint64_t>(static_cast<std::uint32_t>(sixteen)) << i;
  }
#else
  for (std::size_t i = 0; i < kWidth; ++i) bits |= static_cast<std::uint64_t>(column[i] == wanted) << i;
#endif
  return bits;
}

// The last of `count` sorted keys that is not above `key`; the first counts as if it were below all. Without branches
// that depend on the keys.
std::size_t place_among(const std::uint64_t* keys, std::size_t count, std::uint64_t key) {
  std::size_t base = 0;
  while (count > 1) {
    const std::size_t half = count / 2;
    base += keys[base + half] <= key ? half : 0;
    count -= half;
  }
  return base;
}

std::int16_t largest(const Column& column) { return *std::max_element(column.begin(), column.end()); }

std::size_t lowest_bit(std::uint64_t bits) { return static_cast<std::size_t>(std::countr_zero(bits)); }

}  // namespace

// In no order: what comes goes to the end, and the last takes the place of what goes.
struct FitIndex::Leaf {
  alignas(64) Column cpu, mem;
  alignas(64) std::array<std::uint32_t, kWidth> slot;
  std::array<std::int32_t, kWidth> left;
  std::uint32_t count = 0;

  Leaf() {
    cpu.fill(kNothing);
    mem.fill(kNothing);
    slot.fill(~0U);
    left.fill(0);
  }
  std::uint64_t key(std::size_t i) const { return FitEntry{left[i], 0, 0, slot[i]}.key(); }
  std::size_t place_of(std::uint32_t wanted) const { return lowest_bit(equal(slot, wanted)); }
  void set(std::size_t i, const FitEntry& entry) {
    cpu[i] = rounded_cpu(entry.cpu_milli);
    mem[i] = rounded_mem(entry.mem_mib);
    slot[i] = entry.slot;
    left[i] = entry.left;
  }
  void move(std::size_t from, Leaf& leaf, std::size_t to) {
    leaf.cpu[to] = cpu[from];
    leaf.mem[to] = mem[from];
    leaf.slot[to] = slot[from];
    leaf.left[to] = left[from];
  }
  void clear(std::size_t i) {
    cpu[i] = mem[i] = kNothing;
    slot[i] = ~0U;  // what place_of() must not find
  }
  void prefetch_amounts() const {
    __builtin_prefetch(cpu.data());
    __builtin_prefetch(cpu.data() + kWidth / 2);
    __builtin_prefetch(mem.data());
    __builtin_prefetch(mem.data() + kWidth / 2);
  }
  void prefetch_slots() const {
    for (std::size_t i = 0; i < kWidth; i += 16) __builtin_prefetch(slot.data() + i);
    for (std::size_t i = 0; i < kWidth; i += 16) __builtin_prefetch(left.data() + i);
    __builtin_prefetch(&count);
  }
  void insert(const FitEntry& entry) { set(count++, entry); }
  void erase(std::uint32_t gone) {
    move(--count, *this, place_of(gone));
    clear(count);
  }
  void move_all(Leaf& to) {
    for (std::size_t i = 0; i < count; ++i) move(i, to, to.count++);
    count = 0;
  }
  // Leaves the lower half of the keys here, moves the others to an empty leaf; returns the least of those.
  std::uint64_t split(Leaf& upper) {
    std::array<std::uint64_t, kWidth> keys;
    for (std::size_t i = 0; i < kWidth; ++i) keys[i] = key(i);
    std::nth_element(keys.begin(), keys.begin() + kWidth / 2, keys.end());
    const std::uint64_t middle = keys[kWidth / 2];
    std::uint32_t kept = 0;
    for (std::size_t i = 0; i < kWidth; ++i) key(i) < middle ? move(i, *this, kept++) : move(i, upper, upper.count++);
    for (std::size_t i = kept; i < kWidth; ++i) clear(i);
    count = kept;
    return middle;
  }
};

// Leaves in order, with what the index keeps of chunks kept of leaves.
struct FitIndex::Chunk {
  alignas(64) Column max_cpu, max_mem;
  std::array<std::uint64_t, kWidth> first_key;
  std::array<Leaf*, kWidth> leaves;
  std::size_t count = 0;

  Chunk() {
    max_cpu.fill(kNothing);
    max_mem.fill(kNothing);
    first_key.fill(kNone);
    leaves.fill(nullptr);
  }
  std::size_t leaf_of(std::uint64_t key) const { return place_among(first_key.data(), count, key); }
  void make_room(std::size_t at) {
    for (std::size_t i = count; i > at; --i) move(i - 1, i);
    ++count;
  }
  void remove(std::size_t at) {
    for (std::size_t i = at; i + 1 < count; ++i) move(i + 1, i);
    --count;
    max_cpu[count] = max_mem[count] = kNothing;
    first_key[count] = kNone;
  }
  void move(std::size_t from, std::size_t to) {
    max_cpu[to] = max_cpu[from];
    max_mem[to] = max_mem[from];
    first_key[to] = first_key[from];
    leaves[to] = leaves[from];
  }
  void tighten(std::size_t i) {
    max_cpu[i] = largest(leaves[i]->cpu);
    max_mem[i] = largest(leaves[i]->mem);
  }
};

struct FitIndex::Search {
  FitDemand demand;
  std::uint64_t limit;
  Accept accept;
  const void* context;
  const MaskList& masks;
};

struct FitMemory::Pools {
  HugePool<FitIndex::Leaf> leaves;
  HugePool<FitIndex::Chunk> chunks;
};
FitMemory::FitMemory() : pools_(std::make_unique<Pools>()) {}
FitMemory::~FitMemory() = default;

// An index that never had a node is nothing but its bounds.
void FitIndex::begin() {
  first_key_.push_back(0);
  max_cpu_.push_back(kNothing);
  max_mem_.push_back(kNothing);
  chunks_.push_back(memory_->chunks.make());
  chunks_[0]->leaves[0] = memory_->leaves.make();
  chunks_[0]->first_key[0] = 0;
  chunks_[0]->count = 1;
}

std::size_t FitIndex::chunk_of(std::uint64_t key) const {
  return place_among(first_key_.data(), first_key_.size(), key);
}

FitIndex::Spot FitIndex::spot_of(const FitEntry& entry) {
  if (chunks_.empty()) begin();
  const std::size_t at = chunk_of(entry.key());
  const std::size_t which = chunks_[at]->leaf_of(entry.key());
  chunks_[at]->leaves[which]->prefetch_slots();
  return {at, which};
}

void FitIndex::insert(const FitEntry& entry, Spot spot) {
  if (chunks_[spot.chunk]->leaves[spot.leaf]->count == kWidth) {
    split_leaf(spot.chunk, spot.leaf);
    spot = spot_of(entry);
  }
  chunks_[spot.chunk]->leaves[spot.leaf]->insert(entry);
  raise_bounds(spot.chunk, spot.leaf, entry);
  ++size_;
}

void FitIndex::raise_bounds(std::size_t at, std::size_t which, const FitEntry& entry) {
  const std::int16_t cpu = rounded_cpu(entry.cpu_milli), mem = rounded_mem(entry.mem_mib);
  Chunk& chunk = *chunks_[at];
  chunk.max_cpu[which] = std::max(chunk.max_cpu[which], cpu);
  chunk.max_mem[which] = std::max(chunk.max_mem[which], mem);
  max_cpu_[at] = std::max(max_cpu_[at], cpu);
  max_mem_[at] = std::max(max_mem_[at], mem);
  most_cpu_ = std::max(most_cpu_, cpu);
  most_mem_ = std::max(most_mem_, mem);
}

void FitIndex::erase(const FitEntry& entry, Spot spot) {
  Leaf& leaf = *chunks_[spot.chunk]->leaves[spot.leaf];
  leaf.erase(entry.slot);
  --size_;
  if (leaf.count <= kSparse) merge_leaf(spot.chunk, spot.leaf);
}

void FitIndex::change(const FitEntry& from, const FitEntry& to) {
  const Spot here = spot_of(from), there = spot_of(to);
  if (here.chunk != there.chunk || here.leaf != there.leaf) {
    erase(from, here);  // may join leaves
    insert(to);
    return;
  }
  Leaf& leaf = *chunks_[here.chunk]->leaves[here.leaf];
  leaf.set(leaf.place_of(from.slot), to);
  raise_bounds(here.chunk, here.leaf, to);
}

// Joins a sparse leaf with the next, and a sparse chunk with the next, where one has room for both.
void FitIndex::merge_leaf(std::size_t at, std::size_t which) {
  Chunk& chunk = *chunks_[at];
  if (which + 1 < chunk.count) {
    Leaf& leaf = *chunk.leaves[which];
    Leaf& next = *chunk.leaves[which + 1];
    if (leaf.count + next.count > kFull) return;
    next.move_all(leaf);
    chunk.max_cpu[which] = std::max(chunk.max_cpu[which], chunk.max_cpu[which + 1]);
    chunk.max_mem[which] = std::max(chunk.max_mem[which], chunk.max_mem[which + 1]);
    memory_->leaves.drop(&next);
    chunk.remove(which + 1);
  }
  if (chunk.count <= kSparse) merge_chunk(at);
}

void FitIndex::merge_chunk(std::size_t at) {
  if (at + 1 >= chunks_.size() || chunks_[at]->count + chunks_[at + 1]->count > kFull) return;
  Chunk& chunk = *chunks_[at];
  Chunk& next = *chunks_[at + 1];
  for (std::size_t i = 0; i < next.count; ++i) {
    const std::size_t to = chunk.count++;
    chunk.max_cpu[to] = next.max_cpu[i];
    chunk.max_mem[to] = next.max_mem[i];
    chunk.first_key[to] = next.first_key[i];
    chunk.leaves[to] = next.leaves[i];
  }
  memory_->chunks.drop(&next);
  max_cpu_[at] = std::max(max_cpu_[at], max_cpu_[at + 1]);
  max_mem_[at] = std::max(max_mem_[at], max_mem_[at + 1]);
  const auto gone = static_cast<std::ptrdiff_t>(at + 1);
  first_key_.erase(first_key_.begin() + gone);
  max_cpu_.erase(max_cpu_.begin() + gone);
  max_mem_.erase(max_mem_.begin() + gone);
  chunks_.erase(chunks_.begin() + gone);
}

void FitIndex::split_leaf(std::size_t at, std::size_t which) {
  if (chunks_[at]->count == kWidth) {
    const std::uint64_t key = chunks_[at]->first_key[which];
    split_chunk(at);
    at = chunk_of(key);
    which = chunks_[at]->leaf_of(key);
  }
  Chunk& chunk = *chunks_[at];
  chunk.make_room(which + 1);
  chunk.leaves[which + 1] = memory_->leaves.make();
  chunk.first_key[which + 1] = chunk.leaves[which]->split(*chunk.leaves[which + 1]);
  chunk.tighten(which);
  chunk.tighten(which + 1);
}

void FitIndex::split_chunk(std::size_t at) {
  constexpr std::size_t kHalf = kWidth / 2;
  Chunk* upper = memory_->chunks.make();
  Chunk& lower = *chunks_[at];
  for (std::size_t i = kHalf; i < kWidth; ++i) {
    const std::size_t to = i - kHalf;
    upper->max_cpu[to] = std::exchange(lower.max_cpu[i], kNothing);
    upper->max_mem[to] = std::exchange(lower.max_mem[i], kNothing);
    upper->first_key[to] = std::exchange(lower.first_key[i], kNone);
    upper->leaves[to] = lower.leaves[i];
  }
  lower.count = upper->count = kHalf;
  const auto after = static_cast<std::ptrdiff_t>(at + 1);
  first_key_.insert(first_key_.begin() + after, upper->first_key[0]);
  max_cpu_[at] = largest(lower.max_cpu);
  max_mem_[at] = largest(lower.max_mem);
  max_cpu_.insert(max_cpu_.begin() + after, largest(upper->max_cpu));
  max_mem_.insert(max_mem_.begin() + after, largest(upper->max_mem));
  chunks_.insert(chunks_.begin() + after, upper);
}

void FitIndex::prefetch(const FitDemand& demand) const {
  const std::uint64_t start = FitEntry{demand.left_min, 0, 0, 0}.key();
  const Chunk& chunk = *chunks_[chunk_of(start)];
  chunk.leaves[chunk.leaf_of(start)]->prefetch_amounts();
}

std::uint64_t FitIndex::find(const FitDemand& demand, std::uint64_t limit, Accept accept, const void* context,
                             const MaskList& masks) {
  const Search search{demand, limit, accept, context, masks};
  const std::uint64_t start = FitEntry{demand.left_min, 0, 0, 0}.key();
  const std::size_t first = chunk_of(start);
  for (std::size_t at = first; at < chunks_.size() && first_key_[at] < limit; ++at) {
    if (max_cpu_[at] < search.demand.cpu || max_mem_[at] < search.demand.mem) continue;
    const std::size_t from = at == first ? chunks_[at]->leaf_of(start) : 0;
    if (const std::uint64_t found = find_in_chunk(at, from, search); found != kNone) return found;
    if (masks.gave_up()) return kNone;
  }
  most_cpu_ = *std::max_element(max_cpu_.begin(), max_cpu_.end());
  most_mem_ = *std::max_element(max_mem_.begin(), max_mem_.end());
  return kNone;
}

std::uint64_t FitIndex::find_in_chunk(std::size_t at, std::size_t from, const Search& search) {
  Chunk& chunk = *chunks_[at];
  const FitDemand& demand = search.demand;
  std::uint64_t promising = fitting(chunk.max_cpu, chunk.max_mem, demand.cpu, demand.mem);
  if (promising == 0) {
    max_cpu_[at] = largest(chunk.max_cpu);
    max_mem_[at] = largest(chunk.max_mem);
    return kNone;
  }
  for (promising &= ~0ULL << from; promising != 0; promising &= promising - 1) {
    const std::size_t which = lowest_bit(promising);
    if (chunk.first_key[which] >= search.limit) return kNone;
    // A search that passes over many comes to the next leaf as well.
    if (const std::uint64_t rest = promising & (promising - 1); rest != 0 && !search.masks.empty()) {
      const Leaf& next = *chunk.leaves[lowest_bit(rest)];
      next.prefetch_amounts();
      next.prefetch_slots();
    }
    const std::uint64_t fits = fitting(chunk.leaves[which]->cpu, chunk.leaves[which]->mem, demand.cpu, demand.mem);
    if (fits == 0) {
      chunk.tighten(which);
    } else if (const std::uint64_t found = least_accepted(*chunk.leaves[which], fits, search); found != kNone) {
      return found < search.limit ? found : kNone;
    } else if (search.masks.gave_up()) {
      return kNone;
    }
  }
  return kNone;
}

std::uint64_t FitIndex::least_accepted(const Leaf& leaf, std::uint64_t fits, const Search& search) {
  if (!search.masks.empty()) fits = search.masks.among(leaf.slot.data(), fits);
  while (fits != 0) {
    std::uint64_t best = kNone;
    for (std::uint64_t rest = fits; rest != 0; rest &= rest - 1) best = std::min(best, leaf.key(lowest_bit(rest)));
    const std::uint32_t slot = FitEntry::slot_of(best);
    if (search.accept == nullptr || search.accept(search.context, slot)) return best;
    fits ^= std::uint64_t{1} << leaf.place_of(slot);
  }
  return kNone;
}

FitIndex::Cursor::Cursor(const FitIndex& index, const FitDemand& demand) : index_(&index), demand_(demand) {
  const std::uint64_t start = FitEntry{demand.left_min, 0, 0, 0}.key();
  chunk_ = index.chunk_of(start);
  leaf_ = index.chunks_[chunk_]->leaf_of(start);
}

std::uint64_t FitIndex::Cursor::next() {
  while (at_ == count_) {
    if (!fill()) return kNone;
  }
  return keys_[at_++];
}

bool FitIndex::Cursor::fill() {
  for (; chunk_ < index_->chunks_.size(); ++chunk_, leaf_ = 0) {
    if (index_->max_cpu_[chunk_] < demand_.cpu || index_->max_mem_[chunk_] < demand_.mem) continue;
    const Chunk& chunk = *index_->chunks_[chunk_];
    for (; leaf_ < chunk.count; ++leaf_) {
      if (chunk.max_cpu[leaf_] < demand_.cpu || chunk.max_mem[leaf_] < demand_.mem) continue;
      const Leaf& leaf = *chunk.leaves[leaf_];
      std::uint64_t fits = fitting(leaf.cpu, leaf.mem, demand_.cpu, demand_.mem);
      if (fits == 0) continue;
      at_ = count_ = 0;
      for (; fits != 0; fits &= fits - 1) keys_[count_++] = leaf.key(lowest_bit(fits));
      std::sort(keys_.begin(), keys_.begin() + count_);
      ++leaf_;
      return true;
    }
  }
  return false;
}

bool FitIndex::holds(const FitEntry& entry) const {
  if (chunks_.empty()) return false;
  const Chunk& chunk = *chunks_[chunk_of(entry.key())];
  const Leaf& leaf = *chunk.leaves[chunk.leaf_of(entry.key())];
  const std::size_t i = leaf.place_of(entry.slot);
  return i < leaf.count && leaf.left[i] == entry.left && leaf.cpu[i] == rounded_cpu(entry.cpu_milli) &&
         leaf.mem[i] == rounded_mem(entry.mem_mib);
}

std::string FitIndex::check() const {
  std::size_t count = 0;
  for (std::size_t at = 0; at < chunks_.size(); ++at) {
    const Chunk& chunk = *chunks_[at];
    if (first_key_[at] != chunk.first_key[0]) return "a chunk's first key is wrong";
    if (chunk.count == 0 || chunk.count > kWidth) return "a chunk has no leaves or too many";
    for (std::size_t which = 0; which < chunk.count; ++which) {
      const Leaf& leaf = *chunk.leaves[which];
      const bool last = which + 1 == chunk.count;
      const std::uint64_t end = !last                        ? chunk.first_key[which + 1]
                                : at + 1 < first_key_.size() ? first_key_[at + 1]
                                                             : kNone;
      for (std::size_t i = 0; i < kWidth; ++i) {
        if (i >= leaf.count) {
          if (leaf.cpu[i] != kNothing || leaf.mem[i] != kNothing) return "an unused place is not empty";
          continue;
        }
        const std::uint64_t key = leaf.key(i);
        if (key < chunk.first_key[which] || key >= end) return "an entry is in the wrong leaf";
        if (leaf.cpu[i] > chunk.max_cpu[which] || leaf.mem[i] > chunk.max_mem[which])
          return "a leaf's bound is too low";
      }
      if (max_cpu_[at] > most_cpu_ || max_mem_[at] > most_mem_) return "the bound of all is too low";
      if (chunk.max_cpu[which] > max_cpu_[at] || chunk.max_mem[which] > max_mem_[at])
        return "a chunk's bound is too low";
      count += leaf.count;
    }
  }
  return count == size_ ? "" : "the size is wrong";
}

}  // namespace berth::placement
