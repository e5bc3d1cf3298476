#include "placement/engine.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "placement/scan.h"

namespace berth::placement {

namespace {

using state::NodeId;
using state::Request;
using state::Resources;

constexpr std::int32_t kGpuWorthMilli = 16'000;
constexpr std::size_t kMasksMax = 256;
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

std::uint64_t times(std::uint64_t have, std::uint64_t want) {
  return want == 0 ? std::numeric_limits<std::uint32_t>::max() : have / want;
}

}  // namespace

bool Engine::Offer::has(const std::vector<std::string>& wanted) const {
  return std::includes(features.begin(), features.end(), wanted.begin(), wanted.end());
}
bool Engine::Offer::could_hold(const Request& request) const {
  return present && within(request.resources, capacity) && has(request.features);
}

void Engine::set_node(NodeId id, const Resources& capacity, const std::vector<std::string>& features) {
  const std::size_t slot = slot_of(id);
  if (slot >= offers_.size()) {
    const std::size_t size = slot + 1;
    offers_.resize(size);
    free_cpu_milli_.resize(size);
    free_mem_mib_.resize(size);
    free_gpus_.resize(size);
    left_.resize(size);
    free_gpu_mask_.resize(size);
    for (auto& [wanted, mask] : masks_) mask.resize(size);
  }
  Offer& offer = offers_[slot];
  const Resources old = offer.present ? offer.capacity : Resources{};
  if (!offer.present) ++node_count_;
  // What is claimed keeps its claim: only the difference of the offers moves the free amounts.
  const std::uint64_t claimed_gpus = mask_of(old.gpus) & ~free_gpu_mask_[slot];
  free_cpu_milli_[slot] += cpu_of(capacity) - cpu_of(old);
  free_mem_mib_[slot] += mem_of(capacity) - mem_of(old);
  free_gpu_mask_[slot] = mask_of(static_cast<std::uint32_t>(gpus_of(capacity))) & ~claimed_gpus;
  offer.present = true;
  offer.capacity = capacity;
  offer.features = features;
  ++offers_version_;
  refresh(slot);
}

void Engine::set_connected(NodeId id, bool connected) {
  offers_[slot_of(id)].connected = connected;
  refresh(slot_of(id));
}

void Engine::set_in_service(NodeId id, bool in_service) {
  offers_[slot_of(id)].in_service = in_service;
  refresh(slot_of(id));
}

void Engine::remove_node(NodeId id) {
  const std::size_t slot = slot_of(id);
  if (slot >= offers_.size() || !offers_[slot].present) return;
  offers_[slot] = Offer{};
  free_cpu_milli_[slot] = free_mem_mib_[slot] = free_gpus_[slot] = 0;
  free_gpu_mask_[slot] = 0;
  --node_count_;
  ++offers_version_;
  refresh(slot);
}

void Engine::refresh(std::size_t slot) {
  free_gpus_[slot] = std::popcount(free_gpu_mask_[slot]);
  left_[slot] = free_cpu_milli_[slot] + (free_mem_mib_[slot] >> 2) + free_gpus_[slot] * kGpuWorthMilli;
  const bool open = offers_[slot].open();
  for (auto& [wanted, mask] : masks_) mask[slot] = open && offers_[slot].has(wanted) ? -1 : 0;
}

const Engine::Mask& Engine::mask_for(const std::vector<std::string>& features) {
  if (auto found = masks_.find(features); found != masks_.end()) return found->second;
  if (masks_.size() >= kMasksMax) masks_.clear();
  Mask mask(offers_.size());
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    mask[slot] = offers_[slot].open() && offers_[slot].has(features) ? -1 : 0;
  }
  return masks_.emplace(features, std::move(mask)).first->second;
}

bool Engine::has_room(std::size_t slot, const Resources& wanted) const {
  return wanted.mem_mib <= kAmountMax && free_cpu_milli_[slot] >= static_cast<std::int64_t>(wanted.cpu_milli) &&
         free_mem_mib_[slot] >= static_cast<std::int64_t>(wanted.mem_mib) &&
         free_gpus_[slot] >= static_cast<std::int64_t>(wanted.gpus);
}

std::uint32_t Engine::room_for(std::size_t slot, const Resources& wanted) const {
  if (!has_room(slot, wanted)) return 0;
  const auto free = [](std::int32_t amount) { return static_cast<std::uint64_t>(std::max(amount, 0)); };
  return static_cast<std::uint32_t>(
      std::min({times(free(free_cpu_milli_[slot]), wanted.cpu_milli), times(free(free_mem_mib_[slot]), wanted.mem_mib),
                times(free(free_gpus_[slot]), wanted.gpus)}));
}

std::uint64_t Engine::pick_gpus(std::size_t slot, std::uint32_t count) const {
  std::uint64_t rest = free_gpu_mask_[slot];
  std::uint64_t picked = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t lowest = rest & (~rest + 1);
    picked |= lowest;
    rest ^= lowest;
  }
  return picked;
}

