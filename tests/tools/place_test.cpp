// `berth place`: the requests it reads, and where they land on real machines: a table that was checked by eye once.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>

#include "agent/io/topology_reader.h"
#include "tools/roots/place_request.h"
#include "tools/roots/topology_picture.h"

namespace berth::tools {
namespace {

namespace fs = std::filesystem;

TEST(PlaceRequest, ReadsWhatIsDocumented) {
  auto request = parse_place_request("cpus=8,gpus=2,mem=16G,bind=numa:require,threads-per-core=1");
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->cores, 8U);
  EXPECT_EQ(request->gpus, 2U);
  EXPECT_EQ(request->mem_mib, 16'384U);
  EXPECT_EQ(request->threads_per_core, 1U);
  EXPECT_EQ(request->level, placement::TopologyRequest::Level::kNuma);
  EXPECT_TRUE(request->require);
  EXPECT_FALSE(parse_place_request("threads=3,bind=l3")->require);
}

TEST(PlaceRequest, RefusesEverythingElseInOneLine) {
  for (const char* text :
       {"", "cpus", "cpus=0", "cpus=-1", "cpus=1.5", "cpus=100001", "cpus=1,cpus=2", "cpu=4", "cpus=1,threads=1",
        "gpus=1", "cpus=1,mem=lots", "cpus=1,bind=socket", "cpus=1,bind=numa:maybe", "cpus=1,bind=none:require",
        "threads=2,threads-per-core=1", "cpus=1,,", "cpus=1,bind=numa:require:x"}) {
    auto request = parse_place_request(text);
    ASSERT_FALSE(request.ok()) << text;
    EXPECT_EQ(request.error().field, "request") << text;
    EXPECT_EQ(request.error().message.find('\n'), std::string::npos) << text;
  }
}

TEST(TopologyReader, WhatIsNoTopologyIsRefusedInOneLine) {
  const std::string path = fs::temp_directory_path() / ("berth-no-topology-" + std::to_string(::getpid()) + ".xml");
  std::ofstream(path) << "<topology version=\"9.0\"><object type=\"Wheel\"/>";
  for (const std::string& wrong : {path, std::string("/nowhere/at/all.xml")}) {
    auto topology = agent::read_topology(wrong);
    ASSERT_FALSE(topology.ok());
    EXPECT_NE(topology.error().message.find(wrong), std::string::npos);
    EXPECT_NE(topology.error().message.find("accepted"), std::string::npos);
  }
  fs::remove(path);
}

TEST(TopologyReader, ReadsThisMachine) {
  auto topology = agent::read_topology("");
  ASSERT_TRUE(topology.ok());
  EXPECT_FALSE(topology->cores.empty());
  EXPECT_EQ(topology->domains.at(0).cores.size(), topology->cores.size());
  ASSERT_FALSE(topology->memories.empty());
  EXPECT_GT(topology->memories[0].mem_mib, 0U);
}

TEST(Ranges, AreShort) {
  EXPECT_EQ(ranges_in_words({}), "");
  EXPECT_EQ(ranges_in_words({0, 1, 2, 5, 7, 8}), "0-2,5,7-8");
}

fs::path hwloc_data() {
  const char* given = std::getenv("BERTH_DATA");
  return fs::path(given != nullptr ? given : BERTH_SOURCE_DIR "/../shared/data") / "hwloc";
}

// What goes onto a machine, one after the other; a line that begins with '-' begins with an empty machine again.
const char* const kRequests[] = {"-cpus=8,bind=numa:require",
                                 "cpus=8,threads-per-core=1,bind=numa",
                                 "-cpus=4,gpus=1,bind=numa:require",
                                 "cpus=4,gpus=1,mem=1G,bind=numa:require",
                                 "cpus=8,gpus=2,bind=package",
                                 "-cpus=16,gpus=4",
                                 "-cpus=2,bind=l3:require",
                                 "cpus=2,bind=l3:require",
                                 "cpus=3,bind=l3",
                                 "cpus=2,bind=l3:require",
                                 "-threads=1",
                                 "threads=3",
                                 "cpus=1",
                                 "-cpus=2,mem=150G,bind=numa",
                                 "-cpus=16,bind=package:require",
                                 "-cpus=1000"};

std::string table_of(const std::string& name, const std::string& xml) {
  std::string table = name + "\n";
  auto topology = agent::read_topology(xml);
  if (!topology.ok()) return table + "  " + topology.error().message.substr(xml.size()) + "\n";
  placement::TopologyNode node(*topology);
  for (std::string text : kRequests) {
    if (text[0] == '-') {
      node = placement::TopologyNode(*topology);
      text.erase(0, 1);
      table += "  on the empty machine\n";
    }
    auto plan = node.place(*parse_place_request(text));
    table += "    " + text + ": " + (plan.ok() ? plan_in_words(node.topology(), *plan) : plan.error().message) + "\n";
  }
  return table;
}

TEST(RealMachines, TypicalRequestsLandWhereTheyShould) {
  if (!fs::is_directory(hwloc_data())) {
    GTEST_SKIP() << "needs topologies of real machines in " << hwloc_data() << " (or where BERTH_DATA says)";
  }
  std::string table;
  std::set<fs::path> files;
  for (const auto& entry : fs::directory_iterator(hwloc_data())) files.insert(entry.path());
  const std::string xml = fs::temp_directory_path() / ("berth-topology-" + std::to_string(::getpid()) + ".xml");
  for (const fs::path& file : files) {
    if (file.extension() != ".gz") continue;
    ASSERT_EQ(std::system(("gzip -dc '" + file.string() + "' > '" + xml + "'").c_str()), 0);
    table += table_of(file.stem().stem().string(), xml) + "\n";
  }
  fs::remove(xml);
  const std::string golden = BERTH_SOURCE_DIR "/tests/tools/place_golden.txt";
  if (std::getenv("BERTH_WRITE_GOLDEN") != nullptr) std::ofstream(golden) << table;
  std::stringstream expected;
  expected << std::ifstream(golden).rdbuf();
  EXPECT_EQ(table, expected.str()) << "if that is as it should be: BERTH_WRITE_GOLDEN=1 writes the table anew";
}

}  // namespace
}  // namespace berth::tools
