// What agent and shim write for each other in a pod's directory. The agent writes `input` and then starts the shim
// there; the shim answers with `started` and `exit`, each written aside and renamed, so that they are whole or absent.
//
// `input` is a sequence of items, each a tag character, a text and a NUL. `started` and `exit` are lines "key value".
// The shim holds a flock on `lock` as long as it lives (the agent takes it and passes it on), and writes its process id
// there before it starts anything: a lock that is free with an id in it means that the shim is gone.
//
// Descriptors that the shim is started with: kLockFd is `lock`, kNotifyFd a pipe to the agent that takes StartNotice.
#pragma once

#include <cstdint>

namespace berth::shim {

inline constexpr const char* kInputFile = "input";
inline constexpr const char* kLockFile = "lock";
inline constexpr const char* kStartedFile = "started";
inline constexpr const char* kExitFile = "exit";
inline constexpr const char* kExitFileAside = "exit.new";

inline constexpr int kLockFd = 3;
inline constexpr int kNotifyFd = 4;

// Written to the pipe in one piece when the pod's process runs.
struct StartNotice {
  std::uint64_t launch_id = 0;
  std::int64_t started_us = 0;
};

// `shim --probe` exits with this code and does nothing else: a program that any container can run.
inline constexpr int kProbeExitCode = 42;

// Signals the agent sends to the shim; the shim passes them on to every process of the pod.
inline constexpr int kStopSignal = 15;  // SIGTERM: SIGTERM to all
inline constexpr int kKillSignal = 10;  // SIGUSR1: SIGKILL to all, until none is left

enum Tag : char {
  kLaunchId = 'i',   // decimal, for StartNotice
  kArg = 'A',        // in order; for a container the runtime's own command line
  kEnv = 'E',        // NAME=value, in order
  kDirectory = 'D',  // working directory; absent: the pod's directory
  kUser = 'U',       // uid; kUser absent: stay who we are
  kGroup = 'G',      // gid
  kMoreGroup = 'g',  // each supplementary group
  kUmask = 'm',      // decimal
  kFileLimit = 'n',  // the soft RLIMIT_NOFILE for the pod, decimal
  kOutputOwn = 'o',  // output file in the agent's own tree: made by the shim, given to the user
  kOutput = 'O',     // output file of the user's: opened with the user's rights
  kError = 'e',      // error file of the user's; absent: the output's file
  kAppend = 'a',     // append to the files instead of truncating them
  // control groups
  kMakeGroup = 'C',    // directory to make (and to remove at the end)
  kMustSet = 'W',      // "path\nvalue" to write, or the pod does not start
  kMaySet = 'w',       // the same, and a failure does not matter
  kJoin = 'J',         // file the pod's first process writes "0" to
  kJoinAtBirth = 'I',  // cgroup v2 directory the pod's first process is born in
  kKillGroup = 'K',    // directory whose processes, and those of groups below it, are the pod
  kPeak = 'P',         // file with the peak of memory in bytes
  kOomCount = 'X',     // file with a line "oom_kill N"; all such files are added up
  // containers
  kOverlay = 'l',     // lower directory (escaped for mount options): mounts an overlay at `rootfs`
  kHideMount = 'H',   // unmounted in the container's private view of mounts
  kPidFile = 'r',     // the runtime's command detaches and leaves the container's process id here
  kRuntimeLog = 'L',  // where the runtime writes its errors
  kCleanup = 'z',     // arguments of the command that clears up after the container
};

}  // namespace berth::shim
