#include "agent/io/cgroup.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <map>
#include <memory>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/files.h"

namespace berth::agent {

namespace {

constexpr std::size_t kTableMax = 4U << 20;
constexpr int kPidsMax = 4096;
constexpr std::uint64_t kPeriodUs = 100'000;

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, by);) parts.push_back(part);
  return parts;
}

bool contains(const std::vector<std::string>& list, std::string_view what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

bool make_group(const std::string& path) { return mkdir(path.c_str(), 0755) == 0 || errno == EEXIST; }

bool set_value(const std::string& path, std::string_view value) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool done = write(fd, value.data(), value.size()) == static_cast<ssize_t>(value.size());
  const int error = errno;
  close(fd);
  errno = error;
  return done;
}

std::vector<std::string> directories_in(const std::string& path) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(path.c_str()), closedir);
  if (!directory) return names;
  while (const dirent* entry = readdir(directory.get())) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  return names;
}

int kill_group(const std::string& path) {
  int found = 0;
  if (const auto listed = read_file(path + "/cgroup.procs", kTableMax)) {
    for (const std::string& line : split(*listed, '\n')) {
      pid_t pid = 0;
      std::from_chars(line.data(), line.data() + line.size(), pid);
      if (pid <= 1) continue;
      ++found;
      ::kill(pid, SIGKILL);
    }
  }
  for (const std::string& name : directories_in(path)) found += kill_group(path + "/" + name);
  return found;
}

void remove_group(const std::string& path) {
  for (const std::string& name : directories_in(path)) remove_group(path + "/" + name);
  rmdir(path.c_str());
}

}  // namespace

// /proc/self/cgroup says "ID:CONTROLLERS:PATH", mountinfo where each hierarchy is mounted and from which group on.
std::vector<Cgroups::Hierarchy> Cgroups::read_tables(const CgroupOptions& options) {
  std::vector<Hierarchy> all;
  const auto own = read_file(options.self_cgroup, kTableMax);
  const auto mounts = read_file(options.mount_info, kTableMax);
  if (!own || !mounts) return all;
  std::map<std::string, std::string> own_paths;  // "memory" or "" for v2
  for (const std::string& line : split(*own, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    own_paths[line.substr(first + 1, second - first - 1)] = line.substr(second + 1);
  }
  for (const std::string& line : split(*mounts, '\n')) {
    const std::vector<std::string> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || fields.end() - dash < 4) continue;
    const bool v2 = dash[1] == "cgroup2";
    if (!v2 && dash[1] != "cgroup") continue;
    const std::vector<std::string> words = split(dash[3], ',');
    for (const auto& [names, path] : own_paths) {
      const std::vector<std::string> controllers = split(names, ',');
      const bool same = v2 ? names.empty()
                           : !names.empty() && std::all_of(controllers.begin(), controllers.end(),
                                                           [&](const auto& c) { return contains(words, c); });
      if (!same) continue;
      Hierarchy found{fields[4], path, controllers, v2};
      if (fields[3] != "/" && found.own.starts_with(fields[3])) found.own.erase(0, fields[3].size());
      if (found.own == "/") found.own.clear();
      const bool known = std::any_of(all.begin(), all.end(),
                                     [&](const Hierarchy& h) { return h.v2 == v2 && h.controllers == controllers; });
      if (!known) all.push_back(std::move(found));
    }
  }
  return all;
}

Cgroups Cgroups::detect(const CgroupOptions& options) {
  Cgroups groups;
  groups.parent_ = "/berth/" + options.instance;
  const std::vector<Hierarchy> all = read_tables(options);
  const auto unified = std::find_if(all.begin(), all.end(), [](const Hierarchy& h) { return h.v2; });
  const bool any_v1 =
      std::any_of(all.begin(), all.end(), [](const Hierarchy& h) { return contains(h.controllers, "memory"); });
  if (any_v1) {
    if (unified != all.end()) groups.unified_mount_ = unified->mount;
    if (groups.set_up_v1(all)) groups.limits_ = "cgroup-v1";
  } else if (unified != all.end()) {
    if (groups.set_up_v2(*unified)) groups.limits_ = "cgroup-v2";
  } else {
    groups.why_none_ = "no cgroup hierarchy is mounted";
  }
  if (!groups.usable()) {
    groups.used_.clear();
    groups.controllers_.clear();
  }
  return groups;
}

