// Images on a node's disk, and what skopeo's words mean. What is fetched for real is in tests/e2e/test_images.py.
#include <filesystem>
#include <gmock/gmock.h>

#include "agent/io/image_shelf.h"
#include "agent/io/skopeo.h"
#include "agent_testing.h"

namespace berth::agent {
namespace {

using namespace testing_support;
using state::ImageName;
using testing::ElementsAre;
using testing::HasSubstr;

class Shelf : public testing::Test {
 protected:
  Shelf() { EXPECT_TRUE(layout_.make()); }
  std::string bundle(const std::string& file) {
    const std::string stage = shelf_.fresh_stage();
    EXPECT_TRUE(make_directories(stage + "/bundle/rootfs", 0755));
    EXPECT_TRUE(write_file(stage + "/bundle/rootfs/" + file, "x"));
    return stage + "/bundle";
  }
  static ImageNote note(std::string name, std::string digest, std::uint64_t bytes = 100, state::TimeUs made_at = 1) {
    ImageNote note;
    note.names = {std::move(name)};
    note.digests = {std::move(digest)};
    note.config.env = {"A=1"};
    note.bytes = bytes;
    note.made_at = made_at;
    return note;
  }
  TemporaryDirectory directory_;
  Layout layout_{directory_.path()};
  ImageShelf shelf_{layout_};
};

TEST_F(Shelf, KeepsImagesByDigestAndFindsThemByNameAfterARestart) {
  ASSERT_TRUE(shelf_.add("sha256:aa", bundle("first"), note("docker://host/app:v1", "sha256:11")));
  ImageShelf again(layout_);
  again.open();
  EXPECT_EQ(again.find_name("docker://host/app:v1"), "sha256:aa");
  EXPECT_EQ(again.find_digest("sha256:11"), "sha256:aa");
  EXPECT_EQ(again.find_digest("sha256:aa"), "sha256:aa");
  const ImageHandle image = again.take("sha256:aa");
  ASSERT_NE(image, nullptr);
  EXPECT_EQ(contents(image->rootfs + "/first"), "x");
  EXPECT_THAT(image->config.env, ElementsAre("A=1"));
}

TEST_F(Shelf, AnImageThatIsNotWholeIsNoImage) {
  ASSERT_TRUE(make_directories(layout_.images() + "/sha256-bb/rootfs", 0755));
  const std::string half = bundle("half");
  ASSERT_TRUE(write_file(half + "/note.json", "{"));
  ImageShelf again(layout_);
  EXPECT_EQ(again.open().size(), 2U);
  EXPECT_EQ(again.take("sha256:bb"), nullptr);
  EXPECT_TRUE(again.rows().empty());
}

TEST_F(Shelf, ANameLeadsToTheImageThatItWasGivenLast) {
  ASSERT_TRUE(shelf_.add("sha256:aa", bundle("a"), note("docker://host/app:v1", "sha256:11")));
  ASSERT_TRUE(shelf_.add("sha256:bb", bundle("b"), note("docker://host/app:v1", "sha256:22")));
  EXPECT_EQ(shelf_.find_name("docker://host/app:v1"), "sha256:bb");
  EXPECT_EQ(shelf_.find_digest("sha256:11"), "sha256:aa");
}

TEST_F(Shelf, WhatAPodHoldsStays) {
  ASSERT_TRUE(shelf_.add("sha256:aa", bundle("a"), note("docker://host/a:v1", "sha256:11")));
  ImageHandle held = shelf_.take("sha256:aa");
  EXPECT_THAT(shelf_.take_away("sha256:aa").error().message, HasSubstr("used by 1 pod"));
  EXPECT_TRUE(shelf_.removable(1'000'000, 0).empty());
  EXPECT_EQ(contents(held->rootfs + "/a"), "x");
  held.reset();
  EXPECT_THAT(shelf_.removable(1'000'000, 0), ElementsAre("sha256:aa"));
  const auto grave = shelf_.take_away("sha256:aa");
  ASSERT_TRUE(grave);
  EXPECT_FALSE(std::filesystem::exists(layout_.images() + "/sha256-aa"));
  EXPECT_EQ(shelf_.take("sha256:aa"), nullptr);
}

TEST_F(Shelf, TheLongestUnusedGoFirstAndNoMoreThanIsNeeded) {
  ASSERT_TRUE(shelf_.add("sha256:aa", bundle("a"), note("docker://host/a:v1", "sha256:11", 100, 30)));
  ASSERT_TRUE(shelf_.add("sha256:bb", bundle("b"), note("docker://host/b:v1", "sha256:22", 100, 10)));
  ASSERT_TRUE(shelf_.add("sha256:cc", bundle("c"), note("docker://host/c:v1", "sha256:33", 100, 20)));
  EXPECT_THAT(shelf_.removable(100, 200), ElementsAre("sha256:bb"));
  EXPECT_THAT(shelf_.removable(100, 0), ElementsAre("sha256:bb", "sha256:cc", "sha256:aa"));
  EXPECT_THAT(shelf_.removable(20, 0), ElementsAre("sha256:bb"));
  EXPECT_TRUE(shelf_.removable(100, 300).empty());
}

TEST_F(Shelf, WhatCameBySomebodysPasswordIsHisUntilTheRegistrySaysMore) {
  ImageNote own = note("docker://host/a:v1", "sha256:11");
  own.for_all = false;
  own.users = {1000};
  ASSERT_TRUE(shelf_.add("sha256:aa", bundle("a"), std::move(own)));
  EXPECT_TRUE(shelf_.is_open_to("sha256:aa", 1000));
  EXPECT_FALSE(shelf_.is_open_to("sha256:aa", 1001));
  const std::uint32_t other = 1001;
  ASSERT_TRUE(shelf_.add_name("sha256:aa", "docker://host/a:v1", "sha256:11", &other));
  EXPECT_TRUE(shelf_.is_open_to("sha256:aa", 1001));
  EXPECT_FALSE(shelf_.is_open_to("sha256:aa", 1002));
  ASSERT_TRUE(shelf_.add_name("sha256:aa", "docker://host/a:v1", "sha256:11", nullptr));
  EXPECT_TRUE(shelf_.is_open_to("sha256:aa", 1002));
  ImageShelf again(layout_);
  again.open();
  EXPECT_TRUE(again.is_open_to("sha256:aa", 1002));
}

TEST(Skopeo, ItsWordsBecomeOneLineThatSaysWhatIsWrong) {
  using Kind = PullFailure::Kind;
  const auto name = *ImageName::parse("docker://host:5000/team/app:v1", "image");
  const auto line = [](const std::string& text) {
    return "time=\"2026-11-29T13:41:24Z\" level=fatal msg=\"Error parsing image name "
           "\\\"docker://host:5000/team/app:v1\\\": " +
           text + "\"\n";
  };
  const struct {
    std::string said;
    Kind kind;
    const char* piece;
  } cases[] = {
      {line("reading manifest v1 in host:5000/team/app: unauthorized: authentication required"), Kind::kUnauthorized,
       "the registry host:5000 does not let this user have the image"},
      {line("reading manifest v1 in host:5000/team/app: manifest unknown: manifest unknown"), Kind::kUnknown,
       "the registry host:5000 has no image 'docker://host:5000/team/app:v1'"},
      {line("pinging container registry host:5000: Get \\\"https://host:5000/v2/\\\": x509: certificate signed by "
            "unknown authority"),
       Kind::kUntrusted, "the certificate of the registry host:5000 is not trusted"},
      {line("pinging container registry host:5000: Get \\\"https://host:5000/v2/\\\": dial tcp 1.2.3.4:5000: connect: "
            "connection refused"),
       Kind::kUnreachable, "the registry host:5000 cannot be reached: pinging container registry"},
      {line("pinging container registry host:5000: http: server gave HTTP response to HTTPS client"), Kind::kUntrusted,
       "--insecure-registry"},
      {line("choosing image instance: no image found in manifest list for architecture amd64, variant \\\"\\\", OS "
            "linux"),
       Kind::kArchitecture, "has no variant for this machine's architecture"},
      {"writing blob: write /x: no space left on device\n", Kind::kNoSpace, "no space on the node's disk"},
      {"something else\n", Kind::kOther, "cannot fetch the image 'docker://host:5000/team/app:v1': something else"},
      {"", Kind::kOther, "no reason given"},
  };
  for (const auto& one : cases) {
    const PullFailure failure = read_failure(name, one.said, "fetch");
    EXPECT_EQ(failure.kind, one.kind) << one.said;
    EXPECT_THAT(failure.error.message, HasSubstr(one.piece));
    EXPECT_EQ(failure.error.message.find('\n'), std::string::npos);
    EXPECT_EQ(failure.may_pass(), one.kind == Kind::kUnreachable);
  }
}

TEST(Credentials, AreOfTheOneRegistryAndPasswordsAlone) {
  const std::string own =
      R"({"auths": {"https://host:5000/v1/": {"auth": "b3du"}, "other": {"auth": "c2VjcmV0"}}, "credsStore": "evil",
          "credHelpers": {"host:5000": "evil"}})";
  const std::string site = R"({"auths": {"host:5000": {"auth": "c2l0ZQ=="}, "site": {"identitytoken": "t"}}})";
  Credentials merged = merge_credentials({"", own, site}, "host:5000");
  EXPECT_EQ(merged.from, 1U);
  EXPECT_EQ(merged.text, R"({"auths":{"https://host:5000/v1/":{"auth":"b3du"}}})");
  merged = merge_credentials({"", own, site}, "site");
  EXPECT_EQ(merged.from, 2U);
  EXPECT_EQ(merged.text, R"({"auths":{"site":{"identitytoken":"t"}}})");
  merged = merge_credentials({"not JSON", "[]", R"({"auths": 3})"}, "host:5000");
  EXPECT_EQ(merged.from, 3U);
  EXPECT_EQ(merged.text, R"({"auths":{}})");
}

}  // namespace
}  // namespace berth::agent
