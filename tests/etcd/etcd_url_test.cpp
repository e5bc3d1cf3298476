#include "state/etcd/etcd_url.h"

#include <gtest/gtest.h>

namespace berth::etcd {
namespace {

TEST(EtcdUrl, NamesMembersAndAPrefix) {
  const auto url = parse_etcd_url("etcd://a:2379,[::1]:22,c.example.org:1/prod/berth", "--store");
  ASSERT_TRUE(url.ok()) << url.error().message;
  ASSERT_EQ(url->hosts.size(), 3U);
  EXPECT_EQ(url->hosts[1].name, "::1");
  EXPECT_EQ(url->hosts[2].port, 1);
  EXPECT_EQ(url->prefix, "prod/berth");
  EXPECT_EQ(url->to_string(), "etcd://a:2379,[::1]:22,c.example.org:1/prod/berth");
  EXPECT_FALSE(url->tls());
  EXPECT_EQ(parse_etcd_url("etcd://a:1", "")->prefix, "berth");
  EXPECT_EQ(parse_etcd_url("etcd://a:1/", "")->prefix, "berth");
}

TEST(EtcdUrl, TakesFilesUserAndPassword) {
  const auto url = parse_etcd_url("etcd://joe:p%40ss@a:1/x?ca=/a.crt&cert=/b.crt&key=/b%20.key", "");
  ASSERT_TRUE(url.ok()) << url.error().message;
  EXPECT_EQ(url->user, "joe");
  EXPECT_EQ(url->password, "p@ss");
  EXPECT_EQ(url->ca, "/a.crt");
  EXPECT_EQ(url->key, "/b .key");
  EXPECT_TRUE(url->tls());
  EXPECT_EQ(url->to_string(), "etcd://a:1/x") << "without the password";
  EXPECT_EQ(parse_etcd_url("etcd://joe@a:1?password-file=/p", "")->password_file, "/p");
}

TEST(EtcdUrl, RefusesInOneLineWithoutThePassword) {
  for (const char* bad : {"",
                          "http://a:1",
                          "etcd://",
                          "etcd://a",
                          "etcd://a:",
                          "etcd://a:0",
                          "etcd://a:70000",
                          "etcd://a:1,",
                          "etcd://:1",
                          "etcd://a:1:2",
                          "etcd://a:1/x/",
                          "etcd://a:1/x//y",
                          "etcd://a:1/b@d",
                          "etcd://a:1?x=1",
                          "etcd://a:1?ca",
                          "etcd://a:1?ca=",
                          "etcd://a:1?cert=/c",
                          "etcd://a:1?ca=/a&cert=/c",
                          "etcd://a:1?cert=/c&key=/k",
                          "etcd://a:1?ca=/a&ca=/b",
                          "etcd://u@a:1",
                          "etcd://:p@a:1",
                          "etcd://u:hidden%4@a:1",
                          "etcd://u:hid/den@a:1",
                          "etcd://u:hidden@a:1?password-file=/f",
                          "etcd://a:1?password-file=/f"}) {
    const auto url = parse_etcd_url(bad, "--store");
    ASSERT_FALSE(url.ok()) << bad;
    EXPECT_EQ(url.error().field, "--store");
    EXPECT_EQ(url.error().message.find('\n'), std::string::npos);
    EXPECT_EQ(url.error().message.find("hid"), std::string::npos) << url.error().message;
    EXPECT_NE(url.error().message.find("accepted: etcd://"), std::string::npos) << url.error().message;
  }
}

}  // namespace
}  // namespace berth::etcd
