// What people are told of what happened.
#include "scheduler/event_log.h"

#include <gtest/gtest.h>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;
using LogKind = EventRow::Kind;
using Texts = std::vector<std::string>;

class EventLogTest : public testing::Test {
 protected:
  EventPage page(ListEventsRequest request = {}, Caller caller = Harness::admin()) {
    return h.ask_for<EventPage>(std::move(request), std::move(caller));
  }
  // "! 12[3] failed, exit code 1"
  Texts texts(ListEventsRequest request = {}, Caller caller = Harness::admin()) {
    Texts out;
    for (const EventRow& row : page(std::move(request), std::move(caller)).rows) {
      out.push_back(std::string(row.warning ? "! " : "") + (row.object.empty() ? "" : row.object + " ") + row.text);
    }
    return out;
  }
  static ListEventsRequest about(LogKind kind, std::string object = "") {
    ListEventsRequest request;
    request.kind = kind;
    request.object = std::move(object);
    return request;
  }
  Harness h;
};

TEST_F(EventLogTest, NodesComeChangeAndGo) {
  FakeAgent& agent = h.join("n1");
  h.ask_for<Ok>(NodeActionRequest{NodeActionRequest::Action::kDrain, "n1", "new disks"});
  h.ask_for<Ok>(NodeActionRequest{NodeActionRequest::Action::kResume, "n1", ""});
  h.leave(agent);
  h.advance_ms(3'600'000);
  const Texts all = texts(about(LogKind::kNode));
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0], "n1 joined");
  EXPECT_EQ(all[1], "n1 is drained: new disks");
  EXPECT_EQ(all[2], "n1 is up");
  EXPECT_EQ(all[3].substr(0, 12), "! n1 is lost");
  EXPECT_EQ(texts(about(LogKind::kNode, "n2")), Texts{});
}

TEST_F(EventLogTest, AJobFromItsSubmissionToItsEnd) {
  FakeAgent& agent = h.join("n1");
  const JobId good = h.submit(single(), Harness::user(1000));
  const JobId bad = h.submit(single(), Harness::user(1000));
  h.start_all(agent);
  h.end(agent, {{good, 0}, 1});
  h.end(agent, {{bad, 0}, 1}, PodState::kFailed, 3);
  EXPECT_EQ(texts(about(LogKind::kJob)),
            (Texts{"1 'job' submitted by user1000 to queue default", "2 'job' submitted by user1000 to queue default",
                   "1 'job' succeeded", "! 2 'job' failed: exit code 3"}));
  EXPECT_EQ(texts(about(LogKind::kJob, "1")).size(), 2U);
  ListEventsRequest warnings = about(LogKind::kJob);
  warnings.warnings = true;
  EXPECT_EQ(texts(warnings), Texts{"! 2 'job' failed: exit code 3"});
}

TEST_F(EventLogTest, AnArrayTellsOfPodsThatDidNotEndWellAndOfItsEnd) {
  FakeAgent& agent = h.join("n1");
  JobSpec spec = array(3);
  const JobId id = h.submit(spec);
  h.start_all(agent);
  h.end(agent, {{id, 0}, 1});
  h.end(agent, {{id, 1}, 1}, PodState::kOutOfMemory);
  h.end(agent, {{id, 2}, 1});
  const std::string second = "1[" + std::to_string(h.job(id).spec.elements.at(1)) + "]";
  EXPECT_EQ(texts(about(LogKind::kJob, "1")),
            (Texts{"1 'job' submitted by root to queue default, 3 pods", "! " + second + " out-of-memory",
                   "! 1 'job' ended: 2 succeeded, 1 out-of-memory"}));
  EXPECT_EQ(texts(about(LogKind::kPod, second)).size(), 1U);
}

