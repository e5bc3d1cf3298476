#include "placement/shared_engine.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace berth::placement {

using state::NodeId;
using state::Request;
using state::Resources;

namespace {

const std::vector<std::string> kNoFeatures;

}  // namespace

SharedEngine::SharedEngine(std::uint32_t workers, std::uint32_t nodes_max)
    : words_(nodes_max),
      workers_count_(workers),
      workers_(std::make_unique<Worker[]>(workers)),
      indexed_(std::make_unique<Indexed[]>(words_.nodes_max())),
      features_(std::make_unique<std::atomic<const Features*>[]>(words_.nodes_max())),
      next_(std::make_unique<std::atomic<std::uint32_t>[]>(words_.nodes_max())),
      in_inbox_(std::make_unique<std::atomic<bool>[]>(words_.nodes_max())) {
  for (std::uint32_t slot = 0; slot < words_.nodes_max(); ++slot) features_[slot] = &kNoFeatures;
}

// ---- what nodes offer -----------------------------------------------------------------------------------------------

void SharedEngine::set_node(NodeId id, const Resources& capacity, const std::vector<std::string>& features) {
  const std::uint32_t slot = id.value - 1;
  features_[slot].store(&*known_features_.insert(features).first, std::memory_order_release);
  words_.offer(slot, capacity);
  offers_changed_.fetch_add(1, std::memory_order_acq_rel);
  tell_owner(slot);
}

void SharedEngine::set_open(NodeId id, bool open) {
  words_.set_open(id.value - 1, open);
  offers_changed_.fetch_add(1, std::memory_order_acq_rel);
  tell_owner(id.value - 1);
}

// ---- the workers' indexes -------------------------------------------------------------------------------------------

// A list that others push on and its worker takes as a whole, so that no element can come back in between.
void SharedEngine::tell_owner(std::uint32_t slot) {
  // Who finds it there already is heard as well: the worker takes the mark off before it reads the node's words.
  if (in_inbox_[slot].exchange(true, std::memory_order_acq_rel)) return;
  auto& inbox = workers_[owner_of(slot)].inbox;
  std::uint32_t first = inbox.load(std::memory_order_relaxed);
  do {
    next_[slot].store(first, std::memory_order_relaxed);
  } while (!inbox.compare_exchange_weak(first, slot, std::memory_order_acq_rel, std::memory_order_relaxed));
}

void SharedEngine::read_inbox(std::uint32_t number) {
  Worker& worker = workers_[number];
  if (worker.inbox.load(std::memory_order_relaxed) == kEmpty) return;
  std::uint32_t slot = worker.inbox.exchange(kEmpty, std::memory_order_acq_rel);
  while (slot != kEmpty) {
    const std::uint32_t next = next_[slot].load(std::memory_order_relaxed);
    in_inbox_[slot].exchange(false, std::memory_order_acq_rel);
    reindex(worker, slot);
    slot = next;
  }
}

void SharedEngine::reindex(Worker& worker, std::uint32_t slot) {
  Indexed& known = indexed_[slot];
  const Features* features = features_[slot].load(std::memory_order_acquire);
  Amounts now = words_.free(slot);
  const bool open = words_.is_open(slot);
  if (known.present && (!open || features != known.features)) {
    worker.index.erase(known.kind, slot, known.amounts);
    known.present = false;
  }
  if (!open) return;
  if (!known.present || now.gpus > known.gpus_max) {
    known.gpus_max = std::max(now.gpus, words_.gpus_offered(slot));
    known.kind = worker.index.kind_for(*features, known.gpus_max);
    known.features = features;
  }
  if (known.present) {
    worker.index.change(known.kind, slot, known.amounts, now);
  } else {
    worker.index.insert(known.kind, slot, now);
  }
  known.amounts = now;
  known.present = true;
}

void SharedEngine::changed_by(std::uint32_t worker, std::uint32_t slot) {
  if (owner_of(slot) == worker) {
    reindex(workers_[worker], slot);
  } else {
    tell_owner(slot);
  }
}

// ---- placing --------------------------------------------------------------------------------------------------------

