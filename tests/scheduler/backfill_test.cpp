// Who may overtake whom: the promise to the first job that finds no room, on the core as a whole, and the forecast
// behind it against a brute-force search.
#include <gtest/gtest.h>
#include <random>

#include "scheduler/forecast.h"
#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

constexpr std::int64_t kHour = 3'600'000;

JobSpec limited(JobSpec spec, std::int64_t limit_ms, std::uint32_t cpu_milli = 1000) {
  spec.time_limit_ms = limit_ms;
  spec.request.resources = {cpu_milli, 16, 0};
  return spec;
}

CoreOptions with(const char* policy) {
  CoreOptions options;
  options.queueing = find_queue_policy(policy);
  return options;
}

bool runs(Harness& h, JobId id) { return h.job(id).counts.live() != 0; }

bool says(const Explanation& why, const std::string& words) {
  return std::any_of(why.lines.begin(), why.lines.end(),
                     [&](const std::string& line) { return line.find(words) != std::string::npos; });
}

TEST(Backfill, ShortJobsOvertakeAndLongOnesDoNot) {
  Harness h(with("easy"));
  h.join("n0", {4000, 1024, 0});
  h.join("n1", {4000, 1024, 0});
  const JobId runner = h.submit(limited(single(), kHour, 4000));
  ASSERT_TRUE(runs(h, runner));
  // Wants both nodes whole: promised for when the first has reached its limit.
  const JobId wide = h.submit(limited(gang(2, true), kHour, 4000));
  ASSERT_FALSE(runs(h, wide));
  const JobId quick = h.submit(limited(single(), kHour / 2, 1000));
  EXPECT_TRUE(runs(h, quick)) << "it is over before the promised time";
  const JobId slow = h.submit(limited(single(), 2 * kHour, 1000));
  EXPECT_FALSE(runs(h, slow)) << "it would run into the promised time";
  const JobId endless = h.submit(limited(single(), 0, 1000));
  EXPECT_FALSE(runs(h, endless));

  const auto why_wide = h.ask_for<Explanation>(ExplainRequest{wide, {}});
  EXPECT_TRUE(says(why_wide, "will have room at ")) << why_wide.summary;
  const auto why_slow = h.ask_for<Explanation>(ExplainRequest{slow, {}});
  EXPECT_NE(why_slow.summary.find("would run into what job " + std::to_string(wide.value) + " is promised at"),
            std::string::npos)
      << why_slow.summary;
}

TEST(Backfill, WhatIsNotPromisedIsForAnybody) {
  Harness h(with("easy"));
  h.join("n0", {4000, 1024, 0});
  h.join("n1", {4000, 1024, 0});
  h.join("n2", {4000, 1024, 0});
  const JobId runner = h.submit(limited(single(), kHour, 4000));
  const JobId other = h.submit(limited(single(), 2 * kHour, 2000));
  ASSERT_TRUE(runs(h, runner) && runs(h, other));
  // Three pods of three cores: one node has them now, one in an hour, one in two.
  const JobId wide = h.submit(limited(gang(3, true), kHour, 3000));
  ASSERT_FALSE(runs(h, wide));
  // A core is left on the node that is free now, beside what is promised there: for as long as anybody likes.
  const JobId endless = h.submit(limited(single(), 0, 1000));
  EXPECT_TRUE(runs(h, endless));
  const JobId another = h.submit(limited(single(), 0, 2000));
  EXPECT_FALSE(runs(h, another));
}

