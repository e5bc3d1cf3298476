#include "placement/gang.h"

#include <algorithm>
#include <tuple>

namespace berth::placement {

using state::GangShape;

namespace {

using Nodes = std::vector<GangNode>;

std::uint64_t room_of(const Nodes& nodes) {
  std::uint64_t sum = 0;
  for (const GangNode& node : nodes) sum += node.room;
  return sum;
}

// In the order given, each node its fill, as long as enough pods are left for the least number of nodes.
bool fill(const Nodes& nodes, std::uint32_t pods, const GangShape& shape, std::vector<GangPart>& out) {
  out.clear();
  std::uint32_t left = pods;
  for (const GangNode& node : nodes) {
    if (left == 0) break;
    if (shape.nodes_max != 0 && out.size() == shape.nodes_max) return false;
    const auto used = static_cast<std::uint32_t>(out.size()) + 1;
    const std::uint32_t kept = shape.nodes_min > used ? std::min(shape.nodes_min - used, left - 1) : 0;
    const std::uint32_t here = std::min(node.room, left - kept);
    out.push_back({node.slot, here});
    left -= here;
  }
  return left == 0 && out.size() >= shape.nodes_min;
}

// As few nodes as can be: of those that could be the last the best one, before it the ones with the most room.
bool choose_few(Nodes nodes, std::uint32_t pods, const GangShape& shape, std::vector<GangPart>& out) {
  const Nodes by_key = nodes;
  std::stable_sort(nodes.begin(), nodes.end(), [](const GangNode& a, const GangNode& b) { return a.room > b.room; });
  const std::uint32_t least = std::max(shape.nodes_min, 1U);
  std::uint64_t reached = 0;
  std::size_t count = 0;
  while (count < nodes.size() && (reached < pods || count < least)) reached += nodes[count++].room;
  if (reached < pods || count < least) return false;
  if (shape.nodes_max != 0 && count > shape.nodes_max) return false;
  Nodes few(nodes.begin(), nodes.begin() + static_cast<std::ptrdiff_t>(count));
  const std::uint64_t others = reached - few.back().room;
  for (const GangNode& node : by_key) {
    const bool taken = std::any_of(few.begin(), few.end() - 1, [&](const GangNode& n) { return n.slot == node.slot; });
    if (taken || others + node.room < pods) continue;
    few.back() = node;
    break;
  }
  return fill(few, pods, shape, out);
}

bool choose_nodes(Nodes nodes, std::uint32_t pods, const GangShape& shape, std::vector<GangPart>& out) {
  if (pods < shape.nodes_min || nodes.size() < shape.nodes_min || room_of(nodes) < pods) return false;
  const auto best_first = [](const GangNode& a, const GangNode& b) {
    return std::tie(a.key, a.slot) < std::tie(b.key, b.slot);
  };
  std::sort(nodes.begin(), nodes.end(), best_first);
  if (shape.compact) return choose_few(nodes, pods, shape, out);
  if (fill(nodes, pods, shape, out)) return true;
  if (shape.nodes_max == 0 || nodes.size() <= shape.nodes_max) return false;
  std::stable_sort(nodes.begin(), nodes.end(), [](const GangNode& a, const GangNode& b) { return a.room > b.room; });
  nodes.resize(shape.nodes_max);
  if (room_of(nodes) < pods) return false;
  std::sort(nodes.begin(), nodes.end(), best_first);
  return fill(nodes, pods, shape, out);
}

std::uint32_t leaves_of(Nodes::const_iterator from, Nodes::const_iterator to) {
  std::vector<std::uint32_t> leaves;
  for (auto node = from; node != to; ++node) leaves.push_back(node->leaf);
  std::sort(leaves.begin(), leaves.end());
  return static_cast<std::uint32_t>(std::unique(leaves.begin(), leaves.end()) - leaves.begin());
}

bool choose_row(Nodes nodes, std::uint32_t pods, const GangShape& shape, std::vector<GangPart>& out) {
  std::sort(nodes.begin(), nodes.end(), [](const GangNode& a, const GangNode& b) { return a.place < b.place; });
  std::size_t best = 0, best_size = 0;
  std::uint64_t room = 0;
  std::size_t first = 0;
  for (std::size_t last = 0; last < nodes.size(); ++last) {
    if (last != 0 && nodes[last].place != nodes[last - 1].place + 1) {
      first = last;
      room = 0;
    }
    room += nodes[last].room;
    // The shortest row that ends here.
    while (last - first + 1 > std::max(shape.nodes_min, 1U) && room - nodes[first].room >= pods) {
      room -= nodes[first++].room;
    }
    const std::size_t size = last - first + 1;
    if (room < pods || size < shape.nodes_min || (shape.nodes_max != 0 && size > shape.nodes_max)) continue;
    if (best_size != 0 && size >= best_size) continue;
    if (shape.switches != 0) {
      const auto from = nodes.cbegin() + static_cast<std::ptrdiff_t>(first);
      if (leaves_of(from, from + static_cast<std::ptrdiff_t>(size)) > shape.switches) continue;
    }
    best = first;
    best_size = size;
  }
  if (best_size == 0) return false;
  const auto from = nodes.begin() + static_cast<std::ptrdiff_t>(best);
  // Every node of the row is used: a gap would be none.
  GangShape all = shape;
  all.nodes_min = std::min(static_cast<std::uint32_t>(best_size), pods);
  return fill(Nodes(from, from + static_cast<std::ptrdiff_t>(best_size)), pods, all, out);
}

bool choose_flat(Nodes nodes, std::uint32_t pods, const GangShape& shape, std::vector<GangPart>& out) {
  return shape.contiguous ? choose_row(std::move(nodes), pods, shape, out)
                          : choose_nodes(std::move(nodes), pods, shape, out);
}

class Below {
 public:
  Below(const Nodes& nodes, std::uint32_t pods, const GangShape& shape, const SwitchTree& tree)
      : pods_(pods), shape_(shape), tree_(tree), by_leaf_(tree.switches().size() + 1) {
    for (const GangNode& node : nodes) by_leaf_[std::min<std::size_t>(node.leaf, by_leaf_.size() - 1)].push_back(node);
    for (const Nodes& leaf : by_leaf_) rooms_.push_back(room_of(leaf));
  }

