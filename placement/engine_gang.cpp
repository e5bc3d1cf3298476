// Pods with constraints, and gangs: what needs more than a search by amounts.
#include <algorithm>
#include <bit>
#include <numeric>

#include "placement/engine.h"

namespace berth::placement {

using state::GangShape;
using state::NodeId;
using state::Pinning;
using state::Request;

namespace {

// n2 before n10.
bool name_less(std::string_view a, std::string_view b) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  while (!a.empty() && !b.empty()) {
    if (digit(a[0]) && digit(b[0])) {
      std::size_t a_end = 0, b_end = 0;
      while (a_end < a.size() && digit(a[a_end])) ++a_end;
      while (b_end < b.size() && digit(b[b_end])) ++b_end;
      std::string_view x = a.substr(0, a_end), y = b.substr(0, b_end);
      while (x.size() > 1 && x[0] == '0') x.remove_prefix(1);
      while (y.size() > 1 && y[0] == '0') y.remove_prefix(1);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      a.remove_prefix(a_end);
      b.remove_prefix(b_end);
      continue;
    }
    if (a[0] != b[0]) return a[0] < b[0];
    a.remove_prefix(1);
    b.remove_prefix(1);
  }
  return a.size() < b.size();
}

}  // namespace

bool Engine::cores_hold(std::size_t slot, const Request& request) const {
  NodeCores* cores = cores_of(slot);
  return cores != nullptr && free_[slot].cpu_milli >= static_cast<std::int64_t>(cores->cpu_milli_of(request)) &&
         cores->holds(request, free_[slot].gpu_mask);
}

Amounts Engine::amounts_on(std::size_t slot, const Request& request) const {
  if (request.exclusive) return amounts_of(offers_[slot].capacity);
  Amounts amounts = amounts_of(request.resources);
  if (request.cores.threads_per_core == 0) return amounts;
  if (const NodeCores* cores = cores_of(slot))
    amounts.cpu_milli = static_cast<std::int32_t>(cores->cpu_milli_of(request));
  return amounts;
}

// ---- one pod after the other ----------------------------------------------------------------------------------------

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

// A share of a GPU comes from one that is in shares already, where there is one. Cores that are wished for close
// together come before others.
std::size_t Engine::find_for(const Request& request, const Constraints::Prepared& sets, const MaskList& masks) {
  rated_ = {};
  if (policy_->rates_gpus && sets.soft.empty() && !request.cores.any() && rater_.learn(request)) {
    settle();
    const auto choice = rater_.best(request, [&](std::size_t slot) {
      return free_[slot].indexed && masks.test(slot) && has(slot, request.features) && room_of(slot, request, 1) != 0;
    });
    if (choice) {
      rated_ = *choice;
      return choice->slot;
    }
    // Some nodes cannot be rated: those are searched as any others.
  }
  if (request.cores.level != state::CoreFit::Level::kNone && !request.cores.require) {
    Request strict = request;
    strict.cores.require = true;
    if (const std::size_t slot = find_for(strict, sets, masks); slot != kNoSlot) return slot;
  }
  if (request.gpu_share_milli != 0) {
    Request light = request;
    light.resources.gpus = 0;
    MaskList shared = masks;
    shared.add(&sharing_.with(request.gpu_share_milli));
    if (const std::size_t slot = find_best_of(light, sets, shared); slot != kNoSlot) return slot;
  }
  return find_best_of(request, sets, masks);
}

GpuNode Engine::gpu_node(std::size_t slot) const {
  const Free& free = free_[slot];
  GpuNode node;
  node.cpu_milli = free.cpu_milli;
  node.mem_mib = free.mem_mib;
  node.gpus = free.gpus_offered;
  for (std::uint32_t gpu = 0; gpu < kGpusPerNodeMax && gpu < node.gpus; ++gpu) {
    const bool whole = (free.gpu_mask >> gpu & 1U) != 0;
    node.left[gpu] = static_cast<std::int16_t>(whole ? kWholeGpu : sharing_.left_of(slot, gpu));
  }
  return node;
}

// How many pods the node has room for at this moment, rules about other pods aside.
std::uint32_t Engine::room_of(std::size_t slot, const Request& request, std::uint32_t most) const {
  std::uint32_t room = 0;
  if (request.gpu_share_milli != 0) {
    Request light = request;
    light.resources.gpus = 0;
    room = std::min(room_for(slot, light.resources), shares_room(slot, request.gpu_share_milli));
  } else {
    room = room_for(slot, request.resources);
  }
  room = std::min(room, most);
  if (!request.counts.empty()) room = std::min(room, countables_.room(slot, request.counts, false));
  if (room == 0 || !demands_cores(request)) return room;
  const NodeCores* cores = cores_of(slot);
  if (cores == nullptr) return 0;
  const auto by_cpu = static_cast<std::uint32_t>(std::max(free_[slot].cpu_milli, 0)) / cores->cpu_milli_of(request);
  return cores->room(request, free_[slot].gpu_mask, std::min(room, by_cpu));
}

