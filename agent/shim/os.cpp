#include "agent/shim/os.h"

#include <cerrno>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace berth::shim {

Text& Text::add(const char* text) { return add(text, std::strlen(text)); }

Text& Text::add(const char* text, std::size_t size) {
  const std::size_t room = sizeof bytes_ - 1 - size_;
  if (size > room) size = room;
  std::memcpy(bytes_ + size_, text, size);
  size_ += size;
  bytes_[size_] = 0;
  return *this;
}

Text& Text::add(std::int64_t number) {
  char digits[24];
  char* at = digits + sizeof digits;
  *--at = 0;
  const bool negative = number < 0;
  std::uint64_t rest = negative ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  do {
    *--at = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  if (negative) *--at = '-';
  return add(at);
}

Text& Text::add_error(int error) {
  add(": ");
  // Not strerror(): it would pull in translations.
  const char* words = strerrordesc_np(error);
  return words != nullptr ? add(words) : add("error ").add(static_cast<std::int64_t>(error));
}

std::int64_t now_us() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

std::int64_t parse_number(const char* text) {
  std::int64_t number = 0;
  for (; *text >= '0' && *text <= '9'; ++text) number = number * 10 + (*text - '0');
  return number;
}

int write_file(const char* path, int flags, const char* bytes, std::size_t size) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
  if (fd < 0) return errno;
  int error = 0;
  if (write(fd, bytes, size) != static_cast<ssize_t>(size)) error = errno == 0 ? ENOSPC : errno;
  close(fd);
  return error;
}

long read_file(const char* path, char* bytes, std::size_t size) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  std::size_t have = 0;
  while (have < size - 1) {
    const ssize_t got = read(fd, bytes + have, size - 1 - have);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  close(fd);
  bytes[have] = 0;
  return static_cast<long>(have);
}

namespace {

struct Entry {  // struct linux_dirent64
  std::uint64_t inode;
  std::int64_t offset;
  unsigned short size;
  unsigned char type;
  char name[1];
};

bool is_dots(const char* name) { return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)); }

template <class F>
void each_entry(int fd, F&& f) {
  alignas(8) char bytes[2048];
  for (;;) {
    const long got = syscall(SYS_getdents64, fd, bytes, sizeof bytes);
    if (got <= 0) return;
    for (long at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const Entry*>(bytes + at);
      if (!is_dots(entry->name)) f(entry);
      at += entry->size;
    }
  }
}

void remove_below(int fd, int depth) {
  if (depth > 200) return;
  // A directory read while it shrinks may skip names, hence the rounds.
  for (int round = 0; round < 3; ++round) {
    bool any = false;
    lseek(fd, 0, SEEK_SET);
    each_entry(fd, [&](const Entry* entry) {
      any = true;
      if (unlinkat(fd, entry->name, 0) == 0) return;
      if (errno != EISDIR && errno != EPERM && errno != EBUSY) return;
      const int below = openat(fd, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (below < 0) return;
      remove_below(below, depth + 1);
      close(below);
      unlinkat(fd, entry->name, AT_REMOVEDIR);
    });
    if (!any) return;
  }
}

}  // namespace

void remove_tree(const char* path) {
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  remove_below(fd, 0);
  close(fd);
  rmdir(path);
}

void each_name(const char* path, bool directories_only, void (*f)(void*, const char*), void* context) {
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  each_entry(fd, [&](const Entry* entry) {
    if (!directories_only || entry->type == DT_DIR) f(context, entry->name);
  });
  close(fd);
}

}  // namespace berth::shim
