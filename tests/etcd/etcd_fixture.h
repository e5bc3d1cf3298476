// A real etcd of one member, of this test's own, on free ports of the loopback; and a client that can be told to lose
// answers.
#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "state/etcd/etcd_client.h"
#include "state/etcd/keys.h"

namespace berth::etcd::testing {

inline int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  socklen_t size = sizeof(address);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(fd);
  return ntohs(address.sin_port);
}

template <class Condition>
bool eventually(Condition&& condition, int seconds = 30) {
  for (int i = 0; i < seconds * 100; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

// Answers of the real client, but for those that a test takes away: the call was carried out, and nobody hears of it.
class LossyClient final : public EtcdClient {
 public:
  explicit LossyClient(std::shared_ptr<EtcdClient> real) : real_(std::move(real)) {}
  state::Result<RangeReply> range(const Range& range, std::int64_t timeout_ms) override {
    if (silent) return gone();
    return real_->range(range, timeout_ms);
  }
  state::Result<TransactionReply> commit(const Transaction& transaction, std::int64_t timeout_ms) override {
    if (silent) return gone();
    auto reply = real_->commit(transaction, timeout_ms);
    if (answers_to_lose > 0) {
      --answers_to_lose;
      return gone();
    }
    return reply;
  }
  state::Status compact(std::int64_t revision, std::int64_t timeout_ms) override {
    return real_->compact(revision, timeout_ms);
  }
  state::Result<std::unique_ptr<Watch>> watch(const Range& range, std::int64_t from) override {
    return real_->watch(range, from);
  }

  std::atomic<int> answers_to_lose{0};
  std::atomic<bool> silent{false};  // nothing is carried out

 private:
  static state::Error gone() { return {state::ErrorCode::kUnavailable, "", "no answer in time", 0}; }
  std::shared_ptr<EtcdClient> real_;
};

class EtcdTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access("/usr/bin/etcd", X_OK) != 0) GTEST_SKIP() << "etcd is not installed (./dev deps)";
    std::string pattern = "/tmp/berth-etcd-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    port_ = free_port();
    peer_port_ = free_port();
    start_etcd();
    client_ = connect();
    ASSERT_TRUE(eventually([&] { return client_->range({"x", "", 0, 0, false}, 200).ok(); }));
  }
  void TearDown() override {
    client_.reset();
    stop_etcd();
    std::error_code ignored;
    if (!root_.empty()) std::filesystem::remove_all(root_, ignored);
  }

  void start_etcd() {
    const std::string client = "http://127.0.0.1:" + std::to_string(port_);
    const std::string peer = "http://127.0.0.1:" + std::to_string(peer_port_);
    const std::string data = root_ + "/etcd", log = root_ + "/etcd.log";
    pid_ = ::fork();
    if (pid_ != 0) return;
    if (std::freopen(log.c_str(), "a", stderr) == nullptr || std::freopen(log.c_str(), "a", stdout) == nullptr)
      _exit(1);
    ::execl("/usr/bin/etcd", "etcd", "--data-dir", data.c_str(), "--listen-client-urls", client.c_str(),
            "--advertise-client-urls", client.c_str(), "--listen-peer-urls", peer.c_str(),
            "--initial-advertise-peer-urls", peer.c_str(), "--initial-cluster", ("default=" + peer).c_str(), nullptr);
    _exit(1);
  }
  void stop_etcd() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  EtcdUrl url() const { return *parse_etcd_url("etcd://127.0.0.1:" + std::to_string(port_) + "/test", "store"); }
  std::unique_ptr<EtcdClient> connect() const { return std::move(*make_client(url())); }

  std::string root_;
  int port_ = 0, peer_port_ = 0;
  pid_t pid_ = -1;
  std::unique_ptr<EtcdClient> client_;
};

}  // namespace berth::etcd::testing