bool Cgroups::set_up_v1(const std::vector<Hierarchy>& all) {
  for (const std::string_view wanted : {"memory", "cpu", "pids"}) {
    const auto at =
        std::find_if(all.begin(), all.end(), [&](const Hierarchy& h) { return contains(h.controllers, wanted); });
    if (at == all.end()) continue;
    const bool shared =
        std::any_of(used_.begin(), used_.end(), [&](const Hierarchy& h) { return h.mount == at->mount; });
    if (!make_group(at->group("/berth")) || !make_group(at->group(parent_))) {
      why_none_ = "cannot make the cgroup '" + at->group(parent_) + "': " + std::strerror(errno);
      return false;
    }
    if (!shared) used_.push_back(*at);
    controllers_.emplace_back(wanted);
  }
  set_up_cpuset(all);
  for (const Hierarchy& h : all) {
    const bool used = std::any_of(used_.begin(), used_.end(), [&](const Hierarchy& u) { return u.mount == h.mount; });
    if (!used) other_.push_back(h);
  }
  if (contains(controllers_, "memory")) return true;
  why_none_ = "the kernel has no memory controller";
  return false;
}

// A new group of this controller has neither cpus nor memory: it gets what the one above it has. Not load-balanced by
// itself: the kernel would divide the machine anew for each pod.
void Cgroups::set_up_cpuset(const std::vector<Hierarchy>& all) {
  const auto at =
      std::find_if(all.begin(), all.end(), [](const Hierarchy& h) { return contains(h.controllers, "cpuset"); });
  if (at == all.end()) return;
  const auto value_of = [](const std::string& path) {
    auto text = read_file(path, kTableMax);
    while (text && !text->empty() && text->back() == '\n') text->pop_back();
    return text ? *text : std::string();
  };
  std::string above = at->group("");
  for (const std::string& below : {std::string("/berth"), parent_}) {
    const std::string path = at->group(below);
    if (!make_group(path)) return;
    set_value(path + "/cpuset.sched_load_balance", "0");
    for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
      if (!value_of(path + file).empty()) continue;
      if (!set_value(path + file, value_of(above + file))) return;
    }
    above = path;
  }
  memory_nodes_ = value_of(above + "/cpuset.mems");
  if (memory_nodes_.empty()) return;
  cpuset_.push_back(*at);
  controllers_.emplace_back("cpuset");
}

// In v2 a group with processes of its own cannot hand controllers down. An agent that has its group to itself (a
// service) steps aside into a leaf; one in a shared group (a login session) uses the root, which is exempt.
bool Cgroups::set_up_v2(Hierarchy unified) {
  const auto hand_down = [&](const std::string& path) {
    const auto offered = read_file(path + "/cgroup.controllers", kTableMax);
    if (!offered) return false;
    bool memory = false;
    for (const std::string_view wanted : {"memory", "cpu", "pids", "cpuset"}) {
      std::string words = *offered;
      std::replace(words.begin(), words.end(), '\n', ' ');
      if (!contains(split(words, ' '), wanted)) continue;
      if (set_value(path + "/cgroup.subtree_control", "+" + std::string(wanted)) && wanted == "memory") memory = true;
    }
    return memory;
  };
  if (unified.own.ends_with("/agent")) unified.own.erase(unified.own.size() - 6);
  bool ready = hand_down(unified.group(""));
  if (!ready && !unified.own.empty()) {
    const std::string leaf = unified.group("/agent");
    const std::string self = std::to_string(getpid());
    ready = make_group(leaf) && set_value(leaf + "/cgroup.procs", self) && hand_down(unified.group(""));
    if (!ready) {
      set_value(unified.group("/cgroup.procs"), self);
      rmdir(leaf.c_str());
      unified.own.clear();
      ready = hand_down(unified.group(""));
    }
  }
  if (ready) {
    ready = make_group(unified.group("/berth")) && hand_down(unified.group("/berth")) &&
            make_group(unified.group(parent_)) && hand_down(unified.group(parent_));
  }
  if (!ready) {
    why_none_ = "the memory controller cannot be used below '" + unified.group("") + "'";
    return false;
  }
  for (const std::string_view wanted : {"memory", "cpu", "pids", "cpuset"}) {
    const auto handed = read_file(unified.group(parent_) + "/cgroup.subtree_control", kTableMax);
    std::string words = handed ? *handed : "";
    std::replace(words.begin(), words.end(), '\n', ' ');
    if (contains(split(words, ' '), wanted)) controllers_.emplace_back(wanted);
  }
  used_.push_back(unified);
  return true;
}

std::string Cgroups::group(const Hierarchy& hierarchy, std::string_view name) const {
  return hierarchy.group(parent_) + "/" + std::string(name);
}

namespace {

constexpr std::string_view kJobPrefix = "job.";

std::string job_group(state::JobId job) { return std::string(kJobPrefix) + std::to_string(job.value); }

}  // namespace

std::string Cgroups::find_group(const Hierarchy& hierarchy, std::string_view name) const {
  std::string own = group(hierarchy, name);
  if (access(own.c_str(), F_OK) == 0) return own;
  for (const std::string& job : directories_in(hierarchy.group(parent_))) {
    if (!job.starts_with(kJobPrefix)) continue;
    std::string shared = group(hierarchy, job) + "/" + std::string(name);
    if (access(shared.c_str(), F_OK) == 0) return shared;
  }
  return own;
}

