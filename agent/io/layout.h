// Layout: where things are in an agent's data directory.
//
//   agent.lock  instance  boot            one agent at a time; who it is; the boot it last ran in
//   node.key  node.crt  authority.crt     its certificate, mode 0600
//   shim-<hash>                           the shim's program
//   pods/<job>.<element>.<attempt>        a pod's one file (agent/shim/record.h): made before its shim starts, removed
//   after
//                                         ForgetPods; an attempt that has one is never started again
//   bundles/<job>.<element>.<attempt>/    containers: config.json, the changes to the image, the runtime's state
//   jobs/<job>/<index>.out                default output, the user's, mode 0600; removed after ForgetJobs
//   images/<digest>/rootfs                unpacked images
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "agent/io/files.h"
#include "state/ids.h"

namespace berth::agent {

class Layout {
 public:
  explicit Layout(std::string root) : root_(std::move(root)) {}
  state::Status make() const;  // the directories

  const std::string& root() const { return root_; }
  std::string file(std::string_view name) const { return root_ + "/" + std::string(name); }
  std::string pods() const { return root_ + "/pods"; }
  std::string bundles() const { return root_ + "/bundles"; }
  std::string bundle(const state::PodRef& ref) const { return bundles() + "/" + pod_name(ref); }
  std::string jobs() const { return root_ + "/jobs"; }
  std::string images() const { return root_ + "/images"; }
  std::string pod(const state::PodRef& ref) const { return pods() + "/" + pod_name(ref); }
  std::string job(state::JobId job) const { return jobs() + "/" + std::to_string(job.value); }
  std::string output(state::JobId job_id, std::uint32_t index) const {
    return job(job_id) + "/" + std::to_string(index) + ".out";
  }

  std::string script(state::JobId job_id, std::uint32_t index) const {
    return job(job_id) + "/" + std::to_string(index) + ".script";
  }

  static std::string pod_name(const state::PodRef& ref);
  static std::optional<state::PodRef> parse_pod_name(std::string_view name);

 private:
  std::string root_;
};

}  // namespace berth::agent
