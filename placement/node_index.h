// All open nodes of one searcher, by a policy's key of what they have left: a FitIndex for each set of features, each
// number of free GPUs and each class of cpu to memory, and the search over all of them. What is left is counted in
// thousandths of a core, with 4 MiB of memory and 1/16,000 of a GPU each worth one. One caller at a time.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "placement/fit_index.h"
#include "placement/policy.h"
#include "state/resources.h"

namespace berth::placement {

inline constexpr std::uint32_t kAmountMax = (1U << 30) - 1;  // of any offer or request, in its unit: sums fit 32 bits
inline constexpr std::size_t kNoSlot = ~std::size_t{0};

struct Amounts {
  std::int32_t cpu_milli = 0, mem_mib = 0;  // below 0 where a claim exceeded the offer
  std::uint32_t gpus = 0;
  std::int32_t left() const;
  bool hold(const state::Resources& wanted) const;
  void take(const Amounts& other, std::uint32_t times = 1);
  void give(const Amounts& other);
  bool operator==(const Amounts&) const = default;
};
std::uint32_t room_in(const Amounts& free, const Amounts& wanted);  // how many of `wanted` there is room for
// At most kAmountMax of each.
Amounts amounts_of(const state::Resources& resources);
bool includes(const std::vector<std::string>& all, const std::vector<std::string>& wanted);  // both sorted

class NodeIndex {
 public:
  static constexpr std::size_t kKindsMax = 16;

  explicit NodeIndex(const Policy& policy = default_policy()) : policy_(&policy) {}

  // The number of this set of features; nodes that have them have at most so many GPUs free.
  std::uint16_t kind_for(const std::vector<std::string>& features, std::uint32_t gpus_offered);
  bool is_kind(std::uint16_t kind, const std::vector<std::string>& features) const;

  void insert(std::uint16_t kind, std::uint32_t slot, const Amounts& amounts);
  void erase(std::uint16_t kind, std::uint32_t slot, const Amounts& amounts);
  void change(std::uint16_t kind, std::uint32_t slot, const Amounts& from, const Amounts& to);
  bool holds(std::uint16_t kind, std::uint32_t slot, const Amounts& amounts) const;
  // As it stands in an index; and what a node must have for a request.
  FitEntry entry_of(std::uint32_t slot, const Amounts& amounts) const;
  static FitDemand demand_of(const state::Resources& wanted);

  // Of the nodes that can take the pod, the one with the policy's least key, ties by slot; kNoSlot if there is none.
  // fits(context, slot) looks at a node exactly, its features as well.
  // Only nodes in all of the masks are looked at; if the search gives up (MaskList::gave_up), its answer is none.
  std::size_t find_best(const state::Request& request, FitIndex::Accept fits, const void* context,
                        const MaskList& masks = {});
  // Asks for the memory that find_best() is likely to look at, so that it comes while something else is done.
  void prefetch(const state::Request& request);

  // All that may take the pod, best first, while nothing is changed: what find_best() would say if each went once it
  // was said. The caller looks at each exactly, its features as well.
  class Stream {
   public:
    std::size_t next();  // kNoSlot: that was all

   private:
    friend class NodeIndex;
    struct Source {
      std::uint64_t key;  // of the next, or a bound
      bool bound;
      std::uint32_t cursor;
      const FitIndex* index;
      FitDemand demand;
    };
    static bool later(const Source& a, const Source& b) { return a.key > b.key; }
    std::vector<Source> sources_;  // a heap, the least key first
    std::vector<FitIndex::Cursor> cursors_;
  };
  void stream(const state::Request& request, Stream& out);

  std::size_t size() const { return size_; }
  std::string check() const;  // "" or what is wrong; for tests

 private:
  // A node whose cpu is used up has much memory left, and shall not be in the way of a search for cpu.
  static constexpr std::uint32_t kRatios = 2;
  struct Level {
    std::array<FitIndex, kRatios> by_ratio;
    explicit Level(FitMemory& memory) : by_ratio{FitIndex(memory), FitIndex(memory)} {}
  };
  // The last kind is of all nodes that found no kind of their own; there each node's features are looked at.
  struct Kind {
    std::vector<std::string> features;
    bool mixed = false;
    std::vector<Level> by_free_gpus;
  };
  using Bounds = std::array<std::int64_t, kRatios>;  // by ratio: what who holds a demand has left at least

  const std::vector<std::uint16_t>& kinds_with(const std::vector<std::string>& features);
  static std::uint32_t ratio_of(const Amounts& amounts);
  FitIndex& index_of(std::uint16_t kind, const Amounts& amounts);
  struct Search;
  static Search search_for(const state::Resources& wanted);
  std::size_t find(const state::Request& request, const Search& search, bool exact, FitIndex::Accept fits,
                   const void* context, const MaskList& masks);

  std::int32_t least_key(std::int64_t left, std::uint32_t gpus) const;

  const Policy* policy_;
  std::size_t size_ = 0;
  FitMemory memory_;
  std::vector<Kind> kinds_;
  std::map<std::vector<std::string>, std::vector<std::uint16_t>> kinds_with_;  // what kinds_with() has worked out
};

}  // namespace berth::placement
