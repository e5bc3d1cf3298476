#include "placement/engine.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace berth::placement {

namespace {

constexpr std::int64_t kFewNodes = 128;

using state::NodeId;
using state::Request;
using state::Resources;

std::size_t slot_of(NodeId id) { return id.value - 1; }
NodeId id_of(std::size_t slot) { return NodeId{static_cast<std::uint32_t>(slot + 1)}; }

std::int32_t cpu_of(const Resources& r) { return amounts_of(r).cpu_milli; }
std::int32_t mem_of(const Resources& r) { return amounts_of(r).mem_mib; }
std::int32_t gpus_of(const Resources& r) { return static_cast<std::int32_t>(amounts_of(r).gpus); }

std::uint64_t mask_of(std::uint32_t gpus) { return gpus >= 64 ? ~0ULL : (1ULL << gpus) - 1; }

bool within(const Resources& wanted, const Resources& capacity) {
  return wanted.cpu_milli <= capacity.cpu_milli && wanted.mem_mib <= capacity.mem_mib && wanted.gpus <= capacity.gpus;
}

std::uint64_t times(std::uint64_t have, std::uint64_t want) {
  return want == 0 ? std::numeric_limits<std::uint32_t>::max() : have / want;
}

// Features without labels: these are too many for kinds of their own, and asked for by conditions.
std::vector<std::string> without_values(const std::vector<std::string>& words) {
  std::vector<std::string> features;
  for (const std::string& word : words) {
    if (word.find('=') == std::string::npos) features.push_back(word);
  }
  return features;
}

}  // namespace

bool Engine::has(std::size_t slot, const std::vector<std::string>& wanted) const {
  return wanted.empty() || includes(constraints_.traits(slot).words, wanted);
}
bool Engine::could_hold(std::size_t slot, const Request& request) {
  const Offer& offer = offers_[slot];
  return offer.present && within(request.resources, offer.capacity) && has(slot, request.features) &&
         (!constraints_.concern(request) || constraints_.met(slot, request));
}
bool Engine::is_empty(std::size_t slot) const {
  const Resources& all = offers_[slot].capacity;
  return free_[slot].cpu_milli == cpu_of(all) && free_[slot].mem_mib == mem_of(all) && offers_[slot].alone == 0;
}

void Engine::set_node(NodeId id, const Resources& capacity, Traits traits) {
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
  free.kind = index_.kind_for(without_values(traits.words), static_cast<std::uint32_t>(gpus_of(capacity)));
  offer.present = true;
  offer.capacity = capacity;
  constraints_.set_node(slot, std::move(traits));
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
  constraints_.remove_node(slot);
  free_[slot] = Free{};
  --node_count_;
  ++offers_version_;
}

Amounts Engine::Free::amounts() const { return {cpu_milli, mem_mib, gpus}; }

void Engine::index(std::size_t slot) {
  Free& free = free_[slot];
  free.gpus = static_cast<std::uint8_t>(std::popcount(free.gpu_mask));
  if (!free.open) return;
  index_.insert(free.kind, static_cast<std::uint32_t>(slot), free.amounts());
  free.indexed = true;
}

void Engine::unindex(std::size_t slot) {
  settle();
  Free& free = free_[slot];
  if (!free.indexed) return;
  index_.erase(free.kind, static_cast<std::uint32_t>(slot), free.amounts());
  free.indexed = false;
}

// The index is brought up to date when it is needed or another node changes: equal pods that come and go on one node
// cost one change of the index, not one each.
template <class Change>
void Engine::reindex(std::size_t slot, Change&& change) {
  Free& free = free_[slot];
  if (free.indexed && slot != changed_slot_) {
    settle();
    changed_slot_ = slot;
    changed_from_ = free.amounts();
  }
  const std::uint64_t gpus_before = free.gpu_mask;
  change();
  if (free.gpu_mask != gpus_before) free.gpus = static_cast<std::uint8_t>(std::popcount(free.gpu_mask));
}

void Engine::settle() {
  if (changed_slot_ == kNoSlot) return;
  const Free& free = free_[changed_slot_];
  index_.change(free.kind, static_cast<std::uint32_t>(changed_slot_), changed_from_, free.amounts());
  changed_slot_ = kNoSlot;
}

std::size_t Engine::find_best(const Request& request) { return find_best_in(request, {}); }