std::uint32_t Engine::shares_room(std::size_t slot, std::uint32_t share_milli) const {
  return sharing_.room(slot, share_milli) + free_[slot].gpus * (GpuSharing::kWhole / share_milli);
}

// So many pods to the node, which holds them.
void Engine::put(std::size_t slot, const Request& request, std::uint32_t count, Promised* beside,
                 std::vector<Placed>& out) {
  if (beside != nullptr && !beside->others.test(slot)) {
    for (Promised::Part& part : beside->parts) {
      if (part.node == id_of(slot)) part.left.take(amounts_on(slot, request), count);
    }
  }
  reindex(slot, [&] { take_equal(slot, request, count, out); });
  tell_rater(slot);
  if (free_[slot].limited) pods_changed(slot);
  if (request.plain()) return;
  for (std::uint32_t i = 0; i < count; ++i) came(slot, request);
}

// With a search for each pod: what one takes may close nodes to the next.
std::uint32_t Engine::place_constrained(const Request& request, std::uint32_t count, const GangShape& shape,
                                        Promised* beside, std::vector<Placed>& out) {
  const bool limited = shape.per_node != 0 || shape.nodes_max != 0;
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
    if (!request.counts.empty()) masks.add(&countables_.with(request.counts));
    if (request.exclusive) masks.add(&empty);
    if (limited) masks.add(&usable_);
    const MaskList allowed = masks;
    if (beside != nullptr) masks.add(&beside->others);
    std::size_t slot = find_for(request, sets, masks);
    const bool one = shape.per_node != 0 || sets.moving || request.exclusive || !policy_->stays_best ||
                     request.gpu_share_milli != 0 || request.cores.any();
    std::uint32_t room = slot == kNoSlot ? 0 : one ? 1 : room_of(slot, request, count - placed);
    if (slot == kNoSlot && beside != nullptr && !request.exclusive) slot = find_beside(request, allowed, *beside, room);
    if (slot == kNoSlot) break;
    const std::uint32_t here = one ? 1 : std::min(room, count - placed);
    put(slot, request, here, beside, out);
    if (request.exclusive) empty.set(slot, false);
    if (limited) count_on(slot, here, shape);
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
    const std::uint32_t here = room_of(slot, request, room_in(part.left, amounts_on(slot, request)));
    const std::int64_t key = policy_->key(free_[slot].amounts().left());
    if (here == 0 || (best != kNoSlot && key >= least)) continue;
    best = slot;
    least = key;
    room = here;
  }
  return best;
}

std::uint32_t Engine::place(const Request& request, std::uint32_t count, Promised& beside, std::vector<Placed>& out) {
  return place_constrained(request, count, {}, &beside, out);
}

// A pod with constraints has come to the node.
void Engine::came(std::size_t slot, const Request& request) {
  constraints_.add(slot, request);
  if (!request.exclusive) return;
  ++offers_[slot].alone;
  offer_changed(slot);
}

// ---- gangs ----------------------------------------------------------------------------------------------------------

bool Engine::place_gang(const Request& request, std::uint32_t count, const GangShape& shape, Promised& beside,
                        std::vector<Placed>& out) {
  const std::vector<Promised::Part> before = beside.parts;
  if (place_gang(request, count, shape, &beside, out)) return true;
  beside.parts = before;
  return false;
}

bool Engine::place_gang(const Request& request, std::uint32_t count, const GangShape& shape, std::vector<Placed>& out) {
  return place_gang(request, count, shape, nullptr, out);
}

void Engine::undo(std::size_t before, const Request& request, std::vector<Placed>& out) {
  for (std::size_t i = before; i < out.size(); ++i) {
    release(out[i].node, request, out[i].gpu_mask, pinning(out[i]));
  }
  out.resize(before);
}

bool Engine::place_gang(const Request& request, std::uint32_t count, const GangShape& shape, Promised* beside,
                        std::vector<Placed>& out) {
  const std::size_t before = out.size();
  const bool by_nodes =
      shape.nodes_min != 0 || shape.nodes_max != 0 || shape.contiguous || shape.compact || !switches_.empty();
  bool all = false;
  if (by_nodes && request.rules.empty() && constraints_.prepare(request).parts.empty()) {
    all = place_shaped(request, count, shape, beside, out);
  } else if (beside != nullptr || constraints_.concern(request) || shape.per_node > 1) {
    begin_gang(shape);
    all = place_parts(request, count, shape, beside, out);
  } else {
    all = (shape.per_node == 1 ? place_many(request, count, 1, out) : place(request, count, out)) == count;
  }
  if (!all) undo(before, request, out);
  return all;
}