  bool choose(std::vector<GangPart>& out) {
    struct Option {
      std::uint32_t height, leaves;
      std::uint64_t room;
      std::size_t number;
    };
    std::vector<Option> options;
    for (std::size_t i = 0; i < tree_.switches().size(); ++i) {
      const SwitchTree::Switch& at = tree_.switches()[i];
      std::uint64_t room = 0, nodes = 0;
      std::uint32_t leaves = 0;
      for (const std::uint32_t leaf : at.leaves) {
        room += rooms_[leaf];
        nodes += by_leaf_[leaf].size();
      }
      if (room < pods_ || nodes < shape_.nodes_min) continue;
      std::uint64_t reached = 0;
      for (const std::uint32_t leaf : largest_first(at)) {
        if (reached >= pods_) break;
        reached += rooms_[leaf];
        ++leaves;
      }
      options.push_back({at.height, leaves, room, i});
    }
    std::sort(options.begin(), options.end(), [](const Option& a, const Option& b) {
      return std::tie(a.height, a.leaves, a.room, a.number) < std::tie(b.height, b.leaves, b.room, b.number);
    });
    for (const Option& option : options) {
      if (shape_.contiguous) {
        if (choose_row(below(tree_.switches()[option.number]), pods_, shape_, out)) return true;
        continue;
      }
      if (shape_.switches != 0 && option.leaves > shape_.switches) continue;
      if (choose_below(tree_.switches()[option.number], option.leaves, out)) return true;
    }
    // Nodes that no switch is known of stand apart from all others.
    return choose_flat(by_leaf_.back(), pods_, shape_, out);
  }

 private:
  Nodes below(const SwitchTree::Switch& at) const {
    Nodes all;
    for (const std::uint32_t leaf : at.leaves) all.insert(all.end(), by_leaf_[leaf].begin(), by_leaf_[leaf].end());
    return all;
  }
  std::vector<std::uint32_t> largest_first(const SwitchTree::Switch& at) const {
    std::vector<std::uint32_t> leaves = at.leaves;
    std::stable_sort(leaves.begin(), leaves.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return rooms_[a] > rooms_[b]; });
    return leaves;
  }

  // A few numbers of leaves are tried one by one, then all of them.
  static std::size_t next_use(std::size_t use, std::size_t count, std::size_t most) {
    constexpr std::size_t kOneByOne = 8;
    return use < most && use >= count + kOneByOne ? most : use + 1;
  }

  // With so many leaves, the largest but the last; with more, where other wishes need them.
  bool choose_below(const SwitchTree::Switch& at, std::uint32_t count, std::vector<GangPart>& out) const {
    if (choose_of(largest_first(at), count, out)) return true;
    if (shape_.nodes_min == 0) return false;
    // With the most nodes first, where it is nodes that are wanted.
    std::vector<std::uint32_t> leaves = at.leaves;
    std::stable_sort(leaves.begin(), leaves.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return by_leaf_[a].size() > by_leaf_[b].size(); });
    return choose_of(leaves, count, out);
  }

  bool choose_of(const std::vector<std::uint32_t>& leaves, std::uint32_t count, std::vector<GangPart>& out) const {
    const std::size_t most =
        shape_.switches == 0 ? leaves.size() : std::min<std::size_t>(leaves.size(), shape_.switches);
    for (std::size_t use = std::max(count, 1U); use <= most; use = next_use(use, count, most)) {
      std::uint64_t reached = 0;
      Nodes nodes;
      for (std::size_t i = 0; i + 1 < use; ++i) {
        reached += rooms_[leaves[i]];
        nodes.insert(nodes.end(), by_leaf_[leaves[i]].begin(), by_leaf_[leaves[i]].end());
      }
      // The last is the one with the least room that suffices; or where that does not do, the largest.
      std::size_t last = leaves.size() - 1;
      while (last > use - 1 && reached + rooms_[leaves[last]] < pods_) --last;
      for (std::size_t which = last;; which = use - 1) {
        Nodes all = nodes;
        all.insert(all.end(), by_leaf_[leaves[which]].begin(), by_leaf_[leaves[which]].end());
        if (choose_flat(std::move(all), pods_, shape_, out)) return true;
        if (which == use - 1) break;
      }
    }
    return false;
  }

  std::uint32_t pods_;
  const GangShape& shape_;
  const SwitchTree& tree_;
  std::vector<Nodes> by_leaf_;  // the last: of no leaf
  std::vector<std::uint64_t> rooms_;
};

}  // namespace

bool choose_gang(std::vector<GangNode> nodes, std::uint32_t pods, const GangShape& shape, const SwitchTree& tree,
                 std::vector<GangPart>& out) {
  out.clear();
  if (tree.empty()) return choose_flat(std::move(nodes), pods, shape, out);  // all nodes are below one switch
  return Below(nodes, pods, shape, tree).choose(out);
}

}  // namespace berth::placement
