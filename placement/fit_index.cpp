#include "placement/fit_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace berth::placement {

namespace {

constexpr std::size_t kWidth = 64;  // entries of a leaf, leaves of a chunk: one bit of a word each
constexpr std::size_t kSparse = kWidth / 4, kFull = kWidth * 3 / 4;
constexpr std::int16_t kNothing = -1;  // in unused places, and where a claim exceeds the offer: holds no pod

using Column = std::array<std::int16_t, kWidth>;

// In 16 bits: quarters of a core, and eighths of a GiB; rounded down, and the largest stands for all above.
std::int16_t rounded(std::int32_t amount, int bits) {
  if (amount < 0) return kNothing;
  return static_cast<std::int16_t>(std::min(amount >> bits, std::int32_t{std::numeric_limits<std::int16_t>::max()}));
}
std::int16_t rounded_cpu(std::int32_t cpu_milli) { return rounded(cpu_milli, 8); }
std::int16_t rounded_mem(std::int32_t mem_mib) { return rounded(mem_mib, 7); }

// Bit i: place i may hold the demand.
std::uint64_t fitting_any(const Column& cpu, const Column& mem, std::int16_t wanted_cpu, std::int16_t wanted_mem) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < kWidth; ++i) {
    bits |= static_cast<std::uint64_t>((cpu[i] >= wanted_cpu) & (mem[i] >= wanted_mem)) << i;
  }
  return bits;
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] std::uint64_t fitting_avx2(const Column& cpu, const Column& mem, std::int16_t wanted_cpu,
                                                   std::int16_t wanted_mem) {
  const __m256i cpu_below = _mm256_set1_epi16(wanted_cpu), mem_below = _mm256_set1_epi16(wanted_mem);
  const auto lacks = [&](std::size_t i) __attribute__((always_inline, target("avx2"))) {
    const __m256i cpu_here = _mm256_load_si256(reinterpret_cast<const __m256i*>(cpu.data() + i));
    const __m256i mem_here = _mm256_load_si256(reinterpret_cast<const __m256i*>(mem.data() + i));
    return _mm256_or_si256(_mm256_cmpgt_epi16(cpu_below, cpu_here), _mm256_cmpgt_epi16(mem_below, mem_here));
  };
  const auto half = [&](std::size_t i) __attribute__((always_inline, target("avx2"))) {
    // Packing works within 128-bit lanes: the middle quarters change places.
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(lacks(i), lacks(i + 16)), 0b11011000);
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm256_movemask_epi8(bytes)));
  };
  return ~(half(0) | half(32) << 32);
}
#endif

using Fitting = std::uint64_t (*)(const Column&, const Column&, std::int16_t, std::int16_t);
const Fitting fitting = [] {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return static_cast<Fitting>(fitting_avx2);
#endif
  return static_cast<Fitting>(fitting_any);
}();

std::int16_t largest(const Column& column) { return *std::max_element(column.begin(), column.end()); }

std::size_t lowest_bit(std::uint64_t bits) { return static_cast<std::size_t>(std::countr_zero(bits)); }

}  // namespace

struct FitIndex::Leaf {  // sorted
  alignas(64) Column cpu, mem;
  std::array<std::uint64_t, kWidth> key;
  std::uint32_t count = 0;

  Leaf() {
    cpu.fill(kNothing);
    mem.fill(kNothing);
    key.fill(kNone);
  }
  std::size_t place_of(std::uint64_t wanted) const {
    return static_cast<std::size_t>(std::lower_bound(key.begin(), key.begin() + count, wanted) - key.begin());
  }
  void insert(const FitEntry& entry) {
    const std::size_t at = place_of(entry.key());
    const auto shift = [&](auto& column) {
      std::copy_backward(column.begin() + at, column.begin() + count, column.begin() + count + 1);
    };
    shift(cpu);
    shift(mem);
    shift(key);
    ++count;
    cpu[at] = rounded_cpu(entry.cpu_milli);
    mem[at] = rounded_mem(entry.mem_mib);
    key[at] = entry.key();
  }
  void erase(std::uint64_t gone) {
    const std::size_t at = place_of(gone);
    const auto shift = [&](auto& column) {
      std::copy(column.begin() + at + 1, column.begin() + count, column.begin() + at);
    };
    shift(cpu);
    shift(mem);
    shift(key);
    --count;
    cpu[count] = mem[count] = kNothing;
    key[count] = kNone;
  }
  // Moves the places from `first` on behind those of `to`, whose keys are lower.
  void move_to(Leaf& to, std::size_t first) {
    for (std::size_t i = first; i < count; ++i, ++to.count) {
      to.cpu[to.count] = std::exchange(cpu[i], kNothing);
      to.mem[to.count] = std::exchange(mem[i], kNothing);
      to.key[to.count] = std::exchange(key[i], kNone);
    }
    count = static_cast<std::uint32_t>(first);
  }
};

