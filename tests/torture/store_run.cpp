#include "tests/torture/store_run.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <optional>

#include "state/event_codec.h"
#include "state/store/store.h"
#include "tests/state/random_batches.h"

namespace berth::store::testing {

using state::Cluster;
using state::ErrorCode;

void Happened::add(const Happened& o) {
  opened += o.opened, batches += o.batches, crashes += o.crashes, power_failures += o.power_failures, torn += o.torn;
  snapshots += o.snapshots, full += o.full, failed += o.failed;
  refused_opens += o.refused_opens, flips += o.flips, flips_refused += o.flips_refused;
  flips_passed_over += o.flips_passed_over;
}

std::string Happened::text() const {
  return fmt::format(
      "{} opens, {} batches, {} crashes ({} of power), {} torn tails cut, {} snapshots, {} times full, {} "
      "failures of the disk, {} flipped bits ({} refused, {} passed over)",
      opened, batches, crashes, power_failures, torn, snapshots, full, failed, flips, flips_refused, flips_passed_over);
}

namespace {

constexpr const char* kDirectory = "/data";

class StoreRun {
 public:
  StoreRun(std::uint64_t seed, Mistake mistake) : disk_(seed, mistake), random_(seed ^ 0xB0A7) {
    options_.directory = kDirectory;
    options_.segment_bytes = 2048U << below(4);
    options_.snapshot_after_bytes = options_.segment_bytes * (1 + below(3));
    if (!small_) hashes_ = {model_.hash()};
  }

  RunResult run() {
    const std::uint32_t sessions = 3 + below(5);
    for (std::uint32_t i = 0; i < sessions && wrong_.empty(); ++i) session();
    // At the end nothing fails any more: all must be there, and go on to work.
    if (wrong_.empty() && open({})) {
      for (int i = 0; i < 3 && wrong_.empty(); ++i) append(group());
      close_cleanly();
      if (wrong_.empty() && open({}) && torn_ != 0) wrong("a tail was torn after a clean end");
    }
    store_.reset();
    disk_.note(acked_);
    return {wrong_.empty() ? "" : wrong_, disk_.digest(), happened_};
  }

 private:
  std::uint32_t below(std::uint32_t n) { return disk_.below(n); }
  // What happens, for whoever plays a seed again with BERTH_TORTURE_LOUD=1.
  template <class... Args>
  void tell(fmt::format_string<Args...> format, Args&&... args) {
    if (loud_) fmt::print("{}\n", fmt::format(format, std::forward<Args>(args)...));
  }
  void wrong(std::string what) {
    if (wrong_.empty()) wrong_ = std::move(what);
  }

