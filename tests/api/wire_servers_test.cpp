// Lists of servers, and whom to try next.
#include <gtest/gtest.h>

#include "api/wire/servers.h"

namespace berth::wire {
namespace {

using state::Error;
using state::ErrorCode;

const Error kGone{ErrorCode::kUnavailable, "", "Connection refused", 0};

std::vector<std::string> tries(Servers& servers, const Error& why, int count) {
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i) {
    out.push_back(servers.current().to_string());
    if (!servers.next(why)) out.emplace_back("pause");
  }
  return out;
}

TEST(WireServers, AListHasCommasAndNoneTwice) {
  const auto list = parse_endpoints("a:1,/run/x,[::1]:2", "server");
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(to_string(*list), "a:1,/run/x,[::1]:2");
  for (const char* bad : {"", ",", "a:1,", ",a:1", "a:1,,b:2", "a:1,a:1", "a:1, b"}) {
    const auto parsed = parse_endpoints(bad, "--join");
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_EQ(parsed.error().field, "--join");
  }
}

TEST(WireServers, AStandbyNamesTheLeader) {
  const Error error = not_leading("head2:7117");
  EXPECT_TRUE(is_not_leading(error));
  ASSERT_TRUE(leader_named_in(error).has_value());
  EXPECT_EQ(leader_named_in(error)->to_string(), "head2:7117");
  EXPECT_TRUE(is_not_leading(not_leading("")));
  EXPECT_FALSE(leader_named_in(not_leading("")).has_value());
  EXPECT_FALSE(is_not_leading(kGone));
  EXPECT_FALSE(leader_named_in(not_leading("no address")).has_value());
}

TEST(WireServers, EachIsTriedBeforeAPause) {
  Servers servers(*parse_endpoints("a:1,b:1,c:1", ""));
  EXPECT_EQ(tries(servers, kGone, 6),
            (std::vector<std::string>{"a:1", "b:1", "c:1", "pause", "a:1", "b:1", "c:1", "pause"}));
}

TEST(WireServers, WhomAStandbyNamesIsNextAndWhoServedIsTriedFirstAgain) {
  Servers servers(*parse_endpoints("a:1,b:1,c:1", ""));
  EXPECT_TRUE(servers.next(not_leading("c:1")));
  EXPECT_EQ(servers.current().to_string(), "c:1");
  servers.served();
  EXPECT_EQ(servers.current().to_string(), "c:1");
  EXPECT_TRUE(servers.next(kGone));
  EXPECT_EQ(servers.current().to_string(), "a:1") << "the next in turn";
}

TEST(WireServers, TwoThatNameOneAnotherDoNotLastForEver) {
  Servers servers(*parse_endpoints("a:1,b:1", ""));
  int tried = 0;
  while (servers.next(not_leading(servers.current().to_string() == "a:1" ? "b:1" : "a:1"))) ASSERT_LT(++tried, 10);
}

}  // namespace
}  // namespace berth::wire
