#include "agent/shim/mounts.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// <sys/mount.h> and <linux/mount.h> do not go together in every C library.
extern "C" int mount(const char*, const char*, const char*, unsigned long, const void*);
extern "C" int umount2(const char*, int);

namespace berth::shim {

namespace {

constexpr int kDetach = 2;                                    // MNT_DETACH
constexpr unsigned kEmptyPath = 0x1000, kRecursive = 0x8000;  // AT_EMPTY_PATH, AT_RECURSIVE

// Opens a path with the user's rights, as he himself could reach it. -1 with errno set.
int open_as_user(const Input& input, const char* path, int flags) {
  const bool other = input.has(kUser) && input.number(kUser, 0) != 0;
  if (other) {
    std::uint32_t groups[256];
    std::size_t count = 0;
    input.each(kMoreGroup, [&](const char* text) {
      if (count < 256) groups[count++] = static_cast<std::uint32_t>(parse_number(text));
    });
    const long uid = static_cast<long>(input.number(kUser, 0));
    const long gid = static_cast<long>(input.number(kGroup, 0));
    if (syscall(SYS_setgroups, count, groups) != 0 || syscall(SYS_setresgid, -1, gid, -1) != 0 ||
        syscall(SYS_setresuid, -1, uid, -1) != 0) {
      return -1;
    }
  }
  const int fd = open(path, flags | O_CLOEXEC);
  const int error = errno;
  if (other) {
    syscall(SYS_setresuid, -1, 0, -1);
    syscall(SYS_setresgid, -1, 0, -1);
    syscall(SYS_setgroups, 0, nullptr);
  }
  errno = error;
  return fd;
}

bool mount_overlay(const Input& input, Text& failure) {
  const char* lower = input.first(kOverlay);
  Text place;
  if (input.has(kLowerAsUser)) {
    const int fd = open_as_user(input, lower, O_PATH | O_DIRECTORY);
    if (fd < 0) {
      failure.add("cannot use the root file system '").add(lower).add("'").add_error(errno);
      return false;
    }
    place.add("/proc/self/fd/").add(std::int64_t{fd});
    lower = place.c_str();
  }
  Text options;
  options.add("lowerdir=").add(lower).add(",upperdir=scratch/upper,workdir=scratch/work");
  for (int round = 0;; ++round) {
    mkdir("scratch", 0700);
    // What an overlay cannot lie on (another overlay, some network file systems) gets its changes in memory instead.
    if (round == 1 && mount("tmpfs", "scratch", "tmpfs", MS_NODEV, "mode=0700") != 0) break;
    mkdir("scratch/upper", 0755);
    mkdir("scratch/work", 0700);
    mkdir("rootfs", 0755);
    // Whatever an image holds: its device files and set-user-id programs are of no effect.
    if (mount("overlay", "rootfs", "overlay", MS_NODEV | MS_NOSUID, options.c_str()) == 0) return true;
    if (round == 1) break;
  }
  failure.add("cannot mount the image").add_error(errno);
  return false;
}

// A copy of the mounts at `fd` at `place`, without devices and set-user-id programs, and read-only if asked, as deep as
// it goes.
bool bind(int fd, const char* place, bool read_only) {
  const long tree = syscall(SYS_open_tree, fd, "", kEmptyPath | OPEN_TREE_CLONE | kRecursive | OPEN_TREE_CLOEXEC);
  if (tree < 0) return false;
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0);
  const bool done =
      syscall(SYS_mount_setattr, tree, "", kEmptyPath | kRecursive, &attributes, sizeof attributes) == 0 &&
      syscall(SYS_move_mount, tree, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) == 0;
  const int error = errno;
  close(static_cast<int>(tree));
  errno = error;
  return done;
}

// An item "ro|rw NUMBER\nPATH": mounted at mounts/NUMBER, where the runtime finds it.
bool bind_item(const Input& input, const char* item, Text& failure) {
  const char* path = std::strchr(item, '\n');
  const char* number = std::strchr(item, ' ');
  if (path == nullptr || number == nullptr || number > path) return false;
  Text place;
  place.add("mounts/").add(number + 1, static_cast<std::size_t>(path - number - 1));
  ++path;
  const int fd = open_as_user(input, path, O_PATH);
  struct stat about {};
  bool done = fd >= 0 && fstat(fd, &about) == 0;
  if (done && S_ISDIR(about.st_mode)) {
    mkdir(place.c_str(), 0755);
  } else if (done) {
    const int file = open(place.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file >= 0) close(file);
  }
  done = done && bind(fd, place.c_str(), item[1] == 'o');
  if (!done) failure.add("cannot mount '").add(path).add("'").add_error(errno);
  if (fd >= 0) close(fd);
  return done;
}

}  // namespace

bool set_up_mounts(const Input& input, Text& failure) {
  if (!input.has(kOverlay) && !input.has(kHideMount)) return true;
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    failure.add("cannot make a private mount namespace").add_error(errno);
    return false;
  }
  if (const char* path = input.first(kHideMount)) umount2(path, kDetach);
  if (input.has(kOverlay) && !mount_overlay(input, failure)) return false;
  if (input.has(kBind)) mkdir("mounts", 0700);
  bool good = true;
  input.each(kBind, [&](const char* item) { good = good && bind_item(input, item, failure); });
  return good;
}

void remove_mounts(const Input& input) {
  if (!input.has(kOverlay)) return;
  umount2("rootfs", kDetach);
  umount2("scratch", kDetach);
  remove_tree("scratch");
  remove_tree("volumes");
}

}  // namespace berth::shim
