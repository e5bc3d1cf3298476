#include "state/pod_set.h"

#include <gtest/gtest.h>
#include <set>
#include <vector>

#include "tests/state/dice.h"

namespace berth::state {
namespace {

TEST(PodSet, IsASortedSetWhateverComesAndGoes) {
  for (std::uint32_t seed = 1; seed <= 8; ++seed) {
    testing::Dice dice(seed);
    PodSet set;
    std::set<PodId> model;
    const std::uint32_t ids = seed < 3 ? 20 : 5000;
    for (int step = 0; step < 20'000; ++step) {
      const PodId id{JobId{1 + dice() % 3}, dice() % ids};
      // First it grows, then it shrinks to nothing.
      if (dice() % 100 < (step < 10'000 ? 70U : 20U)) {
        set.insert(id);
        model.insert(id);
      } else {
        set.erase(id);
        model.erase(id);
      }
      ASSERT_EQ(set.size(), model.size());
      ASSERT_EQ(set.contains(id), model.contains(id));
      if (step % 500 == 0) ASSERT_TRUE(std::equal(set.begin(), set.end(), model.begin(), model.end())) << step;
    }
    for (const PodId& id : std::vector<PodId>(set.begin(), set.end())) set.erase(id);
    EXPECT_TRUE(set.empty());
    EXPECT_TRUE(set.begin() == set.end());
  }
}

TEST(PodSet, TakesLittleMoreThanTheIds) {
  PodSet set;
  for (std::uint32_t i = 0; i < 100'000; ++i) set.insert({JobId{1}, i});
  EXPECT_LT(set.heap_bytes(), 100'000U * 24);
}

}  // namespace
}  // namespace berth::state
