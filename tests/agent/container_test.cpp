// Containers for real: an image made with umoci from busybox, run by crun and by runc.
#include <gmock/gmock.h>

#include "running_agent.h"

namespace berth::agent {
namespace {

using namespace testing_support;
using state::PodState;
using testing::HasSubstr;
using testing::StartsWith;

bool run_quietly(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

class ContainerTest : public AgentTest, public testing::WithParamInterface<RuntimeChoice> {
 protected:
  void SetUp() override {
    if (!is_root()) GTEST_SKIP() << "needs root";
    const std::string runtime = GetParam() == RuntimeChoice::kCrun ? "crun" : "runc";
    for (const std::string& program :
         {runtime, std::string("umoci"), std::string("skopeo"), std::string("/bin/busybox")}) {
      if (!run_quietly("command -v " + program)) GTEST_SKIP() << program << " is not installed";
    }
    make_image();
  }
  void make_image() {
    const std::string layout = directory_ / "image";
    const std::string bundle = directory_ / "unpacked";
    ASSERT_TRUE(run_quietly("umoci init --layout " + layout + " && umoci new --image " + layout +
                            ":small && umoci unpack --image " + layout + ":small " + bundle));
    ASSERT_TRUE(run_quietly("mkdir -p " + bundle + "/rootfs/bin " + bundle + "/rootfs/tmp && chmod 1777 " + bundle +
                            "/rootfs/tmp && cp /bin/busybox " + bundle +
                            "/rootfs/bin/ && for a in sh echo id sleep cat tail env touch; do ln -s busybox " + bundle +
                            "/rootfs/bin/$a; done"));
    ASSERT_TRUE(run_quietly("umoci repack --image " + layout + ":small " + bundle + " && umoci config --image " +
                            layout +
                            ":small --config.env FROM_IMAGE=yes --config.workingdir /tmp --config.entrypoint /bin/echo "
                            "--config.cmd the-default"));
    ASSERT_TRUE(run_quietly("chmod -R a+rX " + layout));
    image_ = layout + ":small";
  }
  AgentOptions with_runtime() const {
    AgentOptions options = this->options();
    options.runtime = GetParam();
    return options;
  }
  state::StartOrder container(std::uint64_t job, const std::string& script, std::uint32_t pods = 1) const {
    state::StartOrder order = script_order(job, script, pods);
    change_launch(order, [&](state::Launch& launch) {
      launch.driver = state::Driver::kOci;
      launch.image = image_;
      launch.cwd = "";
      launch.argv[0] = "/bin/sh";
    });
    return order;
  }
  std::string image_;
};

TEST_P(ContainerTest, RunsAndTellsItsTrueExitCode) {
  const AgentThread agent(with_runtime());
  ASSERT_TRUE(server_.wait_hellos(1));
  server_.start(container(1, "echo $FROM_IMAGE $BERTH_JOB_ID pid $$ in $(pwd); exit 37"));
  const state::PodEnd end = server_.wait_end(pod_ref(1));
  EXPECT_EQ(end.message, "");
  EXPECT_EQ(end.outcome.exit_code, 37);
  EXPECT_EQ(output(1), "yes 1 pid 1 in /tmp\n");
  EXPECT_GT(end.outcome.started_at, 0);
  server_.send(state::ForgetPods{{pod_ref(1)}});
  EXPECT_TRUE(eventually([&] { return std::filesystem::is_empty(data() + "/bundles"); }));
  EXPECT_THAT(contents("/proc/self/mounts"), testing::Not(HasSubstr(data())));
}

TEST_P(ContainerTest, RunsAsTheUserWithoutCapabilitiesOrNewPrivileges) {
  const AgentThread agent(with_runtime());
  ASSERT_TRUE(server_.wait_hellos(1));
  state::StartOrder order = container(2, "id -u; id -g; cat /proc/self/status");
  order.owner = {65534, 65533, "nobody", {4242}};
  server_.start(std::move(order));
  EXPECT_EQ(server_.wait_end(pod_ref(2)).outcome.state, PodState::kSucceeded) << server_.wait_end(pod_ref(2)).message;
  EXPECT_THAT(output(2), StartsWith("65534\n65533\n"));
  EXPECT_THAT(output(2), HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(output(2), HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_THAT(output(2), HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(output(2), HasSubstr("Groups:\t4242"));
}

TEST_P(ContainerTest, ManyContainersShareOneUnpackedImageAndNotTheirChanges) {
  const AgentThread agent(with_runtime());
  ASSERT_TRUE(server_.wait_hellos(1));
  server_.start(container(3, "[ -e /mine ] && exit 9; touch /mine && echo ok", 12));
  for (std::uint32_t e = 0; e < 12; ++e) {
    const state::PodEnd end = server_.wait_end(pod_ref(3, e));
    EXPECT_EQ(end.outcome.state, PodState::kSucceeded) << end.message;
    EXPECT_EQ(output(3, e), "ok\n");
  }
  const auto images = [&] {
    return std::distance(std::filesystem::directory_iterator(data() + "/images"),
                         std::filesystem::directory_iterator());
  };
  EXPECT_TRUE(eventually([&] { return images() == 1; })) << images();
}

TEST_P(ContainerTest, IsKilledForMemoryAndSaysSo) {
  const AgentThread agent(with_runtime());
  ASSERT_TRUE(server_.wait_hellos(1));
  if (server_.last_hello().info.limits == "none") GTEST_SKIP() << "no cgroups here";
  state::StartOrder order = container(4, "exec tail /dev/zero");
  order.resources.mem_mib = 64;
  server_.start(std::move(order));
  const state::PodEnd end = server_.wait_end(pod_ref(4));
  EXPECT_EQ(end.outcome.state, PodState::kOutOfMemory) << end.message;
  EXPECT_THAT(end.message, StartsWith("killed: out of memory, limit 64 MiB, peak 6"));
}

TEST_P(ContainerTest, EndsAtItsTimeLimit) {
  const AgentThread agent(with_runtime());
  ASSERT_TRUE(server_.wait_hellos(1));
  state::StartOrder order = container(5, "trap 'echo term; exit 0' TERM; while :; do sleep 0.1; done");
  order.time_limit_ms = 700;
  server_.start(std::move(order));
  const state::PodEnd end = server_.wait_end(pod_ref(5));
  EXPECT_EQ(end.outcome.state, PodState::kTimedOut) << end.message;
  EXPECT_THAT(output(5), HasSubstr("term\n"));
}

TEST_P(ContainerTest, SaysWhyItCannotStart) {
  const AgentThread agent(with_runtime());
  ASSERT_TRUE(server_.wait_hellos(1));
  state::StartOrder order = container(6, "");
  change_launch(order, [](state::Launch& launch) { launch.argv = {"/no/such/program"}; });
  server_.start(std::move(order));
  order = container(7, "");
  change_launch(order, [&](state::Launch& launch) { launch.image = directory_ / "image:other"; });
  server_.start(std::move(order));
  order = container(8, "");
  change_launch(order, [&](state::Launch& launch) { launch.image = "/no/such/layout:small"; });
  server_.start(std::move(order));
  EXPECT_THAT(server_.wait_end(pod_ref(6)).message,
              testing::AllOf(StartsWith("cannot start the container: "), HasSubstr("/no/such/program")));
  EXPECT_EQ(server_.wait_end(pod_ref(7)).message,
            "no image 'other' in '" + (directory_ / "image") + "' (it has: small)");
  EXPECT_THAT(server_.wait_end(pod_ref(8)).message, StartsWith("no image layout in '/no/such/layout': "));
  EXPECT_EQ(server_.wait_end(pod_ref(6)).outcome.exit_code, -1);
}

TEST_P(ContainerTest, AUserCannotUseAnImageThatHeCannotRead) {
  const AgentThread agent(with_runtime());
  ASSERT_TRUE(server_.wait_hellos(1));
  chmod((directory_ / "image").c_str(), 0700);
  state::StartOrder order = container(9, "true");
  order.owner = {65534, 65534, "nobody", {}};
  server_.start(std::move(order));
  EXPECT_THAT(server_.wait_end(pod_ref(9)).message, HasSubstr("Permission denied"));
}

TEST_P(ContainerTest, OutlivesAKilledAgent) {
  AgentProcess first(server_.socket(), data());
  ASSERT_TRUE(server_.wait_hellos(1));
  server_.start(container(10, "echo begun; sleep 1; echo done; exit 5"));
  ASSERT_TRUE(server_.wait_started(pod_ref(10)));
  first.kill_it();
  const AgentProcess second(server_.socket(), data());
  EXPECT_EQ(server_.wait_end(pod_ref(10)).outcome.exit_code, 5);
  EXPECT_EQ(output(10), "begun\ndone\n");
}

TEST_P(ContainerTest, PodsOfAJobShareItsMemoryOnTheNode) {
  const AgentThread agent(with_runtime());
  ASSERT_TRUE(server_.wait_hellos(1));
  if (server_.last_hello().info.limits == "none") GTEST_SKIP() << "no cgroups here";
  // Two tasks of 40 MiB each in a job of 64: each is within what the job has, and both together are not.
  state::StartOrder order =
      container(11, "busybox dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null && sleep 2", 2);
  order.step_of = state::JobId{7};
  order.resources.mem_mib = 64;
  server_.start(std::move(order));
  int killed = 0;
  for (std::uint32_t e = 0; e < 2; ++e) {
    killed += server_.wait_end(pod_ref(11, e)).outcome.state == PodState::kOutOfMemory ? 1 : 0;
  }
  EXPECT_GE(killed, 1);
  const std::string instance = contents(data() + "/instance").substr(0, 8);
  const Cgroups cgroups = Cgroups::detect({.instance = instance});
  EXPECT_TRUE(eventually([&] { return cgroups.names().empty(); }));
}

TEST_P(ContainerTest, TellsWhatItUsed) {
  const AgentThread agent(with_runtime());
  ASSERT_TRUE(server_.wait_hellos(1));
  server_.start(container(12, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"));
  const state::PodEnd end = server_.wait_end(pod_ref(12));
  EXPECT_EQ(end.outcome.state, PodState::kSucceeded) << end.message;
  EXPECT_GT(end.use.cpu_user_us, 50'000U);
  EXPECT_LE(static_cast<std::int64_t>(end.use.cpu_user_us + end.use.cpu_system_us),
            end.outcome.ended_at - end.outcome.started_at + 1'000'000);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ContainerTest, testing::Values(RuntimeChoice::kCrun, RuntimeChoice::kRunc),
                         [](const auto& c) { return c.param == RuntimeChoice::kCrun ? "crun" : "runc"; });

TEST_F(AgentTest, TheCheckSaysWhichRuntimesWork) {
  const auto lines = check_node(options());
  ASSERT_TRUE(lines) << lines.error().message;
  int runtimes = 0;
  for (const std::string& line : *lines) runtimes += line.starts_with("runtime    ") ? 1 : 0;
  EXPECT_EQ(runtimes, 2);
}

}  // namespace
}  // namespace berth::agent
