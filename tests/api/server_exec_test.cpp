// Streams of commands between clients and agents, through the whole server; and sides that do not keep to the rules.
#include <gmock/gmock.h>

#include "tests/api/server_fixture.h"

namespace berth::server {
namespace {

using namespace state;
using Kind = ExecPart::Kind;
using testing_support::ServerFixture;

// An agent whose every word is the test's.
class PuppetAgent {
 public:
  explicit PuppetAgent(const std::string& socket) {
    wire::Endpoint endpoint;
    endpoint.path = socket;
    stream_ = std::move(*wire::BlockingStream::open(endpoint, nullptr, wire::Deadline::after_ms(5'000)));
    EXPECT_TRUE(wire::shake_hands(*stream_, wire::PeerRole::kAgent, wire::Deadline::after_ms(5'000)).ok());
    AgentHello hello;
    hello.info.name = "n1";
    hello.info.instance = "i-n1";
    hello.info.capacity = {1'000, 1'000, 0};
    send(std::move(hello));
    next<AgentWelcome>();
  }
  void send(wire::Body body) {
    EXPECT_TRUE(stream_->send(wire::encode_frame({0, std::move(body)}), wire::Deadline::after_ms(10'000)).ok());
  }
  template <class T>
  T next() {
    while (true) {
      auto message = stream_->receive(wire::Deadline::after_ms(10'000));
      EXPECT_TRUE(message.ok()) << message.error().message;
      if (!message.ok()) return {};
      if (auto* body = std::get_if<T>(&message->body)) return std::move(*body);
    }
  }

 private:
  std::unique_ptr<wire::BlockingStream> stream_;
};

class ServerExecTest : public ServerFixture {
 protected:
  void begin() {
    start();
    client = connect();
    agent = std::make_unique<PuppetAgent>(options.unix_socket);
    auto done = client->call_for<SubmitReply>(SubmitRequest{{spec()}, 0, false});
    ASSERT_TRUE(done.ok());
    job = done->jobs[0];
    (void)agent->next<StartPods>();
    AgentStatus status;
    status.starts.push_back({{{job, 0}, 1}, 1});
    agent->send(std::move(status));
    while (client->call_for<JobDetail>(ShowJobRequest{job})->row.counts.of(PodState::kRunning) == 0) {
    }
    open();
  }
  void open() {
    ExecRequest request;
    request.job = job;
    request.argv = {"cat"};
    request.input = true;
    auto sent = client->send(ClientRequest(request));
    ASSERT_TRUE(sent.ok());
    number = *sent;
    const auto start = agent->next<ExecStart>();
    EXPECT_EQ(start.request.argv, request.argv);
    token = start.token;
  }
  void from_agent(Kind kind, std::string bytes = {}, std::uint32_t count = 0) {
    agent->send(ExecPart{token, kind, std::move(bytes), count, 0});
  }
  void from_client(Kind kind, std::string bytes = {}, std::uint32_t count = 0) {
    (void)client->send(number, ExecPart{0, kind, std::move(bytes), count, 0});
  }
  ExecPart at_client() {
    auto message = client->receive(10'000);
    EXPECT_TRUE(message.ok()) << message.error().message;
    if (!message.ok()) return {};
    EXPECT_EQ(message->request, number);
    auto* part = std::get_if<ExecPart>(&message->body);
    EXPECT_NE(part, nullptr);
    return part == nullptr ? ExecPart{} : *part;
  }
  std::unique_ptr<client::Client> client;
  std::unique_ptr<PuppetAgent> agent;
  JobId job;
  std::uint64_t number = 0, token = 0;
};

TEST_F(ServerExecTest, PartsGoBothWaysAndTheEndIsTheLast) {
  begin();
  from_agent(Kind::kStarted);
  EXPECT_EQ(at_client().kind, Kind::kStarted);
  from_client(Kind::kInput, "question");
  const auto input = agent->next<ExecPart>();
  EXPECT_EQ(input.token, token);
  EXPECT_EQ(input.bytes, "question");
  from_agent(Kind::kTaken, "", 8);
  EXPECT_EQ(at_client().count, 8U);
  from_agent(Kind::kError, "answer");
  const ExecPart answer = at_client();
  EXPECT_EQ(answer.kind, Kind::kError);
  EXPECT_EQ(answer.token, 0U) << "that is between server and agent";
  EXPECT_EQ(answer.bytes, "answer");
  from_agent(Kind::kEnd, "", 3);
  EXPECT_EQ(at_client().count, 3U);
  from_client(Kind::kInput, "too late");  // which nobody minds
  open();                                 // … and the next stream has nothing of it
  from_client(Kind::kInputEnd);
  EXPECT_EQ(agent->next<ExecPart>().kind, Kind::kInputEnd);
}

TEST_F(ServerExecTest, AClientThatGoesEndsItsCommands) {
  begin();
  client.reset();
  const auto end = agent->next<ExecPart>();
  EXPECT_EQ(end.kind, Kind::kEnd);
  EXPECT_EQ(end.token, token);
}

TEST_F(ServerExecTest, AnAgentThatGoesEndsItsCommandsWithALine) {
  begin();
  agent.reset();
  const ExecPart end = at_client();
  EXPECT_EQ(end.kind, Kind::kEnd);
  EXPECT_THAT(end.bytes, testing::HasSubstr("node was lost"));
  EXPECT_NE(end.count, 0U);
}

TEST_F(ServerExecTest, MoreInputThanThereIsRoomForIsRefusedWithTheConnection) {
  begin();
  for (std::uint32_t sent = 0; sent < kExecWindowBytes; sent += kExecPartBytes) {
    from_client(Kind::kInput, std::string(kExecPartBytes, 'x'));
  }
  for (std::uint32_t came = 0; came < kExecWindowBytes;)
    came += static_cast<std::uint32_t>(agent->next<ExecPart>().bytes.size());
  from_client(Kind::kInput, "x");
  EXPECT_EQ(agent->next<ExecPart>().kind, Kind::kEnd);
  auto refused = client->receive(10'000);
  ASSERT_TRUE(refused.ok());
  const auto* reply = std::get_if<ServerReply>(&refused->body);
  ASSERT_NE(reply, nullptr);
  ASSERT_TRUE(std::holds_alternative<Error>(*reply));
  EXPECT_EQ(std::get<Error>(*reply).code, ErrorCode::kProtocol);
}

TEST_F(ServerExecTest, WhatAClientMayNotSayEndsItsConnectionAndTheCommand) {
  for (const Kind kind : {Kind::kOutput, Kind::kStarted, Kind::kTaken}) {
    begin();
    from_client(kind, "x", 1);  // also to have taken what was never sent
    EXPECT_EQ(agent->next<ExecPart>().kind, Kind::kEnd);
    agent.reset();
    client.reset();
    stop();
    std::filesystem::remove_all(options.data_directory);
    std::filesystem::create_directory(options.data_directory);
    first_token = {};
  }
}

TEST_F(ServerExecTest, AnAgentThatSendsMoreThanThereIsRoomForEndsTheCommandAlone) {
  begin();
  from_agent(Kind::kOutput, std::string(kExecWindowBytes, 'x'));
  EXPECT_EQ(at_client().bytes.size(), kExecWindowBytes);
  from_agent(Kind::kOutput, "x");
  EXPECT_EQ(at_client().kind, Kind::kEnd);
  EXPECT_EQ(agent->next<ExecPart>().kind, Kind::kEnd);
  open();  // both go on
}

TEST_F(ServerExecTest, AConnectionHasOnlySoManyCommands) {
  begin();
  for (int more = 1; more < 16; ++more) open();
  ExecRequest request;
  request.job = job;
  request.argv = {"cat"};
  auto refused = client->call(ClientRequest(request));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace berth::server
