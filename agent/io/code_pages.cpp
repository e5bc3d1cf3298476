#include "agent/io/code_pages.h"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>

namespace berth::agent {

void give_back_code_pages() {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return;
  char line[4352];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    std::uintptr_t first = 0, end = 0;
    char access[8] = {};
    // Code of files alone: it is mapped read-only and never changed, so that the file has all there is to it. Read-only
    // data is not: relocation may have written to it.
    if (std::sscanf(line, "%lx-%lx %7s", &first, &end, access) != 3) continue;
    if (std::strcmp(access, "r-xp") != 0 || std::strchr(line, '/') == nullptr) continue;
    madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
  }
  std::fclose(maps);
}

}  // namespace berth::agent
