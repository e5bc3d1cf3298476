#include "placement/engine.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace berth::placement {

namespace {

using state::NodeId;
using state::Request;
using state::Resources;

constexpr std::int32_t kGpuWorthMilli = 16'000;
constexpr std::size_t kRequestsKnownMax = 256;
constexpr std::uint32_t kNodesInCache = 30'000;
constexpr std::int64_t kLeftMax = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kNoSlot = ~std::size_t{0};
constexpr std::int32_t kAmountMax = 1 << 30;  // of any offer or request, in its unit: sums stay within 32 bits

std::size_t slot_of(NodeId id) { return id.value - 1; }
NodeId id_of(std::size_t slot) { return NodeId{static_cast<std::uint32_t>(slot + 1)}; }

std::int32_t cpu_of(const Resources& r) {
  return static_cast<std::int32_t>(std::min<std::uint64_t>(r.cpu_milli, kAmountMax));
}
std::int32_t mem_of(const Resources& r) {
  return static_cast<std::int32_t>(std::min<std::uint64_t>(r.mem_mib, kAmountMax));
}
std::int32_t gpus_of(const Resources& r) { return static_cast<std::int32_t>(std::min(r.gpus, state::kMaxGpus)); }

std::uint64_t mask_of(std::uint32_t gpus) { return gpus >= 64 ? ~0ULL : (1ULL << gpus) - 1; }

bool within(const Resources& wanted, const Resources& capacity) {
  return wanted.cpu_milli <= capacity.cpu_milli && wanted.mem_mib <= capacity.mem_mib && wanted.gpus <= capacity.gpus;
}

std::int32_t left_of(std::int32_t cpu_milli, std::int32_t mem_mib, std::uint32_t gpus) {
  return cpu_milli + (mem_mib >> 2) + static_cast<std::int32_t>(gpus) * kGpuWorthMilli;
}

bool includes(const std::vector<std::string>& all, const std::vector<std::string>& wanted) {
  return std::includes(all.begin(), all.end(), wanted.begin(), wanted.end());
}

std::uint64_t times(std::uint64_t have, std::uint64_t want) {
  return want == 0 ? std::numeric_limits<std::uint32_t>::max() : have / want;
}

}  // namespace

bool Engine::Offer::has(const std::vector<std::string>& wanted) const { return includes(features, wanted); }
std::int32_t Engine::Free::left() const { return left_of(cpu_milli, mem_mib, gpus); }
bool Engine::Offer::could_hold(const Request& request) const {
  return present && within(request.resources, capacity) && has(request.features);
}

void Engine::set_node(NodeId id, const Resources& capacity, const std::vector<std::string>& features) {
  const std::size_t slot = slot_of(id);
  if (slot >= offers_.size()) {
    offers_.resize(slot + 1);
    free_.resize(slot + 1);
  }
  unindex(slot);
  Offer& offer = offers_[slot];
  Free& free = free_[slot];
  const Resources old = offer.present ? offer.capacity : Resources{};
  if (!offer.present) ++node_count_;
  // What is claimed keeps its claim: only the difference of the offers moves the free amounts.
  const std::uint64_t claimed_gpus = mask_of(old.gpus) & ~free.gpu_mask;
  free.cpu_milli += cpu_of(capacity) - cpu_of(old);
  free.mem_mib += mem_of(capacity) - mem_of(old);
  free.gpus_offered = mask_of(static_cast<std::uint32_t>(gpus_of(capacity)));
  free.gpu_mask = free.gpus_offered & ~claimed_gpus;
  if (!offer.present || offer.features != features) free.kind = kind_for(features);
  // All the levels that the node can be on, now: what refers to an index must not see it move.
  auto& levels = kinds_[free.kind].by_free_gpus;
  levels.resize(std::max<std::size_t>(levels.size(), static_cast<std::size_t>(gpus_of(capacity)) + 1));
  offer.present = true;
  offer.capacity = capacity;
  offer.features = features;
  ++offers_version_;
  offer_changed(slot);
}

void Engine::offer_changed(std::size_t slot) {
  unindex(slot);
  free_[slot].open = offers_[slot].open();
  index(slot);
}

void Engine::set_connected(NodeId id, bool connected) {
  offers_[slot_of(id)].connected = connected;
  offer_changed(slot_of(id));
}

void Engine::set_in_service(NodeId id, bool in_service) {
  offers_[slot_of(id)].in_service = in_service;
  offer_changed(slot_of(id));
}

void Engine::remove_node(NodeId id) {
  const std::size_t slot = slot_of(id);
  if (slot >= offers_.size() || !offers_[slot].present) return;
  unindex(slot);
  offers_[slot] = Offer{};
  free_[slot] = Free{};
  --node_count_;
  ++offers_version_;
}

// ---- the index ------------------------------------------------------------------------------------------------------

