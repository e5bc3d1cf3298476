#include "placement/gpu_sharing.h"

#include <algorithm>
#include <string>

namespace berth::placement {

std::int32_t GpuSharing::most_left(std::size_t slot) const {
  const auto node = nodes_.find(slot);
  std::int32_t most = -1;
  if (node == nodes_.end()) return most;
  for (const Gpu& gpu : node->second) most = offered(slot, gpu) ? std::max(most, gpu.left_milli) : most;
  return most;
}

void GpuSharing::set_offered(std::size_t slot, std::uint32_t gpus) {
  if (slot >= offered_.size()) {
    if (gpus == 0) return;
    offered_.resize(slot + 1);
  }
  offered_[slot] = static_cast<std::uint8_t>(gpus);
  judge(slot);
}

const Mask& GpuSharing::with(std::uint32_t share_milli) {
  const auto known = with_.find(share_milli);
  if (known != with_.end()) return known->second;
  Mask& mask = with_[share_milli];  // of at most a thousand
  for (const auto& [slot, gpus] : nodes_) mask.set(slot, most_left(slot) >= static_cast<std::int32_t>(share_milli));
  return mask;
}

void GpuSharing::judge(std::size_t slot) {
  const std::int32_t most = most_left(slot);
  for (auto& [share, mask] : with_) mask.set(slot, most >= static_cast<std::int32_t>(share));
}

std::optional<std::uint32_t> GpuSharing::tightest(std::size_t slot, std::uint32_t share_milli) const {
  const auto node = nodes_.find(slot);
  if (node == nodes_.end()) return std::nullopt;
  const Gpu* best = nullptr;
  for (const Gpu& gpu : node->second) {
    if (gpu.left_milli < static_cast<std::int32_t>(share_milli) || !offered(slot, gpu)) continue;
    if (best == nullptr || gpu.left_milli < best->left_milli ||
        (gpu.left_milli == best->left_milli && gpu.number < best->number)) {
      best = &gpu;
    }
  }
  return best == nullptr ? std::nullopt : std::optional(best->number);
}

std::uint32_t GpuSharing::room(std::size_t slot, std::uint32_t share_milli) const {
  const auto node = nodes_.find(slot);
  std::uint32_t room = 0;
  if (node == nodes_.end()) return room;
  for (const Gpu& gpu : node->second) {
    if (offered(slot, gpu)) room += static_cast<std::uint32_t>(std::max(gpu.left_milli, 0)) / share_milli;
  }
  return room;
}

bool GpuSharing::take(std::size_t slot, std::uint32_t number, std::uint32_t share_milli) {
  std::vector<Gpu>& gpus = nodes_[slot];
  auto gpu = std::find_if(gpus.begin(), gpus.end(), [&](const Gpu& g) { return g.number == number; });
  const bool opened = gpu == gpus.end();
  if (opened) gpu = gpus.insert(gpu, {number, static_cast<std::int32_t>(kWhole)});
  gpu->left_milli -= static_cast<std::int32_t>(share_milli);
  judge(slot);
  return opened;
}

bool GpuSharing::give(std::size_t slot, std::uint32_t number, std::uint32_t share_milli) {
  const auto node = nodes_.find(slot);
  if (node == nodes_.end()) return false;
  std::vector<Gpu>& gpus = node->second;
  const auto gpu = std::find_if(gpus.begin(), gpus.end(), [&](const Gpu& g) { return g.number == number; });
  if (gpu == gpus.end()) return false;
  gpu->left_milli += static_cast<std::int32_t>(share_milli);
  const bool whole = gpu->left_milli >= static_cast<std::int32_t>(kWhole);
  if (whole) gpus.erase(gpu);
  if (gpus.empty()) nodes_.erase(node);
  judge(slot);
  return whole;
}

std::uint32_t GpuSharing::left_milli(std::size_t slot) const {
  const auto node = nodes_.find(slot);
  std::uint32_t left = 0;
  if (node == nodes_.end()) return left;
  for (const Gpu& gpu : node->second) left += static_cast<std::uint32_t>(std::max(gpu.left_milli, 0));
  return left;
}

std::int32_t GpuSharing::left_of(std::size_t slot, std::uint32_t number) const {
  const auto node = nodes_.find(slot);
  if (node == nodes_.end()) return 0;
  for (const Gpu& gpu : node->second) {
    if (gpu.number == number) return std::max(gpu.left_milli, 0);
  }
  return 0;
}

std::string GpuSharing::check() const {
  for (const auto& [share, mask] : with_) {
    std::int64_t count = 0;
    for (const auto& [slot, gpus] : nodes_) {
      const bool in = most_left(slot) >= static_cast<std::int32_t>(share);
      if (in != mask.test(slot)) return "the set of nodes with a part of a GPU is out of date";
      count += in ? 1 : 0;
    }
    if (count != mask.count()) return "a node without a part of a GPU is among those that have one";
  }
  return "";
}

}  // namespace berth::placement