std::size_t Engine::find_best_in(const Request& request, const MaskList& masks) {
  index_.prefetch(request);  // comes while the index is settled
  settle();
  struct Wish {
    const Engine* engine;
    const Request* request;
  } const wish{this, &request};
  const FitIndex::Accept fits = [](const void* context, std::uint32_t slot) {
    const auto* of = static_cast<const Wish*>(context);
    return of->engine->free_[slot].amounts().hold(of->request->resources) &&
           of->engine->has(slot, of->request->features);
  };
  if (masks.empty() || masks.smallest().count() > kFewNodes) return index_.find_best(request, fits, &wish, masks);
  // So few that each is looked at.
  std::size_t best = kNoSlot;
  std::int64_t least = 0;
  const Mask& few = masks.smallest();
  for (std::size_t word = 0, seen = 0; word < few.words() && seen < static_cast<std::size_t>(few.count()); ++word) {
    for (std::uint64_t bits = few.word(word); bits != 0; bits &= bits - 1, ++seen) {
      const std::size_t slot = word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
      if (!free_[slot].indexed || !masks.test(slot) || !fits(&wish, static_cast<std::uint32_t>(slot))) continue;
      const std::int64_t key = policy_->key(free_[slot].amounts().left());
      if (best != kNoSlot && key >= least) continue;
      best = slot;
      least = key;
    }
  }
  return best;
}

// In the nodes that meet most of the wishes, those that matter most first.
std::size_t Engine::find_best_of(const Request& request, const Constraints::Prepared& sets, const MaskList& also) {
  const std::size_t wishes = sets.soft.size();
  for (std::uint32_t met = 1U << wishes; met-- > 0;) {
    MaskList masks = also;
    for (std::size_t i = 0; i < wishes; ++i) {
      if ((met >> (wishes - 1 - i) & 1U) != 0) masks.add(sets.soft[i]);
    }
    if (const std::size_t slot = find_best_in(request, masks); slot != kNoSlot) return slot;
  }
  return kNoSlot;
}

// ---- claims ---------------------------------------------------------------------------------------------------------

std::uint32_t Engine::room_for(std::size_t slot, const Resources& wanted) const {
  const Amounts free = free_[slot].amounts();
  return free.hold(wanted) ? room_in(free, amounts_of(wanted)) : 0;
}

bool Engine::candidate(std::size_t slot, const Request& request, const MaskList& hard) const {
  const Offer& offer = offers_[slot];
  const bool open = offer.present && offer.connected && offer.in_service && !offer.held;
  return open && within(request.resources, offer.capacity) && has(slot, request.features) &&
         (hard.empty() || hard.test(slot));
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

void Engine::take_equal(std::size_t slot, const Resources& wanted, std::uint32_t count, std::vector<Placed>& out) {
  Free& free = free_[slot];
  const auto n = static_cast<std::int32_t>(count);
  free.cpu_milli -= cpu_of(wanted) * n;
  free.mem_mib -= mem_of(wanted) * n;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t gpus = wanted.gpus == 0 ? 0 : pick_gpus(slot, wanted.gpus);
    free.gpu_mask &= ~gpus;
    out.push_back({id_of(slot), gpus});
  }
}

std::uint32_t Engine::place(const Request& request, std::uint32_t count, std::vector<Placed>& out) {
  if (constraints_.concern(request)) return place_constrained(request, count, false, nullptr, out);
  if (count >= kStreamFrom && policy_->stays_best) return place_many(request, count, count, out);
  std::uint32_t placed = 0;
  while (placed < count) {
    const std::size_t slot = find_best(request);
    if (slot == kNoSlot) break;
    const std::uint32_t here = policy_->stays_best ? std::min(room_for(slot, request.resources), count - placed) : 1;
    reindex(slot, [&] { take_equal(slot, request.resources, here, out); });
    placed += here;
  }
  return placed;
}

// One search for all: the nodes best first, each given as many as it holds, `each` at most, before the next. The index
// is brought up to date afterwards.
std::uint32_t Engine::place_many(const Request& request, std::uint32_t count, std::uint32_t each,
                                 std::vector<Placed>& out) {
  settle();
  index_.stream(request, stream_);
  filled_.clear();
  std::uint32_t placed = 0;
  while (placed < count) {
    const std::size_t slot = stream_.next();
    if (slot == kNoSlot) break;
    const std::uint32_t here = std::min({room_for(slot, request.resources), each, count - placed});
    if (here == 0 || !has(slot, request.features)) continue;
    filled_.push_back({static_cast<std::uint32_t>(slot), free_[slot].amounts()});
    take_equal(slot, request.resources, here, out);
    if (request.resources.gpus != 0) free_[slot].gpus = static_cast<std::uint8_t>(std::popcount(free_[slot].gpu_mask));
    placed += here;
  }
  for (const Filled& was : filled_) index_.change(free_[was.slot].kind, was.slot, was.from, free_[was.slot].amounts());
  return placed;
}

