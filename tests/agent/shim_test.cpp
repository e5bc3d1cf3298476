// The shim, run as the program that it is, with real processes.
#include <gmock/gmock.h>

#include "agent_testing.h"

namespace berth::agent {
namespace {

using namespace testing_support;
using testing::HasSubstr;
using testing::StartsWith;

TEST(Shim, RecordsTheExitCodeAndKeepsTheOutput) {
  ShimRun run;
  run.shell("echo out; echo err >&2; exit 3");
  run.start();
  EXPECT_TRUE(run.wait_started());
  const auto record = run.wait();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->exit_code, 3);
  EXPECT_EQ(record->signal, 0);
  EXPECT_EQ(record->failure, "");
  EXPECT_GT(record->started_at, 0);
  EXPECT_GE(record->ended_at, record->started_at);
  EXPECT_EQ(read_pod_facts(run.pod())->started_at, record->started_at);
  EXPECT_EQ(contents(run.output()), "out\nerr\n");
}

TEST(Shim, RecordsTheSignalThatEndedThePod) {
  ShimRun run;
  run.shell("kill -SEGV $$");
  run.start();
  const auto record = run.wait();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->signal, SIGSEGV);
  EXPECT_EQ(record->exit_code, -1);
}

TEST(Shim, SaysWhichProgramCannotBeExecuted) {
  ShimRun run;
  run.command({"no-such-program"});
  run.start();
  const auto record = run.wait();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->failure, "cannot execute 'no-such-program': No such file or directory");
  EXPECT_EQ(record->started_at, 0);
}

TEST(Shim, SaysThatAFileIsNoProgram) {
  ShimRun run;
  const std::string file = run.directory() / "data";
  ASSERT_TRUE(write_file(file, "x", 0644));
  run.command({file});
  run.start();
  EXPECT_EQ(run.wait()->failure, "cannot execute '" + file + "': Permission denied");
}

TEST(Shim, RunsAScriptThatNamesNoInterpreterWithTheShell) {
  ShimRun run;
  const std::string file = run.directory() / "script";
  ASSERT_TRUE(write_file(file, "echo \"script $1\"\nexit 4\n", 0755));
  run.command({file, "one"});
  run.start();
  EXPECT_EQ(run.wait()->exit_code, 4);
  EXPECT_EQ(contents(run.output()), "script one\n");
}

TEST(Shim, SaysWhichOutputCannotBeOpened) {
  ShimRun run;
  run.command({"true"});
  run.input().add(shim::kOutput, "/no/such/directory/out");
  run.start(false);
  EXPECT_EQ(run.wait()->failure, "cannot open output '/no/such/directory/out': No such file or directory");
}

TEST(Shim, DoesNotWaitForAReaderOfAFifo) {
  ShimRun run;
  const std::string fifo = run.directory() / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  run.command({"true"});
  run.input().add(shim::kOutput, fifo);
  run.start(false);
  EXPECT_THAT(run.wait()->failure, StartsWith("cannot open output '" + fifo + "'"));
}

TEST(Shim, SaysWhichDirectoryCannotBeEntered) {
  ShimRun run;
  run.command({"true"});
  run.input().add(shim::kDirectory, "/no/such/place");
  run.start();
  EXPECT_EQ(run.wait()->failure, "cannot enter directory '/no/such/place': No such file or directory");
}

TEST(Shim, ANewlineInAFileNameStillMakesOneLine) {
  ShimRun run;
  run.command({"/no\nexit 0"});
  run.start();
  const auto record = run.wait();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->failure, "cannot execute '/no?exit 0': No such file or directory");
}

TEST(Shim, RefusesOrdersThatAreNotWhole) {
  ShimRun run;
  run.input().add(shim::kUmask, 18);
  run.start();
  EXPECT_EQ(run.wait()->failure, "the pod's orders cannot be read");
}

TEST(Shim, AppendsOrTruncatesAsAsked) {
  for (const bool append : {false, true}) {
    ShimRun run;
    ASSERT_TRUE(write_file(run.output(), "before\n"));
    run.shell("echo after");
    if (append) run.input().add(shim::kAppend, "");
    run.start();
    ASSERT_TRUE(run.wait());
    EXPECT_EQ(contents(run.output()), append ? "before\nafter\n" : "after\n");
  }
}

TEST(Shim, SplitsOutputAndErrorsIfThereAreTwoFiles) {
  ShimRun run;
  run.shell("echo out; echo err >&2");
  run.input().add(shim::kError, run.directory() / "err");
  run.start();
  ASSERT_TRUE(run.wait());
  EXPECT_EQ(contents(run.output()), "out\n");
  EXPECT_EQ(contents(run.directory() / "err"), "err\n");
}

