#include "placement/engine.h"

#include <algorithm>
#include <bit>

namespace berth::placement {

namespace {

// Nodes in the index that cost as much to pass over as to compare 64 that are allowed; and what to begin with costs.
constexpr std::int64_t kPassedOverFor = 4, kPassedOverAtLeast = 32;

using state::NodeId;
using state::Pinning;
using state::Request;
using state::Resources;

std::int32_t cpu_of(const Resources& r) { return amounts_of(r).cpu_milli; }
std::int32_t mem_of(const Resources& r) { return amounts_of(r).mem_mib; }

std::uint32_t gpu_of(std::uint64_t mask) { return static_cast<std::uint32_t>(std::countr_zero(mask)); }

bool within(const Resources& wanted, const Resources& capacity) {
  return wanted.cpu_milli <= capacity.cpu_milli && wanted.mem_mib <= capacity.mem_mib && wanted.gpus <= capacity.gpus;
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
  if (!offer.present || !within(request.resources, offer.capacity) || !has(slot, request.features)) return false;
  if (!constraints_.concern(request)) return true;
  if (!constraints_.met(slot, request) || !countables_.could_hold(slot, request.counts)) return false;
  if (!demands_cores(request)) return true;
  const NodeCores* cores = cores_of(slot);
  return cores != nullptr && cores->cpu_milli_of(request) <= offer.capacity.cpu_milli && cores->could_hold(request);
}
bool Engine::is_empty(std::size_t slot) const {
  const Resources& all = offers_[slot].capacity;
  return free_[slot].cpu_milli == cpu_of(all) && free_[slot].mem_mib == mem_of(all) && offers_[slot].alone == 0;
}

void Engine::set_node(NodeId id, Offered offered) {
  const Resources& capacity = offered.capacity;
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
  free.cpu_milli += cpu_of(capacity) - cpu_of(old);
  free.mem_mib += mem_of(capacity) - mem_of(old);
  const std::uint32_t gpus = amounts_of(capacity).gpus;
  free.gpus_offered = static_cast<std::uint8_t>(gpus);
  free.gpu_mask = free.unclaimed_gpus();
  sharing_.set_offered(slot, gpus);
  static_assert(NodeIndex::kKindsMax <= 256);
  free.kind = static_cast<std::uint8_t>(index_.kind_for(without_values(offered.traits.words), gpus));
  offer.present = true;
  offer.capacity = capacity;
  offer.pods_max = offered.pods_max;
  offer.full = offer.pods_max != 0 && free.pods >= static_cast<std::int64_t>(offer.pods_max);
  free.limited = offer.pods_max != 0;
  countables_.set_node(slot, offered.counts);
  const bool known = offered.topology != nullptr && !offered.topology->empty();
  if (known && (!offer.cores || !offer.cores->is_of(*offered.topology, capacity.gpus))) {
    auto cores = std::make_unique<NodeCores>(*offered.topology, capacity.gpus);
    if (offer.cores) cores->take_over(*offer.cores);
    offer.cores = std::move(cores);
  }
  free.cores = known && NodeCores::suits(*offered.topology, capacity);
  if (policy_->rates_gpus) {
    free.gpus = static_cast<std::uint8_t>(std::popcount(free.gpu_mask));
    rater_.set_node(slot, without_values(offered.traits.words), gpu_node(slot));
  }
  offer.leaf = switches_.leaf_of(offered.traits.name);
  constraints_.set_node(slot, std::move(offered.traits));
  ++offers_version_;
  offer_changed(slot);
}

void Engine::set_switches(SwitchTree tree) {
  switches_ = std::move(tree);
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    if (offers_[slot].present) offers_[slot].leaf = switches_.leaf_of(constraints_.traits(slot).name);
  }
}

// A node with a limit of pods may have reached it, or may have come below it.
void Engine::pods_changed(std::size_t slot) {
  Offer& offer = offers_[slot];
  const bool full = free_[slot].pods >= static_cast<std::int64_t>(offer.pods_max);
  if (full == offer.full) return;
  offer.full = full;
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
  rater_.remove_node(slot);
  countables_.remove_node(slot);
  sharing_.set_offered(slot, 0);
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
  if (columns_.used()) columns_.set(index_.entry_of(static_cast<std::uint32_t>(slot), free.amounts()));
  free.indexed = true;
}

void Engine::unindex(std::size_t slot) {
  settle();
  Free& free = free_[slot];
  if (!free.indexed) return;
  index_.erase(free.kind, static_cast<std::uint32_t>(slot), free.amounts());
  columns_.clear(slot);
  free.indexed = false;
}

void Engine::settle() {
  if (changed_slot_ == kNoSlot) return;
  const Free& free = free_[changed_slot_];
  const auto slot = static_cast<std::uint32_t>(changed_slot_);
  index_.change(free.kind, slot, changed_from_, free.amounts());
  if (columns_.used()) columns_.set(index_.entry_of(slot, free.amounts()));
  changed_slot_ = kNoSlot;
}

std::size_t Engine::find_best(const Request& request) { return find_best_in(request, {}); }

std::size_t Engine::find_best_in(const Request& request, const MaskList& masks) {
  index_.prefetch(request);  // comes while the index is settled
  settle();
  struct Wish {
    const Engine* engine;
    const Request* request;
    bool cores;
  } const wish{this, &request, demands_cores(request)};
  const FitIndex::Accept fits = [](const void* context, std::uint32_t slot) {
    const auto* of = static_cast<const Wish*>(context);
    return of->engine->free_[slot].amounts().hold(of->request->resources) &&
           of->engine->has(slot, of->request->features) && (!of->cores || of->engine->cores_hold(slot, *of->request));
  };
  if (masks.empty()) return index_.find_best(request, fits, &wish, masks);
  std::int64_t patience = kPassedOverAtLeast + masks.smallest().used_words() * kPassedOverFor;
  MaskList bounded = masks;
  bounded.give_up_after(&patience);
  const std::size_t slot = index_.find_best(request, fits, &wish, bounded);
  if (!bounded.gave_up()) return slot;
  // So few, or so far from those that fit best, that looking at all that are allowed costs less.
  keep_columns();
  const std::uint32_t best = columns_.find(NodeIndex::demand_of(request.resources), fits, &wish, masks);
  return best == FreeColumns::kNone ? kNoSlot : best;
}

void Engine::keep_columns() {
  if (columns_.used()) return;
  for (std::size_t slot = 0; slot < free_.size(); ++slot) {
    if (!free_[slot].indexed) continue;
    columns_.set(index_.entry_of(static_cast<std::uint32_t>(slot), free_[slot].amounts()));
  }
}

// ---- claims ---------------------------------------------------------------------------------------------------------

std::uint32_t Engine::room_for(std::size_t slot, const Resources& wanted) const {
  const Amounts free = free_[slot].amounts();
  const std::uint32_t room = free.hold(wanted) ? room_in(free, amounts_of(wanted)) : 0;
  if (!free_[slot].limited) return room;
  const std::int64_t left = static_cast<std::int64_t>(offers_[slot].pods_max) - free_[slot].pods;
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(left, 0, room));
}

