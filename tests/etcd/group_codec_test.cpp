#include "state/etcd/group_codec.h"

#include <gtest/gtest.h>

#include "state/etcd/server_text.h"

namespace berth::etcd {
namespace {

std::vector<std::string> records_of(std::size_t count, std::size_t bytes) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < count; ++i) out.emplace_back(bytes + i, static_cast<char>('a' + i % 26));
  return out;
}

TEST(GroupCodec, GivesBackWhatItWasGiven) {
  for (const std::size_t count : {1U, 2U, 50U}) {
    for (const std::size_t bytes : {1U, 99U, 100U, 101U, 5000U}) {
      const auto records = records_of(count, bytes);
      const auto chunks = encode_group(7, records, 100);
      GroupReader reader;
      for (std::size_t i = 0; i < chunks.size(); ++i) {
        EXPECT_LE(chunks[i].size(), 100U + 32U);
        auto group = reader.add(chunks[i]);
        ASSERT_TRUE(group.ok()) << group.error().message;
        ASSERT_EQ(group->has_value(), i + 1 == chunks.size()) << "a group is there with its last chunk, not before";
        if (group->has_value()) {
          EXPECT_EQ((**group).first, 7U);
          EXPECT_EQ((**group).records, records);
        }
      }
      EXPECT_FALSE(reader.in_group());
    }
  }
}

TEST(GroupCodec, RefusesWhatIsDamagedOrOutOfPlace) {
  const auto chunks = encode_group(3, records_of(3, 150), 100);
  ASSERT_GE(chunks.size(), 3U);
  for (std::size_t at = 0; at < chunks[0].size(); ++at) {
    std::string bad = chunks[0];
    bad[at] = static_cast<char>(bad[at] ^ 1);
    EXPECT_FALSE(GroupReader{}.add(bad).ok()) << "a flipped bit at " << at;
    EXPECT_FALSE(GroupReader{}.add(chunks[0].substr(0, at)).ok()) << "cut at " << at;
  }
  EXPECT_FALSE(GroupReader{}.add(chunks[1]).ok()) << "a second chunk first";
  GroupReader reader;
  ASSERT_TRUE(reader.add(chunks[0]).ok());
  EXPECT_FALSE(reader.add(chunks[2]).ok()) << "one is missing";
}

TEST(GroupCodec, AGroupThatBeginsAnewReplacesTheUnfinishedOne) {
  const auto old = encode_group(3, records_of(3, 150), 100);
  const auto fresh = encode_group(3, records_of(1, 10), 100);
  GroupReader reader;
  ASSERT_TRUE(reader.add(old[0]).ok());
  const auto group = reader.add(fresh[0]);
  ASSERT_TRUE(group.ok() && group->has_value());
  EXPECT_EQ((**group).records.size(), 1U);
}

TEST(ServerText, ReadsWhatItWritesAndSkipsWhatItDoesNotKnow) {
  const ServerText server{"head 1", "10.0.0.1:7117", "0.1.0", 42};
  const ServerText again = parse_server_text("unknown thing\n" + format_text(server) + "half");
  EXPECT_EQ(again.name, server.name);
  EXPECT_EQ(again.address, server.address);
  EXPECT_EQ(again.applied_index, 42U);
  EXPECT_EQ(parse_leader_text(format_text(LeaderText{"id", "a:1", "x", 1500})).lease_ms, 1500);
  EXPECT_EQ(parse_cluster_text(format_text(ClusterText{1, "ab"})).authority, "ab");
  EXPECT_EQ(parse_server_text(format_text(ServerText{"two\nlines", "", "", 0})).name, "two lines");
}

}  // namespace
}  // namespace berth::etcd
