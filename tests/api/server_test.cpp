// A real server with a real store on a Unix socket and on TLS, spoken to by the real client and by hand.
#include "api/server/server.h"

#include <filesystem>
#include <future>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include "api/client/client.h"
#include "api/wire/enrol.h"
#include "api/wire/message.h"
#include "api/wire/tls.h"

namespace berth::server {
namespace {

using namespace state;

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/berth-server-test-XXXXXX";
    directory = ::mkdtemp(pattern.data());
    options.data_directory = directory + "/data";
    std::filesystem::create_directory(options.data_directory);
    options.unix_socket = directory + "/sock";
    options.version = "test";
    options.core.cluster_name = "test";
    options.on_first_token = [this](const std::string& token) { first_token.set_value(token); };
  }
  void TearDown() override {
    stop();
    std::filesystem::remove_all(directory);
  }
  void start() {
    std::promise<std::vector<std::string>> ready;
    options.on_ready = [&](const std::vector<std::string>& listening) { ready.set_value(listening); };
    server = std::make_unique<Server>(options);
    thread = std::thread([this] { result = server->run(); });
    addresses = ready.get_future().get();
  }
  void stop() {
    if (!server) return;
    server->request_stop();
    thread.join();
    EXPECT_TRUE(result.ok()) << result.error().message;
    server.reset();
  }
  std::unique_ptr<client::Client> connect() {
    auto made = client::Client::connect({options.unix_socket, "", 5000});
    EXPECT_TRUE(made.ok()) << made.error().message;
    return std::move(*made);
  }
  static JobSpec spec() {
    JobSpec job;
    job.name = "j";
    job.request.resources = {1000, 64, 0};
    job.launch = "x";
    return job;
  }
  // Sends raw bytes to the socket and returns everything that comes back until the server closes.
  std::string raw(const std::string& bytes) const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    options.unix_socket.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    (void)!::write(fd, bytes.data(), bytes.size());
    std::string answer;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
      answer.append(buffer, static_cast<std::size_t>(n));
    ::close(fd);
    return answer;
  }
  static std::string error_in(const std::string& answer) {
    if (answer.size() < 4) return "";
    auto message = wire::decode_message(std::as_bytes(std::span(answer).subspan(4)));
    if (!message.ok()) return "";
    const auto* reply = std::get_if<ServerReply>(&message->body);
    return reply == nullptr ? "" : std::get<Error>(*reply).message;
  }

  std::string directory;
  ServerOptions options;
  std::promise<std::string> first_token;
  std::unique_ptr<Server> server;
  std::thread thread;
  Status result = Unit{};
  std::vector<std::string> addresses;
};

TEST_F(ServerTest, KeepsWhatItAcknowledgedOverARestart) {
  start();
  auto done = connect()->call_for<SubmitReply>(SubmitRequest{{spec(), spec()}, 0, false});
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(done->jobs, (std::vector<JobId>{JobId{1}, JobId{2}}));
  stop();
  start();
  auto page = connect()->call_for<JobPage>(ListJobsRequest{});
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->rows.size(), 2U);
}

TEST_F(ServerTest, RefusesWithTheErrorOfTheCheckAndGoesOn) {
  start();
  auto client = connect();
  JobSpec bad = spec();
  bad.queue = "nowhere";
  auto refused = client->call_for<SubmitReply>(SubmitRequest{{bad}, 0, false});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().field, "queue");
  EXPECT_TRUE(client->call_for<ServerInfo>(ServerInfoRequest{}).ok());
}

TEST_F(ServerTest, GarbageClosesThatConnectionAlone) {
  start();
  auto client = connect();
  EXPECT_NE(error_in(raw(std::string("\x10\0\0\0", 4) + std::string(16, 'x'))), "");
  raw(std::string("\xff\xff\xff\xff", 4));
  raw("GET / HTTP/1.1\r\n\r\n");
  EXPECT_NE(error_in(raw(wire::encode_frame({1, ClientRequest(ServerInfoRequest{})}))), "")
      << "a request before the handshake";
  EXPECT_TRUE(client->call_for<ServerInfo>(ServerInfoRequest{}).ok());
}

TEST_F(ServerTest, APeerOfAnotherProtocolVersionIsToldSo) {
  start();
  const std::string answer =
      error_in(raw(wire::encode_frame({0, wire::Hello{90, 99, wire::PeerRole::kClient, "berth 9"}})));
  EXPECT_NE(answer.find("protocol version"), std::string::npos) << answer;
}

TEST_F(ServerTest, ASecondServerOnTheSameDirectoryOrSocketIsRefused) {
  start();
  ServerOptions other = options;
  other.unix_socket = directory + "/other";
  const Status same_data = Server(other).run();
  ASSERT_FALSE(same_data.ok());
  other = options;
  other.data_directory = directory + "/elsewhere";
  std::filesystem::create_directory(other.data_directory);
  const Status same_socket = Server(other).run();
  ASSERT_FALSE(same_socket.ok());
  EXPECT_NE(same_socket.error().message.find("already listens"), std::string::npos);
  EXPECT_TRUE(connect()->call_for<ServerInfo>(ServerInfoRequest{}).ok());
}

TEST_F(ServerTest, LimitsTheRateOfRequests) {
  options.requests_per_second_max = 5;
  start();
  auto client = connect();
  bool refused = false;
  for (int i = 0; i < 20 && !refused; ++i) {
    auto info = client->call_for<ServerInfo>(ServerInfoRequest{});
    refused = !info.ok() && info.error().code == ErrorCode::kUnavailable && info.error().retry_after_ms > 0;
  }
  EXPECT_TRUE(refused);
}

TEST_F(ServerTest, NodesJoinByTokenOverTlsAndWrongTokensAreRefused) {
  options.listen = "127.0.0.1:0";
  start();
  const std::string token = first_token.get_future().get();
  const std::string where = addresses.at(1);
  auto joined = wire::enrol(where, token, "n1", 5000);
  ASSERT_TRUE(joined.ok()) << joined.error().message;
  EXPECT_TRUE(wire::client_tls(joined->authority_pem, joined->certificate_pem, joined->key_pem).ok());

  auto parts = wire::parse_token(token);
  ASSERT_TRUE(parts.ok());
  wire::JoinToken wrong = *parts;
  wrong.secret.back() = wrong.secret.back() == '0' ? '1' : '0';
  auto refused = wire::enrol(where, wire::format_token(wrong), "n2", 5000);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("wrong"), std::string::npos) << refused.error().message;

  wrong = *parts;
  wrong.fingerprint = std::string(64, 'a');
  EXPECT_FALSE(wire::enrol(where, wire::format_token(wrong), "n2", 5000).ok()) << "another authority";
  EXPECT_FALSE(wire::enrol(where, token, "bad name", 5000).ok());

  ASSERT_TRUE(connect()->call_for<Ok>(TokenRevokeRequest{parts->id}).ok());
  auto revoked = wire::enrol(where, token, "n2", 5000);
  ASSERT_FALSE(revoked.ok());
  EXPECT_NE(revoked.error().message.find("revoked"), std::string::npos) << revoked.error().message;

  TokenCreateRequest brief;
  brief.ttl_ms = 1;
  auto made = connect()->call_for<TokenCreated>(brief);
  ASSERT_TRUE(made.ok()) << made.error().message;
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  auto expired = wire::enrol(where, made->token, "n2", 5000);
  ASSERT_FALSE(expired.ok());
  EXPECT_NE(expired.error().message.find("expired"), std::string::npos) << expired.error().message;
}

}  // namespace
}  // namespace berth::server
