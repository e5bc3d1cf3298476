#include "agent/net/dns_server.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/core/service_names.h"

namespace berth::agent {

namespace {

constexpr std::int64_t kRetryMs = 2'000;
constexpr std::int64_t kRecordsPauseMs = 1'000;  // it is started anew for records; not for each one that changes

}  // namespace

DnsServer::DnsServer(wire::Loop& loop, Commands& commands, std::string directory)
    : loop_(loop), commands_(commands), directory_(std::move(directory)) {}

// The one that was started with our configuration, by us or by the agent before; -1 if there is none.
pid_t DnsServer::living() const {
  const auto text = read_file(directory_ + "/dnsmasq.pid", 64);
  const pid_t pid = text ? static_cast<pid_t>(std::atoi(text->c_str())) : -1;
  if (pid <= 0) return -1;
  const auto words = read_file("/proc/" + std::to_string(pid) + "/cmdline", 4096);
  return words && words->find(directory_) != std::string::npos ? pid : -1;
}

bool DnsServer::write_files() {
  std::string config =
      "# Written by berth's agent.\n"
      "listen-address=" +
      address_ + "\nbind-interfaces\nno-hosts\naddn-hosts=" + directory_ + "/hosts\npid-file=" + directory_ +
      "/dnsmasq.pid\nlocal=/" + std::string(kDomain) + "/\ndomain-needed\ncache-size=4096\ndns-forward-max=1024\n" +
      records_;
  state::Status wrote = make_directories(directory_, 0755);
  if (wrote) wrote = write_file_aside(directory_ + "/hosts", hosts_, 0644);
  if (wrote) wrote = write_file_aside(directory_ + "/dnsmasq.conf", config, 0644);
  if (!wrote) trouble_ = wrote.error().message;
  written_config_ = std::move(config);
  return static_cast<bool>(wrote);
}

void DnsServer::start(const std::string& address) {
  if (address_ == address) return;
  address_ = address;
  if (!write_files()) return retry();
  const pid_t pid = living();
  if (pid > 0) {
    watch(pid);
    kill(pid, SIGHUP);
    return;
  }
  launch();
}

void DnsServer::launch() {
  if (starting_) {
    again_ = true;
    return;
  }
  starting_ = true;
  // It comes back when it listens, or with the reason why it cannot.
  Command command;
  command.argv = {"dnsmasq", "--conf-file=" + directory_ + "/dnsmasq.conf"};
  commands_.run(std::move(command), [this](CommandEnd end) {
    starting_ = false;
    const pid_t pid = end.good() ? living() : -1;
    if (pid <= 0) {
      const std::string why = "names of services are not answered: " + (end.good() ? "dnsmasq has ended" : end.why());
      if (why != trouble_) spdlog::warn("{}", why);
      trouble_ = why;
      return retry();
    }
    trouble_.clear();
    watch(pid);
    if (std::exchange(again_, false)) set_names(hosts_, records_);
  });
}

void DnsServer::watch(pid_t pid) {
  pid_ = pid;
  pidfd_ = Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd_) return retry();
  watch_ = loop_.watch_readable(pidfd_.get(), [this] {
    loop_.post([keep = std::move(watch_)] {});
    pid_ = -1;
    if (wanted()) launch();
  });
}

void DnsServer::retry() {
  timer_ = loop_.after_ms(kRetryMs, [this] {
    if (!wanted() || pid_ > 0) return;
    if (write_files())
      launch();
    else
      retry();
  });
}

void DnsServer::set_names(std::string hosts, std::string records) {
  const bool anew = records != records_;
  hosts_ = std::move(hosts);
  records_ = std::move(records);
  if (!wanted() || !write_files()) return;
  if (!anew) {
    if (pid_ > 0) kill(pid_, SIGHUP);
    return;
  }
  if (pid_ > 0) kill(pid_, SIGHUP);
  // Its end is noticed, and another one started, with what the files say then.
  timer_ = loop_.after_ms(kRecordsPauseMs, [this] {
    if (pid_ > 0) {
      kill(pid_, SIGTERM);
    } else if (!starting_) {
      launch();
    }
  });
}

void DnsServer::end() {
  address_.clear();
  const pid_t pid = living();
  if (pid > 0) kill(pid, SIGTERM);
  pid_ = -1;
}

}  // namespace berth::agent