TEST(Backfill, AnEarlyEndMakesThePromiseAnew) {
  Harness h(with("easy"));
  FakeAgent& n0 = h.join("n0", {4000, 1024, 0});
  const JobId first = h.submit(limited(single(), kHour, 2000));
  const JobId second = h.submit(limited(single(), 3 * kHour, 2000));
  const JobId wide = h.submit(limited(single(), kHour, 4000));
  h.start_all(n0);
  ASSERT_TRUE(runs(h, first) && runs(h, second) && !runs(h, wide));
  h.end(n0, {{first, 0}, 1});
  // Promised in three hours now: one of two hours may run before.
  const JobId between = h.submit(limited(single(), 2 * kHour, 2000));
  EXPECT_TRUE(runs(h, between));
  h.start_all(n0);
  h.end(n0, {{second, 0}, 1});
  EXPECT_FALSE(runs(h, wide));
  // Now the promise is in two hours.
  const JobId late = h.submit(limited(single(), 2 * kHour + 60'000, 2000));
  EXPECT_FALSE(runs(h, late));
  h.end(n0, {{between, 0}, 1});
  EXPECT_TRUE(runs(h, wide));
}

TEST(Backfill, ThePromiseHoldsOverARestart) {
  Harness h(with("easy"));
  h.resend_allowed = true;
  FakeAgent agent = h.join("n0", {4000, 1024, 0});
  const JobId runner = h.submit(limited(single(), kHour, 2000));
  const JobId wide = h.submit(limited(single(), kHour, 4000));
  ASSERT_TRUE(runs(h, runner) && !runs(h, wide));
  h.restart();
  h.rejoin(agent, {4000, 1024, 0});
  const JobId slow = h.submit(limited(single(), 2 * kHour, 1000));
  EXPECT_FALSE(runs(h, slow));
  const JobId quick = h.submit(limited(single(), kHour / 2, 1000));
  EXPECT_TRUE(runs(h, quick));
}

TEST(Backfill, AJobThatItsOwnRulesKeepBackIsPromisedNothing) {
  Harness h(with("easy"));
  h.join("n0", {4000, 1024, 0});
  h.join("n1", {4000, 1024, 0});
  h.join("n2", {4000, 1024, 0});
  const JobId runner = h.submit(limited(single(), kHour, 4000));
  ASSERT_TRUE(runs(h, runner));
  // By amounts the other two nodes would hold three of its pods; one on each node, they do not.
  JobSpec apart = limited(gang(3), kHour, 1000);
  apart.request.labels = {"app=x"};
  apart.request.rules = {{PodRule::Kind::kApart, false, "app=x", "node", 1}};
  const JobId kept_back = h.submit(apart);
  ASSERT_FALSE(runs(h, kept_back));
  for (int i = 0; i < 2; ++i) {
    const JobId endless = h.submit(limited(single(), 0, 4000));
    EXPECT_TRUE(runs(h, endless)) << "no time that is known helps the gang, so nobody is kept back for it yet";
  }
}

TEST(Backfill, FcfsLetsNobodyPass) {
  Harness h(with("fcfs"));
  h.join("n0", {4000, 1024, 0});
  const JobId runner = h.submit(limited(single(), kHour, 2000));
  const JobId wide = h.submit(limited(single(), kHour, 4000));
  const JobId quick = h.submit(limited(single(), 1000, 1000));
  EXPECT_TRUE(runs(h, runner));
  EXPECT_FALSE(runs(h, wide));
  EXPECT_FALSE(runs(h, quick));
  const auto why = h.ask_for<Explanation>(ExplainRequest{quick, {}});
  EXPECT_EQ(why.summary, "waits behind job " + std::to_string(wide.value));
}

TEST(Backfill, ShortUsersGoFirstByDefaultButNotForEver) {
  Harness h;
  FakeAgent& n0 = h.join("n0", {1000, 1024, 0});
  const auto user = [](std::uint32_t uid) { return Harness::user(uid); };
  // User 1001's jobs take a second, user 1002's take an hour.
  const auto learn = [&](std::uint32_t uid, std::int64_t run_ms) {
    const JobId id = h.submit(limited(single(), 2 * kHour), user(uid));
    h.start_all(n0);
    h.advance_ms(run_ms);
    h.end(n0, {{id, 0}, 1});
  };
  learn(1001, 1000);
  learn(1002, kHour);
  const JobId blocker = h.submit(limited(single(), 2 * kHour), user(1002));
  h.start_all(n0);
  const JobId slow = h.submit(limited(single(), 2 * kHour), user(1002));
  const JobId quick = h.submit(limited(single(), 2 * kHour), user(1001));
  h.end(n0, {{blocker, 0}, 1});
  EXPECT_TRUE(runs(h, quick)) << "expected to be short, it goes first";
  h.start_all(n0);
  h.advance_ms(200 * kHour);
  const JobId later = h.submit(limited(single(), 2 * kHour), user(1001));
  h.end(n0, {{quick, 0}, 1});
  EXPECT_TRUE(runs(h, slow)) << "it has waited for long enough";
  EXPECT_FALSE(runs(h, later));
}

TEST(Backfill, ExpectedStartsComeTrueWhenEveryRunTakesItsLimit) {
  std::mt19937 random(21);
  const auto below = [&](std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random); };
  for (const char* policy : {"easy", "default", "fcfs"}) {
    int right = 0, all = 0;
    for (int round = 0; round < 8; ++round) {
      Harness h(with(policy));
      std::vector<std::uint64_t> agents;
      for (int n = 0; n < 3; ++n) agents.push_back(h.join("n" + std::to_string(n), {4000, 4096, 0}).session);
      std::vector<JobId> jobs;
      for (int i = 0; i < 25; ++i) {
        const std::int64_t limit_ms = 60'000 + below(1'800'000);  // hardly ever two alike
        JobSpec spec = below(4) == 0   ? gang(2 + below(2), below(2) == 0)
                       : below(3) == 0 ? array(1 + below(3))
                                       : single();
        jobs.push_back(h.submit(limited(spec, limit_ms, 1000 * (1 + below(4)))));
      }
      std::map<JobId, TimeUs> expected, started;
      for (const JobId id : jobs) {
        const auto why = h.ask_for<Explanation>(ExplainRequest{id, {}});
        if (why.state == PodState::kPending) expected[id] = why.expected_start;
      }
      ASSERT_FALSE(expected.empty());
      // Everything starts at once where it is placed, and runs for as long as it may; what ends together is told
      // together.
      std::map<TimeUs, std::map<std::uint64_t, AgentStatus>> ends;
      while (started.size() < expected.size()) {
        const TimeUs at_once = h.now();
        for (const std::uint64_t session : agents) {
          FakeAgent& agent = h.agent_at(session);
          const auto orders = h.orders_of(agent);
          for (const auto& [ref, order] : orders) {
            PodEnd end;
            end.ref = ref;
            end.outcome.state = PodState::kSucceeded;
            end.outcome.started_at = at_once;
            ends[at_once + order.time_limit_ms * 1000][session].ends.push_back(end);
            if (expected.contains(ref.pod.job)) started.try_emplace(ref.pod.job, at_once);
          }
          h.start_all(agent);
        }
        ASSERT_FALSE(ends.empty());
        const TimeUs at = ends.begin()->first;
        if (at > h.now()) h.advance_ms((at - h.now() + 999) / 1000);
        std::vector<Command> reports;
        for (auto& [session, status] : ends.begin()->second) {
          for (const PodEnd& end : status.ends) h.agent_at(session).running.erase(end.ref);
          reports.push_back(AgentReported{session, std::move(status)});
        }
        ends.erase(ends.begin());
        h.turn(std::move(reports));
      }
      for (const auto& [id, at] : expected) {
        ASSERT_NE(at, 0) << policy << " round " << round << " job " << id.value;
        ++all;
        right += std::abs(started[id] - at) < 1'000'000;
      }
      for (const JobId id : jobs) h.ask(CancelRequest{id, std::nullopt});
    }
    // Which nodes were promised to whom is history, which a look ahead does not know: it may see others overtake.
    if (std::string_view(policy) == "fcfs") {
      EXPECT_EQ(right, all);
    } else {
      EXPECT_GE(right, all * 8 / 10) << policy << ": " << right << " of " << all;
    }
  }
}

// ---- the forecast ---------------------------------------------------------------------------------------------------

TEST(Forecast, FindsTheFirstTimeThatABruteForceSearchFinds) {
  std::mt19937 random(7);
  const auto below = [&](std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random); };
  for (int round = 0; round < 400; ++round) {
    placement::Engine engine;
    Forecast forecast;
    struct Running {
      std::uint32_t node;
      TimeUs end;
      Resources resources;
    };
    std::vector<Running> running;
    const std::uint32_t nodes = 1 + below(5);
    std::vector<Resources> free;
    for (std::uint32_t n = 0; n < nodes; ++n) {
      const Resources capacity{1000 * (1 + below(8)), 1000 * (1 + below(4)), below(3)};
      engine.set_node(NodeId{n + 1}, capacity, std::vector<std::string>{});
      engine.set_connected(NodeId{n + 1}, true);
      free.push_back(capacity);
    }
    for (std::uint32_t i = 0; i < 20; ++i) {
      const std::uint32_t n = below(nodes);
      const Resources wanted{500 * (1 + below(4)), 100 * below(8), 0};
      if (wanted.cpu_milli > free[n].cpu_milli || wanted.mem_mib > free[n].mem_mib) continue;
      free[n] = {free[n].cpu_milli - wanted.cpu_milli, free[n].mem_mib - wanted.mem_mib, free[n].gpus};
      const TimeUs end = below(5) == 0 ? 0 : 1 + below(30);
      engine.claim(NodeId{n + 1}, wanted, 0);
      if (end == 0) continue;  // nobody knows when it ends
      running.push_back({n, end, wanted});
      forecast.add(NodeId{n + 1}, end, placement::amounts_of(wanted));
    }
    if (!running.empty() && below(2) == 0) {  // one is gone again
      const Running gone = running.back();
      running.pop_back();
      forecast.remove(NodeId{gone.node + 1}, gone.end, placement::amounts_of(gone.resources));
      engine.release(NodeId{gone.node + 1}, gone.resources, 0);
      free[gone.node].cpu_milli += gone.resources.cpu_milli;
      free[gone.node].mem_mib += gone.resources.mem_mib;
    }
    ASSERT_EQ(forecast.check_invariants(), "");
    Request request;
    request.resources = {500 * (1 + below(8)), 200 * below(6), below(4) == 0 ? 1U : 0U};
    const std::uint32_t pods = 1 + below(5);
    const bool distinct = below(2) == 0;
    const TimeUs now = below(10);

    const auto room_at = [&](TimeUs at) {
      std::vector<std::uint32_t> room;
      for (std::uint32_t n = 0; n < nodes; ++n) {
        Resources left = free[n];
        for (const Running& r : running) {
          if (r.node != n || std::max(r.end, now) > at) continue;
          left.cpu_milli += r.resources.cpu_milli;
          left.mem_mib += r.resources.mem_mib;
        }
        std::uint32_t here = 0;
        while (left.cpu_milli >= request.resources.cpu_milli && left.mem_mib >= request.resources.mem_mib &&
               left.gpus >= request.resources.gpus && here < (distinct ? 1U : pods)) {
          left = {left.cpu_milli - request.resources.cpu_milli, left.mem_mib - request.resources.mem_mib,
                  left.gpus - request.resources.gpus};
          ++here;
        }
        room.push_back(here);
      }
      return room;
    };
    std::int64_t expected = -1;
    for (TimeUs at = now; at <= 40 && expected < 0; ++at) {
      std::uint32_t total = 0;
      for (const std::uint32_t here : room_at(at)) total += here;
      if (total >= pods) expected = at;
    }
    std::uint32_t already = 0;  // with nothing ended at all
    for (std::uint32_t n = 0; n < nodes; ++n) {
      Resources left = free[n];
      std::uint32_t here = 0;
      while (left.cpu_milli >= request.resources.cpu_milli && left.mem_mib >= request.resources.mem_mib &&
             left.gpus >= request.resources.gpus && here < (distinct ? 1U : pods)) {
        left = {left.cpu_milli - request.resources.cpu_milli, left.mem_mib - request.resources.mem_mib,
                left.gpus - request.resources.gpus};
        ++here;
      }
      already += here;
    }
    if (already >= pods) expected = -1;
    Plan plan;
    const bool found = forecast.earliest(engine, request, pods, GangShape{0, 0, distinct ? 1U : 0U}, now, plan);
    ASSERT_EQ(found, expected >= 0) << "round " << round;
    if (!found) continue;
    ASSERT_EQ(plan.at, expected) << "round " << round;
    // What is left beside the promise is what is free then, less the promised pods: as many of these as were asked for.
    std::int64_t promised_milli = 0;
    for (const auto& part : plan.promised.parts) {
      const std::uint32_t n = part.node.value - 1;
      EXPECT_FALSE(plan.promised.others.test(n));
      std::int64_t free_then = free[n].cpu_milli;
      for (const Running& r : running) {
        if (r.node == n && std::max(r.end, now) <= plan.at) free_then += r.resources.cpu_milli;
      }
      EXPECT_GE(part.left.cpu_milli, 0);
      promised_milli += free_then - part.left.cpu_milli;
    }
    EXPECT_EQ(promised_milli, std::int64_t{request.resources.cpu_milli} * pods) << "round " << round;
  }
}

}  // namespace
}  // namespace berth::scheduler
