// The pipeline over a store that a test holds, fills and breaks: nothing leaves before it is durable.
#include "api/server/pipeline.h"

#include <future>
#include <gtest/gtest.h>

#include "state/event_codec.h"

namespace berth::server {
namespace {

using namespace state;

class FakeStore : public store::Store {
 public:
  Status append(std::uint64_t first_index, std::span<const std::string> records) override {
    std::unique_lock lock(mutex);
    ++attempts;
    changed.notify_all();
    changed.wait(lock, [this] { return !held; });
    if (answer) return *answer;
    EXPECT_EQ(first_index, last + 1);
    last += records.size();
    kept.insert(kept.end(), records.begin(), records.end());
    return Unit{};
  }
  Status in_charge() const override {
    const std::lock_guard lock(mutex);
    return not_in_charge ? Status(*not_in_charge) : Status(Unit{});
  }
  void put_in_charge(std::optional<Error> why_not) {
    const std::lock_guard lock(mutex);
    not_in_charge = std::move(why_not);
  }
  std::uint64_t last_index() const override { return last; }
  std::uint64_t snapshot_index() const override { return 0; }

  void set(bool hold, std::optional<Error> result) {
    const std::lock_guard lock(mutex);
    held = hold;
    answer = std::move(result);
    changed.notify_all();
  }
  void wait_for_attempts(int count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return attempts >= count; });
  }

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool held = false;
  std::optional<Error> answer, not_in_charge;
  int attempts = 0;
  std::uint64_t last = 0;
  std::vector<std::string> kept;
};

class PipelineTest : public testing::Test {
 protected:
  PipelineTest()
      : pipeline(std::make_unique<scheduler::Core>(scheduler::CoreOptions{}, Cluster{}, wall_clock_us()), fake,
                 limits(),
                 {[this](Delivery d) {
                    const std::lock_guard lock(mutex);
                    for (auto& turn : d.turns) {
                      for (auto& effect : turn) effects.push_back(std::move(effect));
                    }
                    tokens += d.token_events.size();
                    arrived.notify_all();
                  },
                  [this](Error error) { failed.set_value(error); }, [this] { stopped.set_value(); }}) {
    pipeline.start();
  }
  static PipelineLimits limits() {
    PipelineLimits small;
    small.queue_commands = 8;
    small.queue_bytes = 1000;
    return small;
  }
  scheduler::Command submit(std::uint64_t request) {
    JobSpec spec;
    spec.request.resources = {1000, 0, 0};
    spec.launch = "x";
    return scheduler::ClientCommand{{1, request}, {0, 0, "root", {}, true}, SubmitRequest{{spec}, 0, false}};
  }
  std::size_t effect_count() {
    const std::lock_guard lock(mutex);
    return effects.size();
  }
  void wait_for_effects(std::size_t count) {
    std::unique_lock lock(mutex);
    arrived.wait(lock, [&] { return effects.size() >= count; });
  }

  FakeStore fake;
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<scheduler::Effect> effects;
  std::size_t tokens = 0;
  std::promise<Error> failed;
  std::promise<void> stopped;
  Pipeline pipeline;  // last: its threads use the rest
};

TEST_F(PipelineTest, AnswersOnlyWhatIsDurable) {
  fake.set(true, std::nullopt);
  ASSERT_TRUE(pipeline.push(submit(1)));
  fake.wait_for_attempts(1);
  EXPECT_EQ(effect_count(), 0U);
  fake.set(false, std::nullopt);
  wait_for_effects(1);
  EXPECT_EQ(fake.kept.size(), 1U);
}

TEST_F(PipelineTest, WhatGathersWhileOneWriteIsOnItsWaySharesTheNext) {
  fake.set(true, std::nullopt);
  ASSERT_TRUE(pipeline.push(submit(1)));
  fake.wait_for_attempts(1);
  for (std::uint64_t i = 2; i <= 30; ++i) {
    while (!pipeline.push(submit(i))) std::this_thread::yield();
  }
  fake.set(false, std::nullopt);
  wait_for_effects(30);
  EXPECT_LT(fake.attempts, 30);
  std::uint64_t expected = 0;
  for (const auto& effect : effects) EXPECT_EQ(std::get<scheduler::Reply>(effect).to.request, ++expected);
}

