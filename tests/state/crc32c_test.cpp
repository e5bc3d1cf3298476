#include "state/store/crc32c.h"

#include <gtest/gtest.h>
#include <string>

#include "tests/state/dice.h"

namespace berth::store {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Crc32c, GivesTheKnownSums) {
  // RFC 3720, B.4, and the usual check value.
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283U);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\0'))), 0x8A9136AAU);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\xff'))), 0x62A8AB43U);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc32c, IsTheSameByInstructionAndByTableAndInPieces) {
  state::testing::Dice dice(1);
  std::string text(5000, ' ');
  for (char& c : text) c = static_cast<char>(dice());
  for (int i = 0; i < 2000; ++i) {
    const std::size_t from = dice() % text.size();
    const auto bytes = bytes_of(text).subspan(from, dice() % (text.size() - from + 1));
    const std::uint32_t start = dice();
    const std::uint32_t sum = crc32c(bytes, start);
    ASSERT_EQ(sum, crc32c_by_table(bytes, start));
    const std::size_t cut = bytes.empty() ? 0 : dice() % bytes.size();
    ASSERT_EQ(crc32c(bytes.subspan(cut), crc32c(bytes.first(cut), start)), sum);
  }
}

}  // namespace
}  // namespace berth::store
