#include "placement/free_columns.h"

#include <bit>

namespace berth::placement {

FreeColumns::Block::Block() {
  cpu.fill(FitIndex::kNothing);
  mem.fill(FitIndex::kNothing);
  left.fill(0);
}

void FreeColumns::set(const FitEntry& entry) {
  if (entry.slot / kColumn >= blocks_.size()) blocks_.resize(entry.slot / kColumn + 1);
  Block& block = blocks_[entry.slot / kColumn];
  const std::size_t place = entry.slot % kColumn;
  block.cpu[place] = rounded_cpu(entry.cpu_milli);
  block.mem[place] = rounded_mem(entry.mem_mib);
  block.left[place] = entry.left;
}

void FreeColumns::clear(std::size_t slot) {
  if (slot / kColumn >= blocks_.size()) return;
  blocks_[slot / kColumn].cpu[slot % kColumn] = blocks_[slot / kColumn].mem[slot % kColumn] = FitIndex::kNothing;
}

bool FreeColumns::holds(const FitEntry& entry) const {
  if (entry.slot / kColumn >= blocks_.size()) return false;
  const Block& block = blocks_[entry.slot / kColumn];
  const std::size_t place = entry.slot % kColumn;
  return block.cpu[place] == rounded_cpu(entry.cpu_milli) && block.mem[place] == rounded_mem(entry.mem_mib) &&
         block.left[place] == entry.left;
}

bool FreeColumns::is_clear(std::size_t slot) const {
  return slot / kColumn >= blocks_.size() || blocks_[slot / kColumn].cpu[slot % kColumn] == FitIndex::kNothing;
}

std::uint32_t FreeColumns::find(const FitDemand& demand, FitIndex::Accept accept, const void* context,
                                const MaskList& masks) const {
  const Mask& few = masks.smallest();
  std::uint32_t best = kNone;
  std::int64_t least = INT64_MAX;
  std::int64_t words_left = few.used_words();
  for (std::size_t i = 0; i < blocks_.size() && words_left > 0; ++i) {
    if (few.word(i) == 0) continue;
    --words_left;
    std::uint64_t bits = masks.word(i);
    if (bits == 0) continue;
    const Block& block = blocks_[i];
    bits &= fitting(block.cpu, block.mem, demand.cpu, demand.mem);
    for (; bits != 0; bits &= bits - 1) {
      const auto place = static_cast<std::size_t>(std::countr_zero(bits));
      if (block.left[place] >= least) continue;
      const auto slot = static_cast<std::uint32_t>(i * kColumn + place);
      if (!accept(context, slot)) continue;
      best = slot;
      least = block.left[place];
    }
  }
  return best;
}

}  // namespace berth::placement
