// What agent and shim write for each other: one file a pod, because making and removing files is what starting
// thousands of pods costs most. It begins with a PodRecord; the shim's input follows at kInputAt, and then the agent's
// own copy of the start order. The agent writes the file, takes a flock on it and passes the descriptor on; the shim
// keeps the lock as long as it lives and writes its id there before it starts anything: a lock that is free with an id
// in the record means that the shim is gone. The record is written in place, in pages that have their room on disk from
// the beginning, so that a disk that fills up swallows no end.
//
// The input is a sequence of items, each a tag character, a text and a NUL.
#pragma once

#include <cstddef>
#include <cstdint>

namespace berth::shim {

// Descriptors that the shim is started with.
inline constexpr int kPodFd = 3;     // the pod's file, locked
inline constexpr int kNotifyFd = 4;  // a pipe to the agent that takes StartNotice

inline constexpr std::uint64_t kRecordMagic = 0x31646f7068747262ULL;  // "brthpod1"
inline constexpr std::size_t kInputAt = 4096;

struct PodRecord {
  // the agent's, before the shim starts
  std::uint64_t magic = kRecordMagic;
  std::uint32_t input_size = 0, order_size = 0;
  // the agent's, later: why and since when it is being stopped; 0 is not
  std::int64_t stopped_us = 0;
  std::uint32_t stop_state = 0;
  // the shim's
  std::int32_t shim_pid = 0;
  std::int64_t started_us = 0;
  std::int64_t ended_us = 0;
  std::int32_t exit_code = -1, signal = 0;
  std::int64_t oom_kills = 0, peak_bytes = 0;
  std::uint32_t ended = 0;  // set last: what is above and below is then whole
  char failure[2048] = {};
  // what the pod's processes used, all of them; without the container's runtime
  std::int64_t cpu_user_us = 0, cpu_system_us = 0;
  std::int64_t read_bytes = 0, written_bytes = 0;
};
static_assert(sizeof(PodRecord) <= kInputAt);

// Written to the pipe in one piece when the pod's process runs.
struct StartNotice {
  std::uint64_t launch_id = 0;
  std::int64_t started_us = 0;
};

// `shim --probe` exits with this code and does nothing else: a program that any container can run.
inline constexpr int kProbeExitCode = 42;

// Signals the agent sends to the shim; the shim passes them on to every process of the pod.
inline constexpr int kStopSignal = 15;  // SIGTERM: SIGTERM to all
inline constexpr int kWarnSignal = 12;  // SIGUSR2, queued: the signal that its value names, to all
inline constexpr int kKillSignal = 10;  // SIGUSR1: SIGKILL to all, until none is left

// `shim --exec` runs a command beside a pod's processes and watches over it: with the command's standard streams, its
// orders in place of a pod's file, and …
inline constexpr int kExecFd = 4;  // … a socket to the agent; what the agent closes it for is that all of it be killed
inline constexpr int kMountsFd = 5;  // … the mount namespace that it runs in, if its orders have kMounts
// Packets on that socket.
inline constexpr char kExecStarted = 'S';
inline constexpr char kExecFailed = 'F';  // and why; the last
inline constexpr char kExecEnded = 'E';   // and the status as wait() gives it, an int; the last

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
  kUlimit = 'R',     // "RESOURCE SOFT HARD", decimal or "-" for none; after kFileLimit
  kOutputOwn = 'o',  // output file in the agent's own tree: made by the shim, given to the user
  kOutput = 'O',     // output file of the user's: opened with the user's rights
  kError = 'e',      // error file of the user's; absent: the output's file
  kAppend = 'a',     // append to the files instead of truncating them
  kCpus = 'c',       // "0-3,8": the hardware threads that it runs on
  kNetns = 'N',      // file: the network namespace that it runs in
  kBindFile = 'b',   // "source\ntarget": a file that it finds in another one's place
  // control groups
  kShareGroup = 'S',   // directory to make if it is not there, and to remove at the end if nothing is in it
  kMakeGroup = 'C',    // directory to make (and to remove at the end)
  kMustSet = 'W',      // "path\nvalue" to write, or the pod does not start
  kMaySet = 'w',       // the same, and a failure does not matter
  kJoin = 'J',         // file the pod's first process writes "0" to
  kJoinAtBirth = 'I',  // cgroup v2 directory the pod's first process is born in
  kKillGroup = 'K',    // directory whose processes, and those of groups below it, are the pod
  kPeak = 'P',         // file with the peak of memory in bytes
  kCpuStat = 's',      // file with lines "user_usec N" and "system_usec N"
  kOomCount = 'X',     // file with a line "oom_kill N"; all such files are added up
  // containers
  kBundle = 'B',       // its directory; the shim works there
  kOverlay = 'l',      // lower directory (escaped for mount options): mounts an overlay at the bundle's `rootfs`
  kLowerAsUser = 'u',  // … which is the user's: opened with his rights
  kBind = 'v',        // "ro|rw NUMBER\nPATH": mounts PATH, opened with the user's rights, at the bundle's mounts/NUMBER
  kHideMount = 'H',   // unmounted in the container's private view of mounts
  kPidFile = 'r',     // the runtime's command detaches and leaves the container's process id here
  kRuntimeLog = 'L',  // where the runtime writes its errors
  kTerminal = 'T',    // of a command: its standard input is the terminal it is to have
  kMounts = 'M',      // of a command: it runs in the mount namespace at kMountsFd
  kCleanup = 'z',     // arguments of the command that clears up after the container
};

}  // namespace berth::shim
