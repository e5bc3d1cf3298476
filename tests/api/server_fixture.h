// For tests of the whole server: a real one in a directory of its own, over a store that a test can hold or fill, and
// an agent that runs its pods in no time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <future>
#include <gtest/gtest.h>
#include <mutex>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include "api/client/client.h"
#include "api/server/server.h"
#include "api/wire/blocking.h"
#include "api/wire/message.h"

namespace berth::server::testing_support {

// The real store, unless the test says otherwise: `hold` keeps append() from returning, `full` refuses as a full disk
// does.
struct Disk {
  std::mutex mutex;
  std::condition_variable changed;
  bool hold = false, full = false, broken = false;
  int attempts = 0;

  void set(bool Disk::*flag, bool value) {
    const std::lock_guard lock(mutex);
    this->*flag = value;
    changed.notify_all();
  }
  void wait_for_attempt_after(int count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return attempts > count; });
  }
  int attempts_now() {
    const std::lock_guard lock(mutex);
    return attempts;
  }
};

class TestStore : public store::Store {
 public:
  TestStore(std::unique_ptr<store::Store> real, Disk& disk) : real_(std::move(real)), disk_(disk) {}
  state::Status append(std::uint64_t first_index, std::span<const std::string> records) override {
    std::unique_lock lock(disk_.mutex);
    ++disk_.attempts;
    disk_.changed.notify_all();
    disk_.changed.wait(lock, [&] { return !disk_.hold; });
    if (disk_.full) return state::Error{state::ErrorCode::kUnavailable, "", "no space left on device", 0};
    if (disk_.broken) return state::Error{state::ErrorCode::kInternal, "", "fdatasync: input/output error", 0};
    return real_->append(first_index, records);
  }
  std::int64_t sync_began_ns() const override { return real_->sync_began_ns(); }
  std::uint64_t last_index() const override { return real_->last_index(); }
  std::uint64_t snapshot_index() const override { return real_->snapshot_index(); }

 private:
  std::unique_ptr<store::Store> real_;
  Disk& disk_;
};

class ServerFixture : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/berth-server-test-XXXXXX";
    directory = ::mkdtemp(pattern.data());
    options.data_directory = directory + "/data";
    std::filesystem::create_directory(options.data_directory);
    options.unix_socket = directory + "/sock";
    options.version = "test";
    options.core.cluster_name = "test";
    options.open_store = [this](const store::StoreOptions& store) -> state::Result<store::Opened> {
      auto opened = store::open_store(store);
      if (opened.ok()) opened->store = std::make_unique<TestStore>(std::move(opened->store), disk);
      return opened;
    };
    options.on_first_token = [this](const std::string& token) { first_token.set_value(token); };
  }
  void TearDown() override {
    disk.set(&Disk::hold, false);
    disk.set(&Disk::full, false);
    if (server) stop();
    std::filesystem::remove_all(directory);
  }
  void start() {
    std::promise<std::vector<std::string>> ready;
    options.on_ready = [&](const std::vector<std::string>& listening) { ready.set_value(listening); };
    server = std::make_unique<Server>(options);
    thread = std::thread([this] { result = server->run(); });
    addresses = ready.get_future().get();
  }
  state::Status wait_end() {
    thread.join();
    server.reset();
    return result;
  }
  void stop() {
    server->request_stop();
    const state::Status ended = wait_end();
    EXPECT_TRUE(ended.ok()) << ended.error().message;
  }
  std::unique_ptr<client::Client> connect() {
    auto made = client::Client::connect({options.unix_socket, "", 5000});
    EXPECT_TRUE(made.ok()) << made.error().message;
    return std::move(*made);
  }
  static state::JobSpec spec(std::uint32_t pods = 1) {
    state::JobSpec job;
    job.name = "j";
    if (pods > 1) {
      job.kind = state::JobKind::kArray;
      job.elements = state::IndexSet::dense(pods);
    }
    job.request.resources = {1, 1, 0};
    job.launch = "x";
    return job;
  }
  // A plain socket, for peers that misbehave.
  int dial() const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    options.unix_socket.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }

  std::string directory;
  Disk disk;
  ServerOptions options;
  std::promise<std::string> first_token;
  std::unique_ptr<Server> server;
  std::thread thread;
  state::Status result = state::Unit{};
  std::vector<std::string> addresses;
};

// An agent on a thread of its own whose pods end as soon as they start.
class InstantAgent {
 public:
  InstantAgent(const std::string& socket, std::string name) {
    const auto deadline = wire::Deadline::after_ms(5'000);
    wire::Endpoint endpoint;
    endpoint.path = socket;
    stream_ = std::move(*wire::BlockingStream::open(endpoint, nullptr, deadline));
    EXPECT_TRUE(wire::shake_hands(*stream_, wire::PeerRole::kAgent, deadline).ok());
    state::AgentHello hello;
    hello.info.name = name;
    hello.info.instance = "i-" + name;
    hello.info.capacity = {1'000'000, 1'000'000, 0};
    EXPECT_TRUE(stream_->send(wire::encode_frame({0, std::move(hello)}), deadline).ok());
    auto answer = stream_->receive(deadline);
    EXPECT_TRUE(answer.ok() && std::holds_alternative<state::AgentWelcome>(answer->body));
  }
  ~InstantAgent() { stop(); }
  void start() {
    thread_ = std::thread([this] { serve(); });
  }
  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::atomic<std::uint64_t> started{0}, frames{0}, forgotten{0};
  std::atomic<bool> closed{false};

 private:
  void serve() {
    while (!stopping_) {
      auto message = stream_->receive(wire::Deadline::after_ms(20));
      if (!message.ok() && message.error().message == "timeout") continue;
      if (!message.ok()) break;
      if (auto* forget = std::get_if<state::ForgetPods>(&message->body)) forgotten += forget->pods.size();
      auto* order = std::get_if<state::StartPods>(&message->body);
      if (order == nullptr) continue;
      ++frames;
      if (!report(*order)) break;
    }
    closed = true;
  }
  bool report(const state::StartPods& order) {
    state::AgentStatus status;
    for (const state::StartOrder& job : order.orders) {
      for (const state::PodToStart& pod : job.pods) {
        const state::PodRef ref{{job.job, pod.element}, pod.attempt};
        status.starts.push_back({ref, 1});
        state::PodEnd end;
        end.ref = ref;
        end.outcome.state = state::PodState::kSucceeded;
        end.outcome.started_at = 1;
        end.outcome.ended_at = 2;
        status.ends.push_back(std::move(end));
        ++started;
      }
    }
    return stream_->send(wire::encode_frame({0, std::move(status)}), wire::Deadline::after_ms(10'000)).ok();
  }
  std::unique_ptr<wire::BlockingStream> stream_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace berth::server::testing_support