void Engine::begin_gang(const GangShape& shape) {
  if (shape.per_node == 0 && shape.nodes_max == 0) return;
  usable_.fill(offers_.size());
  on_slot_.assign(offers_.size(), 0);
  gang_nodes_ = 0;
}

// Pods of the gang went to the node: this may then have all that it may have of them, and the gang all its nodes.
void Engine::count_on(std::size_t slot, std::uint32_t pods, const GangShape& shape) {
  const bool first = on_slot_[slot] == 0;
  on_slot_[slot] += pods;
  if (shape.per_node != 0 && on_slot_[slot] >= shape.per_node) usable_.set(slot, false);
  if (!first || ++gang_nodes_ != shape.nodes_max) return;
  for (std::size_t other = 0; other < on_slot_.size(); ++other) {
    if (on_slot_[other] == 0) usable_.set(other, false);
  }
}

// A condition's [a*2&b*4]: so many of the pods on nodes of each. [a|b]: all on nodes of the same, the first that holds
// them.
bool Engine::place_parts(const Request& request, std::uint32_t count, const GangShape& shape, Promised* beside,
                         std::vector<Placed>& out) {
  const Constraints::Prepared& sets = constraints_.prepare(request);
  if (sets.parts.empty()) return place_constrained(request, count, shape, beside, out) == count;
  const auto promised = beside == nullptr ? std::vector<Promised::Part>{} : beside->parts;
  const auto parts = sets.parts;
  const bool counted = sets.counted;
  const std::size_t before = out.size();
  Request part = request;
  for (const auto& [text, pods] : parts) {
    part.where = text;
    const std::uint32_t wanted = counted ? pods : count;
    if (place_constrained(part, wanted, shape, beside, out) == wanted) {
      if (!counted || out.size() - before == count) return out.size() - before == count;
      continue;
    }
    if (counted) return false;
    begin_gang(shape);
    undo(before, request, out);
    if (beside != nullptr) beside->parts = promised;
  }
  return false;
}

// Every node's room first, then the choice among them all.
bool Engine::place_shaped(const Request& request, std::uint32_t count, const GangShape& shape, Promised* beside,
                          std::vector<Placed>& out) {
  settle();
  rated_ = {};
  const Constraints::Prepared& sets = constraints_.prepare(request);
  const std::uint32_t most = shape.per_node == 0 ? count : std::min(count, shape.per_node);
  std::vector<std::uint32_t> beside_room;
  if (beside != nullptr) {
    beside_room.assign(offers_.size(), most);
    for (const Promised::Part& part : beside->parts) {
      const std::size_t slot = slot_of(part.node);
      beside_room[slot] = std::min(most, room_in(part.left, amounts_on(slot, request)));
    }
  }
  std::vector<GangNode> nodes;
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    if (!free_[slot].indexed || !has(slot, request.features) || !sets.hard.test(slot)) continue;
    const bool promised = beside != nullptr && !beside->others.test(slot);
    if (request.exclusive && (promised || !is_empty(slot))) continue;
    const std::uint32_t limit = beside == nullptr ? most : beside_room[slot];
    const std::uint32_t room = room_of(slot, request, request.exclusive ? std::min(limit, 1U) : limit);
    if (room == 0) continue;
    // Before the policy's key: of what nothing is promised, then the wishes that it does not meet, as bits.
    std::int64_t unmet = promised ? 1 : 0;
    for (const Mask* wish : sets.soft) unmet = unmet * 2 + (wish->test(slot) ? 0 : 1);
    nodes.push_back(gang_node(id_of(slot), room));
    nodes.back().key += unmet << 32;
  }
  std::vector<GangPart> parts;
  if (!choose_gang(std::move(nodes), count, shape, switches_, parts)) return false;
  for (const GangPart& part : parts) put(part.slot, request, part.pods, beside, out);
  return true;
}

GangNode Engine::gang_node(NodeId id, std::uint32_t room) {
  if (by_name_version_ != offers_version_) {
    std::vector<std::uint32_t> slots(offers_.size());
    std::iota(slots.begin(), slots.end(), 0U);
    std::erase_if(slots, [&](std::uint32_t slot) { return !offers_[slot].present; });
    std::sort(slots.begin(), slots.end(), [&](std::uint32_t a, std::uint32_t b) {
      const std::string &x = constraints_.traits(a).name, &y = constraints_.traits(b).name;
      return name_less(x, y) || (!name_less(y, x) && a < b);
    });
    by_name_.assign(offers_.size(), 0);
    for (std::uint32_t place = 0; place < slots.size(); ++place) by_name_[slots[place]] = place;
    by_name_version_ = offers_version_;
  }
  const std::size_t slot = slot_of(id);
  return {static_cast<std::uint32_t>(slot), room, policy_->key(free_[slot].amounts().left()), offers_[slot].leaf,
          by_name_[slot]};
}

}  // namespace berth::placement