FitEntry Engine::entry_of(std::size_t slot) const {
  const Free& free = free_[slot];
  return {free.left(), free.cpu_milli, free.mem_mib, static_cast<std::uint32_t>(slot)};
}

// Cpu in parts of what is left of cpu and memory together; without a division.
std::uint32_t Engine::ratio_of(const Free& free) {
  const std::int64_t cpu = std::max(free.cpu_milli, 0), mem = std::max(free.mem_mib >> 2, 0);
  std::uint32_t ratio = 0;
  for (std::int64_t part = 1; part < kRatios; ++part) ratio += cpu * kRatios >= part * (cpu + mem) ? 1U : 0U;
  return cpu + mem == 0 ? 0 : ratio;
}

FitIndex& Engine::index_of(const Free& free) {
  return kinds_[free.kind].by_free_gpus[free.gpus].by_ratio[ratio_of(free)];
}

void Engine::index(std::size_t slot) {
  Free& free = free_[slot];
  free.gpus = static_cast<std::uint8_t>(std::popcount(free.gpu_mask));
  if (!free.open) return;
  index_of(free).insert(entry_of(slot));
  free.indexed = true;
}

void Engine::unindex(std::size_t slot) {
  Free& free = free_[slot];
  if (!free.indexed) return;
  index_of(free).erase(entry_of(slot));
  free.indexed = false;
}

template <class Change>
void Engine::reindex(std::size_t slot, Change&& change) {
  Free& free = free_[slot];
  if (!free.indexed) {
    change();
    return index(slot);
  }
  FitIndex& before = index_of(free);
  const FitEntry old = entry_of(slot);
  const std::uint64_t old_mask = free.gpu_mask;
  change();
  if (free.gpu_mask != old_mask) free.gpus = static_cast<std::uint8_t>(std::popcount(free.gpu_mask));
  FitIndex& after = index_of(free);
  if (&before == &after) return after.change(old, entry_of(slot));
  const FitEntry now = entry_of(slot);
  const FitIndex::Spot from = before.spot_of(old), to = after.spot_of(now);
  before.erase(old, from);
  after.insert(now, to);
}

std::uint16_t Engine::kind_for(const std::vector<std::string>& features) {
  for (std::size_t i = 0; i < kinds_.size(); ++i) {
    if (kinds_[i].mixed || kinds_[i].features == features) return static_cast<std::uint16_t>(i);
  }
  Kind& kind = kinds_.emplace_back();
  kind.mixed = kinds_.size() == kKindsMax;
  if (!kind.mixed) kind.features = features;
  kinds_with_.clear();
  return static_cast<std::uint16_t>(kinds_.size() - 1);
}

const std::vector<std::uint16_t>& Engine::kinds_with(const std::vector<std::string>& features) {
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
std::int64_t least_left(const Resources& demand, std::uint32_t ratio, std::uint32_t ratios) {
  const std::int64_t cpu = cpu_of(demand), mem = mem_of(demand) >> 2;
  return std::max({cpu + mem, cpu * ratios / (ratio + 1), mem * ratios / (ratios - ratio)});
}

// With so many GPUs beside.
std::int32_t left_min_of(std::int64_t least, std::uint32_t gpus) {
  return static_cast<std::int32_t>(std::min(least + std::int64_t{gpus} * kGpuWorthMilli, kLeftMax));
}

}  // namespace

std::size_t Engine::find_best(const Request& request) {
  const Resources& wanted = request.resources;
  if (wanted.cpu_milli > kAmountMax || wanted.mem_mib > kAmountMax || wanted.gpus > state::kMaxGpus) return kNoSlot;
  FitDemand demand{rounded_cpu(cpu_of(wanted)), rounded_mem(mem_of(wanted)), 0};
  Bounds least;
  for (std::uint32_t ratio = 0; ratio < kRatios; ++ratio) least[ratio] = least_left(wanted, ratio, kRatios);
  const auto nearest = static_cast<std::size_t>(std::min_element(least.begin(), least.end()) - least.begin());

  // In a large cluster a search is all cache misses: they are asked for together, as far as it is likely to go.
  const std::uint32_t ahead = node_count_ < kNodesInCache ? 1 : 2;
  for (const std::uint16_t number : kinds_with(request.features)) {
    auto& levels = kinds_[number].by_free_gpus;
    for (std::uint32_t gpus = wanted.gpus; gpus < std::min<std::size_t>(levels.size(), wanted.gpus + ahead); ++gpus) {
      for (std::size_t ratio = 0; ratio < kRatios; ++ratio) {
        if (ahead == 1 && ratio != nearest) continue;
        demand.left_min = left_min_of(least[ratio], gpus);
        const FitIndex& index = levels[gpus].by_ratio[ratio];
        if (index.may_hold(demand)) index.prefetch(demand);
      }
    }
  }
  // Rounded amounts nearly always tell; only if they did not is every candidate looked at, which costs a cache miss
  // each.
  const std::size_t best = find_best(request, demand, least, nearest, false);
  if (best == kNoSlot || has_room(best, wanted)) return best;
  return find_best(request, demand, least, nearest, true);
}

