// JobDraft: a job as a user describes it, by options or in a file, before it becomes the JobSpec that is submitted. The
// one table of fields, job_fields(), drives the options of `berth submit` and `berth run`, the job file and its
// documentation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/launch.h"
#include "state/records.h"
#include "state/result.h"

namespace berth::tools {

struct JobDraft {
  std::string name, queue = "default";
  std::optional<state::IndexSet> array;
  std::uint32_t throttle = 0;
  std::uint32_t gang = 0, nodes = 0;  // 0: not given
  std::uint32_t nodes_max = 0;        // `nodes` is the least of a range
  std::uint32_t per_node = 0, switches = 0;
  bool contiguous = false;
  state::Request request{{1000, 0, 0}, {}};
  std::int64_t time_limit_ms = 0;
  std::int64_t time_min_ms = 0;
  state::TimeUs deadline = 0;
  std::int32_t priority = 0;
  std::uint32_t requeues_max = 0;
  bool held = false;
  state::TimeUs begin_at = 0;
  std::vector<state::Dependency> depends;
  bool any_dependency = false;
  std::string account, qos, comment;
  std::string script;                  // run instead of argv[0]
  std::vector<std::string> variables;  // NAME=VALUE, or NAME: as the submitter has it; later ones win
  bool clear_environment = false;
  std::string cwd, output, error, image;
  bool append = false;
  state::Container container;
  std::int64_t grace_ms = 10'000;
  std::optional<std::uint32_t> umask;
  std::vector<std::string> argv;
};

enum class FieldShape : std::uint8_t {
  kText,          // one value
  kFlag,          // yes or no
  kOptionalText,  // a flag, or a flag with a number
  kList,          // words; the option may be repeated
  kVariables,     // environment: a mapping in a file, NAME=VALUE words as options
  kCommand,       // the command: a list of words, or a line for /bin/sh in a file; no option
};

struct JobField {
  const char* name;    // in a job file, and in error messages
  const char* option;  // "-n,--name"; nullptr if there is none
  const char* value;   // what it takes, "SIZE"
  FieldShape shape;
  const char* group;     // of --help
  const char* text;      // what it does
  const char* accepted;  // its values in a job file
  // Sets the field from one value (for a flag "true" or "false"). The error's field is `field`.
  state::Status (*set)(JobDraft& draft, std::string_view value, std::string_view field);
};
const std::vector<JobField>& job_fields();

// What a job takes over from where it is submitted.
struct Surroundings {
  std::vector<std::string> environment;  // NAME=VALUE
  std::string directory;                 // absolute
  std::uint32_t umask = 0022;
};
Surroundings this_process();

// Checks the fields against each other and makes the job. An error's field is a field's name, or "".
state::Result<state::JobSpec> build_job(const JobDraft& draft, const Surroundings& surroundings);
// An image (state/image_name.h) with its path made absolute, or its registry's prefix in front. What is no image is
// given back as it is.
std::string absolute_image(const std::string& image, const std::string& directory);

}  // namespace berth::tools
