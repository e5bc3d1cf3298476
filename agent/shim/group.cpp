#include "agent/shim/group.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace berth::shim {

namespace {

// An item "path\nvalue".
int set_item(const char* item, const char** path_end) {
  const char* line_end = std::strchr(item, '\n');
  *path_end = line_end == nullptr ? item : line_end;
  if (line_end == nullptr) return EINVAL;
  Text path;
  path.add(item, static_cast<std::size_t>(line_end - item));
  return write_file(path.c_str(), 0, line_end + 1, std::strlen(line_end + 1));
}

struct Walk {
  const char* path;
  int signal;
  int found;
  bool cgroup_kill;
};

// Signals each process id of a file with one id a line (or separated by spaces).
int signal_listed(const char* path, int signal, void (*also)(int pid, void* context), void* context) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char bytes[1024];
  int found = 0;
  int pid = 0;
  for (;;) {
    const ssize_t got = read(fd, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    for (ssize_t i = 0; i < got; ++i) {
      if (bytes[i] >= '0' && bytes[i] <= '9') {
        pid = pid * 10 + (bytes[i] - '0');
        continue;
      }
      if (pid > 0) {
        ++found;
        if (also != nullptr) also(pid, context);
        kill(pid, signal);
      }
      pid = 0;
    }
  }
  close(fd);
  return found;
}

int signal_group(const char* path, int signal);

void signal_subgroup(void* context, const char* name) {
  auto* walk = static_cast<Walk*>(context);
  Text path;
  path.add(walk->path).add("/").add(name);
  walk->found += signal_group(path.c_str(), walk->signal);
}

int signal_group(const char* path, int signal) {
  Text procs;
  procs.add(path).add("/cgroup.procs");
  Walk walk{path, signal, signal_listed(procs.c_str(), signal, nullptr, nullptr), false};
  each_name(path, true, signal_subgroup, &walk);
  return walk.found;
}

struct Tree {
  int signal;
  int found;
  int depth;
};

void signal_children(int pid, void* context) {
  auto* tree = static_cast<Tree*>(context);
  if (tree->depth > 64) return;
  ++tree->depth;
  Text path;
  path.add("/proc/").add(std::int64_t{pid}).add("/task/").add(std::int64_t{pid}).add("/children");
  tree->found += signal_listed(path.c_str(), tree->signal, signal_children, tree);
  --tree->depth;
}

void remove_subgroup(void* context, const char* name) {
  Text path;
  path.add(static_cast<const char*>(context)).add("/").add(name);
  Text below = path;
  each_name(path.c_str(), true, remove_subgroup, const_cast<char*>(below.c_str()));
  rmdir(path.c_str());
}

}  // namespace

bool make_groups(const Input& input, Text& failure) {
  // What is shared may be removed by another pod's shim, until there is a group of ours in it.
  constexpr int kRounds = 100;
  for (int round = 0; round < kRounds; ++round) {
    failure.clear();
    bool again = false;
    const auto make = [&](const char* path) {
      if (!failure.empty() || mkdir(path, 0755) == 0 || errno == EEXIST) return;
      again = errno == ENOENT && input.has(kShareGroup);
      failure.add("cannot make the cgroup '").add(path).add("'").add_error(errno);
    };
    input.each(kShareGroup, make);
    input.each(kMakeGroup, make);
    if (!again) break;
  }
  input.each(kMustSet, [&](const char* item) {
    if (!failure.empty()) return;
    const char* path_end = nullptr;
    const int error = set_item(item, &path_end);
    if (error == 0) return;
    failure.add("cannot set the limit '")
        .add(item, static_cast<std::size_t>(path_end - item))
        .add("'")
        .add_error(error);
  });
  if (!failure.empty()) return false;
  input.each(kMaySet, [](const char* item) {
    const char* path_end = nullptr;
    set_item(item, &path_end);
  });
  return true;
}

int signal_descendants(int signal) {
  Tree tree{signal, 0, 0};
  signal_children(getpid(), &tree);
  return tree.found;
}

int signal_all(const Input& input, int signal) {
  const char* group = input.first(kKillGroup);
  if (group == nullptr) return signal_descendants(signal);
  if (signal == SIGKILL) {
    Text path;  // cgroup v2 since 5.14: all at once, and nothing can fork out of it
    path.add(group).add("/cgroup.kill");
    write_file(path.c_str(), 0, "1", 1);
  }
  return signal_group(group, signal);
}

std::int64_t memory_peak_bytes(const Input& input) {
  char bytes[64];
  std::int64_t peak = 0;
  input.each(kPeak, [&](const char* path) {
    if (read_file(path, bytes, sizeof bytes) <= 0) return;
    const std::int64_t value = parse_number(bytes);
    if (value > peak) peak = value;
  });
  return peak;
}

bool cpu_used(const Input& input, std::int64_t& user_us, std::int64_t& system_us) {
  const char* path = input.first(kCpuStat);
  char bytes[1024];
  if (path == nullptr || read_file(path, bytes, sizeof bytes) <= 0) return false;
  const char* user = std::strstr(bytes, "user_usec ");
  const char* system = std::strstr(bytes, "system_usec ");
  if (user == nullptr || system == nullptr) return false;
  user_us = parse_number(user + 10);
  system_us = parse_number(system + 12);
  return true;
}

std::int64_t oom_kills(const Input& input) {
  std::int64_t kills = 0;
  input.each(kOomCount, [&](const char* path) {
    char bytes[512];
    if (read_file(path, bytes, sizeof bytes) <= 0) return;
    for (const char* at = bytes; at != nullptr && *at != 0;) {
      if (std::strncmp(at, "oom_kill ", 9) == 0) kills += parse_number(at + 9);
      at = std::strchr(at, '\n');
      if (at != nullptr) ++at;
    }
  });
  return kills;
}

void remove_groups(const Input& input) {
  input.each(kMakeGroup, [](const char* path) {
    each_name(path, true, remove_subgroup, const_cast<char*>(path));
    // A group may stay busy for a moment after its last process was reaped.
    for (int i = 0; i < 50 && rmdir(path) != 0 && errno == EBUSY; ++i) usleep(2000);
  });
  input.each(kShareGroup, [](const char* path) { rmdir(path); });  // by the last of its pods
}

}  // namespace berth::shim