TEST_F(PipelineTest, AStuckDiskFillsTheQueueInsteadOfTheMemory) {
  fake.set(true, std::nullopt);
  std::uint64_t taken = 0;
  for (int idle = 0; idle < 100;) {
    if (pipeline.push(submit(taken + 1))) {
      ++taken;
      idle = 0;
    } else {
      ++idle;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_LT(taken, 100'000U) << "it takes without end";
  }
  EXPECT_EQ(effect_count(), 0U);
  fake.set(false, std::nullopt);
  wait_for_effects(taken);  // everything that was taken is answered
}

TEST_F(PipelineTest, AFullDiskIsWaitedOutAndNothingIsLost) {
  fake.set(false, Error{ErrorCode::kUnavailable, "", "no space", 0});
  ASSERT_TRUE(pipeline.push(submit(1)));
  fake.wait_for_attempts(2);
  EXPECT_TRUE(pipeline.suspended());
  EXPECT_EQ(effect_count(), 0U);
  fake.set(false, std::nullopt);
  wait_for_effects(1);
  EXPECT_FALSE(pipeline.suspended());
  EXPECT_EQ(fake.kept.size(), 1U);
}

TEST_F(PipelineTest, AReadThatStoodInLineWhenTheDiskFilledIsAnsweredAtOnce) {
  const Error no_space{ErrorCode::kUnavailable, "", "no space", 0};
  fake.set(true, no_space);
  ASSERT_TRUE(pipeline.push(submit(1)));
  fake.wait_for_attempts(1);
  const scheduler::Caller caller{0, 0, "root", {}, true};
  ASSERT_TRUE(pipeline.push(scheduler::ClientCommand{{1, 2}, caller, ListJobsRequest{}}));
  ASSERT_TRUE(pipeline.push(submit(3)));
  fake.set(false, no_space);
  wait_for_effects(1);
  {
    const std::lock_guard lock(mutex);
    ASSERT_EQ(effects.size(), 1U);
    const auto& reply = std::get<scheduler::Reply>(effects[0]);
    EXPECT_EQ(reply.to.request, 2U);
    const auto* refused = std::get_if<Error>(&reply.body);
    // In line already, or still on its way to the core.
    EXPECT_TRUE(refused != nullptr ? refused->retry_after_ms > 0 : std::get<JobPage>(reply.body).rows.empty());
  }
  fake.set(false, std::nullopt);
  wait_for_effects(3);
  EXPECT_EQ(std::get<scheduler::Reply>(effects[1]).to.request, 1U);
  EXPECT_EQ(std::get<scheduler::Reply>(effects[2]).to.request, 3U);
}

TEST_F(PipelineTest, WhoIsNotInChargeAnswersNeitherReadsNorChanges) {
  fake.put_in_charge(Error{ErrorCode::kUnavailable, "", "the store does not answer", 0});
  const scheduler::Caller caller{0, 0, "root", {}, true};
  ASSERT_TRUE(pipeline.push(submit(1)));
  ASSERT_TRUE(pipeline.push(scheduler::ClientCommand{{1, 2}, caller, ListJobsRequest{}}));
  wait_for_effects(1);  // the read is refused; the change waits, though it was appended
  {
    const std::lock_guard lock(mutex);
    ASSERT_EQ(effects.size(), 1U);
    const auto& reply = std::get<scheduler::Reply>(effects[0]);
    EXPECT_EQ(reply.to.request, 2U);
    EXPECT_EQ(std::get<Error>(reply.body).message, "the store does not answer");
  }
  fake.put_in_charge(std::nullopt);
  wait_for_effects(2);
  EXPECT_EQ(std::get<scheduler::Reply>(effects[1]).to.request, 1U);
  EXPECT_EQ(fake.kept.size(), 1U) << "appended once";
}

TEST_F(PipelineTest, WhoWasDeposedAnswersNothingMore) {
  fake.put_in_charge(Error{ErrorCode::kConflict, "", "another server leads", 0});
  ASSERT_TRUE(pipeline.push(submit(1)));
  EXPECT_EQ(failed.get_future().get().message, "another server leads");
  EXPECT_EQ(effect_count(), 0U);
}

TEST_F(PipelineTest, AnyOtherErrorEndsItWithoutAnAnswer) {
  fake.set(false, Error{ErrorCode::kInternal, "", "fdatasync failed", 0});
  ASSERT_TRUE(pipeline.push(submit(1)));
  EXPECT_EQ(failed.get_future().get().message, "fdatasync failed");
  EXPECT_EQ(effect_count(), 0U);
}

TEST_F(PipelineTest, StoppingFinishesWhatWasTaken) {
  for (std::uint64_t i = 1; i <= 5; ++i) {
    while (!pipeline.push(submit(i))) std::this_thread::yield();
  }
  pipeline.stop();
  stopped.get_future().wait();
  EXPECT_EQ(effect_count(), 5U);
  auto batch = decode_batch(std::as_bytes(std::span(fake.kept.back())));
  ASSERT_TRUE(batch.ok());
}

TEST_F(PipelineTest, TheQueueIsBoundedInBytesAsWellButTakesOneThatIsLongerThanAll) {
  fake.set(true, std::nullopt);
  ASSERT_TRUE(pipeline.push(submit(1)));
  fake.wait_for_attempts(1);
  bool refused = false;
  std::uint64_t taken = 1;
  for (int i = 0; i < 10'000 && !refused; ++i) {
    auto command = submit(taken + 1);
    refused = !pipeline.push(std::move(command), 5'000);
    if (refused) {
      EXPECT_EQ(std::get<scheduler::ClientCommand>(command).reply_to.request, taken + 1) << "it is untouched";
    } else {
      ++taken;
    }
  }
  EXPECT_TRUE(refused);
  EXPECT_GT(taken, 1U);
  fake.set(false, std::nullopt);
  wait_for_effects(taken);
}

TEST_F(PipelineTest, AbandoningItWhileTheLineIsFullEnds) {
  fake.set(true, std::nullopt);
  for (int refused = 0; refused < 50;) {
    if (pipeline.push(submit(1))) {
      refused = 0;
    } else {
      ++refused;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  fake.set(false, Error{ErrorCode::kUnavailable, "", "no space", 0});
  // The destructor of the fixture's pipeline joins both threads.
}

TEST(ClockTest, NeverGoesBackNorStandsStillAndCatchesUp) {
  Clock clock(1'000'000, 0);
  EXPECT_EQ(clock.advance(1'000'010, 10), 1'000'010);
  EXPECT_EQ(clock.advance(2'000'000, 20), 2'000'000) << "set forward: it follows";
  const TimeUs after = clock.advance(1'000'000, 1'020);
  EXPECT_EQ(after, 2'000'900) << "set back: nine tenths of the time that passed";
  EXPECT_EQ(clock.advance(1'000'000, 1'020), after);
  EXPECT_EQ(clock.advance(2'100'000, 101'020), 2'100'000) << "the wall clock has caught up";
}

TEST_F(PipelineTest, TokenEventsComeWithTheDelivery) {
  TokenCreateRequest request;
  request.id = "a";
  request.secret_hash = "h";
  request.ttl_ms = 1000;
  ASSERT_TRUE(pipeline.push(scheduler::ClientCommand{{1, 1}, {0, 0, "root", {}, true}, request}));
  wait_for_effects(1);
  EXPECT_EQ(tokens, 1U);
}

}  // namespace
}  // namespace berth::server