TEST_F(EventLogTest, AStormIsAFewRowsAndACount) {
  FakeAgent& agent = h.join("n1", {1'000'000, 1'000'000, 0});
  const JobId id = h.submit(array(500));
  h.start_all(agent);
  AgentStatus status;
  for (const auto& [ref, started] : agent.running) {
    PodEnd end;
    end.ref = ref;
    end.outcome.state = PodState::kFailed;
    end.outcome.exit_code = 1;
    status.ends.push_back(end);
  }
  h.turn({AgentReported{agent.session, std::move(status)}});
  EXPECT_FALSE(h.job(id).active());
  const Texts pods = texts(about(LogKind::kPod));
  ASSERT_EQ(pods.size(), EventLog::kRowsPerTurn + 1);
  EXPECT_EQ(pods.back(), "! 436 more pods did not end well");
  const Texts all = texts(about(LogKind::kJob));
  EXPECT_EQ(std::count(all.begin(), all.end(), "! 1 'job' ended: 500 failed"), 1);
}

TEST_F(EventLogTest, OthersSeeWhatIsTheirsAndWhatIsNobodys) {
  h.join("n1");
  h.submit(single(), Harness::user(1000));
  h.submit(single(), Harness::user(1001));
  EXPECT_EQ(texts({}, Harness::user(1001)), (Texts{"n1 joined", "2 'job' submitted by user1001 to queue default"}));
  EXPECT_EQ(texts().size(), 3U);
}

TEST_F(EventLogTest, WhoFollowsMissesNothingAndSeesNothingTwice) {
  h.join("n1");
  ListEventsRequest request;
  request.after = page().last;
  EXPECT_EQ(page(request).rows.size(), 0U);
  EXPECT_EQ(page(request).last, request.after);
  for (int i = 0; i < 5; ++i) h.submit(single());
  request.limit = 2;
  std::vector<std::uint64_t> numbers;
  for (int i = 0; i < 4; ++i) {
    const EventPage next = page(request);
    for (const EventRow& row : next.rows) numbers.push_back(row.number);
    request.after = next.last;
  }
  ASSERT_EQ(numbers.size(), 5U);
  EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
  EXPECT_EQ(std::set<std::uint64_t>(numbers.begin(), numbers.end()).size(), 5U);
  // A server that was started again knows nothing of before, and numbers go on.
  h.restart();
  const EventPage none = page(request);
  EXPECT_EQ(none.rows.size(), 0U);
  EXPECT_EQ(none.last, request.after);
  h.submit(single());
  EXPECT_EQ(page(request).rows.size(), 1U);
}

TEST(EventLogKept, TheOldestGoAndThatIsTold) {
  EventLog log(3);
  const Cluster cluster;
  for (std::uint64_t batch = 1; batch <= 5; ++batch) {
    const Event event = QueueRemoved{"q" + std::to_string(batch)};
    log.before(event, cluster);
    log.after(event, cluster);
    log.end_turn(batch, static_cast<TimeUs>(batch));
  }
  ListEventsRequest request;
  const EventPage newest = log.page(request, std::nullopt);
  ASSERT_EQ(newest.rows.size(), 3U);
  EXPECT_EQ(newest.rows[0].object, "q3");
  EXPECT_EQ(newest.rows[0].at, 3);
  request.after = 1;
  EXPECT_TRUE(log.page(request, std::nullopt).lost);
  EXPECT_EQ(log.page(request, std::nullopt).rows.size(), 3U);
  request.after = newest.rows[0].number;
  EXPECT_FALSE(log.page(request, std::nullopt).lost);
  EXPECT_EQ(log.page(request, std::nullopt).rows.size(), 2U);
}

TEST_F(EventLogTest, AServiceTellsWhatBecomesOfIt) {
  h.join("n1", {8000, 8192, 0});
  ServicePutRequest put;
  put.service.name = "web";
  put.service.status.replicas = 2;
  put.spec.request.resources = {1000, 100, 0};
  put.spec.launch = "v1";
  h.ask_for<ServiceDetail>(put);
  h.ask_for<ServiceDetail>(ServiceActionRequest{ServiceActionRequest::Action::kScale, "web", "", 3, 0});
  const Texts all = texts(about(LogKind::kService, "web"));
  ASSERT_GE(all.size(), 2U);
  EXPECT_EQ(all.front(), "web was created");
  EXPECT_EQ(std::count(all.begin(), all.end(), "web is scaled from 2 to 3 replicas"), 1);
  EXPECT_EQ(texts(about(LogKind::kJob)), Texts{}) << "replicas are told of as the service's";
}

}  // namespace
}  // namespace berth::scheduler
