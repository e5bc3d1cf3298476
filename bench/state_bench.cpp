// What the state costs: durable events a second beside a raw loop, bytes a running pod and a waiting element, the whole
// core with many nodes and pods, a restart with them, and what the core feels of a snapshot.
//   state_bench DIRECTORY SECONDS NODES PODS   prints one flat JSON object.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <malloc.h>
#include <mutex>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "scheduler/core.h"
#include "state/event_codec.h"
#include "state/launch.h"
#include "state/memory_use.h"
#include "state/store/segment.h"
#include "state/store/snapshot_file.h"
#include "state/store/store.h"

namespace {

using namespace berth;
using namespace berth::state;
using Clock = std::chrono::steady_clock;

constexpr TimeUs kAt = 1'700'000'000'000'000;

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "state_bench: {}\n", what);
  std::exit(1);
}
double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}
double percentile(std::vector<double>& values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(p * static_cast<double>(values.size() - 1))];
}
void figure(const std::string& name, double value) { fmt::print("  \"{}\": {:.3f},\n", name, value); }

std::uint64_t resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::strtoull(line.c_str() + 6, nullptr, 10);
  }
  fail("no VmRSS");
}
std::size_t heap_bytes() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

JobSpec array_spec(std::uint32_t elements) {
  JobSpec spec;
  spec.name = "bench";
  spec.kind = JobKind::kArray;
  spec.elements = IndexSet::dense(elements);
  spec.request.resources = {1'000, 1'024, 0};
  Launch launch;
  launch.argv = {"/bin/true"};
  spec.launch = encode_launch(launch);
  return spec;
}
Batch next_batch(const Cluster& cluster) { return {cluster.applied_index() + 1, kAt, {}}; }
void apply(Cluster& cluster, Batch batch) {
  if (const Status done = cluster.apply(batch); !done) fail(done.error().message);
}
NodeJoined node_joined(std::uint32_t number) {
  NodeJoined joined{NodeId{number}, {}};
  joined.info.name = "node" + std::to_string(number);
  joined.info.instance = "0123456789abcdef";
  joined.info.address = "10.1.2.3";
  joined.info.version = "0.1.0";
  joined.info.limits = "cgroup-v2";
  joined.info.capacity = {64'000, 262'144, 8};
  return joined;
}

// ---- durable events -------------------------------------------------------------------------------------------------

class RawFile {
 public:
  explicit RawFile(const std::string& path) : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    const std::string zeros(kSize, '\0');
    if (fd_ < 0 || ::write(fd_, zeros.data(), zeros.size()) != static_cast<ssize_t>(kSize) || fsync(fd_) != 0)
      fail("cannot write " + path);
  }
  ~RawFile() { close(fd_); }
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;
  void append(const std::string& bytes) {
    if (at_ + bytes.size() > kSize) at_ = 0;
    if (pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at_)) != static_cast<ssize_t>(bytes.size()) ||
        fdatasync(fd_) != 0)
      fail("cannot write the raw file");
    at_ += bytes.size();
  }

 private:
  static constexpr std::size_t kSize = 64U << 20;
  int fd_;
  std::size_t at_ = 0;
};

