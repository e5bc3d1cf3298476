// Services: the controller in the core, against fake agents.
#include <gtest/gtest.h>
#include <random>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

struct ServicesBench {
  Harness h;

  void nodes_join(int count, Resources capacity = {8000, 8192, 0}) {
    for (int i = 1; i <= count; ++i) h.join("n" + std::to_string(i), capacity);
  }
  static ServicePutRequest web(std::uint32_t replicas, const std::string& launch = "v1") {
    ServicePutRequest put;
    put.service.name = "web";
    put.service.status.replicas = replicas;
    put.service.update.monitor_ms = 1000;
    put.service.rollback.monitor_ms = 1000;
    put.spec.request.resources = {1000, 100, 0};
    put.spec.launch = launch;
    return put;
  }
  ServiceDetail put(ServicePutRequest request, Caller caller = Harness::admin()) {
    return h.ask_for<ServiceDetail>(std::move(request), std::move(caller));
  }
  ServiceDetail show(const std::string& name = "web") { return h.ask_for<ServiceDetail>(ShowServiceRequest{name, ""}); }
  ServiceDetail act(ServiceActionRequest::Action action, std::uint32_t replicas = 0, std::uint32_t revision = 0) {
    return h.ask_for<ServiceDetail>(ServiceActionRequest{action, "web", "", replicas, revision});
  }
  const Service& service(const std::string& name = "web") { return *h.cluster().service_by_name("default", name); }

  // Live replicas by slot: (revision, ready, stopping).
  struct Live {
    PodRef ref;
    std::uint32_t slot = 0, revision = 0;
    bool ready = false, stopping = false, running = false;
    std::string launch;
    NodeId node;
  };
  std::vector<Live> live() {
    std::vector<Live> out;
    for (const auto& [id, pod] : h.cluster().live_pods()) {
      const Job& job = h.job(id.job);
      if (!job.spec.is_replica()) continue;
      out.push_back({pod.ref, job.spec.replica.slot, job.spec.replica.revision, pod.ready, pod.stopping,
                     pod.state == PodState::kRunning, job.spec.launch, pod.node});
    }
    std::sort(out.begin(), out.end(),
              [](const Live& a, const Live& b) { return std::pair(a.slot, a.ref) < std::pair(b.slot, b.ref); });
    return out;
  }
  FakeAgent& agent_of(NodeId node) {
    const std::string& name = h.cluster().node(node)->info.name;
    for (std::uint64_t session = 101; session < 400; ++session) {
      if (FakeAgent* agent = h.find_agent(session); agent != nullptr && agent->name == name && agent->welcomed) {
        return *agent;
      }
    }
    throw std::logic_error("no agent");
  }
  void say_ready(const Live& pod, bool ready = true) {
    AgentStatus status;
    status.readiness.push_back({pod.ref, ready, "10.1.0." + std::to_string(pod.slot), ready ? "" : "GET /: refused"});
    h.turn({AgentReported{agent_of(pod.node).session, std::move(status)}});
  }
  void end(const Live& pod, PodState how, int code = 1) { h.end(agent_of(pod.node), pod.ref, how, code); }
  // Agents do what they are told until nothing is left to do: start (those whose launch is in `bad` never become
  // ready), stop. `each`: after every step.
  template <class Each>
  void settle(Each&& each, const std::string& bad = "-", std::int64_t for_ms = 20'000) {
    for (std::int64_t at = 0; at < for_ms; at += 100) {
      for (const auto& [id, node] : h.cluster().nodes()) {
        if (node.state == NodeState::kLost) continue;
        h.start_all(agent_of(id));
        each();
      }
      for (const Live& pod : live()) {
        if (pod.stopping) {
          end(pod, PodState::kCancelled, -1);
        } else if (!pod.ready && pod.running && pod.launch != bad) {
          say_ready(pod);
        }
        each();
      }
      h.advance_ms(100);
      each();
    }
  }
  void settle(const std::string& bad = "-", std::int64_t for_ms = 20'000) {
    settle([] {}, bad, for_ms);
  }
  std::uint32_t ready_now() {
    std::uint32_t count = 0;
    for (const Live& pod : live()) count += pod.ready && !pod.stopping ? 1 : 0;
    return count;
  }
};

