#include "api/server/process_figures.h"

#include <dirent.h>
#include <fstream>
#include <memory>
#include <sys/resource.h>
#include <unistd.h>

namespace berth::server {

namespace {

// The directory itself is one of them while it is read.
std::uint64_t count_descriptors() {
  const auto close = [](DIR* directory) { ::closedir(directory); };
  const std::unique_ptr<DIR, decltype(close)> directory(::opendir("/proc/self/fd"), close);
  if (!directory) return 0;
  std::uint64_t count = 0;
  while (const dirent* entry = ::readdir(directory.get())) count += entry->d_name[0] != '.' ? 1 : 0;
  return count == 0 ? 0 : count - 1;
}

std::int64_t us_of(const timeval& time) { return time.tv_sec * 1'000'000LL + time.tv_usec; }

}  // namespace

ProcessFigures process_figures() {
  ProcessFigures out;
  std::uint64_t pages = 0, resident = 0;
  if (std::ifstream statm("/proc/self/statm"); statm >> pages >> resident) {
    out.resident_bytes = resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  }
  out.open_fds = count_descriptors();
  if (rlimit limit{}; ::getrlimit(RLIMIT_NOFILE, &limit) == 0) out.max_fds = limit.rlim_cur;
  if (rusage usage{}; ::getrusage(RUSAGE_SELF, &usage) == 0) out.cpu_us = us_of(usage.ru_utime) + us_of(usage.ru_stime);
  return out;
}

}  // namespace berth::server
