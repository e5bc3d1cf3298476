// Steps of running gangs, and gangs of which only the first pod is run: through the core, with restarts.
#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

JobSpec places(std::uint32_t size, std::uint32_t per_node = 0) {
  JobSpec spec = gang(size);
  spec.lead_only = true;
  spec.gang.per_node = per_node;
  spec.gang.compact = per_node == 0;
  return spec;
}

JobSpec step(JobId of, std::uint32_t tasks, std::uint32_t cpu_milli = 1000) {
  JobSpec spec = gang(tasks);
  spec.step_of = of;
  spec.request.resources = {cpu_milli, 0, 0};
  return spec;
}

struct World {
  Harness h;
  std::vector<std::uint64_t> agents;
  explicit World(int nodes = 2, CoreOptions options = {}) : h(options) {
    h.resend_allowed = true;
    for (int i = 1; i <= nodes; ++i) agents.push_back(h.join("n" + std::to_string(i)).session);
  }
  FakeAgent& agent(std::size_t i) { return h.agent_at(agents[i]); }
  void start_all() {
    for (std::size_t i = 0; i < agents.size(); ++i) h.start_all(agent(i));
  }
  std::vector<std::uint32_t> nodes_of(JobId id) {
    std::vector<std::uint32_t> nodes;
    for (std::uint32_t e = 0; e < h.job(id).spec.elements.size(); ++e) {
      const Pod* pod = h.cluster().pod({id, e});
      nodes.push_back(pod == nullptr ? 0 : pod->node.value);
    }
    return nodes;
  }
  void end(JobId id, std::uint32_t element, PodState how = PodState::kSucceeded, int code = 0) {
    const Pod* pod = h.cluster().pod({id, element});
    ASSERT_NE(pod, nullptr);
    h.end(agent(pod->node.value - 1), pod->ref, how, code);
  }
};

TEST(Places, OnlyTheFirstPodIsRunAndTheOthersEndWithIt) {
  World w;
  const JobId id = w.h.submit(places(8));
  EXPECT_EQ(w.nodes_of(id), (std::vector<std::uint32_t>{1, 1, 1, 1, 2, 2, 2, 2}));
  EXPECT_EQ(w.h.orders_of(w.agent(0)).size(), 1U);
  EXPECT_EQ(w.h.orders_of(w.agent(1)).size(), 0U);
  const StartOrder& order = w.h.orders_of(w.agent(0)).at({{id, 0}, 1});
  EXPECT_TRUE(order.lead_only);
  EXPECT_EQ(order.resources.cpu_milli, 4000U);  // all of its node
  EXPECT_EQ(order.peers.size(), 8U);
  w.start_all();
  EXPECT_EQ(w.h.job(id).counts.of(PodState::kRunning), 8U);
  w.end(id, 0);
  EXPECT_EQ(w.h.job(id).counts.of(PodState::kSucceeded), 8U);
  EXPECT_EQ(w.h.job(id).ended_at != 0, true);
  const JobId next = w.h.submit(places(8));
  w.start_all();
  w.end(next, 0, PodState::kFailed, 3);
  EXPECT_EQ(w.h.job(next).counts.of(PodState::kFailed), 8U);
  const JobRow row = w.h.ask_for<JobDetail>(ShowJobRequest{next}).row;
  EXPECT_EQ(row.exit_code, 3);
}