  // ---- what was sent, and what is known of it ----
  struct Group {
    std::uint64_t first = 0;
    std::vector<std::string> records;
  };
  Group group() {
    Group made{next_index_, {}};
    groups_.push_back(next_index_);
    for (std::uint32_t left = 1 + below(4); left != 0; --left) {
      made.records.push_back(small_ ? small_batch() : state::encode_batch(random_.next(model_)));
      if (!small_) hashes_.push_back(model_.hash());
      ++next_index_;
    }
    return made;
  }
  // Most runs: a job a batch, with a text that no other has.
  std::string small_batch() {
    state::JobSubmitted job;
    job.id = state::JobId{next_index_};
    std::string& text = job.spec.launch;
    text.resize(1 + below(below(8) == 0 ? 3000 : 200));
    for (std::size_t i = 0; i < text.size(); i += 8) {
      const std::uint64_t random = disk_.number() | std::uint64_t{disk_.number()} << 32U;
      std::memcpy(text.data() + i, &random, std::min<std::size_t>(8, text.size() - i));
    }
    texts_.push_back(text);
    return state::encode_batch({next_index_, static_cast<state::TimeUs>(1'000 + next_index_), {std::move(job)}});
  }

  Faults plan() {
    Faults faults;
    const auto soon = [this] { return 1 + below(below(2) == 0 ? 12 : 120); };
    switch (below(8)) {
      case 0:
        break;
      case 1:
      case 2:
      case 3:
        faults.crash_at = soon();
        break;
      case 4:
        faults.room = below(static_cast<std::uint32_t>(options_.segment_bytes * 3));
        break;
      case 5:
        faults.write_fails_at = soon();
        break;
      case 6:
        faults.sync_fails_at = 1 + below(25);
        break;
      case 7:
        faults.directory_sync_fails_at = 1 + below(4);
        break;
    }
    if (below(6) == 0 && faults.crash_at == 0) faults.crash_at = soon();
    return faults;
  }

  void session() {
    if (below(3) == 0 && acked_ != 0 && !open_with_a_flipped_bit()) return;
    if (store_ == nullptr && !open(plan())) return;
    const std::uint32_t groups = 1 + below(30);
    for (std::uint32_t i = 0; i < groups && store_ != nullptr && !disk_.dead(); ++i) {
      if (!append(group())) break;
      disk_.let_workers_run(below(3) == 0 ? below(12) : 0);
    }
    if (store_ == nullptr) return;
    if (!disk_.dead() && below(3) == 0) return close_cleanly();
    crash();
  }

  // False: this session is over.
  bool append(const Group& group) {
    const state::Status done = store_->append(group.first, group.records);
    disk_.note(done.ok() ? 1 : 2);
    tell("append {} + {}: {}{}", group.first, group.records.size(), done ? "ok" : done.error().message,
         disk_.dead() ? " (dead)" : "");
    if (done) {
      if (disk_.dead()) return wrong("it acknowledged what it wrote to a machine that was dead"), false;
      acked_ = group.first + group.records.size() - 1;
      submitted_ = acked_;
      happened_.batches += group.records.size();
      if (store_->last_index() != acked_) wrong("its last index is not the last that it acknowledged");
      return true;
    }
    if (!disk_.dead() && done.error().code == ErrorCode::kUnavailable) return append_to_a_full_disk(group);
    // Anything else is final: what it wrote may be there or not, and it may not acknowledge anything more.
    submitted_ = group.first + group.records.size() - 1;
    if (!disk_.dead()) ++happened_.failed;
    disk_.set_faults({});
    if (store_->append(group.first, group.records))
      wrong("it acknowledged after a fatal error: " + done.error().message);
    return false;
  }

  bool append_to_a_full_disk(const Group& group) {
    ++happened_.full;
    if (below(2) == 0) {
      const state::Status again = store_->append(group.first, group.records);
      if (again) wrong("a full disk took what it had refused, with no more room");
      if (disk_.dead()) return submitted_ = group.first + group.records.size() - 1, false;
      if (!again && again.error().code != ErrorCode::kUnavailable)
        wrong("a full disk turned into: " + again.error().message);
    }
    // Either there is room again and it goes on, or it is given up: then it must not be there, ever.
    if (below(2) == 0) return tell("given up"), false;
    disk_.set_faults({});
    tell("room again");
    if (const state::Status done = store_->append(group.first, group.records); !done)
      return wrong("with room again it says: " + done.error().message), false;
    acked_ = submitted_ = group.first + group.records.size() - 1;
    return true;
  }

  void close_cleanly() {
    disk_.set_faults({});
    note_snapshots();
    store_.reset();
    disk_.restart(false);
    if (disk_.inode(std::string(kDirectory) + "/lock")->locked) wrong("the lock was not given back");
  }

  void crash() {
    note_snapshots();
    const bool power = below(2) == 0;
    disk_.kill();
    store_.reset();
    disk_.restart(power);
    tell("{}", power ? "power failed" : "killed");
    ++happened_.crashes;
    if (power) ++happened_.power_failures;
  }

  void note_snapshots() {
    if (store_->snapshot_index() != snapshot_) ++happened_.snapshots;
    snapshot_ = store_->snapshot_index();
  }

  // ---- opening ----
  // False: it did not open, because of the fault, and that session is over.
  bool open(const Faults& faults) {
    disk_.set_faults(faults);
    auto opened = open_store(options_);
    disk_.note(opened.ok() ? 3 : 4);
    tell("open: {}", opened ? "ok" : opened.error().message);
    if (!opened) {
      const bool fault = faults.crash_at != 0 || faults.write_fails_at != 0 || faults.sync_fails_at != 0 ||
                         faults.directory_sync_fails_at != 0 || faults.room;
      if (!fault) return wrong("it does not open: " + opened.error().message), false;
      ++happened_.refused_opens;
      if (disk_.dead()) {
        const bool power = below(2) == 0;
        disk_.restart(power);
        tell("{} while opening", power ? "power failed" : "killed");
        ++happened_.crashes;
        if (power) ++happened_.power_failures;
      } else {
        disk_.restart(false);
      }
      return false;
    }
    if (!opened->recovered.warnings.empty()) wrong("it warns of nothing: " + opened->recovered.warnings.front());
    take(*opened);
    return wrong_.empty();
  }

  // Holds what it found against what it had said.
  void take(Opened& opened) {
    const Recovered& found = opened.recovered;
    const std::uint64_t index = found.cluster.applied_index();
    tell("found batch {} of {} to {}, {} replayed, {} torn", index, acked_, submitted_, found.batches_replayed,
         found.torn_bytes);
    ++happened_.opened;
    torn_ = found.torn_bytes;
    if (torn_ != 0) ++happened_.torn;
    if ((torn_ != 0) == found.torn_file.empty()) wrong("a torn tail and its file do not go together");
    if (opened.store->last_index() != index) wrong("it would go on from another index than it has found");
    if (index < acked_) return wrong(fmt::format("batch {} was acknowledged, and it has {}", acked_, index));
    if (index > submitted_)
      return wrong(fmt::format("it has batch {}, and {} was the last that it kept", index, submitted_));
    check_state(found.cluster);
    store_ = std::move(opened.store);
    go_on_from(std::move(opened.recovered.cluster));
  }
  void check_state(const Cluster& cluster) {
    const std::uint64_t index = cluster.applied_index();
    if (small_) {
      if (cluster.jobs().size() != index) wrong(fmt::format("{} batches, and {} jobs", index, cluster.jobs().size()));
      for (const auto& [id, job] : cluster.jobs()) {
        if (job->spec.launch != texts_[id.value]) wrong(fmt::format("batch {} is another one", id.value));
      }
    } else if (cluster.hash() != hashes_[index]) {
      wrong(fmt::format("the state at batch {} is another one", index));
    }
    if (const std::string broken = state::check_invariants(cluster); !broken.empty()) wrong(broken);
  }
  void go_on_from(Cluster cluster) {
    model_ = std::move(cluster);
    acked_ = submitted_ = model_.applied_index();
    while (groups_.size() > 1 && groups_.back() > acked_) groups_.pop_back();
    next_index_ = acked_ + 1;
    (small_ ? texts_.resize(next_index_) : hashes_.resize(next_index_));
  }

  std::uint64_t last_group() const { return *std::prev(std::upper_bound(groups_.begin(), groups_.end(), acked_)); }

  // False: it was refused, as it has to be, and the bit is what it was again.
  bool open_with_a_flipped_bit() {
    std::vector<std::string> paths = disk_.files(std::string(kDirectory) + "/journal");
    for (const std::string& path : disk_.files(std::string(kDirectory) + "/snapshot")) {
      if (path.ends_with(".snap")) paths.push_back(path);
    }
    std::erase_if(paths, [&](const std::string& path) { return disk_.inode(path)->live.empty(); });
    if (paths.empty()) return true;
    const std::string path = paths[below(static_cast<std::uint32_t>(paths.size()))];
    const std::uint64_t offset = below(static_cast<std::uint32_t>(disk_.inode(path)->live.size()));
    const auto mask = static_cast<std::uint8_t>(1U << below(8));
    disk_.flip(path, offset, mask);
    ++happened_.flips;
    tell("bit flipped at {}:{}", path, offset);
    const std::string before = disk_.inode(path)->live;
    auto opened = open_store(options_);
    if (!opened) return refused_flip(path, offset, mask, before, opened.error().message), false;
    const Recovered& found = opened->recovered;
    const std::uint64_t index = found.cluster.applied_index();
    const bool snapshot = path.ends_with(".snap");
    if (snapshot && found.warnings.empty()) {
      // Only the older of two snapshots is not read at all.
      const auto snapshots = disk_.files(std::string(kDirectory) + "/snapshot");
      if (path == snapshots.back()) wrong("a damaged snapshot was taken: " + path);
    }
    if (!snapshot && !found.warnings.empty()) wrong("it warns of " + found.warnings.front());
    ++happened_.flips_passed_over;
    // The last group alone may be taken for torn: nothing on the disk says that it was whole once. It is reported.
    if (index < acked_ && !snapshot && found.torn_bytes != 0 && index + 1 >= last_group()) acked_ = index;
    const InodePtr inode = disk_.inode(path);
    if (inode != nullptr && found.torn_bytes == 0 && offset < inode->live.size() &&
        inode->live[offset] == before[offset])
      disk_.flip(path, offset, mask);
    take(*opened);
    disk_.set_faults(plan());
    return wrong_.empty();
  }
  void refused_flip(const std::string& path, std::uint64_t offset, std::uint8_t mask, const std::string& before,
                    const std::string& line) {
    ++happened_.flips_refused;
    const std::string said = path + " is damaged at offset ";
    const std::size_t at = line.find(said);
    if (at == std::string::npos)
      return wrong("bit at " + path + ":" + std::to_string(offset) + " flipped, and it says: " + line);
    if (path.ends_with(".log") && std::stoull(line.substr(at + said.size())) > offset)
      return wrong("it names an offset behind the damage at " + std::to_string(offset) + ": " + line);
    if (disk_.inode(path) == nullptr || disk_.inode(path)->live != before) wrong("a refusal changed " + path);
    disk_.flip(path, offset, mask);
    disk_.restart(false);
  }

  Disk disk_;
  state::testing::RandomBatches random_;
  StoreOptions options_;
  std::unique_ptr<Store> store_;
  const bool small_ = below(12) != 0;
  Cluster model_;
  std::uint64_t next_index_ = 1;
  std::vector<std::string> texts_{""};  // of the small batches, by index
  std::vector<std::uint64_t> hashes_;   // of the model, by index
  std::uint64_t acked_ = 0;             // the last index that was acknowledged
  std::uint64_t submitted_ = 0;         // the last that may be there
  std::vector<std::uint64_t> groups_;   // the first index of each that may be there
  std::uint64_t snapshot_ = 0;
  std::uint64_t torn_ = 0;
  std::string wrong_;
  Happened happened_;
  const bool loud_ = std::getenv("BERTH_TORTURE_LOUD") != nullptr;
};

}  // namespace

RunResult run_store(std::uint64_t seed, Mistake mistake) { return StoreRun(seed, mistake).run(); }

}  // namespace berth::store::testing
