// The whole agent against a fake server on a Unix socket: real pods, real loss, real restarts.
#include "agent/io/agent.h"

#include <filesystem>
#include <gmock/gmock.h>

#include "running_agent.h"

namespace berth::agent {
namespace {

using namespace testing_support;
using state::PodState;
using testing::HasSubstr;
using testing::StartsWith;

TEST(AgentProcess, DISABLED_IsRunByOtherTests) {
  const char* server = std::getenv("BERTH_TEST_AGENT_SERVER");
  const char* data = std::getenv("BERTH_TEST_AGENT_DATA");
  if (server == nullptr || data == nullptr) GTEST_SKIP() << "is run by other tests";
  Agent agent(options_for(server, data));
  const auto ended = agent.run();
  EXPECT_TRUE(ended) << ended.error().message;
}

TEST_F(AgentTest, SaysWhatTheNodeHasAndBeats) {
  AgentOptions offer = options();
  offer.features = {"ssd", "big", "ssd"};
  offer.mem_mib = 128;
  const AgentThread agent(std::move(offer));
  ASSERT_TRUE(server_.wait_hellos(1));
  const state::NodeInfo info = server_.last_hello().info;
  EXPECT_EQ(info.name, "testnode");
  EXPECT_EQ(info.instance.size(), 32U);
  EXPECT_GE(info.capacity.cpu_milli, 1000U);
  EXPECT_EQ(info.capacity.mem_mib, 128U);
  EXPECT_THAT(info.features, testing::ElementsAre("big", "ssd"));
  EXPECT_FALSE(info.version.empty());
  EXPECT_TRUE(server_.wait([&] { return true; }));
  EXPECT_TRUE(eventually([&] { return server_.heartbeats() >= 2; }));
}

TEST_F(AgentTest, OffersNoMoreThanThereIs) {
  AgentOptions offer = options();
  offer.cpu_milli = 4'000'000'000U;
  Agent agent(std::move(offer));
  const auto ended = agent.run();
  ASSERT_FALSE(ended);
  EXPECT_THAT(ended.error().message, StartsWith("--cpus: 4000000 is more than this machine's "));
}

TEST_F(AgentTest, RunsPodsAndTellsTheirStartsEndsAndOutput) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  state::StartOrder order =
      script_order(7, "echo index $BERTH_ARRAY_INDEX of $BERTH_JOB_ID; exit $BERTH_ARRAY_INDEX", 3);
  order.kind = state::JobKind::kArray;
  server_.start(std::move(order));
  for (std::uint32_t e = 0; e < 3; ++e) {
    const state::PodEnd end = server_.wait_end(pod_ref(7, e));
    EXPECT_EQ(end.outcome.state, e == 0 ? PodState::kSucceeded : PodState::kFailed);
    EXPECT_EQ(end.outcome.exit_code, e);
    EXPECT_GT(end.outcome.started_at, 0);
    EXPECT_GE(end.outcome.ended_at, end.outcome.started_at);
    EXPECT_EQ(output(7, e), "index " + std::to_string(e) + " of 7\n");
  }
  server_.send(state::ForgetPods{{pod_ref(7, 0), pod_ref(7, 1)}});
  EXPECT_TRUE(eventually([&] { return access(pod_file(pod_ref(7, 1)).c_str(), F_OK) != 0; }));
  EXPECT_EQ(access(pod_file(pod_ref(7, 2)).c_str(), F_OK), 0) << "its end is not durable yet";
  server_.send(state::ForgetJobs{{state::JobId{7}}});
  EXPECT_TRUE(eventually([&] { return access((data() + "/jobs/7").c_str(), F_OK) != 0; }));
}

TEST_F(AgentTest, GivesPodsTheirEnvironmentAndNothingOfTheAgents) {
  setenv("BERTH_TEST_SECRET", "of the agent", 1);
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  state::StartOrder order = script_order(8, "env | grep -v -e ^PWD -e ^_ -e ^SHLVL -e ^OLDPWD | sort");
  order.kind = state::JobKind::kGang;
  order.peers = {"testnode", "other"};
  order.pods[0].gpu_mask = 0b101;
  change_launch(order, [](state::Launch& launch) { launch.env = {"HOME=/home/me", "MINE=1", "PATH=/usr/bin:/bin"}; });
  server_.start(std::move(order));
  EXPECT_EQ(server_.wait_end(pod_ref(8)).outcome.state, PodState::kSucceeded);
  EXPECT_EQ(output(8),
            "BERTH_ATTEMPT=1\nBERTH_GANG_NODES=testnode,other\nBERTH_GANG_RANK=0\nBERTH_GANG_SIZE=2\nBERTH_JOB_ID=8\n"
            "BERTH_JOB_NAME=script\nBERTH_NODE=testnode\nCUDA_VISIBLE_DEVICES=0,2\nHOME=/home/me\nMINE=1\n"
            "PATH=/usr/bin:/bin\nUSER=tester\n");
}

TEST_F(AgentTest, ABurstOfPodsAllRunOnce) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  const std::string tally = directory_ / "tally";
  server_.start(script_order(9, "echo x >> " + tally, 400));
  ASSERT_TRUE(eventually([&] { return server_.ended_pods() == 400; }, 60'000));
  EXPECT_EQ(contents(tally).size(), 800U);
}

TEST_F(AgentTest, StopsAPodWithSigtermAndAfterItsGraceWithSigkill) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  state::StartOrder order = script_order(10, "trap 'echo term' TERM; echo ready; while :; do sleep 0.05; done");
  change_launch(order, [](state::Launch& launch) { launch.grace_ms = 300; });
  server_.start(std::move(order));
  ASSERT_TRUE(eventually([&] { return output(10) == "ready\n"; }));
  server_.stop(pod_ref(10));
  const state::PodEnd end = server_.wait_end(pod_ref(10));
  EXPECT_EQ(end.outcome.state, PodState::kCancelled);
  EXPECT_EQ(end.outcome.signal, SIGKILL);
  EXPECT_THAT(output(10), HasSubstr("term"));
}

TEST_F(AgentTest, SaysWhyAPodFailed) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  state::StartOrder slow = script_order(11, "exec sleep 1000");
  slow.time_limit_ms = 200;
  server_.start(std::move(slow));
  state::StartOrder missing = script_order(12, "");
  change_launch(missing, [](state::Launch& launch) { launch.argv = {"no-such-program"}; });
  server_.start(std::move(missing));
  server_.start(script_order(13, "kill -KILL $$"));
  server_.stop(pod_ref(99));
  state::PodEnd end = server_.wait_end(pod_ref(11));
  EXPECT_EQ(end.outcome.state, PodState::kTimedOut);
  EXPECT_THAT(end.message, StartsWith("over its time limit of "));
  end = server_.wait_end(pod_ref(12));
  EXPECT_EQ(end.message, "cannot execute 'no-such-program': No such file or directory");
  EXPECT_EQ(end.outcome.exit_code, -1);
  EXPECT_EQ(server_.wait_end(pod_ref(13)).message, "killed by signal 9 (SIGKILL)");
  EXPECT_EQ(server_.wait_end(pod_ref(99)).outcome.state, PodState::kCancelled);
}

