#include "agent/io/pod_input.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <map>
#include <optional>
#include <pwd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "state/text.h"

namespace berth::agent {

using namespace state;

namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

using Environment = std::map<std::string, std::string>;

void merge(Environment& into, const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    const std::size_t at = line.find('=');
    if (at != std::string::npos && at != 0) into[line.substr(0, at)] = line.substr(at + 1);
  }
}

std::vector<std::string> lines_of(const Environment& environment) {
  std::vector<std::string> lines;
  lines.reserve(environment.size());
  for (const auto& [name, value] : environment) lines.push_back(name + "=" + value);
  return lines;
}

std::string joined(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ",") + item;
  return text;
}

std::string gpu_list(std::uint64_t mask) {
  std::string text;
  for (std::uint32_t i = 0; i < kMaxGpus; ++i) {
    if ((mask >> i & 1) != 0) text += (text.empty() ? "" : ",") + std::to_string(i);
  }
  return text;
}

// What Berth itself tells a pod.
void add_berth_variables(Environment& environment, const PodRequest& request) {
  const StartOrder& order = request.order;
  const bool step = order.step_of != JobId{};
  environment["BERTH_JOB_ID"] = std::to_string(step ? order.step_of.value : order.job.value);
  if (step) environment["BERTH_STEP"] = std::to_string(order.step);
  environment["BERTH_JOB_NAME"] = order.job_name;
  environment["BERTH_ATTEMPT"] = std::to_string(request.pod.attempt);
  environment["BERTH_NODE"] = request.context.node_name;
  if (order.kind == JobKind::kArray) environment["BERTH_ARRAY_INDEX"] = std::to_string(request.pod.index);
  if (order.kind == JobKind::kGang) {
    environment["BERTH_GANG_RANK"] = std::to_string(request.pod.index);
    environment["BERTH_GANG_SIZE"] = std::to_string(order.peers.size());
    environment["BERTH_GANG_NODES"] = joined(order.peers);
  }
  if (!request.pod.pinning.empty()) environment["BERTH_CPUS"] = request.pod.pinning.cpus;
  // What a share of a GPU means to CUDA's multi-process service, where that runs.
  if (const std::uint32_t share = order.gpu_share_milli; share != 0) {
    environment["BERTH_GPU_SHARE"] = std::to_string(share / 10);
    environment["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = std::to_string(std::max(share / 10, 1U));
  }
  // Set even if empty: a pod that asked for no GPU shall not find one.
  environment["CUDA_VISIBLE_DEVICES"] = gpu_list(request.pod.gpu_mask);
}

// The nodes of a gang in the order of its ranks, and how many of these are on each.
struct Spread {
  std::vector<std::string> nodes;
  std::vector<std::uint32_t> ranks;
  std::size_t number_of(const std::string& node) const {
    return static_cast<std::size_t>(std::find(nodes.begin(), nodes.end(), node) - nodes.begin());
  }
};
Spread spread_of(const StartOrder& order) {
  Spread spread;
  for (const std::string& peer : order.peers) {
    const std::size_t at = spread.number_of(peer);
    if (at == spread.nodes.size()) {
      spread.nodes.push_back(peer);
      spread.ranks.push_back(0);
    }
    ++spread.ranks[at];
  }
  return spread;
}

// What Slurm would tell it of where and as what it runs; the rest is the same everywhere, and in its environment
// already.
void add_slurm_variables(Environment& environment, const PodRequest& request) {
  const StartOrder& order = request.order;
  const std::string& node = request.context.node_name;
  const bool step = order.step_of != JobId{};
  const std::string job = std::to_string(step ? order.step_of.value : order.job.value);
  environment["SLURM_JOB_ID"] = environment["SLURM_JOBID"] = job;
  environment["SLURMD_NODENAME"] = node;
  environment["SLURM_JOB_USER"] = order.owner.user;
  environment["SLURM_JOB_UID"] = std::to_string(order.owner.uid);
  environment["SLURM_JOB_GID"] = std::to_string(order.owner.gid);
  environment["HOSTNAME"] = node;
  environment.try_emplace("TMPDIR", "/tmp");
  if (!step) {
    environment["SLURM_RESTART_COUNT"] = std::to_string(request.pod.attempt - 1);
    if (request.pod.attempt == 1) environment.erase("SLURM_RESTART_COUNT");
    environment["SLURM_JOB_NODELIST"] = environment["SLURM_NODELIST"] = node;
  }
  if (order.kind == JobKind::kArray) {
    environment["SLURM_ARRAY_JOB_ID"] = job;
    environment["SLURM_ARRAY_TASK_ID"] = std::to_string(request.pod.index);
  }
  if (request.pod.gpu_mask != 0) {
    environment["SLURM_JOB_GPUS"] = gpu_list(request.pod.gpu_mask);
    environment["SLURM_GPUS_ON_NODE"] = std::to_string(std::popcount(request.pod.gpu_mask));
  }
  if (order.kind != JobKind::kGang) {
    environment["SLURM_CPUS_ON_NODE"] = environment["SLURM_JOB_CPUS_PER_NODE"] =
        std::to_string(std::max(order.resources.cpu_milli / 1000, 1U));
    return;
  }
  const Spread spread = spread_of(order);
  const std::string nodes = host_list(spread.nodes), count = std::to_string(spread.nodes.size());
  const std::string tasks = std::to_string(order.peers.size()), each = per_node_text(spread.ranks);
  if (!step) {
    environment["SLURM_NNODES"] = environment["SLURM_JOB_NUM_NODES"] = count;
    environment["SLURM_JOB_NODELIST"] = environment["SLURM_NODELIST"] = nodes;
    environment.try_emplace("SLURM_TASKS_PER_NODE", each);
  }
  if (order.lead_only) {
    // The batch script of a job over several nodes: its tasks come with its steps.
    const std::uint32_t here = std::max(spread.ranks[std::min(spread.number_of(node), spread.ranks.size() - 1)], 1U);
    std::vector<std::uint32_t> cpus;
    for (const std::uint32_t ranks : spread.ranks) cpus.push_back(order.resources.cpu_milli / here * ranks / 1000);
    environment["SLURM_JOB_CPUS_PER_NODE"] = per_node_text(cpus);
    environment["SLURM_CPUS_ON_NODE"] = std::to_string(order.resources.cpu_milli / 1000);
    environment["SLURM_NODEID"] = std::to_string(spread.number_of(node));
    return;
  }
  // A task each.
  const std::uint32_t rank = request.pod.index;
  std::string local_ranks;
  std::uint32_t local = 0;
  for (std::uint32_t i = 0; i < order.peers.size(); ++i) {
    if (order.peers[i] != node) continue;
    if (i < rank) ++local;
    local_ranks += (local_ranks.empty() ? "" : ",") + std::to_string(i);
  }
  environment["SLURM_PROCID"] = std::to_string(rank);
  environment["SLURM_LOCALID"] = std::to_string(local);
  environment["SLURM_NODEID"] = std::to_string(spread.number_of(node));
  environment["SLURM_GTIDS"] = local_ranks;
  environment["SLURM_NTASKS"] = environment["SLURM_NPROCS"] = tasks;
  environment["SLURM_STEP_ID"] = environment["SLURM_STEPID"] = std::to_string(order.step);
  environment["SLURM_STEP_NUM_TASKS"] = tasks;
  environment["SLURM_STEP_NUM_NODES"] = environment["SLURM_NNODES"] = count;
  environment["SLURM_STEP_TASKS_PER_NODE"] = environment["SLURM_TASKS_PER_NODE"] = each;
  environment["SLURM_STEP_NODELIST"] = environment["SLURM_NODELIST"] = nodes;
}

std::string home_directory(std::uint32_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) != 0 || found == nullptr) return "/";
  return found->pw_dir;
}

