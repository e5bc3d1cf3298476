#include "tests/torture/disk.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>

namespace berth::store::testing {

namespace {

std::string parent_of(const std::string& path) { return path.substr(0, path.find_last_of('/')); }
std::uint64_t sectors(std::uint64_t bytes) { return (bytes + kSector - 1) / kSector; }

}  // namespace

// ---- workers --------------------------------------------------------------------------------------------------------

Stage::Stage(std::function<void()> work) : work_(std::move(work)) {
  thread_ = std::thread([this] {
    mine_ = this;
    while (true) {
      go_.acquire();
      if (ending_) return;
      while (woken_) {
        woken_ = false;
        working_ = true;
        work_();
        working_ = false;
      }
      back_.release();
    }
  });
}

Stage::~Stage() {
  run(UINT64_MAX);
  ending_ = true;
  go_.release();
  thread_.join();
}

void Stage::run(std::uint64_t steps) {
  if (!busy() || steps == 0) return;
  steps_ = steps;
  go_.release();
  back_.acquire();
}

void Stage::step() {
  if (steps_ == 0) {
    back_.release();
    go_.acquire();
  }
  --steps_;
}

Stage* Disk::add_worker(std::function<void()> work) {
  stages_.push_back(std::make_unique<Stage>(std::move(work)));
  return stages_.back().get();
}

void Disk::wake(Stage* stage) { stage->wake(); }

void Disk::end_worker(Stage* stage) {
  std::erase_if(stages_, [&](const auto& held) { return held.get() == stage; });
}

void Disk::let_workers_run(std::uint64_t steps) {
  for (const auto& stage : stages_) stage->run(steps);
}

void Disk::step_of_worker() {
  if (Stage::mine() != nullptr) Stage::mine()->step();
}

// ---- the test's side ------------------------------------------------------------------------------------------------

Disk::Disk(std::uint64_t seed, Mistake mistake) : random_(seed), mistake_(mistake) {
  current_ = this;
  directories_.insert("");
}

Disk::~Disk() { current_ = nullptr; }

void Disk::set_faults(const Faults& faults) {
  faults_ = faults;
  capacity_ = faults.room ? std::optional(used() + *faults.room) : std::nullopt;
}

std::vector<std::string> Disk::files(const std::string& directory) const {
  std::vector<std::string> found;
  for (const auto& [path, inode] : live_) {
    if (parent_of(path) == directory) found.push_back(path);
  }
  return found;
}

InodePtr Disk::inode(const std::string& path) const {
  const auto it = live_.find(path);
  return it == live_.end() ? nullptr : it->second;
}

void Disk::flip(const std::string& path, std::uint64_t offset, std::uint8_t mask) {
  Inode& inode = *live_.at(path);
  for (std::string* bytes : {&inode.live, &inode.durable}) {
    if (offset < bytes->size())
      (*bytes)[offset] = static_cast<char>(static_cast<std::uint8_t>((*bytes)[offset]) ^ mask);
  }
}

void Disk::apply(std::map<std::string, InodePtr>& names, const NameChange& change) {
  if (!change.gone.empty()) names.erase(change.gone);
  if (!change.made.empty()) names[change.made] = change.inode;
}

void Disk::lose_power(Inode& inode) {
  const std::size_t size = inode.size_dirty && below(2) == 0 ? inode.live.size() : inode.durable.size();
  std::string after = inode.durable;
  after.resize(size);
  for (std::uint64_t s = 0; s < inode.dirty.size(); ++s) {
    if (!inode.dirty[s] || below(2) == 0) continue;
    const std::uint64_t from = s * kSector;
    std::uint64_t end = std::min<std::uint64_t>(from + kSector, std::min(size, inode.live.size()));
    if (below(16) == 0 && end > from) end = from + below(static_cast<std::uint32_t>(end - from));  // torn
    if (end > from) after.replace(from, end - from, inode.live, from, end - from);
  }
  inode.durable = after;
}

void Disk::restart(bool power_failed) {
  handles_.clear();
  faults_ = {};
  capacity_.reset();
  std::set<InodePtr> inodes;
  for (const auto* names : {&live_, &durable_}) {
    for (const auto& [path, inode] : *names) inodes.insert(inode);
  }
  if (power_failed) {
    // Journaling file systems keep the order of names; others need not.
    const bool in_order = below(3) != 0;
    std::size_t first = in_order ? below(static_cast<std::uint32_t>(changes_.size() + 1)) : changes_.size();
    for (std::size_t i = 0; i < first; ++i) {
      if (in_order || below(2) == 0) apply(durable_, changes_[i]);
    }
    changes_.clear();
    // By path: the order of pointers is no seed's.
    for (const auto& [path, inode] : durable_) lose_power(*inode);
    live_ = durable_;
    for (const auto& [path, inode] : live_) {
      inode->live = inode->durable;
      inode->dirty.clear();
      inode->size_dirty = false;
      inode->allocated = sectors(inode->live.size()) * kSector;
    }
  } else if (below(2) == 0) {
    // Memory was short: what the kernel takes for clean is read from the disk again.
    for (const auto& [path, inode] : live_) {
      for (std::uint64_t from = 0; from < inode->live.size(); from += kSector) {
        if (from / kSector < inode->dirty.size() && inode->dirty[from / kSector]) continue;
        for (std::uint64_t i = from; i < std::min<std::uint64_t>(from + kSector, inode->live.size()); ++i) {
          inode->live[i] = i < inode->durable.size() ? inode->durable[i] : '\0';
        }
      }
    }
  }
  for (const InodePtr& inode : inodes) inode->locked = false;
  dead_ = false;
}

// ---- operations -----------------------------------------------------------------------------------------------------

// False: the machine is dead, or dies now.
bool Disk::begins(std::string_view what, const std::string& path) {
  step_of_worker();
  for (const char c : what) note(static_cast<std::uint8_t>(c));
  for (const char c : path) note(static_cast<std::uint8_t>(c));
  if (!dead_) ++operations_;
  return !dead_;
}

bool Disk::crashes() {
  if (faults_.crash_at == 0 || --faults_.crash_at != 0) return false;
  dead_ = true;
  return true;
}

int Disk::open(const std::string& path, int flags, int& handle) {
  if (!begins("open", path)) return EIO;
  InodePtr found = inode(path);
  if (found == nullptr) {
    if ((flags & O_CREAT) == 0) return ENOENT;
    if (!directories_.contains(parent_of(path))) return ENOENT;
    if (crashes()) return EIO;
    found = std::make_shared<Inode>();
    live_[path] = found;
    changes_.push_back({"", path, found});
  } else if ((flags & O_TRUNC) != 0) {
    if (crashes()) return EIO;
    mark(*found, 0, found->live.size());
    found->live.clear();
    found->size_dirty = true;
    found->allocated = 0;
  }
  handles_.push_back({found, false});
  handle = static_cast<int>(handles_.size()) - 1;
  return 0;
}

void Disk::close(int handle) {
  if (static_cast<std::size_t>(handle) >= handles_.size()) return;  // of a process that is gone
  Handle& held = handles_[static_cast<std::size_t>(handle)];
  if (held.locks) held.inode->locked = false;
  held = {};
}

InodePtr Disk::at(int handle) const {
  return static_cast<std::size_t>(handle) < handles_.size() ? handles_[static_cast<std::size_t>(handle)].inode
                                                            : nullptr;
}

std::uint64_t Disk::used() const {
  std::uint64_t bytes = 0;
  std::set<const Inode*> counted;
  for (const auto& [path, inode] : live_) bytes += counted.insert(inode.get()).second ? inode->allocated : 0;
  return bytes;
}

// What may be allocated up to `bytes` of the file.
bool Disk::take_room(Inode& inode, std::uint64_t bytes) {
  const std::uint64_t needed = sectors(bytes) * kSector;
  if (needed <= inode.allocated) return true;
  if (capacity_ && used() + (needed - inode.allocated) > *capacity_) return false;
  inode.allocated = needed;
  return true;
}

void Disk::mark(Inode& inode, std::uint64_t from, std::uint64_t end) {
  if (inode.dirty.size() < sectors(end)) inode.dirty.resize(sectors(end));
  for (std::uint64_t s = from / kSector; s < sectors(end); ++s) inode.dirty[s] = true;
}

void Disk::write_sectors(Inode& inode, std::uint64_t first, std::uint64_t end) {
  const std::uint64_t to = std::min<std::uint64_t>(end * kSector, inode.live.size());
  const std::uint64_t from = first * kSector;
  if (from >= to) return;
  if (inode.durable.size() < to) inode.durable.resize(to);
  inode.durable.replace(from, to - from, inode.live, from, to - from);
}

// The kernel writes pages when it likes to.
void Disk::background_writes(Inode& inode) {
  if (below(8) != 0) return;
  for (std::uint64_t s = 0; s < inode.dirty.size(); ++s) {
    if (!inode.dirty[s] || below(2) == 0) continue;
    if ((s + 1) * kSector > inode.durable.size()) continue;  // where its size has to be written as well
    write_sectors(inode, s, s + 1);
    inode.dirty[s] = false;
  }
}

int Disk::write(int handle, std::uint64_t offset, std::span<const std::byte> bytes) {
  if (!begins("write", "")) return EIO;
  note(offset);
  note(bytes.size());
  const InodePtr inode = at(handle);
  if (inode == nullptr) return EBADF;
  if (bytes.empty()) return 0;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (mistake_ == Mistake::kNoRewrite &&
      std::string_view(inode->live).substr(std::min<std::size_t>(offset, inode->live.size()), text.size()) == text)
    return 0;
  std::uint64_t through = text.size();
  int error = 0;
  if (crashes()) {
    error = EIO;
    through = below(static_cast<std::uint32_t>(text.size() + 1));
  } else if (faults_.write_fails_at != 0 && --faults_.write_fails_at == 0) {
    error = EIO;
    through = below(static_cast<std::uint32_t>(text.size() + 1));
  } else if (!take_room(*inode, offset + text.size())) {
    error = ENOSPC;
    while (through != 0 && !take_room(*inode, offset + through)) --through;
  }
  if (through != 0) {
    if (inode->live.size() < offset + through) {
      inode->live.resize(offset + through);
      inode->size_dirty = true;
    }
    inode->live.replace(offset, through, text.substr(0, through));
    mark(*inode, offset, offset + through);
    background_writes(*inode);
  }
  return error;
}

int Disk::reserve(int handle, std::uint64_t bytes) {
  if (!begins("reserve", "")) return EIO;
  const InodePtr inode = at(handle);
  if (inode == nullptr) return EBADF;
  if (crashes()) return EIO;
  if (!take_room(*inode, bytes)) return ENOSPC;
  if (inode->live.size() < bytes) {
    inode->live.resize(bytes);
    inode->size_dirty = true;
  }
  return 0;
}

int Disk::cut(int handle, std::uint64_t bytes) {
  if (!begins("cut", "")) return EIO;
  const InodePtr inode = at(handle);
  if (inode == nullptr) return EBADF;
  if (crashes()) return EIO;
  if (mistake_ == Mistake::kNoUndo && capacity_) return 0;
  if (inode->live.size() == bytes) return 0;
  mark(*inode, std::min<std::uint64_t>(bytes, inode->live.size()), std::max<std::uint64_t>(bytes, inode->live.size()));
  inode->live.resize(bytes);
  inode->size_dirty = true;
  inode->allocated = std::min(inode->allocated, sectors(bytes) * kSector);
  return 0;
}

int Disk::sync(int handle) {
  if (!begins("sync", "")) return EIO;
  const InodePtr inode = at(handle);
  if (inode == nullptr) return EBADF;
  if (mistake_ == Mistake::kNoSync) return 0;
  const bool crash = crashes();
  const bool fails = crash || (faults_.sync_fails_at != 0 && --faults_.sync_fails_at == 0);
  if (!fails) {
    // Where a file was cut and grew again there are zeros now: on the disk as well.
    write_sectors(*inode, 0, 0);
    for (std::uint64_t s = 0; s < inode->dirty.size(); ++s) {
      if (inode->dirty[s]) write_sectors(*inode, s, s + 1);
    }
    inode->durable.resize(inode->live.size());
    inode->dirty.clear();
    inode->size_dirty = false;
    return 0;
  }
  if (crash) return EIO;  // which sectors got there is decided by restart()
  const std::size_t size = below(2) == 0 ? inode->live.size() : inode->durable.size();
  for (std::uint64_t s = 0; s < inode->dirty.size(); ++s) {
    if (inode->dirty[s] && below(3) == 0) write_sectors(*inode, s, s + 1);
  }
  inode->durable.resize(size);
  inode->dirty.clear();
  return mistake_ == Mistake::kSyncTriedAgain ? 0 : EIO;
}

bool Disk::lock(int handle) {
  if (!begins("lock", "")) return false;
  const InodePtr inode = at(handle);
  if (inode == nullptr || inode->locked) return false;
  inode->locked = true;
  handles_[static_cast<std::size_t>(handle)].locks = true;
  return true;
}

int Disk::make_directory(const std::string& path) {
  if (!begins("mkdir", path)) return EIO;
  if (directories_.contains(path)) return 0;
  if (crashes()) return EIO;
  // Directories are made once, and synced in their parents: that they may be lost is not what this disk is about.
  for (std::string part = path; !part.empty(); part = parent_of(part)) directories_.insert(part);
  return 0;
}

int Disk::sync_directory(const std::string& path) {
  if (!begins("syncdir", path)) return EIO;
  if (mistake_ == Mistake::kNoDirectorySync) return 0;
  if (crashes()) return EIO;
  if (faults_.directory_sync_fails_at != 0 && --faults_.directory_sync_fails_at == 0) return EIO;
  std::erase_if(changes_, [&](const NameChange& change) {
    if (parent_of(change.made.empty() ? change.gone : change.made) != path) return false;
    apply(durable_, change);
    return true;
  });
  return 0;
}

int Disk::rename(const std::string& from, const std::string& to) {
  if (!begins("rename", to)) return EIO;
  const InodePtr moved = inode(from);
  if (moved == nullptr) return ENOENT;
  if (crashes()) return EIO;
  changes_.push_back({from, to, moved});
  apply(live_, changes_.back());
  return 0;
}

int Disk::remove(const std::string& path) {
  if (!begins("remove", path)) return EIO;
  if (inode(path) == nullptr) return ENOENT;
  if (crashes()) return EIO;
  changes_.push_back({path, "", nullptr});
  live_.erase(path);
  return 0;
}

int Disk::list(const std::string& directory, std::vector<std::string>& names) {
  if (!begins("list", directory)) return EIO;
  if (!directories_.contains(directory)) return ENOENT;
  for (const std::string& path : files(directory)) names.push_back(path.substr(directory.size() + 1));
  return 0;
}

}  // namespace berth::store::testing