bool Engine::candidate(std::size_t slot, const Request& request, const MaskList& hard) {
  const Offer& offer = offers_[slot];
  const bool open = offer.present && offer.connected && offer.in_service && !offer.held;
  if (!open || !within(request.resources, offer.capacity) || !has(slot, request.features)) return false;
  return (hard.empty() || hard.test(slot)) && (request.plain() || could_hold(slot, request));
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
  free_[slot].gpus_claimed |= gpu_mask;
  ++free_[slot].pods;
}

void Engine::give(std::size_t slot, const Resources& resources, std::uint64_t gpu_mask) {
  free_[slot].cpu_milli += cpu_of(resources);
  free_[slot].mem_mib += mem_of(resources);
  --free_[slot].pods;
  if (gpu_mask == 0) return;
  free_[slot].gpus_claimed &= ~gpu_mask;
  free_[slot].gpu_mask = free_[slot].unclaimed_gpus();
}

// With what is more than amounts: shares of GPUs, countables, cores.
void Engine::take_all(std::size_t slot, const Request& request, std::uint64_t gpu_mask, const Pinning* pinning) {
  const std::uint32_t share = request.gpu_share_milli;
  if (share != 0 && gpu_mask != 0 && !sharing_.take(slot, gpu_of(gpu_mask), share)) {
    take(slot, request.resources, 0);  // a GPU that is in shares already
  } else {
    take(slot, request.resources, gpu_mask);
  }
  if (!request.counts.empty()) countables_.take(slot, request.counts);
  if (pinning == nullptr) return;
  free_[slot].cpu_milli -= static_cast<std::int32_t>(pinning->idle * 1000);
  if (offers_[slot].cores) offers_[slot].cores->claim(*pinning);
}

void Engine::give_all(std::size_t slot, const Request& request, std::uint64_t gpu_mask, const Pinning* pinning) {
  const std::uint32_t share = request.gpu_share_milli;
  if (share != 0 && gpu_mask != 0 && !sharing_.give(slot, gpu_of(gpu_mask), share)) {
    give(slot, request.resources, 0);  // others have shares of it still
  } else {
    give(slot, request.resources, gpu_mask);
  }
  if (!request.counts.empty()) countables_.give(slot, request.counts);
  if (pinning == nullptr) return;
  free_[slot].cpu_milli += static_cast<std::int32_t>(pinning->idle * 1000);
  if (offers_[slot].cores) offers_[slot].cores->release(*pinning);
}

