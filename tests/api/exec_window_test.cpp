// What may be on its way of an exec's stream.
#include "api/wire/exec_window.h"

#include <gtest/gtest.h>

namespace berth::wire {
namespace {

using state::kExecWindowBytes;

TEST(ExecWindow, TakesAsMuchAsThereIsRoomForAndNotAByteMore) {
  ExecWindow window;
  EXPECT_EQ(window.room(), kExecWindowBytes);
  EXPECT_TRUE(window.send(kExecWindowBytes - 1));
  EXPECT_EQ(window.room(), 1U);
  EXPECT_FALSE(window.send(2));
  EXPECT_EQ(window.room(), 1U) << "what is refused is not counted";
  EXPECT_TRUE(window.send(1));
  EXPECT_FALSE(window.send(1));
}

TEST(ExecWindow, GivesRoomForWhatWasTakenAndNoMoreThanWasSent) {
  ExecWindow window;
  ASSERT_TRUE(window.send(100));
  EXPECT_TRUE(window.taken(60));
  EXPECT_FALSE(window.taken(41));
  EXPECT_EQ(window.room(), kExecWindowBytes - 40);
  EXPECT_TRUE(window.taken(40));
  EXPECT_EQ(window.room(), kExecWindowBytes);
}

TEST(ExecWindow, ASenderNeverWaitsForAWordThatIsNotComing) {
  // The receiver deals with every part at once; whatever their sizes, the sender finds room again and again.
  ExecWindow window;
  ExecTaken receiver;
  std::uint64_t sent = 0;
  for (std::uint32_t size = 1; sent < 100ULL * kExecWindowBytes; size = size * 7 % state::kExecPartBytes + 1) {
    ASSERT_TRUE(window.send(size)) << "after " << sent << " bytes";
    sent += size;
    if (const std::uint32_t told = receiver.add(size); told != 0) ASSERT_TRUE(window.taken(told));
  }
}

TEST(ExecTaken, TellsOfManySmallPiecesAtOnce) {
  ExecTaken receiver;
  std::uint64_t told = 0, words = 0;
  for (std::uint32_t i = 0; i < kExecWindowBytes; ++i) {
    const std::uint32_t now = receiver.add(1);
    told += now;
    words += now != 0 ? 1 : 0;
  }
  EXPECT_EQ(told, kExecWindowBytes);
  EXPECT_EQ(words, 4U);
}

}  // namespace
}  // namespace berth::wire