TEST(Places, OfALostNodeTakeTheJobWithThemAndARequeueTakesAllOfIt) {
  CoreOptions options;
  options.node_lost_after_ms = 1'000;
  Harness h(options);
  h.resend_allowed = true;
  const std::uint64_t a = h.join("n1").session, b = h.join("n2").session;
  JobSpec spec = places(8);
  spec.requeues_max = 3;
  const JobId id = h.submit(spec);
  h.start_all(h.agent_at(a));
  h.leave(h.agent_at(b));
  h.advance_ms(2'000);
  // The second node's places are lost; the first pod is told to stop, and then the gang waits as a whole.
  ASSERT_EQ(h.agent_at(a).stopped.size(), 1U);  // nobody runs the others
  PodEnd end;
  end.ref = {{id, 0}, 1};
  end.outcome.state = PodState::kCancelled;
  h.turn({AgentReported{a, {{}, {end}, {}, 0}}});
  EXPECT_EQ(h.job(id).counts.of(PodState::kPending), 8U);
  h.join("n2");
  EXPECT_EQ(h.job(id).counts.live(), 8U);
}

TEST(Places, AreStillThereAfterARestartOfBothSides) {
  World w;
  const JobId id = w.h.submit(places(8));
  w.start_all();
  const FakeAgent first = w.agent(0), second = w.agent(1);
  w.h.restart();
  w.agents = {w.h.rejoin(first).session, w.h.rejoin(second).session};
  EXPECT_EQ(w.h.job(id).counts.of(PodState::kRunning), 8U);
  w.h.ask_for<Ok>(CancelRequest{id, std::nullopt});
  for (std::size_t i = 0; i < 2; ++i) {
    const std::vector<PodRef> stopped = w.agent(i).stopped;
    for (const PodRef& ref : stopped) w.h.end(w.agent(i), ref, PodState::kCancelled);
  }
  EXPECT_EQ(w.h.job(id).counts.of(PodState::kCancelled), 8U);
}

TEST(Places, AreTakenThoughTheNewsOfTheStartCameWithAReconnection) {
  World w;
  const JobId id = w.h.submit(places(8));
  FakeAgent first = w.agent(0);
  for (const auto& [ref, order] : w.h.orders_of(w.agent(0))) first.running[ref] = w.h.now();
  w.h.leave(w.agent(0));
  w.agents[0] = w.h.rejoin(first).session;
  EXPECT_EQ(w.h.job(id).counts.of(PodState::kRunning), 8U);
}

TEST(Steps, HaveNoTimeLimitFromAQueue) {
  World w;
  Queue queue;
  queue.name = "default";
  queue.time_limit_ms = 60'000;
  w.h.ask_for<Ok>(QueueActionRequest{false, queue});
  const JobId id = w.h.submit(places(2));
  w.start_all();
  const JobId s = w.h.submit(step(id, 1));
  EXPECT_EQ(w.h.job(s).spec.time_limit_ms, 0);
  EXPECT_EQ(w.h.job(id).spec.time_limit_ms, 60'000);
}

TEST(Steps, RunInThePlacesOfTheirJobAndTakeNothing) {
  World w;
  const JobId id = w.h.submit(places(8));
  EXPECT_EQ(w.h.ask_refused(SubmitRequest{{step(id, 2)}, 0, false}).code, ErrorCode::kUnavailable);  // not yet
  w.start_all();
  const JobId s = w.h.submit(step(id, 8));
  EXPECT_EQ(w.nodes_of(s), (std::vector<std::uint32_t>{1, 1, 1, 1, 2, 2, 2, 2}));
  EXPECT_EQ(w.h.job(s).spec.step.number, 0U);
  EXPECT_EQ(w.h.orders_of(w.agent(1)).at({{s, 4}, 1}).step_of, id);
  w.start_all();
  const JobId two = w.h.submit(step(id, 2));  // a task on each node
  EXPECT_EQ(w.h.job(two).counts.live(), 0U);  // the cpus are taken
  for (std::uint32_t e = 0; e < 8; ++e) w.end(s, e);
  EXPECT_EQ(w.nodes_of(two), (std::vector<std::uint32_t>{1, 2}));
  EXPECT_EQ(w.h.job(two).spec.step.number, 1U);
  // The job's end is theirs.
  w.start_all();
  w.end(id, 0);
  EXPECT_EQ(w.agent(0).stopped.back(), (PodRef{{two, 0}, 1}));
  w.end(two, 0, PodState::kCancelled);
  w.end(two, 1, PodState::kCancelled);
  EXPECT_FALSE(w.h.job(two).active());
  // Listings show them only if asked.
  const auto listed = w.h.ask_for<JobPage>(ListJobsRequest{{}, {}, 100});
  ASSERT_EQ(listed.rows.size(), 1U);
  JobFilter of;
  of.steps_of = id;
  const auto steps = w.h.ask_for<JobPage>(ListJobsRequest{of, {}, 100});
  ASSERT_EQ(steps.rows.size(), 2U);
  EXPECT_EQ(steps.rows[1].step, 1U);
}

// What a job has is given to nobody else as long as something of it runs: not when its batch script has ended, not when
// it is cancelled, not when one of its nodes is lost.
TEST(Steps, KeepThePlacesOfTheirJobUntilTheyHaveEnded) {
  for (const int how : {0, 1, 2}) {
    CoreOptions options;
    options.node_lost_after_ms = 1'000;
    World w(2, options);
    const JobId id = w.h.submit(places(8));
    w.start_all();
    const JobId s = w.h.submit(step(id, 8));
    w.start_all();
    const JobId next = w.h.submit(single());
    if (how == 0) {
      w.end(id, 0);
    } else if (how == 1) {
      w.h.ask_for<Ok>(CancelRequest{id, std::nullopt});
      EXPECT_EQ(std::count_if(w.agent(1).stopped.begin(), w.agent(1).stopped.end(),
                              [&](const PodRef& ref) { return ref.pod.job == id; }),
                0);
      w.end(id, 0, PodState::kCancelled);
    } else {
      w.h.leave(w.agent(1));
      w.h.advance_ms(2'000);
      EXPECT_EQ(w.h.job(s).counts.live(), 4U);  // what is left of it is being stopped
      w.end(id, 0, PodState::kCancelled);
    }
    EXPECT_NE(std::find(w.agent(0).stopped.begin(), w.agent(0).stopped.end(), PodRef{{s, 0}, 1}),
              w.agent(0).stopped.end());
    EXPECT_EQ(w.h.job(id).counts.live(), how == 2 ? 4U : 8U) << how;
    EXPECT_EQ(w.h.state_of(next), PodState::kPending) << how;
    for (std::uint32_t e = 0; e < (how == 2 ? 4U : 8U); ++e) {
      EXPECT_EQ(w.h.state_of(next), PodState::kPending);
      w.end(s, e, PodState::kCancelled);
    }
    EXPECT_EQ(w.h.job(id).counts.live(), 0U) << how;
    EXPECT_FALSE(w.h.job(id).active()) << how;
    EXPECT_EQ(w.h.state_of(next), PodState::kBound) << how;
    EXPECT_EQ(w.h.job(id).counts.of(how == 0 ? PodState::kSucceeded : PodState::kCancelled), how == 2 ? 7U : 8U);
  }
}

// The end of a job's script is put off until its steps have ended; meanwhile its node, or another of its nodes, is
// lost.
TEST(Steps, AHeldEndIsNeitherForgottenNorUndone) {
  for (const bool own : {true, false}) {
    CoreOptions options;
    options.node_lost_after_ms = 1'000;
    World w(2, options);
    JobSpec spec = places(own ? 4 : 8);
    spec.requeues_max = 3;
    const JobId id = w.h.submit(spec);
    w.start_all();
    const JobId s = w.h.submit(step(id, own ? 4 : 8));
    w.start_all();
    const NodeId lead = w.h.cluster().pod({id, 0})->node;
    w.end(id, 0);
    EXPECT_EQ(w.h.state_of(id), PodState::kRunning);  // held
    FakeAgent& lost = w.agent(own ? lead.value - 1 : 2 - lead.value);
    w.h.leave(lost);
    w.h.advance_ms(2'000);
    // What has come to its end is not run again because a step of it was lost.
    for (std::uint32_t e = 0; e < w.h.job(s).spec.elements.size(); ++e) {
      if (w.h.cluster().pod({s, e}) != nullptr) w.end(s, e, PodState::kCancelled);
    }
    EXPECT_FALSE(w.h.job(id).active());
    EXPECT_EQ(w.h.state_of(id), PodState::kSucceeded);
    EXPECT_EQ(w.h.job(id).counts.of(PodState::kSucceeded), own ? 4U : 8U);
  }
}

TEST(Steps, ThatWaitByTheThousandAreStartedInTheirOrder) {
  World w(1);
  const JobId id = w.h.submit(places(4));
  w.start_all();
  SubmitRequest many;
  for (int i = 0; i < 1000; ++i) many.jobs.push_back(step(id, 1));
  const std::vector<JobId> steps = w.h.ask_for<SubmitReply>(many).jobs;
  ASSERT_EQ(steps.size(), 1000U);
  w.start_all();
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(w.h.state_of(steps[i]), PodState::kRunning);
    w.end(steps[i], 0);
    w.start_all();
  }
  EXPECT_EQ(w.h.state_of(steps[23]), PodState::kRunning);
  EXPECT_EQ(w.h.state_of(steps[24]), PodState::kPending);
  many.jobs.assign(9'100, step(id, 1));
  const Error refused = w.h.ask_refused(many);
  EXPECT_EQ(refused.code, ErrorCode::kUnavailable);
  w.end(id, 0);
  for (std::size_t i = 20; i < 24; ++i) w.end(steps[i], 0, PodState::kCancelled);
  EXPECT_FALSE(w.h.job(id).active());
  EXPECT_FALSE(w.h.job(steps[999]).active());
}

TEST(Steps, TellThoseThatDependOnThem) {
  World w(1);
  const JobId id = w.h.submit(places(2));
  w.start_all();
  JobSpec named = step(id, 1);
  named.name = "solve";
  const JobId s = w.h.submit(named);
  w.start_all();
  JobSpec after = single();
  after.depends = {{Dependency::Kind::kAfterAny, s, 0, Dependency::State::kOpen}};
  const JobId waits = w.h.submit(after);
  EXPECT_EQ(w.h.state_of(waits), PodState::kPending);
  JobSpec alone = single();
  alone.name = "solve";
  alone.depends = {{Dependency::Kind::kSingleton, {}, 0, Dependency::State::kOpen}};
  EXPECT_EQ(w.h.state_of(w.h.submit(alone)), PodState::kBound);  // a step is no job of that name
  w.end(s, 0);
  EXPECT_EQ(w.h.state_of(waits), PodState::kBound);
}

TEST(Steps, HaveNumbersThatNeverComeAgain) {
  CoreOptions options;
  options.ended_pods_kept = 0;
  options.ended_jobs_kept_min = 0;
  World w(1, options);
  const JobId id = w.h.submit(places(2));
  w.start_all();
  for (std::uint32_t i = 0; i < 3; ++i) {
    const JobId s = w.h.submit(step(id, 1));
    w.start_all();
    w.end(s, 0);
    w.h.turn({Tick{}});
    EXPECT_EQ(w.h.cluster().job(s), nullptr);  // forgotten
  }
  FakeAgent back = w.agent(0);
  w.h.restart();
  w.agents[0] = w.h.rejoin(back).session;
  const JobId s = w.h.submit(step(id, 1));
  EXPECT_EQ(w.h.job(s).spec.step.number, 3U);
}

TEST(Steps, AskForNothingThatTheirJobDoesNotHave) {
  World w(1);
  const JobId id = w.h.submit(places(2));
  w.start_all();
  const auto refused = [&](JobSpec spec) {
    return w.h.ask_refused(SubmitRequest{{std::move(spec)}, 0, false}).message;
  };
  JobSpec spec = step(id, 2);
  spec.lead_only = true;
  EXPECT_EQ(refused(spec), "a step keeps no places for others");
  w.h.ask_for<Ok>(LicenceActionRequest{false, {"matlab", 1}});
  spec = step(id, 1);
  spec.request.licences = {{"matlab", 1}};
  EXPECT_EQ(refused(spec), "a step has what its job has, and asks for no licences");
  const JobId s = w.h.submit(step(id, 1));
  JobUpdateRequest hold;
  hold.job = s;
  hold.held = true;
  EXPECT_EQ(w.h.ask_refused(hold).code, ErrorCode::kConflict);
}

TEST(Steps, AreLaidOutAsTheyAsk) {
  World w(3);
  const JobId id = w.h.submit(places(3, 1));
  EXPECT_EQ(w.nodes_of(id), (std::vector<std::uint32_t>{1, 2, 3}));
  w.start_all();
  // One cpu on each node: three tasks at most.
  EXPECT_EQ(w.h.ask_refused(SubmitRequest{{step(id, 4)}, 0, false}).field, "nodes");
  w.h.ask_for<Ok>(CancelRequest{id, std::nullopt});
  for (std::size_t i = 0; i < 3; ++i) {
    const std::vector<PodRef> stopped = w.agent(i).stopped;
    for (const PodRef& ref : stopped) w.h.end(w.agent(i), ref, PodState::kCancelled);
  }
  JobSpec wide = places(3, 1);
  wide.request.resources.cpu_milli = 4000;
  const JobId big = w.h.submit(wide);
  w.start_all();
  const auto laid_out = [&](JobSpec spec) {
    spec.step.overlap = true;
    return w.nodes_of(w.h.submit(spec));
  };
  using Nodes = std::vector<std::uint32_t>;
  EXPECT_EQ(laid_out(step(big, 4)), (Nodes{1, 1, 2, 3}));
  JobSpec cyclic = step(big, 5);
  cyclic.step.cyclic = true;
  EXPECT_EQ(laid_out(cyclic), (Nodes{1, 2, 3, 1, 2}));
  JobSpec one_node = step(big, 4);
  one_node.gang.nodes_min = one_node.gang.nodes_max = 1;
  EXPECT_EQ(laid_out(one_node), (Nodes{1, 1, 1, 1}));
  JobSpec relative = one_node;
  relative.step.relative = 1;
  EXPECT_EQ(laid_out(relative), (Nodes{2, 2, 2, 2}));
  JobSpec named = step(big, 2);
  named.request.where = "node in (n3)";
  EXPECT_EQ(laid_out(named), (Nodes{3, 3}));
  JobSpec wide_tasks = step(big, 3, 4000);
  EXPECT_EQ(laid_out(wide_tasks), (Nodes{1, 2, 3}));
  JobSpec limited = step(big, 4);
  limited.gang.per_node = 2;
  limited.gang.nodes_min = 2;
  limited.gang.nodes_max = 2;
  EXPECT_EQ(laid_out(limited), (Nodes{1, 1, 2, 2}));
}

TEST(Steps, SideBySideIfTheyAskForNoMoreThanThereIs) {
  World w(1);
  JobSpec job = places(4);
  const JobId id = w.h.submit(job);
  w.start_all();
  std::vector<JobId> steps;
  for (int i = 0; i < 5; ++i) steps.push_back(w.h.submit(step(id, 1)));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(w.h.job(steps[static_cast<std::size_t>(i)]).counts.live(), 1U);
  EXPECT_EQ(w.h.job(steps[4]).counts.live(), 0U);
  JobSpec whole = step(id, 1);
  whole.step.whole = true;
  const JobId last = w.h.submit(whole);
  w.start_all();
  w.h.restart();
  FakeAgent back = w.agent(0);
  w.agents = {w.h.rejoin(back).session};
  EXPECT_EQ(w.h.job(steps[4]).counts.live(), 0U);
  w.end(steps[1], 0);
  EXPECT_EQ(w.h.job(steps[4]).counts.live(), 1U);
  EXPECT_EQ(w.h.job(last).counts.live(), 0U);
  w.start_all();
  for (const std::size_t i : {0U, 2U, 3U, 4U}) w.end(steps[i], 0);
  EXPECT_EQ(w.h.job(last).counts.live(), 1U);
}

TEST(Steps, OfOthersOrOfNothingAreRefused) {
  World w(1);
  const JobId id = w.h.submit(places(2), Harness::user(7));
  w.start_all();
  EXPECT_EQ(w.h.ask_refused(SubmitRequest{{step(id, 1)}, 0, false}, Harness::user(8)).code, ErrorCode::kDenied);
  EXPECT_EQ(w.h.ask_refused(SubmitRequest{{step(JobId{99}, 1)}, 0, false}).code, ErrorCode::kNotFound);
  const JobId plain = w.h.submit(single());
  EXPECT_EQ(w.h.ask_refused(SubmitRequest{{step(plain, 1)}, 0, false}).code, ErrorCode::kInvalid);
  JobSpec held = step(id, 1);
  held.hold = Hold::kUser;
  EXPECT_EQ(w.h.ask_refused(SubmitRequest{{held}, 0, false}).code, ErrorCode::kInvalid);
  JobSpec lead = single();
  lead.lead_only = true;
  EXPECT_EQ(w.h.ask_refused(SubmitRequest{{lead}, 0, false}).code, ErrorCode::kInvalid);
}

TEST(Steps, OneTaskThatFailsLeavesTheOthersIfToldTo) {
  World w(1);
  const JobId id = w.h.submit(places(2));
  w.start_all();
  JobSpec spec = step(id, 2);
  spec.keep_going = true;
  const JobId on = w.h.submit(spec);
  w.start_all();
  w.end(on, 0, PodState::kFailed, 2);
  EXPECT_TRUE(w.agent(0).stopped.empty());
  w.end(on, 1);
  EXPECT_EQ(w.h.job(on).counts.of(PodState::kSucceeded), 1U);
  const JobId off = w.h.submit(step(id, 2));
  w.start_all();
  w.end(off, 0, PodState::kFailed, 2);
  EXPECT_EQ(w.agent(0).stopped.size(), 1U);
}

TEST(Steps, HaveTheCoresOfTheirJob) {
  Harness h;
  h.resend_allowed = true;
  NodeInfo info;
  info.name = "n1";
  info.capacity = {4000, 8192, 0};
  info.topology.cores = {{0}, {1}, {2}, {3}};
  info.topology.domains = {{Topology::Part::kMachine, 0, {0, 4}}};
  info.topology.memories = {{0, 8192, {0, 4}}};
  FakeAgent& a = h.join_as(info);
  h.submit(single());
  const JobId id = h.submit(places(2));
  EXPECT_EQ(h.orders_of(a).at({{id, 0}, 1}).pods.at(0).pinning.cpus, "1-2");
  h.start_all(a);
  const JobId s = h.submit(step(id, 2));
  EXPECT_EQ(h.cluster().pinning({s, 1})->cpus, "1-2");
  EXPECT_EQ(h.job(s).counts.live(), 2U);
}

}  // namespace
}  // namespace berth::scheduler