// One pod, which fits: its GPUs and cores are chosen here.
void Engine::take_one(std::size_t slot, const Request& request, std::vector<Placed>& out) {
  const Free& free = free_[slot];
  std::uint64_t gpus = 0;
  if (request.gpu_share_milli != 0) {
    const auto shared = sharing_.tightest(slot, request.gpu_share_milli);
    gpus = shared ? 1ULL << *shared : pick_gpus(slot, 1);
    if (rated_.gpu_mask != 0 && rated_.slot == slot) gpus = rated_.gpu_mask;
  }
  Pinning pinning;
  if (NodeCores* cores = cores_of(slot); cores != nullptr) {
    if (auto choice = cores->take(request, free.gpu_mask); choice) {
      if (gpus == 0) gpus = choice->gpu_mask;
      pinning = std::move(choice->pinning);
      cores->release(pinning);  // claimed below, with everything else
    }
  }
  if (gpus == 0 && request.resources.gpus != 0) gpus = pick_gpus(slot, request.resources.gpus);
  take_all(slot, request, gpus, pinning.empty() ? nullptr : &pinning);
  if (pinning.empty()) return out.push_back({id_of(slot), 0, gpus});
  pinnings_.push_back(std::move(pinning));
  out.push_back({id_of(slot), static_cast<std::uint32_t>(pinnings_.size()), gpus});
}

void Engine::take_equal(std::size_t slot, const Request& request, std::uint32_t count, std::vector<Placed>& out) {
  Free& free = free_[slot];
  if (free.cores || request.gpu_share_milli != 0 || !request.counts.empty()) {
    for (std::uint32_t i = 0; i < count; ++i) take_one(slot, request, out);
    return;
  }
  const Resources& wanted = request.resources;
  const auto n = static_cast<std::int32_t>(count);
  free.cpu_milli -= cpu_of(wanted) * n;
  free.mem_mib -= mem_of(wanted) * n;
  free.pods += n;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t gpus = wanted.gpus == 0 ? 0 : pick_gpus(slot, wanted.gpus);
    free.gpu_mask &= ~gpus;
    free.gpus_claimed |= gpus;
    out.push_back({id_of(slot), 0, gpus});
  }
}

std::uint32_t Engine::place(const Request& request, std::uint32_t count, std::vector<Placed>& out) {
  if (policy_->rates_gpus || constraints_.concern(request)) return place_constrained(request, count, {}, nullptr, out);
  if (count >= kStreamFrom && policy_->stays_best) return place_many(request, count, count, out);
  std::uint32_t placed = 0;
  while (placed < count) {
    const std::size_t slot = find_best(request);
    if (slot == kNoSlot) break;
    const std::uint32_t here = policy_->stays_best ? std::min(room_for(slot, request.resources), count - placed) : 1;
    reindex(slot, [&] { take_equal(slot, request, here, out); });
    if (free_[slot].limited) pods_changed(slot);
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
    take_equal(slot, request, here, out);
    if (request.resources.gpus != 0) free_[slot].gpus = static_cast<std::uint8_t>(std::popcount(free_[slot].gpu_mask));
    placed += here;
  }
  for (const Filled& was : filled_) {
    index_.change(free_[was.slot].kind, was.slot, was.from, free_[was.slot].amounts());
    if (columns_.used()) columns_.set(index_.entry_of(was.slot, free_[was.slot].amounts()));
    tell_rater(was.slot);
    if (free_[was.slot].limited) pods_changed(was.slot);
  }
  return placed;
}

void Engine::claim(NodeId id, const Request& request, std::uint64_t gpu_mask, const Pinning* pinning) {
  const std::size_t slot = slot_of(id);
  reindex(slot, [&] { take_all(slot, request, gpu_mask, pinning); });
  tell_rater(slot);
  if (free_[slot].limited) pods_changed(slot);
  if (!request.plain()) came(slot, request);
}

void Engine::claim(NodeId id, const Resources& resources, std::uint64_t gpu_mask) {
  const std::size_t slot = slot_of(id);
  reindex(slot, [&] { take(slot, resources, gpu_mask); });
  tell_rater(slot);
  if (free_[slot].limited) pods_changed(slot);
}