// Claims without keeping the derived columns: the caller does so once for many claims.
void Engine::take(std::size_t slot, const Resources& resources, std::uint64_t gpu_mask) {
  free_cpu_milli_[slot] -= cpu_of(resources);
  free_mem_mib_[slot] -= mem_of(resources);
  free_gpu_mask_[slot] &= ~gpu_mask;
}

void Engine::give(std::size_t slot, const Resources& resources, std::uint64_t gpu_mask) {
  free_cpu_milli_[slot] += cpu_of(resources);
  free_mem_mib_[slot] += mem_of(resources);
  free_gpu_mask_[slot] |= gpu_mask & mask_of(static_cast<std::uint32_t>(gpus_of(offers_[slot].capacity)));
}

void Engine::claim_equal(std::size_t slot, const Resources& wanted, std::uint32_t count, std::vector<Placed>& out) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t gpus = wanted.gpus == 0 ? 0 : pick_gpus(slot, wanted.gpus);
    take(slot, wanted, gpus);
    out.push_back({id_of(slot), gpus});
  }
  free_gpus_[slot] = std::popcount(free_gpu_mask_[slot]);
  left_[slot] = free_cpu_milli_[slot] + (free_mem_mib_[slot] >> 2) + free_gpus_[slot] * kGpuWorthMilli;
}

std::uint32_t Engine::place(const Request& request, std::uint32_t count, std::vector<Placed>& out) {
  const Resources& wanted = request.resources;
  if (wanted.mem_mib > kAmountMax || wanted.cpu_milli > kAmountMax) return 0;
  const Mask& mask = mask_for(request.features);
  const ScanTable table{free_cpu_milli_.data(), free_mem_mib_.data(), free_gpus_.data(),
                        left_.data(),           mask.data(),          offers_.size()};
  const ScanDemand demand{cpu_of(wanted), mem_of(wanted), static_cast<std::int32_t>(wanted.gpus)};
  std::uint32_t placed = 0;
  while (placed < count) {
    const std::size_t slot = scan_best(table, demand);
    if (slot == kNoSlot) break;
    const std::uint32_t here = std::min(room_for(slot, wanted), count - placed);
    claim_equal(slot, wanted, here, out);
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
    // The best nodes are the `count` first in the order of (left, id): one pass collects who fits.
    const Mask& mask = mask_for(request.features);
    std::vector<std::pair<std::int32_t, std::size_t>> fitting;
    for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
      if (mask[slot] != 0 && has_room(slot, request.resources)) fitting.emplace_back(left_[slot], slot);
    }
    if (fitting.size() < count) return false;
    std::partial_sort(fitting.begin(), fitting.begin() + count, fitting.end());
    for (; placed < count; ++placed) claim_equal(fitting[placed].second, request.resources, 1, out);
  }
  if (placed == count) return true;
  for (std::size_t i = before; i < out.size(); ++i) release(out[i].node, request.resources, out[i].gpu_mask);
  out.resize(before);
  return false;
}

void Engine::claim(NodeId id, const Resources& resources, std::uint64_t gpu_mask) {
  take(slot_of(id), resources, gpu_mask);
  refresh(slot_of(id));
}

void Engine::release(NodeId id, const Resources& resources, std::uint64_t gpu_mask) {
  const std::size_t slot = slot_of(id);
  give(slot, resources, gpu_mask);
  free_gpus_[slot] = std::popcount(free_gpu_mask_[slot]);
  left_[slot] = free_cpu_milli_[slot] + (free_mem_mib_[slot] >> 2) + free_gpus_[slot] * kGpuWorthMilli;
}

void Engine::hold_for(const Request& request) {
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    if (offers_[slot].held || !offers_[slot].could_hold(request)) continue;
    offers_[slot].held = true;
    held_.push_back(slot);
    refresh(slot);
  }
}

void Engine::drop_holds() {
  for (const std::size_t slot : held_) {
    offers_[slot].held = false;
    refresh(slot);
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
  return {static_cast<std::uint32_t>(cpu_of(capacity) - free_cpu_milli_[slot]),
          static_cast<std::uint64_t>(mem_of(capacity) - free_mem_mib_[slot]),
          static_cast<std::uint32_t>(gpus_of(capacity) - free_gpus_[slot])};
}

std::string Engine::check_invariants() const {
  std::uint32_t present = 0;
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    const std::string where = "node " + std::to_string(slot + 1) + ": ";
    if (offers_[slot].present) ++present;
    if (free_gpus_[slot] != std::popcount(free_gpu_mask_[slot])) return where + "free GPU count differs from its mask";
    if (left_[slot] != free_cpu_milli_[slot] + (free_mem_mib_[slot] >> 2) + free_gpus_[slot] * kGpuWorthMilli) {
      return where + "what is left is out of date";
    }
    for (const auto& [wanted, mask] : masks_) {
      if ((mask[slot] != 0) != (offers_[slot].open() && offers_[slot].has(wanted)))
        return where + "a mask is out of date";
    }
  }
  return present == node_count_ ? "" : "the node count is wrong";
}

}  // namespace berth::placement
