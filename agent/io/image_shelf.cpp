#include "agent/io/image_shelf.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

namespace berth::agent {

using namespace state;

namespace {

constexpr std::size_t kNoteMax = 4U << 20;
constexpr TimeUs kTouchEveryUs = 60'000'000;

bool holds(const std::vector<std::string>& list, const std::string& what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

// "sha256:<hex>" as a file's name.
std::string file_name(std::string digest) {
  std::replace(digest.begin(), digest.end(), ':', '-');
  return digest;
}

TimeUs modified_at(const std::string& path) {
  struct stat about {};
  if (stat(path.c_str(), &about) != 0) return 0;
  return about.st_mtim.tv_sec * 1'000'000 + about.st_mtim.tv_nsec / 1000;
}

// What was renamed in it stays so after a power failure.
void sync_directory(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) fsync(fd.get());
}

}  // namespace

std::string ImageShelf::directory(const std::string& digest) const {
  return layout_.images() + "/" + file_name(digest);
}

std::string ImageShelf::fresh_stage() {
  return layout_.images() + "/stage." + std::to_string(getpid()) + "." + std::to_string(++last_number_);
}

std::string ImageShelf::fresh_grave() {
  return layout_.images() + "/gone." + std::to_string(getpid()) + "." + std::to_string(++last_number_);
}

std::vector<std::string> ImageShelf::open() {
  std::vector<std::string> remove;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(layout_.images(), error)) {
    const std::string path = entry.path().string();
    const std::string name = entry.path().filename().string();
    const std::size_t dash = name.find('-');
    auto text = read_file(path + "/note.json", kNoteMax);
    auto note = text ? decode_note(*text) : Result<ImageNote>(text.error());
    if (!name.starts_with("sha") || dash == std::string::npos || !note) {
      remove.push_back(path);
      continue;
    }
    Known known;
    known.note = std::move(*note);
    known.used_at = std::max(modified_at(path + "/used"), known.note.made_at);
    known_[name.substr(0, dash) + ":" + name.substr(dash + 1)] = std::move(known);
  }
  return remove;
}

ImageHandle ImageShelf::take(const std::string& digest) {
  const auto at = known_.find(digest);
  if (at == known_.end()) return nullptr;
  if (ImageHandle held = at->second.held.lock()) return held;
  auto image =
      std::make_shared<const Image>(Image{digest, directory(digest) + "/rootfs", false, at->second.note.config});
  at->second.held = image;
  return image;
}

std::string ImageShelf::find_name(const std::string& name) const {
  for (const auto& [digest, known] : known_) {
    if (holds(known.note.names, name)) return digest;
  }
  return "";
}

std::string ImageShelf::find_digest(const std::string& registry) const {
  for (const auto& [digest, known] : known_) {
    if (digest == registry || holds(known.note.digests, registry)) return digest;
  }
  return "";
}

bool ImageShelf::is_open_to(const std::string& digest, std::uint32_t uid) const {
  const auto at = known_.find(digest);
  if (at == known_.end()) return false;
  const ImageNote& note = at->second.note;
  return note.for_all || std::find(note.users.begin(), note.users.end(), uid) != note.users.end();
}

Status ImageShelf::write_note(const std::string& path, const ImageNote& note, bool durable) const {
  return write_file_aside(path + "/note.json", encode_note(note), 0600, durable);
}

Status ImageShelf::add(const std::string& digest, const std::string& bundle, ImageNote note) {
  const std::string place = directory(digest);
  if (!known_.contains(digest)) {
    if (auto wrote = write_note(bundle, note, true); !wrote) return wrote;
    sync_directory(bundle);
    // What lies there without being known is half of an image.
    if (access(place.c_str(), F_OK) == 0 && rename(place.c_str(), fresh_grave().c_str()) != 0) {
      return system_error("put aside", place, errno);
    }
    if (rename(bundle.c_str(), place.c_str()) != 0) return system_error("keep the unpacked image", place, errno);
    sync_directory(layout_.images());
    Known known;
    known.used_at = note.made_at;
    known.note.config = note.config;
    known.note.made_at = note.made_at;
    known.note.bytes = note.bytes;
    known.note.for_all = note.for_all;
    known.note.users = note.users;
    known_.emplace(digest, std::move(known));
  }
  for (const std::string& name : note.names) {
    const std::string registry = note.digests.empty() ? "" : note.digests.front();
    const std::uint32_t* user = note.for_all || note.users.empty() ? nullptr : note.users.data();
    if (auto added = add_name(digest, name, registry, user); !added) return added;
  }
  return Unit{};
}

