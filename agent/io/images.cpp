#include "agent/io/images.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <pwd.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/io/clock.h"
#include "api/wire/tls.h"

namespace berth::agent {

using namespace state;

namespace {

constexpr std::size_t kOutputMax = 4U << 20;
constexpr std::size_t kAuthFileMax = 1U << 20;
constexpr std::int64_t kFirstPauseMs = 500, kLongestPauseMs = 15'000;
constexpr std::int64_t kCollectEveryMs = 10 * 60'000;

Error refused(ErrorCode code, std::string message) { return Error{code, "image", std::move(message), 0}; }

std::string text_in(const std::string& path) {
  auto text = read_file(path, kOutputMax);
  return text ? *text : std::string();
}

std::string home_of(std::uint32_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) != 0 || found == nullptr) return "";
  return found->pw_dir;
}

// The number that du begins its line with, in KiB.
std::uint64_t measured_bytes(const std::string& text) {
  std::uint64_t kib = 0;
  std::from_chars(text.data(), text.data() + text.size(), kib);
  return kib << 10;
}

std::uint64_t files_size(const std::string& directory) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    std::error_code gone;
    if (entry.is_regular_file(gone)) bytes += entry.file_size(gone);
  }
  return bytes;
}

}  // namespace

Credentials credentials_for(const Owner& owner, const std::string& auth_file, const std::string& site_file,
                            const std::string& host) {
  std::vector<std::string> texts;
  {
    const std::string home = home_of(owner.uid);
    std::vector<std::string> files{auth_file, "/run/user/" + std::to_string(owner.uid) + "/containers/auth.json"};
    if (!home.empty()) {
      files.push_back(home + "/.config/containers/auth.json");
      files.push_back(home + "/.docker/config.json");
    }
    const UserScope as_owner(owner.uid, owner.gid, owner.groups.data(), owner.groups.size());
    for (const std::string& file : files) {
      struct stat about {};
      const bool regular = !file.empty() && stat(file.c_str(), &about) == 0 && S_ISREG(about.st_mode);
      auto text = regular ? read_file(file, kAuthFileMax) : Result<std::string>(std::string());
      texts.push_back(text ? std::move(*text) : std::string());
    }
  }
  const std::size_t own = texts.size();
  if (!site_file.empty()) texts.push_back(text_in(site_file));
  Credentials merged = merge_credentials(texts, host);
  // 0: the user's own; 1: the site's, or none.
  merged.from = merged.from < own ? 0 : 1;
  return merged;
}

ImageStore::ImageStore(wire::Loop& loop, const Layout& layout, ShimLauncher& launcher, ImageOptions options)
    : loop_(loop), layout_(layout), launcher_(launcher), options_(std::move(options)), shelf_(layout) {}

ImageStore::~ImageStore() = default;

void ImageStore::open() {
  for (std::string& path : shelf_.open()) clear_away(std::move(path));
}

// Beside the loop: a big image takes its time.
void ImageStore::clear_away(std::string path) {
  if (access(path.c_str(), F_OK) != 0) return;
  ShimLauncher::Tool tool;
  tool.argv = {"rm", "-rf", "--", path};
  tool.output = "/dev/null";
  auto process = launcher_.run(tool, [this, path](int) {
    // Inside of its own watch: it goes in the next turn.
    loop_.post([this, path] { clearing_.erase(path); });
  });
  if (process) {
    clearing_[path] = std::move(*process);
  } else {
    remove_tree(path);
  }
}

// ---- who asks -------------------------------------------------------------------------------------------------------
void ImageStore::get(const Request& request, Handler handler) {
  const auto name = ImageName::parse(request.image, "image");
  if (!name) return handler(name.error());
  if (name->is_file() && name->place[0] != '/') {
    return handler(refused(ErrorCode::kInvalid, "the image '" + request.image + "' is not an absolute path"));
  }
  switch (name->kind) {
    case ImageName::Kind::kRegistry:
      return get_from_registry(*name, request, std::move(handler));
    case ImageName::Kind::kArchive:
      return get_archive(*name, request, std::move(handler));
    case ImageName::Kind::kLayout:
    case ImageName::Kind::kRootfs:
      return get_file(*name, request, std::move(handler));
  }
}

