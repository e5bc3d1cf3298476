// The text that Prometheus reads, and the table of what is on the page.
#include <fstream>
#include <gtest/gtest.h>
#include <regex>
#include <set>
#include <sstream>

#include "api/server/metrics_page.h"
#include "api/server/metrics_text.h"

namespace berth::server {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(MetricsText, EscapesLabelsAndHelp) {
  MetricsText text;
  text.begin("m", "gauge", "a \\ and a\nline, \"quoted\"");
  text.sample(std::uint64_t{3}, {{"queue", "a\"b\\c\nd"}, {"plain", "é"}});
  EXPECT_EQ(text.take(),
            "# HELP m a \\\\ and a\\nline, \"quoted\"\n"
            "# TYPE m gauge\n"
            "m{queue=\"a\\\"b\\\\c\\nd\",plain=\"é\"} 3\n");
}

TEST(MetricsText, WritesNumbersThatAreNoneAsPrometheusDoes) {
  MetricsText text;
  text.begin("m", "gauge", "h");
  text.sample(std::numeric_limits<double>::infinity());
  text.sample(-std::numeric_limits<double>::infinity());
  text.sample(std::numeric_limits<double>::quiet_NaN());
  text.sample(0.25);
  EXPECT_EQ(text.take(), "# HELP m h\n# TYPE m gauge\nm +Inf\nm -Inf\nm NaN\nm 0.25\n");
}

TEST(MetricsText, BucketsOfAHistogramAreCumulativeAndLoseNothing) {
  scheduler::Latency latency;
  for (const std::int64_t us : {0, 1, 15, 16, 31, 32, 1'000'000, 90'000'000}) latency.add(us);
  latency.add(20, 3);
  MetricsText text;
  text.begin("h", "histogram", "x");
  text.histogram(latency.spread(), 4, 6);
  EXPECT_EQ(text.take(),
            "# HELP h x\n# TYPE h histogram\n"
            "h_bucket{le=\"0.000016\"} 3\n"
            "h_bucket{le=\"0.000032\"} 8\n"
            "h_bucket{le=\"0.000064\"} 9\n"
            "h_bucket{le=\"+Inf\"} 11\n"
            "h_sum 91.000155\n"
            "h_count 11\n");
}

TEST(Timing, CountsAsLatencyDoes) {
  Timing timing;
  scheduler::Latency latency;
  std::uint64_t seed = 1;
  for (int i = 0; i < 10'000; ++i) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    const auto us = static_cast<std::int64_t>((seed >> 33) >> (seed % 31));
    timing.add(us);
    latency.add(us);
  }
  EXPECT_EQ(timing.spread().counts, latency.spread().counts);
  EXPECT_EQ(timing.spread().sum_us, latency.spread().sum_us);
  timing.add(-5);  // clocks of two machines
  EXPECT_EQ(timing.spread().counts[0], latency.spread().counts[0] + 1);
}

// All metrics that a page may have, with something to show in each.
std::string full_page() {
  static Metrics metrics;
  auto figures = std::make_shared<scheduler::Figures>();
  figures->queues = {{"default", 7}};
  PageSources from;
  from.metrics = &metrics;
  from.figures = figures;
  from.accounting = true;
  from.snapshot_age_us = 1'500'000;
  return metrics_page(from);
}

std::vector<std::string> names_on(const std::string& page) {
  std::vector<std::string> names;
  for (const std::string& line : lines_of(page)) {
    if (line.starts_with("# TYPE ")) names.push_back(line.substr(7));
  }
  return names;
}

TEST(MetricsPage, HasAllOfTheTableInItsOrder) {
  std::vector<std::string> wanted;
  for (const MetricRow& row : metric_table()) wanted.push_back(std::string(row.name) + " " + std::string(row.type));
  EXPECT_EQ(names_on(full_page()), wanted);
}

TEST(MetricsPage, NamesAndLabelsFollowTheConventions) {
  const std::regex name("(berth|process)_[a-z]+(_[a-z]+)*");
  std::set<std::string_view> seen;
  for (const MetricRow& row : metric_table()) {
    EXPECT_TRUE(std::regex_match(std::string(row.name), name)) << row.name;
    EXPECT_TRUE(seen.insert(row.name).second) << row.name;
    EXPECT_EQ(row.type == "counter", row.name.ends_with("_total")) << row.name;
    EXPECT_TRUE(row.type != "histogram" || row.name.ends_with("_seconds")) << row.name;
    EXPECT_TRUE(row.help.ends_with(".")) << row.name;
  }
}

TEST(MetricsPage, EverySampleBelongsToWhatWasBegunAndHasItsLabels) {
  std::string name;
  std::set<std::string> labels;
  const std::regex sample(R"re(([a-z_]+)(?:\{(.*)\})? [0-9.e+-]+)re"), label(R"re(([a-z]+)="[^"]*")re");
  for (const std::string& line : lines_of(full_page())) {
    if (line.starts_with("# HELP ")) {
      name = line.substr(7, line.find(' ', 7) - 7);
      const auto row =
          std::find_if(metric_table().begin(), metric_table().end(), [&](const auto& r) { return r.name == name; });
      ASSERT_NE(row, metric_table().end()) << name;
      labels.clear();
      std::istringstream in{std::string(row->labels)};
      for (std::string one; in >> one;) labels.insert(one.substr(0, one.find(',')));
      if (row->type == "histogram") labels = {"le"};
    }
    if (line.starts_with("#")) continue;
    std::smatch match;
    ASSERT_TRUE(std::regex_match(line, match, sample)) << line;
    EXPECT_TRUE(match[1].str() == name || match[1].str() == name + "_bucket" || match[1].str() == name + "_sum" ||
                match[1].str() == name + "_count")
        << line;
    std::set<std::string> has;
    const std::string inside = match[2];
    for (std::sregex_iterator it(inside.begin(), inside.end(), label), end; it != end; ++it) has.insert((*it)[1]);
    if (has.empty() && labels == std::set<std::string>{"le"}) continue;
    EXPECT_EQ(has, labels) << line;
  }
}

TEST(MetricsPage, OfAStandbyHasNothingOfTheCore) {
  PageSources from;
  from.info.store.durable_index = 12;
  const std::string page = metrics_page(from);
  EXPECT_NE(page.find("\nberth_leader 0\n"), std::string::npos);
  EXPECT_NE(page.find("\nberth_journal_index 12\n"), std::string::npos);
  EXPECT_EQ(page.find("berth_pods"), std::string::npos);
}

TEST(MetricsPage, IsWhatTheDocumentationSays) {
  std::ifstream file(BERTH_SOURCE_DIR "/docs/server.md");
  std::vector<std::string> documented, wanted;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| `berth_") || line.starts_with("| `process_")) documented.push_back(line);
  }
  for (const MetricRow& row : metric_table()) {
    std::string labels;
    std::istringstream in{std::string(row.labels)};
    for (std::string one; in >> one;) labels += (labels.empty() ? "`" : ", `") + one.substr(0, one.find(',')) + "`";
    wanted.push_back("| `" + std::string(row.name) + "` | " + std::string(row.type) + " | " + labels + " | " +
                     std::string(row.help) + " |");
  }
  EXPECT_EQ(documented, wanted);
}

TEST(RequestKinds, AreDistinctAndNamed) {
  std::set<std::string_view> names;
  for (std::size_t kind = 0; kind < kAllKinds; ++kind) EXPECT_TRUE(names.insert(request_kind(kind)).second) << kind;
  EXPECT_EQ(request_kind(state::ClientRequest(state::SubmitRequest{}).index()), "submit");
  EXPECT_EQ(request_kind(state::ClientRequest(state::ReadLogRequest{}).index()), "read-log");
  EXPECT_EQ(request_kind(scheduler::kRequestKinds + state::ArchiveRequest(state::UsageRequest{}).index()), "usage");
  EXPECT_EQ(request_kind(scheduler::kRequestKinds + kArchiveKinds + state::NodeRequest(state::TopRequest{}).index()),
            "top");
  EXPECT_EQ(outcome_name(static_cast<std::size_t>(state::ErrorCode::kTooLarge)), "too-large");
}

}  // namespace
}  // namespace berth::server
