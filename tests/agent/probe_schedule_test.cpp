#include "agent/core/probe_schedule.h"

#include <gtest/gtest.h>

namespace berth::agent {
namespace {

using namespace state;

constexpr TimeUs kOneSecond = 1'000'000;
constexpr TimeUs kBegin = 1000 * kOneSecond;  // what the tests call 0
const PodRef kPod{{JobId{7}, 0}, 1};

Probe http(std::int64_t period_ms = 1000, std::uint32_t failures = 3) {
  Probe probe;
  probe.kind = Probe::Kind::kHttp;
  probe.port = 80;
  probe.path = "/";
  probe.period_ms = period_ms;
  probe.failures = failures;
  return probe;
}

// The schedule with its clock, and what it did in words: "ask live", "ready", "not ready: why", "end: why".
class Bench {
 public:
  explicit Bench(WatchedPod pod) {
    pod.ref = kPod;
    pod.report = true;
    pod.address = "10.88.1.2";
    ProbeSchedule::Actions actions;
    pod.started_at += kBegin;
    schedule.add(std::move(pod), kBegin + now, actions);
    note(actions);
  }
  // Lets time pass, step by step of what is due.
  Bench& until(TimeUs at) {
    while (schedule.next_deadline() && *schedule.next_deadline() <= kBegin + at) {
      now = std::max(now, *schedule.next_deadline() - kBegin);
      ProbeSchedule::Actions actions;
      schedule.on_tick(kBegin + now, actions);
      note(actions);
    }
    now = at;
    return *this;
  }
  Bench& answer(ProbeRole role, bool good, const std::string& why = "refused") {
    ProbeSchedule::Actions actions;
    schedule.on_answer(kPod, role, {good, good ? "" : why}, kBegin + now, actions);
    note(actions);
    return *this;
  }
  std::vector<std::string> said() { return std::exchange(said_, {}); }

  ProbeSchedule schedule;
  TimeUs now = 0;

