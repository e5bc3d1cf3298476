// How nodes are connected: a tree of switches, whose leaves have nodes. Read from Slurm's topology.conf as it is:
//
//   SwitchName=s0 Nodes=n[0-15]
//   SwitchName=s1 Nodes=n[16-31]
//   SwitchName=top Switches=s[0-1]
//   BlockName=b0 Nodes=n[0-15]         a block is a leaf switch
//
// LinkSpeed and BlockSizes are read and of no effect. Pure; any bytes are safe input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "state/result.h"

namespace berth::placement {

class SwitchTree {
 public:
  static constexpr std::size_t kSwitchesMax = 100'000, kNodesMax = 2'000'000, kLevelsMax = 16;
  static constexpr std::uint32_t kNone = ~0U;

  // The error names the line, what stands there and what is accepted.
  static state::Result<SwitchTree> parse(std::string_view text);

  struct Switch {
    std::string name;
    std::uint32_t above = kNone;
    std::uint32_t height = 0;             // 0: a leaf
    std::vector<std::uint32_t> switches;  // below
    std::vector<std::uint32_t> leaves;    // all leaves below; itself if it is one
  };
  bool empty() const { return switches_.empty(); }
  const std::vector<Switch>& switches() const { return switches_; }  // lower ones first
  std::uint32_t leaf_of(const std::string& node) const;              // kNone: it is below none
  std::size_t nodes() const { return leaf_of_.size(); }

 private:
  std::vector<Switch> switches_;
  std::unordered_map<std::string, std::uint32_t> leaf_of_;
};

}  // namespace berth::placement
