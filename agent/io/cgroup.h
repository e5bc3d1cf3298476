// Control groups: limits for pods on cgroup v1 (one hierarchy a controller), hybrid and v2, behind one small interface.
// The agent plans; the pod's shim makes the groups, joins and removes them, in parallel with its like and without the
// agent. All groups are below "berth/<instance>" under the agent's own group: a pod's by its name, and those of pods
// that share what their job has of the node in a group "job.<id>" with its limits. (The cpuset of v1 knows no such
// groups.)
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "state/ids.h"
#include "state/resources.h"
#include "state/topology.h"

namespace berth::agent {

// What a shim does for one pod; see agent/shim/record.h for the meaning of each.
struct GroupPlan {
  std::vector<std::string> share;  // made if they are not there, removed by the last
  std::vector<std::string> make;
  std::vector<std::pair<std::string, std::string>> must_set, may_set;  // path, value
  std::vector<std::string> join;
  std::string join_at_birth, kill, peak, cpu_stat;
  std::vector<std::string> oom_counts;
};

struct CgroupOptions {
  std::string instance;  // short, unique on the machine
  // For tests: other places for the kernel's tables.
  std::string self_cgroup = "/proc/self/cgroup";
  std::string mount_info = "/proc/self/mountinfo";
};

class Cgroups {
 public:
  // Finds what works, makes the parent groups. Never fails: limits() is "none" and why_none() says the reason.
  static Cgroups detect(const CgroupOptions& options);

  // "cgroup-v1", "cgroup-v2" or "none".
  const std::string& limits() const { return limits_; }
  const std::string& why_none() const { return why_none_; }
  bool usable() const { return limits_ != "none"; }
  // Controllers that have a group: of "memory", "cpu", "pids", "cpuset".
  const std::vector<std::string>& controllers() const { return controllers_; }
  // A cgroup2 mount beside v1 hierarchies, which crun refuses to see; "" if there is none.
  const std::string& unified_mount() const { return unified_mount_; }
  bool is_v2() const { return limits_ == "cgroup-v2"; }

  // What all pods of a job may use together on this node.
  struct JobShare {
    state::JobId job;
    state::Resources resources;
  };
  // `inner` is the name of the group that runc makes of its own; "" for none.
  // `pinning`: the hardware threads (and, if it says so, the NUMA nodes) that the pod may use; nullptr: any.
  GroupPlan plan(std::string_view name, const state::Resources& resources, std::string_view inner,
                 const state::Pinning* pinning = nullptr, const JobShare* share = nullptr) const;
  // How runc is to be told of `inner` (linux.cgroupsPath).
  std::string runtime_path(std::string_view name, std::string_view inner, const JobShare* share = nullptr) const;

  // For a pod whose shim cannot do it any more; wherever its group is. Neither waits: who was killed takes a moment to
  // go, and may have begun a child, so that both are to be called again while something remains.
  void kill(std::string_view name) const;
  void remove(std::string_view name, std::string_view inner) const;
  bool remains(std::string_view name) const;  // some of its groups are still there
  // Processes and memory of a pod now; nothing if it has no groups.
  struct Sample {
    std::vector<int> processes;
    std::uint64_t mem_bytes = 0, mem_peak_bytes = 0;  // without what the kernel can drop at once
  };
  Sample sample(std::string_view name) const;
  std::vector<std::string> names()
      const;                    // of pods whose groups exist, and "job.<id>" of jobs that have none in theirs
  void remove_parents() const;  // at the end; stays if pods still run

 private:
  struct Hierarchy {
    std::string mount, own;  // where it is mounted; the agent's own group in it, "" for the root
    std::vector<std::string> controllers;
    bool v2 = false;
    std::string group(std::string_view below) const { return mount + own + std::string(below); }
  };
  static std::vector<Hierarchy> read_tables(const CgroupOptions& options);
  bool set_up_v1(const std::vector<Hierarchy>& all);
  bool set_up_v2(Hierarchy unified);
  void set_up_cpuset(const std::vector<Hierarchy>& all);
  std::string group(const Hierarchy& hierarchy, std::string_view name) const;
  // Of what exists: its own place, or the one in a job's group.
  std::string find_group(const Hierarchy& hierarchy, std::string_view name) const;
  void plan_limits(GroupPlan& plan, const Hierarchy& hierarchy, const std::string& path,
                   const state::Resources& resources) const;

  std::string limits_ = "none", why_none_, unified_mount_, parent_;
  std::vector<std::string> controllers_;
  std::vector<Hierarchy> used_;    // the first holds the list of a pod's processes
  std::vector<Hierarchy> other_;   // v1 hierarchies that only runc makes groups in
  std::vector<Hierarchy> cpuset_;  // v1: one or none; only pods with cores of their own have a group there
  std::string memory_nodes_;       // … and may use these NUMA nodes
};

}  // namespace berth::agent
