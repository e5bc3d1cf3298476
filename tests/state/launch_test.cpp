#include "state/launch.h"

#include <gtest/gtest.h>

#include "state/records.h"
#include "tests/state/dice.h"

namespace berth::state {
namespace {

std::span<const std::byte> launch_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

Launch full() {
  Launch launch;
  launch.driver = Driver::kOci;
  launch.argv = {"/bin/sh", "-c", "", "echo \"hi\""};
  launch.env = {"A=1", "B=", "C=x=y"};
  launch.cwd = "/work";
  launch.output_path = "out/%j-%a.txt";
  launch.error_path = "err";
  launch.append = true;
  launch.image = "/images/busybox:latest";
  launch.umask = 077;
  launch.grace_ms = 1234;
  launch.container.pull = PullPolicy::kAlways;
  launch.container.auth_file = "/home/ana/auth.json";
  launch.container.mounts = {{Mount::Kind::kBind, "/data", "/data", true, 0},
                             {Mount::Kind::kTmpfs, "", "/tmp", false, 64},
                             {Mount::Kind::kScratch, "", "/scratch", false, 0}};
  launch.container.read_only = true;
  launch.container.hostname = "lab-7";
  launch.container.ulimits = {{"nofile", 10, 20}, {"core", 0, Ulimit::kUnlimited}};
  launch.container.unconfined = true;
  launch.network = NetworkMode::kPods;
  launch.probe_start = Probe{Probe::Kind::kTcp, {}, 5432, "", 0, 500, 200, 60, 1};
  launch.probe_ready = Probe{Probe::Kind::kHttp, {}, 8080, "/ready?full=1", 1'000, 5'000, 250, 2, 3};
  launch.probe_live = Probe{Probe::Kind::kCommand, {"sh", "-c", "exit 0"}, 0, "", 0, 10'000, 1'000, 3, 1};
  return launch;
}

TEST(Launch, SurvivesItsEncoding) {
  const auto decoded = decode_launch(launch_bytes(encode_launch(full())));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, full());
  Launch least;
  least.argv = {"true"};
  EXPECT_EQ(*decode_launch(launch_bytes(encode_launch(least))), least);
  least = {};
  least.driver = Driver::kOci;
  least.image = "/i:t";  // the image's own command
  EXPECT_EQ(*decode_launch(launch_bytes(encode_launch(least))), least);
}

TEST(Launch, IsRefusedWithTheFieldAtFault) {
  const auto with = [](auto change) {
    Launch launch = full();
    change(launch);
    return launch;
  };
  const std::pair<const char*, Launch> cases[] = {
      {"command", with([](Launch& l) { l.driver = Driver::kProcess, l.argv.clear(); })},
      {"command", with([](Launch& l) { l.argv[1] = std::string("a\0b", 3); })},
      {"command", with([](Launch& l) { l.cwd = std::string("/\0", 2); })},
      {"command", with([](Launch& l) { l.argv[0].clear(); })},
      {"env", with([](Launch& l) { l.env = {"NOVALUE"}; })},
      {"env", with([](Launch& l) { l.env = {"=x"}; })},
      {"env", with([](Launch& l) { l.env = {""}; })},
      {"image", with([](Launch& l) { l.image.clear(); })},
      {"cwd", with([](Launch& l) { l.driver = Driver::kProcess, l.cwd = "relative"; })},
      {"grace", with([](Launch& l) { l.grace_ms = -1; })},
      {"umask", with([](Launch& l) { l.umask = 01000; })},
      {"command", with([](Launch& l) { l.argv[1] = std::string(kMaxLaunchBytes, 'x'); })},
      {"start", with([](Launch& l) { l.probe_start->port = 0; })},
      {"start", with([](Launch& l) { l.probe_start->path = "/"; })},
      {"start", with([](Launch& l) { l.probe_start->argv = {"true"}; })},
      {"ready", with([](Launch& l) { l.probe_ready->path.clear(); })},
      {"ready", with([](Launch& l) { l.probe_ready->path = "ready"; })},
      {"ready", with([](Launch& l) { l.probe_ready->path = "/a b"; })},
      {"ready", with([](Launch& l) { l.probe_ready->path = "/\r\nX: y"; })},
      {"ready", with([](Launch& l) { l.probe_ready->period_ms = 99; })},
      {"ready", with([](Launch& l) { l.probe_ready->timeout_ms = 0; })},
      {"ready", with([](Launch& l) { l.probe_ready->delay_ms = -1; })},
      {"ready", with([](Launch& l) { l.probe_ready->successes = 0; })},
      {"live", with([](Launch& l) { l.probe_live->failures = 0; })},
      {"live", with([](Launch& l) { l.probe_live->argv.clear(); })},
      {"live", with([](Launch& l) { l.probe_live->argv[2] = std::string("a\0b", 3); })},
      {"live", with([](Launch& l) { l.probe_live->port = 80; })},
  };
  for (const auto& [field, launch] : cases) {
    const auto decoded = decode_launch(launch_bytes(encode_launch(launch)));
    ASSERT_FALSE(decoded) << field;
    EXPECT_EQ(decoded.error().field, field) << decoded.error().message;
  }
}

TEST(Launch, AnyBytesAreSafe) {
  testing::Dice dice(1);
  const std::string good = encode_launch(full());
  for (int i = 0; i < 20'000; ++i) {
    std::string bad = good.substr(0, i % 3 == 0 ? dice() % good.size() : good.size());
    for (std::uint32_t n = 1 + dice() % 3; n != 0 && !bad.empty(); --n)
      bad[dice() % bad.size()] = static_cast<char>(dice());
    const auto decoded = decode_launch(launch_bytes(bad));
    if (decoded) {
      EXPECT_TRUE(decode_launch(launch_bytes(encode_launch(*decoded))));
    }
  }
  EXPECT_FALSE(decode_launch({}));
}

TEST(Paths, HaveTheirPatternsReplaced) {
  const PathNames names{17, 4, "node-a", "ann", "train"};
  const std::pair<const char*, const char*> cases[] = {{"", ""},
                                                       {"out", "out"},
                                                       {"%j/%a", "17/4"},
                                                       {"%r", "4"},
                                                       {"/home/%u/%x-%n.log", "/home/ann/train-node-a.log"},
                                                       {"%%j", "%j"},
                                                       {"100%", "100%"},
                                                       {"%q", "%q"},
                                                       {"%%%j", "%17"},
                                                       {"%j%", "17%"}};
  for (const auto& [pattern, path] : cases) EXPECT_EQ(expand_path(pattern, names), path) << pattern;
  // What a name brings in is not expanded again.
  EXPECT_EQ(expand_path("%x", {1, 1, "n", "u", "%j"}), "%j");
}

}  // namespace
}  // namespace berth::state
