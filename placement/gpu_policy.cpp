#include "placement/gpu_policy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace berth::placement {

namespace {

// SplitMix64: one well-mixed word of another.
std::uint64_t mix_bits(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Berth's own. A node's loss is what of its free GPUs is expected to stay unused, in thousandths:
//  - to pods of the mix that do not fit or cannot use a GPU's rest (fragmentation()), and
//  - to cpu or memory that runs out first, when the node goes on to be filled with pods as the mix has them on average.
// A pod goes where the loss grows least. So pods without GPUs go where there is cpu to spare beside the GPUs, and pods
// with much cpu for each GPU too; neither shows in fragmentation() before it is too late.
//
// What is left of a model that some pods must have is kept for those: a surcharge by the model's scarcity, the share of
// the demand that insists on it divided by the share of the free GPUs that will do for it.
class FragmentationPolicy : public GpuPolicy {
 public:
  explicit FragmentationPolicy(const GpuClusterFacts& facts) : mix_(facts.mix) {
    double cpu = 0, mem = 0, gpu = 0;
    for (const ExpectedDemand& expected : mix_) {
      if (expected.demand.gpus == 0) continue;
      cpu += expected.weight * expected.demand.cpu_milli;
      mem += expected.weight * expected.demand.mem_mib;
      gpu += expected.weight * expected.demand.gpu_milli();
    }
    if (gpu == 0) return;
    cpu_per_gpu_ = cpu / gpu;
    mem_per_gpu_ = mem / gpu;
    for (const ExpectedDemand& expected : mix_) {
      const GpuDemand& demand = expected.demand;
      if (demand.gpus == 0 || demand.models == 0) continue;
      const double share = expected.weight * demand.gpu_milli() / gpu;
      const auto known = std::find_if(insisting_.begin(), insisting_.end(),
                                      [&](const Insisting& other) { return other.models == demand.models; });
      if (known == insisting_.end()) {
        insisting_.push_back({demand.models, share});
      } else {
        known->share += share;
      }
    }
  }

  Rating rate(const GpuNode& node, std::uint32_t /*demand_index*/, const GpuDemand& demand,
              const std::vector<std::uint16_t>& /*kinds*/) const override {
    const double before = loss(node);
    Rating best{std::numeric_limits<double>::infinity(), 0, 0};
    each_gpu_choice(node, demand, [&](std::uint32_t mask) {
      GpuNode after = node;
      take(after, demand, mask);
      const double growth = loss(after) - before;
      if (growth < best.rate) best = {growth, 0, mask};
    });
    return best;
  }

  double surcharge(std::uint8_t model, const GpuDemand& demand, const FreeByModel& free_milli) const override {
    if (insisting_.empty() || demand.gpus == 0) return 0;
    // Weight and ceiling: well above what one pod's fragmentation can outweigh, and finite when a model is used up.
    constexpr double kWeight = 4, kScarcityMax = 16;
    const std::int64_t all = std::accumulate(free_milli.begin(), free_milli.end(), std::int64_t{0});
    double scarcity = 0;
    for (const Insisting& group : insisting_) {
      if ((group.models >> model & 1U) == 0) continue;
      std::int64_t will_do = 0;
      for (std::uint32_t i = 0; i < kGpuModelsMax; ++i) will_do += (group.models >> i & 1U) != 0 ? free_milli[i] : 0;
      const double rest = static_cast<double>(all) / static_cast<double>(std::max<std::int64_t>(will_do, 1));
      scarcity += group.share * std::min(rest, kScarcityMax);
    }
    return kWeight * scarcity * demand.gpu_milli();
  }

 private:
  struct Insisting {  // pods that accept these models alone
    std::uint32_t models = 0;
    double share = 0;  // of the GPUs that the mix wants
  };

  double loss(const GpuNode& node) const {
    const double left = node.left_milli();
    // The GPUs for which cpu and memory last. Capped at a multiple of those that are left, so that taking a node's last
    // GPUs costs as well where much cpu is left beside them: pods that need it can then no longer have it.
    double lasts = 2.5 * left;
    if (cpu_per_gpu_ > 0) lasts = std::min(lasts, node.cpu_milli / cpu_per_gpu_);
    if (mem_per_gpu_ > 0) lasts = std::min(lasts, node.mem_mib / mem_per_gpu_);
    // Pods differ from the average, so there is no sharp bend: one of half a GPU's width.
    constexpr double kBendMilli = 500;
    const double over = (left - lasts) / kBendMilli;
    const double beyond = over > 30 ? over : std::log1p(std::exp(over));
    return fragmentation(node, mix_) + kBendMilli * beyond;
  }

  DemandMix mix_;
  double cpu_per_gpu_ = 0, mem_per_gpu_ = 0;  // thousandths or MiB for each thousandth of a GPU, on average
  std::vector<Insisting> insisting_;
};

}  // namespace

std::unique_ptr<GpuPolicy> make_gpu_policy(std::string_view name, const GpuClusterFacts& facts) {
  if (name == "fragmentation") return std::make_unique<FragmentationPolicy>(facts);
  return make_gpu_baseline(name, facts);
}

const std::vector<std::string_view>& gpu_policy_names() {
  static const std::vector<std::string_view> names = {"random",   "dot-product", "gpu-clustering", "gpu-packing",
                                                      "best-fit", "fgd",         "fragmentation"};
  return names;
}

GpuCluster::GpuCluster(std::vector<GpuNode> nodes, GpuClusterFacts facts, std::string_view policy, std::uint64_t seed)
    : nodes_(std::move(nodes)), facts_(std::move(facts)), draw_(mix_bits(seed)) {
  for (const GpuNode& node : nodes_) {
    facts_.cpu_milli_max = std::max(facts_.cpu_milli_max, node.cpu_milli);
    facts_.mem_mib_max = std::max(facts_.mem_mib_max, node.mem_mib);
    facts_.gpus_max = std::max<std::int32_t>(facts_.gpus_max, node.gpus);
    free_milli_[node.model] += node.left_milli();
  }
  policy_ = make_gpu_policy(policy, facts_);
  versions_.assign(nodes_.size(), 1);
  kinds_.assign(nodes_.size(), std::vector<std::uint16_t>(facts_.mix.size()));
  rated_.assign(facts_.mix.size(), {});
}

bool GpuCluster::better(const Rating& a, const Rating& b) const {
  // Sums of the same terms in another order differ in the last digits: that is no difference.
  constexpr double kSame = 1e-9;
  if (a.rate < b.rate - kSame) return true;
  return a.rate <= b.rate + kSame && a.tie < b.tie - kSame;
}

GpuCluster::Rated GpuCluster::rate(std::uint32_t node, std::uint32_t index) const {
  const GpuDemand& demand = facts_.mix[index].demand;
  Rated rated;
  rated.version = versions_[node];
  rated.fits = fits(nodes_[node], demand);
  if (!rated.fits) return rated;
  rated.rating = policy_->rate(nodes_[node], index, demand, kinds_[node]);
  if (policy_->random_draw()) {
    // A node and, of its GPUs that will do, one: both drawn.
    const std::uint64_t drawn = mix_bits(draw_ ^ (static_cast<std::uint64_t>(node) << 32));
    rated.rating.rate = static_cast<double>(drawn >> 11);
    std::uint32_t most = 0;
    if (demand.gpus == 1) {
      for (std::uint32_t i = 0; i < nodes_[node].gpus; ++i) {
        const std::uint32_t lot = static_cast<std::uint32_t>(mix_bits(drawn + i) >> 33) + 1;
        if (nodes_[node].left[i] < demand.share_milli || lot <= most) continue;
        most = lot;
        rated.rating.mask = 1U << i;
      }
    }
  }
  return rated;
}

GpuCluster::Place GpuCluster::place(std::uint32_t index) {
  std::vector<Rated>& rated = rated_[index];
  rated.resize(nodes_.size());
  const auto surcharges = surcharges_of(index);
  Place best{kNowhere, 0};
  Rating least;
  for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
    if (rated[node].version != versions_[node] || policy_->random_draw()) rated[node] = rate(node, index);
    if (!rated[node].fits) continue;
    consider(node, rated[node].rating, surcharges, least, best);
  }
  draw_ = mix_bits(draw_);
  if (best.node != kNowhere) change(index, best, 1);
  return best;
}

