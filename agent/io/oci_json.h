// The JSON of container images and runtimes (OCI image layout, image configuration, runtime specification): read and
// written here and nowhere else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/container.h"
#include "state/result.h"

namespace berth::agent {

struct ImageConfig {
  std::vector<std::string> entrypoint, command, env;
  std::string directory;
};
struct ResolvedImage {
  std::string digest;        // of the manifest, "sha256:…"
  std::string architecture;  // "amd64"; "" if the image does not say
  ImageConfig config;
};
// Follows index.json of the layout to the tag's manifest for this machine and to its configuration. Whoever calls must
// be able to read all layers.
state::Result<ResolvedImage> resolve_image(const std::string& layout, const std::string& tag);

struct ContainerMount {
  std::string target, type, source;
  std::vector<std::string> options;
};
struct ContainerSpec {
  std::vector<std::string> args, env;
  std::string directory, hostname;
  std::uint32_t uid = 0, gid = 0;
  std::vector<std::uint32_t> groups;
  std::uint32_t umask = 022;
  std::string cgroups_path;  // "" leaves the runtime's default
  std::uint64_t file_limit = 1024;
  std::vector<ContainerMount> mounts;  // beside those that every container has
  bool read_only = false;              // the root
  std::vector<state::Ulimit> ulimits;
  bool seccomp = true;
  std::string netns;  // file of a network namespace; "" is the node's own
  std::vector<std::pair<std::string, std::string>>
      files;  // of the node, read-only, and where they are in the container
};
// The config.json of a bundle whose root is its directory "rootfs".
std::string container_config(const ContainerSpec& spec);

// The process of a command in the container whose bundle this is: as the container's own, but for what is given here.
state::Result<std::string> command_process(const std::string& bundle, const std::vector<std::string>& args,
                                           const std::vector<std::string>& env, bool terminal);

// The words of a runtime's log line, without its time and level.
std::string plain_runtime_error(std::string_view line);

}  // namespace berth::agent
