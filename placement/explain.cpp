// Why a request does not fit, in the words of the checks that refuse it. Apart from the search, which pays nothing for
// it.
#include <algorithm>

#include "placement/engine.h"
#include "state/units.h"

namespace berth::placement {

namespace {

using state::Request;

class Tally {
 public:
  void add(const std::string& constraint) {
    for (auto& count : counts_) {
      if (count.constraint == constraint) {
        ++count.nodes;
        return;
      }
    }
    counts_.push_back({constraint, 1});
  }
  std::vector<Refusal::Count> take() { return std::move(counts_); }

 private:
  std::vector<Refusal::Count> counts_;
};

std::string cores_words(const Request& request) {
  if (request.cores.level == state::CoreFit::Level::kNone) return "";
  return " in one " + std::string(state::name_of(request.cores.level));
}

}  // namespace

Refusal Engine::explain(const Request& request) {
  Refusal refusal;
  refusal.nodes_total = node_count_;
  Tally tally;
  const auto& wanted = request.resources;
  const bool constrained = constraints_.concern(request);
  const Constraints::Rules rules = constraints_.rules_for(request);
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    const Offer& offer = offers_[slot];
    if (!offer.present) continue;
    const auto& words = constraints_.traits(slot).words;
    const auto missing = std::find_if(request.features.begin(), request.features.end(), [&](const std::string& name) {
      return !std::binary_search(words.begin(), words.end(), name);
    });
    std::string refused;
    const bool share = request.gpu_share_milli != 0;
    if (missing != request.features.end()) {
      tally.add("feature " + *missing);
    } else if (constrained && !(refused = constraints_.refused_by(slot, request)).empty()) {
      tally.add(refused);
    } else if (wanted.gpus > offer.capacity.gpus) {
      tally.add("total GPUs");
    } else if (wanted.cpu_milli > offer.capacity.cpu_milli) {
      tally.add("total cpu");
    } else if (wanted.mem_mib > offer.capacity.mem_mib) {
      tally.add("total memory");
    } else if (const auto* lacking = countables_.missing(slot, request.counts, true); lacking != nullptr) {
      tally.add("total " + lacking->name);
    } else if (!request.plain() && !could_hold(slot, request)) {
      tally.add(cores_of(slot) == nullptr ? "its cores are not known" : "too few cores" + cores_words(request));
    } else if (!offer.connected) {
      tally.add("node not connected");
    } else if (!offer.in_service) {
      tally.add("node drained");
    } else if (share ? shares_room(slot, request.gpu_share_milli) == 0 : free_[slot].gpus < wanted.gpus) {
      tally.add(share ? "free part of a GPU" : "free GPUs");
    } else if (free_[slot].cpu_milli < static_cast<std::int64_t>(wanted.cpu_milli)) {
      tally.add("free cpu");
    } else if (free_[slot].mem_mib < static_cast<std::int64_t>(wanted.mem_mib)) {
      tally.add("free memory");
    } else if (const auto* taken = countables_.missing(slot, request.counts, false); taken != nullptr) {
      tally.add("free " + taken->name);
    } else if (offer.full) {
      tally.add("pods on the node");
    } else if (demands_cores(request) && !cores_hold(slot, request)) {
      tally.add("free cores" + cores_words(request));
    } else if (offer.alone != 0) {
      tally.add("a pod that has the node for itself");
    } else if (request.exclusive && !is_empty(slot)) {
      tally.add("other pods on the node");
    } else if (!(refused = constraints_.refused_by_pods(slot, rules)).empty()) {
      tally.add(refused);
    } else if (offer.held) {
      tally.add("kept for a job that waited longer");
    } else {
      ++refusal.nodes_fit;
    }
  }
  refusal.counts = tally.take();
  refusal.nearest_miss = nearest_miss(request);
  return refusal;
}

// Of the nodes that only lack one free resource, the largest group, with the best of them.
std::string Engine::nearest_miss(const Request& request) {
  const auto& wanted = request.resources;
  std::uint32_t lack_cpu = 0, lack_mem = 0;
  std::int32_t best_cpu = 0, best_mem = 0;
  for (std::size_t slot = 0; slot < offers_.size(); ++slot) {
    const Offer& offer = offers_[slot];
    if (!offer.open() || !could_hold(slot, request)) continue;
    if (free_[slot].gpus < wanted.gpus) continue;
    const bool cpu = free_[slot].cpu_milli >= static_cast<std::int64_t>(wanted.cpu_milli);
    const bool mem = free_[slot].mem_mib >= static_cast<std::int64_t>(wanted.mem_mib);
    if (mem && !cpu) {
      ++lack_cpu;
      best_cpu = std::max(best_cpu, free_[slot].cpu_milli);
    } else if (cpu && !mem) {
      ++lack_mem;
      best_mem = std::max(best_mem, free_[slot].mem_mib);
    }
  }
  const auto nodes = [](std::uint32_t n) { return std::to_string(n) + (n == 1 ? " node has" : " nodes have"); };
  if (lack_cpu != 0 && lack_cpu >= lack_mem) {
    return nodes(lack_cpu) + " the memory but at most " +
           state::format_cpu_milli(static_cast<std::uint32_t>(best_cpu)) + " free cores of the " +
           state::format_cpu_milli(wanted.cpu_milli) + " wanted";
  }
  if (lack_mem != 0) {
    return nodes(lack_mem) + " the cores but at most " + state::format_mem_mib(static_cast<std::uint64_t>(best_mem)) +
           " free memory of the " + state::format_mem_mib(wanted.mem_mib) + " wanted";
  }
  return "";
}

}  // namespace berth::placement
