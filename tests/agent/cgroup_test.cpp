// Control groups: what is found on this kernel, what is set for a pod, and what it does to real processes.
#include "agent/io/cgroup.h"

#include <algorithm>
#include <gmock/gmock.h>

#include "agent_testing.h"

namespace berth::agent {
namespace {

using namespace testing_support;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

// The machine's own groups, or a skip with the reason.
#define BERTH_NEEDS_CGROUPS(cgroups)                                                                                  \
  const Cgroups cgroups = Cgroups::detect({.instance = "test" + std::to_string(getpid())});                           \
  const std::unique_ptr<const Cgroups, void (*)(const Cgroups*)> tidy(&(cgroups),                                     \
                                                                      [](const Cgroups* c) { c->remove_parents(); }); \
  if (!(cgroups).usable()) GTEST_SKIP() << "no cgroups here: " << (cgroups).why_none()

std::string value(const GroupPlan& plan, const std::string& file) {
  for (const std::string& group : plan.make) {
    if (access((group + "/" + file).c_str(), R_OK) == 0) return contents(group + "/" + file);
  }
  return "";
}

bool any_group_exists(const GroupPlan& plan) {
  return std::any_of(plan.make.begin(), plan.make.end(),
                     [](const auto& path) { return access(path.c_str(), F_OK) == 0; });
}

TEST(Cgroups, TheKernelHasTheLimitsOfARunningPodAndLosesTheGroupsAfterIt) {
  BERTH_NEEDS_CGROUPS(cgroups);
  const GroupPlan plan = cgroups.plan("limits", {1500, 64, 0}, "");
  ShimRun run;
  run.shell("read line < " + (run.directory() / "go"));
  ASSERT_EQ(mkfifo((run.directory() / "go").c_str(), 0600), 0);
  run.input().add(plan);
  run.start();
  ASSERT_TRUE(run.wait_started());
  if (cgroups.is_v2()) {
    EXPECT_EQ(value(plan, "memory.max"), "67108864\n");
    EXPECT_EQ(value(plan, "cpu.max"), "150000 100000\n");
  } else {
    EXPECT_EQ(value(plan, "memory.limit_in_bytes"), "67108864\n");
    EXPECT_EQ(value(plan, "cpu.cfs_quota_us"), "150000\n");
    EXPECT_EQ(value(plan, "cpu.cfs_period_us"), "100000\n");
  }
  if (testing::Value(cgroups.controllers(), Contains("pids"))) {
    EXPECT_EQ(value(plan, "pids.max"), "4096\n");
  }
  EXPECT_THAT(cgroups.names(), ElementsAre("limits"));
  EXPECT_NE(contents(plan.kill + "/cgroup.procs"), "");
  kill(run.pid(), shim::kKillSignal);
  ASSERT_TRUE(run.wait());
  EXPECT_FALSE(any_group_exists(plan));
}

TEST(Cgroups, APodOverItsMemoryIsTheKernelsKillAndSaysItsPeak) {
  BERTH_NEEDS_CGROUPS(cgroups);
  ShimRun run;
  run.command({"tail", "/dev/zero"});  // a line without an end
  run.input().add(cgroups.plan("oom", {1000, 32, 0}, ""));
  run.start();
  const auto record = run.wait();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->failure, "");
  EXPECT_EQ(record->signal, SIGKILL);
  EXPECT_TRUE(record->oom_killed);
  EXPECT_GE(record->mem_peak_mib, 30U);
  EXPECT_LE(record->mem_peak_mib, 33U);
}

TEST(Cgroups, AnOrdinaryKillIsNotTakenForTheKernels) {
  BERTH_NEEDS_CGROUPS(cgroups);
  ShimRun run;
  run.shell("kill -KILL $$");
  run.input().add(cgroups.plan("kill", {1000, 32, 0}, ""));
  run.start();
  const auto record = run.wait();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->signal, SIGKILL);
  EXPECT_FALSE(record->oom_killed);
}

TEST(Cgroups, WhatAPodLeavesBehindIsFoundByItsGroup) {
  BERTH_NEEDS_CGROUPS(cgroups);
  const GroupPlan plan = cgroups.plan("orphan", {1000, 64, 0}, "");
  ShimRun run;
  run.shell("(setsid sh -c 'echo $$; exec sleep 1000' &) ; sleep 0.2; exit 5");
  run.input().add(plan);
  run.start();
  const pid_t orphan = pid_in(run.output());
  const auto record = run.wait();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->exit_code, 5);
  EXPECT_FALSE(is_alive(orphan));
  EXPECT_FALSE(any_group_exists(plan));
}

TEST(Cgroups, TheAgentCanClearUpAfterAShimThatWasKilled) {
  BERTH_NEEDS_CGROUPS(cgroups);
  const GroupPlan plan = cgroups.plan("vanished", {1000, 64, 0}, "");
  ShimRun run;
  run.shell("echo $$; exec sleep 1000");
  run.input().add(plan);
  run.start();
  const pid_t pod = pid_in(run.output());
  kill(run.pid(), SIGKILL);
  EXPECT_TRUE(is_alive(pod));
  cgroups.kill("vanished");
  EXPECT_TRUE(eventually([&] { return !is_alive(pod); }));
  EXPECT_TRUE(eventually([&] {
    cgroups.remove("vanished", "");
    return !any_group_exists(plan);
  }));
}

