// What a command's shim is told, from what the pod's was.
#include "agent/io/exec_input.h"

#include <gmock/gmock.h>

#include "agent/io/pod_input.h"

namespace berth::agent {
namespace {

using testing::ElementsAre;

std::vector<std::string> items(const std::string& input) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < input.size();) {
    const std::size_t end = input.find('\0', at);
    out.push_back(input.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

InputBuilder process_pod() {
  InputBuilder pod;
  pod.add(shim::kLaunchId, 7);
  pod.add(shim::kOutputOwn, "/data/7.out");
  pod.add(shim::kUser, 1000);
  pod.add(shim::kMoreGroup, 27);
  pod.add(shim::kArg, "sleep");
  pod.add(shim::kArg, "300");
  pod.add(shim::kEnv, "COLOUR=green");
  pod.add(shim::kEnv, "COLOUR_OF=sky");
  pod.add(shim::kDirectory, "/home/ana");
  pod.add(shim::kMakeGroup, "/cg/pod");
  pod.add(shim::kMustSet, "/cg/pod/memory.max\n1");
  pod.add(shim::kJoin, "/cg/pod/cgroup.procs");
  pod.add(shim::kKillGroup, "/cg/pod");
  pod.add(shim::kNetns, "/run/netns/x");
  return pod;
}

TEST(ExecInput, ACommandIsWhatItsPodIsButForItsWordsAndStreams) {
  state::ExecRequest request;
  request.argv = {"ls", "", "-l"};
  const std::string pod = process_pod().bytes();
  EXPECT_FALSE(is_container(pod));
  EXPECT_THAT(items(command_input(pod, request)),
              ElementsAre("U1000", "g27", "ECOLOUR=green", "ECOLOUR_OF=sky", "D/home/ana", "J/cg/pod/cgroup.procs",
                          "K/cg/pod", "N/run/netns/x", "Als", "A", "A-l"));
}

TEST(ExecInput, ItsOwnVariablesReplaceThePodsOfThatNameAlone) {
  state::ExecRequest request;
  request.argv = {"ls"};
  request.env = {"COLOUR=red", "TERM=vt220"};
  request.terminal = true;
  EXPECT_THAT(items(command_input(process_pod().bytes(), request)),
              ElementsAre("U1000", "g27", "ECOLOUR_OF=sky", "D/home/ana", "J/cg/pod/cgroup.procs", "K/cg/pod",
                          "N/run/netns/x", "ECOLOUR=red", "ETERM=vt220", "Als", "T"));
}

TEST(ExecInput, ARuntimeIsAskedAsItWasToRunTheContainer) {
  InputBuilder pod;
  for (const char* word :
       {"/usr/bin/crun", "--root", "/b/runtime", "--log", "file:/b/runtime.log", "--cgroup-manager=disabled", "run",
        "--detach", "--bundle", "/b", "--pid-file", "/b/pid", "berth-x"}) {
    pod.add(shim::kArg, word);
  }
  pod.add(shim::kEnv, "PATH=/bin");
  pod.add(shim::kUser, 1000);
  pod.add(shim::kPidFile, "/b/pid");
  pod.add(shim::kOverlay, "/images/1");
  pod.add(shim::kJoinAtBirth, "/cg/pod");
  ASSERT_TRUE(is_container(pod.bytes()));
  const auto words = runtime_words(pod.bytes(), {"/b/exec-1.json", "/b/exec-1.log", "/b/exec-1.pid"});
  EXPECT_THAT(words, ElementsAre("/usr/bin/crun", "--root", "/b/runtime", "--log", "file:/b/exec-1.log",
                                 "--cgroup-manager=disabled", "exec", "--process", "/b/exec-1.json", "--pid-file",
                                 "/b/exec-1.pid", "berth-x"));
  // The runtime needs root; the container's user is in the process's file.
  EXPECT_THAT(items(runtime_input(pod.bytes(), {"crun", "exec"}, true)),
              ElementsAre("EPATH=/bin", "I/cg/pod", "M", "Acrun", "Aexec", "T"));
}

TEST(ExecInput, WhatIsNoCommandIsToldInOneLine) {
  state::ExecRequest request;
  EXPECT_EQ(check_exec(request), "there is no command to run");
  request.argv = {""};
  EXPECT_EQ(check_exec(request), "there is no command to run");
  request.argv = {"ls", std::string("a\0b", 3)};
  EXPECT_EQ(check_exec(request), "a word of the command has a NUL byte");
  request.argv = {"ls"};
  EXPECT_EQ(check_exec(request), "");
  for (const char* line : {"COLOUR", "=red"}) {
    request.env = {line};
    EXPECT_EQ(check_exec(request), "a variable is not NAME=VALUE") << line;
  }
}

}  // namespace
}  // namespace berth::agent
