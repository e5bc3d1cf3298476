#include "placement/gpu_rater.h"

#include <algorithm>

#include "placement/node_index.h"

namespace berth::placement {

std::uint8_t GpuRater::model_of(const std::vector<std::string>& features) {
  const auto found = std::find(models_.begin(), models_.end(), features);
  const auto number = static_cast<std::size_t>(found - models_.begin());
  if (found == models_.end() && models_.size() < kGpuModelsMax) models_.push_back(features);
  return static_cast<std::uint8_t>(std::min<std::size_t>(number, kGpuModelsMax - 1));
}

bool GpuRater::set_node(std::size_t slot, const std::vector<std::string>& features, const GpuNode& node) {
  remove_node(slot);
  if (node.gpus > kGpusPerNodeMax) return false;
  if (nodes_.size() <= slot) nodes_.resize(slot + 1);
  nodes_[slot].node.model = node.gpus == 0 ? 0 : model_of(features);
  nodes_[slot].node.left = {};
  if (node.gpus != 0) ++gpu_nodes_;
  nodes_[slot].version = 1;
  changed(slot, node);
  return true;
}

void GpuRater::remove_node(std::size_t slot) {
  if (slot >= nodes_.size() || nodes_[slot].version == 0) return;
  free_milli_[nodes_[slot].node.model] -= nodes_[slot].node.left_milli();
  if (nodes_[slot].node.gpus != 0) --gpu_nodes_;
  nodes_[slot] = Node{};
  for (auto& of : rated_) {
    if (slot < of.size()) of[slot] = Rated{};
  }
}

void GpuRater::changed(std::size_t slot, const GpuNode& node) {
  if (slot >= nodes_.size() || nodes_[slot].version == 0) return;
  Node& known = nodes_[slot];
  const std::uint8_t model = known.node.model;
  free_milli_[model] += node.left_milli() - known.node.left_milli();
  known.node = node;
  known.node.model = model;
  ++known.version;
}

GpuRater::Key GpuRater::key_of(const state::Request& request) {
  const Amounts amounts = amounts_of(request.resources);
  const auto gpus = static_cast<std::int32_t>(amounts.gpus);
  const auto share = static_cast<std::int32_t>(request.gpu_share_milli);
  return {amounts.cpu_milli, amounts.mem_mib, gpus,
          gpus == 0    ? 0
          : share != 0 ? share
                       : kWholeGpu,
          gpus == 0 ? std::vector<std::string>{} : request.features};
}

GpuDemand GpuRater::demand_of(const Key& key) const {
  const auto& [cpu, mem, gpus, share, features] = key;
  GpuDemand demand{cpu, mem, gpus, share, 0};
  if (features.empty()) return demand;
  for (std::size_t model = 0; model < models_.size(); ++model) {
    if (includes(models_[model], features)) demand.models |= 1U << model;
  }
  if (demand.models == 0) demand.models = 1U << 31;  // nobody has it
  return demand;
}

bool GpuRater::learn(const state::Request& request) {
  if (gpu_nodes_ == 0 || request.resources.gpus > kGpusPerNodeMax) return false;
  const Key key = key_of(request);
  const auto know = [&]() -> Known& {
    const auto [entry, added] = known_.try_emplace(key);
    if (added) entry->second.number = next_number_++;
    return entry->second;
  };
  know().weight += 1;
  ++learned_;
  if (expectation_ == 0 ? learned_ >= kLearnFirst : learned_ >= kLearnAgain) {
    expect();
    know();  // also if it was among the rare ones
  }
  return expectation_ != 0;
}

// What was asked for lately counts more; what is rare is forgotten.
void GpuRater::expect() {
  learned_ = 0;
  if (known_.size() > kDemandsMax) {
    using Entry = std::map<Key, Known>::iterator;
    std::vector<Entry> rarest;
    for (auto entry = known_.begin(); entry != known_.end(); ++entry) rarest.push_back(entry);
    const auto end = rarest.begin() + static_cast<std::ptrdiff_t>(known_.size() - kDemandsMax);
    std::nth_element(rarest.begin(), end, rarest.end(), [](const Entry& a, const Entry& b) {
      return std::tie(a->second.weight, a->first) < std::tie(b->second.weight, b->first);
    });
    std::for_each(rarest.begin(), end, [&](const Entry& entry) { known_.erase(entry); });
  }
  double sum = 0;
  std::uint32_t number = 0;
  GpuClusterFacts facts;
  for (auto& [key, known] : known_) {
    sum += known.weight;
    known.number = number++;
    facts.mix.push_back({demand_of(key), known.weight});
    known.weight *= 0.9;
  }
  for (ExpectedDemand& expected : facts.mix) expected.weight /= sum;
  policy_ = make_gpu_policy("fragmentation", facts);
  next_number_ = number;
  rated_.assign(number, {});
  ++expectation_;
}

std::optional<GpuRater::Choice> GpuRater::best(const state::Request& request,
                                               const std::function<bool(std::size_t)>& allowed) {
  const auto entry = known_.find(key_of(request));
  if (entry == known_.end() || policy_ == nullptr) return std::nullopt;
  const GpuDemand demand = demand_of(entry->first);
  const std::uint32_t number = entry->second.number;
  if (rated_.size() <= number) rated_.resize(number + 1);
  std::vector<Rated>& rated = rated_[number];
  rated.resize(nodes_.size());
  std::array<double, kGpuModelsMax> surcharges{};
  for (std::size_t model = 0; model < models_.size(); ++model) {
    surcharges[model] = policy_->surcharge(static_cast<std::uint8_t>(model), demand, free_milli_);
  }
  static const std::vector<std::uint16_t> kNone;
  constexpr double kSame = 1e-9;  // sums of the same terms in another order differ in the last digits
  std::optional<Choice> best;
  double least = 0;
  for (std::size_t slot = 0; slot < nodes_.size(); ++slot) {
    const Node& node = nodes_[slot];
    if (node.version == 0) continue;
    Rated& mine = rated[slot];
    if (mine.version != node.version || mine.expectation != expectation_) {
      mine.version = node.version;
      mine.expectation = expectation_;
      mine.fits = fits(node.node, demand);
      if (mine.fits) mine.rating = policy_->rate(node.node, number, demand, kNone);
    }
    if (!mine.fits) continue;
    const double rate = mine.rating.rate + surcharges[node.node.model];
    if ((best && rate >= least - kSame) || !allowed(slot)) continue;
    best = Choice{slot, mine.rating.mask};
    least = rate;
  }
  return best;
}

}  // namespace berth::placement
