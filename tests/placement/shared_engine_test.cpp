// Claims by many threads: never oversold, never leaked, never refused where there is room; and with one worker the same
// choices as Engine. Runs under ThreadSanitizer as well.
#include "placement/shared_engine.h"

#include <bit>
#include <gtest/gtest.h>
#include <random>
#include <thread>

#include "placement/engine.h"

namespace berth::placement {
namespace {

using state::NodeId;
using state::Request;
using state::Resources;

constexpr Resources kNode = {16'000, 16'384, 8};

class Dice {
 public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  std::uint32_t below(std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(engine_); }

 private:
  std::mt19937 engine_;
};

Resources any_resources(Dice& dice) {
  return {500 * dice.below(12), 512ULL * dice.below(12), dice.below(3) == 0 ? 1 + dice.below(4) : 0};
}

// What is claimed on a node, counted apart from the words, by those who hold the claims.
struct Ledger {
  std::atomic<std::int64_t> cpu{0}, mem{0};
  std::atomic<std::uint64_t> gpus{0};
  std::atomic<int> wrong{0};
  void take(const Resources& r, std::uint64_t mask) {
    if (cpu.fetch_add(r.cpu_milli) + r.cpu_milli > kNode.cpu_milli) ++wrong;
    if (mem.fetch_add(static_cast<std::int64_t>(r.mem_mib)) + static_cast<std::int64_t>(r.mem_mib) >
        static_cast<std::int64_t>(kNode.mem_mib))
      ++wrong;
    if ((gpus.fetch_or(mask) & mask) != 0) ++wrong;
    if (std::popcount(mask) != static_cast<int>(r.gpus)) ++wrong;
  }
  void give(const Resources& r, std::uint64_t mask) {
    cpu -= r.cpu_milli;
    mem -= static_cast<std::int64_t>(r.mem_mib);
    gpus &= ~mask;
  }
};

// Claims as somebody would write them who forgot that others claim too.
class CarelessWords {
 public:
  explicit CarelessWords(std::uint32_t nodes) : words_(nodes) {}
  void offer(std::uint32_t slot, const Resources& capacity) {
    words_[slot].cpu = capacity.cpu_milli;
    words_[slot].mem = static_cast<std::int64_t>(capacity.mem_mib);
    words_[slot].gpus = (1U << capacity.gpus) - 1;
  }
  void set_open(std::uint32_t /*slot*/, bool /*open*/) {}
  std::optional<std::uint64_t> claim(std::uint32_t slot, const Resources& r) {
    Words& w = words_[slot];
    const std::int64_t cpu = w.cpu, mem = w.mem;
    const std::uint64_t gpus = w.gpus;
    if (cpu < r.cpu_milli || mem < static_cast<std::int64_t>(r.mem_mib) ||
        std::popcount(gpus) < static_cast<int>(r.gpus))
      return std::nullopt;
    std::uint64_t taken = 0;
    for (std::uint64_t rest = gpus; std::popcount(taken) < static_cast<int>(r.gpus); rest &= rest - 1)
      taken |= rest & -rest;
    std::this_thread::yield();
    w.cpu = cpu - r.cpu_milli;
    w.mem = mem - static_cast<std::int64_t>(r.mem_mib);
    w.gpus = gpus & ~taken;
    return taken;
  }
  void release(std::uint32_t slot, const Resources& r, std::uint64_t mask) {
    words_[slot].cpu += r.cpu_milli;
    words_[slot].mem += static_cast<std::int64_t>(r.mem_mib);
    words_[slot].gpus |= mask;
  }

