// Sets of nodes as bits, for searches to look through: a word for 64 nodes.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "placement/huge_memory.h"

namespace berth::placement {

class Mask {
 public:
  bool test(std::size_t slot) const {
    return slot / 64 < words_.size() && (words_[slot / 64] >> (slot % 64) & 1U) != 0;
  }
  void set(std::size_t slot, bool in) {
    if (test(slot) != in) flip(slot);
  }
  void flip(std::size_t slot) {
    if (slot / 64 >= words_.size()) words_.resize(slot / 64 + 1);
    std::uint64_t& word = words_[slot / 64];
    const bool was_used = word != 0;
    word ^= std::uint64_t{1} << (slot % 64);
    count_ += test(slot) ? 1 : -1;
    used_ += static_cast<std::int64_t>(word != 0) - static_cast<std::int64_t>(was_used);
  }
  // Of two sets that have nothing in common, or of which one is part of the other.
  void flip(const Mask& other, bool in) {
    if (words_.size() < other.words_.size()) words_.resize(other.words_.size());
    for (std::size_t i = 0; i < other.words_.size(); ++i) {
      const bool was_used = words_[i] != 0;
      words_[i] ^= other.words_[i];
      used_ += static_cast<std::int64_t>(words_[i] != 0) - static_cast<std::int64_t>(was_used);
    }
    count_ += in ? other.count_ : -other.count_;
  }
  void keep(const Mask& other) {  // what is in both
    count_ = used_ = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      words_[i] &= other.word(i);
      count_ += std::popcount(words_[i]);
      used_ += words_[i] != 0 ? 1 : 0;
    }
  }
  std::int64_t count() const { return count_; }
  std::int64_t used_words() const { return used_; }  // that have a bit
  std::size_t words() const { return words_.size(); }
  std::uint64_t word(std::size_t i) const { return i < words_.size() ? words_[i] : 0; }
  void fill(std::size_t slots) {  // all from 0 to before it
    words_.assign((slots + 63) / 64, ~std::uint64_t{0});
    if (slots % 64 != 0) words_.back() = (std::uint64_t{1} << (slots % 64)) - 1;
    count_ = static_cast<std::int64_t>(slots);
    used_ = static_cast<std::int64_t>(words_.size());
  }
  void clear() {
    words_.clear();
    count_ = used_ = 0;
  }

 private:
  HugeVector<std::uint64_t> words_;
  std::int64_t count_ = 0, used_ = 0;
};

// The nodes that are in all of some masks. None: all nodes.
class MaskList {
 public:
  static constexpr std::size_t kMost = 24;
  void add(const Mask* mask) { masks_[size_++] = mask; }
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  bool test(std::size_t slot) const {
    for (std::size_t i = 0; i < size_; ++i) {
      if (!masks_[i]->test(slot)) return false;
    }
    return true;
  }
  // Of 64 nodes, those of `which` that are in all masks. The others count as passed over.
  std::uint64_t among(const std::uint32_t* slots, std::uint64_t which) const {
    std::int64_t before = 0, after = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      const Mask& mask = *masks_[i];
      std::uint64_t in = 0;
      std::int64_t looked_at = 0;
      after = 0;
      for (std::uint64_t rest = which; rest != 0; rest &= rest - 1, ++looked_at) {
        const auto place = static_cast<std::uint32_t>(std::countr_zero(rest));
        const std::uint32_t slot = slots[place];
        const std::uint64_t bit = mask.word(slot / 64) >> (slot % 64) & 1U;
        in |= bit << place;
        after += static_cast<std::int64_t>(bit);
      }
      before = i == 0 ? looked_at : before;
      which = in;
    }
    if (left_ != nullptr) *left_ -= before - after;
    return which;
  }
  // A search through all nodes gives up when it has passed over so many that are not in them: to look at those that
  // are then costs less.
  void give_up_after(std::int64_t* nodes) { left_ = nodes; }
  bool gave_up() const { return left_ != nullptr && *left_ <= 0; }
  std::uint64_t word(std::size_t i) const {
    std::uint64_t all = ~std::uint64_t{0};
    for (std::size_t m = 0; m < size_; ++m) all &= masks_[m]->word(i);
    return all;
  }
  // The smallest of them; there is one.
  const Mask& smallest() const {
    const Mask* least = masks_[0];
    for (std::size_t i = 1; i < size_; ++i) least = masks_[i]->count() < least->count() ? masks_[i] : least;
    return *least;
  }

 private:
  std::array<const Mask*, kMost> masks_;
  std::size_t size_ = 0;
  std::int64_t* left_ = nullptr;
};

}  // namespace berth::placement