std::size_t Engine::find_best(const Request& request, FitDemand demand, const Bounds& least, std::size_t nearest,
                              bool exact) {
  struct Wish {
    const Engine* engine;
    const Request* request;
  } const wish{this, &request};
  const FitIndex::Accept has_all = [](const void* context, std::uint32_t slot) {
    const auto* of = static_cast<const Wish*>(context);
    return of->engine->has_room(slot, of->request->resources) && of->engine->offers_[slot].has(of->request->features);
  };
  std::int64_t limit_left = std::numeric_limits<std::int64_t>::max();  // of the best so far
  std::uint64_t limit = FitIndex::kNone;
  std::size_t best = kNoSlot;
  for (const std::uint16_t number : kinds_with(request.features)) {
    Kind& kind = kinds_[number];
    const FitIndex::Accept accept = exact || kind.mixed ? has_all : nullptr;
    for (std::uint32_t gpus = request.resources.gpus; gpus < kind.by_free_gpus.size(); ++gpus) {
      const std::int64_t worth = static_cast<std::int64_t>(gpus) * kGpuWorthMilli;
      if (least[nearest] + worth > limit_left) break;
      Level& level = kind.by_free_gpus[gpus];
      // From the class of the demand's own ratio outwards, the lower bound first.
      auto below = static_cast<std::int32_t>(nearest), above = below + 1;
      while (below >= 0 || above < static_cast<std::int32_t>(kRatios)) {
        const bool down =
            above >= static_cast<std::int32_t>(kRatios) ||
            (below >= 0 && least[static_cast<std::size_t>(below)] <= least[static_cast<std::size_t>(above)]);
        const auto ratio = static_cast<std::uint32_t>(down ? below-- : above++);
        if (least[ratio] + worth > limit_left) break;
        FitIndex& index = level.by_ratio[ratio];
        if (!index.may_hold(demand)) continue;
        demand.left_min = left_min_of(least[ratio], gpus);
        const std::uint64_t found = index.find(demand, limit, accept, &wish);
        if (found == FitIndex::kNone) continue;
        limit = found;
        best = FitEntry::slot_of(found);
        limit_left = FitEntry::left_of(found);
      }
    }
  }
  return best;
}

// ---- claims ---------------------------------------------------------------------------------------------------------

bool Engine::has_room(std::size_t slot, const Resources& wanted) const {
  const Free& free = free_[slot];
  return wanted.mem_mib <= kAmountMax && free.cpu_milli >= static_cast<std::int64_t>(wanted.cpu_milli) &&
         free.mem_mib >= static_cast<std::int64_t>(wanted.mem_mib) && free.gpus >= wanted.gpus;
}

std::uint32_t Engine::room_for(std::size_t slot, const Resources& wanted) const {
  if (!has_room(slot, wanted)) return 0;
  const auto free = [](std::int32_t amount) { return static_cast<std::uint64_t>(std::max(amount, 0)); };
  return static_cast<std::uint32_t>(
      std::min({times(free(free_[slot].cpu_milli), wanted.cpu_milli), times(free(free_[slot].mem_mib), wanted.mem_mib),
                times(free_[slot].gpus, wanted.gpus)}));
}

std::uint64_t Engine::pick_gpus(std::size_t slot, std::uint32_t count) const {
  std::uint64_t rest = free_[slot].gpu_mask;
  std::uint64_t picked = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t lowest = rest & (~rest + 1);
    picked |= lowest;
    rest ^= lowest;
  }
  return picked;
}

void Engine::take(std::size_t slot, const Resources& resources, std::uint64_t gpu_mask) {
  free_[slot].cpu_milli -= cpu_of(resources);
  free_[slot].mem_mib -= mem_of(resources);
  free_[slot].gpu_mask &= ~gpu_mask;
}

void Engine::give(std::size_t slot, const Resources& resources, std::uint64_t gpu_mask) {
  free_[slot].cpu_milli += cpu_of(resources);
  free_[slot].mem_mib += mem_of(resources);
  free_[slot].gpu_mask |= gpu_mask & free_[slot].gpus_offered;
}

void Engine::claim_equal(std::size_t slot, const Resources& wanted, std::uint32_t count, std::vector<Placed>& out) {
  reindex(slot, [&] {
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint64_t gpus = wanted.gpus == 0 ? 0 : pick_gpus(slot, wanted.gpus);
      take(slot, wanted, gpus);
      out.push_back({id_of(slot), gpus});
    }
  });
}

