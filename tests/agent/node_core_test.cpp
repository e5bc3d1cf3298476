// NodeCore: every way that a pod can go through a node, decided without a node.
#include "agent/core/node_core.h"

#include <csignal>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "state/launch.h"

namespace berth::agent {
namespace {

using namespace state;

constexpr TimeUs kSecond = 1'000'000;
constexpr TimeUs kNow = 1'700'000'000 * kSecond;

StartOrder order_of(std::uint64_t job, std::uint32_t pods, std::int64_t time_limit_ms = 0,
                    std::int64_t grace_ms = 5000) {
  Launch launch;
  launch.argv = {"true"};
  launch.cwd = "/";
  launch.grace_ms = grace_ms;
  StartOrder order;
  order.job = JobId{job};
  order.job_name = "test";
  order.resources = {1000, 512, 0};
  order.time_limit_ms = time_limit_ms;
  order.launch = encode_launch(launch);
  for (std::uint32_t e = 0; e < pods; ++e) order.pods.push_back({e, e, 1, 0});
  return order;
}

PodRef ref(std::uint64_t job, std::uint32_t element = 0, std::uint32_t attempt = 1) {
  return {{JobId{job}, element}, attempt};
}

// Drives a core and takes its actions apart; a test that leaves one unlooked-at fails.
class NodeCoreTest : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_TRUE(launches.empty());
    EXPECT_TRUE(signals.empty());
    EXPECT_TRUE(warnings.empty());
    EXPECT_TRUE(discards.empty());
    EXPECT_TRUE(starts.empty());
    EXPECT_TRUE(ends.empty());
  }
  void sort_out() {
    for (Action& action : actions) {
      if (auto* a = std::get_if<LaunchPod>(&action)) launches.push_back(a->ref);
      if (auto* a = std::get_if<SignalPod>(&action)) signals.push_back(*a);
      if (auto* a = std::get_if<WarnPod>(&action)) warnings.push_back(a->signal);
      if (auto* a = std::get_if<DiscardPod>(&action)) discards.push_back(a->ref);
      if (auto* a = std::get_if<SendStatus>(&action)) {
        starts.insert(starts.end(), a->status.starts.begin(), a->status.starts.end());
        ends.insert(ends.end(), a->status.ends.begin(), a->status.ends.end());
      }
    }
    actions.clear();
  }
  void start(const StartOrder& order) {
    core.on_start({{order}}, now, actions);
    sort_out();
  }
  void stop(const PodRef& pod, PodState as = PodState::kCancelled) {
    core.on_stop({{{pod, as}}}, now, actions);
    sort_out();
  }
  template <class Report>
  void shim(const Report& report) {
    core.on_shim(report, now, actions);
    sort_out();
  }
  void tick() {
    core.on_tick(now, actions);
    sort_out();
  }
  void forget(const PodRef& pod) {
    core.on_forget({{pod}}, actions);
    sort_out();
  }
  // A pod that runs, with nothing left to look at.
  void running(const StartOrder& order) {
    start(order);
    for (const PodRef& launched : std::exchange(launches, {})) shim(ShimStarted{launched, now});
    starts.clear();
  }
  ShimEnded ended(const PodRef& pod, int exit_code, int signal = 0) {
    ShimEnded report;
    report.ref = pod;
    report.started_at = kNow;
    report.ended_at = now;
    report.exit_code = exit_code;
    report.signal = signal;
    report.mem_peak_mib = 17;
    return report;
  }
  PodEnd only_end() {
    EXPECT_EQ(ends.size(), 1U);
    PodEnd end = ends.empty() ? PodEnd{} : ends[0];
    ends.clear();
    return end;
  }
  int only_signal() {
    EXPECT_EQ(signals.size(), 1U);
    const int signal = signals.empty() ? 0 : signals[0].signal;
    signals.clear();
    return signal;
  }

  NodeCore core;
  TimeUs now = kNow;
  std::vector<Action> actions;
  std::vector<PodRef> launches, discards;
  std::vector<SignalPod> signals;
  std::vector<int> warnings;
  std::vector<PodStart> starts;
  std::vector<PodEnd> ends;
};

TEST_F(NodeCoreTest, EachPodOfAnOrderIsLaunchedOnceAndReportedWhenItRuns) {
  start(order_of(1, 3));
  EXPECT_THAT(std::exchange(launches, {}), testing::ElementsAre(ref(1, 0), ref(1, 1), ref(1, 2)));
  EXPECT_EQ(core.running(), 3U);
  shim(ShimStarted{ref(1, 1), kNow + 7});
  ASSERT_EQ(starts.size(), 1U);
  EXPECT_EQ(starts[0].ref, ref(1, 1));
  EXPECT_EQ(std::exchange(starts, {})[0].started_at, kNow + 7);
  EXPECT_EQ(core.phase(ref(1, 0)), NodeCore::Phase::kLaunching);
  EXPECT_EQ(core.phase(ref(1, 1)), NodeCore::Phase::kRunning);
}

