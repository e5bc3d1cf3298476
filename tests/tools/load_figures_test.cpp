#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

#include "tools/load/figures.h"

namespace berth::tools {
namespace {

TEST(Figures, AreOneFlatJsonObjectInTheirOrder) {
  Figures figures;
  figures.add("pods_ended", 1'000'000);
  figures.add("run_s", 12.3456);
  EXPECT_EQ(figures.to_json(), "{\n  \"pods_ended\": 1000000,\n  \"run_s\": 12.346\n}\n");
}

TEST(Figures, MakeATableWithAlignedNumbers) {
  Figures figures;
  figures.add("a", 1);
  figures.add("long_name_ms", 0.25);
  EXPECT_EQ(figures.to_table(), "  a                          1\n  long_name_ms           0.250\n");
}

TEST(Figures, AreWrittenToAFile) {
  std::string directory = std::filesystem::temp_directory_path() / "berth-figures-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const std::string path = directory + "/out.json";
  Figures figures;
  figures.add("jobs", 3);
  EXPECT_TRUE(figures.write_json(path));
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str(), figures.to_json());
  std::filesystem::remove_all(directory);
}

TEST(Figures, APathThatCannotBeWrittenIsOneClearLine) {
  Figures figures;
  const state::Status written = figures.write_json("/nonexistent-directory/out.json");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().field, "--json");
  EXPECT_EQ(written.error().message, "cannot write '/nonexistent-directory/out.json'");
}

TEST(Percentile, IsTheSmallestValueThatCoversThePart) {
  std::vector<std::int64_t> values{50, 10, 40, 20, 30};
  EXPECT_EQ(percentile(values, 0.5), 30);
  EXPECT_EQ(percentile(values, 0.99), 50);
  EXPECT_EQ(percentile(values, 0.0), 10);
  EXPECT_EQ(percentile(values, 0.2), 10);
  EXPECT_EQ(percentile(values, 0.21), 20);
  std::vector<std::int64_t> none;
  EXPECT_EQ(percentile(none, 0.5), 0);
}

}  // namespace
}  // namespace berth::tools