void add_user(InputBuilder& input, const Owner& owner) {
  if (geteuid() != 0) return;  // it is ours, checked before
  input.add(shim::kUser, owner.uid);
  input.add(shim::kGroup, owner.gid);
  for (const std::uint32_t group : owner.groups) input.add(shim::kMoreGroup, group);
}

Status add_common(InputBuilder& input, const PodRequest& request) {
  const Layout& layout = *request.context.layout;
  const JobId job = request.order.step_of != JobId{} ? request.order.step_of : request.order.job;
  PathNames names{
      job.value,         request.pod.index, request.context.node_name, request.order.owner.user, request.order.job_name,
      request.order.step};
  const auto paths = output_paths(layout, request.order.job, request.launch, names);
  if (!paths) return paths.error();
  if (paths->own) {
    if (auto made = make_directory(layout.job(request.order.job), 0711); !made) return made;
  }
  input.add(shim::kLaunchId, request.launch_id);
  input.add(paths->own ? shim::kOutputOwn : shim::kOutput, paths->output);
  if (!paths->error.empty()) input.add(shim::kError, paths->error);
  if (request.launch.append) input.add(shim::kAppend, "");
  input.add(shim::kUmask, request.launch.umask);
  add_user(input, request.order.owner);
  return Unit{};
}