// A layout is known by its digest, read anew each time; a directory is used where it is.
void ImageStore::get_file(const ImageName& name, const Request& request, Handler handler) {
  const Owner& owner = request.owner;
  if (name.kind == ImageName::Kind::kRootfs) {
    const UserScope as_owner(owner.uid, owner.gid, owner.groups.data(), owner.groups.size());
    const Fd directory(::open(name.place.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory) {
      Error why = system_error("use as a root file system the directory", name.place, errno);
      why.code = ErrorCode::kInvalid;
      return handler(std::move(why));
    }
    return handler(std::make_shared<const Image>(Image{"", name.place, true, {}}));
  }
  Result<ResolvedImage> resolved = [&] {
    const UserScope as_owner(owner.uid, owner.gid, owner.groups.data(), owner.groups.size());
    return resolve_image(name.place, name.tag);
  }();
  if (!resolved) return handler(resolved.error());
  if (const std::string known = shelf_.find_digest(resolved->digest); !known.empty()) {
    shelf_.touch(known, now_us());
    return handler(shelf_.take(known));
  }
  Way* way = join("layout " + resolved->digest, {name.text(), owner.uid, false, std::move(handler)});
  if (way == nullptr) return;
  way->phase = Way::Phase::kCopying;
  way->name = name;
  way->from_digest = resolved->digest;
  set_out(*way);
}

void ImageStore::get_archive(const ImageName& name, const Request& request, Handler handler) {
  const Owner& owner = request.owner;
  Fd file;
  {
    const UserScope as_owner(owner.uid, owner.gid, owner.groups.data(), owner.groups.size());
    file = Fd(::open(name.place.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    if (!file) return handler(system_error("read the archive", name.place, errno));
  }
  struct stat about {};
  if (fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode)) {
    return handler(refused(ErrorCode::kInvalid, "the archive '" + name.place + "' is not a file"));
  }
  // What the file was when it was read: another one by that name is another image.
  const std::string was = "file:" + std::to_string(about.st_dev) + "." + std::to_string(about.st_ino) + "." +
                          std::to_string(about.st_size) + "." + std::to_string(about.st_mtim.tv_sec) + "." +
                          std::to_string(about.st_mtim.tv_nsec);
  if (const std::string known = shelf_.find_digest(was); !known.empty()) {
    shelf_.touch(known, now_us());
    return handler(shelf_.take(known));
  }
  Way* way = join("archive " + was, {name.text(), owner.uid, false, std::move(handler)});
  if (way == nullptr) return;
  way->phase = Way::Phase::kCopying;
  way->name = name;
  way->file = std::move(file);
  way->from_digest = was;
  set_out(*way);
}

void ImageStore::get_from_registry(const ImageName& name, const Request& request, Handler handler) {
  const std::string text = name.text();
  const std::string known = name.digest.empty() ? shelf_.find_name(text) : shelf_.find_digest(name.digest);
  const bool open = !known.empty() && shelf_.is_open_to(known, request.owner.uid);
  if (request.pull == PullPolicy::kNever && !open) {
    return handler(refused(ErrorCode::kNotFound, "the image '" + text + "' is not on the node" +
                                                     (known.empty() ? "" : " for this user") +
                                                     ", and its pull policy is never"));
  }
  // A digest means one image for all time.
  if (open && (request.pull != PullPolicy::kAlways || !name.digest.empty())) {
    shelf_.touch(known, now_us());
    return handler(shelf_.take(known));
  }
  Credentials credentials = credentials_for(request.owner, request.auth_file, options_.registry.auth_file, name.host());
  Way* way = join("ask " + text + " " + wire::hash_secret(credentials.text),
                  {text, request.owner.uid, credentials.from != 0, std::move(handler)});
  if (way == nullptr) return;
  way->name = name;
  way->stage = shelf_.fresh_stage();
  if (auto made = make_directory(way->stage, 0700); !made) return finish(*way, made.error());
  if (auto wrote = write_file(way->stage + "/auth.json", credentials.text, 0600); !wrote) {
    return finish(*way, wrote.error());
  }
  set_out(*way);
}

// ---- on the way -----------------------------------------------------------------------------------------------------
ImageStore::Way* ImageStore::join(const std::string& key, Waiter waiter) {
  auto& way = ways_[key];
  const bool fresh = way == nullptr;
  if (fresh) {
    way = std::make_unique<Way>();
    way->key = key;
    way->began_ms = steady_ms();
  }
  way->waiting.push_back(std::move(waiter));
  return fresh ? way.get() : nullptr;
}

void ImageStore::set_out(Way& way) {
  queue_.push_back(way.key);
  pump();
}

void ImageStore::pump() {
  while (running_ < options_.tools_max && !queue_.empty()) {
    const auto at = ways_.find(queue_.front());
    queue_.pop_front();
    if (at != ways_.end()) start(*at->second);
  }
}

void ImageStore::start(Way& way) {
  if (way.stage.empty()) {
    way.stage = shelf_.fresh_stage();
    if (auto made = make_directory(way.stage, 0700); !made) return finish(way, made.error());
  }
  const std::string layout = way.stage + "/layout", bundle = way.stage + "/bundle", auth = way.stage + "/auth.json";
  ShimLauncher::Tool tool;
  tool.output = way.stage + "/output";
  tool.error = way.stage + "/error";
  switch (way.phase) {
    case Way::Phase::kAsking:
      tool.argv = inspect_command(options_.registry, way.name, auth);
      break;
    case Way::Phase::kCopying: {
      remove_tree(layout);
      ImageName from = way.name;
      // The descriptor that was opened with the user's rights; the name may mean something else by now.
      if (way.file) from.place = "/proc/self/fd/" + std::to_string(ShimLauncher::kToolFd);
      tool.argv = copy_command(options_.registry, from, auth, layout);
      tool.keep_fd = way.file.get();
      break;
    }
    case Way::Phase::kUnpacking:
      remove_tree(bundle);
      tool.argv = {"umoci", "unpack", "--image", layout + ":" + kStagedTag, bundle};
      break;
    case Way::Phase::kMeasuring:
      // And on the disk to stay, before it gets its name.
      tool.argv = {"sh", "-c", "du -sk \"$1\" && sync -f \"$1\"", "sh", bundle};
      break;
  }
  const std::string program = tool.argv[0];
  auto process = launcher_.run(tool, [this, key = way.key](int status) {
    --running_;
    if (const auto at = ways_.find(key); at != ways_.end()) {
      loop_.post([gone = std::shared_ptr<WatchedProcess>(std::move(at->second->process))] {});
      done(*at->second, status);
    }
    pump();
  });
  if (!process) {
    return finish(
        way, refused(ErrorCode::kInternal, process.error().message + " (containers need the package " + program + ")"));
  }
  ++running_;
  way.process = std::move(*process);
}

void ImageStore::done(Way& way, int status) {
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    const char* doing = way.phase == Way::Phase::kUnpacking || way.phase == Way::Phase::kMeasuring ? "unpack" : "fetch";
    return failed(
        way, read_failure(way.name,
                          text_in(way.stage + "/error") + "\n" + (WIFSIGNALED(status) ? "killed by a signal\n" : ""),
                          doing));
  }
  switch (way.phase) {
    case Way::Phase::kAsking:
      return asked(way);
    case Way::Phase::kCopying:
      return copied(way);
    case Way::Phase::kUnpacking:
      way.phase = Way::Phase::kMeasuring;
      return set_out(way);
    case Way::Phase::kMeasuring:
      return measured(way);
  }
}

// The registry has said what the name means now. Whoever asked for it goes on together with all who want the same.
void ImageStore::asked(Way& way) {
  const std::string manifest = text_in(way.stage + "/output");
  const std::string digest = "sha256:" + wire::hash_secret(manifest);
  if (manifest.empty() || (!way.name.digest.empty() && way.name.digest != digest)) {
    return finish(way, refused(ErrorCode::kInternal, "the registry " + way.name.host() + " sent something else than '" +
                                                         way.name.text() + "'"));
  }
  if (const std::string known = shelf_.find_digest(digest); !known.empty()) {
    way.from_digest = digest;
    way.digest = known;
    return finish(way, shelf_.take(known));
  }
  const std::string key = "fetch " + digest;
  Way* fetch = nullptr;
  for (Waiter& waiter : way.waiting) {
    if (Way* fresh = join(key, std::move(waiter)); fresh != nullptr) fetch = fresh;
  }
  if (fetch != nullptr) {
    fetch->phase = Way::Phase::kCopying;
    fetch->name = way.name;
    fetch->name.digest = digest;
    fetch->name.tag.clear();
    fetch->from_digest = digest;
    fetch->stage = std::exchange(way.stage, "");
    set_out(*fetch);
  } else {
    clear_away(way.stage);
  }
  ways_.erase(way.key);
}

void ImageStore::copied(Way& way) {
  way.file = Fd();
  auto resolved = resolve_image(way.stage + "/layout", kStagedTag);
  if (!resolved) return finish(way, resolved.error());
  if (!resolved->architecture.empty() && resolved->architecture != machine_architecture()) {
    return finish(
        way, refused(ErrorCode::kInvalid, "the image '" + way.name.text() + "' is for the architecture " +
                                              resolved->architecture + "; this machine is " + machine_architecture()));
  }
  way.digest = resolved->digest;
  way.note.config = std::move(resolved->config);
  if (ImageHandle known = shelf_.take(way.digest)) return finish(way, std::move(known));
  way.phase = Way::Phase::kUnpacking;
  set_out(way);
}

void ImageStore::measured(Way& way) {
  way.note.bytes = measured_bytes(text_in(way.stage + "/output"));
  way.note.made_at = now_us();
  way.note.for_all = false;
  if (auto added = shelf_.add(way.digest, way.stage + "/bundle", std::move(way.note)); !added) {
    return finish(way, added.error());
  }
  spdlog::info("image {}: unpacked for {} pods", way.name.text(), way.waiting.size());
  finish(way, shelf_.take(way.digest));
  collect();
}

// What may pass is tried again, and so is what had no room once unused images have gone.
void ImageStore::failed(Way& way, PullFailure failure) {
  const std::int64_t spent_ms = steady_ms() - way.began_ms;
  bool again = failure.may_pass() && spent_ms < options_.retry_ms;
  if (failure.kind == PullFailure::Kind::kNoSpace && !std::exchange(way.made_room, true)) {
    again = !prune(0, 0).empty();
  }
  if (!again) return finish(way, std::move(failure.error));
  way.pause_ms = way.pause_ms == 0 ? kFirstPauseMs : std::min(way.pause_ms * 2, kLongestPauseMs);
  spdlog::warn("{}; trying again in {} ms", failure.error.message, way.pause_ms);
  way.pause = loop_.after_ms(way.pause_ms, [this, key = way.key] { resume(key); });
}

void ImageStore::resume(std::string key) {  // a copy: the timer that has it goes here
  const auto at = ways_.find(key);
  if (at == ways_.end()) return;
  at->second->pause.reset();
  set_out(*at->second);
}

void ImageStore::settle(const Waiter& waiter, const std::string& digest, const std::string& from_digest) {
  const auto noted = shelf_.add_name(digest, waiter.name, from_digest, waiter.for_all ? nullptr : &waiter.uid);
  if (!noted) spdlog::warn("{}", noted.error().message);
}

void ImageStore::finish(Way& way, Result<ImageHandle> result) {
  auto node = ways_.extract(way.key);
  const std::unique_ptr<Way> over = std::move(node.mapped());
  if (!over->stage.empty()) clear_away(over->stage);
  for (const Waiter& waiter : over->waiting) {
    if (result && !over->digest.empty()) settle(waiter, over->digest, over->from_digest);
    waiter.handler(result);
  }
}

void ImageStore::used(const Image& image) {
  if (!image.digest.empty()) shelf_.touch(image.digest, now_us());
}

// ---- for people, and against a full disk ----------------------------------------------------------------------------
std::vector<ImageRow> ImageStore::rows() const {
  std::vector<ImageRow> all = shelf_.rows();
  for (const auto& [key, way] : ways_) {
    ImageRow row;
    row.names = way->name.text();
    row.digest = way->digest;
    row.pods = static_cast<std::uint32_t>(way->waiting.size());
    row.bytes = files_size(way->stage + "/layout/blobs/sha256");
    row.state = way->pause                           ? "waits to try again"
                : way->phase == Way::Phase::kAsking  ? "asking"
                : way->phase == Way::Phase::kCopying ? "copying"
                                                     : "unpacking";
    all.push_back(std::move(row));
  }
  return all;
}

Result<ImageRow> ImageStore::remove(const std::string& name_or_digest) {
  std::string digest = shelf_.find_digest(name_or_digest);
  if (digest.empty()) {
    const auto name = ImageName::parse(name_or_digest, "image");
    if (name) digest = name->digest.empty() ? shelf_.find_name(name->text()) : shelf_.find_digest(name->digest);
  }
  const auto row = shelf_.row(digest);
  if (!row) return refused(ErrorCode::kNotFound, "there is no image '" + name_or_digest + "' on the node");
  auto grave = shelf_.take_away(digest);
  if (!grave) return grave.error();
  clear_away(std::move(*grave));
  return *row;
}

std::vector<ImageRow> ImageStore::prune(std::int64_t unused_ms, std::uint64_t keep_bytes) {
  std::vector<ImageRow> gone;
  for (const std::string& digest : shelf_.removable(now_us() - unused_ms * 1000 + 1, keep_bytes)) {
    const auto row = shelf_.row(digest);
    auto grave = shelf_.take_away(digest);
    if (!grave) continue;
    clear_away(std::move(*grave));
    gone.push_back(*row);
  }
  return gone;
}

void ImageStore::collect() {
  std::size_t gone = 0;
  if (options_.unused_ms != 0) gone += prune(options_.unused_ms, 0).size();
  if (options_.keep_bytes != 0) gone += prune(0, options_.keep_bytes).size();
  if (gone != 0) spdlog::info("{} unused images removed", gone);
  if (options_.unused_ms != 0) collect_timer_ = loop_.after_ms(kCollectEveryMs, [this] { collect(); });
}

}  // namespace berth::agent