TEST_F(AgentTest, APodOverItsMemorySaysSo) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  if (server_.last_hello().info.limits == "none") GTEST_SKIP() << "no cgroups here";
  state::StartOrder order = script_order(14, "exec tail /dev/zero");
  order.resources.mem_mib = 32;
  server_.start(std::move(order));
  const state::PodEnd end = server_.wait_end(pod_ref(14));
  EXPECT_EQ(end.outcome.state, PodState::kOutOfMemory);
  EXPECT_THAT(end.message, StartsWith("killed: out of memory, limit 32 MiB, peak 3"));
}

TEST_F(AgentTest, TellsAnEndAgainUntilItIsForgotten) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  server_.start(script_order(15, "exit 6"));
  server_.wait_end(pod_ref(15));
  server_.drop_connection();
  ASSERT_TRUE(server_.wait_hellos(2));
  ASSERT_TRUE(eventually([&] { return server_.times_ended(pod_ref(15)) == 2; }));
  ASSERT_EQ(server_.last_hello().pods.size(), 1U);
  EXPECT_FALSE(server_.last_hello().pods[0].running);
  server_.send(state::ForgetPods{{pod_ref(15)}});
  ASSERT_TRUE(eventually([&] { return access(pod_file(pod_ref(15)).c_str(), F_OK) != 0; }));
  server_.drop_connection();
  ASSERT_TRUE(server_.wait_hellos(3));
  EXPECT_TRUE(server_.last_hello().pods.empty());
}

