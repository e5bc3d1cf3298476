#include "api/server/trace.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <unistd.h>

namespace berth::server {
namespace {

class TraceTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/berth-trace-test-XXXXXX";
    directory = ::mkdtemp(pattern.data());
    path = directory + "/trace.json";
  }
  void TearDown() override { std::filesystem::remove_all(directory); }
  std::string text() const {
    std::ifstream file(path);
    std::stringstream all;
    all << file.rdbuf();
    return all.str();
  }
  std::string directory, path;
};

TEST_F(TraceTest, IsAWholeArrayOnceItIsClosed) {
  {
    auto trace = std::move(*Trace::open(path));
    trace->span(Trace::kCore, "turn", 1'000'500, 3'000'500, R"("batch":7)");
    trace->waited("queued", 9, 1'000, 2'000);
  }
  const std::string all = text();
  EXPECT_TRUE(all.starts_with("[\n{")) << all;
  EXPECT_TRUE(all.ends_with("}\n]\n")) << all;
  EXPECT_NE(all.find(R"("name":"turn","ph":"X")"), std::string::npos) << all;
  EXPECT_NE(all.find(R"("ts":1000.500,"dur":2000.000,"args":{"batch":7}})"), std::string::npos) << all;
  EXPECT_NE(all.find(R"("ph":"b","id":9,)"), std::string::npos) << all;
  EXPECT_NE(all.find(R"("ph":"e","id":9,)"), std::string::npos) << all;
}

TEST_F(TraceTest, WhatWasFlushedIsWholeLines) {
  auto trace = std::move(*Trace::open(path));
  for (int i = 0; i < 5'000; ++i) trace->span(Trace::kLoop, "frame", i, i + 1);
  const std::string some = text();
  EXPECT_GT(some.size(), 100'000U) << "it is not all kept in memory";
  EXPECT_TRUE(some.ends_with("},\n"));
  trace->flush();
  EXPECT_GT(text().size(), some.size());
  EXPECT_TRUE(text().ends_with("},\n"));
}

TEST_F(TraceTest, EndsWithANoteAtItsLimit) {
  auto trace = std::move(*Trace::open(path, 20'000));
  for (int i = 0; i < 1'000; ++i) trace->span(Trace::kLoop, "frame", i, i + 1);
  EXPECT_TRUE(trace->full());
  const std::string all = text();
  EXPECT_LE(all.size(), 20'000U);
  EXPECT_GT(all.size(), 15'000U);
  EXPECT_NE(all.find("the trace ends here, at its limit of 20000 bytes"), std::string::npos);
  EXPECT_TRUE(all.ends_with("}\n]\n"));
  trace.reset();
  EXPECT_EQ(text(), all) << "nothing comes behind the end";
}

TEST_F(TraceTest, AFileThatCannotBeWrittenIsRefused) {
  const auto trace = Trace::open(directory + "/none/trace.json");
  ASSERT_FALSE(trace.ok());
  EXPECT_NE(trace.error().message.find("/none/trace.json: No such file"), std::string::npos) << trace.error().message;
}

}  // namespace
}  // namespace berth::server
