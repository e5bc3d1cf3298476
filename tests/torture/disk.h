// Disk: a simulated machine's disk with its page cache, for the store to run on. It stands behind state/store/file.h in
// the programs that link disk_file.cpp in place of file.cpp; the product's store code runs on it unchanged.
//
// What it can do to the store, as real disks and kernels do:
//   - the power fails at any operation: of what was not synced, each sector may be on the disk or not, in any order,
//     some of them torn; of names that were not synced, a part, or the first so many
//   - the process is killed at any operation: the page cache stays, with what was never synced
//   - a write, a sync or a directory's sync fails; after a failed sync the pages count as clean, and a later sync that
//     "succeeds" does not write them; clean pages may be dropped, and the old bytes are read again
//   - it is full, bits flip
//
// One operation at a time: workers (state/store/worker.h) take steps only inside let_workers_run(). Everything follows
// from the seed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <semaphore>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "state/store/file.h"

namespace berth::store::testing {

inline constexpr std::size_t kSector = 512;

// Mistakes that a store could make, planted by the disk beneath it: the checker has to find each.
enum class Mistake : std::uint8_t {
  kNone,
  kNoSync,           // acknowledges without fdatasync
  kSyncTriedAgain,   // takes the second fdatasync's word after the first has failed
  kNoDirectorySync,  // forgets that names have to be synced, too
  kNoRewrite,        // takes what it reads after a restart for durable
  kNoUndo,           // leaves half a group where a full disk ended the write
  kNoChecksum,       // takes any checksum for right
};

struct Faults {
  std::uint64_t crash_at = 0;  // at the n-th operation from now that changes something; 0: never, as below
  std::uint64_t write_fails_at = 0;
  std::uint64_t sync_fails_at = 0;
  std::uint64_t directory_sync_fails_at = 0;
  std::optional<std::uint64_t> room;  // bytes that are still free
};

struct Inode {
  std::string live, durable;
  std::vector<bool> dirty;  // by sector
  bool size_dirty = false;
  std::uint64_t allocated = 0;
  bool locked = false;
};
using InodePtr = std::shared_ptr<Inode>;

class Stage;  // of a worker

class Disk {
 public:
  explicit Disk(std::uint64_t seed, Mistake mistake = Mistake::kNone);
  ~Disk();
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  static Disk& current() { return *current_; }
  static bool planted(Mistake mistake) { return current_ != nullptr && current_->mistake_ == mistake; }

  // ---- for the test ----
  void set_faults(const Faults& faults);
  bool dead() const { return dead_; }  // it crashed: every operation fails until restart()
  void kill() { dead_ = true; }
  // What the next process finds; nothing of the old one may still be open.
  void restart(bool power_failed);
  void let_workers_run(std::uint64_t steps);
  std::uint32_t below(std::uint32_t n) { return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random_); }
  std::vector<std::string> files(const std::string& directory) const;  // whole paths, in order
  InodePtr inode(const std::string& path) const;
  void flip(const std::string& path, std::uint64_t offset, std::uint8_t mask);
  std::uint64_t operations() const { return operations_; }
  std::uint64_t digest() const { return digest_; }  // of all that was ever asked, and what came of it
  void note(std::uint64_t value) { digest_ = (digest_ ^ value) * 0x100000001B3ULL; }

  // ---- for disk_file.cpp: 0, or an errno value ----
  int open(const std::string& path, int flags, int& handle);
  void close(int handle);
  InodePtr at(int handle) const;
  int write(int handle, std::uint64_t offset, std::span<const std::byte> bytes);
  int reserve(int handle, std::uint64_t bytes);
  int cut(int handle, std::uint64_t bytes);
  int sync(int handle);
  bool lock(int handle);
  int make_directory(const std::string& path);
  int sync_directory(const std::string& path);
  int rename(const std::string& from, const std::string& to);
  int remove(const std::string& path);
  int list(const std::string& directory, std::vector<std::string>& names);
  std::uint32_t number() { return static_cast<std::uint32_t>(random_()); }
  void step_of_worker();  // before each operation: a worker waits here until it is let on
  Stage* add_worker(std::function<void()> work);
  void wake(Stage* stage);
  void end_worker(Stage* stage);

 private:
  struct Handle {
    InodePtr inode;
    bool locks = false;
  };
  struct NameChange {
    std::string gone, made;  // paths, "" is none
    InodePtr inode;
  };

  bool begins(std::string_view what, const std::string& path);
  bool crashes();
  void write_sectors(Inode& inode, std::uint64_t first, std::uint64_t end);
  static void mark(Inode& inode, std::uint64_t from, std::uint64_t end);
  std::uint64_t used() const;
  bool take_room(Inode& inode, std::uint64_t bytes);
  void background_writes(Inode& inode);
  static void apply(std::map<std::string, InodePtr>& names, const NameChange& change);
  void lose_power(Inode& inode);

  static inline Disk* current_ = nullptr;
  std::mt19937_64 random_;
  const Mistake mistake_;
  Faults faults_;
  std::optional<std::uint64_t> capacity_;
  bool dead_ = false;
  std::uint64_t operations_ = 0;
  std::uint64_t digest_ = 0xCBF29CE484222325ULL;
  std::map<std::string, InodePtr> live_, durable_;  // files by path
  std::set<std::string> directories_;
  std::vector<NameChange> changes_;  // of live_, that durable_ may not have
  std::vector<Handle> handles_;
  std::vector<std::unique_ptr<Stage>> stages_;
};

// The actor that a worker is in a test: runs only between let_workers_run() and its next operation on the disk.
class Stage {
 public:
  explicit Stage(std::function<void()> work);
  ~Stage();
  void wake() { woken_ = true; }
  bool busy() const { return woken_ || working_; }
  void run(std::uint64_t steps);  // the test's thread: waits until they are done, or nothing is left to do
  void step();                    // the worker's thread
  static Stage* mine() { return mine_; }

 private:
  static inline thread_local Stage* mine_ = nullptr;
  std::function<void()> work_;
  bool woken_ = false, working_ = false, ending_ = false;
  std::uint64_t steps_ = 0;
  std::binary_semaphore go_{0}, back_{0};
  std::thread thread_;
};

}  // namespace berth::store::testing
