// Certificates, tokens and TLS: who may speak to whom, and how a node joins.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "api/client/client.h"
#include "api/wire/blocking.h"
#include "api/wire/connection.h"
#include "api/wire/enrol.h"
#include "api/wire/message.h"
#include "api/wire/tls.h"

namespace berth::wire {
namespace {

using state::ErrorCode;
using Ptr = std::shared_ptr<Connection>;
using testing::HasSubstr;

struct Identity {
  std::string key, certificate;
};

Identity identity_of(const Authority& authority, const std::string& name) {
  const auto own = make_key_and_request("whatever the request says");
  EXPECT_TRUE(own);
  const auto certificate = sign_request(authority, own->csr_pem, name, 30);
  EXPECT_TRUE(certificate) << (certificate ? "" : certificate.error().message);
  return {own->key_pem, certificate ? *certificate : ""};
}

// A server on a thread of its own, on loopback, that answers as the real one does: Welcome to Hello, a certificate to a
// token that it knows, ServerInfo with the caller's name to any request.
class TinyServer {
 public:
  TinyServer(const Authority& authority, JoinToken token) : authority_(authority), token_(std::move(token)) {
    auto tls = server_tls(authority_);
    EXPECT_TRUE(tls);
    auto made = listen_tls(loop_, "127.0.0.1", 0, *tls, [this](Ptr c) { accept(std::move(c)); });
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    listener_ = std::move(*made);
    address_ = listener_->address();
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~TinyServer() {
    loop_.post([this] {
      connections_.clear();
      listener_.reset();
      loop_.stop();
    });
    thread_.join();
  }
  const std::string& address() const { return address_; }
  int accepted() const { return accepted_; }

 private:
  void accept(Ptr connection) {
    ++accepted_;
    Connection* one = connection.get();
    one->start({[this, one](auto bytes) { on_frame(*one, bytes); }, [](const state::Error&) {}, {}});
    connections_.push_back(std::move(connection));
  }
  void on_frame(Connection& one, std::span<const std::byte> bytes) {
    auto message = decode_message(bytes);
    ASSERT_TRUE(message);
    const auto answer = [&](Body body) { one.send(encode_frame({message->request, std::move(body)})); };
    if (std::holds_alternative<Hello>(message->body)) {
      answer(Welcome{1, "tiny", "test"});
    } else if (const auto* join = std::get_if<JoinRequest>(&message->body)) {
      if (join->token_id != token_.id || join->token_secret != token_.secret) {
        return answer(state::ServerReply(state::Error{ErrorCode::kDenied, "token", "the token is not known", 0}));
      }
      auto certificate = sign_request(authority_, join->csr_pem, "node:" + join->name, 30);
      ASSERT_TRUE(certificate);
      answer(JoinReply{*certificate, authority_pem(authority_)});
    } else {
      state::ServerInfo info;
      info.version = one.peer().common_name;
      info.jobs = static_cast<std::uint64_t>(one.peer().kind);
      answer(state::ServerReply(std::move(info)));
    }
  }

  Authority authority_;
  JoinToken token_;
  Loop loop_;
  std::unique_ptr<Listener> listener_;
  std::vector<Ptr> connections_;
  std::atomic<int> accepted_{0};
  std::string address_;
  std::thread thread_;
};

class WireTls : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "berth-tls-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    authority_ = *open_authority(directory_ + "/authority");
    other_ = *open_authority(directory_ + "/other");
    token_ = make_token(authority_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // The directory of a remote user, with a certificate of `signer` who trusts `trusted`.
  std::string user(const Authority& signer, const Authority& trusted, const std::string& name = "user:ada") {
    const std::string at = directory_ + "/user" + std::to_string(++users_);
    std::filesystem::create_directory(at);
    const Identity identity = identity_of(signer, name);
    std::ofstream(at + "/user.crt") << identity.certificate;
    std::ofstream(at + "/user.key") << identity.key;
    std::ofstream(at + "/authority.crt") << authority_pem(trusted);
    return at;
  }

  std::string directory_;
  Authority authority_, other_;
  JoinToken token_;
  int users_ = 0;
};

TEST_F(WireTls, KeysAreForTheirOwnerAloneAndTheAuthorityStays) {
  for (const char* name : {"authority.key", "server.key"}) {
    struct stat info {};
    ASSERT_EQ(::stat((directory_ + "/authority/" + name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U) << name;
  }
  const auto again = open_authority(directory_ + "/authority");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->fingerprint, authority_.fingerprint);
  EXPECT_NE(other_.fingerprint, authority_.fingerprint);
}

TEST_F(WireTls, AHalfMadeAuthorityIsMadeAgain) {
  // The process died before the authority's certificate was written: the last of the files.
  std::filesystem::remove(directory_ + "/authority/authority.crt");
  const auto again = open_authority(directory_ + "/authority");
  ASSERT_TRUE(again);
  EXPECT_TRUE(server_tls(*again)) << "the four files belong together";
}

TEST_F(WireTls, TokensComeBackFromTheirLineAndErrorsKeepTheSecret) {
  const auto back = parse_token(format_token(token_));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->fingerprint, authority_.fingerprint);
  EXPECT_EQ(back->id, token_.id);
  EXPECT_EQ(back->secret, token_.secret);
  const std::string line = format_token(token_);
  for (const std::string& bad : {std::string(), std::string("berth1"), line.substr(0, line.size() - 1), line + "0",
                                 "x" + line, line + "-", line + " ", std::string(1000, '-')}) {
    const auto parsed = parse_token(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().message.find(token_.secret.substr(0, 10)), std::string::npos);
    EXPECT_EQ(parsed.error().field, "token");
  }
}

TEST_F(WireTls, ANodeJoinsAndIsKnownByItsCertificate) {
  TinyServer server(authority_, token_);
  const std::string name(200, 'n');  // longer than the 64 bytes of older certificates
  const auto joined = enrol(server.address(), format_token(token_), name, 10'000);
  ASSERT_TRUE(joined) << joined.error().message;
  EXPECT_EQ(joined->authority_pem, authority_pem(authority_));

  const auto tls = client_tls(joined->authority_pem, joined->certificate_pem, joined->key_pem);
  ASSERT_TRUE(tls);
  auto stream = BlockingStream::open(*parse_endpoint(server.address(), ""), *tls, Deadline::after_ms(10'000));
  ASSERT_TRUE(stream) << stream.error().message;
  ASSERT_TRUE(
      (*stream)->send(encode_frame({5, state::ClientRequest(state::ServerInfoRequest{})}), Deadline::after_ms(10'000)));
  const auto reply = (*stream)->receive(Deadline::after_ms(10'000));
  ASSERT_TRUE(reply) << reply.error().message;
  const auto& info = std::get<state::ServerInfo>(std::get<state::ServerReply>(reply->body));
  EXPECT_EQ(info.version, "node:" + name);
  EXPECT_EQ(info.jobs, static_cast<std::uint64_t>(PeerIdentity::Kind::kCertificate));
}

TEST_F(WireTls, JoiningRefusesAServerThatIsNotTheTokens) {
  TinyServer server(authority_, token_);
  JoinToken foreign = token_;
  foreign.fingerprint = other_.fingerprint;
  const auto joined = enrol(server.address(), format_token(foreign), "n1", 10'000);
  ASSERT_FALSE(joined);
  EXPECT_EQ(joined.error().message, "the server at " + server.address() + " is not the one this token was made for");
  EXPECT_EQ(joined.error().code, ErrorCode::kDenied);
  EXPECT_EQ(server.accepted(), 0) << "the secret must not have been sent";
}

TEST_F(WireTls, JoiningSaysWhyItFailed) {
  {
    TinyServer server(authority_, token_);
    JoinToken wrong = token_;
    wrong.secret = std::string(40, '0');
    const auto refused = enrol(server.address(), format_token(wrong), "n1", 10'000);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "the token is not known");
  }
  const auto nobody = enrol("127.0.0.1:1", format_token(token_), "n1", 2'000);
  ASSERT_FALSE(nobody);
  EXPECT_THAT(nobody.error().message, testing::AllOf(HasSubstr("127.0.0.1:1"), HasSubstr("Connection refused")));
  EXPECT_EQ(enrol("/run/x", format_token(token_), "n1", 100).error().field, "join");
  EXPECT_EQ(enrol("127.0.0.1:1", "rubbish", "n1", 100).error().field, "token");
}

TEST_F(WireTls, ACertificateOfAnotherAuthorityIsRefusedByTheServer) {
  TinyServer server(authority_, token_);
  const auto made = client::Client::connect({server.address(), user(other_, authority_), 5'000});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kDenied);
  EXPECT_THAT(made.error().message, testing::AllOf(HasSubstr(server.address()), HasSubstr("refused this certificate")));
  EXPECT_EQ(server.accepted(), 0);
}

TEST_F(WireTls, AServerOfAnotherAuthorityIsRefusedByTheClient) {
  TinyServer server(authority_, token_);
  const auto made = client::Client::connect({server.address(), user(authority_, other_), 5'000});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("not of the authority we trust"));
}

TEST_F(WireTls, ANodesCertificateDoesNotPassForTheServers) {
  // A node that was admitted sets up a server of its own with what it has.
  const Identity node = identity_of(authority_, "node:evil");
  const std::string fake = directory_ + "/fake";
  std::filesystem::create_directory(fake);
  std::ofstream(fake + "/authority.crt") << authority_pem(authority_);
  std::ofstream(fake + "/server.crt") << node.certificate;
  std::ofstream(fake + "/server.key") << node.key;
  TinyServer server(Authority{fake, authority_.fingerprint}, token_);
  const auto made = client::Client::connect({server.address(), user(authority_, authority_), 5'000});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("not of the authority we trust"));
  const auto joined = enrol(server.address(), format_token(token_), "n1", 10'000);
  ASSERT_FALSE(joined);
  EXPECT_EQ(joined.error().code, ErrorCode::kDenied);
  EXPECT_EQ(server.accepted(), 0);
}

TEST_F(WireTls, WhoShowsNoCertificateIsUnproven) {
  TinyServer server(authority_, token_);
  const auto tls = joining_tls(authority_.fingerprint);
  ASSERT_TRUE(tls);
  auto stream = BlockingStream::open(*parse_endpoint(server.address(), ""), *tls, Deadline::after_ms(10'000));
  ASSERT_TRUE(stream) << stream.error().message;
  ASSERT_TRUE(
      (*stream)->send(encode_frame({1, state::ClientRequest(state::ServerInfoRequest{})}), Deadline::after_ms(10'000)));
  const auto reply = (*stream)->receive(Deadline::after_ms(10'000));
  ASSERT_TRUE(reply);
  const auto& info = std::get<state::ServerInfo>(std::get<state::ServerReply>(reply->body));
  EXPECT_EQ(info.version, "");
  EXPECT_EQ(info.jobs, static_cast<std::uint64_t>(PeerIdentity::Kind::kUnproven));
}

TEST_F(WireTls, ARequestNotSignedByItsOwnKeyIsNotSigned) {
  EXPECT_FALSE(sign_request(authority_, "rubbish", "node:x", 1));
  auto own = make_key_and_request("x");
  ASSERT_TRUE(own);
  std::string& pem = own->csr_pem;
  const std::size_t at = pem.size() / 2;
  pem[at] = pem[at] == 'A' ? 'B' : 'A';
  EXPECT_FALSE(sign_request(authority_, pem, "node:x", 1));
}

TEST_F(WireTls, ALoopConnectsAndManyMessagesPassInBothDirections) {
  TinyServer server(authority_, token_);
  const Identity node = identity_of(authority_, "node:n1");
  const auto tls = client_tls(authority_pem(authority_), node.certificate, node.key);
  ASSERT_TRUE(tls);
  Loop loop;
  Ptr connection;
  std::uint64_t next = 0;
  constexpr std::uint64_t kMessages = 5'000;
  std::string failure;
  const auto limit = loop.after_ms(60'000, [&] {
    failure = "too late";
    loop.stop();
  });
  connect(loop, *parse_endpoint(server.address(), ""), *tls, 10'000, [&](state::Result<Ptr> made) {
    if (!made) {
      failure = made.error().message;
      return loop.stop();
    }
    connection = std::move(*made);
    connection->start({[&](auto bytes) {
                         const auto message = decode_message(bytes);
                         ASSERT_TRUE(message);
                         ASSERT_EQ(message->request, next++);
                         if (next == kMessages) loop.stop();
                       },
                       [&](const state::Error& e) {
                         failure = e.message;
                         loop.stop();
                       },
                       {}});
    state::SubmitRequest submit;
    submit.jobs.resize(1);
    for (std::uint64_t i = 0; i < kMessages; ++i) {
      submit.jobs[0].launch.assign(i % 500 == 0 ? 200'000 : i % 300, 'x');
      connection->send(encode_frame({i, state::ClientRequest(submit)}));
    }
  });
  loop.run();
  EXPECT_EQ(failure, "");
  EXPECT_EQ(next, kMessages);
}

TEST_F(WireTls, ALoopIsToldOfAServerOfAnotherAuthorityAndOfNone) {
  TinyServer server(authority_, token_);
  const Identity node = identity_of(other_, "node:n1");
  const auto tls = client_tls(authority_pem(other_), node.certificate, node.key);
  Loop loop;
  std::vector<std::string> messages;
  const auto note = [&](state::Result<Ptr> made) {
    ASSERT_FALSE(made);
    messages.push_back(made.error().message);
    if (messages.size() == 2) loop.stop();
  };
  connect(loop, *parse_endpoint(server.address(), ""), *tls, 10'000, note);
  connect(loop, *parse_endpoint("127.0.0.1:1", ""), *tls, 10'000, note);
  loop.run();
  EXPECT_THAT(messages, testing::UnorderedElementsAre(HasSubstr("not of the authority we trust"),
                                                      testing::AllOf(HasSubstr("127.0.0.1:1"), HasSubstr("refused"))));
}

TEST_F(WireTls, GarbageInsteadOfAHandshakeHarmsNobody) {
  TinyServer server(authority_, token_);
  const auto endpoint = *parse_endpoint(server.address(), "");
  for (int i = 0; i < 20; ++i) {
    std::ostringstream command;
    command << "exec 3<>/dev/tcp/127.0.0.1/" << endpoint.port << "; head -c " << i * 37 + 1 << " /dev/urandom >&3";
    (void)::system(("bash -c '" + command.str() + "' 2>/dev/null").c_str());
  }
  const auto made = client::Client::connect({server.address(), user(authority_, authority_), 5'000});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(server.accepted(), 1);
}

}  // namespace
}  // namespace berth::wire