// With a search for each pod: what one takes may close nodes to the next.
std::uint32_t Engine::place_constrained(const Request& request, std::uint32_t count, bool distinct, Promised* beside,
                                        std::vector<Placed>& out) {
  Mask empty;
  if (request.exclusive) {
    for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
      if (free_[slot].indexed && is_empty(slot)) empty.set(slot, true);
    }
  }
  std::uint32_t placed = 0;
  while (placed < count) {
    const Constraints::Prepared& sets = constraints_.prepare(request);
    MaskList masks = sets.hard;
    if (request.exclusive) masks.add(&empty);
    if (distinct) masks.add(&unused_);
    const MaskList allowed = masks;
    if (beside != nullptr) masks.add(&beside->others);
    std::size_t slot = find_best_of(request, sets, masks);
    std::uint32_t room = slot == kNoSlot ? 0 : room_for(slot, request.resources);
    if (slot == kNoSlot && beside != nullptr && !request.exclusive) slot = find_beside(request, allowed, *beside, room);
    if (slot == kNoSlot) break;
    const bool one = distinct || sets.moving || request.exclusive || !policy_->stays_best;
    const std::uint32_t here = one ? 1 : std::min(room, count - placed);
    if (beside != nullptr && !beside->others.test(slot)) {
      for (Promised::Part& part : beside->parts) {
        if (part.node == id_of(slot)) part.left.take(amounts_of(request.resources), here);
      }
    }
    reindex(slot, [&] { take_equal(slot, request.resources, here, out); });
    for (std::uint32_t i = 0; i < here; ++i) came(slot, request);
    if (request.exclusive) empty.set(slot, false);
    if (distinct) unused_.set(slot, false);
    placed += here;
  }
  return placed;
}

// The best of the nodes of which something is promised, and how many of the pods it can take beside that.
std::size_t Engine::find_beside(const Request& request, const MaskList& masks, const Promised& promised,
                                std::uint32_t& room) const {
  std::size_t best = kNoSlot;
  std::int64_t least = 0;
  for (const Promised::Part& part : promised.parts) {
    const std::size_t slot = slot_of(part.node);
    if (!free_[slot].indexed || !has(slot, request.features) || !masks.test(slot)) continue;
    const std::uint32_t here =
        std::min(room_for(slot, request.resources), room_in(part.left, amounts_of(request.resources)));
    const std::int64_t key = policy_->key(free_[slot].amounts().left());
    if (here == 0 || (best != kNoSlot && key >= least)) continue;
    best = slot;
    least = key;
    room = here;
  }
  return best;
}

std::uint32_t Engine::place(const Request& request, std::uint32_t count, Promised& beside, std::vector<Placed>& out) {
  return place_constrained(request, count, false, &beside, out);
}

bool Engine::place_gang(const Request& request, std::uint32_t count, bool distinct, Promised& beside,
                        std::vector<Placed>& out) {
  const std::vector<Promised::Part> before = beside.parts;
  if (place_gang(request, count, distinct, &beside, out)) return true;
  beside.parts = before;
  return false;
}

bool Engine::place_gang(const Request& request, std::uint32_t count, bool distinct, std::vector<Placed>& out) {
  return place_gang(request, count, distinct, nullptr, out);
}

// A pod with constraints has come to the node.
void Engine::came(std::size_t slot, const Request& request) {
  constraints_.add(slot, request);
  if (!request.exclusive) return;
  ++offers_[slot].alone;
  offer_changed(slot);
}

bool Engine::place_gang(const Request& request, std::uint32_t count, bool distinct, Promised* beside,
                        std::vector<Placed>& out) {
  const std::size_t before = out.size();
  bool all = false;
  if (beside != nullptr || constraints_.concern(request)) {
    unused_.clear();
    if (distinct) {
      for (std::size_t slot = 0; slot < offers_.size(); ++slot) unused_.set(slot, true);
    }
    all = place_parts(request, count, distinct, beside, out);
  } else {
    all = (distinct ? place_many(request, count, 1, out) : place(request, count, out)) == count;
  }
  if (all) return true;
  for (std::size_t i = before; i < out.size(); ++i) release(out[i].node, request, out[i].gpu_mask);
  out.resize(before);
  return false;
}

