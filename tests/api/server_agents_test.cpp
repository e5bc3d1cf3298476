// Jobs through the whole server and an agent that ends every pod at once; and peers that do not behave.
#include "api/wire/enrol.h"
#include "api/wire/tls.h"
#include "tests/api/server_fixture.h"

namespace berth::server {
namespace {

using namespace state;
using testing_support::InstantAgent;
using testing_support::ServerFixture;
using ServerAgentsTest = ServerFixture;

// Watches until the job has ended, and returns its last counts.
JobProgress wait_for(client::Client& client, JobId job) {
  EXPECT_TRUE(client.send(WatchJobsRequest{{job}}).ok());
  while (true) {
    auto message = client.receive(60'000);
    EXPECT_TRUE(message.ok()) << message.error().message;
    if (!message.ok()) return {};
    const auto* progress = std::get_if<JobProgress>(&std::get<ServerReply>(message->body));
    if (progress != nullptr && progress->ended) return *progress;
  }
}

TEST_F(ServerAgentsTest, RunsAnArrayToItsEndAndKeepsThatOverARestart) {
  start();
  InstantAgent agent(options.unix_socket, "n1");
  agent.start();
  auto client = connect();
  auto done = client->call_for<SubmitReply>(SubmitRequest{{spec(5'000)}, 0, false});
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(wait_for(*client, done->jobs[0]).counts.of(PodState::kSucceeded), 5'000U);
  EXPECT_EQ(agent.started, 5'000U) << "every pod is ordered once";
  client.reset();
  agent.stop();
  stop();
  start();
  auto detail = connect()->call_for<JobDetail>(ShowJobRequest{done->jobs[0]});
  ASSERT_TRUE(detail.ok());
  EXPECT_EQ(detail->row.counts.of(PodState::kSucceeded), 5'000U);
}

TEST_F(ServerAgentsTest, OrdersWithMoreBytesThanAFrameTakesArriveInSeveral) {
  start();
  auto client = connect();
  JobSpec big = spec();
  big.launch.assign(1U << 20, 'x');
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(client->call_for<SubmitReply>(SubmitRequest{{big}, 0, false}).ok());
  }
  InstantAgent agent(options.unix_socket, "n1");  // all forty are placed on it in one turn
  agent.start();
  for (int id = 1; id <= 40; ++id) {
    EXPECT_EQ(wait_for(*client, JobId{static_cast<std::uint64_t>(id)}).summary, PodState::kSucceeded);
  }
  EXPECT_GT(agent.frames, 1U);
  EXPECT_FALSE(agent.closed);
}

TEST_F(ServerAgentsTest, AnAgentThatFallsSilentCountsAsAway) {
  options.core.heartbeat_ms = 50;
  start();
  auto client = connect();
  InstantAgent agent(options.unix_socket, "n1");  // says nothing more
  const auto connected = [&] { return client->call_for<ServerInfo>(ServerInfoRequest{})->nodes_connected; };
  ASSERT_EQ(connected(), 1U);
  for (int i = 0; i < 2'000 && connected() != 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(connected(), 0U);
}

TEST_F(ServerAgentsTest, AReaderThatNeverReadsIsCutOffAndTheOthersAreServed) {
  options.unsent_bytes_max = 256U << 10;
  start();
  auto client = connect();
  std::vector<JobSpec> jobs(2'000, spec());
  for (JobSpec& job : jobs) job.name.assign(200, 'n');
  ASSERT_TRUE(client->call_for<SubmitReply>(SubmitRequest{jobs, 0, false}).ok());
  auto slow = connect();
  bool cut = false;
  for (int i = 0; i < 500 && !cut; ++i) cut = !slow->send(ListJobsRequest{{}, {}, 10'000}).ok();
  // The end of the stream shows after what the kernel still held.
  for (int i = 0; i < 1'000 && !cut; ++i) cut = !slow->receive(20'000).ok();
  EXPECT_TRUE(cut);
  EXPECT_TRUE(client->call_for<ServerInfo>(ServerInfoRequest{}).ok());
}

TEST_F(ServerAgentsTest, ConnectionsPastTheLimitAreToldSo) {
  options.connections_max = 2;
  start();
  auto first = connect(), second = connect();
  auto third = client::Client::connect({options.unix_socket, "", 5'000});
  ASSERT_FALSE(third.ok());
  EXPECT_NE(third.error().message.find("as many connections"), std::string::npos) << third.error().message;
  EXPECT_TRUE(second->call_for<ServerInfo>(ServerInfoRequest{}).ok());
}

// The frame's length comes first; nothing else of it ever does.
TEST_F(ServerAgentsTest, BeforeItHasShownWhoItIsAPeerMayNotSendLongFrames) {
  start();
  const int fd = dial();
  const std::uint32_t length = wire::kMaxFrameBytesUnproven + 1;
  ASSERT_EQ(::write(fd, &length, sizeof length), static_cast<ssize_t>(sizeof length));
  char byte = 0;
  while (::read(fd, &byte, 1) > 0) {
  }
  ::close(fd);
  EXPECT_TRUE(connect()->call_for<ServerInfo>(ServerInfoRequest{}).ok());
}

TEST_F(ServerAgentsTest, ACertificateIsGoodForItsOwnRoleAndNameAlone) {
  options.listen = "127.0.0.1:0";
  start();
  const std::string where = addresses.at(1);
  auto node = wire::enrol(where, first_token.get_future().get(), "n1", 5'000);
  ASSERT_TRUE(node.ok()) << node.error().message;
  auto tls = wire::client_tls(node->authority_pem, node->certificate_pem, node->key_pem);
  ASSERT_TRUE(tls.ok());
  const auto deadline = wire::Deadline::after_ms(20'000);
  const auto endpoint = wire::parse_endpoint(where, "listen");
  const auto open = [&] { return std::move(*wire::BlockingStream::open(*endpoint, *tls, deadline)); };

  auto as_client = open();
  const auto refused = wire::shake_hands(*as_client, wire::PeerRole::kClient, deadline);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("user's certificate"), std::string::npos) << refused.error().message;

  auto as_other = open();
  ASSERT_TRUE(wire::shake_hands(*as_other, wire::PeerRole::kAgent, deadline).ok());
  AgentHello hello;
  hello.info.name = "n2";
  hello.info.capacity = {1000, 1000, 0};
  ASSERT_TRUE(as_other->send(wire::encode_frame({0, hello}), deadline).ok());
  auto answer = as_other->receive(deadline);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_NE(std::get<Error>(std::get<ServerReply>(answer->body)).message.find("'n1', not 'n2'"), std::string::npos);
}

TEST_F(ServerAgentsTest, ATokenIsShownToItsAskerAloneAndARefusedOneLeavesNothing) {
  start();
  auto client = connect();
  TokenCreateRequest bad;  // no time to live
  EXPECT_FALSE(client->call_for<TokenCreated>(bad).ok());
  TokenCreateRequest good;
  good.ttl_ms = 60'000;
  auto made = client->call_for<TokenCreated>(good);
  ASSERT_TRUE(made.ok());
  EXPECT_TRUE(made->token.starts_with("berth1-"));
  auto page = client->call_for<TokenPage>(TokenListRequest{});
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->tokens.size(), 1U);
  EXPECT_EQ(page->tokens[0].secret_hash, "");
  EXPECT_NE(made->token.find(page->tokens[0].id), std::string::npos);
}

TEST_F(ServerAgentsTest, QueuesOfTheSettingsAreSetOnceAndNotAtEveryStart) {
  options.queues = {{"short", 10, 60'000, {}, {}, 0, 0, {}, {}}};
  start();
  auto listed = connect()->call_for<QueuePage>(ListQueuesRequest{});
  ASSERT_TRUE(listed.ok());
  EXPECT_EQ(listed->queues.size(), 2U);
  const auto index = [&] { return connect()->call_for<ServerInfo>(ServerInfoRequest{})->journal_index; };
  const std::uint64_t before = index();
  stop();
  start();
  EXPECT_EQ(index(), before);
}

}  // namespace
}  // namespace berth::server