TEST(Cgroups, AGroupThatCannotBeMadeIsOneClearLine) {
  ShimRun run;
  run.command({"true"});
  GroupPlan plan;
  plan.make = {"/proc/no/such/group"};
  run.input().add(plan);
  run.start();
  EXPECT_EQ(run.wait()->failure, "cannot make the cgroup '/proc/no/such/group': No such file or directory");
}

// ---- the tables of other machines -----------------------------------------------------------------------------------
class CgroupTables : public testing::Test {
 protected:
  CgroupOptions options(const std::string& self, const std::string& mounts) {
    EXPECT_TRUE(write_file(directory_ / "self", self));
    EXPECT_TRUE(write_file(directory_ / "mounts", mounts));
    return {.instance = "i", .self_cgroup = directory_ / "self", .mount_info = directory_ / "mounts"};
  }
  void group(const std::string& path) { ASSERT_TRUE(make_directories(directory_ / path, 0755)); }
  TemporaryDirectory directory_;
};

TEST_F(CgroupTables, V1HierarchiesMayBeMountedTogetherAndBelowAContainersRoot) {
  group("memory/job");
  group("cpu,cpuacct");
  const std::string root = directory_.path();
  const Cgroups cgroups =
      Cgroups::detect(options("3:memory:/docker/abc/job\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
                              "30 25 0:26 /docker/abc " + root +
                                  "/memory rw - cgroup cgroup rw,memory\n"
                                  "31 25 0:27 /docker/abc " +
                                  root + "/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"));
  ASSERT_TRUE(cgroups.usable()) << cgroups.why_none();
  EXPECT_EQ(cgroups.limits(), "cgroup-v1");
  EXPECT_THAT(cgroups.controllers(), ElementsAre("memory", "cpu"));
  const GroupPlan plan = cgroups.plan("p", {500, 10, 0}, "");
  EXPECT_THAT(plan.make, ElementsAre(root + "/memory/job/berth/i/p", root + "/cpu,cpuacct/berth/i/p"));
  EXPECT_THAT(plan.join, ElementsAre(root + "/memory/job/berth/i/p/tasks", root + "/cpu,cpuacct/berth/i/p/tasks"));
  EXPECT_THAT(plan.must_set, Contains(Pair(root + "/memory/job/berth/i/p/memory.limit_in_bytes", "10485760")));
  EXPECT_THAT(plan.may_set, Contains(Pair(root + "/cpu,cpuacct/berth/i/p/cpu.cfs_quota_us", "50000")));
  EXPECT_EQ(plan.join_at_birth, "");
}

TEST_F(CgroupTables, V2HandsControllersDownAndContainersLiveInALeaf) {
  for (const std::string path : {"unified", "unified/berth", "unified/berth/i"}) {
    group(path);
    ASSERT_TRUE(write_file(directory_ / (path + "/cgroup.controllers"), "cpuset cpu io memory pids\n"));
    ASSERT_TRUE(write_file(directory_ / (path + "/cgroup.subtree_control"), "cpu memory pids\n"));
  }
  const std::string root = directory_ / "unified";
  const Cgroups cgroups = Cgroups::detect(options("0::/\n", "30 25 0:26 / " + root + " rw - cgroup2 cgroup2 rw\n"));
  ASSERT_TRUE(cgroups.usable()) << cgroups.why_none();
  EXPECT_EQ(cgroups.limits(), "cgroup-v2");
  EXPECT_EQ(cgroups.unified_mount(), "");
  const GroupPlan plan = cgroups.plan("p", {2000, 10, 0}, "");
  EXPECT_THAT(plan.make, ElementsAre(root + "/berth/i/p"));
  EXPECT_EQ(plan.join_at_birth, root + "/berth/i/p");
  EXPECT_THAT(plan.join, ElementsAre());
  EXPECT_THAT(plan.must_set, Contains(Pair(root + "/berth/i/p/memory.max", "10485760")));
  EXPECT_THAT(plan.may_set, Contains(Pair(root + "/berth/i/p/cpu.max", "200000 100000")));
  EXPECT_EQ(cgroups.plan("p", {}, "inner").join_at_birth, root + "/berth/i/p/run");
  EXPECT_EQ(cgroups.runtime_path("p", "inner"), "/berth/i/p/inner");
}

TEST_F(CgroupTables, AMachineThatLetsNothingBeMadeSaysWhy) {
  const Cgroups none = Cgroups::detect(options("0::/\n", ""));
  EXPECT_EQ(none.limits(), "none");
  EXPECT_EQ(none.why_none(), "no cgroup hierarchy is mounted");
  const Cgroups refused = Cgroups::detect(options("3:memory:/\n", "30 25 0:26 / /proc rw - cgroup cgroup rw,memory\n"));
  EXPECT_EQ(refused.limits(), "none");
  EXPECT_THAT(refused.why_none(), HasSubstr("cannot make the cgroup '/proc/berth/i'"));
  EXPECT_TRUE(refused.plan("p", {1000, 10, 0}, "").make.empty());
}

}  // namespace
}  // namespace berth::agent
