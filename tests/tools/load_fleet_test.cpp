// Hollow agents against a server that the test plays itself, on the same loop: what they say, and that they repeat it.
#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <map>

#include "tools/load/fleet.h"

namespace berth::tools {
namespace {

using namespace state;

constexpr std::int64_t kTestLimitMs = 20'000;

StartPods start_order(std::uint64_t job, std::uint32_t pods) {
  StartOrder order;
  order.job = JobId{job};
  order.owner.user = "ada";
  for (std::uint32_t i = 0; i < pods; ++i) order.pods.push_back({i, i + 1, 1, 0});
  return StartPods{{order}};
}

// Plays the server: welcomes agents, and hands everything else to the test.
class FleetTest : public testing::Test {
 protected:
  struct Peer {
    std::shared_ptr<wire::Connection> connection;
    std::string name;
  };

  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / "berth-fleet-XXXXXX";
    ASSERT_NE(mkdtemp(directory_.data()), nullptr);
    auto listening = wire::listen_unix(loop_, directory_ + "/s", [this](std::shared_ptr<wire::Connection> connection) {
      accept(std::move(connection));
    });
    ASSERT_TRUE(listening) << listening.error().message;
    listener_ = std::move(*listening);
    limit_ = loop_.after_ms(kTestLimitMs, [this] {
      ADD_FAILURE() << "the test did not end in time";
      loop_.stop();
    });
  }
  void TearDown() override {
    fleet_.reset();
    peers_.clear();
    listener_.reset();
    std::filesystem::remove_all(directory_);
  }

  void start_fleet(std::uint32_t count, std::int64_t pod_time_us = 0) {
    FleetOptions options;
    options.server.path = directory_ + "/s";
    options.count = count;
    options.capacity = {8'000, 16'384, 2};
    options.features = {"ssd"};
    options.pod_time_us = pod_time_us;
    Fleet::Events events;
    events.on_all_connected = [this] {
      if (on_all_connected_) on_all_connected_();
    };
    events.on_trouble = [this](const Error& error) { troubles_.push_back(error); };
    events.on_refused = [this](const Error& error) {
      refused_.push_back(error);
      loop_.stop();
    };
    fleet_ = std::make_unique<Fleet>(loop_, std::move(options), std::move(events));
    for (std::uint32_t i = 0; i < count; ++i) fleet_->admit(i, nullptr);
  }

  void accept(std::shared_ptr<wire::Connection> connection) {
    const int id = next_peer_++;
    peers_[id].connection = connection;
    connection->start({[this, id](std::span<const std::byte> bytes) {
                         auto message = wire::decode_message(bytes);
                         ASSERT_TRUE(message) << message.error().message;
                         on_message(id, message->body);
                       },
                       [](const Error&) {}, nullptr});
  }

  void on_message(int id, const wire::Body& body) {
    if (const auto* hello = std::get_if<wire::Hello>(&body)) {
      EXPECT_EQ(hello->role, wire::PeerRole::kAgent);
      send(id, wire::Welcome{});
    } else if (const auto* agent = std::get_if<AgentHello>(&body)) {
      peers_[id].name = agent->info.name;
      hellos_.push_back(*agent);
      if (refusal_) {
        send(id, ServerReply(*refusal_));
      } else {
        send(id, AgentWelcome{NodeId{static_cast<std::uint32_t>(id + 1)}, heartbeat_ms_});
      }
    } else if (const auto* status = std::get_if<AgentStatus>(&body)) {
      statuses_.push_back(*status);
      if (on_status_) on_status_(id);
    } else if (std::holds_alternative<AgentHeartbeat>(body)) {
      ++heartbeats_[peers_[id].name];
      if (on_heartbeat_) on_heartbeat_();
    } else if (const auto* log = std::get_if<LogReply>(&body)) {
      logs_.push_back(*log);
      if (on_log_) on_log_(id);
    } else {
      ADD_FAILURE() << "an agent sent a message that is not its to send";
    }
  }

