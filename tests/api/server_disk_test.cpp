// The server over a disk that is slow, full or broken: nothing is acknowledged before it is durable, nothing is lost.
#include "tests/api/server_fixture.h"

namespace berth::server {
namespace {

using namespace state;
using testing_support::Disk;
using testing_support::ServerFixture;

class ServerDiskTest : public ServerFixture {
 protected:
  // Sends a submission that the disk does not take, and returns once the store was asked.
  void submit_into_the_disk(client::Client& client) {
    const int before = disk.attempts_now();
    ASSERT_TRUE(client.send(SubmitRequest{{spec()}, 0, false}).ok());
    disk.wait_for_attempt_after(before);
  }
};

TEST_F(ServerDiskTest, NothingIsAnsweredBeforeItIsDurable) {
  start();
  auto client = connect();
  disk.set(&Disk::hold, true);
  submit_into_the_disk(*client);
  auto early = client->receive(50);
  ASSERT_FALSE(early.ok());
  EXPECT_EQ(early.error().message, "timeout");
  disk.set(&Disk::hold, false);
  auto answer = client->receive(20'000);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_TRUE(std::holds_alternative<SubmitReply>(std::get<ServerReply>(answer->body)));
}

TEST_F(ServerDiskTest, AFullDiskRefusesChangesAnswersReadsAndRecoversByItself) {
  start();
  auto kept = connect()->call_for<SubmitReply>(SubmitRequest{{spec()}, 0, false});
  ASSERT_TRUE(kept.ok());
  auto stuck = connect();
  disk.set(&Disk::full, true);
  submit_into_the_disk(*stuck);
  auto client = connect();
  // One that was in line before the server knew is told to come again; the next is answered.
  auto tokens = client->call_for<TokenPage>(TokenListRequest{});
  if (!tokens.ok()) {
    EXPECT_EQ(tokens.error().code, ErrorCode::kUnavailable) << tokens.error().message;
    tokens = client->call_for<TokenPage>(TokenListRequest{});
  }
  ASSERT_TRUE(tokens.ok()) << tokens.error().message;
  auto refused = client->call_for<Ok>(NodeActionRequest{NodeActionRequest::Action::kDrain, "n", ""});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(refused.error().message.find("disk is full"), std::string::npos) << refused.error().message;
  EXPECT_GT(refused.error().retry_after_ms, 0U);

  // What was acknowledged shows; what was not does not, lest it be taken for an acknowledgement.
  auto page = client->call_for<JobPage>(ListJobsRequest{});
  ASSERT_TRUE(page.ok()) << page.error().message;
  ASSERT_EQ(page->rows.size(), 1U);
  EXPECT_EQ(page->rows[0].id, kept->jobs[0]);
  EXPECT_TRUE(client->call_for<JobDetail>(ShowJobRequest{kept->jobs[0]}).ok());
  EXPECT_FALSE(client->call_for<JobDetail>(ShowJobRequest{JobId{kept->jobs[0].value + 1}}).ok());
  EXPECT_FALSE(stuck->receive(50).ok()) << "half acknowledged";

  disk.set(&Disk::full, false);
  auto answer = stuck->receive(20'000);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  const auto* reply = std::get_if<SubmitReply>(&std::get<ServerReply>(answer->body));
  ASSERT_NE(reply, nullptr);
  EXPECT_TRUE(client->call_for<JobDetail>(ShowJobRequest{reply->jobs.at(0)}).ok());
  EXPECT_TRUE(client->call_for<SubmitReply>(SubmitRequest{{spec()}, 0, false}).ok());
  client.reset();
  stop();
  start();
  EXPECT_EQ(connect()->call_for<JobPage>(ListJobsRequest{})->rows.size(), 3U) << "lost or doubled over the full disk";
}

TEST_F(ServerDiskTest, AFullQueueRefusesWithATimeToComeBackAndEverythingTakenIsAnswered) {
  options.command_queue_max = 8;
  start();
  disk.set(&Disk::hold, true);
  auto client = connect();
  submit_into_the_disk(*client);
  // 64 turns wait for the disk at most, of 512 commands: past all of them it must refuse.
  constexpr int kMany = 64 * 512 + 1000;
  int sent = 1, answered = 0, refused = 0;
  for (; refused == 0 && sent < kMany; ++sent) {
    ASSERT_TRUE(client->send(SubmitRequest{{spec()}, 0, false}).ok());
    if (auto early = client->receive(0); early.ok()) {
      const auto* error = std::get_if<Error>(&std::get<ServerReply>(early->body));
      ASSERT_NE(error, nullptr) << "answered before it was durable";
      EXPECT_EQ(error->code, ErrorCode::kUnavailable);
      EXPECT_GT(error->retry_after_ms, 0U);
      ++refused;
    }
  }
  ASSERT_GT(refused, 0) << "it takes without end";
  disk.set(&Disk::hold, false);
  while (answered + refused < sent) {
    auto answer = client->receive(20'000);
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    std::holds_alternative<Error>(std::get<ServerReply>(answer->body)) ? ++refused : ++answered;
  }
  EXPECT_GT(answered, 0);
}

TEST_F(ServerDiskTest, ABrokenDiskEndsTheServerWithoutAnAcknowledgement) {
  start();
  auto client = connect();
  disk.set(&Disk::broken, true);
  ASSERT_TRUE(client->send(SubmitRequest{{spec()}, 0, false}).ok());
  const Status ended = wait_end();
  ASSERT_FALSE(ended.ok());
  EXPECT_NE(ended.error().message.find("input/output error"), std::string::npos);
  EXPECT_FALSE(client->receive(1'000).ok());
}

TEST_F(ServerDiskTest, StoppingWithAFullDiskEndsInsteadOfWaitingForSpace) {
  start();
  auto client = connect();
  disk.set(&Disk::full, true);
  submit_into_the_disk(*client);
  server->request_stop();
  const Status ended = wait_end();
  ASSERT_FALSE(ended.ok());
  EXPECT_NE(ended.error().message.find("disk is full"), std::string::npos) << ended.error().message;
  disk.set(&Disk::full, false);
  start();
  EXPECT_TRUE(connect()->call_for<JobPage>(ListJobsRequest{})->rows.empty()) << "it was never acknowledged";
}

}  // namespace
}  // namespace berth::server
