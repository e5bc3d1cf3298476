// A command run inside of a pod while somebody watches: how it is asked for, and the parts of its stream. The server
// passes parts on between a client and the pod's agent; the core only looks up the pod. Nothing of it is journaled.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "state/ids.h"

namespace berth::state {

// ---- client -> server -----------------------------------------------------------------------------------------------
struct ExecRequest {  // answered with an Error, or by the first ExecPart
  JobId job;
  std::optional<std::uint32_t> index;
  std::vector<std::string> argv;
  std::vector<std::string> env;  // "NAME=value", over what the pod has
  bool input = false;            // standard input follows; else it is empty
  bool terminal = false;         // on a pseudo-terminal, whose output is all on standard output
  std::uint32_t rows = 0, columns = 0;
};

// ---- server -> agent ------------------------------------------------------------------------------------------------
struct ExecStart {
  std::uint64_t token = 0;
  PodRef ref;
  ExecRequest request;
};

// ---- both ways, between client and server and between server and agent ----------------------------------------------
// To and from a client `token` is 0, and the message has the number of its ExecRequest. Of what is sent each way no
// more than kExecWindowBytes may be on their way; kTaken gives room for more.
struct ExecPart {
  enum class Kind : std::uint8_t {
    kStarted = 0,   // from the agent: the command runs
    kInput = 1,     // to the agent
    kInputEnd = 2,  // to the agent: no more of it
    kOutput = 3,    // from the agent
    kError = 4,     // from the agent
    kTaken = 5,     // so many bytes of what the other sent are dealt with
    kSize = 6,      // to the agent: of the terminal
    kEnd = 7,       // the last: from the agent, the command has ended; to the agent, it is to be killed
  };
  std::uint64_t token = 0;
  Kind kind = Kind::kStarted;
  std::string bytes;          // kInput, kOutput, kError; of kEnd: why, one line, if it is not the command's own end
  std::uint32_t count = 0;    // kTaken: bytes; kSize: rows; kEnd: the exit code, 128 + N for signal N
  std::uint32_t columns = 0;  // kSize
};
inline constexpr std::uint32_t kExecWindowBytes = 512U << 10;
inline constexpr std::uint32_t kExecPartBytes = 64U << 10;  // in one part

}  // namespace berth::state