  template <class Body>
  void send(int id, Body body) {
    peers_[id].connection->send(wire::encode_frame({0, std::move(body)}));
  }
  // Destroying a connection inside its own callback is not allowed.
  void drop(int id) {
    loop_.post([connection = std::exchange(peers_[id].connection, nullptr)]() mutable { connection.reset(); });
  }

  wire::Loop loop_;
  std::string directory_;
  std::unique_ptr<wire::Listener> listener_;
  std::shared_ptr<wire::Loop::Timer> limit_;
  std::unique_ptr<Fleet> fleet_;
  std::map<int, Peer> peers_;
  int next_peer_ = 0;
  std::int64_t heartbeat_ms_ = 5'000;
  std::optional<Error> refusal_;
  std::vector<AgentHello> hellos_;
  std::vector<AgentStatus> statuses_;
  std::vector<LogReply> logs_;
  std::map<std::string, int> heartbeats_;
  std::vector<Error> troubles_, refused_;
  std::function<void()> on_all_connected_, on_heartbeat_;
  std::function<void(int)> on_status_, on_log_;
};

TEST_F(FleetTest, EveryAgentHasAConnectionANameAndAnInstanceOfItsOwn) {
  on_all_connected_ = [this] { loop_.stop(); };
  start_fleet(200);
  loop_.run();
  ASSERT_EQ(hellos_.size(), 200U);
  std::set<std::string> names, instances;
  for (const AgentHello& hello : hellos_) {
    names.insert(hello.info.name);
    instances.insert(hello.info.instance);
    EXPECT_EQ(hello.info.capacity, (Resources{8'000, 16'384, 2}));
    EXPECT_EQ(hello.info.features, std::vector<std::string>{"ssd"});
    EXPECT_TRUE(hello.pods.empty());
  }
  EXPECT_EQ(names.size(), 200U);
  EXPECT_EQ(instances.size(), 200U);
  EXPECT_TRUE(names.contains("hollow-00001"));
  EXPECT_TRUE(names.contains("hollow-00200"));
  EXPECT_EQ(fleet_->connected(), 200U);
}

TEST_F(FleetTest, WithoutAPodTimeOneStatusReportsStartAndEnd) {
  on_all_connected_ = [this] { send(0, start_order(7, 64)); };
  on_status_ = [this](int) { loop_.stop(); };
  start_fleet(1);
  loop_.run();
  ASSERT_EQ(statuses_.size(), 1U);
  EXPECT_EQ(statuses_[0].starts.size(), 64U);
  EXPECT_EQ(statuses_[0].ends.size(), 64U);
  EXPECT_EQ(fleet_->pods_unacknowledged(), 64U);
}

TEST_F(FleetTest, APodTimePutsTheEndLater) {
  on_all_connected_ = [this] { send(0, start_order(7, 10)); };
  on_status_ = [this](int) {
    if (fleet_->totals().pods.ended == 10) loop_.stop();
  };
  start_fleet(1, 20'000);
  loop_.run();
  ASSERT_GE(statuses_.size(), 2U);
  EXPECT_EQ(statuses_[0].starts.size(), 10U);
  EXPECT_TRUE(statuses_[0].ends.empty());
  for (std::size_t i = 1; i < statuses_.size(); ++i) {
    EXPECT_TRUE(statuses_[i].starts.empty());
    for (const PodEnd& end : statuses_[i].ends) EXPECT_GE(end.outcome.ended_at - end.outcome.started_at, 20'000);
  }
  EXPECT_EQ(fleet_->pods_running(), 0U);
}

TEST_F(FleetTest, AnAgentThatIsCutOffComesBackListsItsPodsAndRepeatsItsEnds) {
  on_all_connected_ = [this] {
    if (hellos_.size() == 1) send(0, start_order(7, 3));
  };
  on_status_ = [this](int id) {
    if (id == 0) return drop(0);
    loop_.stop();
  };
  start_fleet(1);
  loop_.run();
  ASSERT_EQ(hellos_.size(), 2U);
  EXPECT_EQ(hellos_[1].info.instance, hellos_[0].info.instance);
  ASSERT_EQ(hellos_[1].pods.size(), 3U);
  EXPECT_FALSE(hellos_[1].pods[0].running);
  ASSERT_EQ(statuses_.size(), 2U);
  ASSERT_EQ(statuses_[1].ends.size(), 3U);
  EXPECT_EQ(statuses_[1].ends[0].ref, statuses_[0].ends[0].ref);
  EXPECT_EQ(statuses_[1].ends[0].outcome, statuses_[0].ends[0].outcome);
  EXPECT_EQ(fleet_->totals().connections, 2U);
  EXPECT_FALSE(troubles_.empty());
}

TEST_F(FleetTest, WhatTheServerHasForgottenIsNotRepeated) {
  on_all_connected_ = [this] {
    if (hellos_.size() == 2) return loop_.stop();
    send(0, start_order(7, 3));
  };
  on_status_ = [this](int id) {
    ForgetPods forget;
    for (const PodEnd& end : statuses_[0].ends) forget.pods.push_back(end.ref);
    send(id, std::move(forget));
    // Closes once the order to forget is sent.
    peers_[id].connection->close_after_send();
  };
  start_fleet(1);
  loop_.run();
  ASSERT_EQ(hellos_.size(), 2U);
  EXPECT_TRUE(hellos_[1].pods.empty());
  EXPECT_EQ(statuses_.size(), 1U);
  EXPECT_EQ(fleet_->totals().pods.forgotten, 3U);
}

TEST_F(FleetTest, AStopIsAnsweredWithAnEnd) {
  on_all_connected_ = [this] { send(0, start_order(7, 1)); };
  on_status_ = [this](int id) {
    if (statuses_.size() == 2) return loop_.stop();
    send(id, StopPods{{{{{JobId{7}, 0}, 1}, PodState::kCancelled}}});
  };
  start_fleet(1, 3'600'000'000);
  loop_.run();
  ASSERT_EQ(statuses_.size(), 2U);
  ASSERT_EQ(statuses_[1].ends.size(), 1U);
  EXPECT_EQ(statuses_[1].ends[0].outcome.state, PodState::kCancelled);
}

TEST_F(FleetTest, EveryAgentSendsHeartbeats) {
  heartbeat_ms_ = 50;
  on_heartbeat_ = [this] {
    if (heartbeats_.size() == 30) loop_.stop();
  };
  start_fleet(30);
  loop_.run();
  EXPECT_EQ(heartbeats_.size(), 30U);
}

TEST_F(FleetTest, AReadOfAnEndedPodsOutputIsAnsweredWithItsWholeText) {
  on_all_connected_ = [this] { send(0, start_order(7, 1)); };
  on_status_ = [this](int id) {
    ReadLog read;
    read.token = 99;
    read.ref = {{JobId{7}, 0}, 1};
    read.index = 1;
    read.user = "ada";
    send(id, read);
    read.token = 100;
    read.request.offset = 7;
    send(id, read);
    read.token = 101;
    read.request.offset = 0;
    read.request.error_stream = true;
    send(id, read);
  };
  on_log_ = [this](int) {
    if (logs_.size() == 3) loop_.stop();
  };
  start_fleet(1);
  loop_.run();
  ASSERT_EQ(logs_.size(), 3U);
  const auto& whole = std::get<LogChunk>(logs_[0].body);
  EXPECT_EQ(logs_[0].token, 99U);
  EXPECT_EQ(whole.bytes, "hollow pod 7.1 of ada on hollow-00001\n");
  EXPECT_TRUE(whole.ended);
  const auto& rest = std::get<LogChunk>(logs_[1].body);
  EXPECT_EQ(rest.offset, 7U);
  EXPECT_EQ(rest.bytes, "pod 7.1 of ada on hollow-00001\n");
  EXPECT_EQ(std::get<LogChunk>(logs_[2].body).bytes, "");
}

TEST_F(FleetTest, AnAgentThatTheServerWillNeverTakeIsToldOf) {
  refusal_ = Error{ErrorCode::kDenied, "", "only administrators may run agents", 0};
  start_fleet(1);
  loop_.run();
  ASSERT_EQ(refused_.size(), 1U);
  EXPECT_EQ(refused_[0].message, "only administrators may run agents");
}

}  // namespace
}  // namespace berth::tools
