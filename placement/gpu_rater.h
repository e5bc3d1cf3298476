// The fragmentation policy at work in a cluster: what is expected to come is learned from what was asked for, and every
// node is rated by how much a pod's coming there would leave unusable (gpu_policy.h). A rating is kept until the node
// or the expectation changes. One caller at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "placement/gpu_policy.h"
#include "state/resources.h"

namespace berth::placement {

class GpuRater {
 public:
  // Demands that must have been seen before any rating is made, and after which the expectation is made anew.
  static constexpr std::uint32_t kLearnFirst = 32, kLearnAgain = 512;
  static constexpr std::size_t kDemandsMax = 128;

  // A node with its free amounts and GPUs as they are. Nodes with GPUs and the same features have them of one model.
  // False: it has more GPUs than can be rated.
  bool set_node(std::size_t slot, const std::vector<std::string>& features, const GpuNode& node);
  void remove_node(std::size_t slot);
  void changed(std::size_t slot, const GpuNode& node);

  // Somebody asked for such a pod; whether there are GPUs and enough is known of what comes to rate.
  bool learn(const state::Request& request);

  struct Choice {
    std::size_t slot = 0;
    std::uint64_t gpu_mask = 0;
  };
  // Of the nodes that `allowed` lets pass the one on which least is lost, ties by slot.
  std::optional<Choice> best(const state::Request& request, const std::function<bool(std::size_t)>& allowed);

 private:
  struct Node {
    GpuNode node;
    std::uint32_t version = 0;  // 0: none is there
  };
  struct Rated {
    Rating rating;
    std::uint32_t version = 0, expectation = 0;
    bool fits = false;
  };
  using Key = std::tuple<std::int32_t, std::int32_t, std::int32_t, std::int32_t, std::vector<std::string>>;
  struct Known {
    double weight = 0;
    std::uint32_t number = 0;
  };
  static Key key_of(const state::Request& request);
  GpuDemand demand_of(const Key& key) const;
  void expect();
  std::uint8_t model_of(const std::vector<std::string>& features);

  std::vector<Node> nodes_;
  std::vector<std::vector<std::string>> models_;  // the features of each
  FreeByModel free_milli_{};
  std::uint32_t gpu_nodes_ = 0;
  std::map<Key, Known> known_;
  std::uint32_t learned_ = 0;
  std::uint32_t expectation_ = 0;  // 0: none yet
  std::uint32_t next_number_ = 0;
  std::unique_ptr<GpuPolicy> policy_;
  std::vector<std::vector<Rated>> rated_;  // by demand, by slot
};

}  // namespace berth::placement