std::uint32_t Engine::place(const Request& request, std::uint32_t count, std::vector<Placed>& out) {
  std::uint32_t placed = 0;
  while (placed < count) {
    const std::size_t slot = find_best(request);
    if (slot == kNoSlot) break;
    const std::uint32_t here = std::min(room_for(slot, request.resources), count - placed);
    claim_equal(slot, request.resources, here, out);
    placed += here;
  }
  return placed;
}

bool Engine::place_gang(const Request& request, std::uint32_t count, bool distinct, std::vector<Placed>& out) {
  const std::size_t before = out.size();
  std::uint32_t placed = 0;
  if (!distinct) {
    placed = place(request, count, out);
  } else {
    // A node that has its pod stays out of the index until the others have theirs.
    for (; placed < count; ++placed) {
      const std::size_t slot = find_best(request);
      if (slot == kNoSlot) break;
      unindex(slot);
      const std::uint64_t gpus = pick_gpus(slot, request.resources.gpus);
      take(slot, request.resources, gpus);
      out.push_back({id_of(slot), gpus});
    }
    for (std::size_t i = before; i < out.size(); ++i) index(slot_of(out[i].node));
  }
  if (placed == count) return true;
  for (std::size_t i = before; i < out.size(); ++i) release(out[i].node, request.resources, out[i].gpu_mask);
  out.resize(before);
  return false;
}

void Engine::claim(NodeId id, const Resources& resources, std::uint64_t gpu_mask) {
  reindex(slot_of(id), [&] { take(slot_of(id), resources, gpu_mask); });
}

void Engine::release(NodeId id, const Resources& resources, std::uint64_t gpu_mask) {
  reindex(slot_of(id), [&] { give(slot_of(id), resources, gpu_mask); });
}

void Engine::hold_for(const Request& request) {
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    if (offers_[slot].held || !offers_[slot].could_hold(request)) continue;
    offers_[slot].held = true;
    offer_changed(slot);
    held_.push_back(slot);
  }
}

void Engine::drop_holds() {
  for (const std::size_t slot : held_) {
    offers_[slot].held = false;
    offer_changed(slot);
  }
  held_.clear();
}

bool Engine::fits_now(NodeId id, const Request& request) const {
  const std::size_t slot = slot_of(id);
  return slot < offers_.size() && offers_[slot].open() && has_room(slot, request.resources) &&
         offers_[slot].has(request.features);
}

Potential Engine::potential(const Request& request) const {
  Potential potential;
  const Resources& wanted = request.resources;
  for (const Offer& offer : offers_) {
    if (!offer.could_hold(request)) continue;
    ++potential.nodes;
    potential.pods +=
        std::min({times(offer.capacity.cpu_milli, wanted.cpu_milli), times(offer.capacity.mem_mib, wanted.mem_mib),
                  times(offer.capacity.gpus, wanted.gpus)});
  }
  return potential;
}

Resources Engine::used(NodeId id) const {
  const std::size_t slot = slot_of(id);
  if (slot >= offers_.size()) return {};
  const Resources& capacity = offers_[slot].capacity;
  return {static_cast<std::uint32_t>(cpu_of(capacity) - free_[slot].cpu_milli),
          static_cast<std::uint64_t>(mem_of(capacity) - free_[slot].mem_mib),
          static_cast<std::uint32_t>(gpus_of(capacity)) - free_[slot].gpus};
}

std::string Engine::check_invariants() const {
  std::uint32_t present = 0, indexed = 0;
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    const std::string where = "node " + std::to_string(slot + 1) + ": ";
    if (offers_[slot].present) ++present;
    if (free_[slot].open != offers_[slot].open()) return where + "whether it is open is out of date";
    if (free_[slot].indexed != free_[slot].open) return where + "open and indexed do not agree";
    if (!free_[slot].indexed) continue;
    ++indexed;
    const Kind& kind = kinds_[free_[slot].kind];
    if (!kind.mixed && kind.features != offers_[slot].features) return where + "indexed among other features";
    if (free_[slot].gpus != std::popcount(free_[slot].gpu_mask)) return where + "free GPU count differs from its mask";
    const FitIndex& index = kind.by_free_gpus[free_[slot].gpus].by_ratio[ratio_of(free_[slot])];
    if (!index.holds(entry_of(slot))) return where + "not indexed as its amounts say";
  }
  std::size_t entries = 0;
  for (const Kind& kind : kinds_) {
    for (const Level& level : kind.by_free_gpus) {
      for (const FitIndex& index : level.by_ratio) {
        if (std::string wrong = index.check(); !wrong.empty()) return "index: " + wrong;
        entries += index.size();
      }
    }
  }
  if (entries != indexed) return "the index has entries of nobody";
  return present == node_count_ ? "" : "the node count is wrong";
}

}  // namespace berth::placement