// Events about single pods, one a pod and one of them an event by itself (PodsStarted of one), so that nothing is
// counted twice; `group` batches of `pods` of them in one write.
void durable_events(const std::string& directory, double seconds) {
  constexpr std::uint32_t kPods = 1'000, kGroup = 4;
  store::StoreOptions options;
  options.directory = directory + "/events";
  options.snapshot_after_bytes = std::uint64_t{1} << 40;
  auto opened = store::open_store(options);
  if (!opened) fail(opened.error().message);
  RawFile raw(directory + "/raw");
  Cluster model;
  Batch first = next_batch(model);
  first.events.emplace_back(node_joined(1));
  first.events.emplace_back(JobSubmitted{JobId{1}, {0, 0, "root", {}}, array_spec(kPods), 0});
  PodsBound bound;
  for (std::uint32_t e = 0; e < kPods; ++e) bound.binds.push_back({{{JobId{1}, e}, 1}, NodeId{1}, 0});
  first.events.emplace_back(bound);
  std::string bytes = encode_batch(first);
  if (!opened->store->append(1, std::vector<std::string>{bytes})) fail("cannot append");
  double store_us = 0, raw_us = 0, encode_us = 0;
  std::uint64_t events = 0, index = 1;
  for (const auto start = Clock::now(); us_since(start) < seconds * 1e6;) {
    const auto encoding = Clock::now();
    std::vector<std::string> records;
    std::string whole;
    for (std::uint32_t g = 0; g < kGroup; ++g) {
      Batch batch{++index, kAt, {}};
      for (std::uint32_t e = 0; e < kPods; ++e) batch.events.emplace_back(PodsStarted{{{{{JobId{1}, e}, 1}, kAt}}});
      records.push_back(encode_batch(batch));
    }
    encode_us += us_since(encoding);
    for (const std::string& record : records) whole += record;
    const auto begin = Clock::now();
    if (const Status done = opened->store->append(index - kGroup + 1, records); !done) fail(done.error().message);
    store_us += us_since(begin);
    const auto raw_begin = Clock::now();
    raw.append(whole);
    raw_us += us_since(raw_begin);
    events += kGroup * kPods;
  }
  figure("durable_events_per_s", static_cast<double>(events) / (store_us + encode_us) * 1e6);
  figure("durable_events_append_alone_per_s", static_cast<double>(events) / store_us * 1e6);
  figure("raw_write_fdatasync_events_per_s", static_cast<double>(events) / raw_us * 1e6);
  figure("append_over_raw_ratio", store_us / raw_us);
  opened->store.reset();
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
}

// ---- bytes ----------------------------------------------------------------------------------------------------------

void bytes_a_record(std::uint32_t pods) {
  Cluster cluster;
  Batch batch = next_batch(cluster);
  const std::uint32_t nodes = std::max(1U, pods / 100);
  for (std::uint32_t n = 1; n <= nodes; ++n) batch.events.emplace_back(node_joined(n));
  apply(cluster, std::move(batch));
  const std::size_t before = heap_bytes();
  constexpr std::uint32_t kArrays = 100;
  batch = next_batch(cluster);
  for (std::uint32_t j = 1; j <= kArrays; ++j)
    batch.events.emplace_back(JobSubmitted{JobId{j}, {0, 0, "root", {}}, array_spec(pods / kArrays), 0});
  apply(cluster, std::move(batch));
  const std::size_t waiting = heap_bytes();
  for (std::uint32_t j = 1; j <= kArrays; ++j) {
    batch = next_batch(cluster);
    PodsBound bound;
    for (std::uint32_t e = 0; e < pods / kArrays; ++e)
      bound.binds.push_back({{{JobId{j}, e}, 1}, NodeId{1 + (j * 7919 + e) % nodes}, 0});
    batch.events.emplace_back(std::move(bound));
    apply(cluster, std::move(batch));
    PodsStarted started;
    for (std::uint32_t e = 0; e < pods / kArrays; ++e) started.starts.push_back({{{JobId{j}, e}, 1}, kAt});
    batch = next_batch(cluster);
    batch.events.emplace_back(std::move(started));
    apply(cluster, std::move(batch));
  }
  const std::size_t running = heap_bytes();
  const std::uint64_t count = cluster.live_pods().size();
  figure("heap_bytes_per_waiting_element", static_cast<double>(waiting - before) / static_cast<double>(count));
  figure("heap_bytes_per_running_pod", static_cast<double>(running - before) / static_cast<double>(count));
  const MemoryUse use = memory_use(cluster);
  figure("stats_bytes_per_running_pod", static_cast<double>(use.bytes_of("running pods")) / static_cast<double>(count));
  figure("stats_total_over_heap_ratio", static_cast<double>(use.total()) / static_cast<double>(running));
}

// Single jobs that wait: each is a whole job.
void bytes_a_single_job(std::uint32_t jobs) {
  Cluster cluster;
  const std::size_t before = heap_bytes();
  for (std::uint32_t j = 1; j <= jobs; ++j) {
    JobSpec spec = array_spec(1);
    spec.kind = JobKind::kSingle;
    Batch batch = next_batch(cluster);
    batch.events.emplace_back(JobSubmitted{JobId{j}, {0, 0, "root", {}}, std::move(spec), 0});
    apply(cluster, std::move(batch));
  }
  figure("heap_bytes_per_single_job_waiting", static_cast<double>(heap_bytes() - before) / jobs);
}

// ---- a large cluster ------------------------------------------------------------------------------------------------

