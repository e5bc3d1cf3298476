// What commands show: names of jobs, text, JSON, tables and progress.
#include <gtest/gtest.h>
#include <string>

#include "tools/cli/command.h"
#include "tools/cli/job_name.h"
#include "tools/cli/json.h"
#include "tools/cli/progress.h"
#include "tools/cli/rows.h"
#include "tools/cli/table.h"
#include "tools/cli/text.h"

namespace berth::tools {
namespace {

using namespace state;

// What a function writes to standard output.
template <class F>
std::string written(F&& write) {
  ::testing::internal::CaptureStdout();
  {
    Output out;
    write(out);
  }
  return ::testing::internal::GetCapturedStdout();
}

TEST(JobNames, NameAJobOrSomeOfItsPods) {
  EXPECT_FALSE(parse_job_name("12")->indexes.has_value());
  EXPECT_EQ(parse_job_name("12.7")->indexes->to_string(), "7");
  EXPECT_EQ(parse_job_name("12[1-5,9]")->indexes->to_string(), "1-5,9");
  EXPECT_EQ(parse_job_name("12.1-5,9")->job, JobId{12});
  EXPECT_EQ(parse_pod_name("12[0]")->index, 0U);
  EXPECT_FALSE(parse_pod_name("12.1-2").ok());
}

TEST(JobNames, AreRefusedIfTheyAreNone) {
  for (const char* text :
       {"", "0", "-1", "abc", "12x", "12.", "12[]", "12[3", "12]3[", "12.a", "99999999999999999999999", "1 2"}) {
    const auto name = parse_job_name(text);
    ASSERT_FALSE(name.ok()) << text;
    EXPECT_TRUE(name.error().message.starts_with("'" + std::string(text) + "' is not a job; accepted: "))
        << name.error().message;
  }
  EXPECT_FALSE(parse_job_id("12.3").ok());
  EXPECT_FALSE(parse_job_ids({"1", "x"}).ok());
}

TEST(ErrorLines, NameTheCommandAndForUsageErrorsTheOption) {
  const Error bad = invalid("mem", "'abc' is not a size");
  EXPECT_EQ(error_line("berth submit", bad, true), "berth: submit: --mem: 'abc' is not a size");
  EXPECT_EQ(error_line("berth submit", invalid("--mem", "'abc' is not a size"), true),
            "berth: submit: --mem: 'abc' is not a size");
  EXPECT_EQ(error_line("berth submit", bad, false), "berth: submit: 'abc' is not a size");
  EXPECT_EQ(error_line("berth token create", Error{ErrorCode::kUnavailable, "", "busy", 1500}, false),
            "berth: token create: busy; try again in 1.5s");
  EXPECT_EQ(error_line("berth", invalid("", "a\nb\x1b[2J"), true), "berth: a?b?[2J");
}

TEST(Text, IsReflowedClippedAndMadePrintable) {
  EXPECT_EQ(reflow("one two three\nfour\n\nfive", 9, 2), "  one two\n  three\n  four\n\n  five\n");
  EXPECT_EQ(reflow("  kept   as it is", 5, 1), "   kept   as it is\n");
  EXPECT_EQ(clip("häuser", 4), "häu…");
  EXPECT_EQ(clip("häuser", 6), "häuser");
  EXPECT_EQ(columns_of("häuser"), 6U);
  EXPECT_EQ(printable("a\tb\x7f"), "a?b?");
  EXPECT_EQ(reindent("    a\n      b\n", 2), "  a\n    b\n");
}

TEST(Text, TheNearestWordIsFoundIfOneIsClose) {
  const std::vector<std::string> words = {"submit", "status", "cancel"};
  EXPECT_EQ(nearest("sumbit", words), "submit");
  EXPECT_EQ(nearest("cancle", words), "cancel");
  EXPECT_EQ(nearest("stat", words), "status");
  EXPECT_EQ(nearest("zzzzzz", words), "");
  EXPECT_EQ(nearest("", words), "");
}

TEST(Json, StringsAreJsonWhateverTheyHold) {
  EXPECT_EQ(json_string("a\"b\\c\n\t\x01"), "\"a\\\"b\\\\c\\n\\t\\u0001\"");
  EXPECT_EQ(json_string("ä€😀"), "\"ä€😀\"");
  // A lone continuation byte, an overlong form, a surrogate, a sequence cut short, and one past the last code point.
  EXPECT_EQ(json_string("\x80"), "\"\\ufffd\"");
  EXPECT_EQ(json_string("\xC0\xAF"), "\"\\ufffd\\ufffd\"");
  EXPECT_EQ(json_string("\xED\xA0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");
  EXPECT_EQ(json_string("a\xE2\x82"), "\"a\\ufffd\\ufffd\"");
  EXPECT_EQ(json_string("\xF4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
}

TEST(Json, AnArrayHasALineForEachItem) {
  EXPECT_EQ(written([](Output& out) {
              JsonWriter json(out);
              json.begin_array();
              for (int i = 0; i < 2; ++i) json.begin_object().field("i", i).key("n").null().end_object();
              json.end_array().end_document();
            }),
            "[\n{\"i\": 0, \"n\": null},\n{\"i\": 1, \"n\": null}\n]\n");
  EXPECT_EQ(written([](Output& out) { JsonWriter(out).begin_array().end_array().end_document(); }), "[]\n");
}

TEST(Tables, AlignTheirColumnsAndKeepControlCharactersOut) {
  EXPECT_EQ(written([](Output& out) {
              Table table(out, {{"ID", true}, {"NAME", false}, {"WHY", false}}, 0);
              table.add({{"7"}, {"a"}, {"x\x1b[2J"}});
              table.add({{"100"}, {"long"}, {""}});
              table.finish();
            }),
            " ID  NAME  WHY\n  7  a     x?[2J\n100  long\n");
}

TEST(Tables, CutTheLastColumnAtTheEdge) {
  EXPECT_EQ(written([](Output& out) {
              Table table(out, {{"A", false}, {"B", false}}, 8);
              table.add({{"12"}, {"abcdefgh"}});
              table.finish();
            }),
            "A   B\n12  abc…\n");
}

TEST(Listings, OfNothingAreTitlesOrAnEmptyArray) {
  EXPECT_EQ(written([](Output& out) { Listing<Queue>(out, Format::kTable, 0, 0).finish(); }),
            "QUEUE  PRIORITY  TIME LIMIT  STATE  TIER  NODES  USERS  ACCOUNTS\n");
  EXPECT_EQ(written([](Output& out) { Listing<Queue>(out, Format::kJson, 0, 0).finish(); }), "[]\n");
}

TEST(Listings, AJobInJsonHasOnlyTheStatesItsPodsAreIn) {
  JobRow row;
  row.id = JobId{5};
  row.counts.by_state[static_cast<std::size_t>(PodState::kCancelled)] = 50;
  row.summary = PodState::kCancelled;
  const std::string text = written([&](Output& out) {
    Listing<JobRow> listing(out, Format::kJson, 0, 0);
    listing.add(row);
    listing.finish();
  });
  EXPECT_NE(text.find("\"counts\": {\"cancelled\": 50}"), std::string::npos) << text;
  EXPECT_NE(text.find("\"started_at_us\": null"), std::string::npos) << text;
}

JobProgress progress_of(std::uint64_t job, std::uint32_t pending, std::uint32_t running, std::uint32_t succeeded,
                        std::uint32_t failed) {
  JobProgress progress;
  progress.job = JobId{job};
  auto& by_state = progress.counts.by_state;
  by_state[static_cast<std::size_t>(PodState::kPending)] = pending;
  by_state[static_cast<std::size_t>(PodState::kRunning)] = running;
  by_state[static_cast<std::size_t>(PodState::kSucceeded)] = succeeded;
  by_state[static_cast<std::size_t>(PodState::kFailed)] = failed;
  progress.summary = summary_of(progress.counts);
  progress.ended = !progress.counts.active();
  return progress;
}

TEST(Progress, CountsAllJobsTogetherAndKnowsRateAndTimeLeft) {
  Progress progress;
  progress.update(progress_of(1, 100, 0, 0, 0), 0);
  progress.update(progress_of(2, 0, 0, 100, 0), 0);
  EXPECT_FALSE(progress.all_ended(2));
  progress.update(progress_of(1, 40, 10, 47, 3), 5000);
  EXPECT_EQ(progress.pods(), 200U);
  EXPECT_EQ(progress.ended(), 150U);
  EXPECT_FALSE(progress.all_succeeded());
  EXPECT_EQ(progress.line(), "150 of 200 pods ended, 10 running, 40 waiting, 3 failed");
  const std::string bar = progress.bar(5000, 100);
  EXPECT_TRUE(bar.starts_with("[####")) << bar;
  for (const char* piece : {" 150/200", "75%", "10 running", "3 failed", "/s", " left"}) {
    EXPECT_NE(bar.find(piece), std::string::npos) << bar;
  }
}

TEST(Progress, TheBarIsNeverWiderThanItMayBe) {
  Progress progress;
  progress.update(progress_of(1, 4'000'000, 1000, 5'000'000, 3), 0);
  for (std::size_t width = 1; width < 160; ++width) EXPECT_LE(columns_of(progress.bar(1000, width)), width);
}

TEST(Progress, HasNoRateBeforeAnythingEnded) {
  Progress progress;
  progress.update(progress_of(1, 10, 0, 0, 0), 0);
  EXPECT_EQ(progress.rate(60'000), 0);
  EXPECT_EQ(progress.bar(60'000, 80).find("/s"), std::string::npos);
}

TEST(Progress, AllHaveEndedOnlyWhenEveryJobIsKnown) {
  Progress progress;
  progress.update(progress_of(1, 0, 0, 3, 0), 0);
  EXPECT_FALSE(progress.all_ended(2));
  progress.update(progress_of(2, 0, 0, 1, 0), 0);
  EXPECT_TRUE(progress.all_ended(2));
  EXPECT_TRUE(progress.all_succeeded());
}

TEST(Progress, TheEndOfAJobIsALine) {
  EXPECT_EQ(ended_line(progress_of(7, 0, 0, 1, 0)), "job 7 succeeded");
  EXPECT_EQ(ended_line(progress_of(7, 0, 0, 10, 0)), "job 7 succeeded: 10 pods");
  EXPECT_EQ(ended_line(progress_of(7, 0, 0, 9, 1)), "job 7 failed: 9 succeeded, 1 failed");
}

}  // namespace
}  // namespace berth::tools