 private:
  struct Words {
    std::atomic<std::int64_t> cpu{0}, mem{0};
    std::atomic<std::uint64_t> gpus{0};
  };
  std::vector<Words> words_;
};

// Four threads on two nodes; how often something was sold twice.
template <class Words>
int oversold(Words& words, int rounds) {
  Ledger ledger[2];
  for (std::uint32_t slot = 0; slot < 2; ++slot) {
    words.offer(slot, kNode);
    words.set_open(slot, true);
  }
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Dice dice(t + 1);
      struct Held {
        std::uint32_t slot;
        Resources resources;
        std::uint64_t gpus;
      };
      std::vector<Held> held;
      for (int i = 0; i < rounds; ++i) {
        const std::uint32_t slot = dice.below(2);
        const Resources wanted = any_resources(dice);
        if (const auto gpus = words.claim(slot, wanted)) {
          ledger[slot].take(wanted, *gpus);
          held.push_back({slot, wanted, *gpus});
        }
        while (held.size() > 3 || (!held.empty() && dice.below(3) == 0)) {
          const Held pod = held.back();
          held.pop_back();
          ledger[pod.slot].give(pod.resources, pod.gpus);
          words.release(pod.slot, pod.resources, pod.gpus);
        }
      }
      for (const Held& pod : held) {
        ledger[pod.slot].give(pod.resources, pod.gpus);
        words.release(pod.slot, pod.resources, pod.gpus);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return ledger[0].wrong + ledger[1].wrong;
}

TEST(NodeWords, ManyThreadsNeverOversellAndEverythingComesBack) {
  NodeWords words(64);
  EXPECT_EQ(oversold(words, 30'000), 0);
  for (std::uint32_t slot = 0; slot < 2; ++slot) {
    EXPECT_EQ(words.free(slot).cpu_milli, 16'000);
    EXPECT_EQ(words.free(slot).mem_mib, 16'384);
    EXPECT_EQ(words.free(slot).gpus, 8U);
    EXPECT_EQ(words.free_gpus(slot), 0xffU);
  }
}

TEST(NodeWords, TheTestSeesAClaimThatForgetsTheOthers) {
  CarelessWords words(2);
  EXPECT_GT(oversold(words, 30'000), 0);
}

TEST(NodeWords, AnOfferThatShrinksAndGrowsKeepsWhatIsClaimed) {
  NodeWords words(1);
  words.offer(0, {8000, 8192, 4});
  EXPECT_FALSE(words.claim(0, {1, 1, 0})) << "it is closed";
  words.set_open(0, true);
  ASSERT_EQ(words.claim(0, {6000, 1024, 3}), 0b111U);
  words.offer(0, {4000, 8192, 1});
  EXPECT_EQ(words.free(0).cpu_milli, -2000);
  EXPECT_EQ(words.free(0).gpus, 0U);
  EXPECT_FALSE(words.claim(0, {1, 1, 0}));
  words.release(0, {6000, 1024, 3}, 0b111);
  EXPECT_EQ(words.free(0).cpu_milli, 4000);
  EXPECT_EQ(words.free_gpus(0), 0b1U) << "the GPUs it no longer offers do not come back";
  EXPECT_EQ(words.free(0).gpus, 1U);
  words.offer(0, {8000, 8192, 4});
  EXPECT_EQ(words.claim(0, {8000, 8192, 4}), 0b1111U);
  words.set_open(0, false);
  words.release(0, {8000, 8192, 4}, 0b1111);
  EXPECT_FALSE(words.claim(0, {1, 1, 0}));
}

void open_nodes(SharedEngine& engine, std::uint32_t count, const std::vector<Resources>& kinds, Dice& dice,
                Engine* beside = nullptr) {
  static const std::vector<std::vector<std::string>> features = {{}, {"fast"}, {"fast", "ssd"}};
  for (std::uint32_t id = 1; id <= count; ++id) {
    const Resources& capacity = kinds[dice.below(static_cast<std::uint32_t>(kinds.size()))];
    const auto& having = features[dice.below(3)];
    engine.set_node(NodeId{id}, capacity, having);
    engine.set_open(NodeId{id}, true);
    if (beside == nullptr) continue;
    beside->set_node(NodeId{id}, capacity, having);
    beside->set_connected(NodeId{id}, true);
  }
}

Request any_request(Dice& dice) {
  static const std::vector<std::vector<std::string>> features = {{}, {}, {"fast"}, {"ssd"}};
  return {any_resources(dice), features[dice.below(4)]};
}

TEST(SharedEngine, OneWorkerChoosesAsEngineDoes) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    Dice dice(seed);
    SharedEngine shared(1, 300);
    Engine engine;
    open_nodes(shared, 300, {{8000, 8192, 0}, {16'000, 4096, 4}, {4000, 16'384, 8}}, dice, &engine);
    std::vector<std::pair<SharedEngine::Place, Resources>> running;
    std::vector<Placed> out;
    for (int step = 0; step < 6000; ++step) {
      if (!running.empty() && dice.below(100) < 45) {
        std::swap(running[dice.below(static_cast<std::uint32_t>(running.size()))], running.back());
        const auto [place, resources] = running.back();
        running.pop_back();
        shared.release(0, place, resources);
        engine.release(place.node, resources, place.gpu_mask);
      } else if (dice.below(50) == 0) {
        const NodeId id{1 + dice.below(300)};
        const bool open = dice.below(2) == 0;
        shared.set_open(id, open);
        engine.set_in_service(id, open);
      } else {
        const Request request = any_request(dice);
        out.clear();
        engine.place(request, 1, out);
        const auto place = shared.place(0, request);
        ASSERT_EQ(place.has_value(), !out.empty());
        if (!place) continue;
        ASSERT_EQ(place->node, out[0].node);
        ASSERT_EQ(place->gpu_mask, out[0].gpu_mask);
        running.emplace_back(*place, request.resources);
      }
    }
    ASSERT_EQ(shared.check(), "");
  }
}

TEST(SharedEngine, ManyWorkersWhileNodesComeAndGoLoseNothing) {
  constexpr std::uint32_t kWorkers = 4, kNodes = 200;
  Dice dice(9);
  SharedEngine engine(kWorkers, kNodes);
  open_nodes(engine, kNodes, {kNode}, dice);
  std::vector<Ledger> ledgers(kNodes);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> placed{0};
  std::vector<std::thread> threads;
  for (std::uint32_t w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      Dice mine(100 + w);
      std::vector<std::pair<SharedEngine::Place, Resources>> running;
      for (int i = 0; i < 15'000; ++i) {
        const Request request = any_request(mine);
        if (const auto place = engine.place(w, request)) {
          ++placed;
          ledgers[place->node.value - 1].take(request.resources, place->gpu_mask);
          running.emplace_back(*place, request.resources);
        }
        while (running.size() > 300 || (!running.empty() && mine.below(100) < 48)) {
          std::swap(running[mine.below(static_cast<std::uint32_t>(running.size()))], running.back());
          const auto [place, resources] = running.back();
          running.pop_back();
          ledgers[place.node.value - 1].give(resources, place.gpu_mask);
          engine.release(w, place, resources);
        }
      }
      for (const auto& [place, resources] : running) {
        ledgers[place.node.value - 1].give(resources, place.gpu_mask);
        engine.release(w, place, resources);
      }
    });
  }
  std::thread control([&] {
    Dice mine(7);
    while (!stop) {
      const NodeId id{1 + mine.below(kNodes)};
      engine.set_open(id, false);
      std::this_thread::yield();
      engine.set_node(id, kNode, mine.below(2) == 0 ? std::vector<std::string>{"fast"} : std::vector<std::string>{});
      engine.set_open(id, true);
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  control.join();
  EXPECT_GT(placed, 10'000U);
  for (const Ledger& ledger : ledgers) EXPECT_EQ(ledger.wrong, 0);
  EXPECT_EQ(engine.check(), "");
  for (std::uint32_t id = 1; id <= kNodes; ++id) {
    EXPECT_EQ(engine.free(NodeId{id}).cpu_milli, 16'000);
    EXPECT_EQ(engine.free(NodeId{id}).mem_mib, 16'384);
    EXPECT_EQ(engine.free(NodeId{id}).gpus, 8U);
  }
}

// As many threads as there is room for pods, each with one pod at most: whenever one asks, there is room somewhere.
TEST(SharedEngine, APodThatFitsIsNotRefusedUnderContention) {
  constexpr std::uint32_t kWorkers = 4;
  SharedEngine engine(kWorkers, 512);
  for (std::uint32_t id : {1U, 65U, 129U, 400U}) {  // of three different workers
    engine.set_node(NodeId{id}, {1000, 1024, 1}, {});
    engine.set_open(NodeId{id}, true);
  }
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (std::uint32_t w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      const Request request{{1000, 1024, 1}, {}};
      for (int i = 0; i < 20'000; ++i) {
        const auto place = engine.place(w, request);
        if (!place) {
          ++refused;
          continue;
        }
        engine.release(w, *place, request.resources);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 0);
  EXPECT_EQ(engine.check(), "");
}

}  // namespace
}  // namespace berth::placement