// Nodes, and as many arrays as it takes, through the core itself; every pod runs in the end.
class Large {
 public:
  Large(std::uint32_t nodes, std::uint32_t pods) : core_({}, Cluster(), now_), pods_(pods) {
    for (std::uint32_t i = 1; i <= nodes; ++i) {
      AgentHello hello;
      hello.info = node_joined(i).info;
      commands_.push_back(scheduler::AgentConnected{i, std::move(hello)});
      if (commands_.size() == 10'000) turn();
    }
    turn();
    constexpr std::uint32_t kArray = 100'000;
    for (std::uint32_t sent = 0; sent < pods; sent += kArray) {
      SubmitRequest request{{array_spec(std::min(kArray, pods - sent))}, 0, false};
      commands_.push_back(scheduler::ClientCommand{{1'000'000'000, 1}, {0, 0, "root", {}, true}, std::move(request)});
    }
    for (int idle = 0; idle < 10; idle = commands_.empty() ? idle + 1 : 0) turn();
    const Cluster& cluster = core_.cluster();
    std::uint64_t running = 0;
    for (const auto& [id, pod] : cluster.live_pods()) running += pod.state == PodState::kRunning ? 1 : 0;
    if (running != pods) fail(fmt::format("{} of {} pods run", running, pods));
  }
  const Cluster& cluster() const { return core_.cluster(); }
  std::uint64_t batches() const { return batches_; }

  void turn() {
    now_ += 100;
    scheduler::Turn turn = core_.step(commands_, now_);
    if (turn.batch.index != 0) ++batches_;
    commands_.clear();
    for (scheduler::Effect& effect : turn.effects) {
      auto* to = std::get_if<scheduler::ToAgent>(&effect);
      auto* starts = to == nullptr ? nullptr : std::get_if<StartPods>(&to->body);
      if (starts == nullptr) continue;
      AgentStatus status;
      for (const StartOrder& order : starts->orders) {
        for (const PodToStart& pod : order.pods)
          status.starts.push_back({{{order.job, pod.element}, pod.attempt}, now_});
      }
      commands_.push_back(scheduler::AgentReported{to->session, std::move(status)});
    }
    const auto deadline = core_.next_deadline();
    if (commands_.empty() && deadline && *deadline <= now_) commands_.push_back(scheduler::Tick{});
  }

 private:
  TimeUs now_ = kAt;
  scheduler::Core core_;
  std::vector<scheduler::Command> commands_;
  std::uint32_t pods_;
  std::uint64_t batches_ = 0;
};

void large_cluster(const std::string& directory, std::uint32_t nodes, std::uint32_t pods) {
  std::filesystem::create_directories(directory + "/large/snapshot");
  std::uint64_t index = 0;
  {
    const Large large(nodes, pods);
    ::malloc_trim(0);
    figure("large_cluster_resident_mib", static_cast<double>(resident_kib()) / 1024);
    const MemoryUse use = memory_use(large.cluster());
    for (const auto& kind : use.kinds) {
      std::string name = kind.name;
      std::replace(name.begin(), name.end(), ' ', '_');
      figure("large_cluster_state_" + name + "_mib", static_cast<double>(kind.bytes) / (1 << 20));
    }
    index = large.cluster().applied_index();
    const std::atomic<bool> stop{false};
    const auto begin = Clock::now();
    if (const Status done = store::write_snapshot(directory + "/large/snapshot", large.cluster(), stop); !done)
      fail(done.error().message);
    figure("snapshot_write_ms", us_since(begin) / 1e3);
    figure("snapshot_mib", static_cast<double>(std::filesystem::file_size(directory + "/large/snapshot/" +
                                                                          store::snapshot_name(index))) /
                               (1 << 20));
  }
  ::malloc_trim(0);
  // A store whose journal goes on right behind that snapshot.
  store::StoreOptions options;
  options.directory = directory + "/large";
  {
    std::filesystem::create_directories(options.directory + "/journal");
    auto writer = store::SegmentWriter::create(options.directory + "/journal", index + 1, options.segment_bytes);
    if (!writer) fail(writer.error().message);
  }
  std::vector<double> open_ms, core_ms;
  for (int i = 0; i < 3; ++i) {
    const auto begin = Clock::now();
    auto opened = store::open_store(options);
    if (!opened) fail(opened.error().message);
    open_ms.push_back(us_since(begin) / 1e3);
    const auto core_begin = Clock::now();
    const scheduler::Core core({}, std::move(opened->recovered.cluster), kAt + 1'000'000'000);
    core_ms.push_back(us_since(core_begin) / 1e3);
    if (core.cluster().live_pods().size() != pods) fail("pods are missing after a restart");
  }
  figure("restart_load_ms", percentile(open_ms, 0.5));
  figure("restart_core_ms", percentile(core_ms, 0.5));
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
}

// ---- the core during a snapshot -------------------------------------------------------------------------------------

// Turns of one submission each, at a steady pace, while snapshots are made beside them: how late a turn ends.
void stall(const std::string& directory, double seconds) {
  store::StoreOptions options;
  options.directory = directory + "/stall";
  options.segment_bytes = 4U << 20;
  for (const bool snapshots : {false, true}) {
    options.snapshot_after_bytes = snapshots ? 8U << 20 : std::uint64_t{1} << 40;
    auto opened = store::open_store(options);
    if (!opened) fail(opened.error().message);
    scheduler::Core core({}, std::move(opened->recovered.cluster), kAt);
    // The journal on a thread of its own, as in the server.
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Batch> batches;
    bool ends = false;
    std::thread journal([&] {
      while (true) {
        std::vector<Batch> taken;
        {
          std::unique_lock lock(mutex);
          changed.wait(lock, [&] { return ends || !batches.empty(); });
          if (batches.empty()) return;
          taken.swap(batches);
        }
        std::vector<std::string> records;
        for (const Batch& batch : taken) records.push_back(encode_batch(batch));
        if (const Status done = opened->store->append(taken.front().index, records); !done) fail(done.error().message);
      }
    });
    std::vector<double> turn_us;
    TimeUs now = kAt;
    JobSpec spec = array_spec(1'000);
    spec.launch.resize(2'000, 'x');
    Launch launch;
    launch.argv = {"/bin/sh", "-c", std::string(2'000, 'x')};
    spec.launch = encode_launch(launch);
    const std::uint64_t before = opened->store->snapshot_index();
    for (const auto start = Clock::now(); us_since(start) < seconds * 1e6;) {
      std::vector<scheduler::Command> commands;
      for (int i = 0; i < 4; ++i)
        commands.push_back(scheduler::ClientCommand{{1, 1}, {0, 0, "root", {}, true}, SubmitRequest{{spec}, 0, false}});
      const auto begin = Clock::now();
      scheduler::Turn turn = core.step(commands, now += 100);
      {
        const std::lock_guard lock(mutex);
        if (turn.batch.index != 0) batches.push_back(std::move(turn.batch));
      }
      changed.notify_one();
      turn_us.push_back(us_since(begin));
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    {
      const std::lock_guard lock(mutex);
      ends = true;
    }
    changed.notify_one();
    journal.join();
    const std::string name = snapshots ? "with_snapshots" : "without_snapshots";
    if (snapshots && seconds > 2 && opened->store->snapshot_index() == before) fail("no snapshot was made");
    figure("core_turn_" + name + "_p50_ms", percentile(turn_us, 0.5) / 1e3);
    figure("core_turn_" + name + "_p99_ms", percentile(turn_us, 0.99) / 1e3);
    figure("core_turn_" + name + "_max_ms", percentile(turn_us, 1.0) / 1e3);
    opened->store.reset();
    std::filesystem::remove_all(options.directory);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc == 5 ? std::atof(argv[2]) : 0;
  const long nodes = argc == 5 ? std::atol(argv[3]) : 0, pods = argc == 5 ? std::atol(argv[4]) : 0;
  if (seconds <= 0 || nodes < 1 || pods < 1'000 || pods > nodes * 64) {
    fmt::print(stderr, "usage: state_bench DIRECTORY SECONDS NODES PODS (1,000 pods and more, at most 64 a node)\n");
    return 2;
  }
  const std::string directory = std::string(argv[1]) + "/state_bench.tmp";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  fmt::print("{{\n");
  bytes_a_record(static_cast<std::uint32_t>(pods));
  bytes_a_single_job(static_cast<std::uint32_t>(pods) / 10);
  ::malloc_trim(0);
  large_cluster(directory, static_cast<std::uint32_t>(nodes), static_cast<std::uint32_t>(pods));
  durable_events(directory, seconds);
  stall(directory, seconds);
  std::filesystem::remove_all(directory);
  fmt::print("  \"nodes\": {},\n  \"pods\": {}\n}}\n", nodes, pods);
  return 0;
}
