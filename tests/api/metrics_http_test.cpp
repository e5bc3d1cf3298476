// The figures of a whole server over HTTP, while its disk does what a test wants.
#include <arpa/inet.h>
#include <chrono>
#include <netinet/in.h>

#include "tests/api/server_fixture.h"

namespace berth::server {
namespace {

using namespace testing_support;

std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)), 0);
  socklen_t size = sizeof(at);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size), 0);
  ::close(fd);
  return ntohs(at.sin_port);
}

// The whole answer, head and all; "" if nobody listens.
std::string get(std::uint16_t port, const std::string& path) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(::write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    std::string part(65536, 0);
    for (ssize_t n = 0; (n = ::read(fd, part.data(), part.size())) > 0;)
      answer.append(part, 0, static_cast<std::size_t>(n));
  }
  ::close(fd);
  return answer;
}

class MetricsServer : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    port = free_port();
    options.metrics = "127.0.0.1:" + std::to_string(port);
  }
  bool page_has(const std::string& text) const { return get(port, "/metrics").find(text) != std::string::npos; }
  template <class Condition>
  static bool soon(Condition&& condition) {
    for (int i = 0; i < 600; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }
  std::uint16_t port = 0;
};

TEST_F(MetricsServer, IsNotWellWhileTheDiskIsFull) {
  start();
  EXPECT_TRUE(get(port, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_TRUE(page_has("\nberth_suspended 0\n"));
  disk.set(&Disk::full, true);
  auto client = connect();
  std::thread waits([&] { (void)client->call(state::SubmitRequest{{spec()}, 0, false}); });
  EXPECT_TRUE(soon([&] { return get(port, "/healthz").starts_with("HTTP/1.1 503 "); }));
  EXPECT_NE(get(port, "/healthz").find("disk is full"), std::string::npos);
  EXPECT_TRUE(page_has("\nberth_suspended 1\n")) << "the page itself is there";
  EXPECT_FALSE(page_has("\nberth_journal_append_failures_total 0\n"));
  disk.set(&Disk::full, false);
  waits.join();
  EXPECT_TRUE(soon([&] { return get(port, "/healthz").starts_with("HTTP/1.1 200 "); }));
}

// The journal's thread is in the disk's hands, and the core goes on until it has nowhere to put its turns.
TEST_F(MetricsServer, APageComesWhileTheDiskHoldsEverythingUp) {
  start();
  EXPECT_TRUE(page_has("\nberth_pods{state=\"pending\"} 0\n"));
  disk.set(&Disk::hold, true);
  std::vector<std::unique_ptr<client::Client>> clients;
  std::vector<std::thread> waiting;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(connect());
    waiting.emplace_back([&, i] {
      (void)clients[static_cast<std::size_t>(i)]->call(state::SubmitRequest{{spec()}, 0, false});
    });
  }
  EXPECT_TRUE(soon([&] { return page_has("\nberth_pods{state=\"pending\"} 3\n"); }));
  EXPECT_TRUE(page_has("\nberth_jobs_submitted_total 0\n")) << "none of them is durable";
  EXPECT_TRUE(page_has("\nberth_requests_total{kind=\"submit\",outcome=\"ok\"} 3\n"));
  EXPECT_TRUE(page_has("\nberth_sessions{peer=\"client\"} 3\n"));
  disk.set(&Disk::hold, false);
  for (std::thread& each : waiting) each.join();
  EXPECT_TRUE(soon([&] { return page_has("\nberth_jobs_submitted_total 3\n"); }));
  clients.clear();
  EXPECT_TRUE(soon([&] { return page_has("\nberth_sessions{peer=\"client\"} 0\n"); }));
}

TEST_F(MetricsServer, GoesWithItsServer) {
  start();
  EXPECT_FALSE(get(port, "/healthz").empty());
  stop();
  EXPECT_EQ(get(port, "/healthz"), "");
}

}  // namespace
}  // namespace berth::server
