#include "placement/node_index.h"

#include <algorithm>
#include <limits>

namespace berth::placement {

using state::Request;
using state::Resources;

namespace {

constexpr std::int32_t kGpuWorthMilli = 16'000;
constexpr std::size_t kRequestsKnownMax = 256;
constexpr std::size_t kNodesInCache = 30'000;
constexpr std::int64_t kLeftMax = std::numeric_limits<std::int32_t>::max();

std::int32_t bounded(std::uint64_t amount) {
  return static_cast<std::int32_t>(std::min<std::uint64_t>(amount, kAmountMax));
}

}  // namespace

FitEntry NodeIndex::entry_of(std::uint32_t slot, const Amounts& amounts) const {
  return {policy_->key(amounts.left()), amounts.cpu_milli, amounts.mem_mib, slot};
}

std::int32_t Amounts::left() const {
  return cpu_milli + (mem_mib >> 2) + static_cast<std::int32_t>(gpus) * kGpuWorthMilli;
}
bool Amounts::hold(const Resources& wanted) const {
  return cpu_milli >= std::int64_t{wanted.cpu_milli} && wanted.mem_mib <= kAmountMax &&
         mem_mib >= static_cast<std::int64_t>(wanted.mem_mib) && gpus >= wanted.gpus;
}
void Amounts::take(const Amounts& other, std::uint32_t times) {
  const auto n = static_cast<std::int32_t>(times);
  cpu_milli -= other.cpu_milli * n;
  mem_mib -= other.mem_mib * n;
  gpus -= std::min(gpus, other.gpus * times);
}
void Amounts::give(const Amounts& other) {
  cpu_milli += other.cpu_milli;
  mem_mib += other.mem_mib;
  gpus += other.gpus;
}
std::uint32_t room_in(const Amounts& free, const Amounts& wanted) {
  std::int64_t room = std::numeric_limits<std::uint32_t>::max();
  const auto bound = [&room](std::int64_t have, std::int64_t want) {
    if (want != 0) room = std::min(room, std::max<std::int64_t>(have, 0) / want);
  };
  bound(free.cpu_milli, wanted.cpu_milli);
  bound(free.mem_mib, wanted.mem_mib);
  bound(free.gpus, wanted.gpus);
  return static_cast<std::uint32_t>(room);
}
Amounts amounts_of(const Resources& resources) {
  return {bounded(resources.cpu_milli), bounded(resources.mem_mib), std::min(resources.gpus, state::kMaxGpus)};
}

bool includes(const std::vector<std::string>& all, const std::vector<std::string>& wanted) {
  return std::includes(all.begin(), all.end(), wanted.begin(), wanted.end());
}

// ---- who is where ---------------------------------------------------------------------------------------------------

std::uint16_t NodeIndex::kind_for(const std::vector<std::string>& features, std::uint32_t gpus_offered) {
  std::size_t number = 0;
  while (number < kinds_.size() && !kinds_[number].mixed && kinds_[number].features != features) ++number;
  if (number == kinds_.size()) {
    Kind& kind = kinds_.emplace_back();
    kind.mixed = kinds_.size() == kKindsMax;
    if (!kind.mixed) kind.features = features;
    kinds_with_.clear();
  }
  // All the levels that the node can be on, now: change() must not see them move.
  auto& levels = kinds_[number].by_free_gpus;
  while (levels.size() <= gpus_offered) levels.emplace_back(memory_);
  return static_cast<std::uint16_t>(number);
}

bool NodeIndex::is_kind(std::uint16_t kind, const std::vector<std::string>& features) const {
  return kind < kinds_.size() && (kinds_[kind].mixed || kinds_[kind].features == features);
}

// Cpu in parts of what is left of cpu and memory together; without a division.
std::uint32_t NodeIndex::ratio_of(const Amounts& amounts) {
  const std::int64_t cpu = std::max(amounts.cpu_milli, 0), mem = std::max(amounts.mem_mib >> 2, 0);
  std::uint32_t ratio = 0;
  for (std::int64_t part = 1; part < kRatios; ++part) ratio += cpu * kRatios >= part * (cpu + mem) ? 1U : 0U;
  return cpu + mem == 0 ? 0 : ratio;
}

FitIndex& NodeIndex::index_of(std::uint16_t kind, const Amounts& amounts) {
  return kinds_[kind].by_free_gpus[amounts.gpus].by_ratio[ratio_of(amounts)];
}

void NodeIndex::insert(std::uint16_t kind, std::uint32_t slot, const Amounts& amounts) {
  index_of(kind, amounts).insert(entry_of(slot, amounts));
  ++size_;
}

void NodeIndex::erase(std::uint16_t kind, std::uint32_t slot, const Amounts& amounts) {
  index_of(kind, amounts).erase(entry_of(slot, amounts));
  --size_;
}

void NodeIndex::change(std::uint16_t kind, std::uint32_t slot, const Amounts& from, const Amounts& to) {
  FitIndex& before = index_of(kind, from);
  FitIndex& after = index_of(kind, to);
  const FitEntry old = entry_of(slot, from), now = entry_of(slot, to);
  if (&before == &after) return after.change(old, now);
  const FitIndex::Spot was = before.spot_of(old), goes = after.spot_of(now);
  before.erase(old, was);
  after.insert(now, goes);
}

bool NodeIndex::holds(std::uint16_t kind, std::uint32_t slot, const Amounts& amounts) const {
  const FitIndex& index = kinds_[kind].by_free_gpus[amounts.gpus].by_ratio[ratio_of(amounts)];
  return index.holds(entry_of(slot, amounts));
}

std::string NodeIndex::check() const {
  std::size_t entries = 0;
  for (const Kind& kind : kinds_) {
    for (const Level& level : kind.by_free_gpus) {
      for (const FitIndex& index : level.by_ratio) {
        if (std::string wrong = index.check(); !wrong.empty()) return wrong;
        entries += index.size();
      }
    }
  }
  return entries == size_ ? "" : "the number of entries is wrong";
}

// ---- the search -----------------------------------------------------------------------------------------------------

const std::vector<std::uint16_t>& NodeIndex::kinds_with(const std::vector<std::string>& features) {
  if (auto found = kinds_with_.find(features); found != kinds_with_.end()) return found->second;
  if (kinds_with_.size() >= kRequestsKnownMax) kinds_with_.clear();
  std::vector<std::uint16_t> with;
  for (std::size_t i = 0; i < kinds_.size(); ++i) {
    if (kinds_[i].mixed || includes(kinds_[i].features, features)) with.push_back(static_cast<std::uint16_t>(i));
  }
  return kinds_with_.emplace(features, std::move(with)).first->second;
}

namespace {

// Whoever holds a demand has at least so much left, GPUs aside, if its cpu is between `ratio` and `ratio` + 1 of
// `ratios` parts of that. Falls and then rises with the ratio.
std::int64_t least_left(const Amounts& demand, std::uint32_t ratio, std::uint32_t ratios) {
  const std::int64_t cpu = demand.cpu_milli, mem = demand.mem_mib >> 2;
  return std::max({cpu + mem, cpu * ratios / (ratio + 1), mem * ratios / (ratios - ratio)});
}

}  // namespace

// Of whoever has so much left, and so many GPUs beside.
std::int32_t NodeIndex::least_key(std::int64_t left, std::uint32_t gpus) const {
  return static_cast<std::int32_t>(std::min(policy_->least_key(left + std::int64_t{gpus} * kGpuWorthMilli), kLeftMax));
}

namespace {

bool within_amounts(const Resources& wanted) {
  return wanted.cpu_milli <= kAmountMax && wanted.mem_mib <= kAmountMax && wanted.gpus <= state::kMaxGpus;
}

}  // namespace

struct NodeIndex::Search {
  FitDemand demand;
  Bounds least;
  std::size_t nearest;
};

FitDemand NodeIndex::demand_of(const Resources& wanted) {
  const Amounts amounts = amounts_of(wanted);
  return {rounded_cpu(amounts.cpu_milli), rounded_mem(amounts.mem_mib), 0};
}

NodeIndex::Search NodeIndex::search_for(const Resources& wanted) {
  const Amounts amounts = amounts_of(wanted);
  Search search{demand_of(wanted), {}, 0};
  for (std::uint32_t ratio = 0; ratio < kRatios; ++ratio) search.least[ratio] = least_left(amounts, ratio, kRatios);
  search.nearest =
      static_cast<std::size_t>(std::min_element(search.least.begin(), search.least.end()) - search.least.begin());
  return search;
}

std::size_t NodeIndex::find_best(const Request& request, FitIndex::Accept fits, const void* context,
                                 const MaskList& masks) {
  if (!within_amounts(request.resources)) return kNoSlot;
  const Search search = search_for(request.resources);
  // Rounded amounts nearly always tell; only if they did not is every candidate looked at, which costs a cache miss
  // each.
  const std::size_t best = find(request, search, false, fits, context, masks);
  if (best == kNoSlot || masks.gave_up() || fits(context, static_cast<std::uint32_t>(best))) return best;
  return find(request, search, true, fits, context, masks);
}

std::size_t NodeIndex::find(const Request& request, const Search& search, bool exact, FitIndex::Accept fits,
                            const void* context, const MaskList& masks) {
  const auto& [wanted, least, nearest] = search;
  FitDemand demand = wanted;
  std::int64_t limit_key = std::numeric_limits<std::int64_t>::max();  // of the best so far
  std::uint64_t limit = FitIndex::kNone;
  std::size_t best = kNoSlot;
  for (const std::uint16_t number : kinds_with(request.features)) {
    Kind& kind = kinds_[number];
    const FitIndex::Accept accept = exact || kind.mixed ? fits : nullptr;
    for (std::uint32_t gpus = request.resources.gpus; gpus < kind.by_free_gpus.size(); ++gpus) {
      if (least_key(least[nearest], gpus) > limit_key) break;
      Level& level = kind.by_free_gpus[gpus];
      // From the class of the demand's own ratio outwards, the lower bound first.
      auto below = static_cast<std::int32_t>(nearest), above = below + 1;
      while (below >= 0 || above < static_cast<std::int32_t>(kRatios)) {
        const bool down =
            above >= static_cast<std::int32_t>(kRatios) ||
            (below >= 0 && least[static_cast<std::size_t>(below)] <= least[static_cast<std::size_t>(above)]);
        const auto ratio = static_cast<std::uint32_t>(down ? below-- : above++);
        if (least_key(least[ratio], gpus) > limit_key) break;
        FitIndex& index = level.by_ratio[ratio];
        if (!index.may_hold(demand)) continue;
        demand.left_min = least_key(least[ratio], gpus);
        const std::uint64_t found = index.find(demand, limit, accept, context, masks);
        if (masks.gave_up()) return kNoSlot;
        if (found == FitIndex::kNone) continue;
        limit = found;
        best = FitEntry::slot_of(found);
        limit_key = FitEntry::left_of(found);
      }
    }
  }
  return best;
}

void NodeIndex::prefetch(const Request& request) {
  const auto [wanted, least, nearest] = search_for(request.resources);
  FitDemand demand = wanted;
  // In a large cluster a search is all cache misses: they are asked for together, as far as it is likely to go.
  const std::uint32_t ahead = size_ < kNodesInCache ? 1 : 2;
  for (const std::uint16_t number : kinds_with(request.features)) {
    auto& levels = kinds_[number].by_free_gpus;
    for (std::uint32_t gpus = request.resources.gpus;
         gpus < std::min<std::size_t>(levels.size(), request.resources.gpus + ahead); ++gpus) {
      for (std::size_t ratio = 0; ratio < kRatios; ++ratio) {
        if (ahead == 1 && ratio != nearest) continue;
        demand.left_min = least_key(least[ratio], gpus);
        const FitIndex& index = levels[gpus].by_ratio[ratio];
        if (index.may_hold(demand)) index.prefetch(demand);
      }
    }
  }
}

void NodeIndex::stream(const Request& request, Stream& out) {
  out.sources_.clear();
  out.cursors_.clear();
  if (!within_amounts(request.resources)) return;
  const auto [wanted, least, nearest] = search_for(request.resources);
  for (const std::uint16_t number : kinds_with(request.features)) {
    auto& levels = kinds_[number].by_free_gpus;
    for (std::uint32_t gpus = request.resources.gpus; gpus < levels.size(); ++gpus) {
      for (std::size_t ratio = 0; ratio < kRatios; ++ratio) {
        const FitIndex& index = levels[gpus].by_ratio[ratio];
        FitDemand demand = wanted;
        if (!index.may_hold(demand)) continue;
        demand.left_min = least_key(least[ratio], gpus);
        out.sources_.push_back({FitEntry{demand.left_min, 0, 0, 0}.key(), true, 0, &index, demand});
      }
    }
  }
  std::make_heap(out.sources_.begin(), out.sources_.end(), Stream::later);
}

// A source is looked into when no other can have a better one.
std::size_t NodeIndex::Stream::next() {
  while (!sources_.empty()) {
    std::pop_heap(sources_.begin(), sources_.end(), later);
    Source& source = sources_.back();
    const std::uint64_t key = source.key;
    const bool bound = source.bound;
    if (bound) {
      source.cursor = static_cast<std::uint32_t>(cursors_.size());
      cursors_.emplace_back(*source.index, source.demand);
      source.bound = false;
    }
    source.key = cursors_[source.cursor].next();
    if (source.key == FitIndex::kNone) {
      sources_.pop_back();
    } else {
      std::push_heap(sources_.begin(), sources_.end(), later);
    }
    if (!bound) return FitEntry::slot_of(key);
  }
  return kNoSlot;
}

}  // namespace berth::placement