std::optional<SharedEngine::Place> SharedEngine::place(std::uint32_t number, const Request& request) {
  Worker& worker = workers_[number];
  worker.index.prefetch(request);
  read_inbox(number);
  struct Wish {
    const SharedEngine* engine;
    const Request* request;
  } const wish{this, &request};
  const FitIndex::Accept fits = [](const void* context, std::uint32_t slot) {
    const auto* of = static_cast<const Wish*>(context);
    const Indexed& known = of->engine->indexed_[slot];
    return known.amounts.hold(of->request->resources) &&
           (of->request->features.empty() || includes(*known.features, of->request->features));
  };
  for (std::size_t slot; (slot = worker.index.find_best(request, fits, &wish)) != kNoSlot;) {
    const auto gpus = words_.claim(static_cast<std::uint32_t>(slot), request.resources);
    reindex(worker, static_cast<std::uint32_t>(slot));
    if (gpus) return Place{NodeId{static_cast<std::uint32_t>(slot + 1)}, *gpus};
  }
  for (int pass = 0; pass < kPassesMax;) {
    const std::uint64_t before = given_back();
    const std::size_t slot = best_of_all(request);
    if (slot == kNoSlot) {
      if (given_back() == before) return std::nullopt;
      ++pass;
      continue;
    }
    const auto gpus = words_.claim(static_cast<std::uint32_t>(slot), request.resources);
    if (!gpus) continue;
    changed_by(number, static_cast<std::uint32_t>(slot));
    return Place{NodeId{static_cast<std::uint32_t>(slot + 1)}, *gpus};
  }
  return std::nullopt;
}

bool SharedEngine::suits(std::uint32_t slot, const Request& request) const {
  return words_.is_open(slot) && words_.free(slot).hold(request.resources) &&
         (request.features.empty() || includes(*features_[slot].load(std::memory_order_acquire), request.features));
}

std::size_t SharedEngine::best_of_all(const Request& request) {
  std::size_t best = kNoSlot;
  std::int32_t least = std::numeric_limits<std::int32_t>::max();
  for (std::uint32_t block = 0; block < words_.blocks(); ++block) {
    if (!words_.block_may_hold(block, request.resources)) continue;
    bool any = false;
    for (std::uint32_t slot = block * NodeWords::kBlock; slot < (block + 1) * NodeWords::kBlock; ++slot) {
      if (!suits(slot, request)) continue;
      any = true;
      const std::int32_t left = words_.free(slot).left();
      if (best != kNoSlot && left >= least) continue;
      least = left;
      best = slot;
    }
    if (!any) words_.tighten(block);
  }
  return best;
}

std::uint64_t SharedEngine::given_back() const {
  std::uint64_t sum = offers_changed_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < workers_count_; ++i) sum += workers_[i].given_back.load(std::memory_order_acquire);
  return sum;
}

void SharedEngine::release(std::uint32_t worker, const Place& place, const Resources& resources) {
  const std::uint32_t slot = place.node.value - 1;
  words_.release(slot, resources, place.gpu_mask);
  workers_[worker].given_back.fetch_add(1, std::memory_order_acq_rel);
  changed_by(worker, slot);
}

std::string SharedEngine::check() {
  for (std::uint32_t i = 0; i < workers_count_; ++i) {
    read_inbox(i);
    if (std::string wrong = workers_[i].index.check(); !wrong.empty()) return "index: " + wrong;
  }
  for (std::uint32_t slot = 0; slot < words_.nodes_max(); ++slot) {
    const std::string where = "node " + std::to_string(slot + 1) + ": ";
    const Indexed& known = indexed_[slot];
    if (known.present != words_.is_open(slot)) return where + "open and indexed do not agree";
    const Amounts now = words_.free(slot);
    if (static_cast<std::uint32_t>(std::popcount(words_.free_gpus(slot))) != now.gpus)
      return where + "GPUs and their number differ";
    if (!known.present) continue;
    if (!workers_[owner_of(slot)].index.holds(known.kind, slot, now)) return where + "not indexed as its amounts say";
    if (!words_.block_may_hold(slot / NodeWords::kBlock,
                               {static_cast<std::uint32_t>(std::max(now.cpu_milli, 0)),
                                static_cast<std::uint64_t>(std::max(now.mem_mib, 0)), now.gpus})) {
      return where + "its block's summary promises too little";
    }
  }
  return "";
}

}  // namespace berth::placement