// A pod's script as a file that its user alone can read. It goes with the job's output.
Result<std::string> write_script(const PodRequest& request) {
  const Layout& layout = *request.context.layout;
  const Owner& owner = request.order.owner;
  if (auto made = make_directory(layout.job(request.order.job), 0711); !made) return made.error();
  std::string path = layout.script(request.order.job, request.pod.index);
  if (auto wrote = write_file_aside(path, request.launch.script, 0700); !wrote) return wrote.error();
  if (geteuid() == 0 && ::chown(path.c_str(), owner.uid, owner.gid) != 0) {
    return system_error("give to its user", path, errno);
  }
  return path;
}

// nullptr: it has no cores of its own, or not on this machine.
const Pinning* pinning_of(const PodRequest& request) {
  const Pinning& pinning = request.pod.pinning;
  return pinning.empty() || !request.context.bind_cpus ? nullptr : &pinning;
}

// What the pods of a gang have of this node together, its steps' tasks among them; nullopt: of one pod alone.
std::optional<Cgroups::JobShare> share_of(const PodRequest& request) {
  const StartOrder& order = request.order;
  const bool step = order.step_of != JobId{};
  if (!step && order.kind != JobKind::kGang) return std::nullopt;
  Cgroups::JobShare share{step ? order.step_of : order.job, order.resources};
  if (step || order.lead_only) return share;  // is told of the whole
  const auto here =
      static_cast<std::uint32_t>(std::count(order.peers.begin(), order.peers.end(), request.context.node_name));
  share.resources.cpu_milli *= std::max(here, 1U);
  share.resources.mem_mib *= std::max(here, 1U);
  return share;
}

std::string pod_name(const PodRequest& request) {
  return Layout::pod_name({{request.order.job, request.pod.element}, request.pod.attempt});
}