TEST(Shim, GivesThePodExactlyItsEnvironmentAndUmask) {
  ShimRun run;
  run.input().add(shim::kEnv, "ONE=1 and a half");
  run.input().add(shim::kUmask, 027);
  run.shell("umask; env | grep -v -e ^PWD -e ^_ -e ^SHLVL -e ^OLDPWD | sort");
  run.start();
  ASSERT_TRUE(run.wait());
  EXPECT_EQ(contents(run.output()), "0027\nONE=1 and a half\nPATH=/usr/bin:/bin\n");
}

TEST(Shim, GivesThePodNoDescriptorsAndNoBlockedSignals) {
  ShimRun run;
  run.shell("ls /proc/self/fd | tr '\\n' ' '; grep -e SigBlk -e SigIgn /proc/self/status | tr -d '\\t\\n'");
  run.start();
  ASSERT_TRUE(run.wait());
  EXPECT_EQ(contents(run.output()), "0 1 2 3 SigBlk:0000000000000000SigIgn:0000000000000000");
}

TEST(Shim, KillsWhatAPodLeavesBehindEvenIfItHidesInASessionOfItsOwn) {
  ShimRun run;
  run.shell("(setsid sh -c 'echo $$; exec sleep 1000' &) ; sleep 0.3; exit 0");
  run.start();
  const pid_t orphan = pid_in(run.output());
  ASSERT_GT(orphan, 0);
  EXPECT_TRUE(is_alive(orphan));
  const auto record = run.wait();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->exit_code, 0);
  EXPECT_FALSE(is_alive(orphan));
}

TEST(Shim, PassesAStopOnToAllProcessesOfThePod) {
  ShimRun run;
  run.shell(
      "trap 'echo caught; exit 9' TERM; (trap 'echo inner; exit 0' TERM; while :; do sleep 0.05; done) & "
      "echo ready; while :; do sleep 0.05; done");
  run.start();
  ASSERT_TRUE(eventually([&] { return contents(run.output()) == "ready\n"; }));
  usleep(100'000);  // the inner shell sets its trap
  kill(run.pid(), shim::kStopSignal);
  EXPECT_EQ(run.wait()->exit_code, 9);
  EXPECT_THAT(contents(run.output()), HasSubstr("caught"));
}

TEST(Shim, KillsAPodThatIgnoresTheStop) {
  ShimRun run;
  run.shell("trap '' TERM; echo $$; while :; do sleep 0.05; done");
  run.start();
  const pid_t pod = pid_in(run.output());
  kill(run.pid(), shim::kStopSignal);
  usleep(200'000);
  EXPECT_TRUE(is_alive(pod));
  kill(run.pid(), shim::kKillSignal);
  EXPECT_EQ(run.wait()->signal, SIGKILL);
}

TEST(Shim, WithoutGroupsAPodDoesNotOutliveAShimThatIsKilled) {
  ShimRun run;
  run.shell("echo $$; exec sleep 1000");
  run.start();
  const pid_t pod = pid_in(run.output());
  ASSERT_TRUE(is_alive(pod));
  kill(run.pid(), SIGKILL);
  EXPECT_TRUE(eventually([&] { return !is_alive(pod); }));
}

TEST(Shim, WeighsLessThanAMegabyte) {
  ShimRun run;
  run.shell("exec sleep 1000");
  run.start();
  ASSERT_TRUE(run.wait_started());
  const std::string status = contents("/proc/" + std::to_string(run.pid()) + "/status");
  const std::size_t at = status.find("VmRSS:");
  ASSERT_NE(at, std::string::npos);
  EXPECT_LE(std::atoi(status.c_str() + at + 6), 1024);
}

TEST(Shim, RunsThePodAsItsUserWithItsGroups) {
  if (!is_root()) GTEST_SKIP() << "needs root to become another user";
  ShimRun run;
  run.shell("id -u; id -g; id -G; touch " + run.output() + ".x 2>/dev/null || echo refused");
  run.input().add(shim::kUser, 65534);
  run.input().add(shim::kGroup, 65533);
  run.input().add(shim::kMoreGroup, 4242);
  run.start();
  EXPECT_EQ(run.wait()->failure, "");
  EXPECT_EQ(contents(run.output()), "65534\n65533\n65533 4242\nrefused\n");
  struct stat about {};
  ASSERT_EQ(stat(run.output().c_str(), &about), 0);
  EXPECT_EQ(about.st_uid, 65534U);
  EXPECT_EQ(about.st_mode & 0777, 0600U);
}

TEST(Shim, OpensTheUsersFilesWithTheUsersRights) {
  if (!is_root()) GTEST_SKIP() << "needs root to become another user";
  ShimRun run;
  run.command({"true"});
  run.input().add(shim::kUser, 65534);
  run.input().add(shim::kGroup, 65534);
  run.input().add(shim::kOutput, run.directory() / "not-his");
  run.start(false);
  EXPECT_EQ(run.wait()->failure, "cannot open output '" + (run.directory() / "not-his") + "': Permission denied");
}

}  // namespace
}  // namespace berth::agent