 private:
  void note(const ProbeSchedule::Actions& actions) {
    for (const ProbeAction& action : actions) {
      if (const auto* ask = std::get_if<AskPod>(&action)) {
        EXPECT_EQ(ask->address, "10.88.1.2");
        said_.push_back("ask " + std::string(name_of(ask->role)) + " at " + std::to_string(now / 1000));
      }
      if (const auto* tell = std::get_if<TellReadiness>(&action)) {
        said_.push_back(tell->readiness.ready ? "ready" : "not ready: " + tell->readiness.message);
      }
      if (const auto* end = std::get_if<EndUnhealthy>(&action)) said_.push_back("end: " + end->why);
    }
  }
  std::vector<std::string> said_;
};

using Lines = std::vector<std::string>;

TEST(ProbeSchedule, APodWithoutProbesIsReadyAtOnce) {
  Bench bench({});
  EXPECT_EQ(bench.said(), Lines({"ready"}));
  EXPECT_FALSE(bench.schedule.next_deadline());
}

TEST(ProbeSchedule, ReadinessComesAndGoesWithItsProbe) {
  WatchedPod pod;
  pod.ready = http();
  pod.ready->delay_ms = 500;
  pod.ready->successes = 2;
  Bench bench(pod);
  EXPECT_EQ(bench.said(), Lines({"not ready: its readiness probe has not been good yet"}));
  EXPECT_EQ(bench.until(499'000).said(), Lines());
  EXPECT_EQ(bench.until(500'000).said(), Lines({"ask readiness at 500"}));
  EXPECT_EQ(bench.answer(ProbeRole::kReady, true).said(), Lines());  // one of two
  EXPECT_EQ(bench.until(1'500'000).answer(ProbeRole::kReady, true).said(), Lines({"ask readiness at 1500", "ready"}));
  for (int i = 0; i < 2; ++i) bench.until(bench.now + kOneSecond).answer(ProbeRole::kReady, false);
  EXPECT_EQ(bench.said(), Lines({"ask readiness at 2500", "ask readiness at 3500"}));
  bench.until(bench.now + kOneSecond).answer(ProbeRole::kReady, false, "GET http://10.88.1.2:80/: status 503");
  EXPECT_EQ(bench.said(), Lines({"ask readiness at 4500",
                                 "not ready: readiness probe failed: GET http://10.88.1.2:80/: status 503"}));
  // A failing readiness probe ends nobody, however often it fails.
  for (int i = 0; i < 10; ++i) bench.until(bench.now + kOneSecond).answer(ProbeRole::kReady, false);
  EXPECT_EQ(bench.said().size(), 10U);
}

TEST(ProbeSchedule, NobodyIsAskedWhileAnAnswerIsOutstanding) {
  WatchedPod pod;
  pod.ready = http(100);
  Bench bench(pod);
  bench.said();
  EXPECT_EQ(bench.until(kOneSecond).said(), Lines({"ask readiness at 0"}));
  bench.answer(ProbeRole::kReady, true);  // late: the next is asked at once, once
  EXPECT_EQ(bench.until(kOneSecond + 50'000).said(), Lines({"ready", "ask readiness at 1000"}));
}

TEST(ProbeSchedule, LivenessThatFailsInARowEndsThePod) {
  WatchedPod pod;
  pod.live = http();
  Bench bench(pod);
  EXPECT_EQ(bench.said(), Lines({"ready"}));
  bench.until(0).answer(ProbeRole::kLive, false);
  bench.until(kOneSecond).answer(ProbeRole::kLive, false);
  bench.until(2 * kOneSecond).answer(ProbeRole::kLive, true);  // not in a row
  bench.until(3 * kOneSecond).answer(ProbeRole::kLive, false);
  bench.until(4 * kOneSecond).answer(ProbeRole::kLive, false);
  bench.said();
  bench.until(5 * kOneSecond).answer(ProbeRole::kLive, false, "GET http://10.88.1.2:80/: connection refused");
  const std::string why = "liveness probe failed 3 times: GET http://10.88.1.2:80/: connection refused";
  EXPECT_EQ(bench.said(), Lines({"ask liveness at 5000", "not ready: " + why, "end: " + why}));
  EXPECT_FALSE(bench.schedule.next_deadline()) << "who has to end is asked nothing more";
  EXPECT_EQ(bench.answer(ProbeRole::kLive, false).said(), Lines());
}

TEST(ProbeSchedule, TheStartUpProbeHoldsBackTheOthers) {
  WatchedPod pod;
  pod.start = http(1000, 5);
  pod.ready = http();
  pod.live = http();
  pod.live->delay_ms = 3000;
  Bench bench(pod);
  EXPECT_EQ(bench.said(), Lines({"not ready: its start-up probe has not been good yet"}));
  bench.until(0).answer(ProbeRole::kStart, false);
  bench.until(kOneSecond).answer(ProbeRole::kStart, true);
  EXPECT_EQ(bench.said(), Lines({"ask start-up at 0", "ask start-up at 1000"}));
  EXPECT_EQ(bench.until(2 * kOneSecond).answer(ProbeRole::kReady, true).said(),
            Lines({"ask readiness at 1000", "ready"}));
  EXPECT_EQ(bench.until(3 * kOneSecond).said(), Lines({"ask readiness at 2000", "ask liveness at 3000"}));
}

TEST(ProbeSchedule, AStartUpProbeThatNeverPassesEndsThePod) {
  WatchedPod pod;
  pod.start = http(1000, 1);
  Bench bench(pod);
  bench.said();
  bench.until(0).answer(ProbeRole::kStart, false, "connect to 10.88.1.2:80: timed out");
  const std::string why = "start-up probe failed: connect to 10.88.1.2:80: timed out";
  EXPECT_EQ(bench.said(), Lines({"ask start-up at 0", "end: " + why}));
}

TEST(ProbeSchedule, WhoRanUnderAnotherAgentIsNotSaidToBeUnready) {
  WatchedPod pod;
  pod.ready = http();
  pod.ready->delay_ms = 60'000;
  pod.adopted = true;
  pod.started_at = -100 * kOneSecond;
  Bench bench(pod);
  EXPECT_EQ(bench.said(), Lines());
  EXPECT_TRUE(bench.schedule.readiness().empty());
  EXPECT_EQ(bench.until(0).answer(ProbeRole::kReady, true).said(), Lines({"ask readiness at 0", "ready"}));
  ASSERT_EQ(bench.schedule.readiness().size(), 1U);
  EXPECT_TRUE(bench.schedule.readiness()[0].ready);
  EXPECT_EQ(bench.schedule.readiness()[0].address, "10.88.1.2");
}

TEST(ProbeSchedule, WhatIsRemovedIsForgotten) {
  WatchedPod pod;
  pod.ready = http();
  Bench bench(pod);
  bench.said();
  bench.schedule.remove(kPod);
  EXPECT_FALSE(bench.schedule.next_deadline());
  EXPECT_EQ(bench.answer(ProbeRole::kReady, true).said(), Lines());
  EXPECT_TRUE(bench.schedule.readiness().empty());
}

}  // namespace
}  // namespace berth::agent
