// What the core counts of itself; that its counts of pods are right is checked after every turn of every test.
#include <gtest/gtest.h>
#include <numeric>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

std::uint64_t total(const Spread& spread) {
  return std::accumulate(spread.counts.begin(), spread.counts.end(), std::uint64_t{0});
}
std::uint64_t of(const Figures& figures, const ClientRequest& request, std::size_t outcome) {
  return figures.requests[request.index()][outcome];
}

TEST(Figures, PodsAreFollowedFromTheQueueToTheirEnd) {
  Harness h;
  Queue queue;
  queue.name = "long";
  h.ask_for<Ok>(QueueActionRequest{false, queue});
  JobSpec spec = array(6);
  spec.queue = "long";
  const JobId id = h.submit(spec);
  Figures figures = h.core().figures();
  EXPECT_EQ(figures.pods_pending, 6U);
  using Queues = std::vector<std::pair<std::string, std::uint64_t>>;
  EXPECT_EQ(figures.queues, (Queues{{"default", 0}, {"long", 6}}));

  h.advance_ms(40);
  FakeAgent& node = h.join("n1");  // holds four
  figures = h.core().figures();
  EXPECT_EQ(figures.pods_pending, 2U);
  EXPECT_EQ(figures.pods_bound, 4U);
  EXPECT_EQ(figures.pods_running, 0U);
  EXPECT_EQ(figures.queues, (Queues{{"default", 0}, {"long", 2}}));
  EXPECT_EQ(total(figures.submit_to_bind), 4U);
  EXPECT_GE(figures.submit_to_bind.sum_us, 4 * 40'000U);
  EXPECT_LT(figures.submit_to_bind.sum_us, 4 * 41'000U);
  EXPECT_EQ(figures.nodes_connected[static_cast<std::size_t>(NodeState::kUp)], 1U);

  h.advance_ms(5);
  h.start_all(node);
  figures = h.core().figures();
  EXPECT_EQ(figures.pods_bound, 0U);
  EXPECT_EQ(figures.pods_running, 4U);
  EXPECT_EQ(total(figures.bind_to_start), 4U);
  EXPECT_GE(figures.bind_to_start.sum_us, 4 * 5'000U);
  EXPECT_LT(figures.bind_to_start.sum_us, 4 * 6'000U);
  EXPECT_EQ(total(figures.submit_to_start), 4U);

  h.end(node, {{id, 0}, 1});
  EXPECT_EQ(h.core().figures().pods_running, 3U);
  h.restart();
  figures = h.core().figures();
  EXPECT_EQ(figures.pods_running, 3U) << "a server that comes back counts what it finds";
  EXPECT_EQ(total(figures.submit_to_start), 0U);
  EXPECT_EQ(figures.nodes_away[static_cast<std::size_t>(NodeState::kUp)], 1U);
}

TEST(Figures, APodThatStartsAndEndsInOneReportIsCountedOnce) {
  Harness h;
  FakeAgent& node = h.join("n1");
  const JobId id = h.submit(single());
  node.running[{{id, 0}, 1}] = h.now() + 500;
  h.end(node, {{id, 0}, 1});
  const Figures figures = h.core().figures();
  EXPECT_EQ(figures.pods_running, 0U);
  EXPECT_EQ(figures.pods_bound, 0U);
  EXPECT_EQ(total(figures.bind_to_start), 1U);
  EXPECT_EQ(total(figures.submit_to_start), 1U);
}

TEST(Figures, RequestsAreCountedByHowTheyCameOut) {
  Harness h;
  h.submit(single());
  h.submit(single());
  JobSpec bad = single();
  bad.queue = "none";
  const Error refused = h.ask_refused(SubmitRequest{{bad}, 0, false});
  (void)h.ask_refused(CancelRequest{JobId{99}, {}});
  const Figures figures = h.core().figures();
  EXPECT_EQ(of(figures, SubmitRequest{}, 0), 2U);
  EXPECT_EQ(of(figures, SubmitRequest{}, static_cast<std::size_t>(refused.code)), 1U);
  EXPECT_EQ(of(figures, CancelRequest{}, 0), 0U);
  EXPECT_EQ(of(figures, CancelRequest{}, static_cast<std::size_t>(ErrorCode::kNotFound)), 1U);
}

TEST(Spread, HasEveryDurationInThePowerOfTwoAboveIt) {
  Latency latency;
  for (std::int64_t us = 0; us <= 5'000; ++us) latency.add(us);
  const Spread spread = latency.spread();
  EXPECT_EQ(spread.counts[0], 1U);  // 0
  EXPECT_EQ(spread.counts[1], 1U);  // 1
  for (std::size_t power = 2; power <= 12; ++power) EXPECT_EQ(spread.counts[power], std::uint64_t{1} << (power - 1));
  EXPECT_EQ(spread.counts[13], 5'000U - 4'095U);
  EXPECT_EQ(total(spread), 5'001U);
  EXPECT_EQ(spread.sum_us, 5'000U * 5'001U / 2);
}

}  // namespace
}  // namespace berth::scheduler
