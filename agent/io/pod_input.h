// From a start order to the shim's input: environment, output files, user, limits, and for containers the bundle.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/io/cgroup.h"
#include "agent/io/images.h"
#include "agent/io/layout.h"
#include "agent/io/pod_network.h"
#include "agent/shim/record.h"
#include "state/launch.h"
#include "state/requests.h"

namespace berth::agent {

class InputBuilder {
 public:
  void add(shim::Tag tag, std::string_view text);  // up to a NUL, if there is one
  void add(shim::Tag tag, std::uint64_t number) { add(tag, std::to_string(number)); }
  void add(const GroupPlan& plan);
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

struct Runtime {
  enum class Kind { kCrun, kRunc } kind = Kind::kCrun;
  std::string path;
};

// What is the same for all pods of a node.
struct PodContext {
  std::string node_name, instance;
  const Layout* layout = nullptr;
  const Cgroups* cgroups = nullptr;
  std::uint64_t file_limit = 1024;  // the soft limit that pods get
  bool bind_cpus = true;            // false: the node stands in for another machine, whose cpus are not here
};

struct OutputPaths {
  std::string output, error;  // error "" joins output
  bool own = false;           // output is the default file, below the data directory
};
// `job` has the default file; a step's patterns name another one.
state::Result<OutputPaths> output_paths(const Layout& layout, state::JobId job, const state::Launch& launch,
                                        const state::PathNames& names);

struct PodRequest {
  const PodContext& context;
  const state::StartOrder& order;
  const state::PodToStart& pod;
  const state::Launch& launch;
  std::uint64_t launch_id = 0;
  const PodNetwork* network = nullptr;  // nullptr: the node's own
};
// What the pod calls itself on a network of its own.
std::string host_name_of(const state::StartOrder& order, const state::PodToStart& pod, const state::Launch& launch);
state::Result<std::string> process_input(const PodRequest& request);

struct ContainerInput {
  std::string input, config_json;
};
state::Result<ContainerInput> container_input(const PodRequest& request, const Runtime& runtime, const Image& image);
// The scratch directories among a pod's mounts, in its bundle; they go with that, or when the pod ends.
state::Status make_volumes(const std::string& bundle, const std::vector<state::Mount>& mounts,
                           const state::Owner& owner);

// The part that a probe of a runtime shares with a real container: everything but user, output and pod.
struct ContainerPlace {
  std::string directory;  // the bundle
  std::string name;       // of the container and its group
  std::string lower;      // the image's root
  bool lower_as_user = false;
  std::optional<Cgroups::JobShare> share = std::nullopt;
};
void add_container(InputBuilder& input, const PodContext& context, const Runtime& runtime, const ContainerPlace& place,
                   const state::Resources& resources, const state::Pinning* pinning, ContainerSpec& spec);
// The group that runc makes beside ours; "" for crun, which is told to make none.
std::string inner_group(const PodContext& context, std::string_view name);

}  // namespace berth::agent