Status ImageShelf::add_name(const std::string& digest, const std::string& name, const std::string& registry_digest,
                            const std::uint32_t* user) {
  for (auto& [other, known] : known_) {
    ImageNote& note = known.note;
    bool changed = false;
    if (other != digest) {
      changed = std::erase(note.names, name) != 0;
    } else {
      const bool named = name.empty() || holds(note.names, name);
      const bool dated = registry_digest.empty() || holds(note.digests, registry_digest);
      const bool open = user == nullptr ? note.for_all : is_open_to(digest, *user);
      if (!named) note.names.push_back(name);
      if (!dated) note.digests.push_back(registry_digest);
      if (!open && user == nullptr) note.for_all = true;
      if (!open && user != nullptr) note.users.push_back(*user);
      changed = !named || !dated || !open;
    }
    if (!changed) continue;
    if (auto wrote = write_note(directory(other), note, false); !wrote) return wrote;
  }
  return Unit{};
}

Result<std::string> ImageShelf::take_away(const std::string& digest) {
  const auto at = known_.find(digest);
  if (at == known_.end()) return Error{ErrorCode::kNotFound, "image", "there is no image " + digest, 0};
  if (const std::uint32_t pods = at->second.holders(); pods != 0) {
    return Error{ErrorCode::kConflict, "image",
                 "the image is used by " + std::to_string(pods) + (pods == 1 ? " pod" : " pods"), 0};
  }
  std::string grave = fresh_grave();
  if (rename(directory(digest).c_str(), grave.c_str()) != 0) {
    return system_error("remove the image", directory(digest), errno);
  }
  known_.erase(at);
  return grave;
}

std::optional<ImageRow> ImageShelf::row(const std::string& digest) const {
  const auto at = known_.find(digest);
  if (at == known_.end()) return std::nullopt;
  const Known& known = at->second;
  ImageRow row;
  for (const std::string& name : known.note.names) row.names += (row.names.empty() ? "" : " ") + name;
  row.digest = digest;
  row.bytes = known.note.bytes;
  row.made_at = known.note.made_at;
  row.used_at = known.used_at;
  row.pods = known.holders();
  row.state = "ready";
  return row;
}

std::vector<ImageRow> ImageShelf::rows() const {
  std::vector<ImageRow> all;
  for (const auto& [digest, known] : known_) all.push_back(*row(digest));
  return all;
}

std::vector<std::string> ImageShelf::removable(TimeUs before, std::uint64_t keep_bytes) const {
  std::vector<std::pair<TimeUs, std::string>> idle;
  std::uint64_t bytes = 0;
  for (const auto& [digest, known] : known_) {
    bytes += known.note.bytes;
    if (known.holders() == 0 && known.used_at < before) idle.emplace_back(known.used_at, digest);
  }
  std::sort(idle.begin(), idle.end());
  std::vector<std::string> chosen;
  for (const auto& [used_at, digest] : idle) {
    if (bytes <= keep_bytes) break;
    bytes -= known_.at(digest).note.bytes;
    chosen.push_back(digest);
  }
  return chosen;
}

void ImageShelf::touch(const std::string& digest, TimeUs now) {
  const auto at = known_.find(digest);
  if (at == known_.end() || now - at->second.used_at < kTouchEveryUs) return;
  at->second.used_at = now;
  (void)write_file(directory(digest) + "/used", "");
}

}  // namespace berth::agent