TEST_F(NodeCoreTest, AnAttemptThatIsSentTwiceIsLaunchedOnce) {
  start(order_of(1, 1));
  EXPECT_EQ(std::exchange(launches, {}).size(), 1U);
  start(order_of(1, 1));
  EXPECT_TRUE(launches.empty());
  shim(ShimStarted{ref(1), kNow});
  starts.clear();
  start(order_of(1, 1));
  EXPECT_EQ(std::exchange(starts, {}).size(), 1U) << "a running pod that is sent again says that it runs";
  shim(ended(ref(1), 0));
  ends.clear();
  start(order_of(1, 1));
  EXPECT_EQ(only_end().outcome.state, PodState::kSucceeded) << "an ended pod that is sent again says how it ended";
}

TEST_F(NodeCoreTest, ANewAttemptOfTheSamePodIsAnotherPod) {
  running(order_of(1, 1));
  shim(ended(ref(1), 1));
  ends.clear();
  StartOrder again = order_of(1, 1);
  again.pods[0].attempt = 2;
  start(again);
  EXPECT_THAT(std::exchange(launches, {}), testing::ElementsAre(ref(1, 0, 2)));
  EXPECT_EQ(core.latest_attempt({JobId{1}, 0}), ref(1, 0, 2));
  EXPECT_EQ(core.latest_attempt({JobId{2}, 0}), std::nullopt);
}

struct EndCase {
  const char* name;
  int exit_code, signal;
  bool oom;
  const char* failure;
  PodState state;
  int reported_code;
  const char* message;
};

class NodeCoreEnds : public NodeCoreTest, public testing::WithParamInterface<EndCase> {};

TEST_P(NodeCoreEnds, AnEndIsToldInStateCodeAndWords) {
  const EndCase& c = GetParam();
  running(order_of(1, 1));
  ShimEnded report = ended(ref(1), c.exit_code, c.signal);
  report.oom_killed = c.oom;
  report.failure = c.failure;
  report.mem_peak_mib = 512;
  shim(report);
  const PodEnd end = only_end();
  EXPECT_EQ(end.outcome.state, c.state);
  EXPECT_EQ(end.outcome.exit_code, c.reported_code);
  EXPECT_EQ(end.outcome.signal, c.signal);
  EXPECT_EQ(end.message, c.message);
  EXPECT_EQ(end.outcome.mem_peak_mib, 512U);
  EXPECT_EQ(core.running(), 0U);
}

INSTANTIATE_TEST_SUITE_P(
    Table, NodeCoreEnds,
    testing::Values(EndCase{"success", 0, 0, false, "", PodState::kSucceeded, 0, ""},
                    EndCase{"exit_code", 3, 0, false, "", PodState::kFailed, 3, ""},
                    EndCase{"signal", -1, SIGKILL, false, "", PodState::kFailed, 137, "killed by signal 9 (SIGKILL)"},
                    EndCase{"segv", -1, SIGSEGV, false, "", PodState::kFailed, 139, "killed by signal 11 (SIGSEGV)"},
                    EndCase{"memory", -1, SIGKILL, true, "", PodState::kOutOfMemory, 137,
                            "killed: out of memory, limit 512 MiB, peak 512 MiB"},
                    EndCase{"never_ran", -1, 0, false, "cannot execute 'x': No such file or directory",
                            PodState::kFailed, -1, "cannot execute 'x': No such file or directory"}),
    [](const auto& c) { return c.param.name; });

TEST_F(NodeCoreTest, APodThatIsStoppedGetsItsGraceAndThenNone) {
  running(order_of(1, 1, 0, 3000));
  stop(ref(1));
  EXPECT_EQ(only_signal(), SIGTERM);
  EXPECT_EQ(core.next_deadline(), now + 3 * kSecond);
  stop(ref(1));
  EXPECT_TRUE(signals.empty()) << "told once";
  now += 2 * kSecond;
  tick();
  EXPECT_TRUE(signals.empty());
  now += kSecond;
  tick();
  EXPECT_EQ(only_signal(), SIGKILL);
  EXPECT_EQ(core.next_deadline(), std::nullopt);
  shim(ended(ref(1), -1, SIGKILL));
  EXPECT_EQ(only_end().outcome.state, PodState::kCancelled);
}

