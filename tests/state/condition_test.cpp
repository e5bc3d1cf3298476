// Conditions on nodes: what they mean, and that what is no condition gets one line.
#include "state/condition.h"

#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <random>

namespace berth::state {
namespace {

bool holds(std::string_view text, const std::string& name, std::vector<std::string> words) {
  std::sort(words.begin(), words.end());
  const auto condition = Condition::parse(text, "where");
  EXPECT_TRUE(condition) << (condition ? "" : condition.error().message);
  return condition && condition->holds(name, words);
}

TEST(Condition, FeaturesAndLabels) {
  const std::vector<std::string> words{"ssd", "zone=a", "gen=3"};
  for (const char* yes : {"ssd",
                          "zone",
                          "zone=a",
                          "zone==a",
                          "zone!=b",
                          "rack!=7",
                          "gen>2",
                          "gen>=3",
                          "gen<4",
                          "gen<=3",
                          "zone in (b, a)",
                          "zone notin (b,c)",
                          "rack notin (1)",
                          "node=n7",
                          "node in (n[1-9])",
                          "node!=n8",
                          "!hdd",
                          "ssd&zone=a",
                          "hdd|ssd",
                          "hdd&fast|ssd",
                          "ssd & (hdd | gen=3)",
                          "!(hdd|fast)",
                          "[hdd|ssd]",
                          "[hdd*2&ssd*4]",
                          " ssd "}) {
    EXPECT_TRUE(holds(yes, "n7", words)) << yes;
  }
  for (const char* no :
       {"hdd", "zone=b", "zone!=a", "gen>3", "gen<3", "ssd<3", "rack=1", "rack<1", "zone in (b,c)", "zone notin (a)",
        "node=n8", "node in (n[1-6,8])", "!ssd", "ssd&hdd", "ssd&(hdd|fast)", "zone>1", "ss", "zon=a"}) {
    EXPECT_FALSE(holds(no, "n7", words)) << no;
  }
}

TEST(Condition, ALabelMayHaveSeveralValues) {
  EXPECT_TRUE(holds("role=web", "n", {"role=db", "role=web"}));
  EXPECT_FALSE(holds("role!=web", "n", {"role=db", "role=web"}));
}

TEST(Condition, PartsOfBracketsStandForThemselves) {
  const auto either = Condition::parse("ssd&[rack=1|rack=2]&fast", "where");
  ASSERT_TRUE(either);
  EXPECT_FALSE(either->counted());
  ASSERT_EQ(either->parts().size(), 2U);
  EXPECT_EQ(either->parts()[1].text, "ssd&(rack=2)&fast");
  const auto counted = Condition::parse("[rack1*2&rack2*4]", "where");
  ASSERT_TRUE(counted);
  ASSERT_TRUE(counted->counted());
  EXPECT_EQ(counted->parts()[1].text, "(rack2)");
  EXPECT_EQ(counted->parts()[1].pods, 4U);
}

TEST(Condition, WhatIsNoneGetsOneLine) {
  for (const char* bad : {"",
                          " ",
                          "&",
                          "a&",
                          "a|",
                          "|a",
                          "a b",
                          "(a",
                          "a)",
                          "a=",
                          "a=&b",
                          "a>x",
                          "a>",
                          "!",
                          "()",
                          "a in",
                          "a in b",
                          "a in (",
                          "a in ()",
                          "a in (b c[)",
                          "[a",
                          "[]",
                          "[a|b]|c",
                          "([a|b])",
                          "[a|b]&[c|d]",
                          "[a*2|b]",
                          "[a*0]",
                          "[a*x]",
                          "[a*2&b]",
                          "[a|b*2]",
                          "node in (n[3-1])",
                          "node in (n[1-9999999])",
                          "node in (n[x])",
                          "a\x01",
                          "a;b"}) {
    const auto condition = Condition::parse(bad, "where");
    ASSERT_FALSE(condition) << bad;
    EXPECT_EQ(condition.error().field, "where");
    EXPECT_FALSE(condition.error().message.empty()) << bad;
    EXPECT_EQ(condition.error().message.find('\n'), std::string::npos);
  }
  EXPECT_FALSE(Condition::parse(std::string(200, '(') + "a" + std::string(200, ')'), "where"));
  EXPECT_FALSE(Condition::parse(std::string(5'000, 'a'), "where"));
}

TEST(Condition, NameListsKeepTheWidthOfNumbers) {
  const auto names = parse_name_list("n[1-3,07-09],login,r[1-2]n[1-2]", "nodes");
  ASSERT_TRUE(names);
  EXPECT_EQ(*names,
            (std::vector<std::string>{"n1", "n2", "n3", "n07", "n08", "n09", "login", "r1n1", "r1n2", "r2n1", "r2n2"}));
  EXPECT_FALSE(parse_name_list("", "nodes"));
  EXPECT_FALSE(parse_name_list("a,,b", "nodes"));
}

// Random formulas over three features, against the same formulas evaluated by hand.
TEST(Condition, AgreesWithTruthTables) {
  std::mt19937 random(5);
  const std::vector<std::string> names{"a", "b", "c"};
  struct Formula {
    std::string text;
    unsigned truth;  // bit i: holds where the features are the bits of i
  };
  const unsigned truths[] = {0xAA, 0xCC, 0xF0};
  const std::function<Formula(int)> any = [&](int depth) -> Formula {
    const auto pick = depth == 0 ? 0U : static_cast<unsigned>(random() % 4);
    if (pick == 0) {
      const auto i = random() % 3;
      return {names[i], truths[i]};
    }
    const Formula left = any(depth - 1);
    if (pick == 1) return {"!(" + left.text + ")", ~left.truth & 0xFFU};
    const Formula right = any(depth - 1);
    if (pick == 2) return {"(" + left.text + ")&(" + right.text + ")", left.truth & right.truth};
    return {"(" + left.text + "|" + right.text + ")", left.truth | right.truth};
  };
  for (int round = 0; round < 2'000; ++round) {
    const Formula formula = any(5);
    const auto condition = Condition::parse(formula.text, "where");
    if (formula.text.size() > kConditionBytesMax) continue;
    ASSERT_TRUE(condition) << formula.text;
    for (unsigned world = 0; world < 8; ++world) {
      std::vector<std::string> words;
      for (unsigned i = 0; i < 3; ++i) {
        if ((world >> i & 1U) != 0) words.push_back(names[i]);
      }
      ASSERT_EQ(condition->holds("n", words), (formula.truth >> world & 1U) != 0) << formula.text;
    }
  }
}

}  // namespace
}  // namespace berth::state