TEST_F(AgentTest, PodsOutliveAKilledAgentAndTheNextOneTakesThemOver) {
  const std::string tally = directory_ / "tally";
  const std::string go = directory_ / "go";
  AgentProcess first(server_.socket(), data());
  ASSERT_TRUE(server_.wait_hellos(1));
  const std::string instance = server_.last_hello().info.instance;
  server_.start(
      script_order(20, "echo long >> " + tally + "; while ! [ -e " + go + " ]; do sleep 0.02; done; exit 11"));
  server_.start(script_order(
      21, "echo short >> " + tally + "; while ! [ -e " + go + ".short ]; do sleep 0.02; done; echo done; exit 12"));
  ASSERT_TRUE(server_.wait_started(pod_ref(20)));
  ASSERT_TRUE(server_.wait_started(pod_ref(21)));
  first.kill_it();
  server_.clear();
  ASSERT_TRUE(write_file(go + ".short", ""));
  ASSERT_TRUE(eventually([&] { return read_pod_facts(pod_file(pod_ref(21)))->end.has_value(); }));

  const AgentProcess second(server_.socket(), data());
  ASSERT_TRUE(server_.wait_hellos(2));
  const state::AgentHello hello = server_.last_hello();
  EXPECT_EQ(hello.info.instance, instance);
  ASSERT_EQ(hello.pods.size(), 2U);
  EXPECT_TRUE(hello.pods[0].running);
  EXPECT_GT(hello.pods[0].started_at, 0);
  EXPECT_EQ(server_.wait_end(pod_ref(21)).outcome.exit_code, 12) << "ended while no agent looked";
  EXPECT_EQ(output(21), "done\n");
  // Sent again, as a server would that is not sure: nothing may run twice.
  server_.start(script_order(20, "echo again >> " + tally));
  server_.start(script_order(21, "echo again >> " + tally));
  ASSERT_TRUE(write_file(go, ""));
  EXPECT_EQ(server_.wait_end(pod_ref(20)).outcome.exit_code, 11) << "ended under its second agent";
  const std::string ran = contents(tally);
  EXPECT_EQ(ran.size(), std::string("long\nshort\n").size());
  EXPECT_THAT(ran, testing::Not(HasSubstr("again")));
}

TEST_F(AgentTest, KillingTheAgentAgainAndAgainDuringABurstRunsEachPodOnce) {
  const std::string tally = directory_ / "tally";
  constexpr std::uint32_t kPods = 150;
  const state::StartOrder order = script_order(22, "echo $BERTH_ARRAY_INDEX >> " + tally + "; sleep 0.2", kPods);
  const auto array = [&] {
    state::StartOrder copy = order;
    copy.kind = state::JobKind::kArray;
    return copy;
  };
  for (std::size_t round = 1; round <= 4; ++round) {
    AgentProcess agent(server_.socket(), data());
    ASSERT_TRUE(server_.wait_hellos(round));
    server_.start(array());
    usleep(40'000);
    agent.kill_it();
  }
  const AgentProcess last(server_.socket(), data());
  ASSERT_TRUE(server_.wait_hellos(5));
  server_.start(array());
  ASSERT_TRUE(eventually([&] { return server_.ended_pods() == kPods; }, 60'000));
  std::map<std::string, int> runs;
  std::istringstream lines(contents(tally));
  for (std::string line; std::getline(lines, line);) ++runs[line];
  EXPECT_EQ(runs.size(), kPods);
  for (const auto& [index, times] : runs) EXPECT_EQ(times, 1) << "pod " << index;
}

TEST_F(AgentTest, AStopSurvivesTheAgentThatWasTold) {
  AgentProcess first(server_.socket(), data());
  ASSERT_TRUE(server_.wait_hellos(1));
  state::StartOrder order = script_order(23, "trap '' TERM; echo ready; while :; do sleep 0.05; done");
  change_launch(order, [](state::Launch& launch) { launch.grace_ms = 500; });
  server_.start(std::move(order));
  ASSERT_TRUE(eventually([&] { return output(23) == "ready\n"; }));
  server_.stop(pod_ref(23));
  ASSERT_TRUE(eventually([&] { return read_pod_facts(pod_file(pod_ref(23)))->stop.has_value(); }));
  first.kill_it();
  const AgentProcess second(server_.socket(), data());
  const state::PodEnd end = server_.wait_end(pod_ref(23));
  EXPECT_EQ(end.outcome.state, PodState::kCancelled);
  EXPECT_EQ(end.outcome.signal, SIGKILL);
}

TEST_F(AgentTest, AShimThatIsKilledTakesItsPodWithIt) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  server_.start(script_order(24, "echo $$; exec sleep 1000"));
  ASSERT_TRUE(server_.wait_started(pod_ref(24)));
  const pid_t pod = pid_in(data() + "/jobs/24/0.out");
  kill(read_pod_facts(pod_file(pod_ref(24)))->shim_pid, SIGKILL);
  const state::PodEnd end = server_.wait_end(pod_ref(24));
  EXPECT_EQ(end.outcome.state, PodState::kFailed);
  EXPECT_EQ(end.message, "the pod's shim died");
  EXPECT_TRUE(eventually([&] { return !is_alive(pod); }));
}

TEST_F(AgentTest, PodsOfAnEarlierBootWereLostWithIt) {
  AgentProcess first(server_.socket(), data());
  ASSERT_TRUE(server_.wait_hellos(1));
  server_.start(script_order(25, "exec sleep 1000"));
  ASSERT_TRUE(server_.wait_started(pod_ref(25)));
  first.kill_it();
  kill(read_pod_facts(pod_file(pod_ref(25)))->shim_pid, shim::kKillSignal);
  ASSERT_TRUE(eventually([&] { return read_pod_facts(pod_file(pod_ref(25)))->end.has_value(); }));
  // A machine that loses power writes no end.
  const Fd file(open(pod_file(pod_ref(25)).c_str(), O_RDWR | O_CLOEXEC));
  const std::uint32_t no = 0;
  ASSERT_EQ(pwrite(file.get(), &no, sizeof no, offsetof(shim::PodRecord, ended)), 4);
  ASSERT_TRUE(write_file(data() + "/boot", "another boot\n"));
  const AgentProcess second(server_.socket(), data());
  const state::PodEnd end = server_.wait_end(pod_ref(25));
  EXPECT_EQ(end.outcome.state, PodState::kNodeLost);
  EXPECT_EQ(end.message, "the node rebooted");
}

TEST_F(AgentTest, AFileWhoseShimNeverStartedIsNotAPod) {
  ASSERT_TRUE(Layout(data()).make());
  ASSERT_TRUE(create_pod_file(pod_file(pod_ref(26)), "Atrue", encode_order(script_order(26, ""), {0, 0, 1, 0})));
  ASSERT_TRUE(write_file(pod_file(pod_ref(27)), "half"));
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  EXPECT_TRUE(server_.last_hello().pods.empty());
  server_.start(script_order(26, "exit 0"));
  EXPECT_EQ(server_.wait_end(pod_ref(26)).outcome.state, PodState::kSucceeded);
}

TEST_F(AgentTest, OneAgentAtATimeUsesADataDirectory) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  Agent other(options());
  const auto ended = other.run();
  ASSERT_FALSE(ended);
  EXPECT_THAT(ended.error().message, HasSubstr("uses the data directory '" + data() + "'"));
}

TEST_F(AgentTest, ReadsOutputWhileItIsWrittenAndSaysWhereItEnds) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  const std::string go = directory_ / "go";
  state::StartOrder order = script_order(30, "echo first; while ! [ -e " + go + " ]; do sleep 0.02; done; echo second");
  state::ReadLog read;
  read.ref = pod_ref(30);
  read.uid = geteuid();
  read.gid = getegid();
  read.launch = order.launch;
  read.request.job = state::JobId{30};
  read.request.wait_ms = 20'000;
  server_.start(order);
  const auto chunk = [&](std::uint64_t offset) {
    read.request.offset = offset;
    state::LogReply reply = server_.read_log(read);
    const auto* found = std::get_if<state::LogChunk>(&reply.body);
    EXPECT_NE(found, nullptr);
    return found == nullptr ? state::LogChunk{} : *found;
  };
  state::LogChunk first = chunk(0);
  EXPECT_EQ(first.bytes, "first\n");
  EXPECT_FALSE(first.ended);
  ASSERT_TRUE(write_file(go, ""));
  EXPECT_EQ(chunk(6).bytes, "second\n");
  EXPECT_TRUE(chunk(13).ended);
  read.ref.attempt = 0;
  EXPECT_EQ(chunk(0).bytes, "first\nsecond\n");
  server_.send(state::ForgetPods{{pod_ref(30)}});
  state::LogChunk later = chunk(0);
  EXPECT_EQ(later.bytes, "first\nsecond\n") << "also of a pod that the agent has forgotten";
  EXPECT_TRUE(later.ended);
  read.request.error_stream = true;
  EXPECT_EQ(std::get<state::Error>(server_.read_log(read).body).message,
            "job 30 has no error file of its own: its errors are in its output");
}