// Leaves in order, with what the index keeps of chunks kept of leaves.
struct FitIndex::Chunk {
  alignas(64) Column max_cpu, max_mem;
  std::array<std::uint64_t, kWidth> first_key;
  std::array<std::unique_ptr<Leaf>, kWidth> leaves;
  std::size_t count = 0;

  Chunk() {
    max_cpu.fill(kNothing);
    max_mem.fill(kNothing);
    first_key.fill(kNone);
  }
  std::size_t leaf_of(std::uint64_t key) const {
    const auto end = first_key.begin() + static_cast<std::ptrdiff_t>(count);
    const auto after = std::upper_bound(first_key.begin() + 1, end, key);
    return static_cast<std::size_t>(after - first_key.begin()) - 1;
  }
  void make_room(std::size_t at) {
    for (std::size_t i = count; i > at; --i) move(i - 1, i);
    ++count;
  }
  void remove(std::size_t at) {
    leaves[at].reset();
    for (std::size_t i = at; i + 1 < count; ++i) move(i + 1, i);
    --count;
    max_cpu[count] = max_mem[count] = kNothing;
    first_key[count] = kNone;
  }
  void move(std::size_t from, std::size_t to) {
    max_cpu[to] = max_cpu[from];
    max_mem[to] = max_mem[from];
    first_key[to] = first_key[from];
    leaves[to] = std::move(leaves[from]);
  }
  void tighten(std::size_t i) {
    max_cpu[i] = largest(leaves[i]->cpu);
    max_mem[i] = largest(leaves[i]->mem);
  }
};

struct FitIndex::Search {
  std::int16_t cpu, mem;
  std::uint64_t limit;
  Accept accept;
  const void* context;
};

FitIndex::FitIndex() {
  first_key_.push_back(0);
  max_cpu_.push_back(kNothing);
  max_mem_.push_back(kNothing);
  chunks_.push_back(std::make_unique<Chunk>());
  chunks_[0]->leaves[0] = std::make_unique<Leaf>();
  chunks_[0]->first_key[0] = 0;
  chunks_[0]->count = 1;
}
FitIndex::~FitIndex() = default;
FitIndex::FitIndex(FitIndex&&) noexcept = default;
FitIndex& FitIndex::operator=(FitIndex&&) noexcept = default;

std::size_t FitIndex::chunk_of(std::uint64_t key) const {
  const auto after = std::upper_bound(first_key_.begin() + 1, first_key_.end(), key);
  return static_cast<std::size_t>(after - first_key_.begin()) - 1;
}

void FitIndex::insert(const FitEntry& entry) {
  const std::uint64_t key = entry.key();
  std::size_t at = chunk_of(key);
  std::size_t which = chunks_[at]->leaf_of(key);
  if (chunks_[at]->leaves[which]->count == kWidth) {
    split_leaf(at, which);
    at = chunk_of(key);
    which = chunks_[at]->leaf_of(key);
  }
  Chunk& chunk = *chunks_[at];
  chunk.leaves[which]->insert(entry);
  const std::int16_t cpu = rounded_cpu(entry.cpu_milli), mem = rounded_mem(entry.mem_mib);
  chunk.max_cpu[which] = std::max(chunk.max_cpu[which], cpu);
  chunk.max_mem[which] = std::max(chunk.max_mem[which], mem);
  max_cpu_[at] = std::max(max_cpu_[at], cpu);
  max_mem_[at] = std::max(max_mem_[at], mem);
  ++size_;
}

void FitIndex::erase(const FitEntry& entry) {
  const std::uint64_t key = entry.key();
  const std::size_t at = chunk_of(key);
  const std::size_t which = chunks_[at]->leaf_of(key);
  Leaf& leaf = *chunks_[at]->leaves[which];
  leaf.erase(key);
  --size_;
  if (leaf.count <= kSparse) merge_leaf(at, which);
}

// Joins a sparse leaf with the next, and a sparse chunk with the next, where one has room for both.
void FitIndex::merge_leaf(std::size_t at, std::size_t which) {
  Chunk& chunk = *chunks_[at];
  if (which + 1 < chunk.count) {
    Leaf& leaf = *chunk.leaves[which];
    Leaf& next = *chunk.leaves[which + 1];
    if (leaf.count + next.count > kFull) return;
    next.move_to(leaf, 0);
    chunk.max_cpu[which] = std::max(chunk.max_cpu[which], chunk.max_cpu[which + 1]);
    chunk.max_mem[which] = std::max(chunk.max_mem[which], chunk.max_mem[which + 1]);
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
    chunk.leaves[to] = std::move(next.leaves[i]);
  }
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
  chunk.leaves[which + 1] = std::make_unique<Leaf>();
  chunk.leaves[which]->move_to(*chunk.leaves[which + 1], kWidth / 2);
  chunk.first_key[which + 1] = chunk.leaves[which + 1]->key[0];
  chunk.tighten(which);
  chunk.tighten(which + 1);
}

