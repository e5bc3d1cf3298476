// Licences, countables, shares of GPUs, cores and gangs over nodes, through the core: what starts, what waits and why,
// and that a restart knows it all.
#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

NodeInfo node(const std::string& name, Resources capacity = {4000, 8192, 0}) {
  NodeInfo info;
  info.name = name;
  info.capacity = capacity;
  return info;
}

Topology four_cores() {
  Topology out;
  out.cores = {{0}, {1}, {2}, {3}};
  out.domains = {
      {Topology::Part::kMachine, 0, {0, 4}}, {Topology::Part::kNuma, 0, {0, 2}}, {Topology::Part::kNuma, 1, {2, 4}}};
  out.memories = {{0, 4096, {0, 2}}, {1, 4096, {2, 4}}};
  return out;
}

std::string wait_reason(Harness& h, JobId id) { return h.ask_for<JobDetail>(ShowJobRequest{id}).row.reason; }
WaitReason code_of(Harness& h, JobId id) { return h.ask_for<JobDetail>(ShowJobRequest{id}).row.wait_reason; }

JobSpec licensed(std::uint64_t count, const char* name = "matlab") {
  JobSpec spec = single();
  spec.request.licences = {{name, count}};
  return spec;
}

TEST(Licences, AreTakenByWhoRunsAndGivenBackAtTheEnd) {
  Harness h;
  h.resend_allowed = true;
  h.ask_for<Ok>(LicenceActionRequest{false, {"matlab", 3}});
  FakeAgent& a = h.join("a", {64'000, 65'536, 0});
  const JobId first = h.submit(licensed(2));
  const JobId second = h.submit(licensed(2));
  const JobId third = h.submit(licensed(1));
  const JobId without = h.submit(single());
  EXPECT_EQ(h.state_of(first), PodState::kBound);
  EXPECT_EQ(h.state_of(second), PodState::kPending);
  EXPECT_EQ(h.state_of(third), PodState::kBound);  // a smaller one overtakes: nothing else is in its way
  EXPECT_EQ(h.state_of(without), PodState::kBound);
  EXPECT_EQ(code_of(h, second), WaitReason::kLicences);
  EXPECT_EQ(wait_reason(h, second), "3 of 3 licences matlab are in use");
  EXPECT_EQ(h.ask_for<LicencePage>(ListLicencesRequest{}).licences.at(0).used, 3U);
  h.restart();
  FakeAgent back = a;
  FakeAgent& again = h.rejoin(back, {64'000, 65'536, 0});
  EXPECT_EQ(h.ask_for<LicencePage>(ListLicencesRequest{}).licences.at(0).used, 3U);
  EXPECT_EQ(h.state_of(second), PodState::kPending);
  h.start_all(again);
  h.end(again, {{first, 0}, 1});
  EXPECT_EQ(h.state_of(second), PodState::kBound);
  h.start_all(again);
  h.end(again, {{second, 0}, 1});
  h.end(again, {{third, 0}, 1});
  EXPECT_EQ(h.ask_for<LicencePage>(ListLicencesRequest{}).licences.at(0).used, 0U);
}

TEST(Licences, AGangTakesThemOnceAndAnArrayForEachElement) {
  Harness h;
  h.resend_allowed = true;
  h.ask_for<Ok>(LicenceActionRequest{false, {"matlab", 3}});
  FakeAgent& a = h.join("a", {64'000, 65'536, 0});
  JobSpec together = gang(4);
  together.request.licences = {{"matlab", 2}};
  const JobId gang_id = h.submit(together);
  JobSpec each = array(5);
  each.request.licences = {{"matlab", 1}};
  const JobId array_id = h.submit(each);
  EXPECT_EQ(h.job(gang_id).counts.of(PodState::kBound), 4U);
  EXPECT_EQ(h.job(array_id).counts.of(PodState::kBound), 1U);
  EXPECT_EQ(h.ask_for<LicencePage>(ListLicencesRequest{}).licences.at(0).used, 3U);
  h.start_all(a);
  for (std::uint32_t e = 0; e < 3; ++e) h.end(a, {{gang_id, e}, 1});
  EXPECT_EQ(h.job(array_id).counts.live(), 1U);  // the gang still runs
  h.end(a, {{gang_id, 3}, 1});
  EXPECT_EQ(h.job(array_id).counts.live(), 3U);
  h.ask_for<Ok>(LicenceActionRequest{false, {"matlab", 10}});
  EXPECT_EQ(h.job(array_id).counts.live(), 5U);
}

