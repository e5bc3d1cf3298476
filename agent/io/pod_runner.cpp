#include "agent/io/pod_runner.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <span>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/pod_file.h"

namespace berth::agent {

using namespace state;

namespace {

// The longest that starting pods may keep the loop from everything else.
constexpr auto kTurnBudget = std::chrono::milliseconds(4);
constexpr std::int64_t kPollMs = 20;
constexpr std::int64_t kClearAgainMs = 20, kClearAgainMaxMs = 2'000;

}  // namespace

PodRunner::PodRunner(wire::Loop& loop, ShimLauncher& launcher, ImageStore& images, Runtimes& runtimes,
                     const PodContext& context, std::size_t starting_max)
    : loop_(loop),
      launcher_(launcher),
      images_(images),
      runtimes_(runtimes),
      context_(context),
      starting_max_(starting_max) {
  launcher_.on_started([this](std::uint64_t id, std::int64_t at) { on_started(id, at); });
}

// Reports leave in the next turn, all together: the core is never called from within itself, and a burst of starts
// makes one message to the server.
void PodRunner::tell(Report report) {
  if (networks_ != nullptr && !std::holds_alternative<ShimStarted>(report)) {
    networks_->release(std::visit([](const auto& one) { return one.ref; }, report));
  }
  reports_.push_back(std::move(report));
  if (std::exchange(reports_posted_, true)) return;
  loop_.post([this] {
    reports_posted_ = false;
    for (Report& each : std::exchange(reports_, {})) report_(std::move(each));
  });
}

void PodRunner::fail(const PodRef& ref, std::string why) {
  ShimEnded ended;
  ended.ref = ref;
  ended.failure = std::move(why);
  tell(std::move(ended));
}

std::shared_ptr<const Launch> PodRunner::launch_of(const StartOrder& order) {
  if (last_launch_ && last_launch_bytes_ == order.launch) return last_launch_;
  auto launch = decode_launch(std::as_bytes(std::span(order.launch)));
  if (!launch) return nullptr;
  last_launch_bytes_ = order.launch;
  last_launch_ = std::make_shared<const Launch>(std::move(*launch));
  return last_launch_;
}

// ---- starting -------------------------------------------------------------------------------------------------------
void PodRunner::launch(const LaunchPod& action) {
  const Owner& owner = action.order->owner;
  if (geteuid() != 0 && owner.uid != geteuid()) {
    return fail(action.ref, "this node's agent runs as uid " + std::to_string(geteuid()) +
                                " and cannot start pods of uid " + std::to_string(owner.uid));
  }
  Starting starting{action, launch_of(*action.order), nullptr, {}, nullptr};
  if (!starting.launch) return fail(action.ref, "the job's launch description cannot be read");
  queued_.insert(action.ref);
  if (starting.launch->driver == Driver::kOci) return prepare_container(std::move(starting));
  enqueue(std::move(starting));
}

// A container waits for the runtime to be known and its image to be unpacked, without holding up others.
void PodRunner::prepare_container(Starting starting) {
  runtimes_.choose([this, starting](Result<Runtime> runtime) mutable {
    const PodRef ref = starting.action.ref;
    if (!runtime) {
      if (queued_.erase(ref) != 0) fail(ref, runtime.error().message);
      return;
    }
    starting.runtime = *runtime;
    const Launch& launch = *starting.launch;
    const ImageStore::Request wanted{launch.image, starting.action.order->owner, launch.container.pull,
                                     launch.container.auth_file};
    images_.get(wanted, [this, starting](Result<ImageHandle> image) mutable {
      if (!image) {
        if (queued_.erase(starting.action.ref) != 0) fail(starting.action.ref, image.error().message);
        return;
      }
      starting.image = *image;
      enqueue(std::move(starting));
    });
  });
}

// The last thing before it starts, so that an address is not held by a pod that waits for its image.
void PodRunner::attach(Starting starting) {
  if (networks_ == nullptr) return fail(starting.action.ref, "this agent has no pod networks");
  const LaunchPod& action = starting.action;
  const std::string name = host_name_of(*action.order, action.pod, *starting.launch);
  networks_->attach(action.ref, name, action.order->space,
                    [this, starting](Result<std::shared_ptr<const PodNetwork>> network) mutable {
                      if (!network) {
                        if (queued_.erase(starting.action.ref) != 0) fail(starting.action.ref, network.error().message);
                        return;
                      }
                      starting.network = *network;
                      enqueue(std::move(starting));
                    });
}

void PodRunner::enqueue(Starting starting) {
  if (starting.launch->network == NetworkMode::kPods && !starting.network) return attach(std::move(starting));
  queue_.push_back(std::move(starting));
  if (std::exchange(pump_posted_, true)) return;
  loop_.post([this] { pump(); });
}

void PodRunner::pump() {
  pump_posted_ = false;
  const auto until = std::chrono::steady_clock::now() + kTurnBudget;
  while (!queue_.empty() && launches_.size() < starting_max_) {
    Starting next = std::move(queue_.front());
    queue_.pop_front();
    if (queued_.erase(next.action.ref) == 0) continue;  // stopped while it waited
    start_one(next);
    if (std::chrono::steady_clock::now() < until || queue_.empty()) continue;
    pump_posted_ = true;
    loop_.post([this] { pump(); });
    return;
  }
}

void PodRunner::start_one(Starting& starting) {
  const PodRef ref = starting.action.ref;
  left_.erase(Layout::pod_name(ref));  // an agent before us left it, and the server sends the pod again
  const std::uint64_t id = next_launch_id_++;
  auto pod_file = write_pod(starting, id);
  if (!pod_file) return fail(ref, pod_file.error().message);
  auto shim = launcher_.spawn(std::move(*pod_file), [this, ref] { on_exit(ref); });
  if (!shim) return fail(ref, "cannot start the pod: " + shim.error().message);
  live_[ref] = Live{std::move(*shim), id, false, starting.image};
  launches_.emplace(id, ref);
}

Result<Fd> PodRunner::write_pod(Starting& starting, std::uint64_t launch_id) {
  const LaunchPod& action = starting.action;
  const Layout& layout = *context_.layout;
  const PodRequest request{context_, *action.order, action.pod, *starting.launch, launch_id, starting.network.get()};
  std::string input;
  if (starting.image) {
    auto container = container_input(request, starting.runtime, *starting.image);
    if (!container) return container.error();
    const std::string bundle = layout.bundle(action.ref);
    remove_tree(bundle);  // of an agent that died before it wrote the pod's file
    if (auto made = make_directory(bundle, 0700); !made) return made.error();
    if (auto wrote = write_file(bundle + "/config.json", container->config_json); !wrote) return wrote.error();
    const auto& mounts = starting.launch->container.mounts;
    if (auto made = make_volumes(bundle, mounts, action.order->owner); !made) return made.error();
    // For the next agent: what is in use is not removed.
    const std::string& digest = starting.image->digest;
    if (!digest.empty() && symlink(digest.c_str(), (bundle + "/image").c_str()) != 0) {
      return system_error("note the image in", bundle, errno);
    }
    input = std::move(container->input);
  } else {
    auto process = process_input(request);
    if (!process) return process.error();
    input = std::move(*process);
  }
  return create_pod_file(layout.pod(action.ref), input, encode_order(*action.order, action.pod));
}

// ---- what becomes of them -------------------------------------------------------------------------------------------
void PodRunner::on_started(std::uint64_t launch_id, std::int64_t started_us) {
  const auto at = launches_.find(launch_id);
  if (at == launches_.end()) return;
  const PodRef ref = at->second;
  launches_.erase(at);
  live_.at(ref).started = true;
  tell(ShimStarted{ref, started_us});
  if (!queue_.empty() && !std::exchange(pump_posted_, true)) loop_.post([this] { pump(); });
}

void PodRunner::on_exit(const PodRef& ref) {
  const auto at = live_.find(ref);
  if (at == live_.end()) return;
  launches_.erase(at->second.launch_id);
  if (at->second.image != nullptr) images_.used(*at->second.image);
  live_.erase(at);
  unstarted_.erase(ref);
  if (!queue_.empty() && !std::exchange(pump_posted_, true)) loop_.post([this] { pump(); });
  const std::string name = Layout::pod_name(ref);
  auto facts = read_pod_facts(context_.layout->pod(ref));
  if (facts && facts->end) {
    facts->end->ref = ref;
    if (context_.cgroups->remains(name)) clear_groups(name);
    return tell(std::move(*facts->end));
  }
  spdlog::warn("pod {}: its shim died", name);
  clear_groups(name);
  tell(ShimVanished{ref, false});
}

// ---- groups that a shim did not remove, because it died or somebody in them would not go ----------------------------
void PodRunner::clear_groups(const std::string& name) {
  context_.cgroups->kill(name);
  context_.cgroups->remove(name, inner_group(context_, name));
  if (!context_.cgroups->remains(name)) return;
  left_.insert(name);
  left_pause_ms_ = kClearAgainMs;
  left_timer_ = loop_.after_ms(left_pause_ms_, [this] { clear_left(); });
}

void PodRunner::clear_left() {
  std::erase_if(left_, [&](const std::string& name) {
    context_.cgroups->kill(name);
    context_.cgroups->remove(name, inner_group(context_, name));
    return !context_.cgroups->remains(name);
  });
  left_pause_ms_ = std::min(2 * left_pause_ms_, kClearAgainMaxMs);
  if (!left_.empty()) left_timer_ = loop_.after_ms(left_pause_ms_, [this] { clear_left(); });
}

void PodRunner::signal(const SignalPod& action) {
  if (queued_.erase(action.ref) != 0) {  // it need not start any more
    ShimEnded ended;
    ended.ref = action.ref;
    return tell(std::move(ended));
  }
  const auto at = live_.find(action.ref);
  if (at == live_.end()) return;  // its end is on the way
  write_stop(context_.layout->pod(action.ref), action.mark);
  ShimLauncher::send_signal(*at->second.shim, action.signal == SIGKILL ? shim::kKillSignal : shim::kStopSignal);
}

void PodRunner::warn(const WarnPod& action) {
  const auto at = live_.find(action.ref);
  if (at != live_.end()) ShimLauncher::send_warning(*at->second.shim, action.signal);
}

int PodRunner::shim_of(const PodRef& ref) const {
  const auto at = live_.find(ref);
  return at == live_.end() ? 0 : at->second.shim->pid;
}

void PodRunner::discard(const DiscardPod& action) { forget_files(action.ref); }

std::set<PodRef> PodRunner::living() const {
  std::set<PodRef> refs;
  for (const auto& [ref, live] : live_) refs.insert(ref);
  return refs;
}

// ---- after a restart ------------------------------------------------------------------------------------------------
void PodRunner::adopt_all(NodeCore& core, bool same_boot) {
  std::set<std::string> keep;
  std::error_code error;
  std::vector<PodRef> found;
  for (const auto& entry : std::filesystem::directory_iterator(context_.layout->pods(), error)) {
    if (const auto ref = Layout::parse_pod_name(entry.path().filename().string())) found.push_back(*ref);
  }
  for (const PodRef& ref : found) adopt_one(core, ref, same_boot, keep);
  for (const auto& entry : std::filesystem::directory_iterator(context_.layout->bundles(), error)) {
    const std::string name = entry.path().filename().string();
    if (access((context_.layout->pods() + "/" + name).c_str(), F_OK) != 0) remove_tree(entry.path());
  }
  for (const std::string& name : context_.cgroups->names()) {
    if (!keep.contains(name)) clear_groups(name);
  }
  if (!found.empty()) spdlog::info("found {} pods on disk, {} of them still running", found.size(), live_.size());
  if (!unstarted_.empty()) poll_timer_ = loop_.after_ms(kPollMs, [this] { poll_adopted(); });
}

void PodRunner::adopt_one(NodeCore& core, const PodRef& ref, bool same_boot, std::set<std::string>& keep) {
  const std::string path = context_.layout->pod(ref);
  const auto order = read_pod_order(path);
  const bool whole = order && order->job == ref.pod.job;
  auto facts = read_pod_facts(path);
  if (!facts || !whole) return forget_files(ref);
  std::unique_ptr<WatchedProcess> shim;
  if (!facts->end && same_boot) {
    shim = launcher_.adopt(path, [this, ref] { on_exit(ref); });
    facts = read_pod_facts(path);  // it may have started, or ended, just now
    if (!facts) return;
  }
  // Its shim was never started, so nothing ran, and the server will send it again.
  if (!shim && facts->shim_pid == 0) return forget_files(ref);
  core.adopt(*order, order->pods[0], facts->started_at, facts->stop);
  if (shim) {
    keep.insert(Layout::pod_name(ref));
    if (facts->started_at == 0) unstarted_.insert(ref);
    live_[ref] = Live{std::move(shim), 0, facts->started_at != 0, image_of(ref)};
  } else if (facts->end) {
    facts->end->ref = ref;
    tell(std::move(*facts->end));
  } else {
    tell(ShimVanished{ref, !same_boot});
  }
}

// As the agent noted it that started the pod; nullptr: a process, or a directory of the user's.
ImageHandle PodRunner::image_of(const PodRef& ref) {
  char digest[256];
  const ssize_t size = readlink((context_.layout->bundle(ref) + "/image").c_str(), digest, sizeof digest);
  return size <= 0 ? nullptr : images_.hold(std::string(digest, static_cast<std::size_t>(size)));
}

void PodRunner::forget_files(const PodRef& ref) {
  unlink(context_.layout->pod(ref).c_str());
  const std::string bundle = context_.layout->bundle(ref);
  if (rmdir(bundle.c_str()) != 0 && errno != ENOENT) remove_tree(bundle);
}

// A shim that another agent started tells that one. Its record says it too.
void PodRunner::poll_adopted() {
  for (auto at = unstarted_.begin(); at != unstarted_.end();) {
    const auto facts = read_pod_facts(context_.layout->pod(*at));
    const TimeUs started_at = facts ? facts->started_at : 0;
    if (started_at == 0) {
      ++at;
      continue;
    }
    tell(ShimStarted{*at, started_at});
    at = unstarted_.erase(at);
  }
  poll_timer_ = unstarted_.empty() ? nullptr : loop_.after_ms(kPollMs, [this] { poll_adopted(); });
}

}  // namespace berth::agent