// A condition's [a*2&b*4]: so many of the pods on nodes of each. [a|b]: all on nodes of the same, the first that holds
// them.
bool Engine::place_parts(const Request& request, std::uint32_t count, bool distinct, Promised* beside,
                         std::vector<Placed>& out) {
  const Constraints::Prepared& sets = constraints_.prepare(request);
  if (sets.parts.empty()) return place_constrained(request, count, distinct, beside, out) == count;
  const auto parts = sets.parts;
  const bool counted = sets.counted;
  const std::size_t before = out.size();
  Request part = request;
  for (const auto& [text, pods] : parts) {
    part.where = text;
    const std::uint32_t wanted = counted ? pods : count;
    if (place_constrained(part, wanted, distinct, beside, out) == wanted) {
      if (!counted || out.size() - before == count) return out.size() - before == count;
      continue;
    }
    if (counted) return false;
    for (std::size_t i = before; i < out.size(); ++i) {
      release(out[i].node, request, out[i].gpu_mask);
      if (distinct) unused_.set(slot_of(out[i].node), true);
    }
    out.resize(before);
  }
  return false;
}

void Engine::claim(NodeId id, const Request& request, std::uint64_t gpu_mask) {
  claim(id, request.resources, gpu_mask);
  if (!request.plain()) came(slot_of(id), request);
}

void Engine::claim(NodeId id, const Resources& resources, std::uint64_t gpu_mask) {
  reindex(slot_of(id), [&] { take(slot_of(id), resources, gpu_mask); });
}

void Engine::release(NodeId id, const Request& request, std::uint64_t gpu_mask) {
  const std::size_t slot = slot_of(id);
  release(id, request.resources, gpu_mask);
  if (request.plain()) return;
  constraints_.remove(slot, request);
  if (!request.exclusive || offers_[slot].alone == 0) return;
  --offers_[slot].alone;
  offer_changed(slot);
}

void Engine::release(NodeId id, const Resources& resources, std::uint64_t gpu_mask) {
  reindex(slot_of(id), [&] { give(slot_of(id), resources, gpu_mask); });
}

void Engine::hold_for(const Request& request) {
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    if (offers_[slot].held || !could_hold(slot, request)) continue;
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

bool Engine::fits_now(NodeId id, const Request& request) {
  const std::size_t slot = slot_of(id);
  if (slot >= offers_.size() || !offers_[slot].open() || !free_[slot].amounts().hold(request.resources)) return false;
  if (!has(slot, request.features)) return false;
  if (!constraints_.concern(request)) return true;
  return constraints_.prepare(request).hard.test(slot) && (!request.exclusive || is_empty(slot));
}

Potential Engine::potential(const Request& request) {
  Potential potential;
  const Resources& wanted = request.resources;
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    if (!could_hold(slot, request)) continue;
    const Resources& capacity = offers_[slot].capacity;
    ++potential.nodes;
    potential.pods += request.exclusive
                          ? 1
                          : std::min({times(capacity.cpu_milli, wanted.cpu_milli),
                                      times(capacity.mem_mib, wanted.mem_mib), times(capacity.gpus, wanted.gpus)});
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
  if (std::string wrong = constraints_.check(); !wrong.empty()) return "rules: " + wrong;
  std::uint32_t present = 0, indexed = 0;
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    const std::string where = "node " + std::to_string(slot + 1) + ": ";
    if (offers_[slot].present) ++present;
    if (free_[slot].open != offers_[slot].open()) return where + "whether it is open is out of date";
    if (free_[slot].indexed != free_[slot].open) return where + "open and indexed do not agree";
    if (!free_[slot].indexed) continue;
    ++indexed;
    const Free& free = free_[slot];
    if (free.gpus != std::popcount(free.gpu_mask)) return where + "free GPU count differs from its mask";
    if (!index_.is_kind(free.kind, without_values(constraints_.traits(slot).words)))
      return where + "indexed among other features";
    const Amounts known = slot == changed_slot_ ? changed_from_ : free.amounts();
    if (!index_.holds(free.kind, static_cast<std::uint32_t>(slot), known)) {
      return where + "not indexed as its amounts say";
    }
  }
  if (index_.size() != indexed) return "the index has entries of nobody";
  if (std::string wrong = index_.check(); !wrong.empty()) return "index: " + wrong;
  return present == node_count_ ? "" : "the node count is wrong";
}

}  // namespace berth::placement
