// Probes of real pods, against what they ask: commands, sockets, HTTP. Needs no root.
#include <netinet/in.h>
#include <sys/socket.h>

#include "running_agent.h"

namespace berth::agent::testing_support {
namespace {

using namespace state;

class ProbesTest : public AgentTest {
 protected:
  StartOrder probed(std::uint64_t job, const std::string& script, std::function<void(Launch&)> change) {
    StartOrder order = script_order(job, script);
    order.replica = {ServiceId{1}, 1, 1};
    order.service = "web";
    change_launch(order, [&](Launch& launch) {
      launch.grace_ms = 200;
      change(launch);
    });
    return order;
  }
  bool wait_ready(std::uint64_t job, bool ready) {
    return server_.wait(
        [&] { return server_.readiness.contains(pod_ref(job)) && server_.readiness.at(pod_ref(job)).ready == ready; });
  }
};

TEST_F(ProbesTest, APodWithoutProbesIsReadyWhenItRuns) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  server_.start(probed(1, "sleep 60", [](Launch&) {}));
  EXPECT_TRUE(wait_ready(1, true));
  EXPECT_EQ(server_.readiness[pod_ref(1)].address, "");
  server_.drop_connection();
  EXPECT_TRUE(server_.wait([&] { return server_.readiness_told >= 2; })) << "told again after a reconnection";
  server_.stop(pod_ref(1));
  server_.wait_end(pod_ref(1));
}

TEST_F(ProbesTest, CommandsRunAsThePodsUserInItsGroupsAndEnvironment) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  const std::string file = directory_ / "ready", seen = directory_ / "seen";
  server_.start(probed(1, "sleep 60", [&](Launch& launch) {
    launch.env = {"FILE=" + file, "SEEN=" + seen};
    launch.probe_ready = Probe{Probe::Kind::kCommand,
                               {"sh", "-c", "id -u > $SEEN; cat /proc/self/cgroup >> $SEEN; cat $FILE"},
                               0,
                               "",
                               0,
                               100,
                               5000,
                               1,
                               1};
  }));
  EXPECT_TRUE(wait_ready(1, false));
  EXPECT_TRUE(eventually([&] { return contents(seen).find('\n') != std::string::npos; }));
  EXPECT_TRUE(contents(seen).starts_with(std::to_string(geteuid()) + "\n")) << contents(seen);
  if (Cgroups::detect({.instance = "probecheck"}).usable()) {
    EXPECT_TRUE(eventually([&] { return contents(seen).find("/1.0.1\n") != std::string::npos; })) << contents(seen);
  }
  EXPECT_TRUE(write_file(file, "yes"));
  EXPECT_TRUE(wait_ready(1, true));
  unlink(file.c_str());
  EXPECT_TRUE(wait_ready(1, false));
  const std::string why = server_.readiness[pod_ref(1)].message;
  EXPECT_NE(why.find("readiness probe failed: 'sh -c "), std::string::npos) << why;
  EXPECT_NE(why.find("exit code 1"), std::string::npos) << why;
  EXPECT_NE(why.find("No such file"), std::string::npos) << why;
  server_.stop(pod_ref(1));
  server_.wait_end(pod_ref(1));
}

TEST_F(ProbesTest, APodThatStopsAnsweringIsEndedWithTheReason) {
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(1));
  // A port that nobody listens at.
  const Fd probe(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in own{};
  own.sin_family = AF_INET;
  own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(probe.get(), reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
  socklen_t size = sizeof own;
  getsockname(probe.get(), reinterpret_cast<sockaddr*>(&own), &size);
  const std::uint16_t port = ntohs(own.sin_port);
  const std::string at = "127.0.0.1:" + std::to_string(port);
  server_.start(probed(1, "trap '' TERM; sleep 60 & wait; wait", [&](Launch& launch) {
    launch.probe_live = Probe{Probe::Kind::kHttp, {}, port, "/healthz", 0, 100, 1000, 3, 1};
  }));
  PodEnd end = server_.wait_end(pod_ref(1));
  EXPECT_EQ(end.outcome.state, PodState::kFailed);
  EXPECT_EQ(end.message, "liveness probe failed 3 times: GET http://" + at + "/healthz: connection refused");
  server_.start(probed(2, "sleep 60", [&](Launch& launch) {
    launch.probe_start = Probe{Probe::Kind::kTcp, {}, port, "", 0, 100, 1000, 2, 1};
  }));
  end = server_.wait_end(pod_ref(2));
  EXPECT_EQ(end.message, "start-up probe failed 2 times: connect to " + at + ": connection refused");
  // Connected, but never answered: the kernel accepts what nobody reads.
  ASSERT_EQ(listen(probe.get(), 64), 0);
  server_.start(probed(3, "sleep 60", [&](Launch& launch) {
    launch.probe_live = Probe{Probe::Kind::kHttp, {}, port, "/", 0, 100, 200, 1, 1};
  }));
  end = server_.wait_end(pod_ref(3));
  EXPECT_EQ(end.message, "liveness probe failed: GET http://" + at + "/: no answer within 200ms");
  server_.start(probed(4, "sleep 60", [&](Launch& launch) {
    launch.probe_live = Probe{Probe::Kind::kCommand, {"sleep", "50"}, 0, "", 0, 100, 300, 1, 1};
  }));
  end = server_.wait_end(pod_ref(4));
  EXPECT_EQ(end.message, "liveness probe failed: 'sleep 50': no end within 300ms");
}

TEST_F(ProbesTest, AfterTheAgentsRestartAPodStaysReady) {
  {
    const AgentThread agent(options());
    ASSERT_TRUE(server_.wait_hellos(1));
    server_.start(probed(1, "sleep 60", [](Launch& launch) {
      launch.probe_ready = Probe{Probe::Kind::kCommand, {"true"}, 0, "", 0, 200, 5000, 3, 1};
    }));
    ASSERT_TRUE(wait_ready(1, true));
  }
  server_.readiness.clear();
  server_.unready_told = 0;
  const AgentThread agent(options());
  ASSERT_TRUE(server_.wait_hellos(2));
  EXPECT_TRUE(wait_ready(1, true));
  EXPECT_EQ(server_.unready_told, 0);
  server_.stop(pod_ref(1));
  server_.wait_end(pod_ref(1));
}

}  // namespace
}  // namespace berth::agent::testing_support
