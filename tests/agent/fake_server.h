// A server of one agent, on a Unix socket, that keeps what it hears. Its loop has a thread of its own; everything else
// is for the test's thread.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "agent_testing.h"
#include "api/wire/connection.h"
#include "api/wire/loop.h"
#include "api/wire/message.h"
#include "state/launch.h"

namespace berth::agent::testing_support {

class FakeServer {
 public:
  explicit FakeServer(std::string socket) : socket_(std::move(socket)) {
    auto listener =
        wire::listen_unix(loop_, socket_, [this](std::shared_ptr<wire::Connection> c) { accept(std::move(c)); });
    EXPECT_TRUE(listener) << listener.error().message;
    if (listener) listener_ = std::move(*listener);
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~FakeServer() {
    loop_.post([this] {
      connection_.reset();
      listener_.reset();
      loop_.stop();
    });
    thread_.join();
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  const std::string& socket() const { return socket_; }
  state::AgentWelcome welcome{state::NodeId{1}, 200, "", "",
                              ""};  // what an agent is answered; to be set before it comes
  // What pods were last told to be; only to be looked at in wait(), or when nothing comes any more.
  std::map<state::PodRef, state::PodReadiness> readiness;
  int readiness_told = 0, unready_told = 0;

  void send(wire::Body body) {
    auto frame = std::make_shared<std::string>(wire::encode_frame({0, std::move(body)}));
    loop_.post([this, frame] {
      if (connection_) connection_->send(*frame);
    });
  }
  void start(state::StartOrder order) { send(state::StartPods{{std::move(order)}}); }
  void stop(const state::PodRef& ref) { send(state::StopPods{{{ref, state::PodState::kCancelled}}}); }
  void drop_connection() {
    loop_.post([this] { connection_.reset(); });
  }

  // Waits until `holds`, called with the lock taken, is true.
  bool wait(const std::function<bool()>& holds) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), holds);
  }
  bool wait_hellos(std::size_t n) {
    return wait([&] { return hellos_.size() >= n; });
  }
  bool wait_started(const state::PodRef& ref) {
    return wait([&] { return starts_.contains(ref); });
  }
  // The end of a pod, as it was told first.
  state::PodEnd wait_end(const state::PodRef& ref) {
    const bool told = wait([&] { return ends_.contains(ref); });
    EXPECT_TRUE(told) << "pod " << Layout::pod_name(ref) << " did not end";
    const std::scoped_lock lock(mutex_);
    return told ? ends_.at(ref).front() : state::PodEnd{};
  }
  std::size_t times_ended(const state::PodRef& ref) {
    const std::scoped_lock lock(mutex_);
    return ends_.contains(ref) ? ends_.at(ref).size() : 0;
  }
  std::size_t ended_pods() {
    const std::scoped_lock lock(mutex_);
    return ends_.size();
  }
  state::AgentHello last_hello() {
    const std::scoped_lock lock(mutex_);
    return hellos_.empty() ? state::AgentHello{} : hellos_.back();
  }
  int heartbeats() {
    const std::scoped_lock lock(mutex_);
    return heartbeats_;
  }
  state::LogReply read_log(state::ReadLog request) {
    {
      const std::scoped_lock lock(mutex_);
      request.token = ++last_token_;
    }
    const std::uint64_t token = request.token;
    send(std::move(request));
    EXPECT_TRUE(wait([&] { return logs_.contains(token); }));
    const std::scoped_lock lock(mutex_);
    return logs_[token];
  }
  void clear() {
    const std::scoped_lock lock(mutex_);
    ends_.clear();
    starts_.clear();
  }

 private:
  void accept(std::shared_ptr<wire::Connection> connection) {
    connection_ = std::move(connection);
    connection_->set_max_frame(wire::kMaxFrameBytes);
    connection_->start(
        {[this](std::span<const std::byte> bytes) { on_frame(bytes); }, [](const state::Error&) {}, nullptr});
  }
  void answer(wire::Body body) { connection_->send(wire::encode_frame({0, std::move(body)})); }
  void on_frame(std::span<const std::byte> bytes) {
    auto message = wire::decode_message(bytes);
    ASSERT_TRUE(message) << message.error().message;
    const std::scoped_lock lock(mutex_);
    if (std::holds_alternative<wire::Hello>(message->body)) answer(wire::Welcome{});
    if (auto* hello = std::get_if<state::AgentHello>(&message->body)) {
      hellos_.push_back(std::move(*hello));
      answer(welcome);
    }
    if (auto* status = std::get_if<state::AgentStatus>(&message->body)) {
      for (const state::PodStart& start : status->starts) starts_[start.ref] = start.started_at;
      for (state::PodReadiness& each : status->readiness) {
        ++readiness_told;
        unready_told += each.ready ? 0 : 1;
        readiness[each.ref] = std::move(each);
      }
      for (state::PodEnd& end : status->ends) ends_[end.ref].push_back(std::move(end));
    }
    if (std::holds_alternative<state::AgentHeartbeat>(message->body)) ++heartbeats_;
    if (auto* log = std::get_if<state::LogReply>(&message->body)) logs_[log->token] = std::move(*log);
    changed_.notify_all();
  }

  const std::string socket_;
  wire::Loop loop_;
  std::unique_ptr<wire::Listener> listener_;
  std::shared_ptr<wire::Connection> connection_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<state::AgentHello> hellos_;
  std::map<state::PodRef, state::TimeUs> starts_;
  std::map<state::PodRef, std::vector<state::PodEnd>> ends_;
  std::map<std::uint64_t, state::LogReply> logs_;
  std::uint64_t last_token_ = 0;
  int heartbeats_ = 0;
};

inline state::PodRef pod_ref(std::uint64_t job, std::uint32_t element = 0, std::uint32_t attempt = 1) {
  return {{state::JobId{job}, element}, attempt};
}

// A job of `pods` pods that run a shell script as the test's user.
inline state::StartOrder script_order(std::uint64_t job, const std::string& script, std::uint32_t pods = 1) {
  state::StartOrder order;
  order.job = state::JobId{job};
  order.job_name = "script";
  order.owner = {geteuid(), getegid(), "tester", {}};
  order.resources = {1000, 256, 0};
  state::Launch launch;
  launch.argv = {"sh", "-c", script};
  launch.cwd = "/tmp";
  order.launch = state::encode_launch(launch);
  for (std::uint32_t e = 0; e < pods; ++e) order.pods.push_back({e, e, 1, 0});
  return order;
}
template <class F>
void change_launch(state::StartOrder& order, F&& f) {
  auto launch = state::decode_launch(std::as_bytes(std::span(order.launch)));
  ASSERT_TRUE(launch);
  f(*launch);
  order.launch = state::encode_launch(*launch);
}

}  // namespace berth::agent::testing_support