struct ServicesTest : testing::Test, ServicesBench {};

TEST_F(ServicesTest, ThreeCopiesRunOnDifferentNodesAndAreMended) {
  nodes_join(3);
  const ServiceDetail made = put(web(3));
  EXPECT_TRUE(made.changed);
  settle();
  auto pods = live();
  ASSERT_EQ(pods.size(), 3U);
  std::set<NodeId> where;
  for (const Live& pod : pods) where.insert(pod.node);
  EXPECT_EQ(where.size(), 3U);
  EXPECT_EQ(h.job(pods[1].ref.pod.job).spec.name, "web.2");
  EXPECT_EQ(show().row.ready, 3U);

  end(pods[1], PodState::kFailed, 7);
  pods = live();  // another has been bound in the same turn
  ASSERT_EQ(pods.size(), 3U);
  EXPECT_EQ(pods[1].slot, 2U);
  EXPECT_FALSE(pods[1].ready);
  settle();
  EXPECT_EQ(ready_now(), 3U);
  const ServiceDetail after = show();
  ASSERT_EQ(after.replicas.size(), 4U);  // with the one that failed
  EXPECT_EQ(after.replicas[2].message, "exit code 7");
}

TEST_F(ServicesTest, WhatIsPutAgainChangesNothing) {
  nodes_join(2);
  put(web(2));
  settle();
  const std::uint64_t before = h.cluster().applied_index();
  EXPECT_FALSE(put(web(2)).changed);
  EXPECT_EQ(h.cluster().applied_index(), before);
}

TEST_F(ServicesTest, ScalesUpDownAndToNothing) {
  nodes_join(2);
  put(web(2));
  settle();
  act(ServiceActionRequest::Action::kScale, 5);
  settle();
  EXPECT_EQ(ready_now(), 5U);
  act(ServiceActionRequest::Action::kScale, 1);
  settle();
  auto pods = live();
  ASSERT_EQ(pods.size(), 1U);
  EXPECT_EQ(pods[0].slot, 1U);
  act(ServiceActionRequest::Action::kScale, 0);
  settle();
  EXPECT_TRUE(live().empty());
  EXPECT_EQ(show().row.wanted, 0U);
}

TEST_F(ServicesTest, ARemovedServiceTakesItsReplicasWithIt) {
  nodes_join(1, {2000, 8192, 0});
  put(web(3));  // one of them waits
  settle();
  EXPECT_EQ(live().size(), 2U);
  act(ServiceActionRequest::Action::kRemove);
  EXPECT_NE(h.ask_refused(web(1)).message.find("is being removed"), std::string::npos);
  settle();
  EXPECT_TRUE(live().empty());
  EXPECT_EQ(h.cluster().service_by_name("default", "web"), nullptr);
  EXPECT_EQ(h.ask_refused(ShowServiceRequest{"web", ""}).code, ErrorCode::kNotFound);
  put(web(1));
  settle();
  EXPECT_EQ(ready_now(), 1U);
}

TEST_F(ServicesTest, RollsOneByOneWithoutGoingBelow) {
  nodes_join(4);
  ServicePutRequest first = web(4);
  first.service.update.start_first = true;
  put(first);
  settle();
  ServicePutRequest second = first;
  second.spec.launch = "v2";
  EXPECT_EQ(put(second).row.service.status.rollout, Rollout::kRolling);
  std::size_t most = 0;
  settle([&] {
    EXPECT_GE(ready_now(), 4U);
    most = std::max(most, live().size());
  });
  EXPECT_EQ(most, 5U);
  EXPECT_EQ(ready_now(), 4U);
  for (const Live& pod : live()) EXPECT_EQ(pod.revision, 2U);
  EXPECT_EQ(service().status.rollout, Rollout::kNone);
  EXPECT_EQ(show().row.updated, 4U);
}

