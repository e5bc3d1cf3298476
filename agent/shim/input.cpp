#include "agent/shim/input.h"

#include <cstring>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/shim/os.h"

namespace berth::shim {

bool Input::load() {
  struct stat about {};
  if (fstat(kPodFd, &about) != 0 || about.st_size <= static_cast<off_t>(kInputAt)) return false;
  const auto size = static_cast<std::size_t>(about.st_size);
  void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, kPodFd, 0);
  if (mapped == MAP_FAILED) return false;
  auto* record = static_cast<PodRecord*>(mapped);
  if (record->magic != kRecordMagic) return false;
  record_ = record;
  if (record->input_size == 0 || record->input_size > size - kInputAt) return false;
  const char* bytes = static_cast<const char*>(mapped) + kInputAt;
  const char* end = bytes + record->input_size;
  if (end[-1] != 0) return false;
  for (const char* at = bytes; at != end; at = next(at)) {
    if (*at == 0) return false;
  }
  bytes_ = bytes;
  end_ = end;
  return true;
}

const char* Input::next(const char* item) { return item + std::strlen(item) + 1; }

const char* Input::first(Tag tag) const {
  for (const char* at = bytes_; at != end_; at = next(at)) {
    if (*at == tag) return at + 1;
  }
  return nullptr;
}

std::int64_t Input::number(Tag tag, std::int64_t otherwise) const {
  const char* text = first(tag);
  return text == nullptr ? otherwise : parse_number(text);
}

std::size_t Input::count(Tag tag) const {
  std::size_t n = 0;
  each(tag, [&](const char*) { ++n; });
  return n;
}

char** Input::vector(Tag tag) const {
  const std::size_t bytes = (count(tag) + 1) * sizeof(char*);
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto** texts = static_cast<char**>(mapped);
  std::size_t n = 0;
  each(tag, [&](const char* text) { texts[n++] = const_cast<char*>(text); });
  texts[n] = nullptr;
  return texts;
}

}  // namespace berth::shim