// Memory and cpu, of a pod or of a job.
void Cgroups::plan_limits(GroupPlan& plan, const Hierarchy& h, const std::string& path,
                          const state::Resources& resources) const {
  const std::string bytes = std::to_string(resources.mem_mib << 20);
  const std::string quota = std::to_string(std::max<std::uint64_t>(resources.cpu_milli * kPeriodUs / 1000, 1000));
  if (h.v2) {
    if (resources.mem_mib != 0) {
      plan.must_set.emplace_back(path + "/memory.max", bytes);
      plan.may_set.emplace_back(path + "/memory.swap.max", "0");
    }
    if (resources.cpu_milli != 0) plan.may_set.emplace_back(path + "/cpu.max", quota + " " + std::to_string(kPeriodUs));
    return;
  }
  if (contains(h.controllers, "memory") && resources.mem_mib != 0) {
    plan.must_set.emplace_back(path + "/memory.limit_in_bytes", bytes);
    plan.may_set.emplace_back(path + "/memory.memsw.limit_in_bytes", bytes);
  }
  if (contains(h.controllers, "cpu") && resources.cpu_milli != 0) {
    plan.may_set.emplace_back(path + "/cpu.cfs_period_us", std::to_string(kPeriodUs));
    plan.may_set.emplace_back(path + "/cpu.cfs_quota_us", quota);
  }
}

GroupPlan Cgroups::plan(std::string_view name, const state::Resources& resources, std::string_view inner,
                        const state::Pinning* pinning, const JobShare* share) const {
  GroupPlan plan;
  std::string nodes;
  if (pinning != nullptr && pinning->near) {
    for (const auto& memory : pinning->memories) nodes += (nodes.empty() ? "" : ",") + std::to_string(memory.numa);
  }
  for (const Hierarchy& h : used_) {
    std::string path = group(h, name);
    if (share != nullptr) {
      const std::string whole = group(h, job_group(share->job));
      path = whole + "/" + std::string(name);
      plan.share.push_back(whole);
      if (h.v2) {  // before anything is set in the pod's own group, which has its files from this
        for (const std::string& controller : controllers_) {
          plan.must_set.emplace_back(whole + "/cgroup.subtree_control", "+" + controller);
        }
      }
      plan_limits(plan, h, whole, share->resources);
    }
    plan.make.push_back(path);
    if (plan.kill.empty()) plan.kill = path;
    plan_limits(plan, h, path, resources);
    if (h.v2) {
      if (!inner.empty()) {  // containers: processes live in leaves
        plan.make.push_back(path + "/run");
      }
      plan.join_at_birth = inner.empty() ? path : path + "/run";
      if (resources.mem_mib != 0) plan.may_set.emplace_back(path + "/memory.oom.group", "1");
      if (contains(controllers_, "pids")) plan.must_set.emplace_back(path + "/pids.max", std::to_string(kPidsMax));
      if (pinning != nullptr && contains(controllers_, "cpuset")) {
        plan.must_set.emplace_back(path + "/cpuset.cpus", pinning->cpus);
        if (!nodes.empty()) plan.must_set.emplace_back(path + "/cpuset.mems", nodes);
      }
      plan.peak = path + "/memory.peak";
      plan.cpu_stat = path + "/cpu.stat";
      plan.oom_counts.push_back(path + "/memory.events");
      continue;
    }
    // "tasks", not "cgroup.procs": a single thread that moves itself takes no lock over all processes of the machine.
    plan.join.push_back(path + "/tasks");
    if (contains(h.controllers, "memory")) {
      plan.peak = path + "/memory.max_usage_in_bytes";
      plan.oom_counts.push_back(path + "/memory.oom_control");
      if (!inner.empty()) plan.oom_counts.push_back(path + "/" + std::string(inner) + "/memory.oom_control");
    }
    if (contains(h.controllers, "pids")) plan.must_set.emplace_back(path + "/pids.max", std::to_string(kPidsMax));
  }
  if (pinning != nullptr && !cpuset_.empty()) {
    const std::string path = group(cpuset_[0], name);
    plan.make.push_back(path);
    plan.must_set.emplace_back(path + "/cpuset.sched_load_balance", "0");
    plan.must_set.emplace_back(path + "/cpuset.cpus", pinning->cpus);
    plan.must_set.emplace_back(path + "/cpuset.mems", nodes.empty() ? memory_nodes_ : nodes);
    plan.join.push_back(path + "/tasks");
  }
  return plan;
}