// In mount options ':' separates lower directories and ',' options.
std::string escaped(std::string_view path) {
  std::string text;
  for (const char c : path) {
    if (c == ':' || c == ',' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

std::optional<int> resource_of(const std::string& name) {
  static const std::map<std::string, int> numbers = {
      {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
      {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
      {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
      {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
      {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
      {"stack", RLIMIT_STACK}};
  const auto at = numbers.find(name);
  return at == numbers.end() ? std::nullopt : std::optional<int>(at->second);
}

// "-": none.
std::string limit_text(std::uint64_t value) { return value == Ulimit::kUnlimited ? "-" : std::to_string(value); }

// The agent may give more than it has; a user may not have it.
Status check_ulimits(const PodRequest& request) {
  for (const Ulimit& limit : request.launch.container.ulimits) {
    const auto resource = resource_of(limit.name);
    rlimit have{};
    if (!resource || getrlimit(static_cast<__rlimit_resource_t>(*resource), &have) != 0) {
      return invalid("ulimits", "this node knows no limit '" + limit.name + "'");
    }
    if (request.order.owner.uid == 0 || limit.hard <= have.rlim_max) continue;
    return Error{ErrorCode::kDenied, "ulimits",
                 "the limit " + limit.name + " may be at most " + std::to_string(have.rlim_max) + " on this node", 0};
  }
  return Unit{};
}

}  // namespace

void InputBuilder::add(shim::Tag tag, std::string_view text) {
  bytes_ += static_cast<char>(tag);
  bytes_ += text.substr(0, text.find('\0'));
  bytes_ += '\0';
}

void InputBuilder::add(const GroupPlan& plan) {
  for (const std::string& path : plan.share) add(shim::kShareGroup, path);
  for (const std::string& path : plan.make) add(shim::kMakeGroup, path);
  for (const auto& [path, value] : plan.must_set) add(shim::kMustSet, path + "\n" + value);
  for (const auto& [path, value] : plan.may_set) add(shim::kMaySet, path + "\n" + value);
  for (const std::string& path : plan.join) add(shim::kJoin, path);
  if (!plan.join_at_birth.empty()) add(shim::kJoinAtBirth, plan.join_at_birth);
  if (!plan.kill.empty()) add(shim::kKillGroup, plan.kill);
  if (!plan.peak.empty()) add(shim::kPeak, plan.peak);
  if (!plan.cpu_stat.empty()) add(shim::kCpuStat, plan.cpu_stat);
  for (const std::string& path : plan.oom_counts) add(shim::kOomCount, path);
}

Result<OutputPaths> output_paths(const Layout& layout, JobId job, const Launch& launch, const PathNames& names) {
  OutputPaths paths;
  const auto place = [&](const std::string& pattern, std::string& out) -> Status {
    out = expand_path(pattern, names);
    if (out.starts_with('/')) return Unit{};
    if (launch.cwd.empty()) {
      return invalid("output", "the output path '" + out + "' is relative, and the job has no working directory");
    }
    out = launch.cwd + "/" + out;
    return Unit{};
  };
  if (launch.output_path.empty()) {
    paths.own = true;
    paths.output = layout.output(job, names.index);
  } else if (auto placed = place(launch.output_path, paths.output); !placed) {
    return placed.error();
  }
  if (!launch.error_path.empty()) {
    if (auto placed = place(launch.error_path, paths.error); !placed) return placed.error();
    if (paths.error == paths.output) paths.error.clear();  // one description: nothing is written over
  }
  return paths;
}

Result<std::string> process_input(const PodRequest& request) {
  const Launch& launch = request.launch;
  InputBuilder input;
  if (auto added = add_common(input, request); !added) return added.error();
  Environment environment;
  merge(environment, launch.env);
  environment.try_emplace("PATH", kDefaultPath);
  if (!environment.contains("HOME")) environment["HOME"] = home_directory(request.order.owner.uid);
  environment.try_emplace("USER", request.order.owner.user);
  add_berth_variables(environment, request);
  if (launch.slurm_variables) add_slurm_variables(environment, request);
  if (!launch.script.empty()) {
    auto script = write_script(request);
    if (!script) return script.error();
    input.add(shim::kArg, *script);
  }
  for (std::size_t i = launch.script.empty() ? 0 : 1; i < launch.argv.size(); ++i) {
    input.add(shim::kArg, launch.argv[i]);
  }
  for (const std::string& line : lines_of(environment)) input.add(shim::kEnv, line);
  input.add(shim::kDirectory, launch.cwd.empty() ? "/" : launch.cwd);
  input.add(shim::kFileLimit, request.context.file_limit);
  if (auto good = check_ulimits(request); !good) return good.error();
  for (const Ulimit& limit : launch.container.ulimits) {
    input.add(shim::kUlimit,
              std::to_string(*resource_of(limit.name)) + " " + limit_text(limit.soft) + " " + limit_text(limit.hard));
  }
  const Pinning* pinning = pinning_of(request);
  const auto share = share_of(request);
  if (request.context.cgroups->usable())
    input.add(request.context.cgroups->plan(pod_name(request), request.order.resources, "", pinning,
                                            share ? &*share : nullptr));
  if (pinning != nullptr) input.add(shim::kCpus, pinning->cpus);
  if (const PodNetwork* network = request.network) {
    input.add(shim::kNetns, network->netns);
    input.add(shim::kBindFile, network->resolv_conf + "\n/etc/resolv.conf");
    input.add(shim::kBindFile, network->hosts + "\n/etc/hosts");
  }
  return input.bytes();
}

std::string host_name_of(const StartOrder& order, const PodToStart& pod, const Launch& launch) {
  if (!launch.container.hostname.empty()) return launch.container.hostname;
  if (!order.service.empty()) return order.service + "-" + std::to_string(order.replica.slot);
  return "job-" + std::to_string(order.job.value) + "-" + std::to_string(pod.index);
}

std::string inner_group(const PodContext& context, std::string_view name) {
  return "berth-" + context.instance + "-" + std::string(name);
}

void add_container(InputBuilder& input, const PodContext& context, const Runtime& runtime, const ContainerPlace& place,
                   const Resources& resources, const Pinning* pinning, ContainerSpec& spec) {
  const bool crun = runtime.kind == Runtime::Kind::kCrun;
  const std::string inner = crun ? "" : inner_group(context, place.name);
  const std::string id = inner_group(context, place.name);
  const std::string state_root = place.directory + "/runtime";
  const std::string log = place.directory + "/runtime.log";
  const std::string pid_file = place.directory + "/container.pid";
  const Cgroups::JobShare* share = place.share ? &*place.share : nullptr;
  if (context.cgroups->usable()) {
    input.add(context.cgroups->plan(place.name, resources, crun ? "run" : inner, pinning, share));
  }
  if (pinning != nullptr) input.add(shim::kCpus, pinning->cpus);
  if (!crun) spec.cgroups_path = context.cgroups->runtime_path(place.name, inner, share);

  std::vector<std::string> words{runtime.path, "--root", state_root, "--log", crun ? "file:" + log : log};
  // The pod's own group, which the runtime is started in, has the limits: crun needs to make no other.
  if (crun) words.emplace_back("--cgroup-manager=disabled");
  for (const char* word : {"run", "--detach", "--bundle"}) words.emplace_back(word);
  words.insert(words.end(), {place.directory, "--pid-file", pid_file, id});
  for (const std::string& word : words) input.add(shim::kArg, word);
  input.add(shim::kEnv, "PATH=" + std::string(kDefaultPath));
  input.add(shim::kBundle, place.directory);
  input.add(shim::kPidFile, pid_file);
  input.add(shim::kRuntimeLog, log);
  input.add(shim::kOverlay, place.lower_as_user ? place.lower : escaped(place.lower));
  if (place.lower_as_user) input.add(shim::kLowerAsUser, "");
  if (crun && !context.cgroups->unified_mount().empty()) input.add(shim::kHideMount, context.cgroups->unified_mount());
  if (!crun) {  // crun leaves nothing outside of its state directory; runc has groups of its own
    for (const std::string& word :
         {runtime.path, std::string("--root"), state_root, std::string("delete"), std::string("--force"), id}) {
      input.add(shim::kCleanup, word);
    }
  }
}

std::string volume_path(const std::string& bundle, std::size_t number) {
  return bundle + "/volumes/" + std::to_string(number);
}

namespace {

void add_mounts(InputBuilder& input, const std::vector<Mount>& mounts, const std::string& bundle, ContainerSpec& spec) {
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    const Mount& mount = mounts[i];
    const std::string number = std::to_string(i);
    switch (mount.kind) {
      case Mount::Kind::kBind:
        // The shim has it ready there, opened with the user's rights.
        input.add(shim::kBind, std::string(mount.read_only ? "ro " : "rw ") + number + "\n" + mount.source);
        spec.mounts.push_back({mount.target, "bind", bundle + "/mounts/" + number, {"rbind", "nosuid", "nodev"}});
        if (mount.read_only) spec.mounts.back().options.emplace_back("ro");
        break;
      case Mount::Kind::kTmpfs:
        spec.mounts.push_back({mount.target, "tmpfs", "tmpfs", {"nosuid", "nodev", "mode=1777"}});
        if (mount.size_mib != 0) spec.mounts.back().options.push_back("size=" + std::to_string(mount.size_mib) + "m");
        break;
      case Mount::Kind::kScratch:
        spec.mounts.push_back({mount.target, "bind", volume_path(bundle, i), {"rbind", "nosuid", "nodev"}});
        break;
    }
  }
}

}  // namespace

Status make_volumes(const std::string& bundle, const std::vector<Mount>& mounts, const Owner& owner) {
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    if (mounts[i].kind != Mount::Kind::kScratch) continue;
    if (auto made = make_directory(bundle + "/volumes", 0711); !made) return made;
    const std::string path = volume_path(bundle, i);
    if (auto made = make_directory(path, 0700); !made) return made;
    if (geteuid() == 0 && ::chown(path.c_str(), owner.uid, owner.gid) != 0) {
      return system_error("give to its user", path, errno);
    }
  }
  return Unit{};
}

Result<ContainerInput> container_input(const PodRequest& request, const Runtime& runtime, const Image& image) {
  const Launch& launch = request.launch;
  InputBuilder input;
  if (auto added = add_common(input, request); !added) return added.error();
  ContainerSpec spec;
  spec.args = launch.argv;
  if (spec.args.empty()) {
    spec.args = image.config.entrypoint;
    spec.args.insert(spec.args.end(), image.config.command.begin(), image.config.command.end());
  }
  if (spec.args.empty())
    return invalid("image", "the image '" + launch.image + "' names no command, and the job has none");
  Environment environment;
  merge(environment, image.config.env);
  merge(environment, launch.env);
  environment.try_emplace("PATH", kDefaultPath);
  add_berth_variables(environment, request);
  spec.env = lines_of(environment);
  spec.directory = !launch.cwd.empty() ? launch.cwd : !image.config.directory.empty() ? image.config.directory : "/";
  spec.hostname = host_name_of(request.order, request.pod, launch);
  if (const PodNetwork* network = request.network) {
    spec.netns = network->netns;
    spec.files = {{network->resolv_conf, "/etc/resolv.conf"}, {network->hosts, "/etc/hosts"}};
  }
  spec.uid = request.order.owner.uid;
  spec.gid = request.order.owner.gid;
  spec.groups = request.order.owner.groups;
  spec.umask = launch.umask;
  spec.file_limit = request.context.file_limit;
  if (auto good = check_ulimits(request); !good) return good.error();
  spec.ulimits = launch.container.ulimits;
  spec.read_only = launch.container.read_only;
  spec.seccomp = !launch.container.unconfined;
  const PodRef ref{{request.order.job, request.pod.element}, request.pod.attempt};
  add_mounts(input, launch.container.mounts, request.context.layout->bundle(ref), spec);
  add_container(
      input, request.context, runtime,
      {request.context.layout->bundle(ref), pod_name(request), image.rootfs, image.as_user, share_of(request)},
      request.order.resources, pinning_of(request), spec);
  return ContainerInput{input.bytes(), container_config(spec)};
}

}  // namespace berth::agent
