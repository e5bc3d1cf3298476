// The part of NodeNetwork that gives pods networks of their own and takes them back.
#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <net/if.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/layout.h"
#include "agent/net/cni.h"
#include "agent/net/node_network.h"

namespace berth::agent {

using namespace state;

namespace {

constexpr std::size_t kAttachingMax = 8;

// In a child of its own: a new network namespace, with a loopback device that works, kept alive by a mount. Only system
// calls.
int make_netns(const char* directory, const char* path) {
  // Shared, so that it goes everywhere when it is unmounted, also from where a pod's shim has a copy of it.
  if (mount(nullptr, directory, nullptr, MS_SHARED | MS_REC, nullptr) != 0) {
    if (mount(directory, directory, nullptr, MS_BIND | MS_REC, nullptr) != 0 ||
        mount(nullptr, directory, nullptr, MS_SHARED | MS_REC, nullptr) != 0) {
      return errno;
    }
  }
  if (unshare(CLONE_NEWNET) != 0) return errno;
  const int control = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq loopback{};
  loopback.ifr_name[0] = 'l';
  loopback.ifr_name[1] = 'o';
  loopback.ifr_flags = IFF_UP | IFF_RUNNING;
  if (control < 0 || ioctl(control, SIOCSIFFLAGS, &loopback) != 0) return errno;
  // Whoever the pod's user is, the pod's ports are his.
  const int ports = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY);
  if (ports >= 0) [[maybe_unused]]
    const ssize_t wrote = write(ports, "0", 1);
  return mount("/proc/self/ns/net", path, nullptr, MS_BIND, nullptr) == 0 ? 0 : errno;
}

void remove_netns(const std::string& path) {
  umount2(path.c_str(), MNT_DETACH);
  unlink(path.c_str());
}

}  // namespace

std::string NodeNetwork::netns(const std::string& pod_name) const {
  return options_.netns_directory + "/berth-" + options_.instance + "-" + pod_name;
}

std::string NodeNetwork::address(const PodRef& ref) const {
  const auto at = attached_.find(ref);
  return at == attached_.end() ? "" : at->second->address;
}

std::string NodeNetwork::config() const {
  // Also when the server has not said yet which subnet it is: to take something back it does not matter.
  const bool known = !pod_subnet_.empty();
  return cni_config({"berth-" + options_.instance, known ? pod_subnet_ : "192.0.2.0/24",
                     known ? gateway() : "192.0.2.1", directory() + "/leases", mtu_});
}