TEST(Licences, ThatAreNotThereAreRefusedAndThoseInUseStay) {
  Harness h;
  h.join("a");
  EXPECT_EQ(h.ask_refused(SubmitRequest{{licensed(1)}, 0, false}).field, "licence");
  h.ask_for<Ok>(LicenceActionRequest{false, {"matlab", 1}});
  EXPECT_NE(h.ask_refused(SubmitRequest{{licensed(2)}, 0, false}).message.find("has 1"), std::string::npos);
  h.submit(licensed(1));
  EXPECT_EQ(h.ask_refused(LicenceActionRequest{true, {"matlab", 0}}).code, ErrorCode::kConflict);
  EXPECT_EQ(h.ask_refused(LicenceActionRequest{false, {"a b", 1}}).code, ErrorCode::kInvalid);
  EXPECT_EQ(h.ask_refused(LicenceActionRequest{false, {"x", 1}}, Harness::user(5)).code, ErrorCode::kDenied);
  EXPECT_EQ(h.ask_refused(LicenceActionRequest{true, {"y", 0}}).code, ErrorCode::kNotFound);
}

TEST(Licences, AJobThatWaitsForThemKeepsNoNodesFromOthers) {
  CoreOptions options;
  options.overtaking_ends_after_ms = 1'000;
  Harness h(options);
  h.resend_allowed = true;
  h.ask_for<Ok>(LicenceActionRequest{false, {"matlab", 1}});
  FakeAgent& a = h.join("a");
  const JobId first = h.submit(licensed(1));
  const JobId second = h.submit(licensed(1));
  h.start_all(a);
  h.advance_ms(5'000);
  const JobId other = h.submit(single());
  EXPECT_EQ(h.state_of(other), PodState::kBound);
  EXPECT_EQ(h.state_of(second), PodState::kPending);
  EXPECT_EQ(h.state_of(first), PodState::kRunning);
}

TEST(Countables, AreRefusedWhereNoNodeHasThemAndWaitForWhenTaken) {
  Harness h;
  h.resend_allowed = true;
  NodeInfo with = node("with");
  with.counts = {{"fpga", 2}};
  FakeAgent& a = h.join_as(with);
  h.join("without");
  JobSpec spec = single();
  spec.request.counts = {{"fpga", 1}};
  const JobId first = h.submit(spec), second = h.submit(spec), third = h.submit(spec);
  EXPECT_EQ(h.state_of(second), PodState::kBound);
  EXPECT_EQ(h.state_of(third), PodState::kPending);
  EXPECT_NE(wait_reason(h, third).find("1 by free fpga"), std::string::npos) << wait_reason(h, third);
  EXPECT_NE(wait_reason(h, third).find("1 by total fpga"), std::string::npos) << wait_reason(h, third);
  spec.request.counts = {{"fpga", 3}};
  EXPECT_NE(h.ask_refused(SubmitRequest{{spec}, 0, false}).message.find("total fpga"), std::string::npos);
  h.restart();
  FakeAgent& again = h.join_as(with);
  EXPECT_EQ(h.state_of(third), PodState::kPending);
  h.start_all(again);
  h.end(again, {{first, 0}, 1});
  EXPECT_EQ(h.state_of(third), PodState::kBound);
  (void)a;
}

TEST(Shares, OfAGpuAreGivenOutUntilItIsFull) {
  Harness h;
  h.join("a", {64'000, 65'536, 2});
  JobSpec half = single();
  half.request.resources.gpus = 1;
  half.request.gpu_share_milli = 500;
  std::map<std::uint64_t, int> on;
  std::vector<JobId> jobs;
  for (int i = 0; i < 5; ++i) jobs.push_back(h.submit(half));
  for (int i = 0; i < 4; ++i) ++on[h.cluster().pod({jobs[static_cast<std::size_t>(i)], 0})->gpu_mask];
  EXPECT_EQ(on, (std::map<std::uint64_t, int>{{1, 2}, {2, 2}}));
  EXPECT_EQ(h.state_of(jobs[4]), PodState::kPending);
  EXPECT_NE(wait_reason(h, jobs[4]).find("free part of a GPU"), std::string::npos);
  JobSpec bad = half;
  bad.request.resources.gpus = 2;
  EXPECT_EQ(h.ask_refused(SubmitRequest{{bad}, 0, false}).field, "gpus");
}

TEST(PodLimit, OfANodeIsKept) {
  Harness h;
  NodeInfo few = node("a", {64'000, 65'536, 0});
  few.pods_max = 3;
  h.join_as(few);
  const JobId id = h.submit(array(10));
  EXPECT_EQ(h.job(id).counts.live(), 3U);
  EXPECT_NE(wait_reason(h, id).find("pods on the node"), std::string::npos) << wait_reason(h, id);
}

TEST(CoresOfTheirOwn, AreToldToTheAgentAndKnownAfterARestart) {
  Harness h;
  h.resend_allowed = true;
  NodeInfo info = node("a");
  info.topology = four_cores();
  FakeAgent& a = h.join_as(info);
  JobSpec two = single(2000);
  two.request.cores = {CoreFit::Level::kNuma, true, 0};
  const JobId first = h.submit(single(1000));
  const JobId second = h.submit(two);
  const JobId third = h.submit(two);
  ASSERT_NE(h.cluster().pinning({first, 0}), nullptr);
  const std::string cpus = h.cluster().pinning({second, 0})->cpus;
  EXPECT_EQ(h.cluster().pinning({first, 0})->cpus, "0");
  EXPECT_EQ(cpus, "2-3");
  EXPECT_TRUE(h.cluster().pinning({second, 0})->near);
  EXPECT_EQ(h.orders_of(a).at({{second, 0}, 1}).pods.at(0).pinning.cpus, cpus);
  EXPECT_EQ(h.state_of(third), PodState::kPending);
  EXPECT_NE(wait_reason(h, third).find("free cpu"), std::string::npos) << wait_reason(h, third);
  // One core is free, of the other NUMA node.
  const JobId fourth = h.submit(single(1000));
  EXPECT_EQ(h.cluster().pinning({fourth, 0})->cpus, "1");
  h.restart();
  FakeAgent& again = h.join_as(info);
  EXPECT_EQ(h.cluster().pinning({second, 0})->cpus, "2-3");
  h.start_all(again);
  h.end(again, {{second, 0}, 1});
  EXPECT_EQ(h.cluster().pinning({second, 0}), nullptr);
  EXPECT_EQ(h.cluster().pinning({third, 0})->cpus, "2-3");
  JobSpec too_many = single(3000);
  too_many.request.cores = {CoreFit::Level::kNuma, true, 0};
  EXPECT_NE(h.ask_refused(SubmitRequest{{too_many}, 0, false}).message.find("too few cores in one NUMA node"),
            std::string::npos);
  JobSpec part = single(1500);
  part.request.cores = {CoreFit::Level::kNuma, true, 0};
  EXPECT_EQ(h.ask_refused(SubmitRequest{{part}, 0, false}).field, "cpus");
}

TEST(CoresOfTheirOwn, AnAgentWithAnImpossibleMachineIsRefused) {
  Harness h;
  NodeInfo info = node("a");
  info.topology = four_cores();
  info.topology.cores[1] = {0};
  h.join_as(info);
  const auto refused = h.take_refused_agents();
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_EQ(refused[0].second.field, "topology");
  NodeInfo twice = node("b");
  twice.counts = {{"fpga", 1}, {"fpga", 2}};
  h.join_as(twice);
  EXPECT_EQ(h.take_refused_agents().size(), 1U);
}

TEST(Switches, KeepAGangTogether) {
  CoreOptions options;
  options.switches = *placement::SwitchTree::parse(
      "SwitchName=s0 Nodes=n[0-1]\nSwitchName=s1 Nodes=n[2-3]\nSwitchName=top Switches=s[0-1]\n");
  Harness h(options);
  h.resend_allowed = true;
  std::vector<std::uint64_t> agents;
  for (int i = 0; i < 4; ++i) agents.push_back(h.join("n" + std::to_string(i)).session);
  const auto nodes_of = [&](JobId id) {
    std::set<std::uint32_t> nodes;
    for (std::uint32_t e = 0; e < h.job(id).spec.elements.size(); ++e) {
      if (const Pod* pod = h.cluster().pod({id, e})) nodes.insert(pod->node.value);
    }
    return nodes;
  };
  const JobId one = h.submit(single(1000));  // n0 has three cores left, s1 has eight
  JobSpec eight = gang(8);
  const JobId big = h.submit(eight);
  EXPECT_EQ(nodes_of(one), (std::set<std::uint32_t>{1}));
  EXPECT_EQ(nodes_of(big), (std::set<std::uint32_t>{3, 4}));
  // Seven are left, all below s0: a gang of six goes there, and one of two under one switch waits for it.
  JobSpec six = gang(6);
  six.gang.switches = 1;
  six.time_limit_ms = 60'000;
  const JobId mid = h.submit(six);
  EXPECT_EQ(nodes_of(mid), (std::set<std::uint32_t>{1, 2}));
  JobSpec again = gang(2);
  const JobId wait = h.submit(again);
  EXPECT_EQ(h.job(wait).counts.live(), 0U);
}

TEST(GangShapes, AreKeptAndWhatCannotBeIsRefused) {
  Harness h;
  for (int i = 1; i <= 4; ++i) h.join("n" + std::to_string(i));
  const auto nodes_of = [&](JobId id) {
    std::map<std::uint32_t, int> nodes;
    for (std::uint32_t e = 0; e < h.job(id).spec.elements.size(); ++e) {
      if (const Pod* pod = h.cluster().pod({id, e})) ++nodes[pod->node.value];
    }
    return nodes;
  };
  JobSpec spec = gang(4);
  spec.gang.nodes_min = spec.gang.nodes_max = 2;
  const auto two = nodes_of(h.submit(spec));
  EXPECT_EQ(two.size(), 2U);
  spec = gang(6);
  spec.gang.per_node = 2;
  const auto three = nodes_of(h.submit(spec));
  EXPECT_GE(three.size(), 3U);
  for (const auto& [id, pods] : three) EXPECT_LE(pods, 2);
  spec = gang(4);
  spec.gang = {5, 0, 0, 0, false, false};
  EXPECT_EQ(h.ask_refused(SubmitRequest{{spec}, 0, false}).field, "nodes");
  spec = gang(8);
  spec.gang = {6, 0, 0, 0, false, false};
  EXPECT_NE(h.ask_refused(SubmitRequest{{spec}, 0, false}).message.find("only 4"), std::string::npos);
  spec = gang(8);
  spec.gang = {0, 2, 3, 0, false, false};
  EXPECT_EQ(h.ask_refused(SubmitRequest{{spec}, 0, false}).field, "nodes");
  spec = single();
  spec.gang.contiguous = true;
  EXPECT_EQ(h.ask_refused(SubmitRequest{{spec}, 0, false}).field, "nodes");
}

TEST(GangShapes, AreWorthAPromise) {
  Harness h;
  h.resend_allowed = true;
  FakeAgent& a = h.join("n1");
  FakeAgent& b = h.join("n2");
  JobSpec running = single(3000);
  running.time_limit_ms = 60'000;
  const JobId first = h.submit(running), second = h.submit(running);
  JobSpec wide = gang(4);
  wide.gang.nodes_min = wide.gang.nodes_max = 2;
  wide.time_limit_ms = 60'000;
  wide.request.resources.cpu_milli = 2000;
  const JobId waiting = h.submit(wide);
  JobSpec longer = single(1000);
  longer.time_limit_ms = 600'000;
  const JobId behind = h.submit(longer);
  EXPECT_EQ(h.job(waiting).counts.live(), 0U);
  EXPECT_EQ(h.state_of(behind), PodState::kPending);  // it would take a core that is promised
  EXPECT_EQ(code_of(h, behind), WaitReason::kPriority);
  h.start_all(a);
  h.start_all(b);
  for (const JobId id : {first, second}) {
    FakeAgent& on = h.cluster().pod({id, 0})->node.value == 1 ? a : b;
    h.end(on, {{id, 0}, 1});
  }
  EXPECT_EQ(h.job(waiting).counts.live(), 4U);
}

TEST(Queues, HaveNodesStatesLimitsAndUsersOfTheirOwn) {
  Harness h;
  h.join("n1");
  h.join("n2", {4000, 8192, 0}, {"gpu"});
  Queue queue;
  queue.name = "gpu";
  queue.where = "gpu";
  queue.time_default_ms = 60'000;
  queue.nodes_max = 1;
  queue.users = {"user5"};
  h.ask_for<Ok>(QueueActionRequest{false, queue});
  JobSpec spec = single();
  spec.queue = "gpu";
  EXPECT_EQ(h.ask_refused(SubmitRequest{{spec}, 0, false}, Harness::user(6)).code, ErrorCode::kDenied);
  const JobId id = h.submit(spec, Harness::user(5));
  EXPECT_EQ(h.cluster().pod({id, 0})->node.value, 2U);
  EXPECT_EQ(h.job(id).spec.time_limit_ms, 60'000);
  JobSpec wide = gang(2, true);
  wide.queue = "gpu";
  EXPECT_EQ(h.ask_refused(SubmitRequest{{wide}, 0, false}).field, "nodes");
  JobSpec many = array(8);
  many.queue = "gpu";
  const JobId array_id = h.submit(many);
  EXPECT_EQ(h.job(array_id).counts.live(), 3U);
  EXPECT_NE(wait_reason(h, array_id).find("the queue's nodes (gpu)"), std::string::npos) << wait_reason(h, array_id);
  h.ask_for<Ok>(CancelRequest{array_id, std::nullopt});
  queue.state = Queue::State::kDown;
  h.ask_for<Ok>(QueueActionRequest{false, queue});
  const JobId down = h.submit(spec);
  EXPECT_EQ(code_of(h, down), WaitReason::kQueueDown);
  EXPECT_EQ(wait_reason(h, down), "queue gpu is down");
  queue.state = Queue::State::kDraining;
  h.ask_for<Ok>(QueueActionRequest{false, queue});
  EXPECT_NE(h.ask_refused(SubmitRequest{{spec}, 0, false}).message.find("draining"), std::string::npos);
  queue.state = Queue::State::kUp;
  queue.where = "";
  h.ask_for<Ok>(QueueActionRequest{false, queue});
  EXPECT_EQ(h.state_of(down), PodState::kBound);  // n1 will do now
  queue.where = "gpu &";
  EXPECT_EQ(h.ask_refused(QueueActionRequest{false, queue}).field, "nodes");
  queue.where = "[a|b]";
  EXPECT_EQ(h.ask_refused(QueueActionRequest{false, queue}).field, "nodes");
}

TEST(Exclusive, APodThatHasANodeForItselfHasAllItsCpus) {
  Harness h;
  NodeInfo info = node("a");
  info.topology = four_cores();
  FakeAgent& a = h.join_as(info);
  JobSpec spec = single();
  spec.request.exclusive = true;
  const JobId id = h.submit(spec);
  const StartOrder& order = h.orders_of(a).at({{id, 0}, 1});
  EXPECT_EQ(order.resources.cpu_milli, 4000U);
  EXPECT_EQ(order.resources.mem_mib, 64U);  // what it asked for
  EXPECT_TRUE(order.pods.at(0).pinning.empty());
  h.start_all(a);
  h.end(a, {{id, 0}, 1});
  spec = gang(1);
  spec.lead_only = true;
  spec.request.exclusive = true;
  const JobId places = h.submit(spec);
  h.start_all(a);
  JobSpec step = gang(4);
  step.step_of = places;
  step.request.resources = {1000, 0, 0};
  const JobId s = h.submit(step);
  EXPECT_EQ(h.job(s).counts.live(), 4U);  // four tasks on the one cpu that it asked for, and the node's others
}

}  // namespace
}  // namespace berth::scheduler
