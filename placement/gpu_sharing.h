// GPUs that several pods share, in thousandths. A GPU is given out in shares from its first one until its last one is
// back; the node table counts it as taken for so long. One caller at a time.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "placement/mask.h"

namespace berth::placement {

class GpuSharing {
 public:
  static constexpr std::uint32_t kWhole = 1000;

  // The node offers its first so many GPUs. Shares of others stay taken, and no more of those are given out.
  void set_offered(std::size_t slot, std::uint32_t gpus);
  // The nodes that have a GPU in shares with so much of it left.
  const Mask& with(std::uint32_t share_milli);
  // Of the node's GPUs in shares that have so much left the one with the least, ties by number.
  std::optional<std::uint32_t> tightest(std::size_t slot, std::uint32_t share_milli) const;
  // So many pods of that share fit into the GPUs in shares.
  std::uint32_t room(std::size_t slot, std::uint32_t share_milli) const;
  // True if the GPU was whole before; true if it is whole again.
  bool take(std::size_t slot, std::uint32_t gpu, std::uint32_t share_milli);
  bool give(std::size_t slot, std::uint32_t gpu, std::uint32_t share_milli);
  std::uint32_t left_milli(std::size_t slot) const;                 // of all GPUs in shares
  std::int32_t left_of(std::size_t slot, std::uint32_t gpu) const;  // 0: it is not in shares
  std::string check() const;

 private:
  struct Gpu {
    std::uint32_t number = 0;
    std::int32_t left_milli = 0;  // below 0 where a claim exceeded it
  };
  void judge(std::size_t slot);
  bool offered(std::size_t slot, const Gpu& gpu) const { return slot < offered_.size() && gpu.number < offered_[slot]; }
  std::int32_t most_left(std::size_t slot) const;  // -1: there is none

  boost::unordered_flat_map<std::size_t, std::vector<Gpu>> nodes_;
  std::map<std::uint32_t, Mask> with_;
  std::vector<std::uint8_t> offered_;  // by slot; the rest 0
};

}  // namespace berth::placement
