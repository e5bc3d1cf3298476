#include "scheduler/forecast.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <string>

namespace berth::scheduler {

using placement::Amounts;
using state::NodeId;
using state::TimeUs;

void Forecast::add(NodeId node, TimeUs end, const Amounts& amounts) {
  if (node.value > nodes_.size()) nodes_.resize(node.value);
  std::vector<Running>& running = nodes_[node.value - 1];
  const auto at = std::partition_point(running.begin(), running.end(), [&](const Running& r) { return r.end > end; });
  running.insert(at, {end, amounts});
  ++size_;
}

void Forecast::remove(NodeId node, TimeUs end, const Amounts& amounts) {
  std::vector<Running>& running = nodes_[node.value - 1];
  auto at = std::partition_point(running.begin(), running.end(), [&](const Running& r) { return r.end > end; });
  while (at != running.end() && at->end == end && !(at->amounts == amounts)) ++at;
  assert(at != running.end() && at->end == end);
  running.erase(at);
  --size_;
  ++version_;
}

// Lets everything on the node end that does until then; by how many pods its room grows.
std::uint32_t Forecast::advance(Candidate& candidate, TimeUs to, std::uint32_t most) const {
  const std::vector<Running>& running = nodes_[candidate.node.value - 1];
  while (candidate.rest != 0 && running[candidate.rest - 1].end <= to) {
    candidate.free.give(running[--candidate.rest].amounts);
  }
  std::uint32_t room = placement::room_in(candidate.free, candidate.wanted);
  room = std::min(room, most);
  const std::uint32_t grown = room - std::min(room, candidate.room);
  if (grown != 0) candidate.came = to;
  candidate.room = std::max(room, candidate.room);
  return grown;
}

// Whether the rooms of the candidates will do for the gang; what it takes is in parts_, by node.
bool Forecast::choose(placement::Engine& engine, std::uint32_t pods, const state::GangShape& shape) {
  std::vector<placement::GangNode> nodes;
  for (const Candidate& candidate : candidates_) {
    if (candidate.room != 0) nodes.push_back(engine.gang_node(candidate.node, candidate.room));
  }
  return placement::choose_gang(std::move(nodes), pods, shape, engine.switches(), parts_);
}

bool Forecast::earliest(placement::Engine& engine, const state::Request& request, std::uint32_t pods,
                        const state::GangShape& shape, TimeUs now, Plan& out) {
  const std::uint32_t most = shape.per_node == 0 ? pods : std::min(pods, shape.per_node);
  const bool by_nodes = pods > 1 && (shape.nodes_min != 0 || shape.nodes_max != 0 || shape.contiguous ||
                                     shape.compact || !engine.switches().empty());
  candidates_.clear();
  next_ends_.clear();
  if (nodes_.size() < engine.slots()) nodes_.resize(engine.slots());
  std::uint64_t total = 0, already = 0;
  engine.each_candidate(request, [&](NodeId node, const Amounts& free, const Amounts& wanted) {
    const std::vector<Running>& running = nodes_[node.value - 1];
    const std::uint32_t room = placement::room_in(free, wanted);
    already += std::min(room, most);
    Candidate candidate{node, free, wanted, 0, running.size()};
    total += advance(candidate, now, most);
    if (candidate.rest != 0) next_ends_.emplace_back(running[candidate.rest - 1].end, candidates_.size());
    if (candidate.room != 0 || candidate.rest != 0) candidates_.push_back(candidate);
  });
  out.candidates = static_cast<std::uint32_t>(engine.slots());
  out.at = now;
  if (already >= pods && !by_nodes) return false;  // what keeps it back is no want of room
  std::make_heap(next_ends_.begin(), next_ends_.end(), std::greater<>());
  // A gang with a shape may find no nodes that suit it though there are enough pods' worth of room: a few more ends are
  // looked at, then no time is promised.
  constexpr std::uint32_t kTriesMax = 64;
  std::uint32_t tries = 0;
  while (total < pods || (by_nodes && !choose(engine, pods, shape))) {
    if (next_ends_.empty() || (total >= pods && ++tries > kTriesMax)) return false;
    std::pop_heap(next_ends_.begin(), next_ends_.end(), std::greater<>());
    const auto [end, number] = next_ends_.back();
    next_ends_.pop_back();
    Candidate& candidate = candidates_[number];
    out.at = end;
    total += advance(candidate, end, most);
    if (candidate.rest == 0) continue;
    next_ends_.emplace_back(nodes_[candidate.node.value - 1][candidate.rest - 1].end, number);
    std::push_heap(next_ends_.begin(), next_ends_.end(), std::greater<>());
  }
  // Everything else that ends by then has ended too.
  for (const auto& [end, number] : next_ends_) {
    if (end <= out.at) advance(candidates_[number], out.at, most);
  }
  if (by_nodes && !choose(engine, pods, shape)) return false;
  // Where room comes last it is of no use to others before: those nodes are promised first.
  std::erase_if(candidates_, [](const Candidate& c) { return c.room == 0; });
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.came != b.came ? a.came > b.came : a.node < b.node;
  });
  out.promised.parts.clear();
  out.promised.others.fill(engine.slots());
  std::sort(parts_.begin(), parts_.end(),
            [](const placement::GangPart& a, const placement::GangPart& b) { return a.slot < b.slot; });
  for (const Candidate& candidate : candidates_) {
    if (pods == 0) break;
    std::uint32_t here = std::min(pods, candidate.room);
    if (by_nodes) {
      const std::uint32_t slot = candidate.node.value - 1;
      const auto part = std::lower_bound(parts_.begin(), parts_.end(), slot,
                                         [](const placement::GangPart& p, std::uint32_t s) { return p.slot < s; });
      if (part == parts_.end() || part->slot != slot) continue;
      here = part->pods;
    }
    pods -= here;
    Amounts left = candidate.free;
    left.take(candidate.wanted, here);
    out.promised.parts.push_back({candidate.node, left});
    out.promised.others.set(candidate.node.value - 1, false);
  }
  return true;
}

std::string Forecast::check_invariants() const {
  std::size_t size = 0;
  for (const std::vector<Running>& running : nodes_) {
    size += running.size();
    if (!std::is_sorted(running.begin(), running.end(),
                        [](const Running& a, const Running& b) { return a.end > b.end; })) {
      return "the ends of a node are out of order";
    }
  }
  return size == size_ ? "" : "the count of ends is wrong";
}

}  // namespace berth::scheduler
