// Images as people write them, and what a container may have.
#include "state/image_name.h"

#include <gtest/gtest.h>

#include "state/container.h"

namespace berth::state {
namespace {

using Kind = ImageName::Kind;
const std::string kDigest = "sha256:" + std::string(64, 'a');

TEST(ImageName, SaysWhereAnImageComesFrom) {
  const struct {
    std::string text;
    ImageName name;
  } cases[] = {
      {"docker://registry.example.org/team/app:1.4", {Kind::kRegistry, "registry.example.org/team/app", "1.4", ""}},
      {"docker://host/app", {Kind::kRegistry, "host/app", "latest", ""}},
      {"docker://host:5000/app@" + kDigest, {Kind::kRegistry, "host:5000/app", "", kDigest}},
      {"docker://host/app:v1@" + kDigest, {Kind::kRegistry, "host/app", "", kDigest}},
      {"registry.example.org/app:v1", {Kind::kRegistry, "registry.example.org/app", "v1", ""}},
      {"localhost/app", {Kind::kRegistry, "localhost/app", "latest", ""}},
      {"localhost:5000/app:v1", {Kind::kRegistry, "localhost:5000/app", "v1", ""}},
      {"oci:/images/busybox:latest", {Kind::kLayout, "/images/busybox", "latest", ""}},
      {"/images/my.site/busybox:latest", {Kind::kLayout, "/images/my.site/busybox", "latest", ""}},
      {"images/busybox:latest", {Kind::kLayout, "images/busybox", "latest", ""}},
      {"./my.images/busybox:latest", {Kind::kLayout, "./my.images/busybox", "latest", ""}},
      {"../busybox:v1", {Kind::kLayout, "../busybox", "v1", ""}},
      {"docker-archive:/tmp/app.tar", {Kind::kArchive, "/tmp/app.tar", "", ""}},
      {"rootfs:/srv/debian", {Kind::kRootfs, "/srv/debian", "", ""}},
  };
  for (const auto& one : cases) {
    const auto name = ImageName::parse(one.text, "image");
    ASSERT_TRUE(name) << one.text << ": " << name.error().message;
    EXPECT_EQ(*name, one.name) << one.text;
    const auto again = ImageName::parse(name->text(), "image");
    ASSERT_TRUE(again) << name->text();
    EXPECT_EQ(*again, *name) << name->text();
  }
  EXPECT_EQ(ImageName::parse("docker://host:5000/a/b:v1", "image")->host(), "host:5000");
}

TEST(ImageName, RefusesInOneLineWhatIsNone) {
  for (const std::string text : {"",
                                 "busybox",
                                 ":v1",
                                 "dir:",
                                 "oci:dir",
                                 "oci::v1",
                                 "docker://",
                                 "docker://app:v1",
                                 "docker://host/",
                                 "docker://host/App:v1",
                                 "docker://host/app:",
                                 "docker://host/app:v 1",
                                 "docker://host/app:-v",
                                 "docker://host/app@sha256:12",
                                 "docker://ho st/app:v1",
                                 "docker://host:port/app:v1",
                                 "docker://-host/app:v1",
                                 "docker://host//app:v1",
                                 "docker://host/app/:v1",
                                 "docker-archive:",
                                 "docker-archive:a:b",
                                 "rootfs:",
                                 "dir:v1/x",
                                 "dir\n:v1"}) {
    const auto name = ImageName::parse(text, "--image");
    ASSERT_FALSE(name) << text << " is " << name->text();
    EXPECT_EQ(name.error().code, ErrorCode::kInvalid);
    EXPECT_EQ(name.error().field, "--image");
    EXPECT_EQ(name.error().message.find('\n'), std::string::npos) << text;
  }
}

Status with(Mount mount) {
  Container container;
  container.mounts = {std::move(mount)};
  return check_container(container);
}

TEST(Container, HasMountsWhereTheyCanBe) {
  using MountKind = Mount::Kind;
  EXPECT_TRUE(with({MountKind::kBind, "/data", "/data", true, 0}));
  EXPECT_TRUE(with({MountKind::kTmpfs, "", "/tmp", false, 64}));
  EXPECT_TRUE(with({MountKind::kTmpfs, "", "/dev/shm", false, 64}));
  EXPECT_TRUE(with({MountKind::kScratch, "", "/scratch/", false, 0}));
  for (const char* target :
       {"", "data", "/", "//", "/proc", "/proc/sys", "/sys/fs", "/dev", "/dev/null", "/a/../proc", "/a/.."}) {
    EXPECT_FALSE(with({MountKind::kBind, "/data", target, false, 0})) << target;
  }
  EXPECT_TRUE(with({MountKind::kBind, "/data", "/processes", false, 0}));
  EXPECT_FALSE(with({MountKind::kBind, "/data", "/dev/shm", false, 0}));
  EXPECT_FALSE(with({MountKind::kBind, "", "/data", false, 0}));
  EXPECT_FALSE(with({MountKind::kBind, "data", "/data", false, 0}));
  EXPECT_FALSE(with({MountKind::kBind, "/data/../etc", "/data", false, 0}));
  EXPECT_FALSE(with({MountKind::kTmpfs, "/data", "/data", false, 0}));
  EXPECT_FALSE(with({MountKind::kScratch, "", "/data", false, 5}));
  Container twice;
  twice.mounts = {{MountKind::kTmpfs, "", "/a", false, 0}, {MountKind::kTmpfs, "", "/a", false, 0}};
  EXPECT_FALSE(check_container(twice));
}

TEST(Container, HasLimitsThatThereAreAndANameOfAMachine) {
  const auto limited = [](Ulimit limit) {
    Container container;
    container.ulimits = {std::move(limit)};
    return check_container(container).ok();
  };
  EXPECT_TRUE(limited({"nofile", 1, 2}));
  EXPECT_TRUE(limited({"core", 0, Ulimit::kUnlimited}));
  EXPECT_FALSE(limited({"nofile", 3, 2}));
  EXPECT_FALSE(limited({"files", 1, 2}));
  const auto named = [](std::string name) {
    Container container;
    container.hostname = std::move(name);
    return check_container(container).ok();
  };
  EXPECT_TRUE(named("node-1.lab"));
  EXPECT_FALSE(named("-node"));
  EXPECT_FALSE(named("a b"));
  EXPECT_FALSE(named(std::string(64, 'a')));
}

}  // namespace
}  // namespace berth::state