std::string Cgroups::runtime_path(std::string_view name, std::string_view inner, const JobShare* share) const {
  // v1: relative to the group that runc itself runs in, which is the pod's. v2: runc would leave that group; say it
  // all.
  if (!is_v2()) return std::string(inner);
  const std::string whole = share == nullptr ? "" : job_group(share->job) + "/";
  return used_.front().own + parent_ + "/" + whole + std::string(name) + "/" + std::string(inner);
}

void Cgroups::kill(std::string_view name) const {
  if (name.starts_with(kJobPrefix)) return;  // who is in there is in a pod's
  // In every hierarchy: an agent that was started again may be in another group of one of them.
  for (const Hierarchy& h : used_) {
    const std::string path = find_group(h, name);
    set_value(path + "/cgroup.kill", "1");
    kill_group(path);
  }
}

void Cgroups::remove(std::string_view name, std::string_view inner) const {
  for (const Hierarchy& h : used_) {
    const std::string path = find_group(h, name);
    if (name.starts_with(kJobPrefix)) {  // a pod's may just be made in it: only if there is none
      rmdir(path.c_str());
      continue;
    }
    remove_group(path);
    const std::string above = path.substr(0, path.rfind('/'));
    if (above != h.group(parent_)) rmdir(above.c_str());  // a job's, if this was the last in it
  }
  for (const Hierarchy& h : cpuset_) remove_group(group(h, name));
  if (inner.empty()) return;
  for (const Hierarchy& h : other_) rmdir(h.group("/" + std::string(inner)).c_str());
}

bool Cgroups::remains(std::string_view name) const {
  if (name.starts_with(kJobPrefix)) return false;  // the last of its pods removes it
  const auto is_there = [](const std::string& path) { return access(path.c_str(), F_OK) == 0; };
  const std::string in_job =
      std::string(kJobPrefix) + std::string(name.substr(0, name.find('.'))) + "/" + std::string(name);
  const auto in_any = [&](const Hierarchy& h) { return is_there(group(h, name)) || is_there(group(h, in_job)); };
  return std::any_of(used_.begin(), used_.end(), in_any) || std::any_of(cpuset_.begin(), cpuset_.end(), in_any);
}

namespace {

void list_processes(const std::string& path, std::vector<int>& out) {
  if (const auto listed = read_file(path + "/cgroup.procs", kTableMax)) {
    for (const std::string& line : split(*listed, '\n')) {
      int pid = 0;
      std::from_chars(line.data(), line.data() + line.size(), pid);
      if (pid > 0) out.push_back(pid);
    }
  }
  for (const std::string& name : directories_in(path)) list_processes(path + "/" + name, out);
}

std::uint64_t number_in(const std::string& path, std::string_view key = "") {
  const auto text = read_file(path, kTableMax);
  if (!text) return 0;
  std::size_t at = 0;
  if (!key.empty()) {
    at = text->find(key);
    if (at == std::string::npos) return 0;
    at += key.size();
  }
  std::uint64_t number = 0;
  std::from_chars(text->data() + at, text->data() + text->size(), number);
  return number;
}

}  // namespace

Cgroups::Sample Cgroups::sample(std::string_view name) const {
  Sample sample;
  for (const Hierarchy& h : used_) {
    const std::string path = find_group(h, name);
    if (&h == &used_.front()) list_processes(path, sample.processes);
    if (!h.v2 && !contains(h.controllers, "memory")) continue;
    sample.mem_bytes = number_in(path + (h.v2 ? "/memory.current" : "/memory.usage_in_bytes"));
    const std::uint64_t cached = number_in(path + "/memory.stat", h.v2 ? "\ninactive_file " : "\ntotal_inactive_file ");
    sample.mem_bytes -= std::min(sample.mem_bytes, cached);
    sample.mem_peak_bytes = number_in(path + (h.v2 ? "/memory.peak" : "/memory.max_usage_in_bytes"));
  }
  return sample;
}

std::vector<std::string> Cgroups::names() const {
  std::vector<std::string> all;
  const auto add = [&all](std::string name) {
    if (!contains(all, name)) all.push_back(std::move(name));
  };
  for (const auto* hierarchies : {&used_, &cpuset_}) {
    for (const Hierarchy& h : *hierarchies) {
      for (std::string& name : directories_in(h.group(parent_))) {
        const bool job = name.starts_with(kJobPrefix);
        std::vector<std::string> pods = job ? directories_in(group(h, name)) : std::vector<std::string>();
        if (pods.empty()) add(std::move(name));
        for (std::string& pod : pods) add(std::move(pod));
      }
    }
  }
  return all;
}

void Cgroups::remove_parents() const {
  for (const Hierarchy& h : used_) {
    rmdir(h.group(parent_).c_str());
    rmdir(h.group("/berth").c_str());
  }
  for (const Hierarchy& h : cpuset_) {
    rmdir(h.group(parent_).c_str());
    rmdir(h.group("/berth").c_str());
  }
}

}  // namespace berth::agent