Command NodeNetwork::plugin(const std::string& verb, const std::string& pod_name) const {
  Command command;
  for (std::size_t at = 0; at < options_.plugins.size();) {
    const std::size_t end = std::min(options_.plugins.find(':', at), options_.plugins.size());
    const std::string path = options_.plugins.substr(at, end - at) + "/ptp";
    if (command.argv.empty() || access(path.c_str(), X_OK) == 0) command.argv = {path};
    if (access(path.c_str(), X_OK) == 0) break;
    at = end + 1;
  }
  command.env = {"CNI_COMMAND=" + verb,          "CNI_CONTAINERID=" + pod_name,
                 "CNI_NETNS=" + netns(pod_name), "CNI_IFNAME=eth0",
                 "CNI_PATH=" + options_.plugins, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  command.input = config();
  return command;
}

// ---- attach ---------------------------------------------------------------------------------------------------------
void NodeNetwork::attach(const PodRef& ref, const std::string& host_name, const std::string& space, Attached handler) {
  auto pod = std::make_shared<Attaching>(Attaching{ref, host_name, space, std::move(handler)});
  std::string why = missing_for_pod_network(options_);
  if (why.empty() && pod_subnet_.empty()) why = "the cluster has none";
  under_way_.insert(ref);
  if (!why.empty()) {
    loop_.post([this, pod, why] { give_up(pod, why); });
    return;
  }
  waiting_.push_back(std::move(pod));
  if (stage_ == Stage::kUp) return finish_sync();
  want();
}

void NodeNetwork::give_up(std::shared_ptr<Attaching> pod, const std::string& why) {
  under_way_.erase(pod->ref);
  unwanted_.erase(pod->ref);
  pod->handler(Error{ErrorCode::kUnavailable, "network", "no pod network on this node: " + why, 0});
}

void NodeNetwork::pump() {
  while (stage_ == Stage::kUp && !waiting_.empty() && attaching_ < kAttachingMax) {
    auto next = std::move(waiting_.front());
    waiting_.pop_front();
    ++attaching_;
    make_namespace(std::move(next));
  }
}

void NodeNetwork::make_namespace(std::shared_ptr<Attaching> pod) {
  const std::string name = Layout::pod_name(pod->ref), path = netns(name);
  auto made = make_directories(options_.netns_directory, 0755);
  if (made) made = make_directories(directory() + "/pods", 0755);
  if (made) {
    remove_netns(path);  // of an agent that died while it made it
    made = write_file(path, "", 0444);
  }
  const std::string parent = options_.netns_directory;
  const auto body = [&]() -> int { return made ? make_netns(parent.c_str(), path.c_str()) : EIO; };
  commands_.run_in_child(body, [this, pod, path, why = made ? "" : made.error().message](CommandEnd end) {
    if (end.good()) return plug_in(pod);
    const int code = end.failure.empty() && !end.timed_out ? WEXITSTATUS(end.status) : EAGAIN;
    end.failure = !why.empty() ? why : system_error("make a network namespace", path, code).message;
    attached(pod, end);
  });
}

void NodeNetwork::plug_in(std::shared_ptr<Attaching> pod) {
  commands_.run(plugin("ADD", Layout::pod_name(pod->ref)), [this, pod](const CommandEnd& end) { attached(pod, end); });
}

void NodeNetwork::attached(std::shared_ptr<Attaching> pod, const CommandEnd& end) {
  --attaching_;
  const std::string name = Layout::pod_name(pod->ref);
  std::string why;
  PodNetwork network;
  if (!end.failure.empty() || end.timed_out) {
    why = end.why();
  } else {
    const CniAnswer answer = read_cni_answer(end.output);
    why = !answer.error.empty() ? answer.error : end.good() ? "" : end.why();
    network.address = answer.address;
  }
  network.netns = netns(name);
  network.hosts = hosts_file(name);
  network.resolv_conf = directory() + "/pods/resolv." + (pod->space.empty() ? "default" : pod->space);
  if (why.empty()) {
    const std::string hosts =
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n" + network.address + "\t" + pod->host_name + "\n";
    auto wrote = write_file(network.hosts, hosts, 0644);
    if (wrote) wrote = write_file_aside(network.resolv_conf, resolv_conf(gateway(), pod->space), 0644);
    if (!wrote) why = wrote.error().message;
  }
  const bool unwanted = unwanted_.contains(pod->ref);
  if (!why.empty() || unwanted) {
    unplug(name);
    give_up(pod, why.empty() ? "the pod was stopped" : why);
  } else {
    under_way_.erase(pod->ref);
    auto shared = std::make_shared<const PodNetwork>(std::move(network));
    attached_[pod->ref] = shared;
    pod->handler(shared);
  }
  pump();
}

// ---- release --------------------------------------------------------------------------------------------------------
void NodeNetwork::release(const PodRef& ref) {
  if (under_way_.contains(ref)) {
    unwanted_.insert(ref);
    return;
  }
  if (attached_.erase(ref) != 0) unplug(Layout::pod_name(ref));
}

void NodeNetwork::unplug(const std::string& pod_name) {
  commands_.run(plugin("DEL", pod_name), [this, pod_name](const CommandEnd& end) {
    if (!end.good()) {
      const CniAnswer answer = read_cni_answer(end.output);
      spdlog::warn("the network of pod {} is not given back: {}", pod_name,
                   end.output.empty() ? end.why() : answer.error);
    }
    remove_netns(netns(pod_name));
    unlink(hosts_file(pod_name).c_str());
  });
}

std::size_t NodeNetwork::recover(const std::set<PodRef>& living) {
  std::error_code error;
  std::set<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(leases(), error)) {
    std::uint32_t number = 0;
    const std::string address = entry.path().filename().string();
    if (!parse_ipv4(address, number)) continue;
    const auto text = read_file(entry.path(), 4096);
    const std::string name = text ? text->substr(0, text->find_first_of("\r\n")) : "";
    const auto ref = Layout::parse_pod_name(name);
    if (!ref) continue;
    if (!living.contains(*ref)) {
      left.insert(name);
      continue;
    }
    attached_[*ref] = std::make_shared<const PodNetwork>(PodNetwork{netns(name), address, "", hosts_file(name)});
  }
  const std::string prefix = "berth-" + options_.instance + "-";
  for (const auto& entry : std::filesystem::directory_iterator(options_.netns_directory, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    const auto ref = Layout::parse_pod_name(name.substr(prefix.size()));
    if (ref && !attached_.contains(*ref)) left.insert(name.substr(prefix.size()));
  }
  for (const std::string& name : left) unplug(name);
  if (!left.empty()) spdlog::info("gives back {} pod networks that were left behind", left.size());
  return left.size();
}

}  // namespace berth::agent
