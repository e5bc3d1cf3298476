// How images are asked for and copied: skopeo's command lines, and what its words mean. Without state.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "state/image_name.h"
#include "state/result.h"

namespace berth::agent {

struct RegistryOptions {
  std::string ca_directory;  // certificates (*.crt) of authorities that sign for registries, beside the system's
  std::vector<std::string>
      insecure;           // HOST[:PORT] of registries whose certificates are not looked at, or that have none
  std::string auth_file;  // the site's credentials
};

// Prints the manifest that the name stands for.
std::vector<std::string> inspect_command(const RegistryOptions& options, const state::ImageName& name,
                                         const std::string& auth_file);
// Copies the image for this machine into the OCI layout, tagged "image". `source` is a registry's name, or the file of
// an archive.
std::vector<std::string> copy_command(const RegistryOptions& options, const state::ImageName& name,
                                      const std::string& auth_file, const std::string& layout);
inline constexpr const char* kStagedTag = "image";

struct PullFailure {
  enum class Kind { kUnknown, kUnauthorized, kNoSpace, kArchitecture, kUntrusted, kUnreachable, kOther };
  Kind kind = Kind::kOther;
  state::Error error;  // one line
  bool may_pass() const { return kind == Kind::kUnreachable; }
};
// From what a failed skopeo or umoci wrote to its standard error.
PullFailure read_failure(const state::ImageName& name, std::string_view output, std::string_view doing);

std::string machine_architecture();  // as images name it: "amd64", "arm64", …

}  // namespace berth::agent
