// Memory for tables that a search jumps about in: on huge pages where the system gives them, so that an access to a
// cluster's worth of nodes is one cache miss and not a walk of page tables as well.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace berth::placement {

inline constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Asks the system for huge pages in that range. Set once, before any table is made, by a program that wants them: this
// room asks the system for nothing. Without it, pages are small.
inline void (*ask_for_huge_pages)(void* memory, std::size_t bytes) = nullptr;

// For std::vector. What is smaller than a huge page is ordinary memory.
template <class T>
struct HugeAllocator {
  using value_type = T;
  HugeAllocator() = default;
  template <class U>
  HugeAllocator(const HugeAllocator<U>& /*other*/) {}  // NOLINT(google-explicit-constructor): what allocators do

  static std::align_val_t alignment(std::size_t bytes) {
    return std::align_val_t{bytes < kHugePage ? std::max(alignof(T), std::size_t{64}) : kHugePage};
  }
  T* allocate(std::size_t count) {
    const std::size_t bytes = count * sizeof(T);
    void* memory = ::operator new(bytes, alignment(bytes));
    if (bytes >= kHugePage && ask_for_huge_pages != nullptr) ask_for_huge_pages(memory, bytes);
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t count) { ::operator delete(memory, alignment(count * sizeof(T))); }
  bool operator==(const HugeAllocator& /*other*/) const { return true; }
};

template <class T>
using HugeVector = std::vector<T, HugeAllocator<T>>;

// Objects of one type in slabs that double up to a huge page. Those given back are used again; the slabs go with the
// pool. T needs no destructor. One caller at a time.
template <class T>
class HugePool {
 public:
  T* make() {
    if (free_.empty()) grow();
    T* place = free_.back();
    free_.pop_back();
    return new (place) T();
  }
  void drop(T* object) { free_.push_back(object); }

 private:
  static_assert(std::is_trivially_destructible_v<T>);
  struct alignas(T) Room {
    std::byte bytes[sizeof(T)];
  };
  void grow() {
    constexpr std::size_t kMost = std::max<std::size_t>(kHugePage / sizeof(T), 1);
    slabs_.emplace_back();
    slabs_.back().resize(next_);
    for (std::size_t i = next_; i-- > 0;) free_.push_back(reinterpret_cast<T*>(&slabs_.back()[i]));
    next_ = std::min(next_ * 2, kMost);
  }
  std::vector<HugeVector<Room>> slabs_;
  std::vector<T*> free_;
  std::size_t next_ = 4;
};

}  // namespace berth::placement
