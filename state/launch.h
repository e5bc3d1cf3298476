// Launch: how to run a pod, as the client wrote it. The core carries it as opaque bytes (JobSpec::launch); the client
// encodes it and the agent decodes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "state/container.h"
#include "state/result.h"

namespace berth::state {

enum class Driver : std::uint8_t { kProcess = 0, kOci = 1 };
// The node's own network, or an address of the pod's own in the cluster's pod network.
enum class NetworkMode : std::uint8_t { kHost = 0, kPods = 1 };

// A question that the node asks a pod again and again.
struct Probe {
  enum class Kind : std::uint8_t {
    kCommand = 0,  // good: exit code 0, run inside the pod
    kHttp = 1,     // good: GET is answered with a status from 200 to 399
    kTcp = 2,      // good: a connection is accepted
  };
  Kind kind = Kind::kCommand;
  std::vector<std::string> argv;  // command
  std::uint16_t port = 0;         // http, tcp: at the pod's address
  std::string path;               // http: begins with '/'
  std::int64_t delay_ms = 0;      // from the pod's start to the first time it is asked
  std::int64_t period_ms = 10'000;
  std::int64_t timeout_ms = 1'000;
  std::uint32_t failures = 3;   // so many in a row, and it has failed
  std::uint32_t successes = 1;  // ready: so many in a row, and it is ready (again)
  bool operator==(const Probe&) const = default;
};

struct Launch {
  Driver driver = Driver::kProcess;
  std::vector<std::string> argv;  // argv[0] is searched in the PATH of `env`
  std::vector<std::string> env;   // NAME=value, sorted by name, unique
  std::string cwd;                // absolute; "" for oci means the image's
  // Output files; "" means the default under the agent's data directory. Patterns: %j job id, %a array index, %r gang
  // rank, %n node name, %u user, %x job name, %% a percent sign; a number
  // before the letter pads with zeros to so many digits (%4j). Relative paths start at cwd. `error_path` "" joins the
  // output's file.
  std::string output_path;
  std::string error_path;
  bool append = false;  // append to output files instead of truncating them
  // process: not empty, it is written to a file of the owner's on the node, and run with the words of argv behind
  // argv[0].
  std::string script;
  std::string image;  // oci: a reference, see state/image_name.h
  std::uint32_t umask = 0022;
  std::int64_t grace_ms = 10'000;  // between SIGTERM and SIGKILL
  bool slurm_variables = false;    // process: the node sets SLURM_JOB_ID and its like beside Berth's own
  std::uint8_t warn_signal = 0;    // sent to the pod's processes warn_ms before its time limit; 0 is none
  std::int64_t warn_ms = 0;
  Container container;
  NetworkMode network = NetworkMode::kHost;
  // Until `start` is good once, the others are not asked, and the pod is not ready. `ready` says whether the pod takes
  // requests; a pod whose `start` or `live` failed is stopped and counts as failed.
  std::optional<Probe> probe_start, probe_ready, probe_live;
  bool operator==(const Launch&) const = default;
};

std::string encode_launch(const Launch& launch);
// Verifies: a command (or, for oci, an image, whose own command an empty argv means), no NUL bytes, a working directory
// that is absolute (process), at most 1 MiB. Any bytes are safe input.
Result<Launch> decode_launch(std::span<const std::byte> bytes);
// Replaces the patterns above. `index` is the array index or rank as the user knows it.
struct PathNames {
  std::uint64_t job = 0;
  std::uint32_t index = 0;
  std::string_view node, user, job_name;
  std::uint32_t step = 0;
};
std::string expand_path(std::string_view pattern, const PathNames& names);

}  // namespace berth::state