void FitIndex::split_chunk(std::size_t at) {
  constexpr std::size_t kHalf = kWidth / 2;
  auto upper = std::make_unique<Chunk>();
  Chunk& lower = *chunks_[at];
  for (std::size_t i = kHalf; i < kWidth; ++i) {
    const std::size_t to = i - kHalf;
    upper->max_cpu[to] = std::exchange(lower.max_cpu[i], kNothing);
    upper->max_mem[to] = std::exchange(lower.max_mem[i], kNothing);
    upper->first_key[to] = std::exchange(lower.first_key[i], kNone);
    upper->leaves[to] = std::move(lower.leaves[i]);
  }
  lower.count = upper->count = kHalf;
  const auto after = static_cast<std::ptrdiff_t>(at + 1);
  first_key_.insert(first_key_.begin() + after, upper->first_key[0]);
  max_cpu_[at] = largest(lower.max_cpu);
  max_mem_[at] = largest(lower.max_mem);
  max_cpu_.insert(max_cpu_.begin() + after, largest(upper->max_cpu));
  max_mem_.insert(max_mem_.begin() + after, largest(upper->max_mem));
  chunks_.insert(chunks_.begin() + after, std::move(upper));
}

std::uint64_t FitIndex::find(const FitDemand& demand, std::uint64_t limit, Accept accept, const void* context) {
  const Search search{rounded_cpu(demand.cpu_milli), rounded_mem(demand.mem_mib), limit, accept, context};
  const std::uint64_t start = FitEntry{demand.left_min, 0, 0, 0}.key();
  const std::size_t first = chunk_of(start);
  for (std::size_t at = first; at < chunks_.size() && first_key_[at] < limit; ++at) {
    if (max_cpu_[at] < search.cpu || max_mem_[at] < search.mem) continue;
    const std::size_t from = at == first ? chunks_[at]->leaf_of(start) : 0;
    if (const std::uint64_t found = find_in_chunk(at, from, search); found != kNone) return found;
  }
  return kNone;
}

std::uint64_t FitIndex::find_in_chunk(std::size_t at, std::size_t from, const Search& search) {
  Chunk& chunk = *chunks_[at];
  std::uint64_t promising = fitting(chunk.max_cpu, chunk.max_mem, search.cpu, search.mem);
  if (promising == 0) {
    max_cpu_[at] = largest(chunk.max_cpu);
    max_mem_[at] = largest(chunk.max_mem);
    return kNone;
  }
  for (promising &= ~0ULL << from; promising != 0; promising &= promising - 1) {
    const std::size_t which = lowest_bit(promising);
    if (chunk.first_key[which] >= search.limit) return kNone;
    const Leaf& leaf = *chunk.leaves[which];
    std::uint64_t fits = fitting(leaf.cpu, leaf.mem, search.cpu, search.mem);
    if (fits == 0) chunk.tighten(which);
    for (; fits != 0; fits &= fits - 1) {
      const std::uint64_t key = leaf.key[lowest_bit(fits)];
      if (key >= search.limit) return kNone;
      if (search.accept(search.context, static_cast<std::uint32_t>(key))) return key;
    }
  }
  return kNone;
}

bool FitIndex::holds(const FitEntry& entry) const {
  const Chunk& chunk = *chunks_[chunk_of(entry.key())];
  const Leaf& leaf = *chunk.leaves[chunk.leaf_of(entry.key())];
  const std::size_t i = leaf.place_of(entry.key());
  return i < leaf.count && leaf.key[i] == entry.key() && leaf.cpu[i] == rounded_cpu(entry.cpu_milli) &&
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
        const std::uint64_t key = leaf.key[i];
        if (i > 0 && key <= leaf.key[i - 1]) return "a leaf is not sorted";
        if (key < chunk.first_key[which] || key >= end) return "an entry is in the wrong leaf";
        if (leaf.cpu[i] > chunk.max_cpu[which] || leaf.mem[i] > chunk.max_mem[which])
          return "a leaf's bound is too low";
      }
      if (chunk.max_cpu[which] > max_cpu_[at] || chunk.max_mem[which] > max_mem_[at])
        return "a chunk's bound is too low";
      count += leaf.count;
    }
  }
  return count == size_ ? "" : "the size is wrong";
}

}  // namespace berth::placement