TEST_F(ServicesTest, StopFirstNeverHasMoreThanWanted) {
  nodes_join(4);
  ServicePutRequest first = web(4);
  first.service.update.parallelism = 2;
  put(first);
  settle();
  ServicePutRequest second = first;
  second.spec.launch = "v2";
  put(second);
  std::uint32_t least = 4;
  settle([&] {
    EXPECT_LE(live().size(), 4U);
    least = std::min(least, ready_now());
  });
  EXPECT_EQ(least, 2U);
  for (const Live& pod : live()) EXPECT_EQ(pod.revision, 2U);
  EXPECT_EQ(service().status.rollout, Rollout::kNone);
}

TEST_F(ServicesTest, ABadVersionRollsItselfBack) {
  nodes_join(4);
  ServicePutRequest first = web(3);
  first.service.update.start_first = true;
  first.service.update.on_failure = UpdatePolicy::OnFailure::kRollback;
  first.service.update.ready_within_ms = 3000;
  put(first);
  settle();
  ServicePutRequest bad = first;
  bad.spec.launch = "bad";
  put(bad);
  settle([&] { EXPECT_GE(ready_now(), 3U); }, "bad");
  EXPECT_EQ(service().status.rollout, Rollout::kRolledBack);
  EXPECT_EQ(service().status.message,
            "rolled back to revision 1: replica web.1 of revision 2 was not ready within 3 s");
  EXPECT_EQ(live().size(), 3U);
  for (const Live& pod : live()) EXPECT_EQ(pod.revision, 1U);
}

TEST_F(ServicesTest, ACrashingVersionPausesAndResumes) {
  nodes_join(3);
  ServicePutRequest first = web(3);
  put(first);
  settle();
  ServicePutRequest bad = first;
  bad.spec.launch = "bad";
  put(bad);
  for (int i = 0; i < 200 && service().status.rollout == Rollout::kRolling; ++i) {
    for (const auto& [id, node] : h.cluster().nodes()) h.start_all(agent_of(id));
    for (const Live& pod : live()) {
      if (pod.stopping) {
        end(pod, PodState::kCancelled, -1);
      } else if (pod.running && pod.launch == "bad") {
        end(pod, PodState::kFailed, 3);
      }
    }
    h.advance_ms(100);
  }
  EXPECT_EQ(service().status.rollout, Rollout::kPaused);
  EXPECT_EQ(service().status.message, "the update is paused: replica web.1 of revision 2 failed: exit code 3");
  EXPECT_EQ(ready_now(), 2U);
  act(ServiceActionRequest::Action::kRollback);
  settle();
  EXPECT_EQ(ready_now(), 3U);
  EXPECT_EQ(service().status.rollout, Rollout::kRolledBack);
  for (const Live& pod : live()) EXPECT_EQ(pod.launch, "v1");
}

TEST_F(ServicesTest, FailuresWaitLongerAndLonger) {
  nodes_join(1);
  put(web(1));
  std::vector<TimeUs> starts;
  std::set<PodRef> seen;
  for (int i = 0; i < 400; ++i) {
    h.start_all(agent_of(NodeId{1}));
    for (const Live& pod : live()) {
      if (!seen.insert(pod.ref).second) continue;
      starts.push_back(h.now());
      end(pod, PodState::kFailed, 1);
    }
    h.advance_ms(100);
  }
  ASSERT_GE(starts.size(), 6U);  // at once, then after 1, 2, 4, 8 and 16 s
  for (std::size_t i = 2; i < 6; ++i) {
    const double waited = static_cast<double>(starts[i] - starts[i - 1]) / 1e6;
    EXPECT_NEAR(waited, 1 << (i - 2), 0.3);
  }
  const ServiceDetail detail = show();
  EXPECT_NE(detail.replicas.back().message.find("exit code 1"), std::string::npos);
}

