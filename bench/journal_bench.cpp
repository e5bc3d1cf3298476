// The store's append against a bare write + fdatasync of the same bytes, on the same disk, in turns.
//   journal_bench DIRECTORY SECONDS   prints one flat JSON object.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "state/event_codec.h"
#include "state/launch.h"
#include "state/store/store.h"

namespace {

using namespace berth;
using namespace berth::state;
using Clock = std::chrono::steady_clock;

constexpr TimeUs kAt = 1'700'000'000'000'000;

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "journal_bench: {}\n", what);
  std::exit(1);
}

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double median(std::vector<double>& values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// A history that a cluster could have: a job of `pods` elements comes, is bound to one node, and ends, batch by batch.
class History {
 public:
  explicit History(std::uint32_t pods) : pods_(pods) {}
  std::string next() {
    Batch batch{++index_, kAt, {}};
    if (index_ == 1) {
      NodeJoined joined{NodeId{1}, {}};
      joined.info.name = "node";
      joined.info.instance = "0";
      joined.info.capacity = {1'000'000'000, 1'000'000'000, 0};
      batch.events.push_back(std::move(joined));
      return encode_batch(batch);
    }
    const JobId job{(index_ - 2) / 3 + 1};
    const std::uint64_t step = (index_ - 2) % 3;
    if (step == 0) {
      JobSubmitted submitted{job, {0, 0, "root", {}}, {}, 0};
      submitted.spec.name = "bench";
      submitted.spec.kind = JobKind::kArray;
      submitted.spec.elements = IndexSet::dense(pods_);
      submitted.spec.request.resources = {1, 1, 0};
      Launch launch;
      launch.argv = {"/bin/true"};
      submitted.spec.launch = encode_launch(launch);
      batch.events.push_back(std::move(submitted));
    } else if (step == 1) {
      PodsBound bound;
      for (std::uint32_t e = 0; e < pods_; ++e) bound.binds.push_back({{{job, e}, 1}, NodeId{1}, 0});
      batch.events.push_back(std::move(bound));
    } else {
      PodsEnded ended;
      for (std::uint32_t e = 0; e < pods_; ++e) {
        PodEnd end;
        end.ref = {{job, e}, 1};
        end.outcome.state = PodState::kSucceeded;
        end.outcome.attempt = 1;
        end.outcome.node = NodeId{1};
        end.outcome.started_at = end.outcome.ended_at = kAt;
        ended.ends.push_back(std::move(end));
      }
      batch.events.push_back(std::move(ended));
    }
    return encode_batch(batch);
  }
  std::uint64_t index() const { return index_; }

 private:
  std::uint32_t pods_;
  std::uint64_t index_ = 0;
};

// The floor: a preallocated file, overwritten in place.
class RawFile {
 public:
  explicit RawFile(const std::string& path) : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
    const std::string zeros(kSize, '\0');
    if (fd_ < 0 || write(fd_, zeros.data(), zeros.size()) != static_cast<ssize_t>(kSize) || fsync(fd_) != 0)
      fail("cannot write " + path);
  }
  ~RawFile() { close(fd_); }
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;
  void append(const std::string& bytes) {
    if (at_ + bytes.size() > kSize) at_ = 0;
    if (pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at_)) != static_cast<ssize_t>(bytes.size()) ||
        fdatasync(fd_) != 0) {
      fail("cannot write the raw file");
    }
    at_ += bytes.size();
  }

 private:
  static constexpr std::size_t kSize = 64U << 20;
  int fd_;
  std::size_t at_ = 0;
};

void measure(const std::string& directory, std::uint32_t pods, double seconds, const char* name) {
  const std::string data = directory + "/journal_bench.tmp";
  std::filesystem::remove_all(data);
  std::filesystem::create_directories(data + "/store");
  store::StoreOptions options;
  options.directory = data + "/store";
  options.snapshot_after_bytes = std::uint64_t{1} << 40;  // appending alone
  auto opened = store::open_store(options);
  if (!opened) fail(opened.error().message);
  store::Store& store = *opened->store;
  RawFile raw(data + "/raw");
  History history(pods);
  std::vector<double> store_us, raw_us;
  std::uint64_t bytes = 0, batches = 0;
  for (const Clock::time_point start = Clock::now(); us_since(start) < seconds * 1e6;) {
    const std::vector<std::string> records{history.next()};
    const Clock::time_point begin = Clock::now();
    if (const Status done = store.append(history.index(), records); !done) fail(done.error().message);
    store_us.push_back(us_since(begin));
    const Clock::time_point raw_begin = Clock::now();
    raw.append(records[0]);
    raw_us.push_back(us_since(raw_begin));
    bytes += records[0].size();
    ++batches;
  }
  double total_us = 0;
  for (const double us : store_us) total_us += us;
  const double median_store = median(store_us), median_raw = median(raw_us);
  const double pod_events = static_cast<double>(batches) * pods * 2 / 3;  // two of three batches are about every pod
  fmt::print(
      "  \"{}_append_us\": {:.1f},\n  \"{}_raw_fdatasync_us\": {:.1f},\n  \"{}_append_over_raw_ratio\": {:.3f},\n",
      name, median_store, name, median_raw, name, median_raw > 0 ? median_store / median_raw : 0);
  fmt::print("  \"{}_pod_events_per_s\": {:.0f},\n  \"{}_batch_bytes\": {:.0f},\n", name, pod_events / total_us * 1e6,
             name, static_cast<double>(bytes) / static_cast<double>(batches));
  // What was acknowledged is there: reopen, and count.
  opened->store.reset();
  auto again = store::open_store(options);
  if (!again) fail(again.error().message);
  if (again->recovered.cluster.applied_index() != history.index()) fail("the journal lost batches");
  fmt::print("  \"{}_batches_recovered\": {},\n", name, again->recovered.cluster.applied_index());
  again->store.reset();
  std::filesystem::remove_all(data);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::atof(argv[2]) <= 0) {
    fmt::print(stderr, "usage: journal_bench DIRECTORY SECONDS\n");
    return 2;
  }
  const double seconds = std::atof(argv[2]) / 3;
  fmt::print("{{\n");
  measure(argv[1], 1, seconds, "pods_1");
  measure(argv[1], 100, seconds, "pods_100");
  measure(argv[1], 1'000, seconds, "pods_1000");
  fmt::print("  \"sizes_measured\": 3\n}}\n");
  return 0;
}