void Engine::release(NodeId id, const Request& request, std::uint64_t gpu_mask, const Pinning* pinning) {
  const std::size_t slot = slot_of(id);
  reindex(slot, [&] { give_all(slot, request, gpu_mask, pinning); });
  tell_rater(slot);
  if (free_[slot].limited) pods_changed(slot);
  if (request.plain()) return;
  constraints_.remove(slot, request);
  if (!request.exclusive || offers_[slot].alone == 0) return;
  --offers_[slot].alone;
  offer_changed(slot);
}

void Engine::release(NodeId id, const Resources& resources, std::uint64_t gpu_mask) {
  const std::size_t slot = slot_of(id);
  reindex(slot, [&] { give(slot, resources, gpu_mask); });
  tell_rater(slot);
  if (free_[slot].limited) pods_changed(slot);
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
  if (slot >= offers_.size() || !offers_[slot].open()) return false;
  Amounts free = free_[slot].amounts();
  if (request.gpu_share_milli != 0 && sharing_.tightest(slot, request.gpu_share_milli)) free.gpus = 1;
  if (!free.hold(request.resources) || !has(slot, request.features)) return false;
  if (!constraints_.concern(request)) return true;
  return constraints_.prepare(request).hard.test(slot) && countables_.hold(slot, request.counts) &&
         (!demands_cores(request) || cores_hold(slot, request)) && (!request.exclusive || is_empty(slot));
}

Potential Engine::potential(const Request& request) {
  Potential potential;
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    if (!could_hold(slot, request)) continue;
    const Resources& capacity = offers_[slot].capacity;
    ++potential.nodes;
    Amounts all = amounts_of(capacity);
    if (request.gpu_share_milli != 0) all.gpus *= GpuSharing::kWhole / request.gpu_share_milli;
    const std::uint32_t pods =
        std::min(room_in(all, amounts_on(slot, request)), countables_.room(slot, request.counts, true));
    const std::uint32_t most = offers_[slot].pods_max == 0 ? pods : offers_[slot].pods_max;
    potential.pods += request.exclusive ? 1 : std::min(pods, most);
  }
  return potential;
}

Resources Engine::used(NodeId id) const {
  const std::size_t slot = slot_of(id);
  if (slot >= offers_.size()) return {};
  const Resources& capacity = offers_[slot].capacity;
  return {static_cast<std::uint32_t>(cpu_of(capacity) - free_[slot].cpu_milli),
          static_cast<std::uint64_t>(mem_of(capacity) - free_[slot].mem_mib),
          static_cast<std::uint32_t>(std::popcount(free_[slot].gpus_claimed))};
}

std::vector<state::Countable> Engine::counts_used(NodeId id) const { return countables_.used(slot_of(id)); }
std::uint32_t Engine::gpus_shared_milli(NodeId id) const { return sharing_.left_milli(slot_of(id)); }

std::string Engine::check_invariants() const {
  if (std::string wrong = constraints_.check(); !wrong.empty()) return "rules: " + wrong;
  if (std::string wrong = sharing_.check(); !wrong.empty()) return "shares: " + wrong;
  std::uint32_t present = 0, indexed = 0;
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    const std::string where = "node " + std::to_string(slot + 1) + ": ";
    if (offers_[slot].present) ++present;
    if (offers_[slot].full !=
        (free_[slot].limited && free_[slot].pods >= static_cast<std::int64_t>(offers_[slot].pods_max)))
      return where + "whether it has all pods that it may have is out of date";
    if (free_[slot].open != offers_[slot].open()) return where + "whether it is open is out of date";
    if (free_[slot].indexed != free_[slot].open) return where + "open and indexed do not agree";
    if (!free_[slot].indexed && !columns_.is_clear(slot)) return where + "closed, and in the columns";
    if (!free_[slot].indexed) continue;
    ++indexed;
    const Free& free = free_[slot];
    if (free.gpu_mask != free.unclaimed_gpus()) return where + "GPUs are free and claimed, or neither";
    if (free.gpus != std::popcount(free.gpu_mask)) return where + "free GPU count differs from its mask";
    if (!index_.is_kind(free.kind, without_values(constraints_.traits(slot).words)))
      return where + "indexed among other features";
    const Amounts known = slot == changed_slot_ ? changed_from_ : free.amounts();
    if (!index_.holds(free.kind, static_cast<std::uint32_t>(slot), known)) {
      return where + "not indexed as its amounts say";
    }
    if (columns_.used() && !columns_.holds(index_.entry_of(static_cast<std::uint32_t>(slot), known)))
      return where + "not in the columns as its amounts say";
  }
  if (index_.size() != indexed) return "the index has entries of nobody";
  if (std::string wrong = index_.check(); !wrong.empty()) return "index: " + wrong;
  return present == node_count_ ? "" : "the node count is wrong";
}

}  // namespace berth::placement
