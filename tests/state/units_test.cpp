#include "state/units.h"

#include <cmath>
#include <ctime>
#include <gtest/gtest.h>
#include <random>

#include "state/records.h"
#include "tests/state/dice.h"

namespace berth::state {
namespace {

template <class T>
void refused(const Result<T>& result, const std::string& text) {
  ASSERT_FALSE(result) << "'" << text << "' was taken as " << result.value();
  EXPECT_EQ(result.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(result.error().field, "field");
  EXPECT_NE(result.error().message.find("accepted"), std::string::npos) << result.error().message;
  EXPECT_EQ(result.error().message.find_first_of("\n\t"), std::string::npos) << result.error().message;
}

TEST(Cpus, AreReadExactly) {
  const std::pair<const char*, std::uint32_t> cases[] = {
      {"2", 2000},  {"0.5", 500}, {"1500m", 1500}, {"0.001", 1}, {"1m", 1}, {"1.25", 1250}, {"1000000", 1'000'000'000},
      {"0.0001", 1}};
  for (const auto& [text, milli] : cases) {
    const auto value = parse_cpu_milli(text, "field");
    ASSERT_TRUE(value) << text;
    EXPECT_EQ(*value, milli) << text;
  }
  for (const char* text : {"",     "0",           "-1",      "+1", "1.", ".5", "1e3", "0m",
                           "1.5m", "1000000.001", "1000001", "2 ", "x",  "1M", "1mm", "99999999999999999999",
                           "1,5",  "inf",         "nan",     "0.0"}) {
    refused(parse_cpu_milli(text, "field"), text);
  }
}

TEST(Cpus, SurviveBeingWrittenAndReadAgain) {
  testing::Dice random(1);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint32_t milli = 1 + random() % (i % 2 == 0 ? 3000U : 1'000'000'000U);
    ASSERT_EQ(*parse_cpu_milli(format_cpu_milli(milli), "field"), milli);
  }
  EXPECT_EQ(format_cpu_milli(500), "0.5");
  EXPECT_EQ(format_cpu_milli(2000), "2");
}

TEST(Sizes, AreBinaryAndRoundedUp) {
  const std::pair<const char*, std::uint64_t> cases[] = {
      {"512", 512},  {"512M", 512}, {"512Mi", 512}, {"512MiB", 512},         {"512MB", 512},
      {"512m", 512}, {"2G", 2048},  {"1.5G", 1536}, {"1T", 1U << 20},        {"1K", 1},
      {"1024K", 1},  {"1025K", 2},  {"0.5G", 512},  {"1P", 1U << 30},        {"1024T", 1U << 30},
      {"0.1M", 1},   {"1.5", 2},    {"0.001G", 2},  {"1073741824", 1U << 30}};
  for (const auto& [text, mib] : cases) {
    const auto value = parse_mem_mib(text, "field");
    ASSERT_TRUE(value) << text;
    EXPECT_EQ(*value, mib) << text;
  }
  for (const char* text : {"", "0", "0M", "-1", "1X", "1MX", "1Mib", "M", "1 G", "1.G", ".5G", "1e3", "2P", "1025T",
                           "1073741825", "99999999999999999999G", "1GiBB", "1\n"}) {
    refused(parse_mem_mib(text, "field"), text);
  }
}

TEST(Sizes, AgreeWithFloatingPointWhereThatIsExact) {
  testing::Dice random(1);
  const std::pair<const char*, double> units[] = {{"K", 1.0 / 1024}, {"M", 1}, {"G", 1024}, {"T", 1024 * 1024}};
  for (int i = 0; i < 20'000; ++i) {
    const auto& [name, factor] = units[random() % 4];
    const std::uint32_t eighths = 1 + random() % 8000;
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.3f%s", eighths / 8.0, name);
    const double exact = std::ceil(eighths / 8.0 * factor);
    ASSERT_EQ(static_cast<double>(*parse_mem_mib(text.data(), "field")), exact) << text.data();
  }
}

TEST(Sizes, AreShownShortAndNeverTooLarge) {
  EXPECT_EQ(format_mem_mib(512), "512 MiB");
  EXPECT_EQ(format_mem_mib(1536), "1.5 GiB");
  EXPECT_EQ(format_mem_mib(2048), "2 GiB");
  EXPECT_EQ(format_mem_mib(1024 * 1024 - 1), "1023.9 GiB");
  EXPECT_EQ(format_mem_mib(1024 * 1024), "1 TiB");
}

TEST(Durations, AreReadInAllForms) {
  constexpr std::int64_t kSecond = 1000;
  constexpr std::int64_t kMinute = 60 * kSecond;
  constexpr std::int64_t kHour = 60 * kMinute;
  constexpr std::int64_t kDay = 24 * kHour;
  const std::pair<const char*, std::int64_t> cases[] = {
      {"90", 90 * kSecond},
      {"90s", 90 * kSecond},
      {"15m", 15 * kMinute},
      {"2h", 2 * kHour},
      {"1d", kDay},
      {"1h30m", 90 * kMinute},
      {"250ms", 250},
      {"1m250ms", kMinute + 250},
      {"1.5h", 90 * kMinute},
      {"0.5", 500},
      {"1d2h3m4s5ms", kDay + 2 * kHour + 3 * kMinute + 4 * kSecond + 5},
      {"10:30", 10 * kMinute + 30 * kSecond},
      {"1:02:03", kHour + 2 * kMinute + 3 * kSecond},
      {"90:00", 90 * kMinute},
      {"2-12", 2 * kDay + 12 * kHour},
      {"1-00:30", kDay + 30 * kMinute},
      {"1-02:03:04", kDay + 2 * kHour + 3 * kMinute + 4 * kSecond},
      {"3650d", 3650 * kDay}};
  for (const auto& [text, ms] : cases) {
    const auto value = parse_duration_ms(text, "field");
    ASSERT_TRUE(value) << text;
    EXPECT_EQ(*value, ms) << text;
  }
  for (const char* text : {"",
                           "0",
                           "0s",
                           "00:00",
                           "-1",
                           "-5m",
                           "1x",
                           "1h1h",
                           "1m1h",
                           "1h30",
                           "h",
                           "1:",
                           ":1",
                           "1:2:3:4",
                           "1-",
                           "-1:00",
                           "1-2:3:4:5",
                           "1--2",
                           "3651d",
                           "0-0",
                           "1e3",
                           "1.s",
                           "99999999999999999999",
                           "1 h",
                           "10:3x",
                           "1ms1ms"}) {
    refused(parse_duration_ms(text, "field"), text);
  }
}

TEST(Durations, AreShownInTwoUnits) {
  EXPECT_EQ(format_duration_ms(250), "250ms");
  EXPECT_EQ(format_duration_ms(12'345), "12.3s");
  EXPECT_EQ(format_duration_ms(59'999), "59.9s");
  EXPECT_EQ(format_duration_ms(60'000), "1m00s");
  EXPECT_EQ(format_duration_ms(245'000), "4m05s");
  EXPECT_EQ(format_duration_ms(7'380'000), "2h03m");
  EXPECT_EQ(format_duration_ms(273'600'000), "3d04h");
}

TEST(Integers, StayWithinTheirBounds) {
  EXPECT_EQ(*parse_integer("-1000", "field", -1000, 1000), -1000);
  EXPECT_EQ(*parse_integer("7", "field", 0, 9), 7);
  for (const char* text : {"", "10", "-1", "7 ", " 7", "+7", "7.0", "99999999999999999999", "x"})
    refused(parse_integer(text, "field", 0, 9), text);
}

TEST(Times, AgreeWithTheCLibrary) {
  std::mt19937_64 random(1);
  EXPECT_EQ(format_time(0), "-");
  EXPECT_EQ(format_time(1'777'636'800'999'999), "2026-05-01T12:00:00Z");
  for (int i = 0; i < 5000; ++i) {
    const std::time_t seconds = 1 + static_cast<std::time_t>(random() % 8'000'000'000ULL);
    std::tm parts{};
    ASSERT_NE(gmtime_r(&seconds, &parts), nullptr);
    std::array<char, 64> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    ASSERT_EQ(format_time(seconds * 1'000'000 + 17), text.data());
  }
}

TEST(PodStates, HaveNamesThatReadBack) {
  for (std::size_t i = 0; i < kPodStates; ++i) {
    PodState back = PodState::kPending;
    EXPECT_TRUE(parse_pod_state(name_of(static_cast<PodState>(i)), back));
    EXPECT_EQ(back, static_cast<PodState>(i));
  }
  PodState untouched = PodState::kRunning;
  EXPECT_FALSE(parse_pod_state("Running", untouched));
  EXPECT_EQ(untouched, PodState::kRunning);
}

TEST(Summaries, PutWhatRunsFirstAndTheWorstEndLast) {
  JobCounts counts;
  counts.by_state[3] = 5;
  EXPECT_EQ(summary_of(counts), PodState::kSucceeded);
  counts.by_state[7] = 1;
  EXPECT_EQ(summary_of(counts), PodState::kCancelled);
  counts.by_state[4] = 1;
  EXPECT_EQ(summary_of(counts), PodState::kFailed);
  counts.by_state[0] = 1;
  EXPECT_EQ(summary_of(counts), PodState::kPending);
  counts.by_state[2] = 1;
  EXPECT_EQ(summary_of(counts), PodState::kRunning);
}

}  // namespace
}  // namespace berth::state