TEST_F(AgentTest, ReadsAUsersFilesWithTheReadersRights) {
  if (!is_root()) GTEST_SKIP() << "needs root to be another user";
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  const std::string file = directory_ / "private";
  state::StartOrder order = script_order(31, "echo secret");
  change_launch(order, [&](state::Launch& launch) {
    launch.output_path = file;
    launch.umask = 077;
  });
  server_.start(order);
  server_.wait_end(pod_ref(31));
  state::ReadLog read;
  read.ref = pod_ref(31);
  read.launch = order.launch;
  read.uid = read.gid = 0;
  EXPECT_EQ(std::get<state::LogChunk>(server_.read_log(read).body).bytes, "secret\n");
  read.uid = read.gid = 65534;
  EXPECT_EQ(std::get<state::Error>(server_.read_log(read).body).code, state::ErrorCode::kDenied);
}

TEST_F(AgentTest, RefusesThePodsOfOthersIfItCannotBecomeThem) {
  if (is_root()) GTEST_SKIP() << "root can become anybody";
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  state::StartOrder order = script_order(32, "true");
  order.owner.uid = geteuid() + 1;
  server_.start(std::move(order));
  EXPECT_THAT(server_.wait_end(pod_ref(32)).message, HasSubstr("cannot start pods of uid"));
}

}  // namespace
}  // namespace berth::agent
