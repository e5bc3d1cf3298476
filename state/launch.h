// Launch: how to run a pod, as the client wrote it. The core carries it as opaque bytes (JobSpec::launch); the client
// encodes it and the agent decodes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "state/result.h"

namespace berth::state {

enum class Driver : std::uint8_t { kProcess = 0, kOci = 1 };

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
  std::string image;  // oci: a local OCI layout "DIR:TAG" (or "oci:DIR:TAG")
  std::uint32_t umask = 0022;
  std::int64_t grace_ms = 10'000;  // between SIGTERM and SIGKILL
  bool slurm_variables = false;    // process: the node sets SLURM_JOB_ID and its like beside Berth's own
  std::uint8_t warn_signal = 0;    // sent to the pod's processes warn_ms before its time limit; 0 is none
  std::int64_t warn_ms = 0;
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