TEST_F(ServicesTest, RestartPoliciesAreKept) {
  nodes_join(1);
  ServicePutRequest once = web(2);
  once.service.restart.when = RestartPolicy::When::kOnFailure;
  once.service.restart.attempts_max = 2;
  once.service.restart.delay_ms = 0;
  put(once);
  h.start_all(agent_of(NodeId{1}));
  auto pods = live();
  ASSERT_EQ(pods.size(), 2U);
  end(pods[0], PodState::kSucceeded, 0);
  h.advance_ms(100);
  ASSERT_EQ(live().size(), 1U);
  for (int i = 0; i < 2; ++i) {
    h.start_all(agent_of(NodeId{1}));
    ASSERT_EQ(live().size(), 1U);
    end(live()[0], PodState::kFailed, 9);
    h.advance_ms(100);
  }
  h.advance_ms(60'000);
  EXPECT_TRUE(live().empty());
  EXPECT_EQ(service().status.done, (std::vector<std::uint32_t>{1, 2}));
  EXPECT_EQ(service().status.message,
            "replica web.2 of revision 1 failed: exit code 9, 2 times in a row: it is given up");
}

TEST_F(ServicesTest, ALostNodesReplicasRunElsewhereAndDoNotComeTwice) {
  nodes_join(3);
  put(web(3));
  settle();
  auto pods = live();
  FakeAgent& gone = agent_of(pods[0].node);
  const FakeAgent was = gone;
  h.leave(gone);
  EXPECT_EQ(ready_now(), 3U);  // not known to be lost yet
  h.advance_ms(31'000);
  pods = live();
  ASSERT_EQ(pods.size(), 3U);
  for (const Live& pod : pods) EXPECT_NE(h.cluster().node(pod.node)->info.name, was.name);
  settle();
  EXPECT_EQ(ready_now(), 3U);
  FakeAgent& back = h.rejoin(was, {8000, 8192, 0});
  ASSERT_EQ(back.stopped.size(), was.stopped.size() + 1);  // what it still ran is stopped
  settle();
  EXPECT_EQ(live().size(), 3U);
}

TEST_F(ServicesTest, ADrainMovesReplicasFirst) {
  nodes_join(3);
  put(web(3));
  settle();
  const std::string drained = h.cluster().node(live()[0].node)->info.name;
  h.ask_for<Ok>(NodeActionRequest{NodeActionRequest::Action::kDrain, drained, "maintenance"});
  settle([&] { EXPECT_GE(ready_now(), 3U); });
  EXPECT_EQ(live().size(), 3U);
  for (const Live& pod : live()) EXPECT_NE(h.cluster().node(pod.node)->info.name, drained);
}

TEST_F(ServicesTest, ADrainRightAfterTheStartIsNotForgotten) {
  nodes_join(2);
  put(web(2));
  h.start_all(agent_of(NodeId{1}));
  h.start_all(agent_of(NodeId{2}));
  for (const Live& pod : live()) say_ready(pod);
  // Ready, and not for long enough yet: the move waits for that, and for nothing else.
  const std::string drained = h.cluster().node(live()[0].node)->info.name;
  h.ask_for<Ok>(NodeActionRequest{NodeActionRequest::Action::kDrain, drained, ""});
  settle();
  EXPECT_EQ(live().size(), 2U);
  for (const Live& pod : live()) EXPECT_NE(h.cluster().node(pod.node)->info.name, drained);
}

TEST_F(ServicesTest, OneOnEveryNode) {
  h.join("n1", {8000, 8192, 0}, {"disk=ssd"});
  h.join("n2", {8000, 8192, 0});
  ServicePutRequest everywhere = web(1);
  everywhere.service.per_node = true;
  everywhere.spec.request.where = "disk=ssd";
  put(everywhere);
  settle();
  EXPECT_EQ(live().size(), 1U);
  EXPECT_EQ(h.job(live()[0].ref.pod.job).spec.name, "web.n1");
  h.join("n3", {8000, 8192, 0}, {"disk=ssd"});
  settle();
  EXPECT_EQ(live().size(), 2U);
  h.ask_for<Ok>(NodeActionRequest{NodeActionRequest::Action::kDrain, "n1", "x"});
  settle();
  ASSERT_EQ(live().size(), 1U);
  h.ask_for<Ok>(NodeActionRequest{NodeActionRequest::Action::kResume, "n1", ""});
  settle();
  EXPECT_EQ(live().size(), 2U);
}

TEST_F(ServicesTest, SurvivesARestartInTheMiddleOfARollout) {
  nodes_join(4);
  ServicePutRequest first = web(4);
  first.service.update.start_first = true;
  put(first);
  settle();
  ServicePutRequest second = first;
  second.spec.launch = "v2";
  put(second);
  settle("-", 1500);
  h.restart();
  std::vector<FakeAgent> agents;
  for (std::uint64_t session = 101; session <= 104; ++session) agents.push_back(*h.find_agent(session));
  for (FakeAgent& agent : agents) h.rejoin(agent, {8000, 8192, 0});
  settle([&] { EXPECT_GE(ready_now(), 4U); });
  EXPECT_EQ(live().size(), 4U);
  for (const Live& pod : live()) EXPECT_EQ(pod.revision, 2U);
  EXPECT_EQ(service().status.rollout, Rollout::kNone);
}

TEST_F(ServicesTest, ReadyPodsAreToldToNodesThatWantIt) {
  NodeInfo info;
  info.name = "net";
  info.capacity = {8000, 8192, 0};
  info.instance = "i";
  h.turn({AgentConnected{300, {info, {}, true}}});
  ASSERT_FALSE(h.network.empty());
  EXPECT_TRUE(h.network[0].all);
  ASSERT_EQ(h.network[0].peers.size(), 1U);
  EXPECT_EQ(h.network[0].peers[0].subnet, "10.128.0.0/24");
  h.network.clear();
  FakeAgent& agent = h.name_agent(300, "net");
  ServicePutRequest with_port = web(1);
  with_port.service.ports.push_back({"", 80, 8080, 30080, Protocol::kTcp});
  const ServiceDetail made = put(with_port);
  EXPECT_EQ(made.row.service.address, "10.144.0.1");
  h.start_all(agent);
  h.advance_ms(100);
  ASSERT_FALSE(h.network.empty());
  EXPECT_TRUE(h.network.back().services.at(0).endpoints.empty());
  say_ready(live()[0]);
  h.advance_ms(100);
  ASSERT_EQ(h.network.back().services.size(), 1U);
  const ServiceRoute& route = h.network.back().services[0];
  ASSERT_EQ(route.endpoints.size(), 1U);
  EXPECT_EQ(route.endpoints[0].address, "10.1.0.1");
  EXPECT_EQ(route.endpoints[0].name, "web.1");
  EXPECT_EQ(route.ports.at(0).target, 8080);
  say_ready(live()[0], false);
  h.advance_ms(100);
  EXPECT_TRUE(h.network.back().services.at(0).endpoints.empty());
  EXPECT_EQ(show().replicas.at(0).message, "GET /: refused");
  const std::size_t told = h.network.size();
  for (int i = 0; i < 10; ++i) h.advance_ms(1000);
  EXPECT_EQ(h.network.size(), told);  // nothing changed, nothing is told

  ServicePutRequest other = with_port;
  other.service.name = "other";
  EXPECT_EQ(h.ask_refused(other).message, "port 30080/tcp is published by service 'web'");
  act(ServiceActionRequest::Action::kRemove);
  settle();
  EXPECT_EQ(h.network.back().services_removed, (std::vector<ServiceId>{made.row.service.id}));
}

TEST_F(ServicesTest, ClientsAreLedAwayBeforeAReplicaIsStopped) {
  for (const std::uint64_t session : {300, 301}) {
    NodeInfo info;
    info.name = "net" + std::to_string(session);
    info.capacity = {8000, 8192, 0};
    h.turn({AgentConnected{session, {info, {}, true}}});
    h.name_agent(session, info.name);
  }
  const auto hold = [&](std::uint64_t session, std::uint64_t number) {
    AgentStatus status;
    status.network = number;
    h.turn({AgentReported{session, std::move(status)}});
  };
  ServicePutRequest request = web(1);
  request.service.ports.push_back({"", 80, 8080, 0, Protocol::kTcp});
  put(request);
  settle();
  FakeAgent& agent = agent_of(live()[0].node);
  act(ServiceActionRequest::Action::kScale, 0);
  h.advance_ms(100);
  ASSERT_EQ(live().size(), 1U);
  EXPECT_TRUE(live()[0].stopping);
  EXPECT_TRUE(h.network.back().services.at(0).endpoints.empty());
  EXPECT_TRUE(agent.stopped.empty());
  hold(300, h.network.back().number);
  EXPECT_TRUE(agent.stopped.empty());  // the other still leads there
  hold(301, h.network.back().number - 1);
  EXPECT_TRUE(agent.stopped.empty());
  hold(301, h.network.back().number);
  EXPECT_EQ(agent.stopped.size(), 1U);
  settle();
  EXPECT_TRUE(live().empty());
  // A node that does not answer holds nothing up for long.
  act(ServiceActionRequest::Action::kScale, 1);
  settle();
  agent.stopped.clear();
  act(ServiceActionRequest::Action::kScale, 0);
  h.advance_ms(4900);
  EXPECT_TRUE(agent_of(live()[0].node).stopped.empty());
  h.advance_ms(200);
  EXPECT_EQ(agent_of(live()[0].node).stopped.size(), 1U);
}

TEST_F(ServicesTest, RefusesWhatCannotBe) {
  nodes_join(1);
  const auto refused = [&](auto change) {
    ServicePutRequest request = web(1);
    change(request);
    return h.ask_refused(std::move(request)).message;
  };
  EXPECT_NE(refused([](auto& r) { r.service.name = "Web_1"; }).find("as in DNS"), std::string::npos);
  EXPECT_NE(refused([](auto& r) { r.service.space = "-"; }).find("namespace"), std::string::npos);
  EXPECT_NE(refused([](auto& r) { r.service.status.replicas = 100'001; }).find("at most 100,000"), std::string::npos);
  EXPECT_NE(refused([](auto& r) { r.spec.time_limit_ms = 1000; }).find("no time limit"), std::string::npos);
  EXPECT_NE(refused([](auto& r) { r.spec.kind = JobKind::kArray; }).find("single pod"), std::string::npos);
  EXPECT_NE(refused([](auto& r) { r.spec.request.resources.cpu_milli = 99'000; }).find("no node could"),
            std::string::npos);
  EXPECT_NE(refused([](auto& r) {
              r.service.ports.push_back({"", 80, 0, 0, Protocol::kTcp});
              r.service.ports.push_back({"", 80, 0, 0, Protocol::kTcp});
            }).find("given twice"),
            std::string::npos);
  EXPECT_TRUE(h.cluster().services().empty());
  put(web(1), Harness::user(7));
  EXPECT_EQ(h.ask_refused(web(2), Harness::user(8)).code, ErrorCode::kDenied);
  EXPECT_EQ(
      h.ask_refused(ServiceActionRequest{ServiceActionRequest::Action::kScale, "web", "", 3, 0}, Harness::user(8)).code,
      ErrorCode::kDenied);
  ServicePutRequest create = web(1);
  create.mode = ServicePutRequest::Mode::kCreate;
  EXPECT_EQ(h.ask_refused(create).message, "there is a service 'web' already");
  EXPECT_EQ(h.ask_for<JobPage>(ListJobsRequest{}).rows.size(), 0U);  // replicas are not among the jobs
  ListJobsRequest of;
  of.filter.replicas_of = service().id;
  EXPECT_EQ(h.ask_for<JobPage>(of).rows.size(), 1U);
}

// Whatever happens, it converges: crashes, lost nodes, updates, scaling, restarts of the server, in random order. On
// the way never more than wanted plus the surge, and with start-first and no faults never fewer than wanted.
TEST_F(ServicesTest, ConvergesFromAnything) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto chance = [&](int percent) { return static_cast<int>(random() % 100) < percent; };
    ServicesBench t;
    t.h.resend_allowed = true;
    const int nodes = 3 + static_cast<int>(random() % 4);
    t.nodes_join(nodes);
    ServicePutRequest want = web(static_cast<std::uint32_t>(1 + random() % 6));
    want.service.update.start_first = chance(50);
    want.service.update.parallelism = static_cast<std::uint32_t>(1 + random() % 3);
    want.service.update.ready_within_ms = 2000;
    want.service.update.on_failure = static_cast<UpdatePolicy::OnFailure>(random() % 3);
    want.service.restart.delay_ms = 100;
    want.service.restart.delay_max_ms = 500;
    t.put(want);
    int version = 1;
    for (int step = 0; step < 120; ++step) {
      for (const auto& [id, node] : t.h.cluster().nodes()) {
        if (chance(70) && node.state != NodeState::kLost) t.h.start_all(t.agent_of(id));
      }
      for (const Live& pod : t.live()) {
        if (pod.stopping) {
          if (chance(80)) t.end(pod, PodState::kCancelled, -1);
        } else if (pod.running && (pod.launch.find("bad") != std::string::npos ? chance(30) : chance(3))) {
          t.end(pod, PodState::kFailed, 1);
        } else if (pod.running && !pod.ready && chance(60)) {
          t.say_ready(pod);
        }
      }
      if (chance(6)) {
        want.spec.launch = (chance(30) ? "bad" : "v") + std::to_string(++version);
        t.put(want);
      }
      if (chance(4)) {
        want.service.status.replicas = static_cast<std::uint32_t>(random() % 7);
        t.put(want);
      }
      if (chance(3)) {
        const std::string name = "n" + std::to_string(1 + random() % static_cast<std::uint64_t>(nodes));
        const bool up = t.h.cluster().node_by_name(name)->state == NodeState::kUp;
        t.h.ask_for<Ok>(
            NodeActionRequest{up ? NodeActionRequest::Action::kDrain : NodeActionRequest::Action::kResume, name, ""});
      }
      t.h.advance_ms(static_cast<std::int64_t>(random() % 800));
      // Each slot has at most two replicas that are meant to stay, whatever is going on.
      std::map<std::uint32_t, int> staying;
      for (const Live& pod : t.live()) staying[pod.slot] += pod.stopping ? 0 : 1;
      for (const auto& [slot, count] : staying) ASSERT_LE(count, 2) << "slot " << slot;
    }
    for (int i = 1; i <= nodes; ++i) {
      const std::string name = "n" + std::to_string(i);
      if (t.h.cluster().node_by_name(name)->state == NodeState::kDrained) {
        t.h.ask_for<Ok>(NodeActionRequest{NodeActionRequest::Action::kResume, name, ""});
      }
    }
    want.spec.launch = "good";
    want.service.status.replicas = 4;
    t.put(want);
    t.settle("-", 60'000);
    EXPECT_EQ(t.ready_now(), 4U);
    EXPECT_EQ(t.live().size(), 4U);
    for (const Live& pod : t.live()) EXPECT_EQ(pod.launch, "good");
    EXPECT_EQ(t.service().status.rollout, Rollout::kNone);
    const std::uint64_t quiet = t.h.cluster().applied_index();
    t.h.advance_ms(600'000);
    EXPECT_EQ(t.h.cluster().applied_index(), quiet);  // the steady state costs nothing
    EXPECT_FALSE(t.h.take_replies().size() > 0);
  }
}

}  // namespace
}  // namespace berth::scheduler
