// PodSet: the pods of a node, in the order of their ids. Sorted chunks instead of a tree: some 20 bytes a pod where a
// tree takes 64, and what comes in order (a snapshot, an array that starts) is appended. Changes cost O(log n) and a
// move within one chunk.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <vector>

#include "state/ids.h"

namespace berth::state {

class PodSet {
 public:
  class const_iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = PodId;
    using difference_type = std::ptrdiff_t;
    using pointer = const PodId*;
    using reference = const PodId&;
    const_iterator() = default;
    reference operator*() const { return (*chunks_)[chunk_][at_]; }
    pointer operator->() const { return &**this; }
    const_iterator& operator++() {
      if (++at_ == (*chunks_)[chunk_].size()) ++chunk_, at_ = 0;
      return *this;
    }
    const_iterator operator++(int) {
      const_iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const const_iterator& other) const { return chunk_ == other.chunk_ && at_ == other.at_; }

   private:
    friend class PodSet;
    using Chunks = std::vector<std::vector<PodId>>;
    const_iterator(const Chunks* chunks, std::size_t chunk) : chunks_(chunks), chunk_(chunk) {}
    const Chunks* chunks_ = nullptr;
    std::size_t chunk_ = 0, at_ = 0;
  };

  const_iterator begin() const { return {&chunks_, 0}; }
  const_iterator end() const { return {&chunks_, chunks_.size()}; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool contains(PodId id) const {
    const auto chunk = chunk_of(id);
    return chunk != chunks_.end() && std::binary_search(chunk->begin(), chunk->end(), id);
  }

  void insert(PodId id) {
    auto chunk = chunks_.begin() + (chunk_of(id) - chunks_.cbegin());
    if (chunk == chunks_.end()) {
      if (chunks_.empty() || chunks_.back().size() >= kChunk) chunks_.emplace_back();
      chunk = std::prev(chunks_.end());
    }
    const auto at = std::lower_bound(chunk->begin(), chunk->end(), id);
    if (at != chunk->end() && *at == id) return;
    chunk->insert(at, id);
    ++size_;
    if (chunk->size() > kChunk) split(chunk);
  }

  void erase(PodId id) {
    const auto chunk = chunks_.begin() + (chunk_of(id) - chunks_.cbegin());
    if (chunk == chunks_.end()) return;
    const auto at = std::lower_bound(chunk->begin(), chunk->end(), id);
    if (at == chunk->end() || *at != id) return;
    chunk->erase(at);
    --size_;
    if (chunk->empty()) chunks_.erase(chunk);
  }

  std::size_t heap_bytes() const {
    std::size_t bytes = chunks_.capacity() * sizeof(chunks_[0]);
    for (const auto& chunk : chunks_) bytes += chunk.capacity() * sizeof(PodId);
    return bytes;
  }

 private:
  static constexpr std::size_t kChunk = 256;
  // The chunk that holds the id, or would; the end if all ids are smaller.
  std::vector<std::vector<PodId>>::const_iterator chunk_of(PodId id) const {
    return std::partition_point(chunks_.begin(), chunks_.end(), [&](const auto& chunk) { return chunk.back() < id; });
  }
  void split(std::vector<std::vector<PodId>>::iterator chunk) {
    const auto middle = chunk->begin() + static_cast<std::ptrdiff_t>(chunk->size() / 2);
    std::vector<PodId> rest(middle, chunk->end());
    chunk->erase(middle, chunk->end());
    chunks_.insert(std::next(chunk), std::move(rest));
  }

  std::vector<std::vector<PodId>> chunks_;  // none is empty
  std::size_t size_ = 0;
};

}  // namespace berth::state
