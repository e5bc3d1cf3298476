// The blocking client against a server that answers in every way that it may, and in some that it may not.
#include <atomic>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include "api/client/client.h"

namespace berth::client {
namespace {

using state::ErrorCode;
using testing::HasSubstr;

// The server's side, by hand: a thread with a plain socket and a script.
class Scripted {
 public:
  using Script = std::function<void(Scripted&)>;
  Scripted(const std::string& path, Script script) {
    listening_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, path.size());
    EXPECT_EQ(::bind(listening_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listening_, 16), 0);
    thread_ = std::thread([this, script = std::move(script)] {
      fd_ = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
      script(*this);
      ::close(fd_);
    });
  }
  ~Scripted() {
    ::shutdown(listening_, SHUT_RDWR);
    thread_.join();
    ::close(listening_);
  }
  void raw(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void say(std::uint64_t request, wire::Body body) { raw(wire::encode_frame({request, std::move(body)})); }
  void error(std::uint64_t request, ErrorCode code, const std::string& message) {
    say(request, state::ServerReply(state::Error{code, "", message, 0}));
  }
  wire::Message hear() {
    std::uint32_t size = 0;
    read(&size, 4);
    std::string bytes(size, '\0');
    read(bytes.data(), size);
    auto message = wire::decode_message(std::as_bytes(std::span(bytes)));
    EXPECT_TRUE(message);
    return message ? std::move(*message) : wire::Message{};
  }
  void welcome() {
    const auto hello = hear();
    EXPECT_TRUE(std::holds_alternative<wire::Hello>(hello.body));
    say(0, wire::Welcome{1, "scripted", "tests"});
  }
  // Until the client is gone.
  void wait_for_end() {
    char byte = 0;
    while (::recv(fd_, &byte, 1, 0) > 0) {
    }
  }

 private:
  void read(void* to, std::size_t size) {
    auto* at = static_cast<char*>(to);
    while (size != 0) {
      const ssize_t n = ::recv(fd_, at, size, 0);
      if (n <= 0) return;
      at += n;
      size -= static_cast<std::size_t>(n);
    }
  }
  int listening_ = -1, fd_ = -1;
  std::thread thread_;
};

class ClientCalls : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "berth-client-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/s";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  state::Result<std::unique_ptr<Client>> connect(std::int64_t timeout_ms = 10'000) {
    return Client::connect({path_, "", timeout_ms});
  }
  std::string directory_, path_;
};

state::ClientRequest info() { return state::ServerInfoRequest{}; }
state::ServerReply job_ids(std::uint64_t id) { return state::SubmitReply{{state::JobId{id}}}; }

TEST_F(ClientCalls, NoServerIsSaidWithItsAddressAndWhatToDo) {
  const auto made = connect();
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message, "cannot reach the server at " + path_ +
                                      ": No such file or directory (is 'berth server' or 'berth dev' running?)");
  EXPECT_EQ(made.error().code, ErrorCode::kUnavailable);
  const auto remote = Client::connect({"127.0.0.1:1", directory_, 1'000});
  ASSERT_FALSE(remote);
  EXPECT_THAT(remote.error().message, testing::AllOf(HasSubstr("no identity for the server at 127.0.0.1:1"),
                                                     HasSubstr("authority.crt"), HasSubstr("berth login")));
  EXPECT_EQ(Client::connect({"nonsense", "", 1'000}).error().code, ErrorCode::kInvalid);
}

TEST_F(ClientCalls, RepliesFindTheirCallAndWhatComesBetweenIsKept) {
  Scripted server(path_, [](Scripted& s) {
    s.welcome();
    const auto watch = s.hear();
    const auto submit = s.hear();
    s.say(watch.request, state::ServerReply(state::JobProgress{state::JobId{7}, {}, {}, false}));
    s.say(submit.request, job_ids(9));
    s.say(watch.request, state::ServerReply(state::JobProgress{state::JobId{7}, {}, {}, true}));
    s.wait_for_end();
  });
  auto client = connect();
  ASSERT_TRUE(client) << client.error().message;
  EXPECT_EQ((*client)->welcome().cluster, "tests");
  const auto watch = (*client)->send(state::WatchJobsRequest{{state::JobId{7}}});
  ASSERT_TRUE(watch);
  const auto submitted = (*client)->call_for<state::SubmitReply>(state::SubmitRequest{});
  ASSERT_TRUE(submitted) << submitted.error().message;
  EXPECT_EQ(submitted->jobs.at(0).value, 9U);
  for (const bool ended : {false, true}) {
    const auto progress = (*client)->receive(10'000);
    ASSERT_TRUE(progress);
    EXPECT_EQ(progress->request, *watch);
    EXPECT_EQ(std::get<state::JobProgress>(std::get<state::ServerReply>(progress->body)).ended, ended);
  }
  const auto nothing = (*client)->receive(10);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(nothing.error().message, "timeout");
}

TEST_F(ClientCalls, ATimeoutInTheMiddleOfAFrameLosesNothing) {
  std::atomic<int> step{0};
  Scripted server(path_, [&](Scripted& s) {
    s.welcome();
    const std::string frame = wire::encode_frame({1, job_ids(5)});
    s.raw(frame.substr(0, 11));
    step = 1;
    while (step != 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    s.raw(frame.substr(11));
    s.wait_for_end();
  });
  auto client = connect();
  ASSERT_TRUE(client);
  while (step != 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ((*client)->receive(20).error().message, "timeout");
  step = 2;
  const auto message = (*client)->receive(10'000);
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->request, 1U);
}

TEST_F(ClientCalls, AnErrorReplyIsTheError) {
  Scripted server(path_, [](Scripted& s) {
    s.welcome();
    s.say(s.hear().request, state::ServerReply(state::Error{ErrorCode::kNotFound, "job", "no job 5", 250}));
    s.say(s.hear().request, state::ServerReply(state::Ok{}));
    s.hear();
    s.error(0, ErrorCode::kUnavailable, "the server is shutting down");
    s.wait_for_end();
  });
  auto client = connect();
  ASSERT_TRUE(client);
  EXPECT_EQ((*client)->call(info()).error(), (state::Error{ErrorCode::kNotFound, "job", "no job 5", 250}));
  EXPECT_EQ((*client)->call_for<state::ServerInfo>(info()).error().code, ErrorCode::kProtocol)
      << "an Ok is no ServerInfo";
  EXPECT_EQ((*client)->call(info()).error().message, "the server is shutting down") << "for all requests at once";
}

TEST_F(ClientCalls, AServerThatClosesIsSaidSoAndItsLastWordsFirst) {
  {
    Scripted server(path_, [](Scripted& s) {
      s.welcome();
      s.hear();
    });
    auto client = connect();
    ASSERT_TRUE(client);
    const auto reply = (*client)->call(info());
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message, HasSubstr("closed the connection"));
    // And again, with a request that can no longer be sent.
    EXPECT_FALSE((*client)->call(info()));
  }
  ::unlink(path_.c_str());
  Scripted server(path_, [](Scripted& s) {
    s.welcome();
    s.error(0, ErrorCode::kTooLarge, "the frame is too long");
  });
  auto client = connect();
  ASSERT_TRUE(client);
  state::SubmitRequest big;
  big.jobs.resize(1);
  big.jobs[0].launch.assign(8U << 20, 'x');  // more than the kernel keeps: the sending meets the end
  const auto reply = (*client)->call(std::move(big));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().message, "the frame is too long");
}

TEST_F(ClientCalls, OtherServersAndOtherVersionsAreNamed) {
  const std::vector<std::pair<Scripted::Script, std::string>> cases{
      {[](Scripted& s) { s.hear(); }, "closed the connection"},
      {[](Scripted& s) {
         s.hear();
         s.error(0, ErrorCode::kProtocol, "it speaks versions 7 to 9 of the protocol");
       },
       "versions 7 to 9"},
      {[](Scripted& s) {
         s.hear();
         s.say(0, wire::Welcome{99, "", ""});
         s.wait_for_end();
       },
       "version 99"},
      {[](Scripted& s) {
         s.hear();
         s.raw("HTTP/1.1 400 Bad Request\r\n\r\n");
         s.wait_for_end();
       },
       "not a berth server"},
      {[](Scripted& s) {
         s.hear();
         s.raw(std::string("\x08\0\0\0garbage!", 12));
         s.wait_for_end();
       },
       "not a valid message"},
      {[](Scripted& s) {
         s.hear();
         s.say(0, state::AgentHeartbeat{});
         s.wait_for_end();
       },
       "does not answer as a berth server"},
  };
  for (const auto& [script, expected] : cases) {
    ::unlink(path_.c_str());
    Scripted server(path_, script);
    const auto made = connect();
    ASSERT_FALSE(made) << expected;
    EXPECT_THAT(made.error().message, testing::AllOf(HasSubstr(expected), HasSubstr(path_)));
    EXPECT_EQ(made.error().message.find('\n'), std::string::npos);
  }
}

TEST_F(ClientCalls, AServerThatSaysNothingIsGivenUp) {
  Scripted server(path_, [](Scripted& s) { s.wait_for_end(); });
  const auto made = connect(100);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("no answer in time"));
}

TEST_F(ClientCalls, TwoSidesThatBothSendMuchDoNotWaitForEachOther) {
  constexpr int kRequests = 40;
  Scripted server(path_, [](Scripted& s) {
    s.welcome();
    state::LogChunk chunk;
    chunk.bytes.assign(512 * 1024, 'y');
    for (int i = 1; i <= kRequests; ++i)
      s.say(static_cast<std::uint64_t>(i), state::ServerReply(chunk));  // before reading
    for (int i = 0; i < kRequests; ++i) s.hear();
    s.wait_for_end();
  });
  auto client = connect();
  ASSERT_TRUE(client);
  state::SubmitRequest request;
  request.jobs.resize(1);
  request.jobs[0].launch.assign(512 * 1024, 'x');
  for (int i = 0; i < kRequests; ++i) ASSERT_TRUE((*client)->send(request));
  for (int i = 1; i <= kRequests; ++i) {
    const auto message = (*client)->receive(20'000);
    ASSERT_TRUE(message) << message.error().message;
    EXPECT_EQ(message->request, static_cast<std::uint64_t>(i));
  }
}

TEST_F(ClientCalls, ARequestThatFitsNoFrameIsRefusedBeforeItIsSent) {
  Scripted server(path_, [](Scripted& s) {
    s.welcome();
    s.say(s.hear().request, state::ServerReply(state::Ok{}));
    s.wait_for_end();
  });
  auto client = connect();
  ASSERT_TRUE(client);
  state::SubmitRequest big;
  big.jobs.resize(33);
  for (auto& job : big.jobs) job.launch.assign(1U << 20, 'x');
  const auto reply = (*client)->call(std::move(big));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kTooLarge);
  EXPECT_THAT(reply.error().message, HasSubstr("at most 32 MiB"));
  EXPECT_TRUE((*client)->call(info())) << "the connection is still good";
}

}  // namespace
}  // namespace berth::client
