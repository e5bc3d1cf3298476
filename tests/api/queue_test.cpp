// The command queue: order, bounds, and exact-once under many producers (run it under ThreadSanitizer).
#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <string>
#include <thread>
#include <vector>

#include "api/server/command_queue.h"
#include "api/server/sleeper.h"

namespace berth::server {
namespace {

TEST(CommandQueue, GivesBackWhatWasPushedInOrder) {
  CommandQueue<std::string> queue(4);
  std::string out;
  EXPECT_FALSE(queue.pop(out));
  for (int round = 0; round < 10; ++round) {
    for (const char* value : {"a", "b", "c"}) EXPECT_TRUE(queue.push(value));
    for (const char* value : {"a", "b", "c"}) {
      ASSERT_TRUE(queue.pop(out));
      EXPECT_EQ(out, value);
    }
  }
  EXPECT_FALSE(queue.ready());
}

TEST(CommandQueue, RefusesWhenFullAndLeavesTheValueUntouched) {
  CommandQueue<std::string> queue(2);
  EXPECT_TRUE(queue.push("a"));
  EXPECT_TRUE(queue.push("b"));
  std::string kept = "c";
  EXPECT_FALSE(queue.push(std::move(kept)));
  EXPECT_EQ(kept, "c");
  std::string out;
  EXPECT_TRUE(queue.pop(out));
  EXPECT_TRUE(queue.push(std::move(kept)));
}

// What a consumer saw of several producers: every number once, each producer's in its order.
struct Ledger {
  explicit Ledger(std::size_t producers) : next(producers, 0) {}
  void saw(std::uint64_t value) {
    const std::size_t producer = value >> 32;
    if (producer >= next.size() || (value & 0xffffffff) != next[producer]++) ++wrong;
  }
  std::vector<std::uint64_t> next;
  std::uint64_t wrong = 0;
};

TEST(CommandQueue, DeliversEachValueExactlyOnceFromManyProducersWhileTheConsumerSleepsAndWakes) {
  constexpr std::size_t kProducers = 4;
  constexpr std::uint64_t kEach = 20'000;
  CommandQueue<std::uint64_t> queue(64);
  Sleeper sleeper;
  std::vector<std::thread> producers;
  for (std::size_t p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        while (!queue.push(static_cast<std::uint64_t>(p) << 32 | i)) std::this_thread::yield();
        sleeper.wake();
      }
    });
  }
  Ledger ledger(kProducers);
  std::uint64_t value = 0;
  for (std::uint64_t seen = 0; seen < kProducers * kEach;) {
    if (queue.pop(value)) {
      ledger.saw(value);
      ++seen;
    } else {
      sleeper.sleep(-1, [&] { return queue.ready(); });
    }
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(ledger.wrong, 0U);
  EXPECT_FALSE(queue.pop(value));
}

// The queue with a fault: producers take a cell without agreeing on who has it.
struct CarelessQueue {
  bool push(std::uint64_t value) {
    const std::uint64_t at = tail.load();
    if (at - head.load() == cells.size()) return false;
    std::this_thread::yield();  // long enough for another producer to take the same cell
    cells[at % cells.size()].store(value);
    tail.store(at + 1);
    return true;
  }
  bool pop(std::uint64_t& value) {
    if (head.load() == tail.load()) return false;
    value = cells[head.load() % cells.size()].load();
    head.fetch_add(1);
    return true;
  }
  std::array<std::atomic<std::uint64_t>, 64> cells{};
  std::atomic<std::uint64_t> head{0}, tail{0};
};

TEST(CommandQueue, TheStressNoticesAQueueThatLosesAValue) {
  bool noticed = false;
  // A busy machine may run one producer after the other for long: go on until they meet.
  for (int round = 0; round < 20'000 && !noticed; ++round) {
    CarelessQueue queue;
    std::atomic<int> ready{0};
    std::vector<std::thread> producers;
    for (std::uint64_t p = 0; p < 2; ++p) {
      producers.emplace_back([&, p] {
        ++ready;
        while (ready.load() != 2) std::this_thread::yield();
        for (std::uint64_t i = 0; i < 20; ++i) queue.push(p << 32 | i);
      });
    }
    for (std::thread& producer : producers) producer.join();
    Ledger ledger(2);
    std::uint64_t value = 0, seen = 0;
    while (queue.pop(value)) {
      ledger.saw(value);
      ++seen;
    }
    noticed = ledger.wrong != 0 || seen != 40;
  }
  EXPECT_TRUE(noticed);
}

TEST(CommandQueue, TheLedgerNoticesALossADoubleAndADisorder) {
  for (const std::vector<std::uint64_t>& values : {std::vector<std::uint64_t>{0, 2}, {0, 0}, {1, 0}, {5ULL << 32}}) {
    Ledger ledger(2);
    for (const std::uint64_t value : values) ledger.saw(value);
    EXPECT_NE(ledger.wrong, 0U);
  }
}

TEST(Sleeper, SleepsAtMostItsTimeAndNotAtAllWhenThereIsWork) {
  Sleeper sleeper;
  int asked = 0;
  sleeper.sleep(1, [&] { return ++asked == 0; });
  sleeper.sleep(-1, [&] { return ++asked > 0; });  // would never end otherwise
  EXPECT_EQ(asked, 2);
}

}  // namespace
}  // namespace berth::server