TEST_F(NodeCoreTest, APodThatEndedByItselfBeforeItWasStoppedCountsAsItEnded) {
  running(order_of(1, 1));
  const ShimEnded report = ended(ref(1), 0);
  now += kSecond;
  stop(ref(1));
  signals.clear();
  shim(report);
  EXPECT_EQ(only_end().outcome.state, PodState::kSucceeded);
}

TEST_F(NodeCoreTest, APodThatIsStoppedBeforeItStartedEndsAsStopped) {
  start(order_of(1, 1));
  launches.clear();
  stop(ref(1));
  EXPECT_EQ(only_signal(), SIGTERM);
  ShimEnded never;
  never.ref = ref(1);
  shim(never);
  const PodEnd end = only_end();
  EXPECT_EQ(end.outcome.state, PodState::kCancelled);
  EXPECT_EQ(end.outcome.exit_code, -1);
  EXPECT_EQ(end.outcome.started_at, 0);
}

TEST_F(NodeCoreTest, AStopForAnUnknownPodIsReportedAsEndedAtOnce) {
  stop(ref(9));
  const PodEnd end = only_end();
  EXPECT_EQ(end.ref, ref(9));
  EXPECT_EQ(end.outcome.state, PodState::kCancelled);
  start(order_of(9, 1));
  EXPECT_TRUE(launches.empty()) << "the order that comes too late starts nothing";
  ends.clear();
  forget(ref(9));
  EXPECT_EQ(std::exchange(discards, {}).size(), 1U);
}

TEST_F(NodeCoreTest, APodOverItsTimeLimitIsStoppedAndSaysSo) {
  running(order_of(1, 1, 2000, 1000));
  EXPECT_EQ(core.next_deadline(), kNow + 2 * kSecond);
  now += 2 * kSecond;
  tick();
  EXPECT_EQ(only_signal(), SIGTERM);
  now += kSecond;
  tick();
  EXPECT_EQ(only_signal(), SIGKILL);
  shim(ended(ref(1), -1, SIGKILL));
  const PodEnd end = only_end();
  EXPECT_EQ(end.outcome.state, PodState::kTimedOut);
  EXPECT_THAT(end.message, testing::StartsWith("over its time limit of 2"));
}