void GpuCluster::release(std::uint32_t index, const Place& place) { change(index, place, -1); }

void GpuCluster::change(std::uint32_t index, const Place& place, int pods) {
  const GpuDemand& demand = facts_.mix[index].demand;
  GpuNode& node = nodes_[place.node];
  pods > 0 ? take(node, demand, place.mask) : give(node, demand, place.mask);
  free_milli_[node.model] -= pods * demand.gpu_milli();
  kinds_[place.node][index] = static_cast<std::uint16_t>(kinds_[place.node][index] + pods);
  ++versions_[place.node];
}

std::array<double, kGpuModelsMax> GpuCluster::surcharges_of(std::uint32_t index) const {
  std::array<double, kGpuModelsMax> surcharges{};
  for (std::uint8_t model = 0; model < kGpuModelsMax; ++model) {
    surcharges[model] = policy_->surcharge(model, facts_.mix[index].demand, free_milli_);
  }
  return surcharges;
}

void GpuCluster::consider(std::uint32_t node, Rating rating, const std::array<double, kGpuModelsMax>& surcharges,
                          Rating& least, Place& best) const {
  rating.rate += surcharges[nodes_[node].model];
  if (best.node != kNowhere && !better(rating, least)) return;
  least = rating;
  best = {node, rating.mask};
}

GpuCluster::Place GpuCluster::best_by_force(std::uint32_t index) const {
  const auto surcharges = surcharges_of(index);
  Place best{kNowhere, 0};
  Rating least;
  for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
    const Rated rated = rate(node, index);
    if (rated.fits) consider(node, rated.rating, surcharges, least, best);
  }
  return best;
}

std::int64_t GpuCluster::free_milli() const {
  std::int64_t sum = 0;
  for (const GpuNode& node : nodes_) sum += node.left_milli();
  return sum;
}

}  // namespace berth::placement
