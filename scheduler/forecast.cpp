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
std::uint32_t Forecast::advance(Candidate& candidate, TimeUs to, bool distinct) const {
  const std::vector<Running>& running = nodes_[candidate.node.value - 1];
  while (candidate.rest != 0 && running[candidate.rest - 1].end <= to) {
    candidate.free.give(running[--candidate.rest].amounts);
  }
  std::uint32_t room = placement::room_in(candidate.free, candidate.wanted);
  if (distinct) room = std::min(room, 1U);
  const std::uint32_t grown = room - std::min(room, candidate.room);
  if (grown != 0) candidate.came = to;
  candidate.room = std::max(room, candidate.room);
  return grown;
}

bool Forecast::earliest(placement::Engine& engine, const state::Request& request, std::uint32_t pods, bool distinct,
                        TimeUs now, Plan& out) {
  candidates_.clear();
  next_ends_.clear();
  if (nodes_.size() < engine.slots()) nodes_.resize(engine.slots());
  std::uint64_t total = 0, already = 0;
  engine.each_candidate(request, [&](NodeId node, const Amounts& free, const Amounts& wanted) {
    const std::vector<Running>& running = nodes_[node.value - 1];
    const std::uint32_t room = placement::room_in(free, wanted);
    already += distinct ? std::min(room, 1U) : room;
    Candidate candidate{node, free, wanted, 0, running.size()};
    total += advance(candidate, now, distinct);
    if (candidate.rest != 0) next_ends_.emplace_back(running[candidate.rest - 1].end, candidates_.size());
    if (candidate.room != 0 || candidate.rest != 0) candidates_.push_back(candidate);
  });
  out.candidates = static_cast<std::uint32_t>(engine.slots());
  out.at = now;
  if (already >= pods) return false;  // what keeps it back is no want of room
  std::make_heap(next_ends_.begin(), next_ends_.end(), std::greater<>());
  while (total < pods) {
    if (next_ends_.empty()) return false;
    std::pop_heap(next_ends_.begin(), next_ends_.end(), std::greater<>());
    const auto [end, number] = next_ends_.back();
    next_ends_.pop_back();
    Candidate& candidate = candidates_[number];
    out.at = end;
    total += advance(candidate, end, distinct);
    if (candidate.rest == 0) continue;
    next_ends_.emplace_back(nodes_[candidate.node.value - 1][candidate.rest - 1].end, number);
    std::push_heap(next_ends_.begin(), next_ends_.end(), std::greater<>());
  }
  // Everything else that ends by then has ended too.
  for (const auto& [end, number] : next_ends_) {
    if (end <= out.at) advance(candidates_[number], out.at, distinct);
  }
  // Where room comes last it is of no use to others before: those nodes are promised first.
  std::erase_if(candidates_, [](const Candidate& c) { return c.room == 0; });
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.came != b.came ? a.came > b.came : a.node < b.node;
  });
  out.promised.parts.clear();
  out.promised.others.fill(engine.slots());
  for (const Candidate& candidate : candidates_) {
    if (pods == 0) break;
    const std::uint32_t here = std::min(pods, candidate.room);
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