TEST_F(NodeCoreTest, ATimeLimitCountsFromTheStartAlsoAfterTheAgentWasRestarted) {
  core.adopt(order_of(1, 1, 10'000), {0, 0, 1, 0}, kNow - 8 * kSecond);
  EXPECT_EQ(core.next_deadline(), kNow + 2 * kSecond);
  EXPECT_EQ(core.phase(ref(1)), NodeCore::Phase::kRunning);
}

StartOrder warned_order(std::int64_t time_limit_ms, std::int64_t warn_ms) {
  StartOrder order = order_of(1, 1, time_limit_ms, 1000);
  Launch launch;
  launch.argv = {"true"};
  launch.cwd = "/";
  launch.grace_ms = 1000;
  launch.warn_signal = SIGUSR1;
  launch.warn_ms = warn_ms;
  order.launch = encode_launch(launch);
  return order;
}

TEST_F(NodeCoreTest, AWarningComesOnceBeforeTheTimeLimit) {
  running(warned_order(60'000, 20'000));
  EXPECT_EQ(core.next_deadline(), kNow + 40 * kSecond);
  now += 40 * kSecond;
  tick();
  EXPECT_EQ(warnings, std::vector<int>{SIGUSR1});
  warnings.clear();
  EXPECT_EQ(core.next_deadline(), kNow + 60 * kSecond);
  now += 20 * kSecond;
  tick();
  EXPECT_EQ(only_signal(), SIGTERM);
}

TEST_F(NodeCoreTest, AWarningThatTheAgentBeforeSentIsNotSentAgain) {
  core.adopt(warned_order(60'000, 20'000), {0, 0, 1, 0}, kNow - 55 * kSecond);
  tick();
  EXPECT_TRUE(warnings.empty());
  EXPECT_EQ(core.next_deadline(), kNow + 5 * kSecond);
}

TEST_F(NodeCoreTest, APodThatAProbeCondemnsIsStoppedAndFailsForThatReason) {
  running(order_of(1, 1));
  const auto condemn = [&] {
    std::vector<Action> actions;
    core.on_unhealthy(ref(1), "liveness probe failed 3 times: no answer", now, actions);
    return actions;
  };
  const auto actions = condemn();
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(std::get<SignalPod>(actions[0]).signal, SIGTERM);
  EXPECT_EQ(std::get<SignalPod>(actions[0]).mark.state, PodState::kFailed);
  EXPECT_TRUE(condemn().empty()) << "once";
  shim(ended(ref(1), 0, 0));
  const PodEnd end = only_end();
  EXPECT_EQ(end.outcome.state, PodState::kFailed);
  EXPECT_EQ(end.message, "liveness probe failed 3 times: no answer");
  EXPECT_TRUE(condemn().empty());
}

TEST_F(NodeCoreTest, AStopIsRememberedAcrossARestart) {
  core.adopt(order_of(1, 1, 10'000, 4000), {0, 0, 1, 0}, kNow - 8 * kSecond,
             StopMark{PodState::kCancelled, kNow - kSecond});
  EXPECT_EQ(core.next_deadline(), kNow + 3 * kSecond) << "the rest of its grace";
  shim(ended(ref(1), -1, SIGTERM));
  EXPECT_EQ(only_end().outcome.state, PodState::kCancelled);
}

TEST_F(NodeCoreTest, APodKilledAtItsLimitWhileNoAgentLookedCountsAsTimedOut) {
  core.adopt(order_of(1, 1, 1000), {0, 0, 1, 0}, kNow);
  now += 2 * kSecond;
  shim(ended(ref(1), -1, SIGTERM));
  EXPECT_EQ(only_end().outcome.state, PodState::kTimedOut);
}

TEST_F(NodeCoreTest, OutOfMemoryComesBeforeAStop) {
  running(order_of(1, 1));
  stop(ref(1));
  signals.clear();
  ShimEnded report = ended(ref(1), -1, SIGKILL);
  report.oom_killed = true;
  shim(report);
  EXPECT_EQ(only_end().outcome.state, PodState::kOutOfMemory);
}

TEST_F(NodeCoreTest, AShimThatDiedIsAFailureAndARebootALostNode) {
  running(order_of(1, 2));
  shim(ShimVanished{ref(1, 0), false});
  PodEnd end = only_end();
  EXPECT_EQ(end.outcome.state, PodState::kFailed);
  EXPECT_EQ(end.message, "the pod's shim died");
  shim(ShimVanished{ref(1, 1), true});
  end = only_end();
  EXPECT_EQ(end.outcome.state, PodState::kNodeLost);
  EXPECT_EQ(end.message, "the node rebooted");
  EXPECT_EQ(end.outcome.started_at, kNow);
}

TEST_F(NodeCoreTest, AnEndIsToldAgainUntilTheServerSaysToForgetIt) {
  running(order_of(1, 2));
  shim(ended(ref(1, 0), 0));
  ends.clear();
  EXPECT_EQ(core.unacknowledged().ends.size(), 1U);
  auto known = core.known_pods();
  ASSERT_EQ(known.size(), 2U);
  EXPECT_FALSE(known[0].running);
  EXPECT_TRUE(known[1].running);
  EXPECT_EQ(known[1].started_at, kNow);
  forget(ref(1, 0));
  EXPECT_THAT(std::exchange(discards, {}), testing::ElementsAre(ref(1, 0)));
  EXPECT_TRUE(core.unacknowledged().ends.empty());
  EXPECT_EQ(core.known_pods().size(), 1U);
}

TEST_F(NodeCoreTest, ARunningPodIsNotForgotten) {
  running(order_of(1, 1));
  forget(ref(1));
  EXPECT_EQ(core.phase(ref(1)), NodeCore::Phase::kRunning);
}

TEST_F(NodeCoreTest, ReportsOfUnknownOrEndedPodsChangeNothing) {
  shim(ShimStarted{ref(5), kNow});
  shim(ended(ref(5), 0));
  shim(ShimVanished{ref(5), false});
  running(order_of(1, 1));
  shim(ended(ref(1), 4));
  ends.clear();
  shim(ended(ref(1), 0));
  shim(ShimVanished{ref(1), false});
  shim(ShimStarted{ref(1), kNow});
  EXPECT_EQ(core.unacknowledged().ends[0].outcome.exit_code, 4);
}

TEST_F(NodeCoreTest, ALaunchThatCannotBeReadStillGetsItsOwnLife) {
  StartOrder order = order_of(1, 1);
  order.launch = "garbage";
  start(order);
  EXPECT_EQ(std::exchange(launches, {}).size(), 1U);
  ShimEnded report;
  report.ref = ref(1);
  report.failure = "the job's launch description cannot be read";
  shim(report);
  EXPECT_EQ(only_end().message, report.failure);
}

}  // namespace
}  // namespace berth::agent
